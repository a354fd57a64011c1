//! What the tests against a real engine share: images of the specimen, names that are nobody
//! else's, and a broom that sweeps what carries such a name.

#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) mod containers;
pub(crate) mod cut;
#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) mod daemon;
pub(crate) mod ground;
pub(crate) mod likeness;
#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) mod platform;
#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) mod proxy;
#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) mod registry;
pub(crate) mod switch;
#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) mod trial;

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use rollback_docker::{Engine, ImageId};
use serde_json::{Value, json};

pub(crate) mod swarm;

/// The label of everything that a test makes; its value is the test's [`name`].
pub(crate) const TEST: &str = "io.rollback.test";

/// The engine of this machine.
pub(crate) fn engine() -> Engine {
    Engine::from_env().unwrap()
}

/// A name that nothing else has.
pub(crate) fn name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{}-{count}", process::id())
}

/// Builds an image, tagged `name`:`version`, and gives its id.
pub(crate) async fn image(engine: &Engine, tag: &str, image: &rollback_specimen::Image) -> ImageId {
    engine.build(image.context(), Some(tag)).await.unwrap()
}

/// Removes all services and containers with a label, and then the images with that label.
pub(crate) async fn sweep(engine: &Engine, label: &str) {
    let filters = json!({"label": [label]}).to_string();
    // There are none where there is no swarm.
    let services = engine.get("/services", &[("filters", &filters)]).await;
    for service in services
        .unwrap_or_default()
        .as_array()
        .into_iter()
        .flatten()
    {
        let path = format!("/services/{}", service["ID"].as_str().unwrap());
        let _ = engine.delete(&path, &[]).await;
    }
    let query = [("all", "true"), ("filters", filters.as_str())];
    for container in listed(engine, "/containers/json", &query).await {
        let path = format!("/containers/{}", container["Id"].as_str().unwrap());
        let _ = engine
            .delete(&path, &[("force", "true"), ("v", "true")])
            .await;
    }
    for image in listed(engine, "/images/json", &query).await {
        let path = format!("/images/{}", image["Id"].as_str().unwrap());
        let _ = engine.delete(&path, &[("force", "true")]).await;
    }
}

pub(crate) async fn listed(engine: &Engine, path: &str, query: &[(&str, &str)]) -> Vec<Value> {
    let found = engine.get(path, query).await.unwrap();
    found.as_array().cloned().unwrap_or_default()
}
