//! When the engine wants to be woken, and why.

use std::fmt;

use super::{
    Engine,
    mutant::Mutant,
    schedule::{IDLE_LOOK_LOST, NOTICE_LOST},
    state::{Active, Stage},
};
use crate::{entry::Step, model::Timestamp};

/// When the engine wants to be woken, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NextWake {
    /// The moment; it may be in the past.
    pub at: Timestamp,
    /// What is due then.
    pub reason: WakeReason,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WakeReason {
    /// A look at the platform.
    Look,
    /// A poll of the metrics.
    Poll,
    /// The end of a step's time, or of what it waits for.
    Step,
    /// A change that was not answered, is in doubt, or may be tried again.
    Change,
    /// A rule's `for`.
    Rule,
    /// A hold that time ends.
    Hold,
    /// The time budget for blindness.
    Blindness,
    /// The fleet's silence.
    Permit,
    /// The end of the pre-flight.
    PreFlight,
    /// A task that is to be asked about.
    Task,
    /// A notice to be sent again.
    Notice,
    /// The end of a freeze.
    Freeze,
}

impl fmt::Display for WakeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Look => "look at the platform",
            Self::Poll => "read the metrics",
            Self::Step => "the step's time",
            Self::Change => "the change that is under way",
            Self::Rule => "a rule's time",
            Self::Hold => "the hold's time",
            Self::Blindness => "the time budget for blindness",
            Self::Permit => "the fleet's answer",
            Self::PreFlight => "the end of the pre-flight",
            Self::Task => "a task",
            Self::Notice => "a notice",
            Self::Freeze => "the end of the freeze",
        })
    }
}

impl Engine {
    /// When the engine wants `Input::Woke`, and why; none when only something new can change
    /// anything.
    #[must_use]
    pub fn next_wake(&self) -> Option<NextWake> {
        if self.mutant(Mutant::ForgetsToWake) {
            let active = self.state.active.as_ref()?;
            active.watch.as_ref()?;
        }
        let mut next: Option<NextWake> = None;
        let mut at = |at: Option<Timestamp>, reason| {
            if let Some(at) = at
                && next.is_none_or(|next| at < next.at)
            {
                next = Some(NextWake { at, reason });
            }
        };
        for (key, pending) in &self.state.notices {
            let due = match self.in_flight.notices.get(key) {
                Some(sent) => Some(sent.after(NOTICE_LOST)),
                None => Some(pending.next_at),
            };
            at(due, WakeReason::Notice);
        }
        if let Some(order) = &self.state.frozen {
            at(order.until, WakeReason::Freeze);
        }
        if self.state.active.is_none()
            && let Some(due) = self.idle_look_due()
        {
            let asked = self.in_flight.observe;
            let due = asked.map_or(due, |asked| due.max(asked.after(IDLE_LOOK_LOST)));
            at(Some(due), WakeReason::Look);
        }
        self.wake_for_tasks(&mut at);
        if let Some(active) = &self.state.active {
            let lost = active.policy.deadlines.apply;
            let asked = |asked: Option<Timestamp>, due: Option<Timestamp>| {
                // What is not wanted any more is not waited for, and not before it is due.
                asked.map_or(due, |asked| due.map(|due| due.max(asked.after(lost))))
            };
            at(
                asked(
                    self.in_flight.observe,
                    self.look_due(active)
                        .map(|due| due.max(self.in_flight.observe_after)),
                ),
                WakeReason::Look,
            );
            at(
                asked(self.in_flight.read, self.poll_due(active)),
                WakeReason::Poll,
            );
            if active.stage == Stage::Preflight {
                let deadline = active.policy.deadlines.preflight;
                at(
                    self.after_now(active.opened_at.after(deadline / 2)),
                    WakeReason::PreFlight,
                );
                at(
                    self.after_now(active.opened_at.after(deadline)),
                    WakeReason::PreFlight,
                );
                if !active.is_led_by_others() && !matches!(active.candidate_check, Some(Ok(()))) {
                    let due = asked(self.in_flight.check, Some(active.check_after));
                    at(due, WakeReason::PreFlight);
                }
            }
            if let Some(rollback) = &active.rollback
                && active.steps.is_empty()
            {
                let late = rollback.decided_at.after(active.policy.deadlines.converge);
                at(self.after_now(late), WakeReason::Step);
            }
            self.wake_for_step(active, &mut at);
            if let Some(pending) = &active.change {
                match pending.doubt {
                    None => at(Some(pending.not_after.after(lost)), WakeReason::Change),
                    Some(doubt) => {
                        at(self.after_now(doubt.settles), WakeReason::Change);
                        at(self.after_now(doubt.until), WakeReason::Change);
                    }
                }
            }
            if let Some(watch) = &active.watch {
                at(
                    watch
                        .next_wake(self.now)
                        .and_then(|due| self.after_now(due)),
                    WakeReason::Rule,
                );
                for blind in watch.blind() {
                    let until = active.blind_until(blind);
                    at(self.after_now(until), WakeReason::Blindness);
                }
            }
            if let Some(hold) = &active.hold {
                match hold.reason {
                    crate::model::HoldReason::Cooldown { until } => {
                        at(self.after_now(until), WakeReason::Hold);
                    }
                    crate::model::HoldReason::NotPermitted { .. } => {
                        let again = self.asks_fleet_again(active);
                        at(
                            again.and_then(|again| self.after_now(again)),
                            WakeReason::Hold,
                        );
                    }
                    _ => {}
                }
            }
            if let Some(permit) = &active.permit
                && !permit.granted
                && permit.denied.is_none()
            {
                at(self.after_now(permit.deadline), WakeReason::Permit);
            }
        }
        next
    }

    fn wake_for_step(&self, active: &Active, at: &mut impl FnMut(Option<Timestamp>, WakeReason)) {
        let Some(step) = &active.step else { return };
        at(self.after_now(step.deadline), WakeReason::Step);
        at(self.after_now(step.retry_at), WakeReason::Change);
        let good = step.good_since;
        let due = match active.steps.get(active.index) {
            Some(Step::Check { hold_for }) => good.map(|good| good.after(*hold_for)),
            Some(Step::Verify { hold_for }) => good
                .zip(
                    active
                        .watch
                        .as_ref()
                        .and_then(super::watch::Watch::good_since),
                )
                .map(|(one, other)| one.max(other).after(*hold_for)),
            Some(Step::Bake { length }) => active.bakes_from(step).map(|from| from.after(*length)),
            Some(Step::Wait { length }) => Some(step.entered.after(*length)),
            _ => None,
        };
        at(due.and_then(|due| self.after_now(due)), WakeReason::Step);
    }

    /// A moment that has passed was looked at already.
    fn after_now(&self, at: Timestamp) -> Option<Timestamp> {
        (at > self.now).then_some(at)
    }
}
