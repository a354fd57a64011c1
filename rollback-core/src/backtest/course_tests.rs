use std::{fmt::Write, time::Duration};

use super::{Circumstances, Course, CourseEnd, Recording};
use crate::{
    engine::{EngineConfig, replay},
    model::ServiceId,
    policy::Policy,
};

const METRICS: &str = r#""errors": {"unit": "ratio", "bad": "b", "total": "t"},
    "p95": {"unit": "ms", "query": "p95"}, "status": {"unit": "state", "per": "instance", "query": "s"}"#;

fn policy(triggers: &str) -> Policy {
    Policy::from_json(&format!(
        r#"{{"bake": "10m", "holdback": "10%", "metrics": {{{METRICS}}}, "triggers": [{triggers}]}}"#
    ))
    .unwrap()
}

const HIGH: &str = r#"{"name": "high", "when": "errors > 5%", "for": "30s"}"#;
const WORSE: &str = r#"{"name": "worse", "compare": "errors"}"#;
const SLOW: &str = r#"{"name": "slow", "when": "p95 > 2s"}"#;

/// 100 polls of 10 s, six of them before the candidate; `bad` of 100 requests of the candidate.
fn errors(bad: impl Fn(i64) -> u64) -> String {
    let mut csv = "time,metric,arm,instance,bad,total,value\n".to_owned();
    for poll in -6..94 {
        let at = 1_795_262_400 + poll * 10;
        writeln!(csv, "{at},errors,stable,,1,900,").unwrap();
        if poll >= 0 {
            writeln!(csv, "{at},errors,candidate,,{},100,", bad(poll)).unwrap();
        }
    }
    csv
}

fn play(csv: &str, triggers: &str) -> Course {
    let recording = Recording::from_csv(csv).unwrap();
    recording
        .play(&policy(triggers), &Circumstances::default())
        .unwrap()
}

fn short(course: &Course) -> (CourseEnd, Option<u64>, &str) {
    let after = course.decided_after().map(|after| after.as_secs());
    let trigger = course.trigger.as_ref().map_or("", |trigger| &*trigger.name);
    (course.end, after, trigger)
}

#[test]
fn a_good_candidate_is_promoted_when_its_bake_is_over() {
    let csv = errors(|_| 0);
    let course = play(&csv, &format!("{HIGH},{WORSE}"));
    assert_eq!(short(&course), (CourseEnd::Promoted, Some(600), ""));
    assert!(
        course.evidence.sentence.contains("high: "),
        "{:?}",
        course.evidence
    );
}

#[test]
fn a_bake_as_long_as_the_rows_are_together_is_over() {
    // Sixty rows of ten seconds, the first of them at the deployment's begin.
    let csv: String = errors(|_| 0)
        .split_inclusive('\n')
        .take(1 + 6 + 120)
        .collect();
    assert!(
        csv.lines()
            .last()
            .unwrap()
            .starts_with("1795262990,errors,candidate")
    );
    let course = play(&csv, HIGH);
    assert_eq!(short(&course), (CourseEnd::Promoted, Some(600), ""));
}

#[test]
fn a_bad_candidate_is_rolled_back_when_the_rule_has_seen_enough() {
    let course = play(&errors(|poll| if poll < 12 { 0 } else { 9 }), HIGH);
    assert_eq!(short(&course), (CourseEnd::RolledBack, Some(150), "high"));
    assert!(course.evidence.would_pass.is_some());
    let course = play(&errors(|_| 30), WORSE);
    let (end, after, trigger) = short(&course);
    assert_eq!((end, trigger), (CourseEnd::RolledBack, "worse"));
    assert!(after.unwrap() <= 20, "{after:?}");
}

#[test]
fn what_the_recording_does_not_have_is_never_good() {
    for triggers in [
        SLOW.to_owned(),
        format!("{HIGH},{SLOW}"),
        format!(
            "{HIGH},{}",
            SLOW.replace("2s\"", "2s\", \"required\": false")
        ),
    ] {
        let course = play(&errors(|_| 0), &triggers);
        assert_eq!(
            short(&course),
            (CourseEnd::NotComparable, None, "slow"),
            "{triggers}"
        );
        assert!(
            course
                .evidence
                .sentence
                .contains("`p95` of the candidate arm")
        );
    }
    let observes = format!(
        "{HIGH},{}",
        SLOW.replace("2s\"", "2s\", \"action\": \"observe\"")
    );
    assert_eq!(play(&errors(|_| 0), &observes).end, CourseEnd::Promoted);
    let both = format!("{HIGH},{SLOW}");
    let course = play(&errors(|_| 9), &both);
    assert_eq!(short(&course), (CourseEnd::RolledBack, Some(40), "high"));
}

#[test]
fn a_stable_arm_that_was_never_recorded_is_missing_too() {
    let csv = errors(|_| 0);
    let candidate_only: String = csv
        .split_inclusive('\n')
        .filter(|line| !line.contains("stable"))
        .collect();
    let course = play(&candidate_only, WORSE);
    assert_eq!(short(&course), (CourseEnd::NotComparable, None, "worse"));
    assert!(
        course.evidence.sentence.contains("of the stable arm"),
        "{:?}",
        course.evidence
    );
}

#[test]
fn a_hole_in_the_recording_is_blindness() {
    let csv = errors(|_| 0);
    let first = csv.find("1795262460,errors,candidate").unwrap();
    let holed: String = csv[..first]
        .split_inclusive('\n')
        .chain(
            csv[first..]
                .split_inclusive('\n')
                .filter(|line| !line.contains("candidate")),
        )
        .collect();
    let course = play(&holed, HIGH);
    let (end, after, trigger) = short(&course);
    assert_eq!((end, trigger), (CourseEnd::Held, "high"));
    // 50 s seen, a few polls believed, then the budget of 5 min.
    assert!((360..400).contains(&after.unwrap()), "{after:?}");
}

#[test]
fn a_recording_that_is_too_short_decides_nothing() {
    let csv: String = errors(|_| 0).split_inclusive('\n').take(60).collect();
    let course = play(&csv, HIGH);
    assert_eq!(short(&course), (CourseEnd::Undecided, None, ""));
    assert_eq!(course.triggers.len(), 1);
}

#[test]
fn rows_at_another_pace_than_the_policys_are_read_at_theirs() {
    let mut csv = "time,metric,arm,bad,total\n".to_owned();
    for minute in 0..30 {
        let jitter = [0, 900, -700, 300][minute as usize % 4];
        let at = 1_795_262_400_000_i64 + minute * 60_000 + jitter;
        writeln!(
            csv,
            "{at},errors,candidate,{},600",
            if minute < 5 { 0 } else { 60 }
        )
        .unwrap();
    }
    let course = play(&csv, HIGH);
    let wrong = course.poll.abs_diff(Duration::from_secs(60));
    assert!(wrong < Duration::from_millis(100), "{:?}", course.poll);
    let (end, after, trigger) = short(&course);
    assert_eq!((end, trigger), (CourseEnd::RolledBack, "high"));
    assert!((300..=420).contains(&after.unwrap()), "{after:?}");
}

#[test]
fn instances_and_words_are_read_as_the_policy_says() {
    let mut csv = "time,metric,arm,instance,value\n".to_owned();
    for poll in 0..70 {
        for instance in ["a", "b"] {
            let word = if instance == "b" && poll >= 20 {
                "down"
            } else {
                "up"
            };
            writeln!(csv, "{},status,candidate,{instance},{word}", poll * 10).unwrap();
        }
    }
    let down = r#"{"name": "down", "when": "status == 'down'", "for": "10s"}"#;
    let course = play(&csv, down);
    assert_eq!(short(&course), (CourseEnd::RolledBack, Some(210), "down"));
}

#[test]
fn rules_that_may_not_act_leave_a_remark() {
    let observes = SLOW.replace("2s\"", "2s\", \"action\": \"observe\"");
    let mut csv = errors(|_| 0);
    for poll in 0..94 {
        let at = 1_795_262_400 + poll * 10;
        writeln!(
            csv,
            "{at},p95,candidate,,,,{}",
            if poll == 30 { 2_500 } else { 90 }
        )
        .unwrap();
    }
    let course = play(&csv, &format!("{HIGH},{observes}"));
    assert_eq!(course.end, CourseEnd::Promoted);
    let [(at, remark)] = &course.remarks[..] else {
        panic!("{:?}", course.remarks)
    };
    assert_eq!(at.since(course.began).as_secs(), 300);
    assert!(
        remark.starts_with("slow, which may only observe, failed: "),
        "{remark}"
    );
}

#[test]
fn the_entries_of_a_course_are_a_journal_that_replays() {
    let recording = Recording::from_csv(&errors(|poll| if poll < 12 { 0 } else { 9 })).unwrap();
    let mut entries = Vec::new();
    let policy = policy(HIGH);
    let around = Circumstances::default();
    let course = recording
        .play_to(&policy, &around, |entry| entries.push(entry))
        .unwrap();
    assert_eq!(course.end, CourseEnd::RolledBack);
    let config = EngineConfig::new(
        ServiceId::new("service").unwrap(),
        super::world::CAPABILITIES,
    );
    assert_eq!(replay(config, &entries), Ok(()));
}

#[test]
fn a_recording_without_a_begin_is_refused() {
    let csv = errors(|_| 0);
    let stable: String = csv
        .split_inclusive('\n')
        .filter(|line| !line.contains("candidate"))
        .collect();
    let recording = Recording::from_csv(&stable).unwrap();
    let play = |around: &Circumstances| {
        recording
            .play(&policy(HIGH), around)
            .unwrap_err()
            .to_string()
    };
    assert!(play(&Circumstances::default()).contains("--deploy-at"));
    let late = Circumstances {
        deploy_at: Some(crate::model::Timestamp::from_millis(9_999_999_999_999)),
        ..Circumstances::default()
    };
    assert!(play(&late).contains("the last row is of"));
}

#[test]
fn what_the_policy_does_not_read_is_named() {
    let csv = errors(|_| 0).replace("errors,stable", "cpu,stable");
    let course = play(&csv, HIGH);
    assert_eq!(
        course.not_read,
        [crate::model::MetricId::new("cpu").unwrap()]
    );
}
