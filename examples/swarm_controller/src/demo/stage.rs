//! What the demo plays on: images, a service, and a swarm if there is none; all of it is gone
//! afterwards.

use std::{process, time::Duration};

use rollback::model::ServiceId;
use rollback_docker::Engine;
use rollback_specimen::Image;
use serde_json::{Value, json};

use crate::Fallible;

/// The label of everything that the demo makes; its value is the demo's name.
const LABEL: &str = "io.rollback.demo";

/// Through which the tasks of a swarm reach the world.
const GATEWAY: &str = "docker_gwbridge";

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) service: ServiceId,
    name: String,
    /// The networks that were there before a swarm of the demo's own; none if it began none.
    began_swarm: Option<Vec<String>>,
}

impl Stage {
    /// Nothing yet but a swarm: the one that is there, or one of its own.
    pub(crate) async fn open(engine: Engine) -> Fallible<Self> {
        let info = engine.get("/info", &[]).await?;
        let state = info
            .pointer("/Swarm/LocalNodeState")
            .and_then(Value::as_str);
        let manages = info.pointer("/Swarm/ControlAvailable") == Some(&json!(true));
        let began_swarm = match (state, manages) {
            (Some("active"), true) => None,
            (Some("inactive"), _) => {
                let address = json!({"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"});
                let before = networks(&engine).await?;
                engine.post("/swarm/init", &[], &address).await?;
                say!("Began a swarm of one node; it is left at the end.");
                Some(before)
            }
            (state, _) => {
                return Err(format!(
                    "this engine does not manage a swarm (it says `{}`); use a manager's socket",
                    state.unwrap_or("nothing")
                )
                .into());
            }
        };
        let name = format!("rollback-demo-{}", process::id());
        Ok(Self {
            service: ServiceId::new(format!("{name}-shop"))?,
            engine,
            name,
            began_swarm,
        })
    }

    pub(crate) fn label(&self) -> String {
        format!("{LABEL}={}", self.name)
    }

    /// Builds an image of the specimen with these behaviours.
    pub(crate) async fn image(&self, version: &str, env: &[(&str, &str)]) -> Fallible<String> {
        let mut image = Image::new(version)
            .label(LABEL, &self.name)
            .health_every(300, 2);
        for (name, value) in env {
            image = image.env(name, value);
        }
        let tag = format!("{}:{version}", self.name);
        self.engine.build(image.context(), Some(&tag)).await?;
        Ok(tag)
    }

    /// The service, as anybody would create it: two instances, each at some port of this machine.
    pub(crate) async fn create(&self, image: &str) -> Fallible<()> {
        let spec = json!({
            "Name": self.service, "Labels": {LABEL: self.name},
            "TaskTemplate": {
                "ContainerSpec": {"Image": image},
                "Networks": [{"Target": "bridge"}],
                "RestartPolicy": {"Condition": "any", "Delay": 1_000_000_000},
            },
            "Mode": {"Replicated": {"Replicas": 2}},
            "UpdateConfig": {"Order": "start-first", "Parallelism": 1, "FailureAction": "pause",
                "Monitor": 3_000_000_000_u64},
            "EndpointSpec": {"Mode": "dnsrr",
                "Ports": [{"PublishMode": "host", "TargetPort": 8080, "Protocol": "tcp"}]},
        });
        self.engine.post("/services/create", &[], &spec).await?;
        Ok(())
    }

    /// What `docker service update --image` does, without a word to the controller; again if Swarm
    /// itself, or the controller, was faster.
    pub(crate) async fn update(&self, image: &str) -> Fallible<()> {
        let path = format!("/services/{}", self.service);
        let to = format!("{path}/update");
        for _ in 0..20 {
            let seen = self.engine.get(&path, &[]).await?;
            let mut spec = seen.get("Spec").cloned().unwrap_or_default();
            let named = spec.pointer_mut("/TaskTemplate/ContainerSpec/Image");
            *named.ok_or("the service names no image")? = json!(image);
            let version = seen.pointer("/Version/Index").map(Value::to_string);
            let version = version.unwrap_or_default();
            let sent = self.engine.post(&to, &[("version", &version)], &spec).await;
            match sent {
                Ok(_) => return Ok(()),
                Err(late) if late.to_string().contains("out of sequence") => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err("somebody else updates the service all the time".into())
    }

    /// Removes everything that the demo made, and says what could not be.
    pub(crate) async fn close(self) -> Fallible<()> {
        let path = format!("/services/{}", self.service);
        let _ = self.engine.delete(&path, &[]).await;
        let of_service = format!("com.docker.swarm.service.name={}", self.service);
        let of_service = json!({"label": [of_service]}).to_string();
        let containers = [("all", "true"), ("filters", of_service.as_str())];
        for _ in 0..100 {
            if self
                .listed("/containers/json", &containers)
                .await?
                .is_empty()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let filters = json!({"label": [self.label()]}).to_string();
        let images = [("all", "true"), ("filters", filters.as_str())];
        for image in self.listed("/images/json", &images).await? {
            if let Some(id) = image.get("Id").and_then(Value::as_str) {
                let path = format!("/images/{id}");
                // Those that others are made of go with them.
                let _ = self.engine.delete(&path, &[("force", "true")]).await;
            }
        }
        let left = self.listed("/containers/json", &containers).await?.len()
            + self.listed("/images/json", &images).await?.len();
        if let Some(before) = &self.began_swarm {
            let (path, force) = ("/swarm/leave", [("force", "true")]);
            self.engine.post(path, &force, &Value::Null).await?;
            self.without_gateway(before).await?;
        }
        if left > 0 {
            return Err(format!(
                "{left} containers or images with the label {} are left; remove them by hand",
                self.label()
            )
            .into());
        }
        Ok(())
    }

    /// An engine makes this network for its swarm, and leaves it there.
    async fn without_gateway(&self, before: &[String]) -> Fallible<()> {
        if before.iter().any(|name| name == GATEWAY) {
            return Ok(());
        }
        for _ in 0..50 {
            // While the swarm is being left it is still in use.
            let _ = self
                .engine
                .delete(&format!("/networks/{GATEWAY}"), &[])
                .await;
            if !networks(&self.engine)
                .await?
                .iter()
                .any(|name| name == GATEWAY)
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("the network {GATEWAY} of the swarm is left; remove it by hand").into())
    }

    async fn listed(&self, path: &str, query: &[(&str, &str)]) -> Fallible<Vec<Value>> {
        let found = self.engine.get(path, query).await?;
        Ok(found.as_array().cloned().unwrap_or_default())
    }
}

async fn networks(engine: &Engine) -> Fallible<Vec<String>> {
    let found = engine.get("/networks", &[]).await?;
    let names = found.as_array().into_iter().flatten();
    let names = names.filter_map(|one| one.get("Name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}
