//! A policy and its document are the same thing.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    condition::Unit,
    model::{Action, Query, Severity, Weight},
};

const FULL: &str = r#"{
    "service": "checkout", "holdback": "7%", "check": "5s", "poll": "2s", "bake": "10m",
    "metrics": {
        "errors": {"unit": "ratio", "per": "instance", "bad": "bad", "total": "all", "warmup": "20s"},
        "health": {"unit": "state", "query": "/health", "source": "http"},
        "orders": {"unit": "count", "per": "service", "query": "orders"}
    },
    "triggers": [
        {"name": "high", "when": "errors > 5%", "for": "30s"},
        {"name": "against", "compare": "errors", "max_false_rollback_rate": "0.7%", "min_effect": 1.5},
        {"name": "own", "host": true, "action": "hold", "required": true}
    ],
    "verify": {"for": "10s", "within": "1m"},
    "budget": {"rollbacks": 1, "per": "2h", "cooldown": "1m"},
    "on_no_data": "roll_back", "on_inconclusive": "hold", "bootstrap": "bake", "crash_limit": 2
}"#;

/// A policy with a share of errors and a latency, for tests about numbers.
pub(super) fn two_metrics(rest: &str, triggers: &str) -> Policy {
    Policy::from_json(&format!(
        r#"{{"bake": "10m", {rest}
        "metrics": {{
            "errors": {{"unit": "ratio", "per": "instance", "bad": "b", "total": "t", "warmup": "20s"}},
            "p95": {{"unit": "ms", "query": "p95"}}}},
        "triggers": [{triggers}]}}"#
    ))
    .unwrap()
}

pub(super) const HIGH: &str = r#"{"name": "high", "when": "errors > 5%", "for": "25s"}"#;
pub(super) const SLOW: &str = r#"{"name": "slow", "when": "p95 > 2s"}"#;

/// Journals name policies by it: it must not change between versions.
#[test]
fn the_digest_is_stable() {
    let policy = Policy::from_json(FULL).unwrap();
    assert_eq!(policy.digest().as_str(), "cf86dbbda3199f99a528f6dce1b6ac82");
    let mut other = policy.clone();
    other.crash_limit = Some(1);
    assert_ne!(other.digest(), policy.digest());
}

#[test]
fn defaults_are_as_documented() {
    let policy = Policy::from_json(
        r#"{"bake": "10m", "metrics": {"p95": {"unit": "ms", "query": "p95"}},
            "triggers": [{"name": "slow", "when": "p95 > 2s"}]}"#,
    )
    .unwrap();
    let text = serde_json::to_string(&policy).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"strategy":"blue_green","holdback":"0%","check":"0s","poll":"10s","#,
            r#""metrics":{"p95":{"unit":"ms","per":"arm","query":"p95","warmup":"0s"}},"#,
            r#""triggers":[{"name":"slow","when":"p95 > 2s","for":"0s","action":"roll_back","required":true}],"#,
            r#""bake":"10m","verify":{"for":"30s","within":"5m"},"#,
            r#""deadlines":{"preflight":"1m","converge":"10m","shift":"2m","retire":"5m","apply":"30s","doubt":"2m","permit":"1m"},"#,
            r#""budget":{"rollbacks":3,"per":"1h","cooldown":"0s"},"blind_budget":"5m","#,
            r#""on_no_data":"hold","on_inconclusive":"promote","bootstrap":"trust_running","mode":"act","foreign":"ignore","crash_limit":3}"#
        )
    );
}

/// A journal holds policies that were decided on; later rules about what makes sense must not keep it
/// from being read.
#[test]
fn a_policy_is_read_back_without_judging_it_again() {
    let senseless = r#"{"bake": "10s", "poll": "1m"}"#;
    assert!(Policy::from_json(senseless).is_err());
    let policy: Policy = serde_json::from_str(senseless).unwrap();
    assert!(policy.triggers.is_empty());
    let impossible = serde_json::from_str::<Policy>(r#"{"bake": "0s"}"#).unwrap_err();
    assert!(
        impossible.to_string().contains("`bake` is zero"),
        "{impossible}"
    );
}

#[cfg(feature = "yaml")]
#[test]
fn yaml_and_json_read_the_same() {
    // JSON is YAML.
    assert_eq!(Policy::from_yaml(FULL), Policy::from_json(FULL));
    let yaml = "
service: checkout
strategy: blue_green
holdback: 5%
metrics:
  errors: { unit: ratio, per: arm, bad: 'sum(increase(http_requests_total{release=\"{{release}}\",code=~\"5..\"}[{{window}}]))', total: '...' }
  p95:    { unit: ms, per: arm, query: '...' }
triggers:
  - { name: errors_against_stable, compare: errors, max_false_rollback_rate: 1%, min_effect: 1.25 }
  - { name: slow, when: 'p95 > 2s', for: 1m, action: hold }
bake: 10m
";
    let policy = Policy::from_yaml(yaml).unwrap();
    assert_eq!(policy.triggers.len(), 2);
    assert!(!policy.triggers[1].required);
}

fn duration() -> impl Generator<Value = Duration> {
    (1_u64..=31_622_400_000).prop_map(Duration::from_millis)
}

use proptest::strategy::Strategy as Generator;

fn text() -> impl Generator<Value = Arc<str>> {
    "[ -~]{1,20}".prop_map(|text| Arc::from(text.as_str()))
}

prop_compose! {
    fn metric()(
        name in "[a-z_]{1,8}", unit in 0..7_usize, per in 0..3_usize, counts: bool,
        first in text(), second in text(), source in proptest::option::of(text()),
        warmup in duration(),
    ) -> Metric {
        let unit = Unit::ALL[unit];
        let per = [PerScope::Service, PerScope::Arm, PerScope::Instance][per];
        let countable = matches!(unit, Unit::Ratio | Unit::Percent | Unit::Count);
        let query = if counts && countable {
            Query::Counts { bad: first, total: second }
        } else {
            Query::Value(first)
        };
        let mut metric = Metric::new(MetricId::new(name).unwrap(), unit, per, query);
        metric.source = source;
        metric.warmup = warmup;
        metric
    }
}

fn shape() -> impl Generator<Value = Shape> {
    let some = (
        duration(),
        proptest::option::of(duration()),
        0..2_000_u32,
        0..2_000_u32,
        0.0..1.0_f64,
    );
    (0..5, some).prop_map(|(kind, (over, within, bad, of, above))| match kind {
        0 => Shape::Lasting(over),
        1 => Shape::Times { bad, of },
        2 => Shape::InARow { polls: bad, within },
        3 => Shape::Share {
            above,
            over,
            min_samples: bad,
        },
        _ => Shape::Average {
            over,
            min_samples: of,
        },
    })
}

prop_compose! {
    fn rule()(
        kind in 0..7, condition in text(), shape in shape(), metric in "[a-z_]{1,8}",
        rate in 0.000_001..0.999_f64, min_effect in 1.0..100.0_f64, action in 0..4_usize,
        required: bool,
    ) -> TriggerRule {
        TriggerRule {
            name: Arc::from(""),
            rule: match kind {
                0 => Rule::When { condition, shape },
                1 => Rule::Compare {
                    metric: MetricId::new(metric).unwrap(),
                    max_false_rollback_rate: rate,
                    min_effect,
                },
                2 => Rule::Alarm { metric: MetricId::new(metric).unwrap() },
                3 => Rule::Health {
                    health: Health {
                        checks: vec![HealthCheck {
                            name: Arc::from("check"),
                            when: condition,
                            critical: required,
                        }],
                        healthy: rate,
                        degraded: rate / 2.0,
                        fails_at: [FailsAt::Critical, FailsAt::Unhealthy, FailsAt::Degraded][action % 3],
                    },
                    shape: match shape {
                        Shape::Average { .. } => Shape::ONCE,
                        shape => shape,
                    },
                },
                4 => Rule::Composite {
                    needs: [Needs::Any, Needs::All, Needs::AtLeast(7)][action % 3],
                    of: vec![condition],
                },
                5 => Rule::Task { task: condition },
                _ => Rule::Host,
            },
            action: [Action::Observe, Action::Notify, Action::Hold, Action::RollBack][action],
            severity: [Severity::Page, Severity::Warning, Severity::Info][action % 3],
            delay: if required { Duration::ZERO } else { Duration::from_secs(60) },
            blind_budget: required.then_some(Duration::from_secs(7)),
            required,
            is_part: false,
        }
    }
}

prop_compose! {
    fn strategy()(
        kind in 0..5, holdback in 0_u16..10_000, check in duration(), wait in duration(),
        first in 1_u16..5_000, second in 5_001_u16..=10_000, missing: u32, surge in 1_u32..,
    ) -> crate::policy::Strategy {
        use crate::{model::{Pace, Placement}, policy::{OnTimeout, PlannedStep, Strategy}};
        let share = |points| Weight::from_basis_points(points).unwrap();
        let arms = |strategy: Strategy| strategy.with_holdback(share(holdback)).with_check(check);
        let shares = || [share(first), share(second)];
        match kind {
            0 => arms(Strategy::blue_green()),
            1 => arms(Strategy::canary(shares(), wait).unwrap().back_in(shares()).unwrap()),
            2 if missing % 2 == 0 => Strategy::rolling(missing, surge).unwrap(),
            2 => Strategy::rolling(missing, surge).unwrap().back_by(surge, missing).unwrap(),
            3 => Strategy::recreate(),
            _ if missing % 2 == 0 => Strategy::custom([
                PlannedStep::Converge(Placement::Beside),
                PlannedStep::Check(check),
                PlannedStep::Task(Arc::from("named")),
                PlannedStep::Weight(share(first)),
                PlannedStep::Gate {
                    name: Arc::from("gate"),
                    within: wait,
                    then: [OnTimeout::Hold, OnTimeout::RollBack, OnTimeout::Promote]
                        [usize::from(first % 3)],
                },
                PlannedStep::Wait(wait),
                PlannedStep::Weight(share(second)),
                PlannedStep::Bake,
            ].into_iter().chain((second < 10_000).then_some(PlannedStep::Weight(Weight::ALL)))
                .chain([PlannedStep::Retire])).unwrap(),
            _ => Strategy::custom([
                PlannedStep::Converge(Placement::InPlace(
                    [Pace::AtOnce, Pace::StopFirst][usize::from(second % 2)])),
                PlannedStep::Bake,
            ]).unwrap(),
        }
    }
}

prop_compose! {
    fn policy()(
        times in proptest::collection::vec(duration(), 13),
        strategy in strategy(),
        metrics in proptest::collection::vec(metric(), 0..4),
        rules in proptest::collection::vec(rule(), 0..4),
        choices in 0_u8..8, rollbacks: u32, crash_limit in 1_u32..,
    ) -> Policy {
        let (mut metrics, mut triggers) = (metrics, rules);
        metrics.sort_by(|a, b| a.id.cmp(&b.id));
        metrics.dedup_by(|a, b| a.id == b.id);
        for (index, rule) in triggers.iter_mut().enumerate() {
            rule.name = Arc::from(format!("rule_{index}"));
        }
        let task = |name: &str, when, on_failure| TaskRule {
            loss: None,
            name: Arc::from(name), when, within: times[6], on_failure,
        };
        let mut tasks = vec![
            task("backup", Some(TaskWhen::Before), OnTaskFailure::RollBack),
            task("post", Some(TaskWhen::After), OnTaskFailure::GoOn),
        ];
        if strategy.steps().iter().any(|step| step.word() == "task") {
            tasks.insert(1, task("named", None, OnTaskFailure::Hold));
        }
        Policy {
            service: None,
            strategy,
            tasks,
            poll: times[1],
            metrics,
            triggers,
            bake: times[2],
            verify: Verification { hold_for: times[3], within: times[4] },
            deadlines: Deadlines {
                preflight: times[5], converge: times[6], shift: times[7], retire: times[8],
                apply: times[9], doubt: times[10], permit: times[11],
            },
            budget: Budget { rollbacks, per: times[12], cooldown: times[0] },
            blindness: Blindness {
                budget: times[1],
                then: if choices & 1 == 0 { OnNoData::Hold } else { OnNoData::RollBack },
            },
            on_inconclusive: if choices & 2 == 0 { OnInconclusive::Hold } else { OnInconclusive::Promote },
            bootstrap: if choices & 4 == 0 { Bootstrap::Bake } else { Bootstrap::TrustRunning },
            mode: if choices & 1 == 0 { Mode::Act } else { Mode::Observe },
            foreign: match choices & 6 { 0 => Foreign::Ignore, 2 => Foreign::Adopt, _ => Foreign::Hold },
            crash_limit: (choices & 1 == 0).then_some(crash_limit),
        }
    }
}

/// A canary is watched at each of its shares, and not in the bake alone.
#[test]
fn waits_count_for_what_takes_long() {
    let policy = |strategy: &str| {
        format!(
            r#"{{"poll": "1s", "bake": "5s", "strategy": {strategy},
            "metrics": {{"errors": {{"unit": "ratio", "per": "arm", "bad": "b", "total": "t"}}}},
            "triggers": [{{"name": "errors", "when": "errors > 5%", "for": "12s"}}]}}"#
        )
    };
    let canary = policy(r#"{"canary": {"steps": ["10%", "100%"], "wait": "10s"}}"#);
    assert_eq!(
        Policy::from_json(&canary).unwrap().watched_for(),
        Duration::from_secs(15)
    );
    let error = Policy::from_json(&policy(r#""blue_green""#)).unwrap_err();
    assert!(error.to_string().contains("the bake lasts 5s"), "{error}");
    let error = Policy::from_json(&canary.replace("12s", "20s")).unwrap_err();
    assert!(
        error.to_string().contains("waits and bake last 15s"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_policy_that_is_written_is_read_as_the_same(policy in policy()) {
        let text = serde_json::to_string(&policy).unwrap();
        let read: Policy = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &policy);
        prop_assert_eq!(read.digest(), policy.digest());
    }

    /// Whatever stands in the file: a policy or an error, and never a panic.
    #[cfg(feature = "yaml")]
    #[test]
    fn a_damaged_policy_never_panics(at in 0..FULL.len(), damage in "\\PC{0,3}", cut in 0..40_usize) {
        let end = (at + cut).min(FULL.len());
        let text = format!("{}{damage}{}", &FULL[..at], &FULL[end..]);
        for error in [Policy::from_yaml(&text), Policy::from_json(&text)].into_iter().flat_map(Result::err) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
