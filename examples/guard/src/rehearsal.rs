//! `--rehearse N`: a policy tried out in less time than it takes.

use std::time::Duration;

use rollback::{
    model::duration_text,
    policy::{Policy, parse_duration},
};
use serde_json::{Value, json};

use crate::exit::{Fallible, Trouble};

/// Nothing is made shorter than this.
const SHORTEST: Duration = Duration::from_millis(100);

/// What the platform and people take is as long as ever.
const UNCHANGED: [&str; 6] = ["deadlines", "tasks", "verify", "when", "query", "budget"];

/// The policy with every wait, window and poll `times` shorter.
pub(crate) fn faster(policy: &Policy, times: u32) -> Fallible<Policy> {
    let mut written = serde_json::to_value(policy).map_err(Trouble::broke)?;
    if let Value::Object(parts) = &mut written {
        // A strategy that is only named has waits too.
        let wait = policy
            .strategy
            .watched()
            .into_iter()
            .find_map(|(_, wait)| wait);
        if let Some(named @ Value::String(_)) = parts.get_mut("strategy")
            && *named == "canary"
            && let Some(wait) = wait
        {
            *named = json!({ "canary": { "wait": duration_text(wait) } });
        }
        for (name, part) in parts.iter_mut() {
            if !UNCHANGED.contains(&name.as_str()) {
                shorten(part, times);
            }
        }
        if let Some(length) = parts
            .get_mut("verify")
            .and_then(|verify| verify.get_mut("for"))
        {
            shorten(length, times);
        }
    }
    Policy::from_json(&written.to_string()).map_err(|why| {
        Trouble::asked(format!(
            "--rehearse {times}: made so much faster the policy contradicts itself; take a smaller number. {why}"
        ))
    })
}

fn shorten(value: &mut Value, times: u32) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| shorten(one, times)),
        Value::Object(all) => {
            // A gate waits for people.
            let gate = all.contains_key("gate");
            for (key, one) in all {
                let of_people = gate && key == "within";
                if !of_people && !UNCHANGED.contains(&key.as_str()) {
                    shorten(one, times);
                }
            }
        }
        Value::String(text) => {
            if let Ok(length) = parse_duration(text)
                && !length.is_zero()
            {
                *text = duration_text((length / times).max(SHORTEST));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_that_is_only_named_is_faster_too() {
        let policy = Policy::from_json(
            r#"{
            "strategy": "canary", "poll": "30s", "bake": "5m", "blind_budget": "2m",
            "metrics": { "well": { "unit": "state", "per": "service", "query": "/" } },
            "triggers": [ { "name": "down", "when": "well == 'down'" } ]
        }"#,
        );
        let policy = policy.unwrap();
        let watched = |policy: &Policy| -> Vec<Duration> {
            let watched = policy.strategy.watched().into_iter();
            watched.filter_map(|(_, wait)| wait).collect()
        };
        let fast = faster(&policy, 100).unwrap();
        assert_eq!(watched(&policy), [Duration::from_secs(300); 3]);
        assert_eq!(watched(&fast), [Duration::from_secs(3); 3]);
    }

    #[test]
    fn waits_and_windows_are_shorter_and_all_else_is_as_it_was() {
        let text = r#"{
            "poll": "30s", "bake": "8m", "blind_budget": "2m",
            "strategy": { "steps": [ { "converge": "beside" }, { "weight": "10%" }, { "wait": "5m" },
                { "gate": "sign_off", "within": "1h", "then": "hold" }, { "weight": "100%" }, { "bake": "8m" }, { "retire": "stable" } ] },
            "metrics": { "slow": { "unit": "ms", "per": "service", "query": "5m", "warmup": "30s" } },
            "triggers": [ { "name": "slow", "when": "slow > 2s", "consecutive": 3, "within": "90s" } ],
            "verify": { "for": "1m", "within": "5m" },
            "deadlines": { "converge": "10m" }
        }"#;
        let policy = Policy::from_json(text).unwrap();
        let fast = serde_json::to_value(faster(&policy, 100).unwrap()).unwrap();
        let slow = serde_json::to_value(&policy).unwrap();
        assert_eq!(fast["poll"], "300ms");
        assert_eq!(fast["bake"], "4s 800ms");
        assert_eq!(fast["triggers"][0]["within"], "900ms");
        assert_eq!(fast["triggers"][0]["when"], slow["triggers"][0]["when"]);
        assert_eq!(fast["metrics"]["slow"]["query"], "5m");
        assert_eq!(fast["metrics"]["slow"]["warmup"], "300ms");
        assert_eq!(fast["verify"]["for"], "600ms");
        assert_eq!(fast["verify"]["within"], "5m");
        assert_eq!(fast["deadlines"], slow["deadlines"]);
        let steps = fast["strategy"]["steps"].to_string();
        assert!(steps.contains("\"3s\""), "{steps}");
        assert!(steps.contains("\"1h\""), "{steps}");
    }
}
