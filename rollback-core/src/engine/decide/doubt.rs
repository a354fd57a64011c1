//! Changes in doubt are resolved by looking, never by repeating.

use std::sync::Arc;

use crate::{
    engine::{
        Engine,
        mutant::Mutant,
        state::{Active, PendingChange},
    },
    entry::{Fact, SentState},
    model::{Timestamp, Wanted},
};

impl Engine {
    /// A new controller does not know whether the old one sent what it intended.
    pub(super) fn doubt_after_restart(&self, at: Timestamp) -> Option<Fact> {
        if self.mutant(Mutant::RepeatsAfterRestart) {
            return None;
        }
        let active = self.state.active.as_ref()?;
        let pending = active.change.as_ref()?;
        Some(Fact::ChangeMoved {
            id: pending.id.clone(),
            to: self.doubted(
                at,
                active,
                pending,
                "the controller started anew before the answer came",
            ),
        })
    }

    /// The doubt about a change: until when the platform may not show it, and until when a person
    /// is not needed.
    pub(super) fn doubted(
        &self,
        at: Timestamp,
        active: &Active,
        pending: &PendingChange,
        why: &str,
    ) -> SentState {
        let settle = self.config.capabilities.settle;
        // Without compare-and-set a request that is still on its way could be taken after a new
        // attempt; with it, at most one of the two can be.
        let settles = if self.config.capabilities.compare_and_set {
            at.after(settle)
        } else {
            let sent_until = pending.not_after.after(active.policy.deadlines.apply);
            at.max(sent_until).after(settle)
        };
        SentState::InDoubt {
            why: Arc::from(why),
            settles,
            until: settles.after(active.policy.deadlines.doubt),
        }
    }

    pub(super) fn decide_doubt(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        let pending = active.change.as_ref()?;
        let Some(doubt) = pending.doubt else {
            // Sent, or about to be, and no answer: from some time on that is a doubt.
            let overdue = pending.not_after.after(active.policy.deadlines.apply);
            let overdue = at >= overdue && !self.mutant(Mutant::WaitsForEver);
            return overdue.then(|| Fact::ChangeMoved {
                id: pending.id.clone(),
                to: self.doubted(at, active, pending, "no answer came in time"),
            });
        };
        let seen = self.state.seen_since(doubt.since)?;
        let moved = |to| {
            Some(Fact::ChangeMoved {
                id: pending.id.clone(),
                to,
            })
        };
        let after = pending.change.applied_to(&active.expected);
        if seen.last_change.as_ref() == Some(&pending.id)
            || (seen.wanted == after && after != active.expected)
        {
            return moved(SentState::Found);
        }
        self.state.seen_since(doubt.settles)?;
        moved(SentState::NotTaken {
            why: Arc::from(if seen.wanted == active.expected {
                "the platform does not show it"
            } else {
                // Whether it was taken before that does not matter any more, and it cannot be
                // taken later.
                "somebody else moved the platform meanwhile"
            }),
            retry_at: at,
        })
    }

    /// Whether `wanted` is what the platform may show by all we know.
    pub(super) fn is_expected(active: &Active, wanted: &Wanted, asked_at: Timestamp) -> bool {
        *wanted == active.expected
            || active
                .change
                .as_ref()
                .is_some_and(|pending| pending.change.applied_to(&active.expected) == *wanted)
            || active
                .before
                .as_ref()
                .is_some_and(|(before, until)| before == wanted && asked_at <= *until)
    }
}
