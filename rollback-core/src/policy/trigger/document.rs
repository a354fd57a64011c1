//! The form in which people write a trigger.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::health::HealthDocument;
use crate::{
    model::{Action, MetricId},
    policy::values::{Share, Text, TimesOf},
};

/// One of `triggers:`. Exactly one of `when`, `compare`, `alarm`, `health`, `any`, `all`, `at_least`,
/// `task` and `host`. What is named by `any`, `all` or `of` does not act by itself: it has no
/// `action`, `severity`, `delay`, `blind_budget` and `required`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TriggerDocument {
    /// `name:` its name, used once. No default.
    pub name: Arc<str>,
    /// `when:` a condition that is true when things are bad, such as `error_rate > 5%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Arc<str>>,
    /// `for:` how long without a break, measured by the readings; with `when` and `health`, and at
    /// most one of `for`, `times`, `consecutive`, `share` and `average`. Default: `0s`, one reading decides.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub for_: Option<Text<Duration>>,
    /// `times:` in how many of the last polls, such as `3 of 5`; at most `1000` polls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Text<TimesOf>>,
    /// `consecutive:` in how many polls one after the other. A number, at most `1000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<u32>,
    /// `within:` all of them within this time; with `consecutive`. Default: any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Text<Duration>>,
    /// `share:` in more than this share of the polls; below `100%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// `over:` of the polls of this time, at most `1000` polls; with `share`. Default: `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Text<Duration>>,
    /// `average:` the condition is asked about the averages of its metrics over this time, at most
    /// `1000` polls, instead of their last values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Text<Duration>>,
    /// `min_samples:` fewer polls than this say nothing; with `share` and `average`. A number.
    /// Default: half of the polls that fit into the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<u32>,
    /// `compare:` a metric with `bad` and `total` whose errors are compared with those of the stable
    /// release at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<MetricId>,
    /// `max_false_rollback_rate:` probability of ever rolling back a candidate that is not worse,
    /// above 0% and below 100%; with `compare`. Default: `1%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_false_rollback_rate: Option<Share>,
    /// `min_effect:` only a candidate more than so many times as error-prone counts as worse, at
    /// least 1; with `compare`. Default: `1.25`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_effect: Option<f64>,
    /// `alarm:` a metric with `unit: state` that says `OK`, `ALARM` or `INSUFFICIENT_DATA`; it fails
    /// on `ALARM`. One that was in `ALARM` before the deployment is not blamed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<MetricId>,
    /// `health:` checks that are counted together: critical ones first, then by score alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthDocument>,
    /// `any:` triggers by name; it fails if one of them does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any: Option<Vec<Arc<str>>>,
    /// `all:` triggers by name; it fails if every one of them does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<Arc<str>>>,
    /// `at_least:` it fails if so many of the triggers in `of` do. A number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u32>,
    /// `of:` triggers by name; with `at_least`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Vec<Arc<str>>>,
    /// `task:` the name of a task; it fails if that task of the plan failed. A task with
    /// `on_failure: go_on` leaves the consequence to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Arc<str>>,
    /// `host:` `true` if the rule is written by the host and given to the controller under this
    /// name. Default: `false`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host: bool,
    /// `action:` what it may do: `observe`, `notify`, `hold` or `roll_back`. Default: `roll_back`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// `severity:` how loud people are told of it; it decides nothing: `critical`, `warning` or
    /// `info`. Default: `critical` if the action is `roll_back`, `warning` for `hold` and `notify`,
    /// `info` for `observe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<SeverityName>,
    /// `delay:` how long a failure has to last before the action follows; it is cancelled, and told,
    /// if the trigger passes meanwhile. Default: `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Text<Duration>>,
    /// `blind_budget:` how long it may be without sight before `on_no_data` follows. Default: as long
    /// as the policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind_budget: Option<Text<Duration>>,
    /// `required:` whether a deployment is only promoted if it passes. Default: `true` if the action
    /// is `roll_back`, else `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}

/// `severity:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SeverityName {
    /// `critical`: somebody must act.
    Critical,
    /// `warning`: somebody should look.
    Warning,
    /// `info`: for the record.
    Info,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) const fn is_false(value: &bool) -> bool {
    !*value
}
