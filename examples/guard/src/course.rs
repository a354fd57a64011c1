//! How far a deployment is, in the words of document 002: checks, failures, what remains.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollback::{
    entry::{Entry, Fact, Input, PlanKind, Step},
    model::{Answer, DeploymentId, Sample, Timestamp},
};
use serde_json::Value;

use crate::picture::watched;

/// Folded from the journal's entries or from a controller's events.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    deployment: DeploymentId,
    steps: Vec<Step>,
    index: usize,
    /// Time that was watched in steps that are done.
    before: Duration,
    entered: Option<Timestamp>,
    /// Whether the plan leads to the candidate.
    rollout: bool,
    verdicts: BTreeMap<Arc<str>, &'static str>,
    pub(crate) checks: u64,
    pub(crate) failures: u64,
    pub(crate) consecutive: u64,
    pub(crate) ended: bool,
}

/// The words of a state that say that all is well.
pub(crate) const WELL: [&str; 5] = ["up", "healthy", "ok", "OK", "pass"];

impl Course {
    pub(crate) const fn new(deployment: DeploymentId) -> Self {
        Self {
            deployment,
            steps: Vec::new(),
            index: 0,
            before: Duration::ZERO,
            entered: None,
            rollout: true,
            verdicts: BTreeMap::new(),
            checks: 0,
            failures: 0,
            consecutive: 0,
            ended: false,
        }
    }

    /// Follows a journal.
    pub(crate) fn entry(&mut self, entry: &Entry) {
        if let Input::Readings { answers } = &entry.input {
            self.readings(answers);
        }
        for fact in &entry.facts {
            self.fact(entry.at, fact);
        }
    }

    /// Follows a controller's event; answers whether the progress has moved on.
    pub(crate) fn event(&mut self, at: Timestamp, word: &str, data: &Value) -> bool {
        if word == "readings" {
            let answers = data.get("answers").cloned().unwrap_or_default();
            let answers: Vec<Answer> = serde_json::from_value(answers).unwrap_or_default();
            return self.readings(&answers);
        }
        let fact = serde_json::json!({ word: data });
        if let Ok(fact) = serde_json::from_value::<Fact>(fact) {
            self.fact(at, &fact);
        }
        false
    }

    fn fact(&mut self, at: Timestamp, fact: &Fact) {
        if fact.deployment() != Some(&self.deployment) {
            return;
        }
        match fact {
            Fact::PlanMade { kind, steps, .. } => {
                self.steps.clone_from(steps);
                self.index = 0;
                self.before = Duration::ZERO;
                self.entered = None;
                self.rollout = *kind == PlanKind::Rollout;
            }
            Fact::StepEntered { index, .. } => {
                self.index = usize::from(*index);
                self.entered = Some(at);
            }
            Fact::StepDone { .. } => {
                let length = self.steps.get(self.index).and_then(watched);
                self.before += length.unwrap_or_default();
                self.entered = None;
            }
            Fact::VerdictChanged {
                trigger, verdict, ..
            } => {
                self.verdicts
                    .insert(Arc::clone(&trigger.name), verdict.word());
            }
            Fact::Ended { .. } => self.ended = true,
            _ => {}
        }
    }

    /// One poll is one check, while the candidate is being watched.
    fn readings(&mut self, answers: &[Answer]) -> bool {
        let step = self.steps.get(self.index);
        let watching = matches!(
            step,
            Some(Step::Check { .. } | Step::Wait { .. } | Step::Gate { .. } | Step::Bake { .. })
        );
        if !self.rollout || self.entered.is_none() || !watching {
            return false;
        }
        self.checks += 1;
        if self.failed(answers) {
            self.failures += 1;
            self.consecutive += 1;
        } else {
            self.consecutive = 0;
        }
        true
    }

    /// A state that says otherwise than well; where there is none, a trigger that says fail.
    fn failed(&self, answers: &[Answer]) -> bool {
        let mut states = answers
            .iter()
            .filter_map(|answer| match &answer.result {
                Ok(reading) => match &reading.sample {
                    Sample::State(word) => Some(WELL.contains(&&**word)),
                    _ => None,
                },
                Err(_) => None,
            })
            .peekable();
        if states.peek().is_some() {
            return states.any(|well| !well);
        }
        self.verdicts.values().any(|verdict| *verdict == "fail")
    }

    /// How long was watched, of how long, at `now`.
    fn watched(&self, now: Timestamp) -> (Duration, Duration) {
        let total = self.steps.iter().filter_map(watched).sum();
        let current = self.steps.get(self.index).and_then(watched);
        let current = current.zip(self.entered);
        let current = current.map(|(length, since)| now.since(since).min(length));
        (self.before + current.unwrap_or_default(), total)
    }

    /// The line of document 002.
    pub(crate) fn line(&self, now: Timestamp) -> String {
        let (done, total) = self.watched(now);
        let share = if self.checks == 0 {
            0.0
        } else {
            // Far below 2^52 of either.
            #[expect(clippy::cast_precision_loss, reason = "a share for people")]
            let share = self.failures as f64 * 100.0 / self.checks as f64;
            share
        };
        format!(
            "Progress: {}s / {}s | Checks: {} | Failures: {} ({share:.2}%) | Consecutive: {} | Remaining: {}s",
            done.as_secs(),
            total.as_secs(),
            self.checks,
            self.failures,
            self.consecutive,
            total.saturating_sub(done).as_secs(),
        )
    }
}

#[cfg(test)]
mod tests {
    use rollback::model::{MetricId, Reading, Scope, Window};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn state(word: &str, seconds: i64) -> Value {
        let window = Window::new(at(seconds - 10), at(seconds));
        let answer = Answer {
            metric: MetricId::new("health").unwrap(),
            scope: Scope::Service,
            result: Ok(Reading::new(window, Sample::State(word.into()))),
        };
        serde_json::json!({ "answers": [answer] })
    }

    /// The line that document 002 shows: twelve checks in 120 of 600 seconds.
    #[test]
    fn the_progress_line_is_that_of_document_002() {
        let deployment = DeploymentId::new("d1").unwrap();
        let mut course = Course::new(deployment.clone());
        course.fact(
            at(0),
            &Fact::PlanMade {
                deployment: deployment.clone(),
                kind: PlanKind::Rollout,
                stable: None,
                steps: vec![Step::Bake {
                    length: Duration::from_secs(600),
                }],
            },
        );
        assert!(
            !course.event(at(1), "readings", &state("down", 1)),
            "not yet"
        );
        course.fact(
            at(1),
            &Fact::StepEntered {
                deployment,
                number: 1,
                index: 0,
                deadline: at(900),
            },
        );
        for second in 1..=12 {
            assert!(course.event(at(second * 10), "readings", &state("up", second * 10)));
        }
        assert_eq!(
            course.line(at(121)),
            "Progress: 120s / 600s | Checks: 12 | Failures: 0 (0.00%) | Consecutive: 0 | Remaining: 480s"
        );
        for second in 13..=16 {
            course.event(at(second * 10), "readings", &state("down", second * 10));
        }
        assert_eq!(
            course.line(at(161)),
            "Progress: 160s / 600s | Checks: 16 | Failures: 4 (25.00%) | Consecutive: 4 | Remaining: 440s"
        );
        course.event(at(170), "readings", &state("up", 170));
        assert_eq!((course.failures, course.consecutive), (4, 0));
    }
}
