//! `health:` from the keys to the rule and back, and scores that can never be too low.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::check::condition;
use crate::policy::{
    FailsAt, Health, HealthCheck, Policy, document::Share, error::Problem, place::Step,
};

/// `health:` of a trigger: checks that are counted together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HealthDocument {
    /// `checks:` what is checked, at most 100. No default.
    pub checks: Vec<HealthCheckDocument>,
    /// `healthy:` from this share of passing checks on it is healthy. Default: `80%`.
    #[serde(default = "default_healthy")]
    pub healthy: Share,
    /// `degraded:` from this share of passing checks on it is degraded, and below it unhealthy; at
    /// most `healthy`. Default: `60%`.
    #[serde(default = "default_degraded")]
    pub degraded: Share,
    /// `fails_at:` how bad it has to be for the trigger to fail: `critical` (a critical check fails),
    /// `unhealthy` or `degraded`, each with those before it. Default: `unhealthy`.
    #[serde(default)]
    pub fails_at: FailsAt,
}

/// One of `checks:`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HealthCheckDocument {
    /// `name:` its name, used once. No default.
    pub name: Arc<str>,
    /// `when:` a condition that is true when the check fails. No default.
    pub when: Arc<str>,
    /// `critical:` whether its failure alone makes the health critical. Default: `false`.
    #[serde(default, skip_serializing_if = "super::document::is_false")]
    pub critical: bool,
}

const fn default_healthy() -> Share {
    Share(0.8)
}

const fn default_degraded() -> Share {
    Share(0.6)
}

/// More are not one service's health.
const MOST_CHECKS: usize = 100;

impl From<HealthDocument> for Health {
    fn from(document: HealthDocument) -> Self {
        let check = |check: HealthCheckDocument| HealthCheck {
            name: check.name,
            when: check.when,
            critical: check.critical,
        };
        Self {
            checks: document.checks.into_iter().map(check).collect(),
            healthy: document.healthy.0,
            degraded: document.degraded.0,
            fails_at: document.fails_at,
        }
    }
}

impl From<Health> for HealthDocument {
    fn from(health: Health) -> Self {
        let check = |check: HealthCheck| HealthCheckDocument {
            name: check.name,
            when: check.when,
            critical: check.critical,
        };
        Self {
            checks: health.checks.into_iter().map(check).collect(),
            healthy: Share(health.healthy),
            degraded: Share(health.degraded),
            fails_at: health.fails_at,
        }
    }
}

/// Refuses checks that cannot be made and scores that cannot be too low; gives the longest warm-up.
pub(super) fn check(policy: &Policy, index: usize, health: &Health) -> Result<Duration, Problem> {
    let place = |steps: &[Step]| {
        let start = [
            Step::Key("triggers".to_owned()),
            Step::Index(index),
            Step::Key("health".to_owned()),
        ];
        start
            .into_iter()
            .chain(steps.iter().cloned())
            .collect::<Vec<_>>()
    };
    let key = |key: &str| Step::Key(key.to_owned());
    let count = health.checks.len();
    if count == 0 || count > MOST_CHECKS {
        return Err(Problem::new(
            place(&[key("checks")]),
            format!("{count} checks make no score"),
            format!(
                "write 1 to {MOST_CHECKS}, such as `- {{ name: answers, when: \"health == 'down'\" }}`"
            ),
        ));
    }
    if health.degraded > health.healthy {
        return Err(Problem::new(
            place(&[key("degraded")]),
            "what is not even degraded would be healthy",
            "write a share that is at most `healthy`",
        ));
    }
    let any_critical = health.checks.iter().any(|check| check.critical);
    let never = match health.fails_at {
        _ if any_critical => None,
        FailsAt::Critical => Some(("fails_at", "no check is critical")),
        FailsAt::Unhealthy if health.degraded <= 0.0 => Some(("degraded", "no share is below 0 %")),
        FailsAt::Degraded if health.healthy <= 0.0 => Some(("healthy", "no share is below 0 %")),
        _ => None,
    };
    if let Some((at, why)) = never {
        return Err(Problem::new(
            place(&[key(at)]),
            format!("it can never fire: {why}"),
            "give one of the checks `critical: true`, or let it fail at a score",
        ));
    }
    let mut warmup = Duration::ZERO;
    for (position, check) in health.checks.iter().enumerate() {
        let of_check = |name: &str| place(&[key("checks"), Step::Index(position), key(name)]);
        let first = health
            .checks
            .iter()
            .position(|other| other.name == check.name);
        if first != Some(position) || check.name.trim().is_empty() {
            return Err(Problem::new(
                of_check("name"),
                format!("`{}` is the name of another check, or none", check.name),
                "give each check its own name",
            ));
        }
        warmup = warmup.max(condition(policy, &of_check("when"), &check.when)?);
    }
    Ok(warmup)
}
