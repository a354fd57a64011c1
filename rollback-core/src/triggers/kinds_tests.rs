//! Alarms, health scores, composites and tasks over whole watches.

use std::time::Duration;

use super::{PolicyTrigger, build};
use crate::{
    model::{
        Arm, DeploymentId, MetricId, Reading, ReleaseId, Sample, Scope, Timestamp, Verdict, Window,
    },
    policy::Policy,
    ports::{ArmSide, Evidence, WatchStart},
};

const CANDIDATE: Scope = Scope::Arm(Arm::Candidate);
const STABLE: Scope = Scope::Arm(Arm::Stable);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
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

/// The triggers of a policy with these metrics.
fn triggers(triggers: &str) -> Vec<PolicyTrigger> {
    let policy: Policy = serde_json::from_str(&format!(
        r#"{{"poll": "1s", "bake": "1m", "holdback": "10%",
        "tasks": {{"smoke": {{"when": "ready", "on_failure": "go_on"}}}},
        "metrics": {{
            "errors": {{"unit": "ratio", "bad": "bad", "total": "all"}},
            "p95": {{"unit": "ms", "query": "p95"}},
            "page": {{"unit": "state", "query": "/"}},
            "cpu": {{"unit": "state", "per": "service", "query": "cpu"}}}},
        "triggers": [{triggers}]}}"#
    ))
    .unwrap();
    build(&policy, &[]).unwrap()
}

fn begin(rules: &[PolicyTrigger], name: &str, start: &WatchStart) -> Box<dyn Evidence> {
    let rule = rules.iter().find(|rule| *rule.rule.name == *name).unwrap();
    rule.trigger.begin(start)
}

fn tell(evidence: &mut dyn Evidence, second: i64, name: &str, scope: &Scope, sample: Sample) {
    let window = Window::new(at(second - 1), at(second));
    let reading = Reading::new(window, sample);
    evidence.observe(at(second), &MetricId::new(name).unwrap(), scope, &reading);
}

fn letter(evidence: &dyn Evidence, second: i64) -> char {
    match evidence.verdict(at(second)) {
        Verdict::Pass => 'P',
        Verdict::Fail => 'F',
        Verdict::Inconclusive(_) => 'i',
        Verdict::Unknown(_) => 'u',
    }
}

fn word(word: &str) -> Sample {
    Sample::State(word.into())
}

const fn counts(bad: u64) -> Sample {
    Sample::Counts { bad, total: 100 }
}

const HEALTH: &str = r#"{"name": "well", "health": {"checks": [
    {"name": "answers", "when": "page == 'down'", "critical": true},
    {"name": "healthy", "when": "page != 'up'"},
    {"name": "right", "when": "errors > 5%"},
    {"name": "fast", "when": "p95 > 2s"},
    {"name": "steady", "when": "errors > 50%"}]}SHAPE}"#;

/// What is told of one arm in one poll: the page, errors of 100, milliseconds.
fn poll(evidence: &mut dyn Evidence, second: i64, scope: &Scope, told: (&str, u64, f64)) {
    let (page, errors, p95) = told;
    if page != "?" {
        tell(evidence, second, "page", scope, word(page));
    }
    tell(evidence, second, "errors", scope, counts(errors));
    tell(evidence, second, "p95", scope, Sample::Gauge(p95));
}

#[test]
fn critical_checks_first_then_the_score() {
    for (told, said, class) in [
        (("up", 0, 100.0), 'P', "healthy: 5 of 5"),
        (("up", 0, 9_000.0), 'P', "healthy: 4 of 5"),
        (("up", 9, 9_000.0), 'P', "degraded: 3 of 5"),
        (("up", 90, 9_000.0), 'F', "unhealthy: 2 of 5"),
        // Four of five pass, and the fifth is critical … and not up either.
        (("down", 0, 100.0), 'F', "critical: 3 of 5"),
        (("slow", 0, 100.0), 'P', "healthy: 4 of 5"),
        // The critical check cannot be seen: nothing else decides.
        (("?", 0, 100.0), 'u', "cannot tell"),
        (("?", 9, 100.0), 'u', "cannot tell"),
        // Bad enough, whatever the page would say.
        (("?", 90, 9_000.0), 'F', "unhealthy: 0 of 5"),
    ] {
        let rules = triggers(&HEALTH.replace("SHAPE", ""));
        let mut evidence = begin(&rules, "well", &start());
        poll(&mut *evidence, 1, &CANDIDATE, told);
        assert_eq!(letter(&*evidence, 1), said, "{told:?}");
        let sentence = evidence.explain(at(1)).sentence;
        assert!(sentence.contains(class), "{told:?}: {sentence}");
    }
}

#[test]
fn a_score_has_a_shape_too() {
    let good = ("up", 0, 100.0);
    let bad = ("down", 0, 100.0);
    for (shape, polls, said) in [
        (r#", "consecutive": 3"#, "bbgbbb", "iiPiiF"),
        (r#", "times": "2 of 3""#, "bgb", "iiF"),
        (r#", "for": "2s""#, "bbbg", "iiFP"),
    ] {
        let rules = triggers(&HEALTH.replace("SHAPE", shape));
        let mut evidence = begin(&rules, "well", &start());
        let mut heard = String::new();
        for (second, letter_) in (1..).zip(polls.chars()) {
            let told = if letter_ == 'b' { bad } else { good };
            poll(&mut *evidence, second, &CANDIDATE, told);
            heard.push(letter(&*evidence, second));
        }
        assert_eq!(heard, said, "{shape}");
    }
    // While a rollback is verified the first good poll is one.
    let rules = triggers(&HEALTH.replace("SHAPE", r#", "times": "2 of 5""#));
    let mut evidence = begin(&rules, "well", &start().verifying());
    poll(&mut *evidence, 1, &STABLE, good);
    assert_eq!(letter(&*evidence, 1), 'P');
}

#[test]
fn a_check_that_fails_elsewhere_too_is_not_the_candidates_fault() {
    for (shape, polls) in [("", 1), (r#", "consecutive": 2"#, 2)] {
        for (stable, excused) in [(("down", 0, 100.0), true), (("up", 0, 100.0), false)] {
            let rules = triggers(&HEALTH.replace("SHAPE", shape));
            let mut evidence = begin(&rules, "well", &start());
            for second in 1..=polls {
                poll(&mut *evidence, second, &CANDIDATE, ("down", 0, 100.0));
                poll(&mut *evidence, second, &STABLE, stable);
            }
            assert_eq!(letter(&*evidence, polls), 'F');
            let why = evidence.also_elsewhere(at(polls));
            assert_eq!(
                why.as_deref(),
                excused.then_some(
                    "answers: the stable release is as bad: page is 'down'; \
                     healthy: the stable release is as bad: page is 'down'"
                )
            );
        }
    }
}

#[test]
fn a_health_explanation_has_its_numbers() {
    let rules = triggers(&HEALTH.replace("SHAPE", ""));
    let mut evidence = begin(&rules, "well", &start());
    poll(&mut *evidence, 1, &CANDIDATE, ("down", 0, 9_000.0));
    let told = evidence.explain(at(1));
    assert_eq!(told.rule, "health is unhealthy or worse, by 5 checks");
    assert_eq!(
        told.sentence,
        "health was critical: 2 of 5 checks pass (40 %); critical check answers fails: page was \
         'down'; healthy fails: page was 'down', not 'up'; fast fails: p95 was 9s, above 2s"
    );
    assert_eq!(
        told.would_pass.as_deref(),
        Some("no critical check fails and at least 60 % of the checks pass")
    );
    assert_eq!(told.queries.len(), 3);
}

#[test]
fn an_alarm_says_three_words() {
    let rules = triggers(r#"{"name": "cpu", "alarm": "cpu"}"#);
    for (said, verdict) in [
        ("OK", "pass"),
        ("ALARM", "fail"),
        (
            "INSUFFICIENT_DATA",
            "unknown (cpu: the source has no data for the window)",
        ),
        ("ok", "and not `ok`"),
    ] {
        let mut evidence = begin(&rules, "cpu", &start());
        assert_eq!(letter(&*evidence, 0), 'u', "absent");
        tell(&mut *evidence, 1, "cpu", &Scope::Service, word(said));
        let heard = evidence.verdict(at(1)).to_string();
        assert!(heard.contains(verdict), "{said}: {heard}");
        assert_eq!(evidence.also_elsewhere(at(1)), None);
    }
}

#[test]
fn an_alarm_from_before_is_not_the_candidates() {
    let rules = triggers(r#"{"name": "cpu", "alarm": "cpu"}"#);
    for (before, excused) in [("ALARM", true), ("OK", false), ("INSUFFICIENT_DATA", false)] {
        let read = Reading::new(Window::new(at(-1), at(0)), word(before));
        let start = start().with_baseline(vec![(MetricId::new("cpu").unwrap(), read)]);
        let mut evidence = begin(&rules, "cpu", &start);
        tell(&mut *evidence, 1, "cpu", &Scope::Service, word("ALARM"));
        assert_eq!(letter(&*evidence, 1), 'F');
        assert_eq!(
            evidence.also_elsewhere(at(1)).as_deref(),
            excused.then_some("it was as bad before the deployment: cpu is 'ALARM'"),
            "{before}"
        );
    }
}

const PARTS: &str = r#"{"name": "errors", "when": "errors > 5%"},
    {"name": "slow", "when": "p95 > 2s", "for": "1s"},
    {"name": "down", "when": "page == 'down'"},
    {"name": "whole", WHOLE}"#;

#[test]
fn a_composite_follows_its_parts() {
    for (whole, told, said) in [
        (r#""any": ["errors", "slow"]"#, ("up", 0, 100.0), 'P'),
        (r#""any": ["errors", "slow"]"#, ("up", 9, 100.0), 'F'),
        // `slow` is true, and not yet for a second.
        (r#""any": ["errors", "slow"]"#, ("up", 0, 9_000.0), 'i'),
        (r#""all": ["errors", "slow"]"#, ("up", 9, 9_000.0), 'i'),
        (r#""all": ["errors", "slow"]"#, ("up", 9, 100.0), 'P'),
        (r#""any": ["errors", "down"]"#, ("?", 0, 100.0), 'u'),
        (r#""any": ["errors", "down"]"#, ("?", 9, 100.0), 'F'),
        (r#""all": ["errors", "down"]"#, ("?", 0, 100.0), 'P'),
        (
            r#""at_least": 2, "of": ["errors", "slow", "down"]"#,
            ("down", 9, 100.0),
            'F',
        ),
        (
            r#""at_least": 2, "of": ["errors", "slow", "down"]"#,
            ("?", 9, 100.0),
            'u',
        ),
    ] {
        let rules = triggers(&PARTS.replace("WHOLE", whole));
        let mut evidence = begin(&rules, "whole", &start());
        poll(&mut *evidence, 1, &CANDIDATE, told);
        assert_eq!(letter(&*evidence, 1), said, "{whole} {told:?}");
    }
}

#[test]
fn a_composite_blames_the_candidate_only_for_enough_of_its_own() {
    for (whole, excused) in [
        (r#""any": ["errors", "down"]"#, false),
        (r#""all": ["errors", "down"]"#, true),
    ] {
        let rules = triggers(&PARTS.replace("WHOLE", whole));
        let mut evidence = begin(&rules, "whole", &start());
        poll(&mut *evidence, 1, &CANDIDATE, ("down", 90, 100.0));
        poll(&mut *evidence, 1, &STABLE, ("down", 0, 100.0));
        assert_eq!(letter(&*evidence, 1), 'F');
        assert_eq!(
            evidence.also_elsewhere(at(1)).as_deref(),
            excused.then_some("down: the stable release is as bad: page is 'down'"),
            "{whole}"
        );
    }
}

#[test]
fn a_composite_tells_what_its_parts_tell() {
    let rules = triggers(&PARTS.replace("WHOLE", r#""all": ["errors", "down"]"#));
    let parts: Vec<bool> = rules.iter().map(|rule| rule.rule.is_part).collect();
    assert_eq!(parts, [true, false, true, false]);
    let mut evidence = begin(&rules, "whole", &start());
    poll(&mut *evidence, 1, &CANDIDATE, ("down", 90, 100.0));
    let told = evidence.explain(at(1));
    assert_eq!(told.rule, "all of errors, down");
    assert_eq!(
        told.sentence,
        "2 of 2 fail (errors: errors was 90 % (90 of 100 requests), above 5 %; down: page was 'down')"
    );
    assert_eq!(told.queries, ["errors: bad / all", "page: /"]);
    assert_eq!(
        told.would_pass.as_deref(),
        Some("1 of: errors: errors <= 5 %; down: page != 'down'")
    );
}

#[test]
fn parts_that_need_two_arms_are_left_out_of_a_verification() {
    let parts = r#"{"name": "worse", "compare": "errors"},
        {"name": "down", "when": "page == 'down'"},
        {"name": "either", "any": ["worse", "down"]},
        {"name": "both", "all": ["worse", "down"]}"#;
    let rules = triggers(parts);
    let judges = |name: &str| {
        let rule = rules.iter().find(|rule| *rule.rule.name == *name).unwrap();
        rule.trigger.judges_restored()
    };
    assert!(judges("either") && judges("down"));
    assert!(!judges("both") && !judges("worse"));
    let mut evidence = begin(&rules, "either", &start().verifying());
    poll(&mut *evidence, 1, &STABLE, ("up", 0, 100.0));
    assert_eq!(letter(&*evidence, 1), 'P');
    let reads = rules.last().unwrap().trigger.reads();
    let sides: Vec<ArmSide> = reads.iter().map(|need| need.side).collect();
    assert_eq!(sides, [ArmSide::Both, ArmSide::OnTrial]);
}

#[test]
fn a_task_is_undecided_until_it_has_ended() {
    let rules = triggers(
        r#"{"name": "verified", "task": "smoke"}, {"name": "down", "when": "page == 'down'"},
        {"name": "errors", "when": "errors > 5%"}, {"name": "both", "all": ["errors", "verified"]}"#,
    );
    let mut evidence = begin(&rules, "verified", &start());
    assert!(!rules[0].trigger.judges_restored());
    assert_eq!(letter(&*evidence, 1), 'i');
    evidence.task_ended(at(1), "another", Err("no"));
    assert_eq!(letter(&*evidence, 1), 'i');
    evidence.task_ended(at(2), "smoke", Err("HTTP 500"));
    assert_eq!(letter(&*evidence, 2), 'F');
    assert_eq!(
        evidence.explain(at(2)).sentence,
        "task `smoke` failed: HTTP 500"
    );
    // It ran again, and the last run counts.
    evidence.task_ended(at(3), "smoke", Ok(()));
    assert_eq!(letter(&*evidence, 3), 'P');
    let mut both = begin(&rules, "both", &start());
    tell(&mut *both, 1, "errors", &CANDIDATE, counts(90));
    both.task_ended(at(1), "smoke", Err("HTTP 500"));
    assert_eq!(letter(&*both, 1), 'F');
}
