//! A simulated world: the platform does at once what it is told, and metrics answer what was
//! recorded.

use std::{sync::Arc, time::Duration};

use super::recording::{Recording, Row, Series, Value};
use crate::{
    condition::Unit,
    engine::{Engine, EngineConfig},
    entry::{ChangeReport, Effect, Entry, Input, Reads, TaskAnswer, TaskReport},
    model::{
        Accepted, Answer, Arm, ArmObservation, ArmState, Instance, InstanceId, InstanceState,
        Observation, Query, ReadError, ReadRequest, Reading, ReleaseId, Sample, Scope, Timestamp,
        Wanted, Window,
    },
    policy::Policy,
    ports::{Capabilities, Delivered, PermitDecision, TaskHandle, TaskStatus},
};

/// What such a platform can do.
pub(super) const CAPABILITIES: Capabilities = Capabilities::least(Duration::ZERO)
    .with_compare_and_set()
    .with_two_arms()
    .with_weights()
    .with_rolling()
    .with_stop_first();

/// An engine between a platform that obeys and a recording.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) engine: Engine,
    policy: &'a Policy,
    recording: &'a Recording,
    now: Timestamp,
    stable: ReleaseId,
    wanted: Wanted,
    instances: [Arc<[Instance]>; 2],
    /// Questions that are answered when the rows that are due have come.
    waits: Option<(Timestamp, Reads)>,
}

/// A row may be so much later than the question, and still be its answer.
const LATE: Duration = Duration::from_secs(10);

impl<'a> World<'a> {
    /// Nothing has happened yet; `stable` serves.
    pub(super) fn new(
        config: EngineConfig,
        policy: &'a Policy,
        recording: &'a Recording,
        stable: ReleaseId,
        now: Timestamp,
    ) -> Self {
        Self {
            engine: Engine::new(config),
            policy,
            recording,
            now,
            wanted: Wanted::only(stable.clone()),
            stable,
            instances: [Arm::Stable, Arm::Candidate].map(|arm| instances(recording, arm, now)),
            waits: None,
        }
    }

    /// Lets time pass until something happens, at most until `end`.
    pub(super) fn sleep(&mut self, end: Timestamp) -> Option<Input> {
        let answered = self.waits.as_ref().map(|(at, _)| *at);
        let woken = self.engine.next_wake().map(|wake| wake.at);
        let at = answered.into_iter().chain(woken).min()?;
        if at > end {
            return None;
        }
        self.now = self.now.max(at);
        match self.waits.take_if(|(due, _)| *due <= at) {
            Some((_, reads)) => Some(self.answers(&reads)),
            None => Some(Input::Woke),
        }
    }

    /// Hands the engine an input and everything that follows from it at once.
    pub(super) fn happens(&mut self, input: Input, mut told: impl FnMut(&Engine, Entry)) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let entry = self.engine.handle(self.now, input);
            told(&self.engine, entry);
            let first = inputs.len();
            while let Some(effect) = self.engine.poll() {
                inputs.extend(self.perform(effect));
            }
            inputs.get_mut(first..).unwrap_or_default().reverse();
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        Some(match effect {
            Effect::Apply(request) => {
                self.wanted = request.change.applied_to(&self.wanted);
                Input::Reported(ChangeReport {
                    id: request.id.clone(),
                    result: Ok(Accepted::at(None)),
                })
            }
            Effect::Observe { asked_at } => Input::Observed {
                asked_at,
                result: Ok(self.observe()),
            },
            Effect::Read(reads) => {
                if let Some(due) = self.rows_come(&reads) {
                    self.waits = Some((due, reads));
                    return None;
                }
                self.answers(&reads)
            }
            Effect::Check { release } => Input::Checked {
                release,
                result: Ok(()),
            },
            // Tasks leave no readings: they are taken to have gone well.
            Effect::StartTask { id, task, .. } => Input::TaskReported(TaskReport {
                answer: TaskAnswer::Started(Ok(TaskHandle(id.to_string()))),
                id,
                task,
            }),
            Effect::AskTask { id, task, handle } => Input::TaskReported(TaskReport {
                answer: TaskAnswer::Asked(Ok(handle.map(|handle| (handle, TaskStatus::Succeeded)))),
                id,
                task,
            }),
            Effect::CancelTask { id, task, .. } => Input::TaskReported(TaskReport {
                answer: TaskAnswer::Cancelled(Ok(())),
                id,
                task,
            }),
            Effect::RequestPermit(request) => Input::Permit {
                deployment: request.deployment,
                attempt: request.attempt,
                decision: PermitDecision::Granted,
            },
            Effect::CollectLastWords { release, .. } => Input::LastWords {
                release,
                lines: Vec::new(),
            },
            Effect::Notify { key, .. } => Input::Notified {
                key,
                result: Ok(Delivered::default()),
            },
            Effect::Settled { .. } => return None,
        })
    }

    fn observe(&self) -> Observation {
        let [stable, candidate] = &self.instances;
        let arms = self.wanted.iter().map(|(release, weight)| {
            let of_stable = *release == self.stable;
            let instances = if of_stable { stable } else { candidate };
            ArmObservation::new(
                release.clone(),
                ArmState::Ready,
                weight,
                Arc::clone(instances),
            )
        });
        let arms: Vec<_> = arms.collect();
        Observation::new(self.wanted.clone(), arms)
    }

    /// When the last of the rows that are due any moment has come; none if there is none.
    fn rows_come(&self, reads: &Reads) -> Option<Timestamp> {
        let late = self.now.after(LATE.min(self.policy.poll / 4));
        let asked = reads.requests.iter();
        asked
            .filter_map(|ask| match self.answer(ask, ask.window.to) {
                Err(ReadError::NotYet { retry_at }) if retry_at <= late => Some(retry_at),
                _ => None,
            })
            .max()
    }

    fn answers(&self, reads: &Reads) -> Input {
        let answers = reads.requests.iter().map(|ask| {
            let to = ask.window.to.max(self.now);
            let window = Window::new(ask.window.from, to);
            let result = self.answer(ask, to);
            Answer {
                metric: ask.metric.clone(),
                scope: ask.scope.clone(),
                result: result.map(|sample| Reading::new(window, sample)),
            }
        });
        Input::Readings {
            answers: answers.collect(),
        }
    }

    fn answer(&self, ask: &ReadRequest, to: Timestamp) -> Result<Sample, ReadError> {
        let from = ask.window.from;
        let state = self
            .policy
            .read(&ask.metric)
            .is_some_and(|metric| metric.unit == Unit::State);
        let arm = ask.scope.arm();
        let of_arm = |series: &&Series| match (arm, &ask.scope) {
            // A service as a whole has rows of its own, or those of both arms.
            (None, _) => true,
            (Some(arm), Scope::Instance { instance, .. }) => {
                let subject = &series.subject;
                let named = subject
                    .instance
                    .as_ref()
                    .map_or(UNNAMED, InstanceId::as_str);
                subject.arm == Some(arm) && named == instance.as_str()
            }
            (Some(arm), _) => series.subject.arm == Some(arm),
        };
        let about = || self.recording.about(&ask.metric, |_| true);
        let whole = |series: &&Series| series.subject.arm.is_none();
        let only_whole = arm.is_none() && about().any(|series| whole(&series));
        let series: Vec<&Series> = about()
            .filter(of_arm)
            .filter(|series| !only_whole || whole(series))
            .collect();
        if series.is_empty() {
            return Err(ReadError::NotRecorded);
        }
        let rows = || series.iter().flat_map(|series| series.within(from, to));
        let read = match &ask.query {
            Query::Counts { .. } => sum(rows()),
            Query::Value(_) => {
                let mut newest = series.iter().filter_map(|s| s.within(from, to).last());
                match (newest.next(), newest.count()) {
                    (None, _) => None,
                    (Some(row), 0) => Some(value(row, state)),
                    (Some(_), more) => Some(Err(ReadError::Ambiguous {
                        series: u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1),
                    })),
                }
            }
        };
        let due = || {
            series
                .iter()
                .filter_map(|series| series.due_after(to))
                .min()
        };
        match (read, due()) {
            (Some(read), _) => read,
            (None, Some(retry_at)) => Err(ReadError::NotYet { retry_at }),
            (None, None) => Err(ReadError::NoData),
        }
    }
}

/// The only instance of an arm whose rows name none.
const UNNAMED: &str = "unnamed";

fn instances(recording: &Recording, arm: Arm, now: Timestamp) -> Arc<[Instance]> {
    let mut names = recording.instances(arm);
    if names.is_empty() {
        names.extend(InstanceId::new(UNNAMED));
    }
    let since = now.before(Duration::from_secs(3_600));
    let instances = names.into_iter();
    instances
        .map(|name| Instance::new(name, since, InstanceState::Ready))
        .collect()
}

/// The events of all rows that have counts; none if no row has.
fn sum<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<Result<Sample, ReadError>> {
    let mut any = false;
    let (mut bad, mut total) = (0_u64, 0_u64);
    let mut only_values = false;
    for row in rows {
        match row.counts {
            Some((b, t)) => {
                any = true;
                bad = bad.saturating_add(b);
                total = total.saturating_add(t);
            }
            None => only_values = true,
        }
    }
    if any {
        return Some(Ok(Sample::Counts { bad, total }));
    }
    only_values.then_some(Err(ReadError::NotRecorded))
}

fn value(row: &Row, state: bool) -> Result<Sample, ReadError> {
    match &row.value {
        Some(Value::Word(word)) if state => Ok(Sample::State(Arc::clone(word))),
        Some(Value::Number(number)) if state => Ok(Sample::State(Arc::from(number.to_string()))),
        Some(Value::Number(number)) => Ok(Sample::Gauge(*number)),
        Some(Value::Word(_)) => Err(ReadError::NotANumber),
        None => Err(ReadError::NotRecorded),
    }
}
