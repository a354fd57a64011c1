//! The controller of a service: this room is where the library is used.

use std::{sync::Arc, time::Duration};

use rollback::{
    Controller, WithTraffic,
    model::ServiceId,
    policy::Policy,
    ports::{Deployer, ReleaseStore},
    sources::{HttpHealth, Limits, PrometheusText},
    traffic::HaproxyShifter,
};
use rollback_docker::{ContainerDeployer, DockerMetrics, Engine, Registries};

use crate::{
    exit::{Fallible, Trouble},
    settings::{Place, Settings},
};

/// Behind an HAProxy: beside what runs, watched with a part of the users.
const WITH_TRAFFIC: &str = include_str!("../policies/with_traffic.yml");
/// Without one: in the place of what runs.
const IN_PLACE: &str = include_str!("../policies/in_place.yml");

/// So long the journal waits for a controller that was killed.
const LEASE: Duration = Duration::from_secs(10);

/// A service that is being guarded.
#[derive(Debug)]
pub(crate) struct Guarding {
    pub(crate) engine: Engine,
    pub(crate) service: ServiceId,
    pub(crate) platform: Platform,
    pub(crate) controller: Controller,
}

/// What is deployed with.
#[derive(Debug, Clone)]
pub(crate) enum Platform {
    /// Containers alone.
    Alone(Arc<ContainerDeployer>),
    /// Containers and their traffic.
    Behind(Arc<WithTraffic<ContainerDeployer, HaproxyShifter>>),
}

impl Platform {
    pub(crate) fn of(
        engine: &Engine,
        place: &Place,
        service: &ServiceId,
        settings: &Settings,
    ) -> Fallible<Self> {
        let mut containers = ContainerDeployer::on(engine.clone());
        if let Some(adopt) = settings.adopt()? {
            containers = containers.adopt(service, adopt);
        }
        Ok(match &settings.haproxy {
            Some(haproxy) => {
                let shifter = HaproxyShifter::new(haproxy.socket.clone())
                    .backend(&haproxy.backend)
                    .remember_in(place.folder());
                Self::Behind(Arc::new(WithTraffic::new(containers, shifter).tagged()))
            }
            None => Self::Alone(Arc::new(containers)),
        })
    }

    pub(crate) fn containers(&self) -> &ContainerDeployer {
        match self {
            Self::Alone(containers) => containers,
            Self::Behind(pair) => pair.deployer(),
        }
    }

    pub(crate) fn whole(&self) -> Arc<dyn Deployer> {
        match self {
            Self::Alone(containers) => Arc::<ContainerDeployer>::clone(containers),
            Self::Behind(pair) => Arc::<WithTraffic<_, _>>::clone(pair),
        }
    }
}

impl Guarding {
    /// Takes the journal over and goes on from what is in it.
    pub(crate) async fn begin(
        place: &Place,
        service: &ServiceId,
        settings: &Settings,
    ) -> Fallible<Self> {
        let logins = Registries::of_docker().map_err(Trouble::asked)?;
        let engine = Engine::from_env()?.registries(logins);
        let platform = Platform::of(&engine, place, service, settings)?;
        Self::of(engine, platform, place, service, settings).await
    }

    /// The same on a platform that was looked at already.
    pub(crate) async fn of(
        engine: Engine,
        platform: Platform,
        place: &Place,
        service: &ServiceId,
        settings: &Settings,
    ) -> Fallible<Self> {
        let journal = place.journal()?;
        // What runs can be returned to only if its definition is kept.
        for release in platform.containers().running(service).await? {
            journal
                .put(service, &release)
                .await
                .map_err(Trouble::broke)?;
        }
        let limits = Limits::default().total(Duration::from_secs(2));
        let metrics = PrometheusText::of_instances(&settings.metrics, limits);
        let docker = DockerMetrics::new(engine.clone());
        let controller = Controller::builder(service.as_str())
            .policy(policy(settings)?)
            .deployer(platform.whole())
            .metrics(docker.clone())
            .metrics_named("docker", docker)
            .metrics_named("metrics", metrics.map_err(Trouble::asked)?)
            .metrics_named("health", HttpHealth::new(limits).map_err(Trouble::asked)?)
            .journal(Arc::clone(&journal))
            .releases(journal)
            .lease(LEASE)
            .start()
            .await?;
        Ok(Self {
            engine,
            service: service.clone(),
            platform,
            controller,
        })
    }
}

/// The policy that a service is guarded by.
fn policy(settings: &Settings) -> Fallible<Policy> {
    let text = match (&settings.policy, &settings.haproxy) {
        (Some(text), _) => text,
        (None, Some(_)) => WITH_TRAFFIC,
        (None, None) => IN_PLACE,
    };
    Policy::from_yaml(text).map_err(Trouble::asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_without_a_policy_is_a_policy() {
        for text in [WITH_TRAFFIC, IN_PLACE] {
            Policy::from_yaml(text).unwrap();
        }
        let told = policy(&Settings {
            policy: Some("strategy: x".to_owned()),
            ..Settings::default()
        });
        assert!(told.unwrap_err().to_string().contains("strategy"));
    }
}
