//! Facts in plain English, with the names that people gave to releases.

use std::{collections::BTreeMap, sync::Arc};

use rollback_core::{
    entry::{Command, Fact, LedgerReason, PlanKind, SentState, Step, TaskState},
    model::{Change, Placement, ReleaseId, duration_text},
    ports::PermitDecision,
};

/// What people call each release; folded from the facts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(BTreeMap<ReleaseId, Arc<str>>);

impl Names {
    /// Learns from a fact.
    pub(crate) fn learn(&mut self, fact: &Fact) {
        let (release, name) = match fact {
            Fact::LedgerChanged { release, name, .. } => (release, name),
            Fact::DeploymentOpened {
                candidate, name, ..
            } => (candidate, name),
            _ => return,
        };
        if !name.is_empty() && self.0.get(release) != Some(name) {
            self.0.insert(release.clone(), Arc::clone(name));
        }
    }

    /// What people call it; its id if nobody gave it a name.
    pub(crate) fn of<'a>(&'a self, release: &'a ReleaseId) -> &'a str {
        self.0.get(release).map_or(release.as_str(), |name| name)
    }

    /// `text` with the ids of releases replaced by their names.
    pub(crate) fn in_text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (release, name) in &self.0 {
            // A short id could be part of another word.
            if release.as_str().len() >= 12 && release.as_str() != &**name {
                text = text.replace(release.as_str(), name);
            }
        }
        text
    }

    fn change(&self, change: &Change) -> String {
        match change {
            Change::Converge {
                release,
                placement: Placement::InPlace(pace),
            } => format!("replace what runs by {}, {pace}", self.of(release)),
            Change::Converge { release, .. } => format!("start {}", self.of(release)),
            Change::Weights { shares } => {
                let shares: Vec<String> = shares
                    .iter()
                    .map(|share| format!("{} {}", self.of(&share.release), share.weight))
                    .collect();
                format!("send the traffic to {}", shares.join(", "))
            }
            Change::Retire { release } => format!("retire {}", self.of(release)),
            other => other.to_string(),
        }
    }

    fn step(&self, step: &Step) -> String {
        match step {
            Step::Check { hold_for } => format!("check for {}", duration_text(*hold_for)),
            Step::Gate { name, within, .. } => {
                format!("gate {name} for {}", duration_text(*within))
            }
            Step::Task { name, .. } => format!("task {name}"),
            Step::Wait { length } => format!("wait {}", duration_text(*length)),
            Step::Bake { length } => format!("bake for {}", duration_text(*length)),
            Step::Verify { hold_for } => format!("verify for {}", duration_text(*hold_for)),
            other => other
                .change()
                .map_or_else(|| other.word().to_owned(), |change| self.change(&change)),
        }
    }

    /// One sentence for a fact.
    pub(crate) fn sentence(&self, fact: &Fact) -> String {
        match fact {
            Fact::PolicyAdopted { digest } => format!("policy {digest} is in force"),
            Fact::LedgerChanged {
                release,
                standing,
                because,
                ..
            } => format!(
                "{} is {standing}: {}",
                self.of(release),
                match because {
                    LedgerReason::Adopted => "it ran when the service was first guarded".to_owned(),
                    LedgerReason::Baked => "it went through its bake".to_owned(),
                    LedgerReason::PromotedBy(who) => format!("{who} promoted it"),
                    LedgerReason::Failed(trigger) => format!("{} failed on it", trigger.name),
                    LedgerReason::TaskFailed(task) => format!("task {task} failed on it"),
                    LedgerReason::RolledBack => "it was rolled back".to_owned(),
                    LedgerReason::OverriddenBy(who) => format!("{who} overrode its rejection"),
                    other => format!("{other:?}"),
                }
            ),
            Fact::Refused { actor, reason, .. } => {
                format!(
                    "refused what {actor} asked for: {}",
                    self.in_text(&reason.to_string())
                )
            }
            Fact::DeploymentOpened {
                deployment,
                candidate,
                adopted: true,
                ..
            } => format!(
                "deployment {deployment} opened: somebody else deployed {}, which is watched from here on",
                self.of(candidate)
            ),
            Fact::DeploymentOpened {
                deployment,
                candidate,
                actor,
                supersedes,
                ..
            } => {
                let name = self.of(candidate);
                match supersedes {
                    Some(older) => format!(
                        "deployment {deployment} of {name} opened by {actor}, in the place of {older}"
                    ),
                    None => format!("deployment {deployment} of {name} opened by {actor}"),
                }
            }
            Fact::PlanMade {
                kind,
                stable,
                steps,
                ..
            } => {
                let steps: Vec<String> = steps.iter().map(|step| self.step(step)).collect();
                let steps = steps.join("; ");
                let stable = stable.as_ref().map(|stable| self.of(stable));
                match (kind, stable) {
                    (PlanKind::Rollout, Some(stable)) => {
                        format!("plan, with {stable} to return to: {steps}")
                    }
                    (PlanKind::Rollback, Some(stable)) => format!("plan back to {stable}: {steps}"),
                    (_, None) => format!("plan, with nothing to return to yet: {steps}"),
                }
            }
            Fact::StepEntered {
                number, deadline, ..
            } => format!("step {number} begins; stuck after {deadline}"),
            Fact::StepDone { number, .. } => format!("step {number} is done"),
            Fact::ChangeIntended { change, .. } => format!("will {}", self.change(change)),
            Fact::ChangeMoved { id, to } => match to {
                SentState::Accepted => format!("change {id} was accepted"),
                SentState::InDoubt { why, until, .. } => {
                    format!("change {id} is in doubt ({why}); looked for until {until}")
                }
                SentState::Found => format!("change {id} was found on the platform"),
                SentState::NotTaken { why, retry_at } => {
                    format!("change {id} was not taken ({why}); again at {retry_at}")
                }
                SentState::Refused { why } => format!("change {id} was refused: {why}"),
                other => format!("change {id}: {other:?}"),
            },
            Fact::GatePassed { gate, by, .. } => match by {
                Some(by) => format!("gate {gate} was opened by {by}"),
                None => format!("gate {gate} opened: nobody came in time, and the policy says so"),
            },
            Fact::TaskIntended { task, id, .. } => format!("will start task {task} as {id}"),
            Fact::TaskMoved { task, to, .. } => match to {
                TaskState::Running { .. } => format!("task {task} runs"),
                TaskState::InDoubt { why, .. } => format!("task {task} is in doubt ({why})"),
                TaskState::NotStarted { why, retry_at } => {
                    format!("task {task} was not started ({why}); again at {retry_at}")
                }
                TaskState::Succeeded => format!("task {task} succeeded"),
                TaskState::Failed { why } => format!("task {task} failed: {why}"),
                TaskState::TimedOut { why } => format!("task {task} took too long: {why}"),
                TaskState::LeftRunning { why } => {
                    format!("task {task} could not be asked to stop, and may still run: {why}")
                }
                other => format!("task {task}: {other:?}"),
            },
            Fact::VerdictChanged {
                trigger,
                verdict,
                explanation,
                ..
            } => match explanation {
                Some(numbers) if !numbers.sentence.is_empty() => {
                    format!("{}: {verdict}: {}", trigger.name, numbers.sentence)
                }
                _ => format!("{}: {verdict}", trigger.name),
            },
            Fact::DelayMoved {
                trigger,
                action,
                to,
                ..
            } => format!("{}: {action} {to}", trigger.name),
            Fact::Held { reason, exits, .. } => {
                let exits: Vec<String> = exits.iter().map(ToString::to_string).collect();
                format!(
                    "held: {}; exits: {}",
                    self.in_text(&reason.to_string()),
                    exits.join(", ")
                )
            }
            Fact::Released { exit, by, .. } => match by {
                Some(by) => format!("the hold is over: {exit} by {by}"),
                None => format!("the hold is over: {exit}"),
            },
            Fact::PermitRequested { .. } => "asked the fleet to be allowed to roll back".to_owned(),
            Fact::PermitAnswered { denied: None, .. } => "the fleet allows the rollback".to_owned(),
            Fact::PermitAnswered {
                denied: Some(why), ..
            } => format!("the fleet does not allow the rollback: {why}"),
            Fact::Promoted { by, .. } => format!("{by} promotes it without further evidence"),
            Fact::PolicySwitched { policy, .. } => {
                format!("watched by policy {policy} from now on")
            }
            Fact::RollbackDecided {
                target,
                attempt,
                cause,
                ..
            } => {
                let again = if *attempt > 1 {
                    format!(" (attempt {attempt})")
                } else {
                    String::new()
                };
                format!(
                    "rolls back to {}{again}: {}",
                    self.of(target),
                    self.in_text(&cause.to_string())
                )
            }
            Fact::RollbackAttemptFailed { target, why, .. } => {
                format!(
                    "could not return to {}: {}",
                    self.of(target),
                    self.in_text(why)
                )
            }
            Fact::Frozen { order } => format!("deployments are frozen ({order})"),
            Fact::Unfrozen { by: Some(by) } => format!("{by} unfroze deployments"),
            Fact::Unfrozen { by: None } => "the freeze is over, its time has come".to_owned(),
            Fact::Killed { order } => format!("the kill switch is on ({order})"),
            Fact::Revived { by } => format!("{by} switched the kill switch off"),
            Fact::WouldHave { would, .. } => self.in_text(&would.to_string()),
            Fact::Ended { outcome, .. } => self.in_text(&outcome.to_string()),
            Fact::Ignored { why } => format!("ignored: {why}"),
            Fact::NoticeGivenUp { key, why } => format!("notice {key} was given up: {why}"),
            other => format!("{other:?}"),
        }
    }

    /// One sentence for a command.
    pub(crate) fn command(&self, command: &Command) -> String {
        match command {
            Command::Deploy(deploy) if deploy.name.is_empty() => {
                format!("deploy {}", self.of(&deploy.release))
            }
            Command::Deploy(deploy) if deploy.expedite => format!("expedite {}", deploy.name),
            Command::Deploy(deploy) => format!("deploy {}", deploy.name),
            Command::Pause => "pause".to_owned(),
            Command::Resume => "resume".to_owned(),
            Command::Promote => "promote".to_owned(),
            Command::Abort => "abort".to_owned(),
            Command::RollBack { to: Some(to) } => format!("roll back to {}", self.of(to)),
            Command::RollBack { to: None } => "roll back".to_owned(),
            Command::AdoptPolicy => "adopt the newest policy".to_owned(),
            Command::Freeze { until: None } => "freeze deployments".to_owned(),
            Command::Freeze { until: Some(until) } => format!("freeze deployments until {until}"),
            Command::Unfreeze => "unfreeze deployments".to_owned(),
            Command::KillSwitch { on: true } => "switch the kill switch on".to_owned(),
            Command::KillSwitch { on: false } => "switch the kill switch off".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

/// One sentence for the fleet's answer.
pub(crate) fn permit(decision: &PermitDecision) -> String {
    match decision {
        PermitDecision::Granted => "granted".to_owned(),
        PermitDecision::Denied { why } => format!("denied: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use rollback_core::model::{DeploymentId, Outcome};

    use super::*;

    #[test]
    fn people_read_names_instead_of_digests() {
        let v2 = ReleaseId::new("0123456789abcdef").unwrap();
        let v1 = ReleaseId::new("v1").unwrap();
        let mut names = Names::default();
        names.learn(&Fact::LedgerChanged {
            release: v2.clone(),
            name: "checkout-2".into(),
            standing: rollback_core::entry::Standing::Unknown,
            because: LedgerReason::Baked,
        });
        assert_eq!(names.of(&v2), "checkout-2");
        assert_eq!(names.of(&v1), "v1");
        let ended = Fact::Ended {
            deployment: DeploymentId::new("d1").unwrap(),
            outcome: Outcome::Promoted { release: v2 },
        };
        assert_eq!(names.sentence(&ended), "promoted checkout-2");
    }
}
