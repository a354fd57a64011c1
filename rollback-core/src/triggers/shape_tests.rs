//! The shapes of a condition over whole watches.

use std::{sync::Arc, time::Duration};

use super::Threshold;
use crate::{
    model::{
        Arm, DeploymentId, MetricId, ReadError, Reading, ReleaseId, Sample, Scope, Timestamp,
        UnknownReason, Verdict, Window,
    },
    policy::{Policy, Shape},
    ports::{Evidence, Trigger as _, WatchStart},
};

const CANDIDATE: Scope = Scope::Arm(Arm::Candidate);
const STABLE: Scope = Scope::Arm(Arm::Stable);
const SECOND: Duration = Duration::from_secs(1);
const THREE_OF_FIVE: Shape = Shape::Times { bad: 3, of: 5 };

fn policy() -> Policy {
    serde_json::from_str(
        r#"{"poll": "1s", "bake": "1m",
        "metrics": {
            "errors": {"unit": "ratio", "bad": "bad_total", "total": "all_total"},
            "p95": {"unit": "ms", "query": "p95"}},
        "triggers": [{"name": "placeholder", "when": "errors > 5%"}]}"#,
    )
    .unwrap()
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
        SECOND,
        SECOND * 60,
    )
}

fn watch(condition: &str, shape: Shape) -> Box<dyn Evidence> {
    let rule = Threshold::new(Arc::from("rule"), condition, shape, &policy()).unwrap();
    rule.begin(&start())
}

fn tell(evidence: &mut dyn Evidence, second: i64, name: &str, scope: &Scope, sample: Sample) {
    let window = Window::new(at(second - 1), at(second));
    let metric = MetricId::new(name).unwrap();
    evidence.observe(at(second), &metric, scope, &Reading::new(window, sample));
}

/// One poll of `errors`, each a letter: bad, good, 0 requests, or an error of the source.
fn poll(evidence: &mut dyn Evidence, second: i64, letter: char, scope: &Scope) {
    let errors = MetricId::new("errors").unwrap();
    let counts = |bad, total| Sample::Counts { bad, total };
    match letter {
        'b' => tell(evidence, second, "errors", scope, counts(30, 100)),
        'g' => tell(evidence, second, "errors", scope, counts(1, 100)),
        '0' => tell(evidence, second, "errors", scope, counts(0, 0)),
        _ => evidence.unreadable(at(second), &errors, scope, &ReadError::NoData),
    }
}

/// The verdicts after each poll, in one letter: Pass, Fail, inconclusive, unknown.
fn verdicts(shape: Shape, polls: &str) -> String {
    verdicts_in(&start(), shape, polls)
}

fn verdicts_in(start: &WatchStart, shape: Shape, polls: &str) -> String {
    let rule = Threshold::new(Arc::from("rule"), "errors > 5%", shape, &policy()).unwrap();
    let mut evidence = rule.begin(start);
    let mut said = String::new();
    for (second, letter) in (1..).zip(polls.chars()) {
        poll(&mut *evidence, second, letter, &Scope::Arm(start.on_trial));
        said.push(match evidence.verdict(at(second)) {
            Verdict::Pass => 'P',
            Verdict::Fail => 'F',
            Verdict::Inconclusive(_) => 'i',
            Verdict::Unknown(_) => 'u',
        });
    }
    said
}

#[test]
fn the_verdict_of_each_shape_after_each_poll() {
    let row = |polls, within| Shape::InARow { polls, within };
    let share = Shape::Share {
        above: 0.25,
        over: SECOND * 8,
        min_samples: 4,
    };
    let average = Shape::Average {
        over: SECOND * 4,
        min_samples: 3,
    };
    for (shape, polls, expected) in [
        (THREE_OF_FIVE, "gggbbgbgg", "iiPPPPFFP"),
        // A poll that cannot see is unknown, and neither bad nor good.
        (THREE_OF_FIVE, "bx.bxb", "iuuiuF"),
        (THREE_OF_FIVE, "gxggxxg", "iuiPuuP"),
        // Blind for so long that nobody knows what was in between: from the start.
        (THREE_OF_FIVE, "bbxxxb", "iiuuui"),
        // Nothing new is no second bad poll.
        (THREE_OF_FIVE, "bb00", "iiii"),
        (row(3, None), "bbgbbbbg", "iiPiiFFP"),
        (row(3, None), "bbxbb", "iiuFF"),
        (row(3, Some(SECOND * 2)), "bbxbb", "iiuii"),
        (row(1, None), "gb", "PF"),
        // A quarter is not more than a quarter.
        (share, "bggggb", "iiiPPF"),
        (share, "bbxx", "iiuu"),
        (share, "bbbg", "iiiF"),
        // Too few readings are never a pass, nor a failure.
        (average, "bbb", "iiF"),
        (average, "gggb", "iiPF"),
        (average, "ggxg", "iiuP"),
        (average, "x", "u"),
        (average, "bgggg", "iiFFP"),
    ] {
        assert_eq!(verdicts(shape, polls), expected, "{shape}: {polls}");
    }
}

#[test]
fn a_restored_release_passes_with_its_first_good_poll() {
    let row = |polls| Shape::InARow {
        polls,
        within: None,
    };
    let share = Shape::Share {
        above: 0.25,
        over: SECOND * 8,
        min_samples: 4,
    };
    let average = Shape::Average {
        over: SECOND * 4,
        min_samples: 3,
    };
    for (shape, polls, expected) in [
        (THREE_OF_FIVE, "gggbg", "PPPPP"),
        // What is bad is not good yet, and then too often bad.
        (THREE_OF_FIVE, "bgbgbg", "iPiPFP"),
        (THREE_OF_FIVE, "bxg", "iuP"),
        (row(3), "bgbbbg", "iPiiFP"),
        (share, "bgggg", "iPPPP"),
        (share, "bbgg", "iiPF"),
        (Shape::Lasting(SECOND * 2), "bgbbb", "iPiiF"),
        // The last reading speaks until there are enough for an average.
        (average, "gbgggg", "PiFFFP"),
        (average, "bgxggg", "iPuFPP"),
        (average, "x", "u"),
    ] {
        let verdicts = verdicts_in(&start().verifying(), shape, polls);
        assert_eq!(verdicts, expected, "{shape}: {polls}");
    }
}

#[test]
fn a_failure_says_how_many_polls_were_bad() {
    for (shape, polls, rule, sentence, pass) in [
        (
            THREE_OF_FIVE,
            "gbbgbg",
            "errors > 5% in 3 of the last 5 polls",
            "errors was 1 % (1 of 100 requests), at most 5 %; 3 of the last 5 polls were bad, and \
             3 of 5 are too many",
            "errors <= 5 % in 3 of the last 5 polls",
        ),
        (
            Shape::InARow {
                polls: 3,
                within: Some(SECOND * 60),
            },
            "gbbb",
            "errors > 5% in 3 polls in a row within 1m",
            "errors was 30 % (90 of 300 requests) for 2s, above 5 %; 3 bad polls in a row \
             within 2s, and 3 within 1m are too many",
            "errors <= 5 % in one of 3 polls in a row",
        ),
        (
            Shape::Share {
                above: 0.25,
                over: SECOND * 600,
                min_samples: 4,
            },
            "gggbb",
            "errors > 5% in more than 25% of the polls over 10m, at least 4",
            "errors was 30 % (60 of 200 requests) for 1s, above 5 %; 2 of 5 polls over 10m were \
             bad (40 %), and more than 25 % is too many",
            "errors <= 5 % in at least 75 % of the polls over 10m",
        ),
        (
            Shape::Average {
                over: SECOND * 4,
                min_samples: 2,
            },
            "ggbbb",
            "errors > 5% on average over 4s",
            "errors was 22.8 % (91 of 400 requests) on average over 4s, above 5 %",
            "errors <= 5 % on average over 4s",
        ),
    ] {
        let mut evidence = watch("errors > 5%", shape);
        let mut second = 0;
        for letter in polls.chars() {
            second += 1;
            poll(&mut *evidence, second, letter, &CANDIDATE);
        }
        assert_eq!(evidence.verdict(at(second)), Verdict::Fail, "{shape}");
        let explanation = evidence.explain(at(second));
        assert_eq!(explanation.rule, rule);
        assert_eq!(explanation.sentence, sentence);
        assert_eq!(explanation.would_pass.as_deref(), Some(pass));
        assert_eq!(explanation.window.map(|window| window.to), Some(at(second)));
    }
}

#[test]
fn what_is_too_little_says_how_much_there_is() {
    let average = Shape::Average {
        over: SECOND * 4,
        min_samples: 3,
    };
    let mut evidence = watch("p95 > 2s", average);
    tell(&mut *evidence, 1, "p95", &CANDIDATE, Sample::Gauge(9_000.0));
    assert_eq!(
        evidence.verdict(at(1)).to_string(),
        "inconclusive (fewer than 3 readings yet for an average over 4s)"
    );
    assert_eq!(
        evidence.explain(at(1)).sentence,
        "rule cannot tell: 1 of 3 readings for an average over 4s"
    );
    for (second, value) in [(2, 1_000.0), (3, 500.0)] {
        tell(
            &mut *evidence,
            second,
            "p95",
            &CANDIDATE,
            Sample::Gauge(value),
        );
    }
    assert_eq!(evidence.verdict(at(3)), Verdict::Fail);
    assert_eq!(
        evidence.explain(at(3)).sentence,
        "p95 was 3.5s on average over 4s, above 2s"
    );
    // And it grows old like any reading.
    assert_eq!(
        evidence.verdict(at(7)),
        Verdict::Unknown(UnknownReason::Stale {
            metric: MetricId::new("p95").unwrap()
        })
    );
}

#[test]
fn polls_that_were_as_bad_elsewhere_are_not_blamed_on_the_candidate() {
    let row = Shape::InARow {
        polls: 3,
        within: None,
    };
    for (shape, candidate, stable, excuse) in [
        (
            THREE_OF_FIVE,
            "bbb",
            "bbb",
            Some("the stable release is as bad"),
        ),
        (THREE_OF_FIVE, "bbb", "ggg", None),
        // Two of the four are excused, and two are not enough.
        (
            THREE_OF_FIVE,
            "bbbbg",
            "bbggg",
            Some("it was as bad elsewhere in 2 of the 4 bad polls"),
        ),
        (THREE_OF_FIVE, "bbbbb", "bbggg", None),
        (
            row,
            "bbb",
            "gbg",
            Some("it was as bad elsewhere within the 3 bad polls in a row"),
        ),
        (row, "bbbbb", "bbggg", None),
    ] {
        let mut evidence = watch("errors > 5%", shape);
        let mut second = 0;
        for (one, other) in candidate.chars().zip(stable.chars()) {
            second += 1;
            poll(&mut *evidence, second, one, &CANDIDATE);
            poll(&mut *evidence, second, other, &STABLE);
        }
        assert_eq!(evidence.verdict(at(second)), Verdict::Fail);
        let found = evidence.also_elsewhere(at(second));
        match excuse {
            Some(words) => assert!(
                found
                    .as_deref()
                    .is_some_and(|found| found.starts_with(words)),
                "{shape} {candidate} {stable}: {found:?}"
            ),
            None => assert_eq!(found, None, "{shape} {candidate} {stable}"),
        }
    }
}

#[test]
fn what_was_as_bad_before_excuses_every_poll() {
    let before = Reading::new(
        Window::new(at(-1), at(0)),
        Sample::Counts {
            bad: 28,
            total: 100,
        },
    );
    let start = start().with_baseline(vec![(MetricId::new("errors").unwrap(), before)]);
    let rule = Threshold::new(Arc::from("rule"), "errors > 5%", THREE_OF_FIVE, &policy());
    let mut evidence = rule.unwrap().begin(&start);
    for (second, letter) in (1..).zip("bbbg".chars()) {
        poll(&mut *evidence, second, letter, &CANDIDATE);
    }
    assert_eq!(evidence.verdict(at(4)), Verdict::Fail);
    assert_eq!(
        evidence.also_elsewhere(at(4)).as_deref(),
        Some("it was as bad elsewhere in 3 of the 3 bad polls")
    );
}
