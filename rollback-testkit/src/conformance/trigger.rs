//! What a `Trigger` and its `Evidence` promise.

use std::{sync::Arc, time::Duration};

use rollback_core::{
    model::{Explanation, MetricId, ReadError, Reading, Scope, Timestamp, Verdict},
    ports::{Evidence, Trigger, WatchStart},
};

use super::report::{CaseResult, Ran, Report, ensure};

/// One answer that is given to the evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Fed {
    /// When.
    pub at: Timestamp,
    /// Of which metric.
    pub metric: MetricId,
    /// About whom.
    pub scope: Scope,
    /// The reading, or why there is none.
    pub result: Result<Reading, ReadError>,
}

/// What the suite needs to know of the rule.
pub trait TriggerHarness: Send + Sync {
    /// The rule.
    fn trigger(&self) -> Arc<dyn Trigger>;

    /// A watch that it could be asked to take part in.
    fn watch(&self) -> WatchStart;

    /// Answers after which it must not fail; if it can pass, it should have passed by the end.
    fn good(&self) -> Vec<Fed>;

    /// Answers after which it must fail, at the last of them at the latest.
    fn bad(&self) -> Vec<Fed>;
}

/// Runs every case.
pub fn trigger(harness: &dyn TriggerHarness) -> Report {
    let mut report = Report::of("trigger");
    macro_rules! run {
        ($($case:ident),+ $(,)?) => {$(
            report.add(stringify!($case), $case(harness));
        )+};
    }
    run!(
        it_keeps_its_name,
        it_reads_something,
        nothing_seen_is_unknown,
        bad_readings_fail,
        good_readings_do_not_fail,
        what_cannot_be_read_does_not_fail,
        a_verdict_changes_nothing,
        folding_again_gives_the_same,
        watches_share_nothing,
        what_is_not_its_own_is_ignored,
        a_failure_is_explained,
        it_wakes_in_the_future,
    );
    report
}

fn fold(evidence: &mut dyn Evidence, fed: &[Fed]) {
    for one in fed {
        match &one.result {
            Ok(reading) => evidence.observe(one.at, &one.metric, &one.scope, reading),
            Err(error) => evidence.unreadable(one.at, &one.metric, &one.scope, error),
        }
    }
}

fn after(harness: &dyn TriggerHarness, fed: &[Fed]) -> (Box<dyn Evidence>, Timestamp) {
    let watch = harness.watch();
    let mut evidence = harness.trigger().begin(&watch);
    fold(&mut *evidence, fed);
    (evidence, fed.last().map_or(watch.at, |one| one.at))
}

fn figures_are_finite(explanation: &Explanation) -> bool {
    let figures = explanation.figures.iter().chain(&explanation.threshold);
    figures.into_iter().all(|figure| figure.value.is_finite())
}

fn it_keeps_its_name(harness: &dyn TriggerHarness) -> CaseResult {
    let trigger = harness.trigger();
    ensure!(trigger.id() == trigger.id(), "its id changes");
    ensure!(!trigger.id().name.is_empty(), "it has no name");
    ensure!(trigger.reads() == trigger.reads(), "what it reads changes");
    Ok(Ran::Passed)
}

fn it_reads_something(harness: &dyn TriggerHarness) -> CaseResult {
    let reads = harness.trigger().reads();
    ensure!(!reads.is_empty(), "it can never see anything");
    let fed = harness.bad().into_iter().chain(harness.good());
    for one in fed {
        ensure!(
            reads.iter().any(|need| need.metric == one.metric),
            "the harness feeds `{}`, which the rule does not read",
            one.metric
        );
    }
    Ok(Ran::Passed)
}

fn nothing_seen_is_unknown(harness: &dyn TriggerHarness) -> CaseResult {
    let (evidence, at) = after(harness, &[]);
    for at in [at, at.after(Duration::from_secs(86_400))] {
        let verdict = evidence.verdict(at);
        ensure!(
            matches!(verdict, Verdict::Unknown(_) | Verdict::Inconclusive(_)),
            "having seen nothing it says {verdict}"
        );
    }
    Ok(Ran::Passed)
}

fn bad_readings_fail(harness: &dyn TriggerHarness) -> CaseResult {
    let (evidence, at) = after(harness, &harness.bad());
    let verdict = evidence.verdict(at);
    ensure!(verdict == Verdict::Fail, "it says {verdict}");
    Ok(Ran::Passed)
}

fn good_readings_do_not_fail(harness: &dyn TriggerHarness) -> CaseResult {
    let good = harness.good();
    let watch = harness.watch();
    let mut evidence = harness.trigger().begin(&watch);
    for one in &good {
        fold(&mut *evidence, std::slice::from_ref(one));
        let verdict = evidence.verdict(one.at);
        ensure!(
            verdict != Verdict::Fail,
            "at {} it failed on good readings",
            one.at
        );
    }
    Ok(Ran::Passed)
}

fn what_cannot_be_read_does_not_fail(harness: &dyn TriggerHarness) -> CaseResult {
    for error in [
        ReadError::NoData,
        ReadError::NotANumber,
        ReadError::Ambiguous { series: 2 },
        ReadError::Unreachable {
            why: "connection refused".to_owned(),
            retry_after_ms: None,
        },
    ] {
        let mut fed = harness.bad();
        for one in &mut fed {
            one.result = Err(error.clone());
        }
        let (evidence, at) = after(harness, &fed);
        let verdict = evidence.verdict(at);
        ensure!(
            !matches!(verdict, Verdict::Fail | Verdict::Pass),
            "having read nothing but `{error}` it says {verdict}"
        );
    }
    Ok(Ran::Passed)
}

fn a_verdict_changes_nothing(harness: &dyn TriggerHarness) -> CaseResult {
    let (evidence, at) = after(harness, &harness.bad());
    let first = (evidence.verdict(at), evidence.explain(at));
    let _ = evidence.next_wake(at);
    let second = (evidence.verdict(at), evidence.explain(at));
    ensure!(first == second, "asked twice: {first:?}, then {second:?}");
    Ok(Ran::Passed)
}

fn folding_again_gives_the_same(harness: &dyn TriggerHarness) -> CaseResult {
    for fed in [harness.good(), harness.bad()] {
        let (first, at) = after(harness, &fed);
        let (second, _) = after(harness, &fed);
        ensure!(
            first.verdict(at) == second.verdict(at) && first.explain(at) == second.explain(at),
            "the same readings, folded twice, give two verdicts"
        );
    }
    Ok(Ran::Passed)
}

fn watches_share_nothing(harness: &dyn TriggerHarness) -> CaseResult {
    let trigger = harness.trigger();
    let watch = harness.watch();
    let mut bad = trigger.begin(&watch);
    let untouched = trigger.begin(&watch);
    let before = untouched.verdict(watch.at);
    fold(&mut *bad, &harness.bad());
    ensure!(
        untouched.verdict(watch.at) == before,
        "one watch's readings changed another watch's verdict"
    );
    Ok(Ran::Passed)
}

fn what_is_not_its_own_is_ignored(harness: &dyn TriggerHarness) -> CaseResult {
    let Ok(foreign) = MetricId::new("not-a-metric-of-this-rule") else {
        return Ran::skipped("no foreign metric");
    };
    let mut fed = harness.bad();
    for one in &mut fed {
        one.metric = foreign.clone();
    }
    let (evidence, at) = after(harness, &fed);
    ensure!(
        evidence.verdict(at) != Verdict::Fail,
        "it failed on another rule's metric"
    );
    Ok(Ran::Passed)
}

fn a_failure_is_explained(harness: &dyn TriggerHarness) -> CaseResult {
    let (evidence, at) = after(harness, &harness.bad());
    let explanation = evidence.explain(at);
    ensure!(
        !explanation.sentence.trim().is_empty(),
        "it has no sentence for people"
    );
    ensure!(
        !explanation.rule.trim().is_empty(),
        "it does not name its rule"
    );
    ensure!(figures_are_finite(&explanation), "a figure is not finite");
    ensure!(
        explanation.would_pass.is_some(),
        "it does not say what would have passed"
    );
    Ok(Ran::Passed)
}

fn it_wakes_in_the_future(harness: &dyn TriggerHarness) -> CaseResult {
    for fed in [harness.good(), harness.bad()] {
        let watch = harness.watch();
        let mut evidence = harness.trigger().begin(&watch);
        for one in &fed {
            fold(&mut *evidence, std::slice::from_ref(one));
            if let Some(wake) = evidence.next_wake(one.at) {
                ensure!(
                    wake > one.at,
                    "at {} it wants to be woken at {wake}: a driver would spin",
                    one.at
                );
            }
        }
    }
    Ok(Ran::Passed)
}
