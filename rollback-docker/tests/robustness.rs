//! Bad days of an engine: whatever happens, a deployment ends in a proven release or holds and
//! says why; nothing is doubled, nothing left behind, nobody else touched.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{sync::atomic::Ordering, time::Duration};

use rollback::memory::MemoryJournal;
use support::{
    platform::{Platform, there_and_back, updates_of},
    proxy::{Fault, Proxy},
    trial::{Trial, rest},
};

/// A deployment through a socket that has such days.
async fn deployed_on_a_bad_day(platform: Platform, what: &str, bad: impl FnOnce(&Proxy)) {
    let trial = Trial::begin(platform, what, 1).await;
    let proxy = Proxy::of(trial.bench.engine.to_string());
    let engine = proxy.engine().timeout(Duration::from_secs(2));
    let controller = trial.controller(&engine, MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    bad(&proxy);
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    let settled = rest(&deployment).await;
    println!(
        "{what}: {settled:?}, {} faults {:?}",
        proxy.faults.load(Ordering::Relaxed),
        proxy.kinds.lock().unwrap(),
    );
    let account = deployment.explain().await.unwrap();
    println!("{account}");
    assert!(proxy.faults.load(Ordering::Relaxed) > 0, "{what}: no fault");
    trial.is_in_order(what, &settled).await;
    if platform == Platform::Swarm {
        trial.settings_are_given_back(what).await;
        each_kind_was_hit(what, &proxy);
        let updates = updates_of(&trial.service, &proxy.updates());
        assert_eq!(updates, there_and_back(), "{what}");
    }
    controller.shutdown().await;
    trial.end(what).await;
}

/// All that the deployment of a service and its rollback ask an engine for.
fn each_kind_was_hit(what: &str, proxy: &Proxy) {
    let hit = proxy.kinds.lock().unwrap();
    for kind in [
        "GET /_ping",
        "GET /services/*",
        "GET /tasks",
        "GET /images/*/json",
        "GET /containers/json",
        "GET /containers/*/json",
        "POST /services/*/update",
    ] {
        assert!(hit.contains_key(kind), "{what}: {kind} is not in {hit:?}");
    }
}

mod containers {
    use super::*;

    async fn deployed(what: &str, bad: impl FnOnce(&Proxy)) {
        deployed_on_a_bad_day(Platform::Containers, what, bad).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_that_is_cut_after_the_request_was_carried_out() {
        deployed("cutafter", |proxy| proxy.each_change(3, Fault::CutAfter)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_that_is_cut_before_the_request_was_passed_on() {
        deployed("cutbefore", |proxy| proxy.each_change(3, Fault::CutBefore)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_engine_that_answers_500_to_what_it_did_not_do() {
        deployed("not", |proxy| proxy.each_change(3, Fault::Answer(500))).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_engine_that_answers_500_to_what_it_did() {
        deployed("did", |proxy| proxy.each_change(3, Fault::PassedThen(500))).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_engine_that_answers_409() {
        deployed("conflict", |proxy| proxy.each_change(3, Fault::Answer(409))).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_that_break_off() {
        deployed("half", |proxy| proxy.each(8, Fault::Half)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_engine_that_is_slow_and_sometimes_too_slow() {
        deployed("slow", |proxy| {
            proxy.each(7, Fault::Slow(Duration::from_millis(2_500)));
        })
        .await;
    }
}

/// A deployment and its rollback are two updates, and a third gives the settings back: what is
/// carried out all the same happens to each of them, what is not to every other one.
mod a_service {
    use super::*;

    async fn deployed(what: &str, changes: u32, others: u32, fault: Fault) {
        deployed_on_a_bad_day(Platform::Swarm, what, |proxy| {
            proxy.each_of_its_kind(changes, others, fault);
        })
        .await;
    }

    // Each mostly waits, so several go on at the same time. Too late is a request that is taken
    // when it was given up already.

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_are_cut_before_or_after_a_request_was_carried_out() {
        tokio::join!(
            deployed("cutbefore", 2, 11, Fault::CutBefore),
            deployed("cutafter", 1, 11, Fault::CutAfter),
            deployed("half", 1, 11, Fault::Half),
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_swarm_that_answers_by_errors_or_too_late() {
        tokio::join!(
            deployed("slow", 2, 17, Fault::Slow(Duration::from_millis(2_500))),
            deployed("not", 2, 11, Fault::Answer(500)),
            deployed("did", 1, 11, Fault::PassedThen(500)),
            deployed("conflict", 2, 11, Fault::Answer(409)),
        );
    }
}
