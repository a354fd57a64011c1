//! The steps of a plan: entered, asked of the platform, waited for, done or stuck.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{
        Engine,
        mutant::Mutant,
        state::{Active, RunningStep, Stage},
    },
    entry::{Fact, LedgerReason, Standing, Step},
    model::{
        ArmState, Change, ChangeId, Expectation, HoldExit, HoldReason, ReleaseId, Timestamp, Weight,
    },
};

impl Engine {
    pub(super) fn decide_step(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        if active.stage == Stage::Preflight || active.hold.is_some() || active.steps.is_empty() {
            return None;
        }
        if let Some(fact) = self.prove(active) {
            return Some(fact);
        }
        let Some(step) = active.steps.get(active.index) else {
            return Some(Fact::Ended {
                deployment: active.id.clone(),
                outcome: Self::outcome_of(active),
            });
        };
        let Some(running) = &active.step else {
            // A change that is still under way belongs to a step that was left: it is resolved first.
            return active.change.is_none().then(|| Fact::StepEntered {
                deployment: active.id.clone(),
                number: active.number + 1,
                index: u16::try_from(active.index).unwrap_or(u16::MAX),
                deadline: at.after(self.allowed(active, step)),
            });
        };
        match step {
            Step::Check { hold_for } => {
                let good = running.good_since?;
                (at >= good.after(*hold_for)).then(|| done(active, running))
            }
            Step::Gate { name, then, .. } => self.decide_gate(at, active, running, name, *then),
            Step::Task {
                name, on_failure, ..
            } => self.decide_task(at, active, running, name, *on_failure),
            Step::Wait { length } => self.decide_wait(at, active, running, *length),
            Step::Bake { length } => self.decide_bake(at, active, running, *length),
            Step::Verify { hold_for } => self.decide_verify(at, active, running, *hold_for),
            Step::Converge { .. } | Step::Weights { .. } | Step::Retire { .. } => {
                let change = step.change()?;
                self.decide_change(at, active, running, &change)
            }
        }
    }

    /// A candidate that went through its bake, or that a person took, is proven.
    fn prove(&self, active: &Active) -> Option<Fact> {
        if active.rollback.is_some() || self.state.ledger.stable() == Some(&active.candidate) {
            return None;
        }
        let because = if active.baked {
            LedgerReason::Baked
        } else {
            let by = active.promoted_by.as_ref()?;
            if active.index < active.steps.len() {
                return None;
            }
            LedgerReason::PromotedBy(by.clone())
        };
        Some(Fact::LedgerChanged {
            release: active.candidate.clone(),
            name: Arc::clone(&active.name),
            standing: Standing::Proven,
            because,
        })
    }

    fn decide_change(
        &self,
        at: Timestamp,
        active: &Active,
        running: &RunningStep,
        change: &Change,
    ) -> Option<Fact> {
        if active.change.is_some() && !self.mutant(Mutant::DoesNotWait) {
            return None;
        }
        let is_wanted = change.applied_to(&active.expected) == active.expected;
        if is_wanted && self.is_in(active, change) {
            return Some(done(active, running));
        }
        if let Some(why) = &running.refused {
            return self.step_failed(active, &format!("the platform refused: {why}"));
        }
        if is_wanted && let Some(why) = self.target_gives_up(active, change) {
            return self.step_failed(active, &format!("the platform gives it up: {why}"));
        }
        if at >= running.deadline && self.sees_platform(at, active) {
            let allowed = running.deadline.since(running.entered);
            let text = crate::model::duration_text(allowed);
            let last = running.not_taken.as_ref();
            let last = last.map(|why| format!(": {why}")).unwrap_or_default();
            let why = format!("`{change}` was not done within {text}{last}");
            return self.step_failed(active, &why);
        }
        if is_wanted || at < running.retry_at || self.platform_rolls_back(active) {
            return None;
        }
        let seen = self.state.seen_since(active.look_after)?;
        if seen.wanted != active.expected && !self.mutant(Mutant::IgnoresTheFence) {
            return None;
        }
        Some(Fact::ChangeIntended {
            id: ChangeId {
                deployment: active.id.clone(),
                step: running.number,
                attempt: running.attempts + 1,
            },
            change: self.intended(active, change),
            expect: Expectation {
                wanted: active.expected.clone(),
                etag: seen.etag.clone(),
            },
            not_after: if self.mutant(Mutant::SendsForEver) {
                at.after(Duration::from_secs(86_400))
            } else {
                at.after(active.policy.deadlines.apply / 2)
            },
        })
    }

    /// The change itself; the rest is for a deliberate defect.
    fn intended(&self, active: &Active, change: &Change) -> Change {
        let wrong = self.mutant(Mutant::RetiresTheWrongOne) && active.rollback.is_none();
        match change {
            Change::Retire { .. } if wrong => Change::Retire {
                release: active.candidate.clone(),
            },
            _ => change.clone(),
        }
    }

    /// How long a step may take.
    fn allowed(&self, active: &Active, step: &Step) -> Duration {
        if self.mutant(Mutant::NoDeadline) {
            return Duration::from_secs(10 * 365 * 86_400);
        }
        let mut allowed = allowed(active, step);
        if self.mutant(Mutant::DecidesByAddress) {
            let address = std::ptr::from_ref(self).addr() / 8 % 1_000;
            allowed += Duration::from_millis(address as u64);
        }
        allowed
    }

    /// Whether the newest look shows that a wanted change is in.
    pub(super) fn is_in(&self, active: &Active, change: &Change) -> bool {
        let Some(seen) = self.state.seen_since(active.look_after) else {
            return false;
        };
        if seen.wanted != active.expected {
            return false;
        }
        match change {
            Change::Converge { release, placement } => {
                let alone = || {
                    let mut others = seen.arms.iter().filter(|arm| arm.release != *release);
                    others.all(|arm| arm.weight == Weight::NONE)
                };
                seen.is_ready(release) && (!placement.is_in_place() || alone())
            }
            Change::Weights { shares } => {
                let named =
                    |release: &ReleaseId| shares.iter().any(|share| share.release == *release);
                shares
                    .iter()
                    .all(|share| seen.weight(&share.release) == share.weight)
                    && seen
                        .arms
                        .iter()
                        .all(|arm| named(&arm.release) || arm.weight == Weight::NONE)
            }
            Change::Retire { release } => seen
                .arm(release)
                .is_none_or(|arm| arm.state == ArmState::Gone),
            Change::CancelPlatformRollout => true,
        }
    }

    /// The platform's word that the release which is returned to will not run: waiting for the
    /// deadline would only lengthen the outage.
    fn target_gives_up(&self, active: &Active, change: &Change) -> Option<Arc<str>> {
        let target = &active.rollback.as_ref()?.target;
        if matches!(change, Change::Retire { .. }) {
            return None;
        }
        let seen = self.state.seen_since(active.look_after)?;
        match &seen.arm(target)?.state {
            ArmState::Failing { why } if seen.wanted == active.expected => Some(Arc::clone(why)),
            _ => None,
        }
    }

    /// A step that asks for a change did not work. In a rollout that is the candidate's failure,
    /// and decided elsewhere, as long as it can be.
    fn step_failed(&self, active: &Active, why: &str) -> Option<Fact> {
        let retires = matches!(active.steps.get(active.index), Some(Step::Retire { .. }));
        let held = |why: String| {
            Some(Fact::Held {
                deployment: active.id.clone(),
                reason: HoldReason::StepFailed {
                    why: Arc::from(why),
                },
                exits: vec![HoldExit::Resume, HoldExit::RollBack, HoldExit::Abort],
            })
        };
        match &active.rollback {
            Some(_) if retires => held(format!("the service is restored and verified; {why}")),
            Some(rollback) => Some(Fact::RollbackAttemptFailed {
                deployment: active.id.clone(),
                target: rollback.target.clone(),
                why: Arc::from(why),
            }),
            None if active.baked || active.promoted_by.is_some() => held(why.to_owned()),
            None if retires => held(why.to_owned()),
            None => None,
        }
    }
}

pub(super) fn done(active: &Active, running: &RunningStep) -> Fact {
    Fact::StepDone {
        deployment: active.id.clone(),
        number: running.number,
    }
}

/// How long a step may take.
fn allowed(active: &Active, step: &Step) -> Duration {
    let deadlines = active.policy.deadlines;
    match step {
        Step::Converge { .. } => deadlines.converge,
        Step::Check { hold_for } => deadlines.converge + *hold_for,
        Step::Weights { .. } => deadlines.shift,
        Step::Gate { within, .. } | Step::Task { within, .. } => *within,
        Step::Wait { length } if active.rollback.is_some() => *length + deadlines.converge,
        Step::Wait { length } | Step::Bake { length } => {
            *length + active.policy.longest_blindness() + deadlines.converge
        }
        Step::Verify { hold_for } => active.policy.verify.within.max(*hold_for),
        Step::Retire { .. } => deadlines.retire,
    }
}
