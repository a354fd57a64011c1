//! The form in which people write a policy, and the step from there to a valid [`Policy`].

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    Blindness, Bootstrap, Budget, Deadlines, Metric, OnInconclusive, OnNoData, PerScope, Policy,
    Rule, Strategy, TriggerRule, Verification, duration::parse_duration,
};
use crate::{
    condition::Unit,
    model::{Action, MetricId, Query, ServiceId, Weight, duration_text},
};

/// A policy as it is written. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// The service it is written for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// `blue_green`.
    #[serde(default)]
    pub strategy: StrategyName,
    /// The share that stays with the stable release during the bake: `5%`.
    #[serde(default)]
    pub holdback: Percent,
    /// How long the candidate must be ready before it gets traffic.
    #[serde(default = "default_check")]
    pub check: Text<Duration>,
    /// How often metrics are read.
    #[serde(default = "default_poll")]
    pub poll: Text<Duration>,
    /// What is read, by name.
    #[serde(default)]
    pub metrics: BTreeMap<MetricId, MetricDocument>,
    /// What must not be true.
    #[serde(default)]
    pub triggers: Vec<TriggerDocument>,
    /// How long the candidate is watched under traffic.
    pub bake: Text<Duration>,
    /// What a rollback must show.
    #[serde(default)]
    pub verify: VerifyDocument,
    /// When a step is stuck.
    #[serde(default)]
    pub deadlines: DeadlinesDocument,
    /// How many rollbacks are allowed.
    #[serde(default)]
    pub budget: BudgetDocument,
    /// How long a required trigger may be without sight.
    #[serde(default = "default_blind")]
    pub blind_budget: Text<Duration>,
    /// `hold` or `roll_back`.
    #[serde(default)]
    pub on_no_data: OnNoDataName,
    /// `promote` or `hold`.
    #[serde(default)]
    pub on_inconclusive: OnInconclusiveName,
    /// `trust_running` or `bake`.
    #[serde(default)]
    pub bootstrap: BootstrapName,
    /// How often instances of the candidate may crash.
    #[serde(default = "default_crash_limit")]
    pub crash_limit: u32,
}

/// `strategy:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyName {
    /// Beside, check, shift, bake, retire.
    #[default]
    BlueGreen,
}

/// `on_no_data:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNoDataName {
    /// Wait for a person or for data.
    #[default]
    Hold,
    /// Roll back.
    RollBack,
}

/// `on_inconclusive:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusiveName {
    /// Promote, if the required one-arm triggers passed.
    #[default]
    Promote,
    /// Wait for a person.
    Hold,
}

/// `bootstrap:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootstrapName {
    /// What runs and is ready counts as proven.
    #[default]
    TrustRunning,
    /// Nothing counts as proven before its bake.
    Bake,
}

/// One of `metrics:`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricDocument {
    /// `ratio`, `percent`, `ms`, `s`, `count`, `bytes` or `state`.
    pub unit: Unit,
    /// `service`, `arm` or `instance`.
    #[serde(default)]
    pub per: PerName,
    /// A value or state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Arc<str>>,
    /// Counts what went wrong; with `total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<Arc<str>>,
    /// Counts everything; with `bad`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Arc<str>>,
    /// Which source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Arc<str>>,
    /// Readings of an arm younger than this are not judged.
    #[serde(default)]
    pub warmup: Text<Duration>,
}

/// `per:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PerName {
    /// The service as a whole.
    Service,
    /// Each arm.
    #[default]
    Arm,
    /// Each instance.
    Instance,
}

/// One of `triggers:`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerDocument {
    /// Its name.
    pub name: Arc<str>,
    /// A condition; true when things are bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Arc<str>>,
    /// How long without a break; with `when`.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub for_: Option<Text<Duration>>,
    /// A metric with counts that is compared with the stable arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<MetricId>,
    /// With `compare`; `1%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_false_rollback_rate: Option<Percent>,
    /// With `compare`; a ratio of at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_effect: Option<f64>,
    /// The rule is the host's own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host: bool,
    /// `observe`, `notify`, `hold` or `roll_back`.
    #[serde(default = "default_action")]
    pub action: Action,
    /// Whether a deployment is only promoted if it passes; by default if the action is
    /// `roll_back`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}

/// `verify:`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyDocument {
    /// How long without a break.
    #[serde(rename = "for")]
    pub for_: Text<Duration>,
    /// Within which time.
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

/// `deadlines:`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadlinesDocument {
    /// The checks before anything is changed.
    pub preflight: Text<Duration>,
    /// Until all of a release is ready.
    pub converge: Text<Duration>,
    /// Until traffic is where it was sent.
    pub shift: Text<Duration>,
    /// Until a release is gone.
    pub retire: Text<Duration>,
    /// Until one sending is answered.
    pub apply: Text<Duration>,
    /// Until a change in doubt is given to a person.
    pub doubt: Text<Duration>,
    /// Until the fleet's silence is a no.
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

/// `budget:`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetDocument {
    /// So many …
    pub rollbacks: u32,
    /// … within this time.
    pub per: Text<Duration>,
    /// Not sooner after the last one.
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

impl TryFrom<PolicyDocument> for Policy {
    type Error = String;

    fn try_from(document: PolicyDocument) -> Result<Self, String> {
        let mut metrics = Vec::new();
        for (id, metric) in document.metrics {
            metrics.push(metric.compile(id)?);
        }
        let mut triggers: Vec<TriggerRule> = Vec::new();
        for trigger in document.triggers {
            let rule = trigger.compile()?;
            if triggers.iter().any(|other| other.name == rule.name) {
                return Err(format!("two triggers are named `{}`", rule.name));
            }
            triggers.push(rule);
        }
        let policy = Self {
            service: document.service,
            strategy: match document.strategy {
                StrategyName::BlueGreen => Strategy::BlueGreen {
                    holdback: document.holdback.weight()?,
                    check: document.check.0,
                },
            },
            poll: document.poll.0,
            metrics,
            triggers,
            bake: document.bake.0,
            verify: Verification {
                hold_for: document.verify.for_.0,
                within: document.verify.within.0,
            },
            deadlines: Deadlines {
                preflight: document.deadlines.preflight.0,
                converge: document.deadlines.converge.0,
                shift: document.deadlines.shift.0,
                retire: document.deadlines.retire.0,
                apply: document.deadlines.apply.0,
                doubt: document.deadlines.doubt.0,
                permit: document.deadlines.permit.0,
            },
            budget: Budget {
                rollbacks: document.budget.rollbacks,
                per: document.budget.per.0,
                cooldown: document.budget.cooldown.0,
            },
            blindness: Blindness {
                budget: document.blind_budget.0,
                then: match document.on_no_data {
                    OnNoDataName::Hold => OnNoData::Hold,
                    OnNoDataName::RollBack => OnNoData::RollBack,
                },
            },
            on_inconclusive: match document.on_inconclusive {
                OnInconclusiveName::Promote => OnInconclusive::Promote,
                OnInconclusiveName::Hold => OnInconclusive::Hold,
            },
            bootstrap: match document.bootstrap {
                BootstrapName::TrustRunning => Bootstrap::TrustRunning,
                BootstrapName::Bake => Bootstrap::Bake,
            },
            crash_limit: document.crash_limit,
        };
        Ok(policy)
    }
}

impl MetricDocument {
    fn compile(self, id: MetricId) -> Result<Metric, String> {
        let query = match (self.query, self.bad, self.total) {
            (Some(query), None, None) => Query::Value(query),
            (None, Some(bad), Some(total)) => Query::Counts { bad, total },
            _ => {
                return Err(format!(
                    "metric `{id}`: give either `query`, or both `bad` and `total`"
                ));
            }
        };
        Ok(Metric {
            id,
            unit: self.unit,
            per: match self.per {
                PerName::Service => PerScope::Service,
                PerName::Arm => PerScope::Arm,
                PerName::Instance => PerScope::Instance,
            },
            query,
            source: self.source,
            warmup: self.warmup.0,
        })
    }
}

impl TriggerDocument {
    fn compile(self) -> Result<TriggerRule, String> {
        let name = self.name;
        let rule = match (self.when, self.compare, self.host) {
            (Some(condition), None, false) => Rule::When {
                condition,
                for_: self.for_.unwrap_or_default().0,
            },
            (None, Some(metric), false) => Rule::Compare {
                metric,
                max_false_rollback_rate: self
                    .max_false_rollback_rate
                    .map_or(0.01, |percent| percent.0 / 100.0),
                min_effect: self.min_effect.unwrap_or(1.25),
            },
            (None, None, true) => Rule::Host,
            _ => {
                return Err(format!(
                    "trigger `{name}`: give exactly one of `when`, `compare` and `host`"
                ));
            }
        };
        Ok(TriggerRule {
            name,
            rule,
            action: self.action,
            required: self.required.unwrap_or(self.action == Action::RollBack),
        })
    }
}

impl From<Policy> for PolicyDocument {
    fn from(policy: Policy) -> Self {
        let Strategy::BlueGreen { holdback, check } = policy.strategy;
        Self {
            service: policy.service,
            strategy: StrategyName::BlueGreen,
            holdback: Percent(f64::from(holdback.basis_points()) / 100.0),
            check: Text(check),
            poll: Text(policy.poll),
            metrics: policy
                .metrics
                .into_iter()
                .map(|metric| (metric.id.clone(), MetricDocument::from(metric)))
                .collect(),
            triggers: policy.triggers.into_iter().map(Into::into).collect(),
            bake: Text(policy.bake),
            verify: VerifyDocument {
                for_: Text(policy.verify.hold_for),
                within: Text(policy.verify.within),
            },
            deadlines: DeadlinesDocument {
                preflight: Text(policy.deadlines.preflight),
                converge: Text(policy.deadlines.converge),
                shift: Text(policy.deadlines.shift),
                retire: Text(policy.deadlines.retire),
                apply: Text(policy.deadlines.apply),
                doubt: Text(policy.deadlines.doubt),
                permit: Text(policy.deadlines.permit),
            },
            budget: BudgetDocument {
                rollbacks: policy.budget.rollbacks,
                per: Text(policy.budget.per),
                cooldown: Text(policy.budget.cooldown),
            },
            blind_budget: Text(policy.blindness.budget),
            on_no_data: match policy.blindness.then {
                OnNoData::Hold => OnNoDataName::Hold,
                OnNoData::RollBack => OnNoDataName::RollBack,
            },
            on_inconclusive: match policy.on_inconclusive {
                OnInconclusive::Promote => OnInconclusiveName::Promote,
                OnInconclusive::Hold => OnInconclusiveName::Hold,
            },
            bootstrap: match policy.bootstrap {
                Bootstrap::TrustRunning => BootstrapName::TrustRunning,
                Bootstrap::Bake => BootstrapName::Bake,
            },
            crash_limit: policy.crash_limit,
        }
    }
}

impl From<Metric> for MetricDocument {
    fn from(metric: Metric) -> Self {
        let (query, bad, total) = match metric.query {
            Query::Value(query) => (Some(query), None, None),
            Query::Counts { bad, total } => (None, Some(bad), Some(total)),
        };
        Self {
            unit: metric.unit,
            per: match metric.per {
                PerScope::Service => PerName::Service,
                PerScope::Arm => PerName::Arm,
                PerScope::Instance => PerName::Instance,
            },
            query,
            bad,
            total,
            source: metric.source,
            warmup: Text(metric.warmup),
        }
    }
}

impl From<TriggerRule> for TriggerDocument {
    fn from(rule: TriggerRule) -> Self {
        let mut document = Self {
            name: rule.name,
            when: None,
            for_: None,
            compare: None,
            max_false_rollback_rate: None,
            min_effect: None,
            host: false,
            action: rule.action,
            required: Some(rule.required),
        };
        match rule.rule {
            Rule::When { condition, for_ } => {
                document.when = Some(condition);
                document.for_ = Some(Text(for_));
            }
            Rule::Compare {
                metric,
                max_false_rollback_rate,
                min_effect,
            } => {
                document.compare = Some(metric);
                document.max_false_rollback_rate = Some(Percent(max_false_rollback_rate * 100.0));
                document.min_effect = Some(min_effect);
            }
            Rule::Host => document.host = true,
        }
        document
    }
}

/// A value that is written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text<T>(pub T);

impl Serialize for Text<Duration> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration_text(self.0))
    }
}

impl<'de> Deserialize<'de> for Text<Duration> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

/// A share, written `5%` or as a fraction of 1; kept in percent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Percent(pub f64);

impl Percent {
    fn weight(self) -> Result<Weight, String> {
        let points = (self.0 * 100.0).round();
        if !(0.0..=10_000.0).contains(&points) {
            return Err(format!("{} % is not a share of the traffic", self.0));
        }
        // In range: checked above.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in range"
        )]
        Weight::from_basis_points(points as u16).map_err(|error| error.to_string())
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}%", self.0))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Percent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share such as 5% or 0.05")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
                let number = text.trim().strip_suffix('%').map(str::trim);
                let value = match number {
                    Some(percent) => percent.parse::<f64>().ok(),
                    None => text.trim().parse::<f64>().ok().map(|ratio| ratio * 100.0),
                };
                match value {
                    Some(value) if (0.0..=100.0).contains(&value) => Ok(Percent(value)),
                    _ => Err(E::custom(format!(
                        "`{text}` is not a share; write 5% or 0.05"
                    ))),
                }
            }
            fn visit_f64<E: de::Error>(self, ratio: f64) -> Result<Percent, E> {
                if (0.0..=1.0).contains(&ratio) {
                    Ok(Percent(ratio * 100.0))
                } else {
                    Err(E::custom(format!(
                        "{ratio} is not a share; write 5% or 0.05"
                    )))
                }
            }
            fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Percent, E> {
                match whole {
                    0 => Ok(Percent(0.0)),
                    1 => Ok(Percent(100.0)),
                    _ => Err(E::custom(format!("{whole} is not a share; write {whole}%"))),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn seconds(count: u64) -> Text<Duration> {
    Text(Duration::from_secs(count))
}

fn default_check() -> Text<Duration> {
    seconds(0)
}

fn default_poll() -> Text<Duration> {
    seconds(10)
}

fn default_blind() -> Text<Duration> {
    seconds(300)
}

const fn default_crash_limit() -> u32 {
    3
}

const fn default_action() -> Action {
    Action::RollBack
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}
