//! Health as a score: the share of the checks that pass, and checks that are critical.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Checks that are counted together.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Health {
    /// What is checked.
    pub checks: Vec<HealthCheck>,
    /// From this share of passing checks on it is healthy; 0 to 1.
    pub healthy: f64,
    /// From this share on it is at least degraded; 0 to 1.
    pub degraded: f64,
    /// How bad it has to be for the rule to fail.
    pub fails_at: FailsAt,
}

/// One of the checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Its name.
    pub name: Arc<str>,
    /// A condition that is true when the check fails.
    pub when: Arc<str>,
    /// Whether its failure alone makes the health critical.
    pub critical: bool,
}

/// How bad it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailsAt {
    /// `critical`: a critical check fails.
    Critical,
    /// `unhealthy`: or fewer checks pass than `degraded`.
    #[default]
    Unhealthy,
    /// `degraded`: or fewer checks pass than `healthy`.
    Degraded,
}

/// What the checks add up to, from good to bad: critical checks first, then by score alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthClass {
    /// Enough checks pass.
    Healthy,
    /// Fewer.
    Degraded,
    /// Too few.
    Unhealthy,
    /// A critical check fails.
    Critical,
}

impl fmt::Display for HealthClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Critical => "critical",
        })
    }
}

impl Health {
    /// The class when so many checks pass.
    ///
    /// ```
    /// use rollback_core::policy::{HealthClass, Policy, Rule};
    ///
    /// let policy = Policy::from_json(r#"{"bake": "10m",
    ///     "metrics": {"page": {"unit": "state", "query": "/"}},
    ///     "triggers": [{"name": "well", "health": {"checks": [
    ///         {"name": "imports", "when": "page == 'down'", "critical": true},
    ///         {"name": "answers", "when": "page != 'up'"}]}}]}"#)?;
    /// let Rule::Health { health, .. } = &policy.triggers[0].rule else { panic!() };
    /// assert_eq!(health.class(1, false), HealthClass::Unhealthy);
    /// assert_eq!(health.class(1, true), HealthClass::Critical);
    /// # Ok::<(), rollback_core::policy::PolicyError>(())
    /// ```
    #[must_use]
    pub fn class(&self, passing: usize, critical_fails: bool) -> HealthClass {
        let share = self.share(passing);
        if critical_fails {
            HealthClass::Critical
        } else if share >= self.healthy {
            HealthClass::Healthy
        } else if share >= self.degraded {
            HealthClass::Degraded
        } else {
            HealthClass::Unhealthy
        }
    }

    /// The share of the checks that pass.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a number of checks")]
    pub fn share(&self, passing: usize) -> f64 {
        passing as f64 / self.checks.len().max(1) as f64
    }

    /// Whether the rule fails in this class.
    #[must_use]
    pub const fn fails(&self, class: HealthClass) -> bool {
        match self.fails_at {
            FailsAt::Critical => matches!(class, HealthClass::Critical),
            FailsAt::Unhealthy => matches!(class, HealthClass::Critical | HealthClass::Unhealthy),
            FailsAt::Degraded => !matches!(class, HealthClass::Healthy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_first_then_by_score_alone() {
        let check = HealthCheck {
            name: Arc::from("check"),
            when: Arc::from("page == 'down'"),
            critical: false,
        };
        for (checks, passing, critical_fails, class) in [
            (10, 10, false, HealthClass::Healthy),
            (10, 8, false, HealthClass::Healthy),
            // Document 000 has 70 % with one failure in two classes at once.
            (10, 7, false, HealthClass::Degraded),
            (10, 6, false, HealthClass::Degraded),
            (10, 5, false, HealthClass::Unhealthy),
            (10, 9, true, HealthClass::Critical),
            (6, 5, false, HealthClass::Healthy),
            (6, 4, false, HealthClass::Degraded),
            (6, 3, false, HealthClass::Unhealthy),
            (5, 4, false, HealthClass::Healthy),
            (5, 3, false, HealthClass::Degraded),
        ] {
            let health = Health {
                checks: vec![check.clone(); checks],
                healthy: 0.8,
                degraded: 0.6,
                fails_at: FailsAt::Unhealthy,
            };
            assert_eq!(health.class(passing, critical_fails), class, "{passing}");
            let fails = class >= HealthClass::Unhealthy;
            assert_eq!(health.fails(class), fails);
            for (fails_at, worst_allowed) in [
                (FailsAt::Critical, HealthClass::Unhealthy),
                (FailsAt::Degraded, HealthClass::Healthy),
            ] {
                let health = Health {
                    fails_at,
                    ..health.clone()
                };
                assert_eq!(health.fails(class), class > worst_allowed);
            }
        }
    }
}
