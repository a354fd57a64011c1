//! A whole deployment with a rollback: a real controller, real containers or a real Swarm service,
//! a candidate that falls ill when it has run for a moment, and what must be true when all is over.

use std::time::Duration;

use rollback::{Controller, ControllerBuilder, Deployment};
use rollback_core::{
    model::{HoldExit, Outcome, Release, ServiceId, Settled},
    policy::Policy,
    ports::Journal,
};
use rollback_docker::{ContainerDefinition, ContainerDeployer, DockerMetrics, Engine};
use serde_json::{Value, json};

use super::{
    containers::{Bench, health_check, until},
    ground::{deploy, inspect},
    platform::{Platform, env, release_of_service, specification, users_settings},
};

/// A service whose proven release runs, and somebody else's container or service beside it.
pub(crate) struct Trial {
    pub(crate) platform: Platform,
    pub(crate) bench: Bench,
    pub(crate) service: ServiceId,
    pub(crate) stable: Release,
    pub(crate) candidate: Release,
    /// How many containers each release has.
    pub(crate) replicas: u16,
    /// Within which time a release has to be ready.
    pub(crate) converge: &'static str,
    pub(crate) strategy: &'static str,
    /// Where the engine tells of what is somebody else's, and what it told.
    bystanders: Vec<(String, Value)>,
    /// What starts and stops containers.
    broom: Option<ContainerDeployer>,
}

/// What of a bystander stays as it is, of a container and of a service.
const STAYS: [&str; 6] = [
    "/Config",
    "/HostConfig",
    "/RestartCount",
    "/State/Pid",
    "/Spec",
    "/Version",
];

/// Quick, and with all deadlines short enough to be met in a test.
pub(crate) fn policy(platform: Platform, service: &str) -> Policy {
    policy_within(platform, service, "rolling", "25s")
}

/// The same, a release having to be ready within a time.
fn policy_within(platform: Platform, service: &str, strategy: &str, converge: &str) -> Policy {
    let policy = json!({
        "service": service,
        "strategy": strategy,
        "poll": platform.poll(),
        "bake": "20s",
        "metrics": {"up": {"unit": "state", "per": "instance", "query": "up"}},
        "triggers": [{"name": "down", "when": "up == 'down'", "for": "300ms"}],
        "verify": {"for": platform.verify(), "within": "20s"},
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
    pub(crate) async fn begin(platform: Platform, what: &str, replicas: u16) -> Self {
        let bench = Bench::new(what).await;
        let after = u32::from(replicas) * 1_500;
        match platform {
            Platform::Containers => {
                let after = after.to_string();
                Self::on(bench, replicas, |candidate| {
                    candidate.env("SICK_AFTER", after)
                })
                .await
            }
            Platform::Swarm => {
                Self::of_service(bench, replicas, |candidate| {
                    env(candidate, &format!("EXIT_AFTER={after}"));
                })
                .await
            }
        }
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
        let broom = ContainerDeployer::on(bench.engine.clone());
        deploy(&broom, &service, &stable).await;
        let seen = inspect(&bench.engine, &id).await;
        Self {
            platform: Platform::Containers,
            bench,
            service,
            stable,
            candidate,
            replicas,
            converge: "25s",
            strategy: "rolling",
            bystanders: vec![(format!("/containers/{id}/json"), seen)],
            broom: Some(broom),
        }
    }

    /// The same with a service of the swarm: the candidate's template differs by `differs`.
    pub(crate) async fn of_service(
        bench: Bench,
        replicas: u16,
        differs: impl FnOnce(&mut Value) + Send,
    ) -> Self {
        Self::of_service_with(bench, replicas, |_| {}, differs).await
    }

    /// The same with more in the specification.
    pub(crate) async fn of_service_with(
        bench: Bench,
        replicas: u16,
        more: impl Fn(&mut Value),
        differs: impl FnOnce(&mut Value) + Send,
    ) -> Self {
        let service = ServiceId::new(&bench.name).unwrap();
        let other = format!("{}-bystander", bench.name);
        let path = format!("/images/{}/tag", bench.image);
        let query = [("repo", bench.name.as_str()), ("tag", "1")];
        let tagged = bench.engine.post(&path, &query, &Value::Null).await;
        tagged.unwrap();
        let mut guarded = specification(&bench, service.as_str(), replicas);
        more(&mut guarded);
        for body in [specification(&bench, &other, 1), guarded] {
            let path = "/services/create";
            bench.engine.post(path, &[], &body).await.unwrap();
        }
        let stable = release_of_service(&bench.engine, &service, "stable", |_| {}).await;
        let candidate = release_of_service(&bench.engine, &service, "candidate", differs).await;
        let mut trial = Self {
            platform: Platform::Swarm,
            bench,
            service,
            stable,
            candidate,
            replicas,
            converge: "25s",
            strategy: "rolling",
            bystanders: Vec::new(),
            broom: None,
        };
        trial.only_the_stable_release_runs("at first").await;
        let path = format!("/services/{other}");
        let seen = trial.bench.engine.get(&path, &[]).await.unwrap();
        trial.bystanders.push((path, seen));
        let other = ServiceId::new(other).unwrap();
        let engine = &trial.bench.engine;
        let container = until("the bystander", || async {
            let running = trial.platform.running(engine, &other, &trial.stable);
            running.await.pop()
        });
        let container = container.await;
        let seen = inspect(engine, &container).await;
        let path = format!("/containers/{container}/json");
        trial.bystanders.push((path, seen));
        trial
    }

    /// A controller of the service that reaches the engine this way.
    pub(crate) fn controller(&self, engine: &Engine, journal: impl Journal) -> ControllerBuilder {
        let service = self.service.as_str();
        let policy = policy_within(self.platform, service, self.strategy, self.converge);
        Controller::builder(service)
            .policy(policy)
            .deployer(self.platform.deployer(engine))
            .metrics(DockerMetrics::new(engine.clone()))
            .journal(journal)
    }

    /// What runs of a release: the containers' ids.
    pub(crate) async fn running(&self, release: &Release) -> Vec<String> {
        let running = self
            .platform
            .running(&self.bench.engine, &self.service, release);
        running.await
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
        self.stays(what, &STAYS).await;
    }

    /// The same where an engine was started anew: its containers are others.
    pub(crate) async fn specifications_of_bystanders_stay(&self, what: &str) {
        self.stays(what, &["/Spec"]).await;
    }

    async fn stays(&self, what: &str, which: &[&str]) {
        for (path, before) in &self.bystanders {
            let after = self.bench.engine.get(path, &[]).await.unwrap_or_default();
            for at in which {
                assert_eq!(
                    before.pointer(at),
                    after.pointer(at),
                    "{what}: {at} of the bystander"
                );
            }
        }
    }

    /// What an update borrowed of the user's settings is given back.
    pub(crate) async fn settings_are_given_back(&self, what: &str) {
        let path = format!("/services/{}", self.service);
        let mut last = Value::Null;
        for _ in 0..150 {
            last = self.bench.engine.get(&path, &[]).await.unwrap()["Spec"].clone();
            if last["UpdateConfig"] == users_settings() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what}: not given back: {last:#}");
    }

    /// Stops the service, and finds nothing left of it.
    pub(crate) async fn end(self, what: &str) {
        let engine = &self.bench.engine;
        match &self.broom {
            Some(broom) => broom.stop_service(&self.service).await.unwrap(),
            None => {
                // Unless somebody did so already.
                let path = format!("/services/{}", self.service);
                let _ = engine.delete(&path, &[]).await;
            }
        }
        let left = self.platform.left(engine, &self.service).await;
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
