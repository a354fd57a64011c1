//! How long it takes at worst: to notice a bad candidate, and to be back.

use std::time::Duration;

use super::{Policy, Rule, Shape, TriggerRule};
use crate::{condition::Condition, model::Action};

/// The longest time from the moment a candidate under traffic is bad throughout, in the eyes of a
/// threshold that may roll back, to the decision.
///
/// Comparisons take as long as their evidence takes, and rules of the host what the host says:
/// where there is nothing else, it is the bake.
#[must_use]
pub fn detection_bound(policy: &Policy) -> Duration {
    policy
        .triggers
        .iter()
        .filter(|rule| rule.action == Action::RollBack)
        .filter_map(|rule| threshold_bound(policy, rule, Duration::ZERO))
        .max()
        .unwrap_or(policy.bake)
}

/// The longest time from the decision to a verified rollback, if the platform keeps its deadlines:
/// the fleet's permit, the stable release brought up again, traffic moved, and its verification.
#[must_use]
pub fn restoration_bound(policy: &Policy) -> Duration {
    let deadlines = &policy.deadlines;
    let change = deadlines.apply + deadlines.doubt;
    deadlines.permit
        + (change + deadlines.converge)
        + (change + deadlines.shift)
        + policy.verify.within
}

/// Warm-up, the window in which it turns bad, one that is bad throughout, as many more as the
/// shape takes, the answer, and the `delay`.
pub(super) fn threshold_bound(
    policy: &Policy,
    rule: &TriggerRule,
    settle: Duration,
) -> Option<Duration> {
    let decided = decided(policy, rule, DEEPEST)?;
    Some(decided.saturating_add(rule.delay).saturating_add(settle))
}

/// Parts of parts of parts …
const DEEPEST: u32 = 10;

fn decided(policy: &Policy, rule: &TriggerRule, deep: u32) -> Option<Duration> {
    let poll = policy.poll;
    let seen = |warmup: Duration, shape: &Shape| {
        let seen = poll.saturating_mul(3).saturating_add(shape.longest(poll));
        warmup.saturating_add(seen)
    };
    let warmup = |condition: &str| {
        let condition = Condition::compile(condition, &policy.catalogue()).ok()?;
        let slots = condition.slots().iter();
        let read =
            slots.filter_map(|slot| policy.metrics.iter().find(|m| m.id.as_str() == slot.metric));
        Some(read.map(|metric| metric.warmup).max().unwrap_or_default())
    };
    match &rule.rule {
        Rule::When { condition, shape } => Some(seen(warmup(condition)?, shape)),
        Rule::Alarm { metric } => Some(seen(policy.metric(metric)?.warmup, &Shape::ONCE)),
        Rule::Health { health, shape } => {
            let mut warmups = health.checks.iter().map(|check| warmup(&check.when));
            let longest = warmups.try_fold(Duration::ZERO, |most, one| Some(most.max(one?)))?;
            Some(seen(longest, shape))
        }
        // The last of those that have to fail.
        Rule::Composite { of, .. } if deep > 0 => {
            of.iter().try_fold(Duration::ZERO, |longest, name| {
                let part = policy.triggers.iter().find(|part| part.name == *name)?;
                Some(longest.max(decided(policy, part, deep - 1)?))
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{HIGH, SLOW, two_metrics as policy},
        *,
    };

    #[test]
    fn detection_is_bounded_by_the_slowest_threshold_that_rolls_back() {
        for (triggers, seconds) in [
            // Three polls, and three more for 25 s; 20 s of warm-up.
            (HIGH.to_owned(), 80),
            (SLOW.to_owned(), 30),
            (format!("{HIGH}, {SLOW}"), 80),
            (
                HIGH.replace("25s\"", "25s\", \"action\": \"hold\", \"required\": true"),
                600,
            ),
        ] {
            let bound = detection_bound(&policy("", &triggers));
            assert_eq!(bound, Duration::from_secs(seconds), "{triggers}");
        }
        for (shape, seconds) in [
            (r#""times": "3 of 5""#, 70),
            (r#""consecutive": 3"#, 70),
            // Seven of sixty are more than ten per cent; thirty have to be seen.
            (r#""share": "10%""#, 340),
            (r#""share": "10%", "min_samples": 5"#, 110),
            (r#""average": "1m""#, 100),
        ] {
            let shaped = HIGH.replace(r#""for": "25s""#, shape);
            let bound = detection_bound(&policy("", &shaped));
            assert_eq!(bound, Duration::from_secs(seconds), "{shape}");
        }
        let quickstart = policy(
            r#""poll": "1s","#,
            &SLOW.replace("2s\"", "2s\", \"for\": \"2s\""),
        );
        assert_eq!(detection_bound(&quickstart), Duration::from_secs(5));
    }

    #[test]
    fn restoration_adds_up_every_deadline_on_the_way() {
        let policy = policy("", HIGH);
        // 1 min permit, 2.5 + 10 min, 2.5 + 2 min, 5 min.
        assert_eq!(restoration_bound(&policy), Duration::from_secs(1_380));
    }
}
