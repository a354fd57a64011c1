//! A whole deployment with a rollback: a real controller, real containers, a candidate that falls
//! ill when it has run for a moment, and what must be true when all is over.

use std::{sync::Arc, time::Duration};

use rollback::{Controller, ControllerBuilder, Deployment};
use rollback_core::{
    model::{HoldExit, Outcome, Release, ServiceId, Settled},
    policy::Policy,
    ports::{Deployer, Journal},
};
use rollback_docker::{ContainerDefinition, ContainerDeployer, DockerMetrics, Engine};
use serde_json::{Value, json};

use super::{
    containers::{Bench, health_check},
    ground::{inspect, left},
    listed,
};

/// A service whose proven release runs, and somebody else's container beside it.
pub(crate) struct Trial {
    pub(crate) bench: Bench,
    pub(crate) service: ServiceId,
    pub(crate) stable: Release,
    pub(crate) candidate: Release,
    /// How many containers each release has.
    pub(crate) replicas: u16,
    /// Within which time a release has to be ready.
    pub(crate) converge: &'static str,
    bystander: (String, Value),
    broom: ContainerDeployer,
}

/// Quick, and with all deadlines short enough to be met in a test.
pub(crate) fn policy(service: &str) -> Policy {
    policy_within(service, "25s")
}

/// The same, a release having to be ready within a time.
fn policy_within(service: &str, converge: &str) -> Policy {
    let policy = json!({
        "service": service,
        "strategy": "rolling",
        "poll": "200ms",
        "bake": "20s",
        "metrics": {"up": {"unit": "state", "per": "instance", "query": "up"}},
        "triggers": [{"name": "down", "when": "up == 'down'", "for": "300ms"}],
        "verify": {"for": "400ms", "within": "20s"},
        "deadlines": {
            "preflight": "40s", "converge": converge, "retire": "20s", "apply": "20s", "doubt": "20s",
        },
        "blind_budget": "20s",
    });
    serde_json::from_value(policy).unwrap()
}

impl Trial {
    /// So many containers of the proven release run; the candidate falls ill after a while, with
    /// several containers of it after a longer one.
    pub(crate) async fn begin(what: &str, replicas: u16) -> Self {
        let after = (u32::from(replicas) * 1_500).to_string();
        Self::on(Bench::new(what).await, replicas, |candidate| {
            candidate.env("SICK_AFTER", after)
        })
        .await
    }

    /// So many containers of the proven release run; the candidate differs from it by `differs`.
    pub(crate) async fn on(
        bench: Bench,
        replicas: u16,
        differs: impl FnOnce(ContainerDefinition) -> ContainerDefinition,
    ) -> Self {
        let service = ServiceId::new(&bench.name).unwrap();
        let stable = definition(&bench.image).replicas(replicas);
        let candidate = differs(stable.clone()).release("v2").unwrap();
        let stable = stable.release("v1").unwrap();
        let id = bench.run("bystander", &[], network_of_none()).await;
        let seen = inspect(&bench.engine, &id).await;
        let broom = ContainerDeployer::on(bench.engine.clone());
        super::ground::deploy(&broom, &service, &stable).await;
        Self {
            bench,
            service,
            stable,
            candidate,
            replicas,
            converge: "25s",
            bystander: (id, seen),
            broom,
        }
    }

    /// A controller of the service that reaches the engine this way.
    pub(crate) fn controller(&self, engine: &Engine, journal: impl Journal) -> ControllerBuilder {
        let deployer = ContainerDeployer::on(engine.clone());
        let deployer: Arc<dyn Deployer> = Arc::new(deployer);
        Controller::builder(self.service.as_str())
            .policy(policy_within(self.service.as_str(), self.converge))
            .deployer(deployer)
            .metrics(DockerMetrics::new(engine.clone()))
            .journal(journal)
    }

    /// What runs of the service, by release: the place in the release and the container's id.
    pub(crate) async fn running(&self, release: &Release) -> Vec<String> {
        let labels = [
            format!("io.rollback.service={}", self.service),
            format!("io.rollback.release={}", release.id),
        ];
        let filters = json!({"label": labels, "status": ["running"]}).to_string();
        let query = [("filters", filters.as_str())];
        let all = listed(&self.bench.engine, "/containers/json", &query).await;
        all.iter()
            .map(|one| one["Id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The proven release runs as it should and nothing else of the service, once the last changes
    /// are through.
    pub(crate) async fn only_the_stable_release_runs(&self, what: &str) {
        let mut seen = (0, 0);
        for _ in 0..200 {
            let stable = self.running(&self.stable).await.len();
            let candidate = self.running(&self.candidate).await.len();
            seen = (stable, candidate);
            if seen == (usize::from(self.replicas), 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what}: (stable, candidate) containers are {seen:?}");
    }

    /// Ended in a proven release, or holds and says why; nobody else was touched.
    pub(crate) async fn is_in_order(&self, what: &str, settled: &Settled) {
        match settled {
            Settled::Ended(Outcome::RolledBack { to, .. }) => {
                assert_eq!(*to, self.stable.id, "{what}");
                self.only_the_stable_release_runs(what).await;
            }
            Settled::Ended(other) => panic!("{what}: {other:?}"),
            Settled::Held(hold) => {
                assert!(hold.to_string().len() > 20, "{what}: {hold}");
                let most = usize::from(self.replicas) + 1;
                assert!(self.running(&self.stable).await.len() <= most, "{what}");
                assert!(self.running(&self.candidate).await.len() <= most, "{what}");
            }
        }
        self.bystander_is_untouched(what).await;
    }

    pub(crate) async fn bystander_is_untouched(&self, what: &str) {
        let (id, before) = &self.bystander;
        let after = inspect(&self.bench.engine, id).await;
        for at in ["/Config", "/HostConfig", "/RestartCount", "/State/Pid"] {
            assert_eq!(
                before.pointer(at),
                after.pointer(at),
                "{what}: {at} of the bystander"
            );
        }
    }

    /// Stops the service, and finds nothing left of it.
    pub(crate) async fn end(self, what: &str) {
        self.broom.stop_service(&self.service).await.unwrap();
        let left = left(&self.bench.engine, self.service.as_str()).await;
        assert_eq!(left, [""; 0], "{what}: left behind");
    }
}

/// How a deployment came to rest: a hold that ends by itself is waited for.
pub(crate) async fn rest(deployment: &Deployment) -> Settled {
    match deployment.settled().await.unwrap() {
        Settled::Held(hold) if hold.exits.contains(&HoldExit::DataReturns) => {
            let ended = tokio::time::timeout(Duration::from_secs(40), deployment.ended()).await;
            match ended {
                Ok(outcome) => Settled::Ended(outcome.unwrap()),
                Err(_) => Settled::Held(hold),
            }
        }
        settled => settled,
    }
}

/// Without a network of its own a container starts faster.
fn network_of_none() -> Value {
    json!({"HostConfig": {"NetworkMode": "none"}})
}

pub(crate) fn definition(image: &str) -> ContainerDefinition {
    ContainerDefinition::new(image)
        .with_host_config("NetworkMode", json!("none"))
        .with_host_config("NanoCpus", json!(500_000_000))
        .memory(64 << 20)
        .with_config("Healthcheck", health_check(200, 2))
        .with_config("StopSignal", json!("SIGKILL"))
}
