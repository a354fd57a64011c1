//! One engine in a world where everything works at once: what it asks for is answered, and time
//! jumps to the moment it waits for.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rollback_core::{
    engine::{Engine, EngineConfig},
    entry::{ChangeReport, Deploy, Effect, Fact, Input, Step},
    model::{
        Accepted, Actor, Answer, Arm, ArmObservation, ArmState, Epoch, IdError, Observation,
        ReadRequest, Reading, ReleaseId, Sample, ServiceId, Timestamp, Wanted,
    },
    policy::Policy,
    ports::Capabilities,
};

/// An engine, and what happens to it next.
#[derive(Debug)]
pub struct Stage {
    /// The engine.
    pub engine: Engine,
    now: Timestamp,
    wanted: Wanted,
    inputs: VecDeque<Input>,
    polls: u64,
}

/// What stages and fleets are guarded by: a comparison with the stable arm, and as many thresholds
/// as there are other metrics.
///
/// # Errors
/// The policy is refused: a defect of this program.
pub fn policy(metrics: usize, poll: &str, bake: &str) -> Result<Policy, serde_json::Error> {
    let mut all = serde_json::Map::new();
    let mut triggers = Vec::new();
    for number in 0..metrics {
        let name = format!("errors_{number}");
        all.insert(
            name.clone(),
            serde_json::json!({ "unit": "ratio", "per": "arm", "bad": "b", "total": "t" }),
        );
        triggers.push(if number == 0 {
            serde_json::json!({ "name": "against_stable", "compare": name })
        } else {
            serde_json::json!({ "name": name, "when": format!("{name} > 50%"), "for": "30s" })
        });
    }
    serde_json::from_value(serde_json::json!({
        "poll": poll, "bake": bake, "check": "0s", "holdback": "10%",
        "metrics": all, "triggers": triggers,
    }))
}

/// An engine's configuration on a platform with everything.
///
/// # Errors
/// The name is not one of a service.
pub fn config(service: &str) -> Result<EngineConfig, IdError> {
    let capabilities = Capabilities::least(Duration::ZERO)
        .with_compare_and_set()
        .with_two_arms()
        .with_weights();
    Ok(EngineConfig::new(ServiceId::new(service)?, capabilities))
}

/// The answer of a healthy service; a little different each time.
#[must_use]
pub fn healthy(request: &ReadRequest, number: u64) -> Answer {
    let candidate = request.scope.arm() == Some(Arm::Candidate);
    let sample = Sample::Counts {
        bad: number.wrapping_mul(if candidate { 7 } else { 5 }) % 3,
        total: 100 + number % 17,
    };
    Answer {
        metric: request.metric.clone(),
        scope: request.scope.clone(),
        result: Ok(Reading::new(request.window, sample)),
    }
}

impl Stage {
    /// A service that runs `v1` and is about to deploy `v2`.
    ///
    /// # Errors
    /// The name is not one of a service.
    pub fn new(service: &str, policy: &Policy) -> Result<Self, IdError> {
        let candidate = ReleaseId::new("v2")?;
        Ok(Self {
            engine: Engine::new(config(service)?),
            now: Timestamp::from_millis(1_800_000_000_000),
            wanted: Wanted::only(ReleaseId::new("v1")?),
            inputs: VecDeque::from([
                Input::Started {
                    epoch: Epoch::new(1),
                    owner: Arc::from("bench"),
                    engine: Arc::from("bench"),
                },
                Input::PolicyOffered {
                    digest: policy.digest(),
                    policy: policy.clone().shared(),
                },
                Input::Command {
                    actor: Actor::new("bench"),
                    reason: Arc::from("bench"),
                    command: Deploy::new(candidate, "v2").into(),
                },
            ]),
            polls: 0,
        })
    }

    /// The next thing that happens, and when.
    pub fn happens(&mut self) -> (Timestamp, Input) {
        let input = self.inputs.pop_front().unwrap_or_else(|| {
            let wake = self.engine.next_wake();
            self.now = wake.map_or(self.now, |wake| wake.at.max(self.now));
            Input::Woke
        });
        (self.now, input)
    }

    /// Takes the engine's effects and lines up their answers.
    pub fn answer(&mut self) {
        while let Some(effect) = self.engine.poll() {
            let input = match effect {
                Effect::Apply(request) => {
                    self.wanted = request.change.applied_to(&self.wanted);
                    Input::Reported(ChangeReport {
                        id: request.id.clone(),
                        result: Ok(Accepted::default()),
                    })
                }
                Effect::Observe { asked_at } => Input::Observed {
                    asked_at,
                    result: Ok(seen(&self.wanted)),
                },
                Effect::Check { release } => Input::Checked {
                    release,
                    result: Ok(()),
                },
                Effect::Read(reads) => {
                    self.polls += 1;
                    let answers = reads.requests.iter();
                    Input::Readings {
                        answers: answers
                            .map(|request| healthy(request, self.polls))
                            .collect(),
                    }
                }
                _ => continue,
            };
            self.inputs.push_back(input);
        }
    }

    /// Goes on until the bake has begun; false if it never does.
    pub fn reach_bake(&mut self) -> bool {
        let mut steps = Vec::new();
        for _ in 0..10_000 {
            let (at, input) = self.happens();
            let entry = self.engine.handle(at, input);
            self.answer();
            for fact in &entry.facts {
                match fact {
                    Fact::PlanMade { steps: planned, .. } => steps.clone_from(planned),
                    Fact::StepEntered { index, .. } => {
                        if let Some(Step::Bake { .. }) = steps.get(usize::from(*index)) {
                            return true;
                        }
                    }
                    _ => {}
                }
            }
        }
        false
    }
}

/// A platform that runs what it was told to run.
#[must_use]
pub fn seen(wanted: &Wanted) -> Observation {
    let arms = wanted
        .iter()
        .map(|(release, weight)| ArmObservation::new(release.clone(), ArmState::Ready, weight, []));
    Observation::new(wanted.clone(), arms.collect::<Vec<_>>())
}
