//! What the story is played on: images of a small program, a container that somebody started by
//! hand, and an HAProxy before it if one is installed.

use std::{net::SocketAddr, time::Duration};

use rollback::model::ServiceId;
use rollback_docker::{ContainerDeployer, Engine};
use rollback_specimen::{Image, Proxy, free_address};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::users::ask;
use crate::{
    exit::{Fallible, Trouble},
    guarding::Guarding,
    settings::{Haproxy, Place, Settings},
};

const POLICY: &str = include_str!("../../policies/demo.yml");
const POLICY_IN_PLACE: &str = include_str!("../../policies/demo_in_place.yml");
const LABEL: &str = "io.rollback.demo";

/// The stage of one story.
pub(crate) struct Stage {
    engine: Engine,
    /// In the name of all that the story makes.
    name: String,
    pub(crate) service: ServiceId,
    pub(crate) place: Place,
    pub(crate) settings: Settings,
    /// Where users come in.
    pub(crate) front: SocketAddr,
    pub(crate) haproxy: Option<Proxy>,
    _folder: TempDir,
}

impl Stage {
    /// Builds the images, starts version 1 as a person would, and HAProxy before it.
    pub(crate) async fn set(engine: &Engine) -> Fallible<Self> {
        let name = format!("docker-guard-demo-{}", std::process::id());
        let folder = tempfile::Builder::new()
            .prefix("guard")
            .tempdir()
            .map_err(Trouble::broke)?;
        let front = free_address().map_err(Trouble::broke)?;
        let haproxy = Proxy::start(folder.path(), front).map_err(Trouble::broke)?;
        let settings = Settings {
            policy: Some(
                if haproxy.is_some() {
                    POLICY
                } else {
                    POLICY_IN_PLACE
                }
                .to_owned(),
            ),
            haproxy: haproxy.as_ref().and_then(|proxy| {
                let backend = format!("{}/{}", proxy.socket().display(), Proxy::BACKEND);
                backend.parse::<Haproxy>().ok()
            }),
            container: Some(name.clone()),
            port: Some(8080),
            ..Settings::default()
        };
        let stage = Self {
            engine: engine.clone(),
            service: ServiceId::new(&name).map_err(Trouble::broke)?,
            place: Place::of(Some(folder.path().to_owned()), None)?,
            name,
            settings,
            front,
            haproxy,
            _folder: folder,
        };
        match stage.furnish().await {
            Ok(()) => Ok(stage),
            Err(trouble) => {
                let _ = stage.strike().await;
                Err(trouble)
            }
        }
    }

    /// The name of an image.
    pub(crate) fn image(&self, version: &str) -> String {
        format!("{}:{version}", self.name)
    }

    pub(crate) fn about(&self) -> String {
        let through = match &self.haproxy {
            Some(_) => "an HAProxy, which sends it all requests",
            None => {
                "a port of the host. No HAProxy is installed: the story goes without shares of the requests; releases replace each other, and nobody answers meanwhile"
            }
        };
        format!(
            "Version 1 runs in the container {}, started by hand, behind {through}.\nUsers ask http://{} all the time.",
            self.name, self.front
        )
    }

    async fn furnish(&self) -> Fallible<()> {
        let image = |version: &str| Image::new(version).label(LABEL, &self.name);
        for (version, image) in [
            ("v1", image("v1")),
            ("v2", image("v2")),
            ("v3", image("v3").env("FAIL_PERCENT", 30)),
            ("v4", image("v4").that_cannot_start()),
        ] {
            let tag = self.image(version);
            self.engine.build(image.context(), Some(&tag)).await?;
        }
        let mut host = json!({ "RestartPolicy": { "Name": "unless-stopped" } });
        if self.haproxy.is_none()
            && let Some(host) = host.as_object_mut()
        {
            let port = self.front.port().to_string();
            let binding = json!({ "8080/tcp": [{ "HostIp": "127.0.0.1", "HostPort": port }] });
            host.insert("PortBindings".to_owned(), binding);
        }
        let container = json!({
            "Image": self.image("v1"),
            "ExposedPorts": { "8080/tcp": {} },
            "HostConfig": host,
        });
        let query = [("name", self.name.as_str())];
        self.engine
            .post("/containers/create", &query, &container)
            .await?;
        let start = format!("/containers/{}/start", self.name);
        self.engine.post(&start, &[], &Value::Null).await?;
        Ok(())
    }

    /// Waits until the first user is served: the container is adopted, and HAProxy told of it.
    pub(crate) async fn let_users_in(&self, guarding: &Guarding) -> Fallible<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            guarding.platform.whole().observe(&self.service).await?;
            if let Some((Some(_), true)) = ask(self.front).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Trouble::broke(
                    "version 1 does not answer; are containers reachable from here?",
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Puts everything away, and gives the name that it all had.
    pub(crate) async fn strike(self) -> Fallible<String> {
        let deployer = ContainerDeployer::on(self.engine.clone());
        deployer.stop_service(&self.service).await?;
        let filters = json!({ "name": [self.name] }).to_string();
        let query = [("all", "true"), ("filters", filters.as_str())];
        for container in listed(&self.engine, "/containers/json", &query).await? {
            let path = format!("/containers/{container}");
            self.engine
                .delete(&path, &[("force", "true"), ("v", "true")])
                .await?;
        }
        let filters = json!({ "label": [format!("{LABEL}={}", self.name)] }).to_string();
        for image in listed(
            &self.engine,
            "/images/json",
            &[("filters", filters.as_str())],
        )
        .await?
        {
            let path = format!("/images/{image}");
            self.engine.delete(&path, &[("force", "true")]).await?;
        }
        Ok(self.name.clone())
    }
}

async fn listed(engine: &Engine, path: &str, query: &[(&str, &str)]) -> Fallible<Vec<String>> {
    let found = engine.get(path, query).await?;
    let ids = found.as_array().into_iter().flatten();
    let ids = ids.filter_map(|one| one.get("Id")?.as_str());
    Ok(ids.map(str::to_owned).collect())
}
