//! Comparisons over whole watches.

use std::time::Duration;

use super::ErrorVsBaseline;
use crate::{
    condition::Unit,
    model::{
        Arm, DeploymentId, MetricId, Query, ReadError, Reading, ReleaseId, Sample, Scope,
        Timestamp, UnknownReason, Verdict, Window,
    },
    policy::{Metric, PerScope},
    ports::{Evidence, Trigger as _, WatchStart},
};

const CANDIDATE: Scope = Scope::Arm(Arm::Candidate);
const STABLE: Scope = Scope::Arm(Arm::Stable);

fn id() -> MetricId {
    MetricId::new("errors").unwrap()
}

fn rule() -> ErrorVsBaseline {
    let query = Query::Counts {
        bad: "bad_total".into(),
        total: "all_total".into(),
    };
    let metric = Metric::new(id(), Unit::Ratio, PerScope::Arm, query);
    ErrorVsBaseline::new("against_stable".into(), metric, 0.01, 1.25).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn start() -> WatchStart {
    WatchStart::new(
        at(0),
        DeploymentId::new("d1").unwrap(),
        ReleaseId::new("v1").unwrap(),
        ReleaseId::new("v2").unwrap(),
        Duration::from_secs(10),
        Duration::from_secs(1_800),
    )
}

fn reading(from: i64, to: i64, (bad, total): (u64, u64)) -> Reading {
    Reading::new(Window::new(at(from), at(to)), Sample::Counts { bad, total })
}

/// One poll of ten seconds.
fn tell(evidence: &mut dyn Evidence, poll: i64, scope: &Scope, counts: (u64, u64)) {
    let reading = reading(poll * 10 - 10, poll * 10, counts);
    evidence.observe(at(poll * 10), &id(), scope, &reading);
}

fn run(polls: i64, candidate: (u64, u64), stable: (u64, u64)) -> Box<dyn Evidence> {
    let mut evidence = rule().begin(&start());
    for poll in 1..=polls {
        tell(&mut *evidence, poll, &CANDIDATE, candidate);
        tell(&mut *evidence, poll, &STABLE, stable);
    }
    evidence
}

#[test]
fn a_bad_candidate_fails_and_the_sentence_has_the_numbers() {
    let evidence = run(6, (4, 100), (4, 900));
    assert_eq!(evidence.verdict(at(60)), Verdict::Fail);
    let explanation = evidence.explain(at(60));
    let start = "Since the watch began 48 requests failed; 24 of them on the candidate, which \
                 served 10 % of the traffic (4.8 expected). If the candidate were at most 1.25 \
                 times as error-prone as the stable release, evidence this strong would ever \
                 appear in fewer than 1 in ";
    let end =
        " deployments (limit: 1 in 100). Estimated ratio 9.33, with 99 % confidence at least ";
    assert!(
        explanation.sentence.starts_with(start),
        "{}",
        explanation.sentence
    );
    assert!(
        explanation.sentence.contains(end),
        "{}",
        explanation.sentence
    );
    assert_eq!(explanation.window, Some(Window::new(at(0), at(60))));
    assert_eq!(explanation.counts.len(), 2);
    // Crossed, and blind since: nobody may act on it any more.
    assert_eq!(
        evidence.verdict(at(91)),
        Verdict::Unknown(UnknownReason::Stale { metric: id() })
    );
    assert_eq!(
        evidence.next_wake(at(60)),
        Some(Timestamp::from_millis(90_001))
    );
}

#[test]
fn trouble_of_both_arms_is_nobodys_fault() {
    let evidence = run(100, (20, 100), (180, 900));
    assert_eq!(evidence.verdict(at(1_000)), Verdict::Pass);
}

#[test]
fn a_pass_takes_traffic_in_which_it_would_have_been_noticed() {
    let evidence = run(3, (0, 20), (1, 180));
    let Verdict::Inconclusive(words) = evidence.verdict(at(30)) else {
        panic!("{}", evidence.verdict(at(30)));
    };
    assert!(words.contains("of the candidate"), "{words}");
    assert_eq!(
        run(100, (0, 100), (4, 900)).verdict(at(1_000)),
        Verdict::Pass
    );
    // Errors are so rare that three times as many are next to nothing: 1 % would be noticed.
    assert_eq!(run(30, (0, 100), (0, 900)).verdict(at(300)), Verdict::Pass);
}

#[test]
fn no_verdict_without_both_arms() {
    let mut evidence = rule().begin(&start());
    let unknown = |evidence: &dyn Evidence, second| match evidence.verdict(at(second)) {
        Verdict::Unknown(reason) => reason,
        verdict => panic!("{verdict}"),
    };
    assert_eq!(unknown(&*evidence, 0), UnknownReason::NothingYet);
    tell(&mut *evidence, 1, &CANDIDATE, (9, 10));
    assert_eq!(unknown(&*evidence, 10), UnknownReason::NoArm(Arm::Stable));
    tell(&mut *evidence, 1, &STABLE, (0, 0));
    assert_eq!(unknown(&*evidence, 10), UnknownReason::NoArm(Arm::Stable));
    tell(&mut *evidence, 2, &STABLE, (0, 10));
    tell(&mut *evidence, 2, &CANDIDATE, (9, 10));
    assert_eq!(evidence.verdict(at(20)).word(), "inconclusive");
    let error = ReadError::NoData;
    evidence.unreadable(at(30), &id(), &STABLE, &error);
    assert_eq!(
        unknown(&*evidence, 30),
        UnknownReason::Unreadable {
            metric: id(),
            error
        }
    );
    let verifying = rule().begin(&start().verifying());
    assert_eq!(
        unknown(&*verifying, 0),
        UnknownReason::NoArm(Arm::Candidate)
    );
}

#[test]
fn only_the_same_stretch_of_time_is_compared() {
    let compared = |told: &[(&Scope, i64, i64)]| {
        let mut evidence = rule().begin(&start());
        for (scope, from, to) in told {
            evidence.observe(at(*to), &id(), scope, &reading(*from, *to, (1, 100)));
        }
        let explanation = evidence.explain(at(100));
        let of = |arm| {
            explanation
                .counts
                .iter()
                .find(|c| c.arm == Some(arm))
                .unwrap()
                .total
        };
        (of(Arm::Candidate), of(Arm::Stable))
    };
    for (told, expected) in [
        (&[(&CANDIDATE, 0, 10), (&STABLE, 0, 10)][..], (100, 100)),
        // The stable arm answers for two polls at once.
        (
            &[(&CANDIDATE, 0, 10), (&CANDIDATE, 10, 20), (&STABLE, 0, 20)],
            (200, 100),
        ),
        // It was not seen in the first poll: the candidate's first poll is left out.
        (
            &[(&CANDIDATE, 0, 10), (&CANDIDATE, 10, 20), (&STABLE, 10, 20)],
            (100, 100),
        ),
        (&[(&CANDIDATE, 0, 10), (&STABLE, 10, 20)], (0, 0)),
        // The candidate answers for two polls at once, and the stable arm poll by poll.
        (&[(&CANDIDATE, 0, 20), (&STABLE, 0, 10)], (0, 0)),
        (
            &[(&CANDIDATE, 0, 20), (&STABLE, 0, 10), (&STABLE, 10, 20)],
            (100, 200),
        ),
        // Once more the same window, and one from the past.
        (
            &[
                (&CANDIDATE, 0, 10),
                (&STABLE, 0, 10),
                (&CANDIDATE, 0, 10),
                (&STABLE, 0, 10),
            ],
            (100, 100),
        ),
    ] {
        assert_eq!(compared(told), expected, "{told:?}");
    }
}

#[test]
fn impossible_counts_are_not_evidence() {
    let mut evidence = rule().begin(&start());
    tell(&mut *evidence, 1, &CANDIDATE, (11, 10));
    tell(&mut *evidence, 1, &STABLE, (0, 10));
    assert_eq!(evidence.verdict(at(10)).word(), "unknown");
}
