//! What a run makes on the engine, and its removal: also that of runs which were killed.

use std::{path::Path, time::Duration};

use rollback_docker::Engine;
use serde_json::{Value, json};

use crate::fault::Fault;

/// Services and images carry it, with the process that made them.
pub(crate) const LABEL: &str = "io.rollback.bench";
const PREFIX: &str = "bench-";

/// What the service of one cell of the table is called: it tells which process made it.
pub(crate) fn name(system: &str, fault: Fault) -> String {
    format!("{PREFIX}{system}-{}-{}", fault.name(), std::process::id())
}

/// Whether this process made it.
pub(crate) fn is_ours(name: &str) -> bool {
    maker(name) == Some(std::process::id())
}

/// Whether whoever made it is gone.
pub(crate) fn is_of_the_dead(name: &str) -> bool {
    maker(name).is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists())
}

fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.rsplit('-').next()?.parse().ok()
}

/// Removes services, containers and unused images of whom `which` names, and returns when they are
/// gone, or after half a minute.
pub(crate) async fn clear(engine: &Engine, which: impl Fn(&str) -> bool) {
    for _ in 0..150 {
        let mut left = 0;
        for service in listed(engine, "/services", LABEL).await {
            let name = service.pointer("/Spec/Name").and_then(Value::as_str);
            if let Some(name) = name.filter(|name| which(name)) {
                left += 1;
                let _ = engine.delete(&format!("/services/{name}"), &[]).await;
            }
        }
        // Swarm removes the containers of a service itself.
        for (label, by_us) in [
            ("com.docker.swarm.service.name", false),
            ("io.rollback.service", true),
        ] {
            for container in listed(engine, "/containers/json", label).await {
                let labels = container.get("Labels");
                let name = labels.and_then(|labels| labels.get(label)?.as_str());
                let id = container.get("Id").and_then(Value::as_str);
                let (Some(_), Some(id)) = (name.filter(|name| which(name)), id) else {
                    continue;
                };
                left += 1;
                if by_us {
                    let query = [("force", "true"), ("v", "true")];
                    let _ = engine.delete(&format!("/containers/{id}"), &query).await;
                }
            }
        }
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for image in listed(engine, "/images/json", LABEL).await {
        let process = image.pointer(&format!("/Labels/{LABEL}"));
        let process = process.and_then(Value::as_str).unwrap_or_default();
        let id = image.get("Id").and_then(Value::as_str);
        if let Some(id) = id.filter(|_| which(&format!("{PREFIX}{process}"))) {
            let _ = engine
                .delete(&format!("/images/{id}"), &[("force", "true")])
                .await;
        }
    }
}

async fn listed(engine: &Engine, path: &str, label: &str) -> Vec<Value> {
    let filters = json!({ "label": [label] }).to_string();
    let query: &[(&str, &str)] = match path {
        "/services" => &[("filters", &filters)],
        _ => &[("all", "true"), ("filters", &filters)],
    };
    match engine.get(path, query).await {
        Ok(Value::Array(all)) => all,
        _ => Vec::new(),
    }
}
