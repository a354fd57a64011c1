//! What the world of a story runs: releases, and tasks.

use std::sync::Arc;

use rollback_core::{
    model::{
        Accepted, Answer, ArmObservation, ArmState, Change, ChangeError, ChangeId, ChangeRequest,
        Instance, InstanceId, InstanceState, MetricId, Observation, Placement, ReadError,
        ReadRequest, Reading, Sample, Timestamp, Weight,
    },
    ports::{TaskError, TaskHandle, TaskStatus},
};

use super::world::{START, World};

/// A change whose request is still on its way, and after it came, its mark.
#[derive(Debug, Default)]
pub(super) struct Late {
    sent: Option<Change>,
    id: Option<ChangeId>,
    last_change: Option<ChangeId>,
}

impl World {
    pub(super) fn send_late(&mut self, request: &ChangeRequest) -> Result<Accepted, ChangeError> {
        self.late.sent = Some(request.change.clone());
        self.late.id = Some(request.id.clone());
        Err(ChangeError::maybe_sent("the connection broke"))
    }

    /// The late one comes in just before another.
    pub(super) fn late_arrives(&mut self) -> Result<Accepted, ChangeError> {
        if let Some(change) = self.late.sent.take() {
            self.take(&change);
            self.late.last_change = self.late.id.take();
        }
        Err(ChangeError::Conflict { now: None })
    }

    pub(super) fn start_task(&mut self, id: &ChangeId) -> Option<Result<TaskHandle, TaskError>> {
        let word = if self.next_tasks.is_empty() {
            "succeeds".to_owned()
        } else {
            self.next_tasks.remove(0)
        };
        assert!(!self.tasks.contains_key(&id.to_string()), "{id} twice");
        let (first, answer) = word.split_once(", ").unwrap_or((&word, ""));
        if first == "is not started" {
            return Some(Err(TaskError::NotStarted {
                why: "no room".to_owned(),
            }));
        }
        if first != "is lost" {
            self.tasks.insert(id.to_string(), first.to_owned());
        }
        match answer {
            "" if first == "is lost" => Some(Err(TaskError::MaybeStarted {
                why: "the connection broke".to_owned(),
            })),
            "" => Some(Ok(TaskHandle(format!("run-{}", self.tasks.len())))),
            "the answer is lost" => Some(Err(TaskError::MaybeStarted {
                why: "the connection broke".to_owned(),
            })),
            "the controller dies" => {
                self.say("(the controller dies)");
                self.crash();
                None
            }
            other => panic!("`next task .., {other}` is not known"),
        }
    }

    pub(super) fn ask_task(&self, id: &ChangeId) -> Option<(TaskHandle, TaskStatus)> {
        let word = self.tasks.get(&id.to_string())?;
        let status = match word.split_once(": ") {
            None if word == "succeeds" => TaskStatus::Succeeded,
            None => TaskStatus::Running,
            Some((_, why)) => TaskStatus::Failed {
                why: why.to_owned(),
            },
        };
        Some((TaskHandle(id.to_string()), status))
    }

    /// The new release has taken over so much of the traffic.
    pub(super) fn take_over(&mut self, share: Weight) {
        if let Some((_, left)) = &mut self.replaced {
            *left = share.rest();
        }
        if share == Weight::ALL {
            self.replaced = None;
        }
    }

    pub(super) fn take(&mut self, change: &Change) {
        if let Change::Converge {
            release,
            placement: Placement::InPlace(_),
        } = change
        {
            let before = self.wanted.main().cloned();
            // What is replaced back takes over from what is left of it.
            let at_first = match &self.replaced {
                Some((old, _)) if old == release => Weight::ALL,
                _ => self.takes_over,
            };
            self.replaced = before
                .filter(|before| before != release)
                .map(|before| (before, Weight::ALL));
            self.take_over(at_first);
        }
        self.wanted = change.applied_to(&self.wanted);
        self.version += 1;
    }

    /// What the platform shows, if it can be looked at.
    pub(super) fn look(&self) -> Result<Observation, ChangeError> {
        if self.no_look.is_empty() {
            Ok(self.observe())
        } else {
            Err(ChangeError::not_sent(&self.no_look))
        }
    }

    pub(super) fn observe(&self) -> Observation {
        let arms: Vec<ArmObservation> = self
            .wanted
            .iter()
            .map(|(release, weight)| {
                let left = self
                    .replaced
                    .as_ref()
                    .map_or(Weight::NONE, |(_, left)| *left);
                let (state, weight) = match self.sick.get(release) {
                    Some(state) => (state.clone(), weight),
                    None if left > Weight::NONE => (ArmState::Converging, left.rest()),
                    None => (ArmState::Ready, weight),
                };
                let instance = Instance::new(
                    InstanceId::new(format!("{release}-1")).unwrap(),
                    Timestamp::from_millis(START),
                    InstanceState::Ready,
                )
                .restarted(self.crashes.get(release).copied().unwrap_or(0));
                ArmObservation::new(release.clone(), state, weight, [instance])
            })
            .collect();
        let mut arms = arms;
        if let Some((old, left)) = &self.replaced {
            arms.push(ArmObservation::new(
                old.clone(),
                ArmState::Converging,
                *left,
                [],
            ));
        }
        let mut seen = Observation::new(self.wanted.clone(), arms);
        seen.etag = Some(self.etag());
        seen.last_change.clone_from(&self.late.last_change);
        seen.platform_rollback.clone_from(&self.platform_rollback);
        seen
    }

    /// `12/100` a second, `0.3`, `nothing`, or a word.
    pub(super) fn read(&self, ask: &ReadRequest) -> Answer {
        let arm = ask.scope.arm();
        let traffic = match (&ask.subject.release, arm) {
            (Some(release), Some(_)) => self.wanted.weight(release) > Weight::NONE,
            _ => true,
        };
        let value = self
            .values
            .get(&(ask.metric.as_str().to_owned(), arm))
            .or_else(|| self.values.get(&(ask.metric.as_str().to_owned(), None)));
        let sample = match value {
            _ if self.blind => Err(ReadError::Unreachable {
                why: "connection refused".to_owned(),
                retry_after_ms: None,
            }),
            None => Err(ReadError::NoData),
            Some(text) => match text.split_once('/') {
                Some((bad, total)) => {
                    let seconds = ask.window.length().as_secs().max(1) * u64::from(traffic);
                    Ok(Sample::Counts {
                        bad: bad.parse::<u64>().unwrap() * seconds,
                        total: total.parse::<u64>().unwrap() * seconds,
                    })
                }
                None => match text.parse::<f64>() {
                    Ok(number) => Ok(Sample::Gauge(number)),
                    Err(_) if text == "nothing" => Err(ReadError::NoData),
                    Err(_) => Ok(Sample::State(Arc::from(text.as_str()))),
                },
            },
        };
        Answer {
            metric: MetricId::new(ask.metric.as_str()).unwrap(),
            scope: ask.scope.clone(),
            result: sample.map(|sample| Reading::new(ask.window, sample)),
        }
    }
}
