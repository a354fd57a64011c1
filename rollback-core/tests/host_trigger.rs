//! A rule that a host wrote: it decides like any other, and its panic is not the engine's.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what cannot happen must fail it"
)]

use std::{sync::Arc, time::Duration};

use rollback_core::{
    engine::{Engine, EngineConfig},
    entry::{Deploy, Effect, Fact, Input},
    model::*,
    policy::Policy,
    ports::*,
};

/// Fails when the queue grows in three readings in a row; panics on a negative length.
#[derive(Debug)]
struct QueueGrows;

#[derive(Debug, Default)]
struct Lengths {
    last: Option<f64>,
    grown: u32,
}

impl Trigger for QueueGrows {
    fn id(&self) -> TriggerId {
        TriggerId::new("queue_grows", 3)
    }
    fn reads(&self) -> Vec<MetricNeed> {
        vec![MetricNeed {
            metric: MetricId::new("queue").unwrap(),
            side: ArmSide::OnTrial,
        }]
    }
    fn begin(&self, _: &WatchStart) -> Box<dyn Evidence> {
        Box::new(Lengths::default())
    }
}

impl Evidence for Lengths {
    fn observe(&mut self, _: Timestamp, _: &MetricId, scope: &Scope, reading: &Reading) {
        let Sample::Gauge(length) = reading.sample else {
            return;
        };
        assert!(length >= 0.0, "a queue cannot be {length} long");
        if scope.arm() == Some(Arm::Candidate) {
            let grows = self.last.is_some_and(|last| length > last);
            self.grown = if grows { self.grown + 1 } else { 0 };
            self.last = Some(length);
        }
    }
    fn verdict(&self, _: Timestamp) -> Verdict {
        match self.last {
            None => Verdict::Unknown(UnknownReason::NothingYet),
            Some(_) if self.grown >= 3 => Verdict::Fail,
            Some(_) => Verdict::Pass,
        }
    }
    fn next_wake(&self, _: Timestamp) -> Option<Timestamp> {
        None
    }
    fn explain(&self, _: Timestamp) -> Explanation {
        Explanation {
            sentence: format!("the queue grew {} times in a row", self.grown),
            ..Explanation::default()
        }
    }
}

fn id(text: &str) -> ReleaseId {
    ReleaseId::new(text).unwrap()
}

/// A healthy platform on which the candidate's queue has the given lengths, one a second.
fn deploy(lengths: &[f64]) -> Vec<Fact> {
    let config = EngineConfig::new(
        ServiceId::new("shop").unwrap(),
        Capabilities::least(Duration::ZERO)
            .with_compare_and_set()
            .with_two_arms()
            .with_weights(),
    )
    .with_host_trigger(Arc::new(QueueGrows));
    let mut engine = Engine::new(config);
    let policy: Policy = serde_json::from_str(
        r#"{"poll":"1s","bake":"30s","blind_budget":"10s","metrics":{"queue":{"unit":"count","query":"q"}},
            "triggers":[{"name":"queue_grows","host":true}]}"#,
    )
    .unwrap();
    let mut wanted = Wanted::only(id("v1"));
    let mut lengths = lengths.iter();
    let mut now = Timestamp::from_millis(1_000);
    let mut facts = Vec::new();
    let mut inputs = vec![
        Input::Command {
            actor: Actor::new("test"),
            reason: Arc::from("test"),
            command: Deploy::new(id("v2"), "v2").into(),
        },
        Input::PolicyOffered {
            digest: policy.digest(),
            policy: policy.shared(),
        },
        Input::Started {
            epoch: Epoch::new(1),
            owner: Arc::from("test"),
            engine: Arc::from("test"),
        },
    ];
    for _ in 0..400 {
        let input = inputs.pop().unwrap_or_else(|| {
            let wake = engine.next_wake().map_or(now, |wake| wake.at);
            now = now.max(wake);
            Input::Woke
        });
        facts.extend(engine.handle(now, input).facts);
        while let Some(effect) = engine.poll() {
            inputs.extend(match effect {
                Effect::Apply(request) => {
                    wanted = request.change.applied_to(&wanted);
                    Some(Input::Reported(rollback_core::entry::ChangeReport {
                        id: request.id.clone(),
                        result: Ok(Accepted::default()),
                    }))
                }
                Effect::Observe { asked_at } => Some(Input::Observed {
                    asked_at,
                    result: Ok(Observation::new(
                        wanted.clone(),
                        wanted
                            .iter()
                            .map(|(release, weight)| {
                                ArmObservation::new(release.clone(), ArmState::Ready, weight, [])
                            })
                            .collect::<Vec<_>>(),
                    )),
                }),
                Effect::Check { release } => Some(Input::Checked {
                    release,
                    result: Ok(()),
                }),
                Effect::Read(reads) => Some(Input::Readings {
                    answers: reads
                        .requests
                        .into_iter()
                        .map(|ask| Answer {
                            metric: ask.metric,
                            result: match ask.scope.arm() {
                                Some(Arm::Candidate) => lengths
                                    .next()
                                    .map(|length| Reading::new(ask.window, Sample::Gauge(*length)))
                                    .ok_or(ReadError::NoData),
                                _ => Ok(Reading::new(ask.window, Sample::Gauge(1.0))),
                            },
                            scope: ask.scope,
                        })
                        .collect(),
                }),
                _ => None,
            });
        }
        if facts.iter().any(|fact| matches!(fact, Fact::Ended { .. })) {
            break;
        }
    }
    facts
}

#[test]
fn it_rolls_back_and_its_sentence_is_kept() {
    let facts = deploy(&[1.0, 2.0, 3.0, 4.0]);
    let cause = facts.iter().find_map(|fact| match fact {
        Fact::RollbackDecided { cause, .. } => Some(cause.to_string()),
        _ => None,
    });
    assert_eq!(
        cause.as_deref(),
        Some("queue_grows: the queue grew 3 times in a row")
    );
}

#[test]
fn a_healthy_candidate_is_promoted() {
    let facts = deploy(&[1.0; 60]);
    let Some(Fact::Ended { outcome, .. }) = facts.last() else {
        panic!("no end: {facts:#?}");
    };
    assert_eq!(*outcome, Outcome::Promoted { release: id("v2") });
}

#[test]
fn its_panic_is_unknown_and_never_a_verdict() {
    let facts = deploy(&[1.0, 2.0, -3.0, 9.0, 10.0, 11.0, 12.0]);
    let faulted = facts.iter().any(|fact| {
        matches!(
            fact,
            Fact::VerdictChanged {
                verdict: Verdict::Unknown(UnknownReason::TriggerFaulted),
                ..
            }
        )
    });
    assert!(faulted, "{facts:#?}");
    let rolled_back = |fact: &Fact| matches!(fact, Fact::RollbackDecided { .. });
    assert!(!facts.iter().any(rolled_back));
    let held = |fact: &Fact| {
        matches!(
            fact,
            Fact::Held {
                reason: HoldReason::Blind { .. },
                ..
            }
        )
    };
    assert!(facts.iter().any(held), "{facts:#?}");
}

#[test]
fn a_rule_that_the_host_did_not_give_is_refused_by_name() {
    let policy: Policy = serde_json::from_str(
        r#"{"poll":"1s","bake":"30s","blind_budget":"10s","metrics":{"queue":{"unit":"count","query":"q"}},
            "triggers":[{"name":"queue_grows","host":true}]}"#,
    )
    .unwrap();
    let mut engine = Engine::new(EngineConfig::new(
        ServiceId::new("shop").unwrap(),
        Capabilities::least(Duration::ZERO),
    ));
    let at = Timestamp::from_millis(1);
    let _ = engine.handle(
        at,
        Input::PolicyOffered {
            digest: policy.digest(),
            policy: policy.shared(),
        },
    );
    let entry = engine.handle(
        at,
        Input::Command {
            actor: Actor::new("test"),
            reason: Arc::from("test"),
            command: Deploy::new(id("v2"), "v2").into(),
        },
    );
    let [Fact::Refused { reason, .. }] = entry.facts.as_slice() else {
        panic!("{:#?}", entry.facts);
    };
    assert!(reason.to_string().contains("queue_grows"), "{reason}");
}
