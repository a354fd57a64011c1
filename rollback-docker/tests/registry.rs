//! Images out of a real registry that wants a login: what is deployed by a tag is the image that
//! the tag stood for, fetched again where it is missing, and never another one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{sync::Arc, time::Duration};

use rollback::memory::MemoryReleaseStore;
use rollback_core::{
    model::{
        Change, ChangeError, ChangeId, ChangeRequest, DeploymentId, Expectation, Observation, Pace,
        Placement, Release, Secret, ServiceId, Timestamp,
    },
    ports::Deployer,
};
use rollback_docker::{
    ContainerDefinition, ContainerDeployer, Engine, ImageId, Registries, SwarmDeployer,
};
use serde_json::json;
use support::{
    TEST, image,
    registry::{PASSWORD, Registry, USER},
    swarm::Yard,
};
use tokio::time::{sleep, timeout};

const LONG: Duration = Duration::from_secs(40);

/// The logins that the `docker` command keeps.
fn logged_in(registry: &Registry) -> Engine {
    let logins = Registries::of_file(&registry.logins().join("config.json")).unwrap();
    support::engine().registries(logins)
}

/// Builds an image, pushes it as `NAME:tag`, and forgets it here.
async fn published(registry: &Registry, name: &str, tag: &str, version: &str) -> ImageId {
    let engine = support::engine();
    let reference = format!("{}/{name}:{tag}", registry.host);
    let specimen = rollback_specimen::Image::new(version)
        .label(TEST, name)
        .health_every(500, 2);
    let id = image(&engine, &reference, &specimen).await;
    registry.push(&reference);
    forget(&engine, id.as_str()).await;
    id
}

async fn forget(engine: &Engine, reference: &str) {
    let path = format!("/images/{reference}");
    engine.delete(&path, &[("force", "true")]).await.unwrap();
}

async fn asked_until<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    let asking = async {
        loop {
            match ask().await {
                Err(ChangeError::NotSent { why, .. }) if why.contains("is being fetched") => {
                    sleep(Duration::from_millis(50)).await;
                }
                answer => return answer,
            }
        }
    };
    timeout(LONG, asking)
        .await
        .unwrap_or_else(|_| panic!("{what}: it is being fetched for ever"))
}

#[tokio::test]
async fn an_image_is_fetched_with_its_login() {
    let registry = Registry::start().await;
    let name = support::name("fetched");
    let reference = format!("{}/{name}:1", registry.host);
    let id = published(&registry, &name, "1", "v1").await;

    let stranger = support::engine();
    let error = stranger.image_or_fetched(&reference).await.unwrap_err();
    assert!(error.to_string().contains("docker login"), "{error}");
    let wrong = Registries::none().login(&registry.host, USER, Secret::new("guessed".to_owned()));
    let error = stranger.clone().registries(wrong).fetch(&reference).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("docker login") && !error.contains("guessed"),
        "{error}"
    );

    let own = Registries::none().login(&registry.host, USER, Secret::new(PASSWORD.to_owned()));
    for engine in [logged_in(&registry), stranger.clone().registries(own)] {
        let image = engine.image_or_fetched(&reference).await.unwrap();
        assert_eq!(image.id, id);
        assert!(image.digest_of(&reference).unwrap().contains("@sha256:"));
        let nothing = format!("{}/{name}:never", registry.host);
        let error = engine.image_or_fetched(&nothing).await.unwrap_err();
        assert!(
            error.is_not_found() && error.to_string().contains("push it"),
            "{error}"
        );
        forget(&engine, id.as_str()).await;
    }
}

#[tokio::test]
async fn a_release_of_containers_is_fetched_again_by_its_content() {
    let mut registry = Registry::start().await;
    let name = support::name("again");
    let reference = format!("{}/{name}:1", registry.host);
    let id = published(&registry, &name, "1", "v1").await;
    let engine = logged_in(&registry);
    let image = engine.image_or_fetched(&reference).await.unwrap();
    let release = ContainerDefinition::new(image.id.as_str())
        .with(&image, &reference)
        .release("v1")
        .unwrap();
    // Where it can be fetched from is not what it is.
    let bare = ContainerDefinition::new(image.id.as_str()).with_image(id.as_str(), &reference);
    assert_eq!(bare.release("v1").unwrap().id, release.id);

    // The tag moves to another image, and the engine loses the one that is meant.
    published(&registry, &name, "1", "another").await;
    forget(&engine, id.as_str()).await;
    let service = ServiceId::new(&name).unwrap();
    let containers = ContainerDeployer::on(engine.clone());
    let first = containers.check(&service, &release).await;
    assert!(
        matches!(&first, Err(ChangeError::NotSent { why, .. }) if why.contains("is being fetched")),
        "{first:?}"
    );
    let checked = asked_until("check", || containers.check(&service, &release)).await;
    checked.unwrap();
    assert_eq!(engine.image(id.as_str()).await.unwrap().id, id);

    // Without a registry that answers nobody can say that it is gone for good; where it never was
    // in one, it is.
    forget(&engine, id.as_str()).await;
    registry.shut();
    let unreachable = asked_until("shut", || containers.check(&service, &release)).await;
    assert!(
        matches!(unreachable, Err(ChangeError::NotSent { .. })),
        "{unreachable:?}"
    );
    let lost = containers
        .check(&service, &bare.release("v1").unwrap())
        .await;
    assert!(matches!(lost, Err(ChangeError::Refused { .. })), "{lost:?}");
    registry.open().await;
    let checked = asked_until("open", || containers.check(&service, &release)).await;
    checked.unwrap();
    forget(&engine, id.as_str()).await;
}

fn change(step: u32, to: &Release, seen: &Observation) -> ChangeRequest {
    let id = ChangeId {
        deployment: DeploymentId::new("d1").unwrap(),
        step,
        attempt: 1,
    };
    let change = Change::Converge {
        release: to.id.clone(),
        placement: Placement::InPlace(Pace::AtOnce),
    };
    let expect = Expectation {
        wanted: seen.wanted.clone(),
        etag: seen.etag.clone(),
    };
    ChangeRequest::new(id, change, expect, Timestamp::from_millis(i64::MAX))
        .with_definition(Some(to.definition.clone()))
}

/// Brings a release, and gives the image that its tasks have in the end.
async fn brought(
    yard: &Yard,
    swarm: &SwarmDeployer,
    service: &ServiceId,
    step: u32,
    to: &Release,
) -> String {
    let seen = swarm.observe(service).await.unwrap();
    swarm
        .apply(service, &change(step, to, &seen))
        .await
        .unwrap();
    let looking = async {
        while !swarm.observe(service).await.unwrap().is_ready(&to.id) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(LONG, looking).await.is_err() {
        panic!("{:?}", swarm.observe(service).await);
    }
    let spec = yard.inspect(service).await;
    spec["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_swarm_service_follows_a_tag_only_when_it_is_deployed() {
    let registry = Registry::start().await;
    let yard = Yard::open("registry").await;
    let repository = format!("{}-r", yard.name);
    let reference = format!("{}/{repository}:2", registry.host);
    let second = published(&registry, &repository, "2", "v2").await;
    let engine = logged_in(&registry);
    let store = Arc::new(MemoryReleaseStore::new());
    let swarm = SwarmDeployer::new(engine.clone()).keeping(store);
    let template = yard.template(&["N=1"]);
    let more = json!({"Mode": {"Replicated": {"Replicas": 1}}});
    let service = yard.service("s", template, &more).await;
    let stable = swarm.running(&service).await.unwrap();

    // Who has no login is told so before anything is changed.
    let stranger = SwarmDeployer::new(support::engine());
    let refused = stranger.release(&service, &reference).await.unwrap_err();
    assert!(matches!(refused, ChangeError::Refused { .. }), "{refused}");

    let release = swarm.release(&service, &reference).await.unwrap();
    swarm.check(&service, &release).await.unwrap();
    let pinned = brought(&yard, &swarm, &service, 1, &release).await;
    assert!(
        pinned.starts_with(&format!("{reference}@sha256:")),
        "{pinned}"
    );
    assert_eq!(
        engine.image(&pinned).await.unwrap().id,
        second,
        "the node fetched it"
    );

    // Back, the tag moves, the node loses the image, and forth again: it is what it was.
    brought(&yard, &swarm, &service, 2, &stable).await;
    published(&registry, &repository, "2", "another").await;
    let gone = async {
        let path = format!("/images/{second}");
        while engine.image(second.as_str()).await.is_ok() {
            // Its last container may be on the way out.
            let _ = engine.delete(&path, &[("force", "true")]).await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, gone).await.unwrap();
    swarm.check(&service, &release).await.unwrap();
    let again = brought(&yard, &swarm, &service, 3, &release).await;
    assert_eq!(again, pinned);
    assert_eq!(engine.image(&again).await.unwrap().id, second);

    // What the tag stands for now is another release.
    let moved = swarm.release(&service, &reference).await.unwrap();
    assert_ne!(moved.id, release.id);
    yard.remove(&service).await;
    yard.close().await;
    let label = format!("{TEST}={repository}");
    support::sweep(&engine, &label).await;
}
