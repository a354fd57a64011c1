//! The six stories, and how each must end.

use std::fmt;

use rollback_core::condition::Unit;
use rollback_core::model::{Cause, Outcome, TriggerId};
use rollback_core::policy::{Metric, Policy, Rule};
use serde::{Deserialize, Serialize};

use crate::demo::fault::Fault;

/// What is wrong with version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// Nothing: it is promoted.
    Healthy,
    /// 30 % of its answers are errors; its health check says that it is well.
    ErrorRate,
    /// It dies again and again once it has users.
    CrashLoop,
    /// It stops answering once it has users, its health check too.
    Hang,
    /// It answers after one to three seconds.
    Slow,
    /// It cannot start.
    ImportError,
}

/// What a trigger looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Counts of bad and all answers.
    Errors,
    /// A time.
    Latency,
    /// A state, such as a health check's.
    Health,
    /// How the deployment itself goes: it failed, or is stuck.
    Deployment,
}

impl Scenario {
    /// The fault of version 2.
    pub(crate) fn fault(self) -> Fault {
        let written = match self {
            Self::Healthy => "healthy",
            Self::ErrorRate => "error-rate:0.3",
            // After some requests and not after some time: the fault needs users to show.
            Self::CrashLoop => "crash-loop:40",
            Self::Hang => "hang:40",
            Self::Slow => "slow:1s-3s",
            Self::ImportError => "import-error",
        };
        written.parse().unwrap_or(Fault::Healthy)
    }

    /// What must notice it; nothing must notice a healthy release.
    pub(crate) fn noticed_by(self) -> &'static [Kind] {
        match self {
            Self::Healthy => &[],
            Self::ErrorRate => &[Kind::Errors],
            Self::CrashLoop | Self::ImportError => &[Kind::Deployment],
            // Silence is a failed health check, and what the platform sees of it.
            Self::Hang => &[Kind::Health, Kind::Deployment],
            Self::Slow => &[Kind::Latency],
        }
    }

    /// Whether version 2 ended as it should; `Err` says what was expected instead.
    pub(crate) fn judge(self, policy: &Policy, outcome: &Outcome) -> Result<(), String> {
        match (self, outcome) {
            (Self::Healthy, Outcome::Promoted { .. }) => Ok(()),
            (Self::Healthy, other) => Err(format!(
                "v2 is healthy and should have been promoted, but: {other}"
            )),
            (
                _,
                Outcome::RolledBack {
                    cause: Cause::Trigger { trigger, .. },
                    ..
                },
            ) => {
                let kind = Kind::of(policy, trigger);
                if self.noticed_by().contains(&kind) {
                    Ok(())
                } else {
                    Err(format!(
                        "v2 was rolled back by `{}`, which looks at {kind}; for {self} it should have been a trigger on {}",
                        trigger.name,
                        Kind::list(self.noticed_by()),
                    ))
                }
            }
            (_, other) => Err(format!(
                "v2 should have been rolled back by a trigger on {}, but: {other}",
                Kind::list(self.noticed_by()),
            )),
        }
    }
}

impl Kind {
    /// What this trigger looks at. One that is not in the policy is built in, and judges the deployment itself.
    pub(crate) fn of(policy: &Policy, trigger: &TriggerId) -> Self {
        let rule = policy
            .triggers
            .iter()
            .find(|rule| rule.name == trigger.name);
        let Some(rule) = rule.map(|rule| &rule.rule) else {
            return Self::Deployment;
        };
        let reads = |metric: &&Metric| match rule {
            Rule::Compare {
                metric: compared, ..
            } => metric.id == *compared,
            Rule::When { condition, .. } => {
                let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
                words.any(|word| word == metric.id.as_str())
            }
            _ => false,
        };
        policy
            .metrics
            .iter()
            .find(reads)
            .map_or(Self::Errors, Self::of_metric)
    }

    fn of_metric(metric: &Metric) -> Self {
        let counts_slow_ones = metric.query.to_string().contains("above(");
        match metric.unit {
            Unit::Milliseconds | Unit::Seconds => Self::Latency,
            _ if counts_slow_ones => Self::Latency,
            Unit::State => Self::Health,
            _ => Self::Errors,
        }
    }

    fn list(kinds: &[Self]) -> String {
        kinds
            .iter()
            .map(Self::to_string)
            .collect::<Vec<_>>()
            .join(" or ")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Health => "health",
            Self::Deployment => "the deployment itself",
        })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::ErrorRate => "error-rate",
            Self::CrashLoop => "crash-loop",
            Self::Hang => "hang",
            Self::Slow => "slow",
            Self::ImportError => "import-error",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use rollback_core::model::{Explanation, ReleaseId};

    fn policy() -> Policy {
        serde_json::from_str(
            r#"{
                "metrics": {
                    "errors": {"unit": "ratio", "bad": "b", "total": "t"},
                    "p95": {"unit": "s", "query": "q"},
                    "slow": {"unit": "ratio", "bad": "above(1, t)", "total": "t"},
                    "health": {"unit": "state", "query": "q"}
                },
                "triggers": [
                    {"name": "worse", "compare": "errors"},
                    {"name": "too_many", "when": "errors > 5%"},
                    {"name": "p95", "when": "p95 > 1s"},
                    {"name": "slow", "when": "slow > 20%"},
                    {"name": "slower", "compare": "slow"},
                    {"name": "silent", "when": "health == 'down'"}
                ],
                "bake": "10s"
            }"#,
        )
        .unwrap()
    }

    fn release(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    fn rolled_back_by(name: &str) -> Outcome {
        let trigger = TriggerId::new(name, 1);
        let cause = Cause::Trigger {
            trigger,
            explanation: Explanation::default(),
        };
        Outcome::RolledBack {
            from: release("v2"),
            to: release("v1"),
            cause,
        }
    }

    #[test]
    fn every_scenario_has_a_fault_of_its_own_that_reads_as_written() {
        let faults: Vec<_> = Scenario::value_variants()
            .iter()
            .map(|one| one.fault().to_string())
            .collect();
        assert_eq!(
            faults,
            [
                "healthy",
                "error-rate:0.3",
                "crash-loop:40",
                "hang:40",
                "slow:1s-3s",
                "import-error"
            ]
        );
    }

    #[test]
    fn each_scenario_takes_its_own_trigger_only_and_nothing_that_looks_like_success() {
        let promoted = Outcome::Promoted {
            release: release("v2"),
        };
        let by_platform = Outcome::RolledBack {
            from: release("v2"),
            to: release("v1"),
            cause: Cause::Platform {
                why: "by itself".into(),
            },
        };
        let outcomes = [
            ("promoted", promoted),
            ("worse", rolled_back_by("worse")),
            ("too_many", rolled_back_by("too_many")),
            ("p95", rolled_back_by("p95")),
            ("slow", rolled_back_by("slow")),
            ("slower", rolled_back_by("slower")),
            ("silent", rolled_back_by("silent")),
            ("deployment_failed", rolled_back_by("deployment_failed")),
            ("platform", by_platform),
        ];
        let table: [(Scenario, &[&str]); 6] = [
            (Scenario::Healthy, &["promoted"]),
            (Scenario::ErrorRate, &["worse", "too_many"]),
            (Scenario::CrashLoop, &["deployment_failed"]),
            (Scenario::Hang, &["silent", "deployment_failed"]),
            (Scenario::Slow, &["p95", "slow", "slower"]),
            (Scenario::ImportError, &["deployment_failed"]),
        ];
        for (scenario, right) in table {
            for (name, outcome) in &outcomes {
                let judged = scenario.judge(&policy(), outcome);
                assert_eq!(
                    judged.is_ok(),
                    right.contains(name),
                    "{scenario} {name}: {judged:?}"
                );
            }
        }
    }
}
