//! The parts of a policy.

use std::{sync::Arc, time::Duration};

use super::{Health, Shape};
use crate::{
    condition::Unit,
    model::{Action, MetricId, Query, Severity},
};

/// A metric: what is asked, of whom, and in which unit the answer is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub id: MetricId,
    /// In which unit it is answered.
    pub unit: Unit,
    /// Of whom.
    pub per: PerScope,
    /// What is asked.
    pub query: Query,
    /// Which source; none is the only one.
    pub source: Option<Arc<str>>,
    /// Readings of an arm younger than this are not judged.
    pub warmup: Duration,
    /// Whether rules may read it; else it is only journaled (`record:`).
    pub judged: bool,
}

impl Metric {
    /// A metric of the only source, judged from the first reading on.
    #[must_use]
    pub const fn new(id: MetricId, unit: Unit, per: PerScope, query: Query) -> Self {
        Self {
            id,
            unit,
            per,
            query,
            source: None,
            warmup: Duration::ZERO,
            judged: true,
        }
    }

    /// The same, read and journaled, and judged by nobody.
    #[must_use]
    pub const fn only_recorded(mut self) -> Self {
        self.judged = false;
        self
    }
}

/// Of whom a metric is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerScope {
    /// Of the service as a whole.
    Service,
    /// Of each arm.
    Arm,
    /// Of each instance of each arm; the engine adds up counts per arm.
    Instance,
}

/// A rule and what it may do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TriggerRule {
    /// Its name.
    pub name: Arc<str>,
    /// What it looks at.
    pub rule: Rule,
    /// What it may do when it fails.
    pub action: Action,
    /// How loud people are told; it decides nothing.
    pub severity: Severity,
    /// How long a failure has to last before the action follows.
    pub delay: Duration,
    /// How long it may be without sight; none is as long as the policy says.
    pub blind_budget: Option<Duration>,
    /// Whether a deployment is only promoted if it passes.
    pub required: bool,
    /// Whether another trigger is made of it: then it does not act by itself.
    pub is_part: bool,
}

impl TriggerRule {
    /// How loud a rule with this action is, unless its policy says otherwise.
    #[must_use]
    pub const fn default_severity(action: Action) -> Severity {
        match action {
            Action::Observe => Severity::Info,
            Action::Notify | Action::Hold => Severity::Warning,
            Action::RollBack => Severity::Page,
        }
    }
}

/// The kinds of rule.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// A condition that is true when things are bad.
    When {
        /// In the condition language.
        condition: Arc<str>,
        /// How often or for how long.
        shape: Shape,
    },
    /// Errors of the candidate against the stable arm at the same time (R3).
    Compare {
        /// A metric with counts.
        metric: MetricId,
        /// Probability of ever rolling back a candidate that is not worse; 0 to 1.
        max_false_rollback_rate: f64,
        /// Only a ratio beyond this counts as worse; at least 1.
        min_effect: f64,
    },
    /// An alarm of somebody else's: a metric that says `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    Alarm {
        /// A metric of states.
        metric: MetricId,
    },
    /// Checks that are counted together.
    Health {
        /// Which, and how they are counted.
        health: Health,
        /// How often or for how long.
        shape: Shape,
    },
    /// Made of other triggers, which do not act by themselves then.
    Composite {
        /// How many of them have to fail.
        needs: Needs,
        /// Which, by name.
        of: Vec<Arc<str>>,
    },
    /// A task of the plan that fails.
    Task {
        /// Its name.
        task: Arc<str>,
    },
    /// Written by the host and given to the controller under the rule's name.
    Host,
}

impl super::Policy {
    /// Whether a rule says nothing unless both arms have traffic.
    #[must_use]
    pub fn needs_two_arms(&self, rule: &TriggerRule) -> bool {
        fn asks(policy: &super::Policy, rule: &TriggerRule, deep: u32) -> bool {
            match &rule.rule {
                Rule::Compare { .. } => true,
                Rule::Composite { needs, of } if deep > 0 => {
                    let parts = of
                        .iter()
                        .filter_map(|name| policy.triggers.iter().find(|part| part.name == *name));
                    let alone = parts.filter(|part| !asks(policy, part, deep - 1)).count();
                    alone < needs.of(of.len())
                }
                _ => false,
            }
        }
        asks(self, rule, 10)
    }
}

/// How many parts have to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// One.
    Any,
    /// Every one.
    All,
    /// So many.
    AtLeast(u32),
}

impl Needs {
    /// How many of so many.
    #[must_use]
    pub fn of(self, parts: usize) -> usize {
        match self {
            Self::Any => 1,
            Self::All => parts,
            Self::AtLeast(fewest) => usize::try_from(fewest).unwrap_or(usize::MAX),
        }
    }
}

/// What a rollback must show before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// How long the restored release must be good without a break.
    pub hold_for: Duration,
    /// Within which time.
    pub within: Duration,
}

/// When a step is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The checks before anything is changed.
    pub preflight: Duration,
    /// Until all of a release is ready.
    pub converge: Duration,
    /// Until traffic is where it was sent.
    pub shift: Duration,
    /// Until a release is gone.
    pub retire: Duration,
    /// Until the sending of one change is answered.
    pub apply: Duration,
    /// Until a change in doubt is given to a person.
    pub doubt: Duration,
    /// Until the fleet's silence is taken for a no.
    pub permit: Duration,
}

/// How many rollbacks are allowed, failed ones counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// So many …
    pub rollbacks: u32,
    /// … within this time.
    pub per: Duration,
    /// Not sooner after the last one than this.
    pub cooldown: Duration,
}

/// What follows from not seeing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blindness {
    /// How long a required trigger may be without sight.
    pub budget: Duration,
    /// And then.
    pub then: OnNoData,
}

/// What follows when the time budget for blindness is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNoData {
    /// Wait for a person, or for data.
    Hold,
    /// Roll back, since the policy says so in words.
    RollBack,
}

/// What follows when a required trigger cannot tell at the end of the bake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInconclusive {
    /// Promote, if every required trigger that needs one arm only has passed.
    Promote,
    /// Wait for a person.
    Hold,
}

/// How a service without a ledger begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bootstrap {
    /// What runs and is ready counts as proven.
    TrustRunning,
    /// Nothing counts as proven until it went through a bake.
    Bake,
}
