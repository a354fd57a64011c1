//! The controller of one service: this room is where the library is used.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rollback::{
    Controller, Fleet, PolicyFile,
    model::ServiceId,
    policy::{Foreign, Mode, Policy},
    sources::{HttpHealth, Limits, PrometheusText},
    store::SqliteJournal,
};
use rollback_docker::{DockerMetrics, Engine, SwarmDeployer};

use crate::{
    Fallible,
    telling::{ToStderr, Webhook},
};

/// Without a policy of anyone's.
const DEFAULT: &str = include_str!("../policies/default.yml");

/// What is the same for all services.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) policy: Option<PathBuf>,
    pub(crate) policies: Option<PathBuf>,
    pub(crate) observe: bool,
    pub(crate) webhook: Option<String>,
    pub(crate) metrics: String,
}

impl Settings {
    /// The policy of a service that names one by its label, or does not. What others deploy is
    /// always taken into care: nobody deploys through this program.
    pub(crate) fn policy(&self, named: Option<&str>) -> Fallible<Policy> {
        let mut policy = match (named, &self.policies, &self.policy) {
            (Some(name), Some(folder), _) => {
                let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                if name.is_empty() || !name.chars().all(fits) {
                    return Err(format!(
                        "`io.rollback.policy={name}` is not the name of a policy: letters, digits, - and _"
                    )
                    .into());
                }
                Policy::from_yaml_file(folder.join(format!("{name}.yml")))?
            }
            (Some(name), None, _) => {
                return Err(format!(
                    "it asks for the policy `{name}`, and there is no folder of policies: give --policies"
                )
                .into());
            }
            (None, _, Some(file)) => Policy::from_yaml_file(file)?,
            (None, _, None) => Policy::from_yaml(DEFAULT)?,
        };
        if policy.foreign == Foreign::Ignore {
            policy.foreign = Foreign::Adopt;
        }
        if self.observe {
            policy.mode = Mode::Observe;
        }
        Ok(policy)
    }
}

/// What all guards share.
#[derive(Debug, Clone)]
pub(crate) struct Guards {
    pub(crate) engine: Engine,
    pub(crate) deployer: Arc<SwarmDeployer>,
    pub(crate) journal: Arc<SqliteJournal>,
    pub(crate) metrics: Arc<DockerMetrics>,
    pub(crate) fleet: Fleet,
    pub(crate) settings: Settings,
}

impl Guards {
    /// Begins to guard a service, or goes on from its journal.
    pub(crate) async fn begin(&self, service: &ServiceId, policy: Policy) -> Fallible<Controller> {
        let limits = Limits::default().total(Duration::from_secs(2));
        let mut builder = Controller::builder(service.as_str())
            .policy(policy)
            .deployer(Arc::clone(&self.deployer))
            .metrics(Arc::clone(&self.metrics))
            .metrics_named(
                "metrics",
                PrometheusText::of_instances(&*self.settings.metrics, limits)?,
            )
            .metrics_named("health", HttpHealth::new(limits)?)
            .notifier(ToStderr::new()?)
            .journal(Arc::clone(&self.journal))
            .releases(Arc::clone(&self.journal))
            .fleet(&self.fleet);
        if let Some(url) = &self.settings.webhook {
            builder = builder.notifier(Webhook::new(service, url)?);
        }
        Ok(builder.start().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_guarded_by_the_policy_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let strict = "bake: 1m\nstrategy: recreate\nmetrics: {}\ntriggers: []\n";
        std::fs::write(folder.path().join("strict.yml"), strict).unwrap();
        let settings = Settings {
            policies: Some(folder.path().to_owned()),
            ..Settings::default()
        };
        let default = settings.policy(None).unwrap();
        assert_eq!((default.foreign, default.mode), (Foreign::Adopt, Mode::Act));
        for (name, problem) in [("../strict", "not the name"), ("lax", "lax.yml")] {
            let told = settings.policy(Some(name)).unwrap_err().to_string();
            assert!(told.contains(problem), "{told}");
        }
        let told = Settings::default().policy(Some("strict")).unwrap_err();
        assert!(told.to_string().contains("--policies"), "{told}");
        let observing = Settings {
            observe: true,
            ..Settings::default()
        };
        assert_eq!(observing.policy(None).unwrap().mode, Mode::Observe);
    }
}
