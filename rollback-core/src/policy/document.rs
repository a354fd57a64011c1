//! The form in which people write a policy: every key, its unit and its default.
//!
//! Durations are written `500ms`, `2s`, `1m 30s`, `2h`, `1d`; shares `5%` or `0.05`. A key that does
//! not stand here is an error.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use super::{
    authority::{CrashLimit, Foreign, Mode},
    strategy_document::{
        CanaryDocument, ConvergeDocument, ConvergeName, PaceDocument, RetiredArm, RollingDocument,
        StepDocument, StrategyDocument, StrategyName, StrategySettings, TaskDocument,
    },
    trigger::{HealthCheckDocument, HealthDocument, SeverityName, TriggerDocument},
    values::{Share, Text, TimesOf},
};
use crate::{
    condition::Unit,
    model::{MetricId, ServiceId},
};

/// A policy as it is written. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// `service:` the service it is written for. Default: fits any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// `strategy:` the steps of a rollout: `blue_green`, `canary`, `rolling`, `recreate`; or a
    /// group with `canary`, `rolling` or `steps`. Default: `blue_green`.
    #[serde(default)]
    pub strategy: StrategyDocument,
    /// `tasks:` what the plan runs beside its changes, by name. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<Arc<str>, TaskDocument>,
    /// `holdback:` the share of the traffic that stays with the stable release during the bake,
    /// below 100%, in steps of 0.01%; with `blue_green` and `canary`. Default: `0%`.
    #[serde(default)]
    pub holdback: Share,
    /// `check:` how long the candidate must be ready without a break before it gets traffic; with
    /// `blue_green` and `canary`. Default: `0s`, ready once.
    #[serde(default)]
    pub check: Text<Duration>,
    /// `poll:` how often metrics are read and the platform is looked at while a deployment is being
    /// watched; at most `1h`. Default: `10s`.
    #[serde(default = "default_poll")]
    pub poll: Text<Duration>,
    /// `metrics:` what is read, by name. Names are letters, digits and `_`.
    #[serde(default)]
    pub metrics: BTreeMap<MetricId, MetricDocument>,
    /// `record:` what is read with the metrics and journaled, and judged by nobody, by name: so that
    /// another policy can be tried on it later. Default: nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub record: BTreeMap<MetricId, MetricDocument>,
    /// `triggers:` what must not be true; at least one is required for a promotion.
    #[serde(default)]
    pub triggers: Vec<TriggerDocument>,
    /// `bake:` how long the candidate is watched under traffic before it counts as proven.
    /// No default; `steps` with a `bake` of their own can say it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Text<Duration>>,
    /// `verify:` what a rollback must show before it counts.
    #[serde(default)]
    pub verify: VerifyDocument,
    /// `deadlines:` when a step is stuck.
    #[serde(default)]
    pub deadlines: DeadlinesDocument,
    /// `budget:` how many rollbacks are allowed.
    #[serde(default)]
    pub budget: BudgetDocument,
    /// `blind_budget:` how long a required trigger may be without sight before `on_no_data` follows.
    /// Default: `5m`.
    #[serde(default = "default_blind")]
    pub blind_budget: Text<Duration>,
    /// `on_no_data:` what then follows: `hold` or `roll_back`. Default: `hold`.
    #[serde(default)]
    pub on_no_data: OnNoDataName,
    /// `on_inconclusive:` what follows when a required comparison cannot tell at the end of the
    /// bake: `promote` (if what needs one arm only has passed) or `hold`. Default: `promote`.
    #[serde(default)]
    pub on_inconclusive: OnInconclusiveName,
    /// `bootstrap:` how a service without a ledger begins: `trust_running` or `bake`.
    /// Default: `trust_running`.
    #[serde(default)]
    pub bootstrap: BootstrapName,
    /// `mode:` `act`, or `observe`: watch what others deploy, say what would have been done, and
    /// never change anything. Default: `act`.
    #[serde(default)]
    pub mode: Mode,
    /// `foreign:` what follows when somebody else deploys while nothing of ours is under way:
    /// `ignore`, `adopt` (watch it, and roll it back when it fails) or `hold` (ask a person first).
    /// Default: `ignore`.
    #[serde(default)]
    pub foreign: Foreign,
    /// `crash_limit:` how often instances of the candidate may crash, all of them together, before
    /// the deployment counts as failed. A number, or `off`: crashes alone say nothing. Default: `3`.
    #[serde(default = "default_crash_limit")]
    pub crash_limit: CrashLimit,
}

/// `on_no_data:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnNoDataName {
    /// `hold`: wait for a person or for data.
    #[default]
    Hold,
    /// `roll_back`.
    RollBack,
}

/// `on_inconclusive:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusiveName {
    /// `promote`, if the required one-arm triggers passed.
    #[default]
    Promote,
    /// `hold`: wait for a person.
    Hold,
}

/// `bootstrap:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BootstrapName {
    /// `trust_running`: what runs and is ready counts as proven.
    #[default]
    TrustRunning,
    /// `bake`: nothing counts as proven before its bake.
    Bake,
}

/// One of `metrics:`. Either `query`, or both `bad` and `total`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MetricDocument {
    /// `unit:` `ratio` (0 to 1), `percent` (0 to 100), `ms`, `s`, `count`, `bytes` or `state`
    /// (a word). No default. Counts become a share for `ratio` and `percent`, and the number of bad
    /// events per poll for `count`.
    pub unit: Unit,
    /// `per:` `service`, `arm` or `instance`; counts of instances are added up for each arm, values
    /// and states of instances are judged one by one. Default: `arm`.
    #[serde(default)]
    pub per: PerName,
    /// `query:` one value or state, in the source's own language. Placeholders: `{{service}}`
    /// `{{release}}` `{{arm}}` `{{instance}}` `{{address}}` `{{window}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Arc<str>>,
    /// `bad:` counts what went wrong; with `total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<Arc<str>>,
    /// `total:` counts everything, what went wrong included; with `bad`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Arc<str>>,
    /// `source:` the name of the metric source. Default: the only one there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Arc<str>>,
    /// `warmup:` readings of an arm younger than this are not judged. Default: `0s`.
    #[serde(default)]
    pub warmup: Text<Duration>,
}

/// `per:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PerName {
    /// `service`: the service as a whole.
    Service,
    /// `arm`: each arm.
    #[default]
    Arm,
    /// `instance`: each instance of each arm.
    Instance,
}

/// `verify:` what a rollback must show before it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct VerifyDocument {
    /// `for:` how long the restored release must be good without a break. Default: `30s`.
    #[serde(rename = "for")]
    pub for_: Text<Duration>,
    /// `within:` within which time. Default: `5m`.
    pub within: Text<Duration>,
}

impl Default for VerifyDocument {
    fn default() -> Self {
        Self {
            for_: seconds(30),
            within: seconds(300),
        }
    }
}

/// `deadlines:` when a step is stuck; each above zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DeadlinesDocument {
    /// `preflight:` the checks before anything is changed. Default: `1m`.
    pub preflight: Text<Duration>,
    /// `converge:` until all of a release is ready. Default: `10m`.
    pub converge: Text<Duration>,
    /// `shift:` until traffic is where it was sent. Default: `2m`.
    pub shift: Text<Duration>,
    /// `retire:` until a release is gone. Default: `5m`.
    pub retire: Text<Duration>,
    /// `apply:` until the sending of one change is answered. Default: `30s`.
    pub apply: Text<Duration>,
    /// `doubt:` until a change of which nobody knows whether it was taken is given to a person.
    /// Default: `2m`.
    pub doubt: Text<Duration>,
    /// `permit:` until the fleet's silence is taken for a no. Default: `1m`.
    pub permit: Text<Duration>,
}

impl Default for DeadlinesDocument {
    fn default() -> Self {
        Self {
            preflight: seconds(60),
            converge: seconds(600),
            shift: seconds(120),
            retire: seconds(300),
            apply: seconds(30),
            doubt: seconds(120),
            permit: seconds(60),
        }
    }
}

/// `budget:` how many rollbacks are allowed, failed ones counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BudgetDocument {
    /// `rollbacks:` so many. A number. Default: `3`.
    pub rollbacks: u32,
    /// `per:` within this time. Default: `1h`.
    pub per: Text<Duration>,
    /// `cooldown:` not sooner after the last one than this. Default: `0s`.
    pub cooldown: Text<Duration>,
}

impl Default for BudgetDocument {
    fn default() -> Self {
        Self {
            rollbacks: 3,
            per: seconds(3_600),
            cooldown: seconds(0),
        }
    }
}

fn seconds(count: u64) -> Text<Duration> {
    Text(Duration::from_secs(count))
}

fn default_poll() -> Text<Duration> {
    seconds(10)
}

fn default_blind() -> Text<Duration> {
    seconds(300)
}

const fn default_crash_limit() -> CrashLimit {
    CrashLimit(Some(3))
}
