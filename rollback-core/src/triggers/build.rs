//! From a policy to the triggers that the engine runs.

use std::sync::Arc;

use super::{Alarm, Composite, ErrorVsBaseline, HealthScore, TaskFailed, Threshold};
use crate::{
    condition::ConditionError,
    policy::{Broken, Policy, Rule, TriggerRule, walk},
    ports::Trigger,
    statistics::InvalidSetting,
};

/// A rule of the policy with the trigger that evaluates it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PolicyTrigger {
    /// What the policy says: name, action, whether it is required.
    pub rule: TriggerRule,
    /// What evaluates it.
    pub trigger: Arc<dyn Trigger>,
}

/// Why a policy's rule cannot be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Its condition is wrong; a policy that was read from text cannot have one.
    #[error("trigger `{name}`: {error}")]
    Condition {
        /// The rule.
        name: Arc<str>,
        /// What is wrong.
        error: ConditionError,
    },
    /// The policy names a rule of the host's, and the host gave none of that name.
    #[error(
        "trigger `{name}` has `host: true`, and the host gave no trigger of that name; {given}"
    )]
    NoHostTrigger {
        /// The rule.
        name: Arc<str>,
        /// Which ones it gave, and what to do.
        given: String,
    },
    /// A rule is made of others in a way that cannot be.
    #[error("trigger `{name}`: {broken}")]
    Parts {
        /// The rule.
        name: Arc<str>,
        /// What is wrong.
        broken: Broken,
    },
    /// A rate or an effect is not one.
    #[error("trigger `{name}`: {error}")]
    Setting {
        /// The rule.
        name: Arc<str>,
        /// What is wrong.
        error: InvalidSetting,
    },
    /// The rule reads a metric that the policy does not declare.
    #[error("trigger `{name}` reads `{metric}`; declare it under `metrics`")]
    UndeclaredMetric {
        /// The rule.
        name: Arc<str>,
        /// The metric.
        metric: Arc<str>,
    },
}

/// The triggers of a policy, in its order. A host's triggers are found by their name.
///
/// # Errors
/// Says which rule cannot be run and what to do.
pub fn build(
    policy: &Policy,
    host_triggers: &[Arc<dyn Trigger>],
) -> Result<Vec<PolicyTrigger>, BuildError> {
    policy
        .triggers
        .iter()
        .map(|rule| {
            Ok(PolicyTrigger {
                trigger: trigger(policy, rule, host_triggers)?,
                rule: rule.clone(),
            })
        })
        .collect()
}

fn trigger(
    policy: &Policy,
    rule: &TriggerRule,
    host_triggers: &[Arc<dyn Trigger>],
) -> Result<Arc<dyn Trigger>, BuildError> {
    let of_condition = |error| BuildError::Condition {
        name: Arc::clone(&rule.name),
        error,
    };
    match &rule.rule {
        Rule::When { condition, shape } => {
            let name = Arc::clone(&rule.name);
            Threshold::new(name, condition, *shape, policy)
                .map(|threshold| Arc::new(threshold) as Arc<dyn Trigger>)
                .map_err(of_condition)
        }
        Rule::Compare {
            metric,
            max_false_rollback_rate,
            min_effect,
        } => {
            let name = Arc::clone(&rule.name);
            let Some(metric) = policy.metric(metric) else {
                let metric = Arc::from(metric.as_str());
                return Err(BuildError::UndeclaredMetric { name, metric });
            };
            match ErrorVsBaseline::new(
                name.clone(),
                metric.clone(),
                *max_false_rollback_rate,
                *min_effect,
            ) {
                Ok(compare) => Ok(Arc::new(compare)),
                Err(error) => Err(BuildError::Setting { name, error }),
            }
        }
        Rule::Alarm { metric } => Alarm::new(Arc::clone(&rule.name), metric, policy)
            .map(|alarm| Arc::new(alarm) as Arc<dyn Trigger>)
            .map_err(of_condition),
        Rule::Health { health, shape } => {
            HealthScore::new(Arc::clone(&rule.name), health.clone(), *shape, policy)
                .map(|health| Arc::new(health) as Arc<dyn Trigger>)
                .map_err(of_condition)
        }
        Rule::Composite { needs, of } => {
            let parts = of
                .iter()
                .map(|part| self::part(policy, rule, part, host_triggers))
                .collect::<Result<_, _>>()?;
            Ok(Arc::new(Composite::new(
                Arc::clone(&rule.name),
                *needs,
                parts,
            )))
        }
        Rule::Task { task } => Ok(Arc::new(TaskFailed::new(
            Arc::clone(&rule.name),
            Arc::clone(task),
        ))),
        Rule::Host => host_trigger(policy, rule, host_triggers),
    }
}

fn part(
    policy: &Policy,
    whole: &TriggerRule,
    part: &Arc<str>,
    host_triggers: &[Arc<dyn Trigger>],
) -> Result<Arc<dyn Trigger>, BuildError> {
    let broken = |broken| BuildError::Parts {
        name: Arc::clone(&whole.name),
        broken,
    };
    // Afterwards no part is made of the whole, so this comes to an end.
    walk(&policy.triggers, &whole.name, part).map_err(broken)?;
    let rule = policy.triggers.iter().find(|rule| rule.name == *part);
    let rule = rule.ok_or_else(|| {
        broken(Broken::Unknown {
            by: Arc::clone(&whole.name),
            part: Arc::clone(part),
        })
    })?;
    trigger(policy, rule, host_triggers)
}

fn host_trigger(
    policy: &Policy,
    rule: &TriggerRule,
    host_triggers: &[Arc<dyn Trigger>],
) -> Result<Arc<dyn Trigger>, BuildError> {
    let found = host_triggers
        .iter()
        .find(|trigger| trigger.id().name == rule.name);
    let Some(trigger) = found else {
        let names: Vec<String> = host_triggers
            .iter()
            .map(|trigger| format!("`{}`", trigger.id().name))
            .collect();
        return Err(BuildError::NoHostTrigger {
            name: Arc::clone(&rule.name),
            given: if names.is_empty() {
                "give one when the controller is built, or remove the rule".to_owned()
            } else {
                format!("it gave {}", names.join(", "))
            },
        });
    };
    for need in trigger.reads() {
        if policy.metric(&need.metric).is_none() {
            return Err(BuildError::UndeclaredMetric {
                name: Arc::clone(&rule.name),
                metric: Arc::from(need.metric.as_str()),
            });
        }
    }
    Ok(Arc::clone(trigger))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Explanation, MetricId, Reading, Scope, Timestamp, TriggerId, Verdict},
        ports::{ArmSide, Evidence, MetricNeed, WatchStart},
    };

    #[derive(Debug)]
    struct Own(&'static str);

    impl Trigger for Own {
        fn id(&self) -> TriggerId {
            TriggerId::new(self.0, 7)
        }
        fn reads(&self) -> Vec<MetricNeed> {
            let metric = MetricId::new(if self.0 == "greedy" {
                "unheard"
            } else {
                "errors"
            });
            vec![MetricNeed {
                metric: metric.unwrap(),
                side: ArmSide::OnTrial,
            }]
        }
        fn begin(&self, _: &WatchStart) -> Box<dyn Evidence> {
            Box::new(Nothing)
        }
    }

    #[derive(Debug)]
    struct Nothing;

    impl Evidence for Nothing {
        fn observe(&mut self, _: Timestamp, _: &MetricId, _: &Scope, _: &Reading) {}
        fn verdict(&self, _: Timestamp) -> Verdict {
            Verdict::Pass
        }
        fn next_wake(&self, _: Timestamp) -> Option<Timestamp> {
            None
        }
        fn explain(&self, _: Timestamp) -> Explanation {
            Explanation::default()
        }
    }

    fn policy(host: &str) -> Policy {
        serde_json::from_str(&format!(
            r#"{{"bake": "1m", "holdback": "10%",
            "metrics": {{"errors": {{"unit": "ratio", "bad": "b", "total": "t"}}}},
            "triggers": [
                {{"name": "high", "when": "errors > 5%", "for": "10s"}},
                {{"name": "against_stable", "compare": "errors"}},
                {{"name": "{host}", "host": true}}]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn every_rule_gets_its_trigger_in_the_policys_order() {
        let host: Vec<Arc<dyn Trigger>> = vec![Arc::new(Own("other")), Arc::new(Own("own"))];
        let built = build(&policy("own"), &host).unwrap();
        let ids: Vec<String> = built.iter().map(|b| b.trigger.id().to_string()).collect();
        assert_eq!(ids, ["high@1", "against_stable@1", "own@7"]);
        assert!(built.iter().all(|b| b.rule.name == b.trigger.id().name));
    }

    #[test]
    fn a_missing_host_trigger_is_named() {
        let given: Vec<Arc<dyn Trigger>> = vec![Arc::new(Own("other"))];
        for (host, name, words) in [
            (
                &given[..],
                "own",
                "no trigger of that name; it gave `other`",
            ),
            (&[], "own", "give one when the controller is built"),
            (
                &[Arc::new(Own("greedy")) as Arc<dyn Trigger>],
                "greedy",
                "reads `unheard`",
            ),
        ] {
            let error = build(&policy(name), host).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
