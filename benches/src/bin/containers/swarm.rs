//! A Swarm service, by the engine's own API: made, updated, looked at.

use std::net::{Ipv4Addr, SocketAddr};

use rollback_docker::{Engine, EngineError, ImageId};
use serde_json::{Value, json};

use crate::{
    fault::MEMORY,
    leftovers::LABEL,
    users::{Behind, Door},
};

/// So many tasks each service has.
pub(crate) const REPLICAS: usize = 3;

/// How one service stands.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Swarm's word for its update.
    pub(crate) update: String,
    /// Tasks of the good image that run.
    pub(crate) good: usize,
    /// Tasks of another image that should run or do.
    pub(crate) bad: usize,
    /// Where it answers: what Swarm's own name service tells (`endpoint-mode dnsrr`).
    pub(crate) doors: Vec<Door>,
}

/// Each task publishes its port on the host, where the engine finds one: this kernel may have no
/// IPVS, which Swarm's own balancing needs.
pub(crate) async fn create(
    engine: &Engine,
    name: &str,
    image: &ImageId,
    updates: &Value,
) -> Result<(), EngineError> {
    let mut spec = json!({
        "Name": name,
        "Labels": {LABEL: std::process::id().to_string()},
        "TaskTemplate": {
            "ContainerSpec": {"Image": image.as_str()},
            "Resources": {"Limits": {"MemoryBytes": MEMORY}},
        },
        "Mode": {"Replicated": {"Replicas": REPLICAS}},
        "EndpointSpec": {"Mode": "dnsrr", "Ports": [{"TargetPort": 8080, "PublishMode": "host"}]},
    });
    if let (Some(spec), Some(updates)) = (spec.as_object_mut(), updates.as_object()) {
        spec.extend(updates.clone());
    }
    engine.post("/services/create", &[], &spec).await?;
    Ok(())
}

/// As `docker service update --image`.
pub(crate) async fn update(
    engine: &Engine,
    name: &str,
    image: &ImageId,
) -> Result<(), EngineError> {
    let mut service = engine.get(&format!("/services/{name}"), &[]).await?;
    let version = service.pointer("/Version/Index").and_then(Value::as_u64);
    let version = version.unwrap_or_default().to_string();
    if let Some(used) = service.pointer_mut("/Spec/TaskTemplate/ContainerSpec/Image") {
        *used = json!(image.as_str());
    }
    let spec = service.get("Spec").cloned().unwrap_or_default();
    let path = format!("/services/{name}/update");
    engine.post(&path, &[("version", &version)], &spec).await?;
    Ok(())
}

pub(crate) async fn look(
    engine: &Engine,
    name: &str,
    good: &ImageId,
) -> Result<Sight, EngineError> {
    let service = engine.get(&format!("/services/{name}"), &[]).await?;
    let update = service
        .pointer("/UpdateStatus/State")
        .and_then(Value::as_str);
    let filters = json!({"service": [name]}).to_string();
    let tasks = engine.get("/tasks", &[("filters", &filters)]).await?;
    let mut sight = Sight {
        update: update.unwrap_or_default().to_owned(),
        ..Sight::default()
    };
    for task in tasks.as_array().into_iter().flatten() {
        let word = |pointer| task.pointer(pointer).and_then(Value::as_str);
        let runs = word("/Status/State") == Some("running");
        let wanted = word("/DesiredState") == Some("running");
        let is_good = word("/Spec/ContainerSpec/Image") == Some(good.as_str());
        match (is_good, runs, wanted) {
            (true, true, true) => sight.good += 1,
            (false, runs, wanted) if runs || wanted => sight.bad += 1,
            _ => {}
        }
        let port = task.pointer("/Status/PortStatus/Ports/0/PublishedPort");
        let port = port
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok());
        if let (true, true, Some(port)) = (runs, wanted, port) {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let behind = if is_good { Behind::Good } else { Behind::Bad };
            sight.doors.push(Door { address, behind });
        }
    }
    Ok(sight)
}
