//! A deployment on its way: a step begins, a watch begins, the sending of a change moves, a hold
//! ends.

use std::{sync::Arc, time::Duration};

use super::{
    state::{Active, Doubt, PendingChange, RunningStep},
    watch::{Watch, Watched},
};
use crate::{
    entry::{SentState, Step},
    model::{ChangeId, HoldReason, Timestamp, Weight},
    ports::WatchStart,
};

impl Active {
    pub(super) fn enter(&mut self, at: Timestamp, number: u32, index: usize, deadline: Timestamp) {
        self.number = number;
        self.index = index;
        self.step = Some(RunningStep {
            number,
            entered: at,
            deadline,
            attempts: 0,
            retry_at: at,
            refused: None,
            not_taken: None,
            good_since: None,
        });
        let watch = match self.steps.get(index) {
            Some(Step::Weights { shares }) => {
                self.rollback.is_none()
                    && self.promoted_by.is_none()
                    && self.watch.is_none()
                    && shares
                        .iter()
                        .any(|share| share.release == self.candidate && share.weight > Weight::NONE)
            }
            Some(Step::Verify { .. }) => true,
            // A platform that does not say who carries how much is watched from here on.
            Some(Step::Bake { .. }) => self.watch.is_none() && !self.is_announced(),
            _ => false,
        };
        if watch {
            self.begin_watch(at);
        }
    }

    pub(super) fn begin_watch(&mut self, at: Timestamp) {
        let verifies = self.rollback.is_some();
        let planned = if verifies {
            self.policy.verify.within
        } else {
            self.planned_watch()
        };
        let stable = self.stable.as_ref().unwrap_or(&self.candidate);
        let start = WatchStart::new(
            at,
            self.id.clone(),
            stable.clone(),
            self.candidate.clone(),
            self.policy.poll,
            planned,
        )
        .with_baseline(self.baseline.clone().unwrap_or_default());
        let start = if verifies { start.verifying() } else { start };
        let mut watch = Watch::begin(&self.rules, &start, verifies);
        for (task, result) in &self.ended_tasks {
            watch.task_ended(at, task, result);
        }
        self.watch = Some(watch);
    }

    /// How long the candidate will be watched from here to the end of its bake, if nothing comes
    /// between.
    fn planned_watch(&self) -> Duration {
        let deadlines = self.policy.deadlines;
        let mut sum = Duration::ZERO;
        for step in self.steps.iter().skip(self.index) {
            sum += match step {
                Step::Converge { .. } => deadlines.converge.min(Duration::from_secs(60)),
                Step::Weights { .. } => deadlines.shift.min(Duration::from_secs(60)),
                Step::Wait { length } => *length,
                Step::Gate { within, .. } | Step::Task { within, .. } => *within,
                Step::Bake { length } => return sum + *length,
                _ => Duration::ZERO,
            };
        }
        sum
    }

    pub(super) fn move_change(
        &mut self,
        at: Timestamp,
        id: &ChangeId,
        to: &SentState,
        settle: Duration,
    ) {
        let pending = match self.change.take_if(|pending| pending.id == *id) {
            Some(pending) => pending,
            None => match self.late.take_if(|late| late.id == *id) {
                Some(late) if *to == SentState::Found => late,
                _ => return,
            },
        };
        if let Some(step) = &mut self.step {
            step.not_taken = match to {
                SentState::NotTaken { why, .. } => Some(Arc::clone(why)),
                _ => None,
            };
        }
        match to {
            SentState::Accepted | SentState::Found => {
                let after = pending.change.applied_to(&self.expected);
                let before = std::mem::replace(&mut self.expected, after);
                self.before = Some((before, at.after(settle)));
                self.look_after = just_after(at);
            }
            SentState::InDoubt { settles, until, .. } => {
                self.look_after = just_after(at);
                self.change = Some(PendingChange {
                    doubt: Some(Doubt {
                        since: just_after(at),
                        settles: *settles,
                        until: *until,
                    }),
                    ..pending
                });
            }
            SentState::NotTaken { retry_at, .. } => {
                self.look_after = just_after(at);
                if let Some(step) = &mut self.step {
                    step.retry_at = *retry_at;
                }
                if pending.doubt.is_some() {
                    self.late = Some(pending);
                }
            }
            SentState::Refused { why } => {
                if let Some(step) = &mut self.step {
                    step.refused = Some(Arc::clone(why));
                }
            }
        }
    }

    /// When a rule that cannot see has used up its time budget.
    pub(super) fn blind_until(&self, rule: &Watched) -> Timestamp {
        let budget = rule.blind_budget.unwrap_or(self.policy.blindness.budget);
        rule.since.max(self.resumed_at).after(budget)
    }

    pub(super) fn release(&mut self, at: Timestamp, by_person: bool) {
        let Some(hold) = self.hold.take() else { return };
        if !by_person {
            // What could not be seen, or was sick, was not watched: the step's whole time begins anew.
            if !matches!(
                hold.reason,
                HoldReason::Contested { .. } | HoldReason::InDoubt { .. }
            ) {
                self.begin_step_anew_after(at, hold.since);
            }
            return;
        }
        self.begin_step_anew_after(at, hold.since);
        if let HoldReason::TriggerFailed { trigger, .. }
        | HoldReason::ExternalCause { trigger, .. } = &hold.reason
        {
            self.acknowledged.insert(Arc::clone(&trigger.name));
        }
        self.look_after = at;
        self.resumed_at = at;
        self.permit = None;
        if let Some(rollback) = &mut self.rollback {
            rollback.tried.clear();
            rollback.failed = None;
        }
    }
}

impl Active {
    /// After a hold the step begins anew, with its whole time; but a task that still runs is not
    /// started again.
    fn begin_step_anew_after(&mut self, at: Timestamp, held_since: Timestamp) {
        match (&mut self.step, &self.task) {
            (Some(step), Some(task)) if !task.has_ended() => {
                step.deadline = step.deadline.after(at.since(held_since));
            }
            _ => {
                self.step = None;
                self.task = None;
            }
        }
    }
}

/// A look that was asked for in the very millisecond of a change may be older than the change.
fn just_after(at: Timestamp) -> Timestamp {
    at.after(Duration::from_millis(1))
}
