use std::fmt::Write;

use proptest::prelude::*;

use super::{Backtested, Circumstances, Comparison, CourseEnd, Recording, backtest};
use crate::{
    engine::EngineConfig,
    entry::{Entry, Input},
    model::{Actor, ServiceId, Timestamp},
    policy::Policy,
};

const BEGAN: i64 = 1_795_262_400;

fn policy(rest: &str, triggers: &str) -> Policy {
    let rest = if rest.is_empty() {
        r#""holdback": "10%","#
    } else {
        rest
    };
    Policy::from_json(&format!(
        r#"{{"bake": "10m", {rest} "metrics": {{
            "errors": {{"unit": "ratio", "bad": "b", "total": "t"}},
            "p95": {{"unit": "ms", "query": "p95"}}}},
            "triggers": [{triggers}]}}"#
    ))
    .unwrap()
}

fn high(percent: u32, seconds: u32, action: &str) -> String {
    format!(
        r#"{{"name": "high", "when": "errors > {percent}%", "for": "{seconds}s",
            "action": "{action}", "required": true}}"#
    )
}

fn recording(bad: &[u64]) -> Recording {
    let mut csv = "time,metric,arm,bad,total,value\n".to_owned();
    for (poll, bad) in (0..).zip(bad) {
        let at = BEGAN + poll * 10;
        writeln!(csv, "{at},errors,candidate,{bad},100,").unwrap();
        writeln!(csv, "{at},errors,stable,1,900,").unwrap();
        writeln!(csv, "{at},p95,candidate,,,90\n{at},p95,stable,,,90").unwrap();
    }
    Recording::from_csv(&csv).unwrap()
}

/// The journal of a controller with that policy.
fn journal(bad: &[u64], policy: &Policy) -> Vec<Entry> {
    let mut entries = Vec::new();
    let around = Circumstances::default();
    recording(bad)
        .play_to(policy, &around, |entry| entries.push(entry))
        .unwrap();
    entries
}

fn config() -> EngineConfig {
    EngineConfig::new(
        ServiceId::new("service").unwrap(),
        super::world::CAPABILITIES,
    )
}

fn one(entries: &[Entry], other: &Policy) -> Backtested {
    let mut all = backtest(entries, other, &config()).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Seconds since the begin, to the tenth.
fn after(at: Timestamp) -> i64 {
    (at.as_millis() - BEGAN * 1_000) / 100 * 100 / 1_000
}

fn bad_from(poll: usize) -> Vec<u64> {
    (0..90).map(|n| if n >= poll { 9 } else { 0 }).collect()
}

#[test]
fn the_same_policy_decides_the_same() {
    for bad in [bad_from(99), bad_from(12)] {
        for triggers in [high(5, 30, "roll_back"), high(5, 30, "hold")] {
            let policy = policy("", &triggers);
            let answer = one(&journal(&bad, &policy), &policy);
            assert_eq!(answer.comparison, Comparison::Same, "{}", answer.sentence);
            assert_eq!(answer.other.turns.len(), answer.recorded.turns.len());
        }
    }
}

#[test]
fn a_quicker_policy_acts_earlier_and_says_why() {
    let entries = journal(&bad_from(12), &policy("", &high(5, 60, "roll_back")));
    let answer = one(&entries, &policy("", &high(5, 30, "roll_back")));
    let Comparison::ActsEarlier { at, saved } = answer.comparison else {
        panic!("{}", answer.sentence)
    };
    assert_eq!((after(at), saved.unwrap().as_secs()), (150, 30));
    assert!(
        answer.sentence.contains("30s before it was recorded"),
        "{}",
        answer.sentence
    );
    assert!(answer.sentence.contains("above 5 %"), "{}", answer.sentence);
    assert_eq!(answer.triggers.len(), 1);
}

#[test]
fn a_hold_is_an_act_too() {
    let entries = journal(&bad_from(12), &policy("", &high(5, 60, "roll_back")));
    let answer = one(&entries, &policy("", &high(5, 30, "hold")));
    let Comparison::ActsEarlier { at, saved } = answer.comparison else {
        panic!("{}", answer.sentence)
    };
    assert_eq!((after(at), saved.unwrap().as_secs()), (150, 30));
    assert!(
        answer.sentence.starts_with("waits for a person"),
        "{}",
        answer.sentence
    );
}

#[test]
fn a_policy_that_catches_what_was_promoted() {
    let bad: Vec<u64> = (0..90).map(|n| if n >= 12 { 4 } else { 0 }).collect();
    let entries = journal(&bad, &policy("", &high(5, 30, "roll_back")));
    let answer = one(&entries, &policy("", &high(3, 30, "roll_back")));
    let Comparison::ActsEarlier { at, saved: None } = answer.comparison else {
        panic!("{:?}: {}", answer.comparison, answer.sentence)
    };
    assert_eq!(after(at), 150);
    assert_eq!(answer.recorded.outcome().unwrap().word(), "promoted");
}

#[test]
fn a_slower_policy_acts_later_and_nobody_knows_when() {
    let entries = journal(&bad_from(12), &policy("", &high(5, 30, "roll_back")));
    for other in [
        policy("", &high(5, 60, "roll_back")),
        policy("", &high(20, 30, "roll_back")),
    ] {
        let answer = one(&entries, &other);
        let Comparison::ActsLater { not_before } = answer.comparison else {
            panic!("{}", answer.sentence)
        };
        assert_eq!(after(not_before), 150);
    }
}

#[test]
fn what_was_never_recorded_is_never_good() {
    let slow = r#"{"name": "slow", "when": "p95 > 2s"}"#;
    let other = policy("", &format!("{},{slow}", high(5, 30, "roll_back")));
    let without: Policy = serde_json::from_str(
        &serde_json::to_string(&policy("", &high(5, 60, "roll_back")))
            .unwrap()
            .replace(r#""query":"p95""#, r#""query":"another""#),
    )
    .unwrap();
    // Promoted: nobody knows whether it was slow.
    let answer = one(&journal(&bad_from(99), &without), &other);
    let Comparison::NotComparable { trigger, missing } = answer.comparison else {
        panic!("{}", answer.sentence)
    };
    assert_eq!(&*trigger.unwrap().name, "slow");
    assert_eq!(missing[0].to_string(), "`p95` of the candidate arm");
    // What another rule sees earlier stands.
    let answer = one(&journal(&bad_from(12), &without), &other);
    assert_eq!(
        answer.comparison.word(),
        "acts_earlier",
        "{}",
        answer.sentence
    );
}

#[test]
fn what_was_only_recorded_is_there_for_another_policy() {
    let slow = r#"{"name": "slow", "when": "p95 > 80", "for": "20s"}"#;
    let other = policy("", &format!("{},{slow}", high(5, 30, "roll_back")));
    let mut document = serde_json::to_value(policy("", &high(5, 30, "roll_back"))).unwrap();
    document["record"] = serde_json::json!({ "latency": document["metrics"]["p95"] });
    document["metrics"].as_object_mut().unwrap().remove("p95");
    let records: Policy = serde_json::from_value(document).unwrap();
    assert_eq!(
        serde_json::to_value(&records).unwrap()["record"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
    let mut entries = journal(&bad_from(99), &records);
    // The recording calls it p95, and this policy another name.
    for entry in &mut entries {
        if let Input::Readings { answers } = &mut entry.input {
            let unread = answers
                .iter_mut()
                .filter(|a| a.metric.as_str() == "latency");
            for answer in unread {
                let reading = crate::model::Reading::new(
                    crate::model::Window::new(
                        entry.at.before(std::time::Duration::from_secs(10)),
                        entry.at,
                    ),
                    crate::model::Sample::Gauge(90.0),
                );
                answer.result = Ok(reading);
            }
        }
    }
    let answer = one(&entries, &other);
    let Comparison::ActsEarlier { at, saved: None } = answer.comparison else {
        panic!("{}", answer.sentence)
    };
    assert_eq!(after(at), 30);
}

#[test]
fn another_plan_is_another_world() {
    let entries = journal(&bad_from(99), &policy("", &high(5, 30, "roll_back")));
    let other = policy(r#""holdback": "20%","#, &high(5, 30, "roll_back"));
    let answer = one(&entries, &other);
    assert_eq!(answer.comparison.word(), "not_comparable");
    assert!(
        answer.sentence.contains("another world"),
        "{}",
        answer.sentence
    );
}

#[test]
fn a_shorter_bake_goes_on_earlier() {
    let entries = journal(&bad_from(99), &policy("", &high(5, 30, "roll_back")));
    let mut other = policy("", &high(5, 30, "roll_back"));
    other.bake = std::time::Duration::from_secs(300);
    let Comparison::ActsEarlier { at, saved } = one(&entries, &other).comparison else {
        panic!()
    };
    assert_eq!((after(at), saved.unwrap().as_secs()), (300, 300));
}

#[test]
fn each_deployment_begins_with_what_was_recorded_before_it() {
    let policy = policy("", &high(5, 30, "roll_back"));
    let mut entries = journal(&bad_from(99), &policy);
    let last = entries.last().unwrap().clone();
    // The next one is only begun.
    let mut engine = crate::engine::Engine::new(config());
    for entry in &entries {
        engine.restore(entry);
    }
    entries.push(engine.handle(
        last.at,
        Input::Command {
            actor: Actor::new("alice"),
            reason: "the next one".into(),
            command:
                crate::entry::Deploy::new(crate::model::ReleaseId::new("v3").unwrap(), "v3").into(),
        },
    ));
    let answers = backtest(&entries, &policy, &config()).unwrap();
    let told: Vec<_> = answers
        .iter()
        .map(|a| (a.candidate.as_str(), a.comparison.word()))
        .collect();
    assert_eq!(told, [("candidate", "same"), ("v3", "same")]);
    assert_eq!(answers[1].sentence, "decides the same: not ended yet");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The readings do not depend on the policy, so a course of the other policy over the same
    /// recording says what its backtest over the journal must say.
    #[test]
    fn a_backtest_agrees_with_what_the_other_policy_does(
        bad in prop::collection::vec(0_u64..12, 80),
        one_limit in 3_u32..10, one_for in 0_u32..5,
        other_limit in 3_u32..10, other_for in 0_u32..5,
    ) {
        let mine = policy("", &high(one_limit, one_for * 10, "roll_back"));
        let theirs = policy("", &high(other_limit, other_for * 10, "roll_back"));
        let entries = journal(&bad, &mine);
        let played = |policy: &Policy| recording(&bad).play(policy, &Circumstances::default()).unwrap();
        let (did, would) = (played(&mine), played(&theirs));
        let answer = one(&entries, &theirs);
        let back = |end| end == CourseEnd::RolledBack;
        let expected = match (back(did.end), back(would.end)) {
            (true, true) if did.decided_at == would.decided_at => "same",
            (true, true) if would.decided_at < did.decided_at => "acts_earlier",
            (true, _) => "acts_later",
            // Promoted before the other one, still in doubt at the end of the bake, went back.
            (false, true) if did.decided_at.is_some_and(|did| Some(did) < would.decided_at) => "acts_later",
            (false, true) => "acts_earlier",
            (false, false) => "same",
        };
        // Both may hold, promote, or come to no end for different lengths of time.
        if back(did.end) || back(would.end) || did.end == would.end && did.decided_at == would.decided_at {
            prop_assert_eq!(answer.comparison.word(), expected, "{}\n{:?} {:?}", answer.sentence, did, would);
        }
        if let (Comparison::ActsEarlier { at, .. }, true) = (&answer.comparison, back(would.end)) {
            prop_assert_eq!(Some(*at), would.decided_at);
        }
        prop_assert_eq!(one(&entries, &mine).comparison, Comparison::Same);
    }
}
