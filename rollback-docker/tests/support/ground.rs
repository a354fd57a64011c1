//! A service for a test of the container deployer: changes asked for as the engine asks for them,
//! looks until something holds, and proof that nothing is left.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rollback_core::{
    model::{
        Accepted, Change, ChangeError, ChangeId, ChangeRequest, DeploymentId, Expectation,
        Observation, Pace, Placement, Release, ReleaseId, ServiceId, Timestamp,
    },
    ports::Deployer,
};
use rollback_docker::Engine;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::listed;

pub(crate) const AT_ONCE: Placement = Placement::InPlace(Pace::AtOnce);

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis().try_into().unwrap())
}

pub(crate) fn converge(release: &ReleaseId, placement: Placement) -> Change {
    Change::Converge {
        release: release.clone(),
        placement,
    }
}

/// A change decided for what is seen.
pub(crate) fn request(
    seen: &Observation,
    change: Change,
    release: Option<&Release>,
) -> ChangeRequest {
    static ATTEMPTS: AtomicU32 = AtomicU32::new(1);
    let id = ChangeId {
        deployment: DeploymentId::new("test").unwrap(),
        step: 0,
        attempt: ATTEMPTS.fetch_add(1, Ordering::Relaxed),
    };
    let expect = Expectation {
        wanted: seen.wanted.clone(),
        etag: seen.etag.clone(),
    };
    ChangeRequest::new(id, change, expect, now().after(Duration::from_secs(60)))
        .with_definition(release.map(|release| release.definition.clone()))
}

/// Looks, and asks for a change of what is seen.
pub(crate) async fn change(
    deployer: &dyn Deployer,
    service: &ServiceId,
    change: Change,
    release: Option<&Release>,
) -> Result<Accepted, ChangeError> {
    let seen = deployer.observe(service).await.unwrap();
    deployer
        .apply(service, &request(&seen, change, release))
        .await
}

/// Looks until it holds.
pub(crate) async fn until(
    deployer: &dyn Deployer,
    service: &ServiceId,
    what: &str,
    holds: impl Fn(&Observation) -> bool,
) -> Observation {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = deployer.observe(service).await.unwrap();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what} was not seen: {seen:#?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Replaces what runs, and waits until the release runs alone.
pub(crate) async fn deploy(deployer: &dyn Deployer, service: &ServiceId, release: &Release) {
    let changed = change(
        deployer,
        service,
        converge(&release.id, AT_ONCE),
        Some(release),
    )
    .await;
    changed.unwrap();
    alone(deployer, service, &release.id).await;
}

/// Waits until a release runs, and nothing else.
pub(crate) async fn alone(
    deployer: &dyn Deployer,
    service: &ServiceId,
    release: &ReleaseId,
) -> Observation {
    until(deployer, service, "the release alone", |seen| {
        seen.is_ready(release) && seen.arms.len() == 1
    })
    .await
}

/// The names of all containers of services that begin like this, those that are never started too.
pub(crate) async fn left(engine: &Engine, service: &str) -> Vec<String> {
    let filters = json!({ "label": ["io.rollback.service"] }).to_string();
    let query = [("all", "true"), ("filters", filters.as_str())];
    let all = listed(engine, "/containers/json", &query).await;
    let ours = all.iter().filter(|one| {
        let label = one["Labels"]["io.rollback.service"].as_str();
        label.is_some_and(|label| label.starts_with(service))
    });
    ours.map(|one| one["Names"][0].as_str().unwrap().to_owned())
        .collect()
}

/// Starts a container of somebody else's, and gives its id.
pub(crate) async fn run(engine: &Engine, name: &str, body: &Value) -> String {
    let made = engine
        .post("/containers/create", &[("name", name)], body)
        .await;
    let id = made.unwrap()["Id"].as_str().unwrap().to_owned();
    let path = format!("/containers/{id}/start");
    engine.post(&path, &[], &Value::Null).await.unwrap();
    id
}

/// What the engine says of a container.
pub(crate) async fn inspect(engine: &Engine, id: &str) -> Value {
    engine
        .get(&format!("/containers/{id}/json"), &[])
        .await
        .unwrap()
}
