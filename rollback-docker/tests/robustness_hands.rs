//! What people and other programs do to an engine while a deployment is under way: whatever it is,
//! the deployment ends in a proven release or holds and says why, and nobody else is touched.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::time::Duration;

use rollback::{DeployError, memory::MemoryJournal};
use rollback_core::model::{Outcome, Settled};
use serde_json::{Value, json};
use support::{
    containers::{Bench, until},
    ground::inspect,
    platform::{Platform, env, release_of_service},
    trial::{Trial, definition, rest},
};

/// A free TCP port of this machine.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_are_removed_by_hand_come_back_and_the_rollback_goes_on() {
    tokio::join!(
        containers_are_removed(Platform::Containers),
        containers_are_removed(Platform::Swarm),
    );
}

async fn containers_are_removed(platform: Platform) {
    let trial = Trial::begin(platform, "removed", 2).await;
    let engine = trial.bench.engine.clone();
    let controller = trial.controller(&engine, MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    let remove = async |id: &str| {
        let path = format!("/containers/{id}");
        let _ = engine.delete(&path, &[("force", "true")]).await;
    };
    // One of the candidate as soon as there is one, and one of the stable release with it.
    let victim = until("a container of the candidate", || async {
        trial.running(&trial.candidate).await.pop()
    })
    .await;
    remove(&victim).await;
    if let Some(stable) = trial.running(&trial.stable).await.pop() {
        remove(&stable).await;
    }
    let settled = rest(&deployment).await;
    println!("{settled:?}\n{}", deployment.explain().await.unwrap());
    trial.is_in_order("removed by hand", &settled).await;
    controller.shutdown().await;
    trial.end("removed by hand").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_has_is_the_reason_of_the_rollback() {
    let port = free_port();
    let bench = Bench::new("port").await;
    let trial = Trial::on(bench, 1, |candidate| {
        candidate
            .with_host_config("NetworkMode", json!("bridge"))
            .publish(port, 8080)
    })
    .await;
    let engine = trial.bench.engine.clone();
    let theirs = json!({
        "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {"PortBindings": {"8080/tcp": [{"HostPort": port.to_string()}]}},
    });
    let theirs = trial.bench.run("theirs", &[], theirs).await;
    let controller = trial.controller(&engine, MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    let settled = rest(&deployment).await;
    let account = deployment.explain().await.unwrap().to_string();
    println!("{account}");
    trial.is_in_order("port taken", &settled).await;
    assert!(account.contains(&port.to_string()), "{account}");
    let still = inspect(&engine, &theirs).await;
    assert_eq!(still["State"]["Status"], "running");
    controller.shutdown().await;
    trial.end("port taken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_missing_is_refused_before_anything_is_touched() {
    let nowhere = format!("sha256:{}", "0".repeat(64));
    let bench = Bench::new("image").await;
    let containers = Trial::on(bench, 1, |candidate| {
        candidate.with_image(nowhere.clone(), "gone:1")
    });
    is_refused(containers.await).await;
    let bench = Bench::new("image").await;
    let service = Trial::of_service(bench, 1, |candidate| {
        candidate["ContainerSpec"]["Image"] = json!(nowhere);
    });
    is_refused(service.await).await;
}

async fn is_refused(trial: Trial) {
    let before = trial.running(&trial.stable).await;
    let engine = trial.bench.engine.clone();
    let controller = trial.controller(&engine, MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    match controller.deploy(trial.candidate.clone()).await {
        Err(DeployError::Refused(reason)) => println!("{reason}"),
        Err(other) => panic!("{other}"),
        Ok(deployment) => {
            let settled = rest(&deployment).await;
            println!("{settled:?}");
            let refused = matches!(settled, Settled::Ended(Outcome::Refused { .. }));
            assert!(
                refused || matches!(settled, Settled::Held(_)),
                "{settled:?}"
            );
        }
    }
    assert_eq!(
        trial.running(&trial.stable).await,
        before,
        "the same containers"
    );
    trial.bystander_is_untouched("image missing").await;
    controller.shutdown().await;
    trial.end("image missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_controllers_one_release_is_left_and_nothing_is_doubled() {
    tokio::join!(
        two_controllers(Platform::Containers),
        two_controllers(Platform::Swarm),
    );
}

async fn two_controllers(platform: Platform) {
    let trial = Trial::begin(platform, "two", 2).await;
    let engine = trial.bench.engine.clone();
    // Each with a journal of its own: neither knows of the other.
    let [one, other] = [
        trial.controller(&engine, MemoryJournal::default()),
        trial.controller(&engine, MemoryJournal::default()),
    ];
    let (one, other) = (one.start().await.unwrap(), other.start().await.unwrap());
    let third = match platform {
        Platform::Containers => {
            let third = definition(&trial.bench.image).replicas(2);
            third.env("VERSION", "v3").release("v3").unwrap()
        }
        Platform::Swarm => {
            let edit = |template: &mut Value| env(template, "VERSION=v3");
            release_of_service(&engine, &trial.service, "third", edit).await
        }
    };
    let (first, second) = tokio::join!(
        one.deploy(trial.candidate.clone()),
        other.deploy(third.clone()),
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    let settles = async |deployment| {
        // The healthy one is in its bake for longer than the test wants to wait.
        let settled = tokio::time::timeout(Duration::from_secs(15), rest(deployment)).await;
        settled.ok()
    };
    let (ill, well) = tokio::join!(settles(&first), settles(&second));
    println!("{ill:?}\n{well:?}");
    println!(
        "{}\n{}",
        first.explain().await.unwrap(),
        second.explain().await.unwrap()
    );
    // The one that lost was told so, or holds; none believes to have promoted what fell ill.
    let promoted = |settled: &Option<Settled>| {
        matches!(settled, Some(Settled::Ended(Outcome::Promoted { .. })))
    };
    assert!(!promoted(&ill), "{ill:?}");
    one.shutdown().await;
    other.shutdown().await;
    let mut counts = Vec::new();
    for release in [&trial.stable, &trial.candidate, &third] {
        counts.push(trial.running(release).await.len());
    }
    println!("(stable, ill, well): {counts:?}");
    assert!(
        counts.iter().all(|count| *count <= 3),
        "doubled: {counts:?}"
    );
    assert!(
        counts.iter().sum::<usize>() >= 1,
        "nothing runs: {counts:?}"
    );
    trial.bystander_is_untouched("two controllers").await;
    trial.end("two controllers").await;
}
