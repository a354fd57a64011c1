//! Everything that is journaled, sent or told goes through here, and is held against the
//! invariants.

use rollback_core::{
    entry::{Entry, Fact},
    model::{Epoch, HoldReason},
};

use super::{
    invariants::{self, Invariant, Sightline, Violation, What},
    world::World,
};

impl World<'_> {
    pub(super) fn append(&mut self, entry: Entry, epoch: Epoch) -> bool {
        if entry.epoch != epoch {
            self.violate(
                Invariant::Fenced,
                format!(
                    "entry {} says epoch {} under {epoch}",
                    entry.seq, entry.epoch
                ),
            );
            return false;
        }
        let next = self.journal.last().map_or(1, |last| last.seq.get() + 1);
        if entry.seq.get() != next {
            self.violate(
                Invariant::Determinism,
                format!("entry {} is number {next} of the journal", entry.seq),
            );
            return false;
        }
        let last = self.known.last.map(|(_, _, at)| at).unwrap_or_default();
        if entry.at < last {
            self.violate(
                Invariant::Determinism,
                format!("time went back to {}", entry.at),
            );
            return false;
        }
        self.known.take_input(&entry);
        for fact in &entry.facts {
            let sight = Sightline {
                known: &self.known,
                entry: Some(&entry),
                epoch: self.epoch,
                scenario: &self.scenario,
                what: What::Fact(fact),
            };
            if let Err(violation) = invariants::check(&sight) {
                self.violation.get_or_insert(violation);
                break;
            }
            match fact {
                Fact::Ended { outcome, .. } => self.coverage.outcome(outcome),
                Fact::Held { reason, .. } => self.coverage.hold(hold_word(reason)),
                _ => {}
            }
            self.known.take_fact(&entry, fact);
        }
        self.check(Some(&entry), What::Entry);
        self.journal.push(entry);
        self.violation.is_none()
    }

    pub(super) fn check(&mut self, entry: Option<&Entry>, what: What<'_>) {
        let sight = Sightline {
            known: &self.known,
            entry,
            epoch: self.epoch,
            scenario: &self.scenario,
            what,
        };
        if let Err(violation) = invariants::check(&sight) {
            self.violation.get_or_insert(violation);
        }
    }

    pub(super) fn outcome_stands(&mut self, id: u32) {
        let Some(last) = self.known.last_ended.clone() else {
            return;
        };
        let said = self
            .index(id)
            .and_then(|index| self.controllers.get(index))
            .filter(|controller| controller.epoch == self.epoch)
            .map(|controller| controller.engine.outcome(&last).cloned());
        if let Some(said) = said
            && said.as_ref() != self.known.ended.get(&last)
        {
            let what = format!("{last} ended otherwise before: now {said:?}");
            self.violate(Invariant::Monotone, what);
        }
    }

    pub(super) fn bystander_is_untouched(&mut self) {
        let Ok(seen) = self.model.truth(&self.scenario.bystander) else {
            return;
        };
        if seen.wanted != self.bystander.wanted || seen.etag != self.bystander.etag {
            self.violate(
                Invariant::Bystander,
                format!("another service became {}", seen.wanted),
            );
        }
    }

    /// A value that is restored from the journal says the same as the one that dies.
    pub(super) fn restores_the_same(&mut self, id: u32) -> bool {
        let Some(index) = self.index(id) else {
            return true;
        };
        let mut restored = (self.make)(self.config());
        for entry in &self.journal {
            restored.restore(entry);
        }
        let Some(controller) = self.controllers.get(index) else {
            return true;
        };
        let (live, restored) = (controller.engine.status(), restored.status());
        if live.at == restored.at && live != restored {
            let text = |status| serde_json::to_string(status).unwrap_or_default();
            let what = format!(
                "restored otherwise:\n    live     {}\n    restored {}",
                text(&live),
                text(&restored)
            );
            self.violate(Invariant::Determinism, what);
            return false;
        }
        true
    }

    pub(super) fn violate(&mut self, invariant: Invariant, what: String) {
        self.violation
            .get_or_insert_with(|| Violation::new(invariant, what));
    }
}

/// One word for the reason of a hold.
const fn hold_word(reason: &HoldReason) -> &'static str {
    match reason {
        HoldReason::Paused { .. } => "paused",
        HoldReason::TriggerFailed { .. } => "trigger_failed",
        HoldReason::Inconclusive { .. } => "inconclusive",
        HoldReason::Blind { .. } => "blind",
        HoldReason::ExternalCause { .. } => "external_cause",
        HoldReason::NoTarget { .. } => "no_target",
        HoldReason::Cooldown { .. } => "cooldown",
        HoldReason::BudgetExhausted { .. } => "budget_exhausted",
        HoldReason::NotPermitted { .. } => "not_permitted",
        HoldReason::InDoubt { .. } => "in_doubt",
        HoldReason::StepFailed { .. } => "step_failed",
        HoldReason::PlatformUnreachable { .. } => "unreachable",
        HoldReason::Contested { .. } => "contested",
        HoldReason::RollbackFailed { .. } => "rollback_failed",
        HoldReason::Faulted { .. } => "faulted",
        HoldReason::Irreversible { .. } => "irreversible",
        HoldReason::LosesData { .. } => "loses_data",
        HoldReason::Quarantined { .. } => "quarantined",
        HoldReason::Foreign { .. } => "foreign",
        HoldReason::Killed { .. } => "killed",
        _ => "other",
    }
}
