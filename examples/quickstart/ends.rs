//! How a story must end, and whether it did.

use std::fmt;

use rollback_core::condition::Unit;
use rollback_core::model::{Cause, HoldReason, Outcome, Settled, TriggerId};
use rollback_core::policy::{Metric, Policy, Rule};

/// How the deployment of version 2 must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing is wrong with it.
    Promoted,
    /// A trigger that looks at one of these calls it back.
    RolledBack(&'static [Kind]),
    /// It waits while all releases are as bad, and is promoted once they are well again.
    WaitedOut,
    /// Too little was seen to tell: a person is asked, who takes it.
    LeftToAPerson,
}

/// What a trigger looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Counts of bad and all answers.
    Errors,
    /// A time.
    Latency,
    /// What it occupies.
    Memory,
    /// A state, such as a health check's.
    Health,
    /// How the deployment itself goes: it failed, or is stuck.
    Deployment,
}

/// What became of version 2.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    /// Where it came to rest.
    pub(crate) settled: &'a Settled,
    /// What it was held for on the way.
    pub(crate) holds: &'a [HoldReason],
    /// What its instances wrote last.
    pub(crate) last_words: &'a [String],
}

impl End {
    /// Whether version 2 ended so; `Err` says what was expected instead.
    pub(crate) fn judge(
        self,
        policy: &Policy,
        last_words: &str,
        told: &Told<'_>,
    ) -> Result<(), String> {
        let outcome = match told.settled {
            Settled::Ended(outcome) => outcome,
            Settled::Held(hold) => return Err(self.missed(hold)),
        };
        match (self, outcome) {
            (Self::Promoted, Outcome::Promoted { .. }) if told.holds.is_empty() => {}
            (Self::WaitedOut | Self::LeftToAPerson, Outcome::Promoted { .. })
                if !told.holds.is_empty() && told.holds.iter().all(|why| self.expects(why)) => {}
            (
                Self::RolledBack(kinds),
                Outcome::RolledBack {
                    cause: Cause::Trigger { trigger, .. },
                    ..
                },
            ) => {
                let kind = Kind::of(policy, trigger);
                if !kinds.contains(&kind) {
                    let name = &trigger.name;
                    return Err(self.missed(&format_args!(
                        "rolled back by `{name}`, which looks at {kind}"
                    )));
                }
            }
            (_, outcome) => return Err(self.missed(outcome)),
        }
        if !last_words.is_empty() && !told.last_words.iter().any(|line| line.contains(last_words)) {
            return Err(format!(
                "v2 should have said {last_words:?} before it ended, but its last words were {:?}",
                told.last_words
            ));
        }
        Ok(())
    }
}

impl End {
    fn missed(self, what: &dyn fmt::Display) -> String {
        format!("how v2 should have ended: {self}; how it did: {what}")
    }

    /// Whether the story knows that version 2 is held for this, and what to do then.
    pub(crate) fn expects(self, why: &HoldReason) -> bool {
        matches!(
            (self, why),
            (Self::WaitedOut, HoldReason::ExternalCause { .. })
                | (Self::LeftToAPerson, HoldReason::Inconclusive { .. })
        )
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted => f.write_str("promoted without a question"),
            Self::WaitedOut => {
                f.write_str("waits until all releases are well again, and is promoted then")
            }
            Self::LeftToAPerson => f.write_str("a person is asked, and takes it"),
            Self::RolledBack(kinds) => {
                let kinds: Vec<_> = kinds.iter().map(Kind::to_string).collect();
                write!(f, "rolled back by a trigger on {}", kinds.join(" or "))
            }
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
            Unit::Bytes => Self::Memory,
            _ => Self::Errors,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Health => "health",
            Self::Deployment => "the deployment itself",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
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
        let table: [(Scenario, &[&str]); 8] = [
            (Scenario::Healthy, &["promoted"]),
            (Scenario::ErrorRate, &["worse", "too_many"]),
            (Scenario::CrashLoop, &["deployment_failed"]),
            (Scenario::Hang, &["silent", "deployment_failed"]),
            (Scenario::Slow, &["p95", "slow", "slower"]),
            (Scenario::ImportError, &["deployment_failed"]),
            (Scenario::DatabaseDown, &["deployment_failed"]),
            // It failed, but not for the reason of this story.
            (Scenario::SyntaxError, &[]),
        ];
        for (scenario, right) in table {
            for (name, outcome) in &outcomes {
                let told = Told {
                    settled: &Settled::Ended(outcome.clone()),
                    holds: &[],
                    last_words: &[
                        "1: cannot reach the database, division by zero, ImportError".to_owned(),
                    ],
                };
                let setting = scenario.setting();
                let judged = setting.end.judge(&policy(), setting.last_words, &told);
                assert_eq!(
                    judged.is_ok(),
                    right.contains(name),
                    "{scenario} {name}: {judged:?}"
                );
            }
        }
    }
}
