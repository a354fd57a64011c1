//! Thresholds over whole watches.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::Threshold;
use crate::{
    model::{
        Arm, ArmCounts, DeploymentId, InstanceId, MetricId, ReadError, Reading, ReleaseId, Sample,
        Scope, Timestamp, UnknownReason, Verdict, Window,
    },
    policy::{Policy, Shape},
    ports::{ArmSide, Evidence, Trigger as _, WatchStart},
};

const CANDIDATE: Scope = Scope::Arm(Arm::Candidate);
const STABLE: Scope = Scope::Arm(Arm::Stable);

fn policy() -> Policy {
    serde_json::from_str(
        r#"{
        "poll": "1s", "bake": "1m",
        "metrics": {
            "errors": {"unit": "ratio", "per": "instance", "bad": "bad_total", "total": "all_total"},
            "p95": {"unit": "ms", "query": "p95"},
            "orders": {"unit": "count", "per": "service", "query": "orders"},
            "health": {"unit": "state", "per": "instance", "query": "/health"}
        },
        "triggers": [{"name": "placeholder", "when": "errors > 5%"}]
    }"#,
    )
    .unwrap()
}

fn rule(condition: &str, for_: u64) -> Threshold {
    let name = Arc::from("rule");
    Threshold::new(
        name,
        condition,
        Shape::Lasting(Duration::from_secs(for_)),
        &policy(),
    )
    .unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn metric(name: &str) -> MetricId {
    MetricId::new(name).unwrap()
}

fn reading(to: i64, sample: Sample) -> Reading {
    Reading::new(Window::new(at(to - 1), at(to)), sample)
}

fn counts(bad: u64, total: u64) -> Sample {
    Sample::Counts { bad, total }
}

fn start() -> WatchStart {
    WatchStart::new(
        at(0),
        DeploymentId::new("d1").unwrap(),
        ReleaseId::new("v1").unwrap(),
        ReleaseId::new("v2").unwrap(),
        Duration::from_secs(1),
        Duration::from_secs(60),
    )
}

fn watch(condition: &str, for_: u64) -> Box<dyn Evidence> {
    rule(condition, for_).begin(&start())
}

fn tell(evidence: &mut dyn Evidence, second: i64, name: &str, scope: &Scope, sample: Sample) {
    evidence.observe(at(second), &metric(name), scope, &reading(second, sample));
}

fn words(evidence: &dyn Evidence, second: i64) -> &'static str {
    evidence.verdict(at(second)).word()
}

#[test]
fn bad_for_long_enough_fails_and_says_so_with_numbers() {
    let mut evidence = watch("errors > 5%", 2);
    assert_eq!(
        evidence.verdict(at(0)),
        Verdict::Unknown(UnknownReason::NothingYet)
    );
    let polls = [
        (1, counts(2, 100), "pass"),
        (2, counts(40, 140), "inconclusive"),
        (3, counts(45, 130), "inconclusive"),
        (4, counts(40, 131), "fail"),
        (5, counts(5, 100), "pass"),
    ];
    for (second, sample, verdict) in polls {
        tell(&mut *evidence, second, "errors", &CANDIDATE, sample);
        assert_eq!(words(&*evidence, second), verdict, "{second}");
        if second == 3 {
            assert_eq!(
                evidence.explain(at(3)).sentence,
                "errors was 31.5 % (85 of 270 requests) for 1s, above 5 %; not yet for 2s"
            );
        }
        if second == 4 {
            let explanation = evidence.explain(at(4));
            assert_eq!(
                explanation.sentence,
                "errors was 31.2 % (125 of 401 requests) for 2s, above 5 %"
            );
            assert_eq!(explanation.rule, "errors > 5% for 2s");
            assert_eq!(explanation.would_pass.as_deref(), Some("errors <= 5 %"));
            assert_eq!(explanation.window, Some(Window::new(at(1), at(4))));
            assert_eq!(explanation.queries, ["errors: bad_total / all_total"]);
            assert_eq!(explanation.threshold.map(|figure| figure.value), Some(0.05));
            assert_eq!(
                explanation.counts,
                [ArmCounts {
                    arm: Some(Arm::Candidate),
                    bad: 125,
                    total: 401
                }]
            );
        }
    }
    assert_eq!(
        evidence.explain(at(5)).sentence,
        "errors was 5 % (5 of 100 requests), at most 5 %"
    );
}

#[test]
fn one_bad_reading_never_matures_by_waiting() {
    let mut evidence = watch("errors > 5%", 2);
    tell(&mut *evidence, 1, "errors", &CANDIDATE, counts(9, 10));
    assert_eq!(words(&*evidence, 3), "inconclusive");
    assert_eq!(words(&*evidence, 4), "inconclusive");
    assert_eq!(
        evidence.next_wake(at(1)),
        Some(Timestamp::from_millis(4_001))
    );
    assert_eq!(
        evidence.verdict(Timestamp::from_millis(4_001)),
        Verdict::Unknown(UnknownReason::Stale {
            metric: metric("errors")
        })
    );
    assert_eq!(evidence.next_wake(at(5)), None);
}

#[test]
fn a_poll_that_is_a_little_early_does_not_cost_another_one() {
    for (ends, verdict) in [
        (&[1_000, 2_000, 2_950][..], "fail"),
        (&[1_000, 2_000, 2_850], "inconclusive"),
        (&[1_000], "inconclusive"),
    ] {
        let mut evidence = watch("errors > 5%", 2);
        for end in ends {
            let to = Timestamp::from_millis(*end);
            let window = Window::new(to.before(Duration::from_secs(1)), to);
            let reading = Reading::new(window, counts(9, 10));
            evidence.observe(to, &metric("errors"), &CANDIDATE, &reading);
        }
        let last = Timestamp::from_millis(*ends.last().unwrap());
        assert_eq!(evidence.verdict(last).word(), verdict, "{ends:?}");
    }
}

#[test]
fn a_blind_poll_is_unknown_and_neither_counts_nor_starts_again() {
    let mut evidence = watch("errors > 5%", 2);
    tell(&mut *evidence, 1, "errors", &CANDIDATE, counts(9, 10));
    tell(&mut *evidence, 2, "errors", &CANDIDATE, counts(9, 10));
    let error = ReadError::NoData;
    evidence.unreadable(at(3), &metric("errors"), &CANDIDATE, &error);
    assert_eq!(
        evidence.verdict(at(3)),
        Verdict::Unknown(UnknownReason::Unreadable {
            metric: metric("errors"),
            error
        })
    );
    tell(&mut *evidence, 4, "errors", &CANDIDATE, counts(9, 10));
    assert_eq!(words(&*evidence, 4), "inconclusive");
    tell(&mut *evidence, 5, "errors", &CANDIDATE, counts(9, 10));
    assert_eq!(words(&*evidence, 5), "fail");
}

#[test]
fn no_requests_is_not_healthy() {
    let mut evidence = watch("errors > 5%", 0);
    tell(&mut *evidence, 1, "errors", &CANDIDATE, counts(0, 0));
    assert_eq!(
        evidence.verdict(at(1)),
        Verdict::Unknown(UnknownReason::TooFew)
    );
    tell(&mut *evidence, 2, "errors", &CANDIDATE, counts(0, 5));
    assert_eq!(words(&*evidence, 2), "pass");
    for second in 3..=6 {
        tell(&mut *evidence, second, "errors", &CANDIDATE, counts(0, 0));
    }
    assert_eq!(words(&*evidence, 6), "unknown");
}

#[test]
fn readings_of_one_poll_are_judged_together() {
    // Judged one by one, the new p95 would meet the old error rate.
    let mut evidence = watch("errors > 5% && p95 > 1s", 1);
    for (second, bad, p95) in [(1, 9, 2_000.0), (2, 9, 3_000.0)] {
        tell(
            &mut *evidence,
            second,
            "errors",
            &CANDIDATE,
            counts(bad, 10),
        );
        tell(
            &mut *evidence,
            second,
            "p95",
            &CANDIDATE,
            Sample::Gauge(p95),
        );
    }
    assert_eq!(words(&*evidence, 2), "fail");
    assert_eq!(
        evidence.explain(at(2)).sentence,
        "errors was 90 % (18 of 20 requests) for 1s, above 5 % and p95 was 3s for 1s, above 1s"
    );
    let mut evidence = watch("errors > 5% && p95 > 1s", 0);
    tell(&mut *evidence, 1, "errors", &CANDIDATE, counts(9, 10));
    tell(&mut *evidence, 1, "p95", &CANDIDATE, Sample::Gauge(20.0));
    tell(&mut *evidence, 2, "errors", &CANDIDATE, counts(0, 10));
    tell(&mut *evidence, 2, "p95", &CANDIDATE, Sample::Gauge(2_000.0));
    assert_eq!(words(&*evidence, 2), "pass");
}

#[test]
fn three_values_where_one_metric_is_missing() {
    let mut evidence = watch("errors > 5% || p95 > 1s", 0);
    tell(&mut *evidence, 1, "p95", &CANDIDATE, Sample::Gauge(2_000.0));
    assert_eq!(words(&*evidence, 1), "fail");
    tell(&mut *evidence, 2, "p95", &CANDIDATE, Sample::Gauge(20.0));
    assert_eq!(words(&*evidence, 2), "unknown");
}

#[test]
fn the_arms_are_told_apart() {
    let mut evidence = watch("p95 > 2 * stable(p95)", 0);
    tell(&mut *evidence, 1, "p95", &CANDIDATE, Sample::Gauge(900.0));
    assert_eq!(
        evidence.verdict(at(1)),
        Verdict::Unknown(UnknownReason::NoArm(Arm::Stable))
    );
    tell(&mut *evidence, 1, "p95", &STABLE, Sample::Gauge(400.0));
    assert_eq!(words(&*evidence, 1), "fail");
    assert_eq!(
        evidence.explain(at(1)).sentence,
        "p95 was 900ms, above 800ms"
    );
    // A metric of the service does not answer for an arm, nor the reverse.
    let mut evidence = watch("orders < 5", 0);
    tell(&mut *evidence, 1, "orders", &CANDIDATE, Sample::Gauge(1.0));
    assert_eq!(words(&*evidence, 1), "unknown");
    tell(
        &mut *evidence,
        1,
        "orders",
        &Scope::Service,
        Sample::Gauge(1.0),
    );
    assert_eq!(words(&*evidence, 1), "fail");
}

#[test]
fn while_a_rollback_is_verified_the_stable_arm_is_on_trial() {
    let mut evidence = rule("errors > 5%", 0).begin(&start().verifying());
    tell(&mut *evidence, 1, "errors", &CANDIDATE, counts(9, 10));
    assert_eq!(words(&*evidence, 1), "unknown");
    tell(&mut *evidence, 1, "errors", &STABLE, counts(0, 10));
    assert_eq!(words(&*evidence, 1), "pass");
    assert_eq!(evidence.also_elsewhere(at(1)), None);
}

#[test]
fn one_sick_instance_is_enough_and_is_named() {
    let one = |name: &str| Scope::Instance {
        arm: Arm::Candidate,
        instance: InstanceId::new(name).unwrap(),
    };
    let mut evidence = watch("health != 'up'", 1);
    for second in 1..=2 {
        tell(
            &mut *evidence,
            second,
            "health",
            &one("a"),
            Sample::State("up".into()),
        );
        tell(
            &mut *evidence,
            second,
            "health",
            &one("b"),
            Sample::State("down".into()),
        );
    }
    assert_eq!(words(&*evidence, 2), "fail");
    assert_eq!(
        evidence.explain(at(2)).sentence,
        "health was 'down' on b for 1s, not 'up'"
    );
    // Gone: what does not answer any more does not count once another one does.
    for second in 3..=6 {
        tell(
            &mut *evidence,
            second,
            "health",
            &one("a"),
            Sample::State("up".into()),
        );
    }
    assert_eq!(words(&*evidence, 6), "pass");
}

#[test]
fn what_is_as_bad_elsewhere_is_not_blamed_on_the_candidate() {
    for (candidate, stable, excused) in [
        (counts(30, 100), counts(28, 100), true),
        (counts(30, 100), counts(2, 100), false),
        // Also beyond the bound, and still far better than the candidate.
        (counts(62, 200), counts(12, 200), false),
        // Beyond the bound, and too few events to tell the difference.
        (counts(8, 100), counts(6, 100), true),
        (counts(30, 100), counts(0, 0), false),
    ] {
        let mut evidence = watch("errors > 5%", 0);
        tell(&mut *evidence, 1, "errors", &CANDIDATE, candidate.clone());
        tell(&mut *evidence, 1, "errors", &STABLE, stable.clone());
        assert_eq!(
            evidence.also_elsewhere(at(1)).is_some(),
            excused,
            "{candidate:?} {stable:?}"
        );
    }
    let mut evidence = watch("errors > 5%", 0);
    tell(&mut *evidence, 1, "errors", &CANDIDATE, counts(30, 100));
    tell(&mut *evidence, 1, "errors", &STABLE, counts(28, 100));
    assert_eq!(
        evidence.also_elsewhere(at(1)).as_deref(),
        Some("the stable release is as bad: errors is 28 % (28 of 100 requests)")
    );
    // A breath later the stable arm had one good poll; much later it has recovered.
    tell(&mut *evidence, 2, "errors", &CANDIDATE, counts(30, 100));
    tell(&mut *evidence, 2, "errors", &STABLE, counts(1, 100));
    assert_eq!(
        evidence.also_elsewhere(at(2)).as_deref(),
        Some("the stable release was as bad a moment ago")
    );
    for second in 3..=9 {
        tell(
            &mut *evidence,
            second,
            "errors",
            &CANDIDATE,
            counts(30, 100),
        );
        tell(&mut *evidence, second, "errors", &STABLE, counts(1, 100));
    }
    assert_eq!(evidence.also_elsewhere(at(9)), None);
}

/// What both arms share is asked about at hundreds of polls; a small candidate's share strays.
#[test]
fn one_poll_that_strays_blames_nobody() {
    let mut evidence = watch("errors > 5%", 3);
    for second in 1..=12 {
        let bad = if second == 12 {
            36
        } else {
            20 + second as u64 % 3
        };
        tell(
            &mut *evidence,
            second,
            "errors",
            &CANDIDATE,
            counts(bad, 100),
        );
        tell(&mut *evidence, second, "errors", &STABLE, counts(150, 900));
    }
    assert_eq!(words(&*evidence, 12), "fail");
    assert!(
        evidence.also_elsewhere(at(12)).is_some(),
        "21 % in eleven polls, and 36 % in one, with 17 % on the stable arm"
    );
    // A candidate that really became far worse is found within the polls that are looked at.
    for second in 13..=22 {
        tell(
            &mut *evidence,
            second,
            "errors",
            &CANDIDATE,
            counts(60, 100),
        );
        tell(&mut *evidence, second, "errors", &STABLE, counts(150, 900));
    }
    assert_eq!(evidence.also_elsewhere(at(22)), None);
}

#[test]
fn another_comparison_elsewhere_is_no_excuse() {
    // The stable arm is slow and has no errors, far below the bound that the candidate exceeds.
    let mut evidence = watch("errors > 50% || p95 > 1s", 0);
    tell(&mut *evidence, 1, "errors", &CANDIDATE, counts(60, 100));
    tell(&mut *evidence, 1, "p95", &CANDIDATE, Sample::Gauge(100.0));
    tell(&mut *evidence, 1, "errors", &STABLE, counts(0, 100));
    tell(&mut *evidence, 1, "p95", &STABLE, Sample::Gauge(5_000.0));
    assert_eq!(evidence.also_elsewhere(at(1)), None);
}

#[test]
fn what_was_broken_before_is_not_blamed_on_the_candidate() {
    let baseline = vec![
        (metric("orders"), reading(0, Sample::Gauge(2.0))),
        (metric("p95"), reading(0, Sample::Gauge(500.0))),
    ];
    let start = start().with_baseline(baseline);
    let mut evidence = rule("orders < 5", 0).begin(&start);
    tell(
        &mut *evidence,
        1,
        "orders",
        &Scope::Service,
        Sample::Gauge(1.0),
    );
    assert_eq!(
        evidence.also_elsewhere(at(1)).as_deref(),
        Some("it was as bad before the deployment: orders is 2")
    );
    let mut evidence = rule("p95 > 1.5 * baseline", 0).begin(&start);
    tell(&mut *evidence, 1, "p95", &CANDIDATE, Sample::Gauge(800.0));
    assert_eq!(words(&*evidence, 1), "fail");
    assert_eq!(evidence.also_elsewhere(at(1)), None);
}

#[test]
fn a_healthy_service_is_not_elsewhere() {
    let mut evidence = watch("errors > 5%", 0);
    tell(&mut *evidence, 1, "errors", &CANDIDATE, counts(0, 100));
    tell(&mut *evidence, 1, "errors", &STABLE, counts(30, 100));
    assert_eq!(evidence.also_elsewhere(at(1)), None);
}

#[test]
fn needs_follow_the_condition() {
    for (condition, sides) in [
        ("errors > 5%", &[ArmSide::OnTrial][..]),
        ("p95 > 2 * stable(p95)", &[ArmSide::Both]),
        ("stable(p95) > 2s", &[ArmSide::Stable]),
        (
            "errors > 5% && p95 > baseline",
            &[ArmSide::OnTrial, ArmSide::OnTrial],
        ),
    ] {
        let found: Vec<ArmSide> = rule(condition, 0).reads().iter().map(|n| n.side).collect();
        assert_eq!(found, sides, "{condition}");
    }
}

#[test]
fn the_same_readings_give_the_same_evidence() {
    let run = || {
        let mut evidence = watch("errors > 5% && p95 > 100ms", 2);
        for second in 1..50 {
            let bad = u64::try_from(second % 7).unwrap();
            tell(
                &mut *evidence,
                second,
                "errors",
                &CANDIDATE,
                counts(bad, 40),
            );
            tell(
                &mut *evidence,
                second,
                "p95",
                &CANDIDATE,
                Sample::Gauge(90.0 + bad as f64 * 5.0),
            );
        }
        format!("{evidence:?}")
    };
    assert_eq!(run(), run());
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Poll {
    Bad,
    Good,
    Empty,
    Error,
    Silent,
}

fn polls() -> impl Strategy<Value = Vec<Poll>> {
    use Poll::{Bad, Empty, Error, Good, Silent};
    let poll = prop_oneof![
        5 => Just(Bad), 1 => Just(Good), 1 => Just(Empty), 1 => Just(Error), 1 => Just(Silent)
    ];
    proptest::collection::vec(poll, 1..40)
}

proptest! {
    /// Said in terms of the raw history, whatever the evidence keeps of it.
    #[test]
    fn a_failure_rests_on_fresh_bad_readings_that_span_for(polls in polls(), for_ in 0_u64..5) {
        let mut evidence = watch("errors > 5%", for_);
        for (index, poll) in polls.iter().enumerate() {
            let now = i64::try_from(index).unwrap() + 1;
            let (name, error) = (metric("errors"), ReadError::NoData);
            match poll {
                Poll::Bad => tell(&mut *evidence, now, "errors", &CANDIDATE, counts(9, 10)),
                Poll::Good => tell(&mut *evidence, now, "errors", &CANDIDATE, counts(0, 10)),
                Poll::Empty => tell(&mut *evidence, now, "errors", &CANDIDATE, counts(0, 0)),
                Poll::Error => evidence.unreadable(at(now), &name, &CANDIDATE, &error),
                Poll::Silent => {}
            }
            let seen = &polls[..=index];
            let last = |wanted: Poll| seen.iter().rposition(|poll| *poll == wanted);
            let good = last(Poll::Good);
            let bad: Vec<usize> = (0..=index)
                .filter(|i| seen[*i] == Poll::Bad && good.is_none_or(|good| *i > good))
                .collect();
            let span = bad.first().zip(bad.last()).map_or(0, |(first, last)| last - first);
            let verdict = evidence.verdict(at(now));
            if verdict == Verdict::Fail {
                let newest = *bad.last().unwrap();
                prop_assert!(last(Poll::Error).is_none_or(|error| error < newest));
                prop_assert!(index - newest <= 3, "stale");
                prop_assert!(u64::try_from(span).unwrap() >= for_);
            }
            let run = seen.iter().rev().take_while(|poll| **poll == Poll::Bad).count();
            if u64::try_from(run).unwrap() > for_ {
                prop_assert_eq!(&verdict, &Verdict::Fail);
            }
            if verdict == Verdict::Pass {
                prop_assert!(good.is_some() && bad.is_empty());
            }
            prop_assert_eq!(evidence.explain(at(now)).sentence.is_empty(), false);
        }
    }
}
