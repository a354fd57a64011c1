//! Which of the two deployers a trial is of, and what differs between them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollback_core::{
    memory::MemoryReleaseStore,
    model::{Release, ServiceId},
    ports::{Deployer, ReleaseStore},
};
use rollback_docker::{ContainerDeployer, Engine, SwarmDefinition, SwarmDeployer};
use serde_json::{Value, json};

use super::{TEST, containers::Bench, ground, listed};

/// The label of a container of a service: the release that it is of, in the test's words.
const ARM: &str = "io.rollback.test.arm";
/// The label that Swarm gives to the containers of a service.
const OF_SERVICE: &str = "com.docker.swarm.service.name";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    /// Containers of one engine.
    Containers,
    /// A service of the swarm that the engine manages.
    Swarm,
}

impl Platform {
    /// That reaches the engine this way, and has a memory of its own.
    pub(crate) fn deployer(self, engine: &Engine) -> Arc<dyn Deployer> {
        self.deployer_keeping(engine, Arc::new(MemoryReleaseStore::new()))
    }

    /// The same with this store.
    pub(crate) fn deployer_keeping(
        self,
        engine: &Engine,
        store: Arc<dyn ReleaseStore>,
    ) -> Arc<dyn Deployer> {
        match self {
            Self::Containers => Arc::new(ContainerDeployer::on(engine.clone())),
            Self::Swarm => Arc::new(SwarmDeployer::new(engine.clone()).keeping(store)),
        }
    }

    /// How often it is looked at. A look at a service costs several requests.
    pub(crate) fn poll(self) -> &'static str {
        match self {
            Self::Containers => "200ms",
            Self::Swarm => "400ms",
        }
    }

    /// For how long what was restored is watched: a service for several looks, so that giving back
    /// its settings may fail.
    pub(crate) fn verify(self) -> &'static str {
        match self {
            Self::Containers => "400ms",
            Self::Swarm => "2s",
        }
    }

    /// The containers of a release that run.
    pub(crate) async fn running(
        self,
        engine: &Engine,
        service: &ServiceId,
        release: &Release,
    ) -> Vec<String> {
        let labels = match self {
            Self::Containers => [
                format!("io.rollback.service={service}"),
                format!("io.rollback.release={}", release.id),
            ],
            Self::Swarm => [
                format!("{OF_SERVICE}={service}"),
                format!("{ARM}={}", arm_of(release)),
            ],
        };
        let filters = json!({"label": labels, "status": ["running"]}).to_string();
        let all = listed(engine, "/containers/json", &[("filters", filters.as_str())]).await;
        let ids = all.iter().map(|one| one["Id"].as_str().unwrap());
        ids.map(str::to_owned).collect()
    }

    /// The names of what is left of a service that was ended, once what was told to go is gone.
    pub(crate) async fn left(self, engine: &Engine, service: &ServiceId) -> Vec<String> {
        if self == Self::Containers {
            return ground::left(engine, service.as_str()).await;
        }
        let filters = json!({"label": [format!("{OF_SERVICE}={service}")]}).to_string();
        let query = [("all", "true"), ("filters", filters.as_str())];
        for _ in 0..200 {
            if listed(engine, "/containers/json", &query).await.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let filters = json!({"name": [service.as_str()]}).to_string();
        let services = listed(engine, "/services", &[("filters", filters.as_str())]).await;
        let containers = listed(engine, "/containers/json", &query).await;
        let names = containers.iter().map(|one| &one["Names"][0]);
        let services = services.iter().map(|one| &one["Spec"]["Name"]);
        // The engine's filter also takes the beginning of a name.
        let services = services.filter(|name| *name == service.as_str());
        let names = names.chain(services).map(|name| name.as_str().unwrap());
        names.map(str::to_owned).collect()
    }
}

/// What a template calls its release.
fn arm_of(release: &Release) -> String {
    let definition = SwarmDefinition::from_release(&release.id, &release.definition).unwrap();
    let labels = &definition.template()["ContainerSpec"]["Labels"];
    labels[ARM].as_str().unwrap().to_owned()
}

/// The update settings that the user of a trial's service gave.
pub(crate) fn users_settings() -> Value {
    json!({
        "Parallelism": 1, "FailureAction": "rollback", "Monitor": 2_500_000_000_u64,
        "MaxFailureRatio": 0, "Order": "start-first",
    })
}

/// How often a service was moved to each release, and its settings given back.
pub(crate) fn updates_of(service: &ServiceId, updates: &[Value]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for update in updates.iter().filter(|one| one["Name"] == service.as_str()) {
        let arm = &update["TaskTemplate"]["ContainerSpec"]["Labels"][ARM];
        let what = match update["Labels"].get("io.rollback.lent") {
            Some(_) => arm.as_str().unwrap(),
            None => "given back",
        };
        *counts.entry(what.to_owned()).or_default() += 1;
    }
    counts
}

/// There and back, each once.
pub(crate) fn there_and_back() -> BTreeMap<String, u32> {
    ["candidate", "stable", "given back"]
        .map(|what| (what.to_owned(), 1))
        .into()
}

/// What the image of a bench's services is called.
pub(crate) fn tag_of(bench: &Bench) -> String {
    format!("{}:1", bench.name)
}

/// A service of the specimen whose release is called `stable`.
pub(crate) fn specification(bench: &Bench, name: &str, replicas: u16) -> Value {
    // The network of the machine, where each takes a port of its own: no other starts faster.
    json!({
        "Name": name,
        "Labels": {TEST: bench.name},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": tag_of(bench), "Env": ["PORT=0"], "StopSignal": "SIGKILL",
                "Labels": {TEST: bench.name, ARM: "stable"},
            },
            "Networks": [{"Target": "host"}],
            "Resources": {"Limits": {"MemoryBytes": 64 << 20}},
            "RestartPolicy": {"Condition": "any", "Delay": 300_000_000},
        },
        "Mode": {"Replicated": {"Replicas": replicas}},
        "UpdateConfig": users_settings(),
    })
}

/// The service as it is with another template, as a release that is called so.
pub(crate) async fn release_of_service(
    engine: &Engine,
    service: &ServiceId,
    name: &str,
    edit: impl FnOnce(&mut Value) + Send,
) -> Release {
    let swarm = SwarmDeployer::new(engine.clone());
    let made = swarm.release_with(service, |template| {
        called(template, name);
        edit(template);
    });
    made.await.unwrap()
}

/// Calls the release of a template so.
pub(crate) fn called(template: &mut Value, name: &str) {
    template["ContainerSpec"]["Labels"][ARM] = json!(name);
}

/// One more variable in the environment of a template.
pub(crate) fn env(template: &mut Value, variable: &str) {
    let env = template["ContainerSpec"]["Env"].as_array_mut().unwrap();
    env.push(json!(variable));
}
