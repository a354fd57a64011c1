//! Somebody else changed the platform: another deployment, or the platform's own rollback.

use std::sync::Arc;

use crate::{
    engine::{
        Engine,
        state::{Active, Stage},
    },
    entry::{Fact, SentState, Standing},
    model::{Cause, HoldExit, HoldReason, Outcome, PlatformRollbackState, Timestamp, Wanted},
};

impl Engine {
    pub(super) fn decide_foreign(&self, _at: Timestamp, active: &Active) -> Option<Fact> {
        if active.stage == Stage::Preflight || active.observes() {
            return None;
        }
        // What is under way is resolved first: it must not arrive on top of what is decided now.
        if active.change.is_some() {
            return None;
        }
        let seen = self.state.seen.as_ref()?;
        let observation = &seen.observation;
        if seen.asked_at < active.opened_at
            || Self::is_expected(active, &observation.wanted, seen.asked_at)
        {
            return None;
        }
        // What was sent long ago and is taken only now is nobody else's: the platform shows whose
        // it is.
        if let Some(late) = &active.late
            && observation.last_change.as_ref() == Some(&late.id)
            && observation.wanted == late.change.applied_to(&active.expected)
        {
            return Some(Fact::ChangeMoved {
                id: late.id.clone(),
                to: SentState::Found,
            });
        }
        if let Some(platform) = &observation.platform_rollback
            && platform.from == active.candidate
            && !active.rolls_back()
            && self.state.ledger.standing(&platform.to) == Standing::Proven
        {
            return Some(Fact::RollbackDecided {
                deployment: active.id.clone(),
                target: platform.to.clone(),
                attempt: 1,
                cause: Cause::Platform {
                    why: Arc::clone(&platform.why),
                },
            });
        }
        if let Some(contested) = self.contested(active, &observation.wanted) {
            let same = active
                .hold
                .as_ref()
                .is_some_and(|hold| hold.reason == contested);
            return (!same).then(|| Fact::Held {
                deployment: active.id.clone(),
                reason: contested,
                exits: vec![HoldExit::DataReturns, HoldExit::RollBack, HoldExit::Abort],
            });
        }
        Some(Fact::Ended {
            deployment: active.id.clone(),
            outcome: Outcome::Superseded {
                by: None,
                why: Arc::from(format!(
                    "somebody else changed the platform: it wants {}, and this deployment left it \
                     at {}",
                    observation.wanted, active.expected
                )),
            },
        })
    }

    /// Somebody brings back what this deployment is leaving, or what was rejected before.
    fn contested(&self, active: &Active, wanted: &Wanted) -> Option<HoldReason> {
        let main = wanted.main()?;
        let left = active.rolls_back() && *main == active.candidate;
        let rejected = self.state.ledger.standing(main) == Standing::Rejected;
        (left || rejected).then(|| HoldReason::Contested {
            release: main.clone(),
        })
    }

    /// The platform's own rollback is on its way: nothing of ours is sent meanwhile.
    pub(super) fn platform_rolls_back(&self, active: &Active) -> bool {
        self.state.seen.as_ref().is_some_and(|seen| {
            seen.asked_at >= active.opened_at
                && seen
                    .observation
                    .platform_rollback
                    .as_ref()
                    .is_some_and(|own| {
                        own.state == PlatformRollbackState::Started && own.from == active.candidate
                    })
        })
    }
}
