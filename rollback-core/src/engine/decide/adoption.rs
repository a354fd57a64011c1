//! What somebody else deployed while nothing of ours was under way: found, adopted, asked about.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{
        Engine, VERSION,
        mutant::Mutant,
        state::{Active, RunningStep, Stage},
    },
    entry::{Fact, Input, PlanKind, Standing, Step},
    model::{
        Actor, DeploymentId, HoldExit, HoldReason, Irreversible, Observation, Outcome, ReleaseId,
        Timestamp, Weight,
    },
    policy::{Foreign, Mode},
    triggers,
};

/// So often an idle platform is looked at, if foreign deployments matter.
const IDLE_PACE: Duration = Duration::from_secs(60);

impl Engine {
    /// A look at an idle platform that shows nothing new: it is neither folded nor journaled.
    pub(in crate::engine) fn is_old_news(&self, input: &Input) -> bool {
        let Input::Observed { asked_at, result } = input else {
            return false;
        };
        self.state.active.is_none()
            && match result {
                Ok(seen) => self.foreign_release(*asked_at, seen).is_none(),
                Err(_) => true,
            }
    }

    /// When an idle platform is looked at next.
    pub(in crate::engine) fn idle_look_due(&self) -> Option<Timestamp> {
        let policy = self.state.policy()?;
        if policy.foreign == Foreign::Ignore {
            return None;
        }
        let last = self.state.seen.as_ref().map(|seen| seen.asked_at);
        let last = last.max(self.in_flight.idle_look);
        let pace = IDLE_PACE.max(policy.poll);
        Some(last.map_or(self.now, |last| last.after(pace)))
    }

    /// The release that somebody else deployed.
    fn foreign_release<'a>(
        &self,
        asked_at: Timestamp,
        seen: &'a Observation,
    ) -> Option<&'a ReleaseId> {
        if self.state.policy()?.foreign == Foreign::Ignore {
            return None;
        }
        if let Some(left) = &self.state.left {
            let known = left.wanted == seen.wanted
                || left.maybe.as_ref() == Some(&seen.wanted)
                || left
                    .before
                    .as_ref()
                    .is_some_and(|(before, until)| *before == seen.wanted && asked_at <= *until);
            if known {
                return None;
            }
        }
        let stable = self.state.ledger.stable();
        let others = seen
            .wanted
            .iter()
            .filter(|(release, _)| Some(*release) != stable);
        let mut newest: Option<(&ReleaseId, Weight)> = None;
        for (release, weight) in others {
            if newest.is_none_or(|(_, most)| weight > most) {
                newest = Some((release, weight));
            }
        }
        newest.map(|(release, _)| release)
    }

    /// What a deployment before did that cannot be taken back, and that is not through.
    pub(super) fn scar(&self) -> Option<Irreversible> {
        let active = self.state.active.as_ref();
        active
            .and_then(Active::is_irreversible)
            .or(self.state.scar.as_ref())
            .map(|scar| Irreversible::at_once(&scar.why))
    }

    /// While nothing is under way: what somebody else deployed is taken into care.
    pub(super) fn decide_adoption(&self, at: Timestamp) -> Option<Fact> {
        let seen = self.state.seen.as_ref()?;
        let candidate = self.foreign_release(seen.asked_at, &seen.observation)?;
        let policy = self.state.policy()?;
        let rules = triggers::build(policy, &self.config.host_triggers).ok()?;
        Some(Fact::DeploymentOpened {
            deployment: DeploymentId::structural(self.seq.next(), at),
            candidate: candidate.clone(),
            name: Arc::from(self.state.ledger.name(candidate)),
            actor: Actor::new("somebody else"),
            policy: self.state.adopted.clone()?,
            triggers: rules.iter().map(|armed| armed.trigger.id()).collect(),
            engine: Arc::from(VERSION),
            supersedes: None,
            way_back: None,
            expedited: None,
            irreversible: self.scar(),
            adopted: true,
        })
    }

    /// The pre-flight of what runs already, or will be run by others: nothing is checked, and there
    /// is no baseline, since it was not us who began.
    pub(super) fn watch_from_here(&self, active: &Active, seen: &Observation) -> Fact {
        if active.adopted && !seen.wanted.runs(&active.candidate) {
            return Fact::Ended {
                deployment: active.id.clone(),
                outcome: Outcome::Superseded {
                    by: None,
                    why: Arc::from(format!("the platform wants {} now", seen.wanted)),
                },
            };
        }
        Fact::PlanMade {
            deployment: active.id.clone(),
            kind: PlanKind::Rollout,
            stable: self.stable_for(active).cloned(),
            steps: vec![Step::Bake {
                length: active.policy.bake,
            }],
        }
    }

    /// A rejected release is not watched again, and nothing is if the policy says `hold`, before a
    /// person was asked. It is never rolled back at once: that could go on for ever.
    pub(super) fn decide_to_ask(&self, active: &Active) -> Option<Fact> {
        let in_care = active.adopted && active.stage == Stage::Planned(PlanKind::Rollout);
        if !in_care
            || self.mutant(Mutant::FightsTheContested)
            || active.asked
            || active.hold.is_some()
            || active.observes()
        {
            return None;
        }
        let release = active.candidate.clone();
        let reason = if self.state.ledger.standing(&release) == Standing::Rejected {
            HoldReason::Quarantined { release }
        } else if active.policy.foreign == Foreign::Hold {
            HoldReason::Foreign { release }
        } else {
            return None;
        };
        Some(Fact::Held {
            deployment: active.id.clone(),
            reason,
            exits: vec![
                HoldExit::Resume,
                HoldExit::Promote,
                HoldExit::RollBack,
                HoldExit::Abort,
            ],
        })
    }
}

impl Active {
    /// Whether the engine only watches and tells.
    pub(in crate::engine) fn observes(&self) -> bool {
        self.policy.mode == Mode::Observe
    }

    /// Where a bake's time begins: what others bring is not there from the beginning.
    pub(in crate::engine) fn bakes_from(&self, running: &RunningStep) -> Option<Timestamp> {
        if self.is_led_by_others() {
            running.good_since
        } else {
            Some(running.entered)
        }
    }

    /// Whether others said that they bring it, and only tell us.
    pub(in crate::engine) fn is_announced(&self) -> bool {
        self.observes() && !self.adopted
    }

    /// Whether somebody else moves the platform for this deployment.
    pub(in crate::engine) fn is_led_by_others(&self) -> bool {
        self.adopted || self.observes()
    }
}
