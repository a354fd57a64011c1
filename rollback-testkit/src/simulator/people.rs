//! The people around the service, and the healing.

use std::{sync::Arc, time::Duration};

use rollback_core::{
    entry::Command,
    model::{HoldExit, Outcome, ReleaseId, Timestamp},
    policy::Policy,
};

use super::{
    invariants::Invariant,
    world::{Event, World},
};

impl World<'_> {
    /// Something that somebody does, now or later.
    pub(super) fn command_after(&mut self, delay: Duration, command: Command) {
        self.after(delay, Event::Command(command));
    }

    pub(super) fn policy_after(&mut self, delay: Duration, index: usize) {
        self.after(delay, Event::OfferPolicy(index));
    }

    pub(super) fn foreign_after(&mut self, delay: Duration, release: ReleaseId) {
        self.after(delay, Event::Foreign(release));
    }

    pub(super) fn blind_between(&mut self, from: Timestamp, to: Timestamp) {
        self.metrics.blind_between(from, to);
    }

    pub(super) fn outage_between(&mut self, from: Timestamp, to: Timestamp) {
        self.coverage.fault("outage");
        self.metrics.outage_between(from, to);
    }

    pub(super) fn policy(&self) -> Option<&Arc<Policy>> {
        self.known.policies.get(self.known.adopted.as_ref()?)
    }

    /// From now on nothing goes wrong any more, and somebody is in charge.
    pub(super) fn heal(&mut self) {
        self.faults = 0;
        self.metrics.heal();
        self.events.retain(|_, event| {
            !matches!(
                event,
                Event::Command(_)
                    | Event::Approve
                    | Event::Foreign(_)
                    | Event::OfferPolicy(_)
                    | Event::TakeOver
            )
        });
        let paused: Vec<_> = self
            .controllers
            .iter()
            .filter(|c| c.paused_until.is_some())
            .map(|c| c.id)
            .collect();
        for id in paused {
            self.resume(id);
        }
        if self.in_charge().is_none() && self.violation.is_none() {
            self.controllers.clear();
            self.start_controller();
        }
    }

    /// A person looks at the hold, if there is one, and ends it by one of its exits.
    pub(super) fn resolve_hold(&mut self, tries: u32) {
        let Some(hold) = self.in_charge().and_then(|engine| engine.hold().cloned()) else {
            return;
        };
        let wishes = [
            HoldExit::Resume,
            HoldExit::Promote,
            HoldExit::RollBack,
            HoldExit::Abort,
        ];
        let mut exits = wishes.iter().filter(|exit| hold.exits.contains(exit));
        // The same exit once; what does not help is not done again.
        let Some(exit) = exits
            .nth(usize::try_from(tries).unwrap_or(usize::MAX))
            .or_else(|| wishes.iter().rfind(|exit| hold.exits.contains(exit)))
        else {
            return self.violate(
                Invariant::Termination,
                format!("no person can end this: {hold}"),
            );
        };
        let command = match exit {
            HoldExit::Resume => Command::Resume,
            HoldExit::Promote => Command::Promote,
            HoldExit::RollBack => Command::RollBack { to: None },
            _ => Command::Abort,
        };
        self.happen(Event::Command(command));
    }

    pub(super) fn outcome_of_last(&self) -> Option<&Outcome> {
        self.known.ended.get(self.known.last_ended.as_ref()?)
    }
}
