//! The form in which people write `strategy:`.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    planned::OnTimeout,
    task::{Consent, OnTaskFailure, TaskWhen},
    values::{Share, Text},
};

/// `strategy:` the steps of a rollout: one of the names, or a group with one key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum StrategyDocument {
    /// `blue_green`, `canary`, `rolling` or `recreate`, with its defaults.
    Named(StrategyName),
    /// One of them with settings, or `steps`.
    Set(Box<StrategySettings>),
}

/// `strategy:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StrategyName {
    /// `blue_green`: beside, check, shift, bake, retire.
    #[default]
    BlueGreen,
    /// `canary`: beside, check, more and more of the traffic with a wait after each share, bake,
    /// retire.
    Canary,
    /// `rolling`: instance by instance in the place of what runs, bake.
    Rolling,
    /// `recreate`: what runs is stopped, the candidate started, bake.
    Recreate,
}

/// `strategy:` with settings. Exactly one key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StrategySettings {
    /// `canary:` shares and waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryDocument>,
    /// `rolling:` how many instances at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<RollingDocument>,
    /// `steps:` a list of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepDocument>>,
}

/// `canary:`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CanaryDocument {
    /// `steps:` the candidate's shares of the traffic, one after the other. Default:
    /// `[10%, 25%, 50%, 100%]`.
    pub steps: Vec<Share>,
    /// `wait:` how long it is watched after each share below its last. Default: `5m`.
    pub wait: Text<Duration>,
    /// `rollback_steps:` the shares that the stable release gets back one after the other, a poll
    /// apart, when the candidate is left; one that does not even run is left at once all the same.
    /// Default: none, everything at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollback_steps: Vec<Share>,
}

impl Default for CanaryDocument {
    fn default() -> Self {
        Self {
            steps: [0.1, 0.25, 0.5, 1.0].map(Share).to_vec(),
            wait: Text(Duration::from_secs(300)),
            rollback_steps: Vec::new(),
        }
    }
}

/// `rolling:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RollingDocument {
    /// `max_unavailable:` so many instances may be missing meanwhile. A number. Default: `0`.
    pub max_unavailable: u32,
    /// `max_surge:` so many may run in excess meanwhile. A number. Default: `1`.
    pub max_surge: u32,
    /// `rollback:` the pace of the way back, in the same keys: where there is no room for as many
    /// instances as it takes. Default: any number in excess, if `max_surge` is not 0; else as the
    /// way there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<PaceDocument>,
}

impl Default for RollingDocument {
    fn default() -> Self {
        Self {
            max_unavailable: 0,
            max_surge: 1,
            rollback: None,
        }
    }
}

/// How many instances at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PaceDocument {
    /// `max_unavailable:` so many instances may be missing meanwhile. A number. Default: `0`.
    pub max_unavailable: u32,
    /// `max_surge:` so many may run in excess meanwhile. A number. Default: `1`.
    pub max_surge: u32,
}

impl Default for PaceDocument {
    fn default() -> Self {
        Self {
            max_unavailable: 0,
            max_surge: 1,
        }
    }
}

/// One of `steps:`. Exactly one of the keys.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct StepDocument {
    /// `converge:` start the candidate: `beside` what runs; or in its place, `in_place` (all at
    /// once), `rolling` (one instance at a time, one in excess) or `recreate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub converge: Option<ConvergeDocument>,
    /// `check:` how long the candidate must be ready without a break, before it gets traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<Text<Duration>>,
    /// `task:` run this one of `tasks` to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Arc<str>>,
    /// `gate:` wait for a person to approve it, by this name. The watch goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Arc<str>>,
    /// `within:` how long; with `gate`. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Text<Duration>>,
    /// `then:` what follows when nobody did: `hold`, `roll_back` or `promote` (go on); with `gate`.
    /// Default: `hold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<OnTimeout>,
    /// `weight:` the candidate's share of the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Share>,
    /// `wait:` how long it is watched before the next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Text<Duration>>,
    /// `bake:` how long it is watched before it counts as proven; the policy's `bake` may say it
    /// in its place, or has to say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake: Option<Text<Duration>>,
    /// `retire: stable`: the stable release is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retire: Option<RetiredArm>,
}

/// One of `tasks:`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TaskDocument {
    /// `when:` `before` anything is changed for the candidate; when the candidate is `ready`, before
    /// it gets traffic; `after` everything else, in a rollout and in a rollback; `restore`, when a
    /// change that was declared irreversible is rolled back, before anything else. No default; left
    /// out where `steps` name the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<TaskWhen>,
    /// `within:` within which time. Default: `5m`.
    pub within: Text<Duration>,
    /// `on_failure:` what follows if it fails or takes longer: `roll_back`, `hold`, or `go_on`.
    /// Default: `roll_back`, and `hold` for `after` and `restore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnTaskFailure>,
    /// `loses:` what is lost when the data is brought back, with `restore`; people read it before
    /// they accept it. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loses: Option<Arc<str>>,
    /// `consent:` who accepts that: `ask` a person each time, or it is `given` here, and the
    /// rollback needs nobody. Default: `ask`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
}

impl Default for TaskDocument {
    fn default() -> Self {
        Self {
            when: None,
            within: Text(Duration::from_secs(300)),
            on_failure: None,
            loses: None,
            consent: None,
        }
    }
}

/// `retire:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RetiredArm {
    /// `stable`.
    Stable,
}

/// `converge:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum ConvergeDocument {
    /// One word.
    Named(ConvergeName),
    /// `{ rolling: { max_unavailable, max_surge } }`
    Rolling {
        /// How many instances at a time.
        rolling: PaceDocument,
    },
}

/// `converge:` in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConvergeName {
    /// `beside` what runs, without traffic.
    Beside,
    /// `in_place`: all of it is started, then takes over.
    InPlace,
    /// `rolling`: instance by instance.
    Rolling,
    /// `recreate`: what runs is stopped first.
    Recreate,
}

impl Default for StrategyDocument {
    fn default() -> Self {
        Self::Named(StrategyName::default())
    }
}

impl<'de> Deserialize<'de> for StrategyDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = StrategyDocument;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a strategy such as blue_green, or a group of keys")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<StrategyDocument, E> {
                let name = de::value::StrDeserializer::new(text);
                StrategyName::deserialize(name).map(StrategyDocument::Named)
            }
            fn visit_map<A: de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<StrategyDocument, A::Error> {
                let settings = de::value::MapAccessDeserializer::new(map);
                StrategySettings::deserialize(settings)
                    .map(|settings| StrategyDocument::Set(Box::new(settings)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for ConvergeDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Paced {
            rolling: PaceDocument,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ConvergeDocument;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("beside, in_place, rolling or recreate")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ConvergeDocument, E> {
                let name = de::value::StrDeserializer::new(text);
                ConvergeName::deserialize(name).map(ConvergeDocument::Named)
            }
            fn visit_map<A: de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<ConvergeDocument, A::Error> {
                let paced = Paced::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(ConvergeDocument::Rolling {
                    rolling: paced.rolling,
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
