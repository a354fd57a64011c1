//! What people and other programs do to a Swarm service while it is guarded: whatever it is, the
//! deployment ends in a proven release or holds and says why, what others decided is not undone,
//! and nobody else is touched.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{
    net::TcpListener,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use rollback::{Deployment, memory::MemoryJournal};
use rollback_core::model::{Outcome, Settled};
use serde_json::json;
use support::{
    containers::{Bench, until},
    platform::{Platform, called, env, there_and_back, updates_of},
    proxy::{Fault, Proxy},
    swarm::{roll_back, update},
    trial::{Trial, rest},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Enough for a hand to come first.
const HELD_BACK: Fault = Fault::Slow(Duration::from_secs(1));

/// Holds back these of the updates, and tells of each.
fn holding_back<const N: usize>(proxy: &Proxy, which: [u32; N]) -> UnboundedReceiver<u32> {
    let (tell, told) = unbounded_channel();
    let count = AtomicU32::new(0);
    proxy.plan(move |asked| {
        if asked.kind() != "POST /services/*/update" {
            return None;
        }
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        which.contains(&number).then(|| {
            tell.send(number).unwrap();
            HELD_BACK
        })
    });
    told
}

async fn account(deployment: &Deployment) -> String {
    deployment.explain().await.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_just_before_our_updates_stays_and_the_updates_are_retried() {
    let mut trial = Trial::begin(Platform::Swarm, "scaled", 1).await;
    let (engine, service) = (trial.bench.engine.clone(), trial.service.clone());
    let proxy = Proxy::of(engine.to_string());
    let controller = trial.controller(&proxy.engine(), MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    // The second is the retry of the first.
    let mut held = holding_back(&proxy, [1, 3]);
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    held.recv().await.unwrap();
    update(&engine, &service, |spec| {
        spec["Labels"]["team"] = json!("x")
    })
    .await;
    held.recv().await.unwrap();
    update(&engine, &service, |spec| {
        spec["Mode"]["Replicated"]["Replicas"] = json!(2);
    })
    .await;
    let settled = rest(&deployment).await;
    let account = account(&deployment).await;
    println!("{account}");
    let ended = matches!(settled, Settled::Ended(Outcome::RolledBack { .. }));
    assert!(ended, "{settled:?}");
    assert_eq!(account.matches("moved on").count(), 2, "{account}");
    trial.replicas = 2;
    trial.is_in_order("scaled", &settled).await;
    trial.settings_are_given_back("scaled").await;
    let path = format!("/services/{service}");
    let spec = engine.get(&path, &[]).await.unwrap()["Spec"].clone();
    assert_eq!(spec["Labels"]["team"], "x");
    let updates = updates_of(&service, &proxy.updates());
    assert_eq!(updates, there_and_back());
    controller.shutdown().await;
    trial.end("scaled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_by_others_just_before_our_rollback_is_not_undone() {
    let trial = Trial::begin(Platform::Swarm, "theirs", 1).await;
    let (engine, service) = (trial.bench.engine.clone(), trial.service.clone());
    let proxy = Proxy::of(engine.to_string());
    let controller = trial.controller(&proxy.engine(), MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    let mut held = holding_back(&proxy, [2]);
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    held.recv().await.unwrap();
    update(&engine, &service, |spec| {
        spec["TaskTemplate"] = trial.stable.definition.value()["template"].clone();
        called(&mut spec["TaskTemplate"], "theirs");
        env(&mut spec["TaskTemplate"], "VERSION=theirs");
    })
    .await;
    let settled = rest(&deployment).await;
    println!("{}", account(&deployment).await);
    let left = matches!(settled, Settled::Ended(Outcome::Superseded { .. }));
    assert!(left || matches!(settled, Settled::Held(_)), "{settled:?}");
    let updates = updates_of(&service, &proxy.updates());
    assert_eq!(updates, [("candidate".to_owned(), 1)].into());
    let labels = |spec: &serde_json::Value| spec["TaskTemplate"]["ContainerSpec"]["Labels"].clone();
    let path = format!("/services/{service}");
    let spec = engine.get(&path, &[]).await.unwrap()["Spec"].clone();
    assert_eq!(labels(&spec)["io.rollback.test.arm"], "theirs");
    trial.bystander_is_untouched("theirs").await;
    controller.shutdown().await;
    trial.end("theirs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_by_hand_is_followed_and_not_fought() {
    let bench = Bench::new("byhand").await;
    let trial = Trial::of_service(bench, 2, |candidate| env(candidate, "VERSION=v2")).await;
    let (engine, service) = (trial.bench.engine.clone(), trial.service.clone());
    let proxy = Proxy::of(engine.to_string());
    let controller = trial.controller(&proxy.engine(), MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    until("a container of the candidate", || async {
        trial.running(&trial.candidate).await.pop()
    })
    .await;
    roll_back(&engine, &service).await;
    let settled = rest(&deployment).await;
    println!("{settled:?}\n{}", account(&deployment).await);
    trial.is_in_order("by hand", &settled).await;
    trial.only_the_stable_release_runs("by hand").await;
    let updates = updates_of(&service, &proxy.updates());
    assert_eq!(updates.get("candidate"), Some(&1), "{updates:?}");
    controller.shutdown().await;
    trial.end("by hand").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_removed_by_hand_is_not_made_again() {
    let trial = Trial::begin(Platform::Swarm, "gone", 1).await;
    let engine = trial.bench.engine.clone();
    let controller = trial.controller(&engine, MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    until("a container of the candidate", || async {
        trial.running(&trial.candidate).await.pop()
    })
    .await;
    let path = format!("/services/{}", trial.service);
    engine.delete(&path, &[]).await.unwrap();
    let settled = deployment.settled().await.unwrap();
    let account = account(&deployment).await;
    println!("{settled:?}\n{account}");
    let Settled::Held(hold) = &settled else {
        panic!("{settled:?}")
    };
    assert!(hold.to_string().contains("there is no service"), "{hold}");
    let gone = engine.get(&path, &[]).await;
    assert!(gone.unwrap_err().is_not_found());
    trial.bystander_is_untouched("removed").await;
    controller.shutdown().await;
    trial.end("removed").await;
}

/// A port of this machine that is taken as soon as whoever has it lets go.
fn taken_when_free(port: u16, enough: &AtomicBool) -> Option<TcpListener> {
    while !enough.load(Ordering::Relaxed) {
        if let Ok(taken) = TcpListener::bind(("0.0.0.0", port)) {
            return Some(taken);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_takes_in_between_is_the_reason_and_the_release_comes_back_with_it() {
    let port = {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    let bench = Bench::new("port").await;
    let more = |spec: &mut serde_json::Value| {
        let ports = json!([{"Protocol": "tcp", "PublishMode": "host", "TargetPort": 8080,
            "PublishedPort": port}]);
        spec["EndpointSpec"] = json!({"Mode": "dnsrr", "Ports": ports});
        spec["TaskTemplate"]["Networks"] = json!([{"Target": "bridge"}]);
        spec["TaskTemplate"]["ContainerSpec"]["Env"] = json!(["PORT=8080"]);
    };
    let differs = |candidate: &mut serde_json::Value| env(candidate, "VERSION=v2");
    let mut trial = Trial::of_service_with(bench, 1, more, differs).await;
    (trial.strategy, trial.converge) = ("recreate", "10s");
    let engine = trial.bench.engine.clone();
    let controller = trial.controller(&engine, MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    let enough = AtomicBool::new(false);
    let taken = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let thief = scope.spawn(|| taken_when_free(port, &enough));
            let runtime = tokio::runtime::Handle::current();
            let deployment = runtime.block_on(controller.deploy(trial.candidate.clone()));
            let deployment = deployment.unwrap();
            let settled = runtime.block_on(rest(&deployment));
            enough.store(true, Ordering::Relaxed);
            (thief.join().unwrap(), settled, deployment)
        })
    });
    let (taken, settled, deployment) = taken;
    let account = account(&deployment).await;
    println!("{settled:?}\n{account}");
    assert!(taken.is_some(), "the port was never free");
    assert!(account.contains(&port.to_string()), "{account}");
    trial.is_in_order("port", &settled).await;
    drop(taken);
    trial.only_the_stable_release_runs("port").await;
    controller.shutdown().await;
    trial.end("port").await;
}
