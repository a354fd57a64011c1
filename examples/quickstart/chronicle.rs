//! What happened, told from the journal's entries: the story's screen, its table and its `--resume` all read this.
//!
//! The journal is the one truth about a deployment. The story keeps no second account that could differ from it, or
//! that would be lost with the controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use rollback_core::entry::{Entry, Fact, PlanKind, SentState, Step};
use rollback_core::model::{
    Cause, DeploymentId, HoldReason, Outcome, ReleaseId, Timestamp, TriggerId, Verdict,
    duration_text,
};

/// All deployments of the service, as far as the journal was read.
#[derive(Debug, Default)]
pub(crate) struct Chronicle {
    chapters: Vec<Chapter>,
    names: BTreeMap<ReleaseId, Arc<str>>,
}

/// One deployment.
#[derive(Debug, Clone)]
pub(crate) struct Chapter {
    /// Which.
    pub(crate) deployment: DeploymentId,
    /// What it moves to.
    pub(crate) candidate: ReleaseId,
    /// When it began.
    pub(crate) opened: Timestamp,
    /// When it was decided to go back, and why; the first time, should it be decided again.
    pub(crate) decided: Option<Decided>,
    /// Whether it waits for a person.
    pub(crate) held: bool,
    /// What it waited for a person for, in order.
    pub(crate) holds: Vec<HoldReason>,
    /// When it first did.
    pub(crate) held_first: Option<Timestamp>,
    /// The end.
    pub(crate) ended: Option<(Timestamp, Outcome)>,
    plan: Option<(PlanKind, Vec<Step>)>,
    step: Option<usize>,
    /// The trigger whose failure was told last.
    failing: Option<TriggerId>,
}

/// A decision to go back.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    /// When.
    pub(crate) at: Timestamp,
    /// Why.
    pub(crate) cause: Cause,
}

/// One thing worth telling a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// A sentence, with names in the place of ids.
    pub(crate) text: String,
    /// Good, bad or neither, for the eye.
    pub(crate) tone: Tone,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
}

impl Chronicle {
    /// The newest deployment of this release.
    pub(crate) fn of(&self, candidate: &ReleaseId) -> Option<&Chapter> {
        self.chapters
            .iter()
            .rev()
            .find(|chapter| chapter.candidate == *candidate)
    }

    /// Gives a release its name, before the journal does.
    pub(crate) fn name(&mut self, release: &ReleaseId, name: &Arc<str>) {
        self.names.insert(release.clone(), Arc::clone(name));
    }

    /// The text with names in the place of ids.
    pub(crate) fn named(&self, text: &str) -> String {
        let put =
            |text: String, (id, name): (&ReleaseId, &Arc<str>)| text.replace(id.as_str(), name);
        self.names.iter().fold(text.to_owned(), put)
    }

    /// Takes in what was journaled before this process began.
    pub(crate) fn catch_up(&mut self, entry: &Entry) {
        for fact in &entry.facts {
            self.read(entry.at, fact);
        }
    }

    /// Takes in the next fact, and says what is worth telling of it.
    pub(crate) fn read(&mut self, at: Timestamp, fact: &Fact) -> Option<Line> {
        let (tone, text) = self.fold(at, fact)?;
        Some(Line {
            text: self.named(&text),
            tone,
        })
    }

    fn fold(&mut self, at: Timestamp, fact: &Fact) -> Option<(Tone, String)> {
        use Tone::{Bad, Plain};
        match fact {
            Fact::LedgerChanged {
                release,
                name,
                standing,
                ..
            } => {
                // A release that ran before is adopted under its id; people know it by its name.
                self.names
                    .entry(release.clone())
                    .or_insert_with(|| Arc::clone(name));
                Some((Plain, format!("{release} is {standing}")))
            }
            Fact::Refused { reason, .. } => Some((Bad, format!("refused: {reason}"))),
            Fact::DeploymentOpened {
                deployment,
                candidate,
                name,
                actor,
                ..
            } => {
                self.name(candidate, name);
                self.chapters
                    .push(Chapter::opened(deployment, candidate, at));
                Some((Plain, format!("{actor} deploys {name}")))
            }
            other => {
                let deployment = of(other)?;
                let chapter = self
                    .chapters
                    .iter_mut()
                    .rev()
                    .find(|chapter| chapter.deployment == *deployment)?;
                chapter.fold(at, other)
            }
        }
    }
}

impl Chapter {
    fn opened(deployment: &DeploymentId, candidate: &ReleaseId, at: Timestamp) -> Self {
        Self {
            deployment: deployment.clone(),
            candidate: candidate.clone(),
            opened: at,
            decided: None,
            held: false,
            holds: Vec::new(),
            held_first: None,
            ended: None,
            failing: None,
            plan: None,
            step: None,
        }
    }

    /// The step that is under way, in words.
    pub(crate) fn step(&self) -> Option<String> {
        let (_, steps) = self.plan.as_ref()?;
        steps.get(self.step?).map(doing)
    }

    /// Whether the candidate has users, and is watched.
    pub(crate) fn is_watched(&self) -> bool {
        let steps = self.plan.as_ref().map(|(_, steps)| steps);
        let step = steps.zip(self.step).and_then(|(steps, at)| steps.get(at));
        matches!(step, Some(Step::Bake { .. }))
    }

    fn fold(&mut self, at: Timestamp, fact: &Fact) -> Option<(Tone, String)> {
        use Tone::{Bad, Good, Plain};
        match fact {
            Fact::PlanMade { kind, steps, .. } => {
                self.plan = Some((*kind, steps.clone()));
                self.step = None;
                None
            }
            Fact::StepEntered { index, .. } => {
                self.step = Some(usize::from(*index));
                Some((Plain, self.step()?))
            }
            Fact::StepDone { .. } => {
                let (kind, steps) = self.plan.as_ref()?;
                let done = steps.get(self.step?)?;
                if (*kind, matches!(done, Step::Weights { .. })) == (PlanKind::Rollback, true) {
                    return Some((
                        Good,
                        "all users are back on the restored release".to_owned(),
                    ));
                }
                None
            }
            Fact::ChangeMoved { to, .. } => match to {
                SentState::InDoubt { why, .. } => Some((Bad, format!("in doubt: {why}"))),
                SentState::Found => Some((
                    Good,
                    "the change in doubt was found on the platform".to_owned(),
                )),
                SentState::NotTaken { why, .. } => Some((Plain, format!("not taken: {why}"))),
                SentState::Refused { why } => Some((Bad, format!("refused: {why}"))),
                _ => None,
            },
            Fact::VerdictChanged {
                trigger,
                verdict,
                explanation,
                ..
            } => {
                let tone = match verdict {
                    // That all is well is said at the end.
                    Verdict::Pass => return None,
                    Verdict::Fail => Bad,
                    _ => Plain,
                };
                if *verdict == Verdict::Fail {
                    self.failing = Some(trigger.clone());
                }
                let sentence = explanation
                    .as_deref()
                    .map_or("", |explanation| &explanation.sentence);
                let colon = if sentence.is_empty() { "" } else { ": " };
                Some((
                    tone,
                    format!("{} says {verdict}{colon}{sentence}", trigger.name),
                ))
            }
            Fact::Held { reason, .. } => {
                self.held = true;
                self.held_first.get_or_insert(at);
                self.holds.push(reason.clone());
                Some((Bad, format!("waits for a person: {reason}")))
            }
            Fact::Released { exit, .. } => {
                self.held = false;
                Some((Plain, format!("goes on: {exit}")))
            }
            Fact::RollbackDecided { target, cause, .. } => {
                let decided = || Decided {
                    at,
                    cause: cause.clone(),
                };
                self.decided.get_or_insert_with(decided);
                let why = match cause {
                    // Its sentence was told a moment ago.
                    Cause::Trigger { trigger, .. } if self.failing.as_ref() == Some(trigger) => {
                        format!("{} failed", trigger.name)
                    }
                    other => other.to_string(),
                };
                Some((Bad, format!("BACK TO {target}: {why}")))
            }
            Fact::RollbackAttemptFailed { target, why, .. } => {
                Some((Bad, format!("could not return to {target}: {why}")))
            }
            Fact::Ended { outcome, .. } => {
                let tone = if matches!(outcome, Outcome::Promoted { .. }) {
                    Good
                } else {
                    Bad
                };
                let text = match outcome {
                    // Why was told when it was decided.
                    Outcome::RolledBack { from, to, .. } => {
                        format!("rolled back from {from} to {to}, and verified")
                    }
                    other => other.to_string(),
                };
                self.ended = Some((at, outcome.clone()));
                Some((tone, text))
            }
            _ => None,
        }
    }
}

/// The deployment that a fact is about.
fn of(fact: &Fact) -> Option<&DeploymentId> {
    match fact {
        Fact::PlanMade { deployment, .. }
        | Fact::StepEntered { deployment, .. }
        | Fact::StepDone { deployment, .. }
        | Fact::VerdictChanged { deployment, .. }
        | Fact::Held { deployment, .. }
        | Fact::Released { deployment, .. }
        | Fact::RollbackDecided { deployment, .. }
        | Fact::RollbackAttemptFailed { deployment, .. }
        | Fact::Ended { deployment, .. } => Some(deployment),
        Fact::ChangeMoved { id, .. } | Fact::ChangeIntended { id, .. } => Some(&id.deployment),
        _ => None,
    }
}

fn doing(step: &Step) -> String {
    match step {
        Step::Converge { .. } | Step::Weights { .. } | Step::Retire { .. } => step
            .change()
            .map_or_else(|| step.word().to_owned(), |change| change.to_string()),
        Step::Check { hold_for } => format!(
            "check the candidate for {} before it has users",
            duration_text(*hold_for)
        ),
        Step::Bake { length } => format!(
            "watch the candidate with users for {}",
            duration_text(*length)
        ),
        Step::Verify { hold_for } => format!(
            "verify: the restored release must be good for {}",
            duration_text(*hold_for)
        ),
        other => other.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{journal, release};

    #[test]
    fn a_rollback_is_told_with_names_and_its_times_are_kept() {
        let mut chronicle = Chronicle::default();
        let mut told = Vec::new();
        for entry in journal() {
            told.extend(
                entry
                    .facts
                    .iter()
                    .filter_map(|fact| chronicle.read(entry.at, fact)),
            );
        }
        let texts: Vec<_> = told.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "v1 is proven",
                "quickstart deploys v2",
                "send the traffic to v2 100 %",
                "BACK TO v1: errors: 30 % of v2's answers are bad",
                "send the traffic to v1 100 %",
                "all users are back on the restored release",
                "verify: the restored release must be good for 3s",
                "rolled back from v2 to v1, and verified",
            ]
        );
        let chapter = chronicle.of(&release("aaaa")).unwrap();
        assert_eq!(chapter.opened, Timestamp::from_millis(2000));
        assert_eq!(
            chapter.decided.as_ref().unwrap().at,
            Timestamp::from_millis(4000)
        );
        assert_eq!(
            chapter.ended.as_ref().unwrap().0,
            Timestamp::from_millis(7000)
        );
        assert!(chronicle.of(&release("cccc")).is_none());
    }
}
