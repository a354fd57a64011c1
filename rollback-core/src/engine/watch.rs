//! A watch: the rules' evidence over one stretch of a deployment.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::intake::Sum;
use crate::{
    model::{Action, Explanation, MetricId, Timestamp, TriggerId, UnknownReason, Verdict},
    ports::{ArmSide, Evidence, WatchStart},
    triggers::PolicyTrigger,
};

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) verifies: bool,
    pub(super) began: Timestamp,
    pub(super) rules: Vec<Watched>,
}

/// One rule in a watch.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) id: TriggerId,
    pub(super) action: Action,
    pub(super) required: bool,
    pub(super) two_arm: bool,
    reads: Vec<MetricId>,
    evidence: Box<dyn Evidence>,
    /// The verdict as it was last journaled.
    pub(super) verdict: Verdict,
    /// Since when its kind is that.
    pub(super) since: Timestamp,
    faulted: bool,
}

impl Watch {
    pub(super) fn begin(rules: &[PolicyTrigger], start: &WatchStart, verifies: bool) -> Self {
        let rules = rules
            .iter()
            .map(|armed| (armed, needs_two_arms(armed)))
            .filter(|(_, two_arm)| !(verifies && *two_arm))
            .map(|(armed, two_arm)| Watched {
                id: armed.trigger.id(),
                action: armed.rule.action,
                required: armed.rule.required,
                two_arm,
                reads: armed
                    .trigger
                    .reads()
                    .into_iter()
                    .map(|need| need.metric)
                    .collect(),
                evidence: armed.trigger.begin(start),
                verdict: Verdict::Unknown(UnknownReason::NothingYet),
                since: start.at,
                faulted: false,
            })
            .collect();
        Self {
            verifies,
            began: start.at,
            rules,
        }
    }

    pub(super) fn observe(&mut self, at: Timestamp, sums: &[Sum]) {
        for sum in sums {
            for rule in &mut self.rules {
                if rule.reads.contains(&sum.metric) {
                    rule.observe(at, sum);
                }
            }
        }
    }

    pub(super) fn task_ended(&mut self, at: Timestamp, task: &str, result: &Result<(), Arc<str>>) {
        for rule in self.rules.iter_mut().filter(|rule| !rule.faulted) {
            let evidence = AssertUnwindSafe(&mut rule.evidence);
            let survived = catch_unwind(move || {
                // The whole wrapper is moved in, not only the field.
                let evidence = evidence;
                let result = match result {
                    Ok(()) => Ok(()),
                    Err(why) => Err(&**why),
                };
                evidence.0.task_ended(at, task, result);
            });
            rule.faulted = survived.is_err();
        }
    }

    pub(super) fn next_wake(&self, at: Timestamp) -> Option<Timestamp> {
        self.rules
            .iter()
            .filter(|rule| !rule.faulted)
            .filter_map(|rule| rule.next_wake(at))
            .min()
    }

    pub(super) fn find(&self, trigger: &TriggerId) -> Option<&Watched> {
        self.rules.iter().find(|rule| rule.id == *trigger)
    }

    pub(super) fn find_mut(&mut self, trigger: &TriggerId) -> Option<&mut Watched> {
        self.rules.iter_mut().find(|rule| rule.id == *trigger)
    }

    /// Since when every required rule passes; none while one does not.
    pub(super) fn good_since(&self) -> Option<Timestamp> {
        let mut since = self.began;
        for rule in self.rules.iter().filter(|rule| rule.required) {
            if rule.verdict != Verdict::Pass {
                return None;
            }
            since = since.max(rule.since);
        }
        Some(since)
    }

    /// A required rule that has not been able to see since before anything else.
    pub(super) fn blind(&self) -> Option<&Watched> {
        self.rules
            .iter()
            .filter(|rule| rule.required && matches!(rule.verdict, Verdict::Unknown(_)))
            .min_by_key(|rule| rule.since)
    }
}

impl Watched {
    fn observe(&mut self, at: Timestamp, sum: &Sum) {
        if self.faulted {
            return;
        }
        let evidence = AssertUnwindSafe(&mut self.evidence);
        let survived = catch_unwind(move || {
            // The whole wrapper is moved in, not only the field.
            let evidence = evidence;
            match &sum.result {
                Some(Ok(reading)) => evidence.0.observe(at, &sum.metric, &sum.scope, reading),
                Some(Err(error)) => evidence.0.unreadable(at, &sum.metric, &sum.scope, error),
                None => {}
            }
        });
        self.faulted = survived.is_err();
    }

    fn next_wake(&self, at: Timestamp) -> Option<Timestamp> {
        catch_unwind(AssertUnwindSafe(|| self.evidence.next_wake(at))).unwrap_or(None)
    }

    /// The rule takes no part any more.
    pub(super) fn fault(&mut self) {
        self.faulted = true;
    }

    /// What the rule says now.
    pub(super) fn judge(&self, at: Timestamp) -> Verdict {
        let judged = if self.faulted {
            None
        } else {
            catch_unwind(AssertUnwindSafe(|| self.evidence.verdict(at))).ok()
        };
        judged.unwrap_or(Verdict::Unknown(UnknownReason::TriggerFaulted))
    }

    pub(super) fn explain(&self, at: Timestamp) -> Explanation {
        catch_unwind(AssertUnwindSafe(|| self.evidence.explain(at))).unwrap_or_default()
    }

    /// Why the other arm, or the time before the deployment, is as bad.
    pub(super) fn also_elsewhere(&self, at: Timestamp) -> Option<Arc<str>> {
        catch_unwind(AssertUnwindSafe(|| self.evidence.also_elsewhere(at))).unwrap_or(None)
    }
}

/// Whether a rule compares the arms with each other: it says nothing where there is only one.
fn needs_two_arms(armed: &PolicyTrigger) -> bool {
    armed
        .trigger
        .reads()
        .iter()
        .any(|need| need.side == ArmSide::Both)
}
