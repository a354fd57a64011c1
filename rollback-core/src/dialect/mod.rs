//! Other systems' configurations, translated into the native policy.
//!
//! Each [`Dialect`] reads one form and gives a [`Translation`]: the policy, the text in which a
//! person would have written it, and one [`KeyReport`] for each key of the source. No key is dropped
//! silently: one that is not known is an error with place and fix, one that does not belong to a
//! policy is reported with who does it instead.
//!
//! | room | holds |
//! |---|---|
//! | `reading`, `draft` | a source key by key; what becomes of it |
//! | `native`, `report` | the policy as text; what became of each key |
//! | `metrics` | which metrics the dialects speak of, and where they come from by default |
//! | `rollback_config` | 001: `rollback-config.yml`, with `security:` and `ci_cd_integration:` |
//! | `environment` | 002, 003: environment variables |
//! | `deployment_policy` | 003: `deployment-policy.yaml` |
//! | `default_rollback_config`, `object_literal` | 004: `DEFAULT_ROLLBACK_CONFIG`, TypeScript or JSON |

mod default_rollback_config;
mod deployment_policy;
mod draft;
mod environment;
mod metrics;
mod native;
mod object_literal;
mod reading;
mod report;
mod rollback_config;

use std::{fmt, time::Duration};

pub use environment::{environment_variables, is_secret_variable};
pub use metrics::MetricMapping;
pub use report::{Fate, KeyReport};

use self::{
    draft::Draft,
    reading::{Field, Trouble},
};
use crate::{
    model::{ServiceId, duration_text},
    policy::{
        Place, Policy, PolicyDocument, PolicyError, PolicyProblem as Problem, parse_duration,
        read_value,
        tree::{Node, here},
    },
};

/// A form that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Dialect {
    /// `rollback-config.yml`, with its `security:` and `ci_cd_integration:` parts.
    RollbackConfig,
    /// Environment variables, one `NAME=value` or `export NAME=value` a line.
    Environment,
    /// `deployment-policy.yaml`.
    DeploymentPolicy,
    /// `DEFAULT_ROLLBACK_CONFIG`: the object in TypeScript, or as JSON.
    DefaultRollbackConfig,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::RollbackConfig,
        Self::Environment,
        Self::DeploymentPolicy,
        Self::DefaultRollbackConfig,
    ];

    /// Its name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RollbackConfig => "rollback-config",
            Self::Environment => "environment",
            Self::DeploymentPolicy => "deployment-policy",
            Self::DefaultRollbackConfig => "default-rollback-config",
        }
    }

    /// The dialect of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// The dialect that a file of this name is usually written in.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        let base = name.rsplit(['/', '\\']).next().unwrap_or(name);
        match base {
            "rollback-config.yml" | "rollback-config.yaml" | "ci-cd-integration.yml" => {
                Some(Self::RollbackConfig)
            }
            "deployment-policy.yaml" | "deployment-policy.yml" => Some(Self::DeploymentPolicy),
            _ if base.ends_with(".env") || base.ends_with(".sh") => Some(Self::Environment),
            _ if base.ends_with(".ts") || base.ends_with(".js") => {
                Some(Self::DefaultRollbackConfig)
            }
            _ => None,
        }
    }

    /// Translates a text.
    ///
    /// ```
    /// use rollback_core::dialect::{Dialect, TranslateOptions};
    ///
    /// let text = "export MONITORING_DURATION=600\nexport ERROR_THRESHOLD=0.10\n";
    /// let translation = Dialect::Environment.translate(text, &TranslateOptions::default())?;
    /// assert_eq!(translation.policy.bake.as_secs(), 600);
    /// assert_eq!(translation.lines[0].to_string(), "line 1, MONITORING_DURATION: applied as `bake: 10m`");
    /// # Ok::<(), rollback_core::policy::PolicyError>(())
    /// ```
    ///
    /// # Errors
    /// The first mistake, with its place in `text` and its fix.
    pub fn translate(
        self,
        text: &str,
        options: &TranslateOptions,
    ) -> Result<Translation, PolicyError> {
        // What an error shows of an environment must not be a secret.
        let shown = match self {
            Self::Environment => environment::without_secrets(text),
            _ => text.to_owned(),
        };
        let root = match self {
            Self::RollbackConfig | Self::DeploymentPolicy => yaml(text)?,
            Self::Environment => {
                environment::parse(text).map_err(|trouble| trouble.in_text(&shown))?
            }
            Self::DefaultRollbackConfig => {
                object_literal::parse(text).map_err(|trouble| trouble.in_text(&shown))?
            }
        };
        let mut translation = self
            .of_tree(&root, options)
            .map_err(|trouble| trouble.in_text(&shown))?;
        if let Some(beside) = &options.environment {
            let lines = environment::beside(beside)
                .map_err(|trouble| trouble.in_text(&environment::without_secrets(beside)))?;
            translation.lines.extend(lines);
        }
        Ok(translation)
    }

    fn of_tree(self, root: &Node, options: &TranslateOptions) -> Result<Translation, Trouble> {
        let root = Field::root(root);
        let mut draft = Draft::new();
        match self {
            Self::RollbackConfig => rollback_config::translate(&root, options, &mut draft)?,
            Self::Environment => environment::translate(&root, options, &mut draft)?,
            Self::DeploymentPolicy => deployment_policy::translate(&root, options, &mut draft)?,
            Self::DefaultRollbackConfig => {
                default_rollback_config::translate(&root, options, &mut draft)?;
            }
        }
        draft.nothing_dropped(&root)?;
        if let Some(service) = &options.service {
            *draft.native.at("service") = service.as_str().into();
        }
        if let Some(bake) = options.bake {
            *draft.native.at("bake") = duration_text(bake).into();
        }
        sight(&mut draft);
        let policy = read_value(draft.native.json())
            .map_err(|problem| draft.blame(&problem.path_text(), &problem.message, &problem.fix))?;
        let mut lines = draft.lines;
        lines.sort_by_key(|line| line.line);
        Ok(Translation {
            dialect: self,
            policy,
            yaml: draft.native.yaml(),
            lines,
            chosen: draft.chosen,
        })
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a source does not say, and a caller knows.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TranslateOptions {
    /// The service that the policy is for.
    pub service: Option<ServiceId>,
    /// Which of several enabled strategies is meant: `blue_green`, `canary` or `rolling`. Without it,
    /// the first.
    pub strategy: Option<String>,
    /// Where metrics come from, in place of the dialect's defaults.
    pub metrics: MetricMapping,
    /// How long the candidate is watched under traffic, in place of what the source says or implies.
    pub bake: Option<Duration>,
    /// Environment variables that belong to the source, one `NAME=value` a line; each is reported.
    pub environment: Option<String>,
}

impl TranslateOptions {
    /// The policy is for this service.
    #[must_use]
    pub fn service(mut self, service: ServiceId) -> Self {
        self.service = Some(service);
        self
    }

    /// Of several enabled strategies this one is meant.
    #[must_use]
    pub fn strategy(mut self, name: impl Into<String>) -> Self {
        self.strategy = Some(name.into());
        self
    }

    /// Metrics come from here.
    #[must_use]
    pub fn metrics(mut self, metrics: MetricMapping) -> Self {
        self.metrics = metrics;
        self
    }

    /// These environment variables belong to the source.
    #[must_use]
    pub fn environment(mut self, text: impl Into<String>) -> Self {
        self.environment = Some(text.into());
        self
    }

    /// The candidate is watched for so long.
    #[must_use]
    pub const fn bake(mut self, bake: Duration) -> Self {
        self.bake = Some(bake);
        self
    }
}

/// A source as a native policy.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Translation {
    /// From which dialect.
    pub dialect: Dialect,
    /// The policy.
    pub policy: Policy,
    /// The policy as a person would write it, in YAML; only what is not a default.
    pub yaml: String,
    /// What became of each key, in the order of the source.
    pub lines: Vec<KeyReport>,
    /// What the source does not say, what was chosen, and why.
    pub chosen: Vec<String>,
}

impl Translation {
    /// The whole native document, defaults included.
    #[must_use]
    pub fn document(&self) -> PolicyDocument {
        PolicyDocument::from(self.policy.clone())
    }

    /// The report for people: a line for each key, then what was chosen.
    #[must_use]
    pub fn report(&self) -> String {
        report::text(&self.lines, &self.chosen)
    }
}

/// `enabled:` of a whole source.
fn enabled(field: &Field<'_>, draft: &mut Draft) -> Result<(), Trouble> {
    if field.flag()? {
        draft.applied(field);
        return Ok(());
    }
    draft.set("mode", "observe", field);
    draft.applied_as(
        field,
        "`mode: observe`: it decides and says what it would have done, and changes nothing",
    );
    draft.choose(
        "foreign",
        "adopt",
        "a controller that only observes does not deploy; what somebody else deploys is what it watches",
    );
    Ok(())
}

/// Without sight for the whole of a short bake, nobody would ever be asked.
fn sight(draft: &mut Draft) {
    let time = |draft: &Draft, key: &str| {
        let text = draft.native.json().get(key)?.as_str().map(str::to_owned)?;
        parse_duration(&text).ok()
    };
    let default = Duration::from_secs(300);
    let Some(bake) = time(draft, "bake").filter(|bake| *bake <= default) else {
        return;
    };
    let poll = time(draft, "poll").unwrap_or(Duration::from_secs(10));
    let budget = (bake / 2).max(poll.saturating_mul(3)).min(bake);
    draft.choose(
        "blind_budget",
        duration_text(budget),
        "the default of 5m is as long as the whole bake",
    );
}

/// The sources count rollbacks until somebody resets the count, or the process restarts.
fn budget_period(draft: &mut Draft) {
    draft.choose(
        "budget.per",
        "1d",
        "the source counts rollbacks until it is restarted; here the count survives restarts, and old ones leave it after a day",
    );
}

fn yaml(text: &str) -> Result<Node, PolicyError> {
    Node::from_yaml(text).map_err(|error| {
        let place = error.location().map_or(
            Place {
                line: 1,
                column: 1,
                width: 1,
            },
            |at| here(at, 1),
        );
        let message = error.without_snippet().to_string();
        PolicyError::new(
            Problem::unreadable("YAML", &message),
            Some(place),
            Some(text),
        )
    })
}
