//! Policies: what is watched, what must never be true, and what follows.
//!
//! A [`Policy`] that exists has valid values; one that was read with `from_yaml` or `from_json` also
//! makes sense as a whole. It is written back to its [`document`], which is what people write and
//! what the journal keeps.
//!
//! | room | holds |
//! |---|---|
//! | [`document`] | every key that can be written, with unit and default |
//! | `read`, `tree`, `place`, `error` | text to document, and where in the text a mistake is |
//! | `values`, `duration` | durations and shares |
//! | `schema` | the JSON Schema of it all (feature `schema`) |
//! | `compile`, `written` | document to policy and back |
//! | `check` | names, conditions, and triggers that can fire at all |
//! | [`lint`], `bounds` | what a policy promises and leaves open, with numbers |
//! | `rules`, `shape`, `health` | the parts of a policy |
//! | `trigger` | triggers: their documents, what becomes of them, whether they can fire |
//! | `strategy`, `planned`, `strategy_document`, `strategy_read` | the steps of a rollout, and how they are written |
//! | `task` | what a plan runs beside its changes |

mod authority;
mod bounds;
mod check;
mod compile;
pub mod document;
mod duration;
mod error;
mod health;
pub mod lint;
mod place;
mod planned;
mod read;
mod rules;
#[cfg(feature = "schema")]
mod schema;
mod shape;
mod strategy;
mod strategy_document;
mod strategy_read;
mod task;
#[cfg(test)]
mod tests;
#[cfg(feature = "yaml")]
pub(crate) mod tree;
mod trigger;
mod values;
mod written;

pub use authority::{Foreign, Mode};
pub use document::PolicyDocument;
pub use duration::parse_duration;
pub use error::PolicyError;
#[cfg(feature = "yaml")]
pub(crate) use error::Problem as PolicyProblem;
pub(crate) use error::{data, property};
pub use health::{FailsAt, Health, HealthCheck, HealthClass};
#[cfg(feature = "yaml")]
pub(crate) use place::{Place, Step as PolicyStep};
pub use planned::{OnTimeout, PlannedStep, StrategyError};
#[cfg(feature = "yaml")]
pub(crate) use read::{one_of, read as read_value};
pub use rules::{
    Blindness, Bootstrap, Budget, Deadlines, Metric, Needs, OnInconclusive, OnNoData, PerScope,
    Rule, TriggerRule, Verification,
};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use shape::{MOST_POLLS, Shape};
pub use strategy::Strategy;
pub use task::{Consent, Loss, OnTaskFailure, TaskRule, TaskWhen};
pub use trigger::Broken;
pub(crate) use trigger::walk;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    condition::MetricCatalogue,
    model::{MetricId, PolicyDigest, ServiceId},
};

/// Everything the engine needs to know about how one service is guarded.
///
/// ```
/// let policy = rollback_core::policy::Policy::from_json(r#"{
///     "service": "checkout",
///     "poll": "1s",
///     "metrics": {"errors": {"unit": "ratio", "per": "instance",
///         "bad": "http_requests_total{code=~\"5..\"}", "total": "http_requests_total"}},
///     "triggers": [{"name": "too_many_errors", "when": "errors > 5%", "for": "2s"}],
///     "bake": "30s"
/// }"#)?;
/// assert_eq!(policy.bake.as_secs(), 30);
/// # Ok::<(), rollback_core::policy::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PolicyDocument", into = "PolicyDocument")]
#[non_exhaustive]
pub struct Policy {
    /// The service it is written for; none fits any.
    pub service: Option<ServiceId>,
    /// The steps of a rollout.
    pub strategy: Strategy,
    /// What the plan runs beside its changes.
    pub tasks: Vec<TaskRule>,
    /// How often metrics are read and the platform is looked at while a watch is open.
    pub poll: Duration,
    /// What is read; some of it only to be recorded.
    pub metrics: Vec<Metric>,
    /// What must not be true.
    pub triggers: Vec<TriggerRule>,
    /// How long the candidate is watched under traffic.
    pub bake: Duration,
    /// What a rollback must show before it counts.
    pub verify: Verification,
    /// When a step is stuck.
    pub deadlines: Deadlines,
    /// How many rollbacks are allowed.
    pub budget: Budget,
    /// What follows from not seeing.
    pub blindness: Blindness,
    /// What follows from evidence that cannot tell.
    pub on_inconclusive: OnInconclusive,
    /// How a service without a ledger begins.
    pub bootstrap: Bootstrap,
    /// Whether the engine acts.
    pub mode: Mode,
    /// What follows when somebody else deploys.
    pub foreign: Foreign,
    /// How often instances of the candidate may crash, all of them together, before the deployment
    /// counts as failed; none if crashes alone say nothing.
    pub crash_limit: Option<u32>,
}

impl Policy {
    /// The metric of that name that rules may read.
    #[must_use]
    pub fn metric(&self, id: &MetricId) -> Option<&Metric> {
        self.read(id).filter(|metric| metric.judged)
    }

    /// What is read under that name, be it judged or only recorded.
    #[must_use]
    pub fn read(&self, id: &MetricId) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.id == *id)
    }

    /// For how long the candidate is watched under traffic at least: the waits of its strategy and
    /// the bake. Gates, which may be opened at once, do not count.
    #[must_use]
    pub fn watched_for(&self) -> Duration {
        let phases = self.strategy.watched();
        let lengths = phases.iter().map(|(_, length)| length.unwrap_or(self.bake));
        lengths.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// How long a rule may be without sight at most, whichever it is.
    #[must_use]
    pub fn longest_blindness(&self) -> Duration {
        let budgets = self.triggers.iter().filter_map(|rule| rule.blind_budget);
        budgets.fold(self.blindness.budget, Duration::max)
    }

    /// The rule of that name.
    #[must_use]
    pub fn trigger(&self, name: &str) -> Option<&TriggerRule> {
        self.triggers.iter().find(|rule| *rule.name == *name)
    }

    /// The metrics as conditions name them.
    #[must_use]
    pub fn catalogue(&self) -> MetricCatalogue {
        self.metrics.iter().filter(|metric| metric.judged).fold(
            MetricCatalogue::new(),
            |known, metric| match metric.per {
                PerScope::Service => known.per_service(metric.id.as_str(), metric.unit),
                PerScope::Arm | PerScope::Instance => {
                    known.per_arm(metric.id.as_str(), metric.unit)
                }
            },
        )
    }

    /// Identifies the policy by its canonical document.
    #[must_use]
    pub fn digest(&self) -> PolicyDigest {
        let document = PolicyDocument::from(self.clone());
        // Serialising a document cannot fail: its maps have text keys and its numbers are finite.
        PolicyDigest::of(&serde_json::to_string(&document).unwrap_or_default())
    }

    /// The policy behind a pointer, as inputs carry it.
    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}
