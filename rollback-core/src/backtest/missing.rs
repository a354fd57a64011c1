//! What rules read and nobody recorded: unknown, never good.

use std::fmt;

use serde::Serialize;

use crate::{
    model::{Action, Arm, MetricId, TriggerId},
    policy::{Metric, PerScope, Policy},
    ports::ArmSide,
    triggers::PolicyTrigger,
};

/// Readings that were never recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Missing {
    /// Of which metric.
    pub metric: MetricId,
    /// Of which arm; none: of the service as a whole.
    pub arm: Option<Arm>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.metric)?;
        match self.arm {
            Some(arm) => write!(f, " of the {arm} arm"),
            None => Ok(()),
        }
    }
}

/// A rule that could have acted, had it seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unseen {
    pub(super) trigger: TriggerId,
    pub(super) missing: Vec<Missing>,
}

impl Unseen {
    pub(super) fn sentence(&self) -> String {
        let names: Vec<String> = self.missing.iter().map(Missing::to_string).collect();
        format!(
            "{} reads {}, which was never recorded",
            self.trigger.name,
            names.join(" and ")
        )
    }
}

/// The rules that could act, or must pass, and read what was not recorded.
pub(super) fn unseen(
    policy: &Policy,
    rules: &[PolicyTrigger],
    recorded: impl Fn(&Metric, Option<Arm>) -> bool,
) -> Vec<Unseen> {
    let acts = |rule: &&PolicyTrigger| rule.rule.action >= Action::Hold || rule.rule.required;
    let mut all = Vec::new();
    for rule in rules.iter().filter(acts) {
        let mut missing = Vec::new();
        for need in rule.trigger.reads() {
            let Some(metric) = policy.metric(&need.metric) else {
                continue;
            };
            let arms: &[Option<Arm>] = match (metric.per, need.side) {
                (PerScope::Service, _) => &[None],
                (_, ArmSide::OnTrial) => &[Some(Arm::Candidate)],
                (_, ArmSide::Stable) => &[Some(Arm::Stable)],
                (_, ArmSide::Both) => &[Some(Arm::Candidate), Some(Arm::Stable)],
            };
            missing.extend(
                arms.iter()
                    .filter(|arm| !recorded(metric, **arm))
                    .map(|arm| Missing {
                        metric: metric.id.clone(),
                        arm: *arm,
                    }),
            );
        }
        missing.sort();
        missing.dedup();
        if !missing.is_empty() {
            all.push(Unseen {
                trigger: rule.trigger.id(),
                missing,
            });
        }
    }
    all
}
