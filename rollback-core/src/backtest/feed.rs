//! Recorded inputs on their way to another policy: what does not depend on the policy.

use std::collections::BTreeMap;

use crate::{
    entry::{Command, Input},
    model::{Answer, Arm, ChangeId, MetricId, ReadError, Sample, Scope, Window},
    policy::{Metric, PerScope, Policy},
};

/// What the other policy reads, and where the journal has it.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// For each recorded metric the ones of the other policy that ask the same.
    same: BTreeMap<MetricId, Vec<MetricId>>,
    /// Answers for what was not recorded.
    unrecorded: Vec<Answer>,
    /// Recorded change by the attempt of the other policy that is the same.
    changes: BTreeMap<ChangeId, ChangeId>,
    /// Answers since the other policy last asked; none if it takes each as it comes.
    gathered: Option<Vec<Answer>>,
    /// Whether it asked and was not answered.
    asks: bool,
}

impl Feed {
    /// From what one policy had read to what another one asks.
    pub(super) fn between(recorded: &Policy, other: &Policy) -> Self {
        let mut feed = Self {
            // Nothing was read between two recorded polls; what was read more often than the other
            // policy asks is put together.
            gathered: (other.poll > recorded.poll).then(Vec::new),
            ..Self::default()
        };
        for metric in other.metrics.iter().filter(|metric| metric.judged) {
            match asked_by(recorded, metric) {
                Some(known) => {
                    let same = feed.same.entry(known.id.clone()).or_default();
                    same.push(metric.id.clone());
                }
                None => feed
                    .unrecorded
                    .extend(scopes(metric).iter().map(|scope| Answer {
                        metric: metric.id.clone(),
                        scope: scope.clone(),
                        result: Err(ReadError::NotRecorded),
                    })),
            }
        }
        feed
    }

    /// The same between other policies, with the changes that are known to be the same.
    pub(super) fn switched(self, recorded: &Policy, other: &Policy) -> Self {
        Self {
            changes: self.changes,
            asks: self.asks,
            ..Self::between(recorded, other)
        }
    }

    /// Both sent the same change.
    pub(super) fn same_change(&mut self, recorded: &ChangeId, other: &ChangeId) {
        self.changes.insert(recorded.clone(), other.clone());
    }

    /// The other policy asks for readings: those that were gathered, if there are any.
    pub(super) fn ask(&mut self) -> Option<Input> {
        self.asks = true;
        self.deliver()
    }

    /// What a recorded input is to the other policy; none if it depends on the recorded one.
    pub(super) fn pass(&mut self, input: &Input) -> Option<Input> {
        match input {
            // One policy for the whole backtest.
            Input::PolicyOffered { .. }
            | Input::Command {
                command: Command::AdoptPolicy,
                ..
            } => None,
            // What became of telling people, and of the recorded engine's own trouble.
            Input::Notified { .. } | Input::Faulted { .. } | Input::TriggerFaulted { .. } => None,
            Input::Readings { answers } => {
                let translated = self.translate(answers);
                match &mut self.gathered {
                    None => Some(Input::Readings {
                        answers: translated,
                    }),
                    Some(gathered) => {
                        for answer in translated {
                            gather(gathered, answer);
                        }
                        self.deliver()
                    }
                }
            }
            Input::Reported(report) => {
                let mut report = report.clone();
                if let Some(id) = self.changes.get(&report.id) {
                    report.id = id.clone();
                }
                Some(Input::Reported(report))
            }
            Input::TaskReported(report) => {
                let mut report = report.clone();
                if let Some(id) = self.changes.get(&report.id) {
                    report.id = id.clone();
                }
                Some(Input::TaskReported(report))
            }
            Input::Observed {
                asked_at,
                result: Ok(observation),
            } => {
                let mut observation = observation.clone();
                if let Some(tag) = &mut observation.last_change
                    && let Some(id) = self.changes.get(tag)
                {
                    *tag = id.clone();
                }
                Some(Input::Observed {
                    asked_at: *asked_at,
                    result: Ok(observation),
                })
            }
            other => Some(other.clone()),
        }
    }

    fn deliver(&mut self) -> Option<Input> {
        let gathered = self.gathered.as_mut()?;
        if !self.asks || gathered.is_empty() {
            return None;
        }
        self.asks = false;
        Some(Input::Readings {
            answers: std::mem::take(gathered),
        })
    }

    fn translate(&self, answers: &[Answer]) -> Vec<Answer> {
        let mut translated = Vec::with_capacity(answers.len() + self.unrecorded.len());
        for answer in answers {
            for metric in self.same.get(&answer.metric).into_iter().flatten() {
                translated.push(Answer {
                    metric: metric.clone(),
                    ..answer.clone()
                });
            }
        }
        translated.extend(self.unrecorded.iter().cloned());
        translated
    }
}

/// The metric of a policy that asks the same of the same: the one of the same name first.
pub(super) fn asked_by<'a>(policy: &'a Policy, metric: &Metric) -> Option<&'a Metric> {
    let same = |known: &&Metric| {
        known.query == metric.query && known.per == metric.per && known.source == metric.source
    };
    let namesake = policy.read(&metric.id).filter(same);
    namesake.or_else(|| policy.metrics.iter().find(same))
}

fn scopes(metric: &Metric) -> &'static [Scope] {
    match metric.per {
        PerScope::Service => &[Scope::Service],
        PerScope::Arm | PerScope::Instance => {
            &[Scope::Arm(Arm::Stable), Scope::Arm(Arm::Candidate)]
        }
    }
}

/// Counts add up; of values and running totals the newest counts. Counts are not lost to an error
/// that came after them.
fn gather(gathered: &mut Vec<Answer>, new: Answer) {
    let known = gathered
        .iter_mut()
        .find(|known| known.metric == new.metric && known.scope == new.scope);
    let Some(known) = known else {
        gathered.push(new);
        return;
    };
    if let Ok(old) = &mut known.result
        && let Sample::Counts { bad, total } = &mut old.sample
    {
        match &new.result {
            Ok(reading) => {
                if let Sample::Counts { bad: b, total: t } = reading.sample {
                    *bad = bad.saturating_add(b);
                    *total = total.saturating_add(t);
                    old.window = Window::new(old.window.from, reading.window.to);
                    old.source_now = reading.source_now;
                    old.complete &= reading.complete;
                    return;
                }
            }
            Err(_) => return,
        }
    }
    *known = new;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reading, Timestamp};

    fn policy(poll: &str, metrics: &str) -> Policy {
        serde_json::from_str(&format!(
            r#"{{"bake": "10m", "poll": "{poll}", "metrics": {{{metrics}}}, "triggers": []}}"#
        ))
        .unwrap()
    }

    const ERRORS: &str = r#""errors": {"unit": "ratio", "bad": "b", "total": "t"}"#;

    fn answer(metric: &str, from: i64, sample: Sample) -> Answer {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        Answer {
            metric: MetricId::new(metric).unwrap(),
            scope: Scope::Arm(Arm::Candidate),
            result: Ok(Reading::new(Window::new(at(from), at(from + 10)), sample)),
        }
    }

    fn names(input: Option<Input>) -> Vec<String> {
        let Some(Input::Readings { answers }) = input else {
            return Vec::new();
        };
        let told = answers.iter().map(|answer| {
            let recorded = answer.result != Err(ReadError::NotRecorded);
            format!("{} of {}: {recorded}", answer.metric, answer.scope)
        });
        told.collect()
    }

    #[test]
    fn a_metric_is_known_by_what_it_asks_and_not_by_its_name() {
        let other = r#""failures": {"unit": "percent", "bad": "b", "total": "t"},
            "errors": {"unit": "ratio", "per": "service", "bad": "b", "total": "t"}"#;
        let mut feed = Feed::between(&policy("10s", ERRORS), &policy("10s", other));
        let counts = Sample::Counts { bad: 1, total: 2 };
        let passed = feed.pass(&Input::Readings {
            answers: vec![answer("errors", 0, counts)],
        });
        let told = ["failures of candidate: true", "errors of service: false"];
        assert_eq!(names(passed), told);
    }

    #[test]
    fn a_policy_that_asks_more_rarely_is_told_all_at_once() {
        let metrics = format!(r#"{ERRORS}, "p95": {{"unit": "ms", "query": "q"}}"#);
        let mut feed = Feed::between(&policy("10s", &metrics), &policy("20s", &metrics));
        let poll = |from: i64| Input::Readings {
            answers: vec![
                answer("errors", from, Sample::Counts { bad: 1, total: 10 }),
                answer("p95", from, Sample::Gauge(from as f64)),
            ],
        };
        assert_eq!(feed.pass(&poll(0)), None);
        assert_eq!(feed.pass(&poll(10)), None);
        let Some(Input::Readings { answers }) = feed.ask() else {
            panic!("nothing")
        };
        let samples: Vec<_> = answers.iter().map(|a| a.result.as_ref().unwrap()).collect();
        assert_eq!(samples[0].sample, Sample::Counts { bad: 2, total: 20 });
        assert_eq!(samples[0].window.length().as_secs(), 20);
        assert_eq!(samples[1].sample, Sample::Gauge(10.0));
        assert_eq!(feed.ask(), None);
        assert!(feed.pass(&poll(20)).is_some(), "it had asked");
    }
}
