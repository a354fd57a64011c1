//! Readings on their way to the rules: running totals become increments, resets, overlaps, gaps
//! and duplicates are handled once, counts of instances are summed up per arm.

use std::time::Duration;

use crate::{
    model::{Answer, Arm, MetricId, Query, ReadError, Reading, Sample, Scope, Timestamp, Window},
    policy::{Metric, PerScope, Policy},
};

/// High-water marks of everything that was read for a deployment.
#[derive(Debug, Default)]
pub(super) struct Intake {
    marks: Vec<Mark>,
    sums: Vec<Sum>,
}

#[derive(Debug)]
struct Mark {
    metric: MetricId,
    scope: Scope,
    to: Timestamp,
    totals: Option<Totals>,
}

#[derive(Debug, Clone, Copy)]
struct Totals {
    since: Timestamp,
    bad: u64,
    total: u64,
}

/// When readings are taken, and which of them count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// A window that ended longer ago is not fresh.
    pub(super) stale_after: Duration,
    /// Totals that began before only set the mark.
    pub(super) counts_from: Timestamp,
    /// Since when the candidate carries traffic: its warm-up begins there.
    pub(super) traffic_since: Option<Timestamp>,
}

/// What one poll says of one metric of one arm (or of the service).
#[derive(Debug, Clone)]
pub(super) struct Sum {
    pub(super) metric: MetricId,
    pub(super) scope: Scope,
    pub(super) result: Option<Result<Reading, ReadError>>,
}

impl Intake {
    /// The end of what was folded of a metric in a scope.
    pub(super) fn mark(&self, metric: &MetricId, scope: &Scope) -> Option<Timestamp> {
        self.find(metric, scope)
            .and_then(|at| self.marks.get(at))
            .map(|mark| mark.to)
            // Nothing complete was read yet.
            .filter(|to| *to > Timestamp::from_millis(i64::MIN))
    }

    /// Takes the answers of one poll and gives what they say, summed up per metric and arm.
    pub(super) fn take(
        &mut self,
        policy: &Policy,
        answers: &[Answer],
        at: Timestamp,
        circumstances: &Circumstances,
    ) -> &[Sum] {
        self.sums.clear();
        for answer in answers {
            let Some(metric) = policy.read(&answer.metric) else {
                continue;
            };
            let fresh = match &answer.result {
                Ok(reading) => self
                    .fresh(metric, &answer.scope, reading, at, circumstances)
                    .filter(|_| circumstances.is_warm(metric, &answer.scope, reading)),
                Err(error) => Some(Err(error.clone())),
            };
            if let Some(result) = fresh.filter(|_| metric.judged) {
                self.sum_up(metric, &answer.scope, result);
            }
        }
        &self.sums
    }

    /// The part of a reading that was not folded before; none if there is no such part.
    fn fresh(
        &mut self,
        metric: &Metric,
        scope: &Scope,
        reading: &Reading,
        at: Timestamp,
        circumstances: &Circumstances,
    ) -> Option<Result<Reading, ReadError>> {
        let Circumstances {
            stale_after,
            counts_from,
            ..
        } = *circumstances;
        let window = reading.window;
        if window.to.after(stale_after) < at || window.from > window.to {
            return Some(Err(ReadError::NoData));
        }
        let index = match self.find(&metric.id, scope) {
            Some(index) => index,
            None => {
                self.marks.push(Mark {
                    metric: metric.id.clone(),
                    scope: scope.clone(),
                    to: Timestamp::from_millis(i64::MIN),
                    totals: None,
                });
                self.marks.len() - 1
            }
        };
        let mark = self.marks.get_mut(index)?;
        if window.to <= mark.to || window.to > at.after(stale_after) {
            return None;
        }
        let sample = match &reading.sample {
            Sample::Cumulative { since, bad, total } => {
                let now = Totals {
                    since: *since,
                    bad: *bad,
                    total: *total,
                };
                let increment = increment(mark.totals, now, counts_from);
                mark.totals = Some(now);
                increment
            }
            Sample::Counts { bad, total } => {
                // A window that reaches behind the mark would count events twice.
                if window.from < mark.to {
                    return None;
                }
                counts(*bad, *total)
            }
            Sample::Exceedances { .. } if window.from < mark.to => return None,
            other => Some(other.clone()),
        };
        if reading.complete {
            mark.to = window.to;
        }
        sample.map(|sample| {
            Ok(Reading {
                sample,
                ..reading.clone()
            })
        })
    }

    fn sum_up(&mut self, metric: &Metric, scope: &Scope, result: Result<Reading, ReadError>) {
        let scope = match (metric.per, scope.arm(), &metric.query) {
            (PerScope::Service, ..) | (_, None, _) => Scope::Service,
            // Values and states do not add up: one instance that is down must not hide behind
            // others that are well.
            (PerScope::Instance, _, Query::Value(_)) => scope.clone(),
            (_, Some(arm), _) => Scope::Arm(arm),
        };
        let found = self
            .sums
            .iter_mut()
            .find(|sum| sum.metric == metric.id && sum.scope == scope);
        let Some(sum) = found else {
            self.sums.push(Sum {
                metric: metric.id.clone(),
                scope,
                result: Some(result),
            });
            return;
        };
        let Ok(new) = result else { return };
        match &mut sum.result {
            Some(Ok(all)) => {
                all.window = Window::new(
                    all.window.from.min(new.window.from),
                    all.window.to.max(new.window.to),
                );
                all.complete &= new.complete;
                add(&mut all.sample, &new.sample);
            }
            // One instance that answers outweighs others that do not.
            other => *other = Some(Ok(new)),
        }
    }

    fn find(&self, metric: &MetricId, scope: &Scope) -> Option<usize> {
        self.marks
            .iter()
            .position(|mark| mark.metric == *metric && mark.scope == *scope)
    }
}

impl Circumstances {
    /// Whether the candidate was under traffic for longer than the metric's warm-up.
    fn is_warm(&self, metric: &Metric, scope: &Scope, reading: &Reading) -> bool {
        scope.arm() != Some(Arm::Candidate)
            || self
                .traffic_since
                .is_none_or(|since| reading.window.to >= since.after(metric.warmup))
    }
}

/// What was counted since the last look at a running total. The first look at a total that began
/// before `counts_from` only sets the mark; a later `since` or a smaller total is a reset, and all
/// of the new total is new.
fn increment(before: Option<Totals>, now: Totals, counts_from: Timestamp) -> Option<Sample> {
    match before {
        Some(before)
            if before.since == now.since && before.bad <= now.bad && before.total <= now.total =>
        {
            counts(now.bad - before.bad, now.total - before.total)
        }
        None if now.since < counts_from => counts(0, 0),
        _ => counts(now.bad, now.total),
    }
}

/// More bad events than events is nonsense that a source can produce when it reads two counters
/// one after the other: the bad ones are kept.
fn counts(bad: u64, total: u64) -> Option<Sample> {
    Some(Sample::Counts {
        bad,
        total: total.max(bad),
    })
}

/// Counts add up.
fn add(all: &mut Sample, new: &Sample) {
    match (all, new) {
        (Sample::Counts { bad, total }, Sample::Counts { bad: b, total: t }) => {
            *bad = bad.saturating_add(*b);
            *total = total.saturating_add(*t);
        }
        (
            Sample::Exceedances { cuts, over, total },
            Sample::Exceedances {
                cuts: c,
                over: o,
                total: t,
            },
        ) if cuts == c => {
            for (sum, more) in over.iter_mut().zip(o) {
                *sum = sum.saturating_add(*more);
            }
            *total = total.saturating_add(*t);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InstanceId;

    const START: i64 = 1_000_000;

    fn policy() -> Policy {
        serde_json::from_str(
            r#"{"bake":"10s","metrics":{
                "errors":{"unit":"ratio","per":"instance","bad":"b","total":"t"},
                "p95":{"unit":"ms","per":"instance","query":"q"}},
                "triggers":[{"name":"many","when":"errors > 5%"}]}"#,
        )
        .unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(START + seconds * 1_000)
    }

    fn answer(metric: &str, instance: &str, from: i64, to: i64, sample: Sample) -> Answer {
        Answer {
            metric: MetricId::new(metric).unwrap(),
            scope: Scope::Instance {
                arm: Arm::Candidate,
                instance: InstanceId::new(instance).unwrap(),
            },
            result: Ok(Reading::new(Window::new(at(from), at(to)), sample)),
        }
    }

    fn total(since: i64, bad: u64, total: u64) -> Sample {
        Sample::Cumulative {
            since: at(since),
            bad,
            total,
        }
    }

    fn take(intake: &mut Intake, now: i64, answers: &[Answer]) -> Vec<Sample> {
        intake
            .take(&policy(), answers, at(now), &circumstances())
            .iter()
            .filter_map(|sum| sum.result.as_ref())
            .filter_map(|result| result.as_ref().ok())
            .map(|reading| reading.sample.clone())
            .collect()
    }

    fn circumstances() -> Circumstances {
        Circumstances {
            stale_after: Duration::from_secs(10),
            counts_from: at(0),
            traffic_since: None,
        }
    }

    fn counted(bad: u64, total: u64) -> Vec<Sample> {
        vec![Sample::Counts { bad, total }]
    }

    #[test]
    fn running_totals_become_increments_and_a_reset_counts_anew() {
        let mut intake = Intake::default();
        let one = |from, to, sample| [answer("errors", "i1", from, to, sample)];
        assert_eq!(
            take(&mut intake, 1, &one(0, 1, total(0, 2, 10))),
            counted(2, 10)
        );
        assert_eq!(
            take(&mut intake, 2, &one(1, 2, total(0, 3, 25))),
            counted(1, 15)
        );
        assert_eq!(
            take(&mut intake, 3, &one(2, 3, total(2, 1, 4))),
            counted(1, 4)
        );
    }

    #[test]
    fn what_was_counted_before_the_deployment_only_sets_the_mark() {
        let mut intake = Intake::default();
        let first = [answer("errors", "i1", 0, 1, total(-500, 90, 100))];
        assert_eq!(take(&mut intake, 1, &first), counted(0, 0));
        let second = [answer("errors", "i1", 1, 2, total(-500, 91, 110))];
        assert_eq!(take(&mut intake, 2, &second), counted(1, 10));
    }

    #[test]
    fn duplicates_overlaps_and_late_answers_are_never_folded_twice() {
        let mut intake = Intake::default();
        let poll = [answer(
            "errors",
            "i1",
            0,
            2,
            Sample::Counts { bad: 1, total: 9 },
        )];
        assert_eq!(take(&mut intake, 2, &poll), counted(1, 9));
        assert!(take(&mut intake, 2, &poll).is_empty(), "a duplicate");
        let overlap = [answer(
            "errors",
            "i1",
            1,
            3,
            Sample::Counts { bad: 1, total: 9 },
        )];
        assert!(take(&mut intake, 3, &overlap).is_empty(), "an overlap");
        let late = [answer("errors", "i1", 0, 1, total(0, 1, 2))];
        assert!(take(&mut intake, 3, &late).is_empty(), "late");
    }

    #[test]
    fn counts_of_instances_are_summed_up_and_their_values_stay_apart() {
        let mut intake = Intake::default();
        let poll = [
            answer("errors", "i1", 0, 1, total(0, 2, 10)),
            answer("errors", "i2", 0, 1, total(0, 1, 30)),
        ];
        assert_eq!(take(&mut intake, 1, &poll), counted(3, 40));
        let poll = [
            answer("p95", "i1", 0, 1, Sample::Gauge(100.0)),
            answer("p95", "i2", 0, 1, Sample::Gauge(300.0)),
        ];
        assert_eq!(
            take(&mut intake, 1, &poll),
            [Sample::Gauge(100.0), Sample::Gauge(300.0)]
        );
    }

    #[test]
    fn a_stale_answer_is_no_data() {
        let mut intake = Intake::default();
        let stale = [answer("p95", "i1", 0, 1, Sample::Gauge(1.0))];
        let sums = intake.take(&policy(), &stale, at(60), &circumstances());
        assert_eq!(sums[0].result, Some(Err(ReadError::NoData)));
    }

    #[test]
    fn what_is_only_recorded_moves_its_mark_and_says_nothing() {
        let policy: Policy = serde_json::from_str(
            r#"{"bake":"10s","record":{"cpu":{"unit":"percent","query":"q"}},"triggers":[]}"#,
        )
        .unwrap();
        let mut intake = Intake::default();
        let scope = Scope::Arm(Arm::Candidate);
        let answers = [Answer {
            scope: scope.clone(),
            ..answer("cpu", "i1", 0, 1, Sample::Gauge(1.0))
        }];
        assert!(
            intake
                .take(&policy, &answers, at(1), &circumstances())
                .is_empty()
        );
        let metric = MetricId::new("cpu").unwrap();
        assert_eq!(intake.mark(&metric, &scope), Some(at(1)));
    }
}
