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
    proxy::{Fault, Proxy},
    trial::{Trial, rest},
};

/// A deployment through a socket that has such days.
async fn deployed_on_a_bad_day(what: &str, bad: impl FnOnce(&Proxy)) {
    let trial = Trial::begin(what, 1).await;
    let proxy = Proxy::of(trial.bench.engine.to_string());
    let engine = proxy.engine().timeout(Duration::from_secs(2));
    let controller = trial.controller(&engine, MemoryJournal::default());
    let controller = controller.start().await.unwrap();
    bad(&proxy);
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    let settled = rest(&deployment).await;
    println!(
        "{what}: {settled:?}, {} faults",
        proxy.faults.load(Ordering::Relaxed)
    );
    let account = deployment.explain().await.unwrap();
    println!("{account}");
    assert!(proxy.faults.load(Ordering::Relaxed) > 0, "{what}: no fault");
    trial.is_in_order(what, &settled).await;
    controller.shutdown().await;
    trial.end(what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_after_the_request_was_carried_out() {
    deployed_on_a_bad_day("cutafter", |proxy| proxy.each_change(3, Fault::CutAfter)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_before_the_request_was_passed_on() {
    deployed_on_a_bad_day("cutbefore", |proxy| proxy.each_change(3, Fault::CutBefore)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_answers_500_to_what_it_did_not_do() {
    deployed_on_a_bad_day("not", |proxy| proxy.each_change(3, Fault::Answer(500))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_answers_500_to_what_it_did() {
    deployed_on_a_bad_day("did", |proxy| proxy.each_change(3, Fault::PassedThen(500))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_answers_409() {
    deployed_on_a_bad_day("conflict", |proxy| proxy.each_change(3, Fault::Answer(409))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_off() {
    deployed_on_a_bad_day("half", |proxy| proxy.each(8, Fault::Half)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_slow_and_sometimes_too_slow() {
    deployed_on_a_bad_day("slow", |proxy| {
        proxy.each(7, Fault::Slow(Duration::from_millis(2_500)));
    })
    .await;
}
