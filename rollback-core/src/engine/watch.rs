//! A watch: the rules' evidence over one stretch of a deployment.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::intake::Sum;
use crate::{
    model::{Action, Explanation, MetricId, Timestamp, TriggerId, UnknownReason, Verdict},
    policy::Rule,
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
    /// What a failure has to last before the action follows.
    pub(super) delay: Duration,
    pub(super) delayed: Option<Delayed>,
    /// How long it may be without sight, if not as long as the policy says.
    pub(super) blind_budget: Option<Duration>,
    /// Whether another rule is made of it: then it says nothing by itself.
    pub(super) is_part: bool,
    /// Whether it is made of other rules.
    pub(super) is_whole: bool,
    reads: Vec<MetricId>,
    evidence: Box<dyn Evidence>,
    /// The verdict as it was last journaled.
    pub(super) verdict: Verdict,
    /// Since when its kind is that.
    pub(super) since: Timestamp,
    faulted: bool,
}

/// A failure whose action waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delayed {
    pub(super) until: Timestamp,
    /// Since when it cannot be said whether it still fails.
    pub(super) paused: Option<Timestamp>,
    pub(super) over: bool,
}

impl Watch {
    pub(super) fn begin(rules: &[PolicyTrigger], start: &WatchStart, verifies: bool) -> Self {
        let rules = rules
            .iter()
            .map(|armed| (armed, needs_two_arms(armed)))
            .filter(|(armed, _)| !verifies || armed.trigger.judges_restored())
            .map(|(armed, two_arm)| Watched {
                id: armed.trigger.id(),
                action: armed.rule.action,
                required: armed.rule.required,
                two_arm,
                delay: armed.rule.delay,
                delayed: None,
                blind_budget: armed.rule.blind_budget,
                is_part: armed.rule.is_part,
                is_whole: matches!(armed.rule.rule, Rule::Composite { .. }),
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
            .flat_map(|rule| [rule.next_wake(at), rule.acts_at()])
            .flatten()
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

    /// The required rules that cannot see.
    pub(super) fn blind(&self) -> impl Iterator<Item = &Watched> {
        self.rules
            .iter()
            .filter(|rule| rule.required && matches!(rule.verdict, Verdict::Unknown(_)))
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

    /// Whether it fails, and has for as long as its `delay`.
    pub(super) fn acts(&self) -> bool {
        self.verdict == Verdict::Fail
            && (self.delay.is_zero() || self.delayed.is_some_and(|delayed| delayed.over))
    }

    /// When its `delay` is over, if it goes on failing.
    fn acts_at(&self) -> Option<Timestamp> {
        self.delayed
            .filter(|delayed| !delayed.over && delayed.paused.is_none())
            .map(|delayed| delayed.until)
    }

    /// The verdict as it is journaled.
    pub(super) fn say(&mut self, at: Timestamp, verdict: Verdict) {
        if self.verdict.word() != verdict.word() {
            self.since = at;
            match (&verdict, &mut self.delayed) {
                (Verdict::Pass, delayed) if delayed.is_some_and(|delayed| delayed.over) => {
                    *delayed = None;
                }
                (Verdict::Unknown(_) | Verdict::Inconclusive(_), Some(delayed)) => {
                    delayed.paused = delayed.paused.or(Some(at));
                }
                _ => {}
            }
        }
        self.verdict = verdict;
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
