//! Services of the swarm that this machine is, for the tests.

use std::time::Duration;

use rollback_core::model::{Release, ServiceId};
use rollback_docker::{Engine, SwarmDeployer};
use serde_json::{Value, json};

use super::{TEST, image, name, sweep};

/// Images and services with a name that is nobody else's.
#[derive(Debug)]
pub(crate) struct Yard {
    pub(crate) engine: Engine,
    /// The name; also the label of everything in it.
    pub(crate) name: String,
    /// The image of a specimen that does what its environment says.
    pub(crate) image: String,
}

impl Yard {
    /// Builds the image.
    pub(crate) async fn open(what: &str) -> Self {
        let (engine, name) = (super::engine(), name(what));
        let tag = format!("{name}:1");
        let specimen = rollback_specimen::Image::new("v1")
            .label(TEST, &name)
            .health_every(200, 2);
        image(&engine, &tag, &specimen).await;
        Self {
            engine,
            image: tag,
            name,
        }
    }

    /// A template of the image with this environment.
    pub(crate) fn template(&self, env: &[&str]) -> Value {
        json!({
            "ContainerSpec": {"Image": self.image, "Env": env},
            "Networks": [{"Target": "bridge"}],
            "RestartPolicy": {"Condition": "any", "Delay": 300_000_000},
        })
    }

    /// Starts a service; `more` is put over its specification.
    pub(crate) async fn service(&self, name: &str, template: Value, more: &Value) -> ServiceId {
        let mut spec = json!({
            "Name": short(&format!("{}-{name}", self.name)), "Labels": {TEST: self.name},
            "TaskTemplate": template, "Mode": {"Replicated": {"Replicas": 2}},
            "UpdateConfig": {"Parallelism": 1, "FailureAction": "rollback",
                "Monitor": 1_000_000_000, "MaxFailureRatio": 0, "Order": "start-first"},
        });
        let map = spec.as_object_mut().unwrap();
        map.extend(more.as_object().cloned().unwrap_or_default());
        let path = "/services/create";
        self.engine.post(path, &[], &spec).await.unwrap();
        ServiceId::new(spec["Name"].as_str().unwrap()).unwrap()
    }

    /// Updates a service as somebody else would.
    pub(crate) async fn update(&self, service: &ServiceId, change: impl Fn(&mut Value)) {
        update(&self.engine, service, change).await;
    }

    pub(crate) async fn inspect(&self, service: &ServiceId) -> Value {
        let path = format!("/services/{service}");
        self.engine.get(&path, &[]).await.unwrap()
    }

    pub(crate) async fn remove(&self, service: &ServiceId) {
        let path = format!("/services/{service}");
        self.engine.delete(&path, &[]).await.unwrap();
    }

    /// A release with this environment.
    pub(crate) async fn release(
        &self,
        swarm: &SwarmDeployer,
        service: &ServiceId,
        env: &[&str],
    ) -> Release {
        let edit = |template: &mut Value| template["ContainerSpec"]["Env"] = json!(env);
        swarm.release_with(service, edit).await.unwrap()
    }

    /// Removes everything that carries the name, and waits until it is gone.
    pub(crate) async fn close(&self) {
        let label = format!("{TEST}={}", self.name);
        let filters = json!({"label": [label]}).to_string();
        let query = [("filters", filters.as_str())];
        for service in super::listed(&self.engine, "/services", &query).await {
            let path = format!("/services/{}", service["ID"].as_str().unwrap());
            let _ = self.engine.delete(&path, &[]).await;
        }
        let filters = json!({"ancestor": [self.image]}).to_string();
        let of_image = [("all", "true"), ("filters", filters.as_str())];
        for _ in 0..150 {
            let containers = super::listed(&self.engine, "/containers/json", &of_image).await;
            if containers.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        sweep(&self.engine, &label).await;
        let left = super::listed(&self.engine, "/images/json", &query).await;
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// Updates a service as somebody else would: the newest version, and no questions.
pub(crate) async fn update(engine: &Engine, service: &ServiceId, change: impl Fn(&mut Value)) {
    update_by(engine, service, &[], change).await;
}

/// Has Swarm go back to what it remembers, as `docker service rollback` does.
pub(crate) async fn roll_back(engine: &Engine, service: &ServiceId) {
    update_by(engine, service, &[("rollback", "previous")], |_| {}).await;
}

async fn update_by(
    engine: &Engine,
    service: &ServiceId,
    how: &[(&str, &str)],
    change: impl Fn(&mut Value),
) {
    let path = format!("/services/{service}");
    for _ in 0..20 {
        let seen = engine.get(&path, &[]).await.unwrap();
        let mut spec = seen["Spec"].clone();
        change(&mut spec);
        let version = seen["Version"]["Index"].to_string();
        let mut query = vec![("version", version.as_str())];
        query.extend(how);
        let path = format!("{path}/update");
        match engine.post(&path, &query, &spec).await {
            Ok(_) => return,
            Err(error) => assert!(error.to_string().contains("out of sequence"), "{error}"),
        }
    }
    panic!("{service} is updated by others all the time");
}

/// Swarm takes names of up to 63 characters.
fn short(name: &str) -> &str {
    let short = name.get(..63).unwrap_or(name);
    short.trim_end_matches('-')
}
