//! Triggers of other kinds, added to a policy: a health score, and triggers made of others.

use std::sync::Arc;

use rollback_core::{
    model::Verdict,
    policy::{Policy, Rule},
};
use serde_json::{Value, json};

use super::{open::Open, random::Random};

/// The same policy with a health score or a composite, or with both.
#[expect(clippy::expect_used, reason = "a policy of the simulator's own")]
pub(super) fn with_more_kinds(policy: &Policy, random: &mut Random) -> Arc<Policy> {
    let mut document = serde_json::to_value(policy).expect("a policy is written");
    let (health, composite) = match random.below(3) {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    let mut more = Vec::new();
    if health {
        let mut well = json!({
            "name": "well",
            "health": {
                "fails_at": if random.chance(500) { "critical" } else { "unhealthy" },
                "checks": [
                    {"name": "errors", "when": "errors > 5%", "critical": true},
                    {"name": "fast", "when": "p95 > 2s"},
                    {"name": "alive", "when": "errors > 90%"},
                ],
            },
        });
        if let (true, Some(well)) = (random.chance(500), well.as_object_mut()) {
            well.insert("times".to_owned(), json!("2 of 3"));
        }
        more.push(well);
    }
    if composite {
        more.push(json!({"name": "part_errors", "when": "errors > 5%", "for": "1s"}));
        more.push(json!({"name": "part_slow", "when": "p95 > 2s"}));
        let of = json!(["part_errors", "part_slow"]);
        more.push(match random.below(3) {
            0 => json!({"name": "whole", "any": of}),
            1 => json!({"name": "whole", "all": of}),
            _ => json!({"name": "whole", "at_least": 2, "of": of, "action": "hold"}),
        });
    }
    if let Some(triggers) = document.get_mut("triggers").and_then(Value::as_array_mut) {
        triggers.extend(more);
    }
    serde_json::from_value::<Policy>(document)
        .expect("a valid policy")
        .shared()
}

/// A trigger that is made of others says what follows from what they say, and guesses nothing.
pub(super) fn follows_from_its_parts(
    open: &Open,
    name: &str,
    verdict: &Verdict,
) -> Result<(), String> {
    let Some(rule) = open.policy.trigger(name) else {
        return Ok(());
    };
    let Rule::Composite { needs, of } = &rule.rule else {
        return Ok(());
    };
    let needed = needs.of(of.len());
    let said = |name: &Arc<str>| open.verdicts.get(name).map(|(verdict, _)| verdict);
    let failing = of
        .iter()
        .filter(|part| said(part) == Some(&Verdict::Fail))
        .count();
    let passing = of
        .iter()
        .filter(|part| said(part) == Some(&Verdict::Pass))
        .count();
    let sound = match verdict {
        Verdict::Fail => failing >= needed,
        Verdict::Pass => of.len() - passing < needed,
        _ => true,
    };
    if sound {
        return Ok(());
    }
    Err(format!(
        "{name} says {verdict}, and of its {} parts {failing} fail and {passing} pass",
        of.len()
    ))
}
