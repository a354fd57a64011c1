//! An engine that is started anew in the middle of a deployment, and one whose disk is full.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use rollback::memory::MemoryJournal;
use rollback_core::model::{Outcome, Settled};
use support::{
    containers::{Bench, until},
    daemon::Daemon,
    platform::{env, there_and_back, updates_of},
    proxy::Proxy,
    trial::{Trial, rest},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_started_anew_in_the_middle() {
    let mut daemon = Daemon::start(None).await;
    let bench = Bench::on(daemon.engine(), "restart").await;
    let trial = Trial::on(bench, 2, |candidate| candidate.env("SICK_AFTER", "3000")).await;
    let engine = daemon.engine();
    let controller = trial.controller(&engine, MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    until("a container of the candidate", || async {
        trial.running(&trial.candidate).await.pop()
    })
    .await;
    // Its containers go down with it.
    daemon.stop();
    daemon.begin().await;
    let settled = rest(&deployment).await;
    println!("{settled:?}\n{}", deployment.explain().await.unwrap());
    match &settled {
        Settled::Ended(Outcome::RolledBack { to, .. }) => {
            assert_eq!(*to, trial.stable.id);
            trial.only_the_stable_release_runs("restarted").await;
        }
        Settled::Held(hold) => println!("{hold}"),
        Settled::Ended(other) => panic!("{other:?}"),
    }
    controller.shutdown().await;
    trial.end("restarted").await;
}

/// A deployment of a service on a swarm whose engine is started anew once `reached` is so.
async fn the_swarm_starts_anew(what: &str, reached: impl AsyncFn(&Trial) -> bool) {
    let mut daemon = Daemon::start(None).await;
    daemon.manages_a_swarm().await;
    let bench = Bench::on(daemon.engine(), what).await;
    let trial = Trial::of_service(bench, 2, |candidate| env(candidate, "EXIT_AFTER=2000")).await;
    let proxy = Proxy::of(daemon.socket());
    let controller = trial.controller(&proxy.engine(), MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    until(what, || async { reached(&trial).await.then_some(()) }).await;
    // Its containers go down with it, and the swarm has no leader for a while.
    daemon.stop();
    daemon.begin().await;
    let settled = rest(&deployment).await;
    println!("{settled:?}\n{}", deployment.explain().await.unwrap());
    match &settled {
        Settled::Ended(Outcome::RolledBack { to, .. }) => {
            assert_eq!(*to, trial.stable.id);
            trial.only_the_stable_release_runs(what).await;
            trial.settings_are_given_back(what).await;
            let updates = updates_of(&trial.service, &proxy.updates());
            assert_eq!(updates, there_and_back(), "{what}");
        }
        Settled::Held(hold) => println!("{hold}"),
        Settled::Ended(other) => panic!("{other:?}"),
    }
    trial.specifications_of_bystanders_stay(what).await;
    controller.shutdown().await;
    trial.end(what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_that_is_started_anew_while_the_candidate_comes() {
    the_swarm_starts_anew("rolling", async |trial| {
        !trial.running(&trial.candidate).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_that_is_started_anew_during_the_rollback() {
    the_swarm_starts_anew("back", async |trial| {
        let path = format!("/services/{}", trial.service);
        let seen = trial.bench.engine.get(&path, &[]).await.unwrap();
        let lent = seen["Spec"]["Labels"].get("io.rollback.lent").is_some();
        lent && seen["Spec"]["UpdateConfig"]["FailureAction"] == "continue"
    })
    .await;
}

/// A candidate comes to an engine on whose disk nothing has room any more. Answers what is told.
async fn the_disk_is_full(daemon: &Daemon, mut trial: Trial, what: &str) -> String {
    trial.converge = "8s";
    let before = trial.running(&trial.stable).await;
    let engine = daemon.engine();
    let controller = trial.controller(&engine, MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    let filler = daemon.fill();
    let deployed = controller.deploy(trial.candidate.clone()).await;
    let told = match deployed {
        Err(error) => error.to_string(),
        Ok(deployment) => {
            let settled = rest(&deployment).await;
            let account = deployment.explain().await.unwrap().to_string();
            let promoted = matches!(settled, Settled::Ended(Outcome::Promoted { .. }));
            assert!(!promoted, "{account}");
            account
        }
    };
    println!("{told}");
    let after = trial.running(&trial.stable).await;
    assert_eq!(after, before, "the stable containers run as before");
    assert!(trial.running(&trial.candidate).await.is_empty());
    trial.bystander_is_untouched(what).await;
    controller.shutdown().await;
    drop(filler);
    trial.end(what).await;
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_is_the_reason_and_the_stable_release_stays() {
    let daemon = Daemon::start(Some(64)).await;
    let bench = Bench::on(daemon.engine(), "full").await;
    let trial = Trial::on(bench, 2, |candidate| candidate.env("VERSION", "v2")).await;
    let told = the_disk_is_full(&daemon, trial, "disk full").await;
    assert!(told.contains("no space left"), "{told}");
}

/// The swarm's own memory is on the same disk: it may have no room even to say so.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_is_full_the_stable_service_stays() {
    let daemon = Daemon::start(Some(96)).await;
    daemon.manages_a_swarm().await;
    let bench = Bench::on(daemon.engine(), "full").await;
    let differs = |candidate: &mut _| env(candidate, "VERSION=v2");
    let trial = Trial::of_service(bench, 2, differs).await;
    let told = the_disk_is_full(&daemon, trial, "a swarm's disk full").await;
    let known = told.contains("no space left") || told.contains("took longer than 8 s");
    assert!(known, "{told}");
}
