//! Releases that take each other's place at a pace, with real processes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use rollback_core::{
    model::{InstanceState, Observation, Pace, Placement, Release, Weight},
    ports::Deployer as _,
};
use support::{Bench, ready};

const ROLLING: Placement = Placement::InPlace(Pace::Rolling {
    max_unavailable: 1,
    max_surge: 1,
});

/// All instances that serve, and all that run, of any release.
fn counts(seen: &Observation) -> (usize, usize) {
    let all = || seen.arms.iter().flat_map(|arm| arm.instances.iter());
    let serving = all().filter(|one| one.state == InstanceState::Ready);
    (serving.count(), all().count())
}

async fn alone(bench: &Bench, release: &Release, mut each: impl FnMut(&Observation)) {
    bench
        .until("alone", |seen| {
            each(seen);
            seen.is_ready(&release.id) && seen.arms.len() == 1
        })
        .await;
}

#[tokio::test]
async fn rolling_keeps_its_bounds_and_the_traffic_goes_over_part_by_part() {
    let bench = Bench::new();
    let of = |version: &str| {
        let definition = bench.hello().instances(3).env("V", version);
        definition.release(version).unwrap()
    };
    let (v1, v2) = (of("v1"), of("v2"));
    let can = bench.deployer.capabilities();
    assert!(can.in_place && can.rolling && can.stops_first);
    bench.converge(&v1, ROLLING).await.unwrap();
    bench.until_ready(&v1).await;
    bench.converge(&v2, ROLLING).await.unwrap();
    let mut parts = Vec::new();
    alone(&bench, &v2, |seen| {
        let (serving, running) = counts(seen);
        assert!(
            serving >= 2 && running <= 4,
            "{serving} of {running}: {seen:#?}"
        );
        let (old, new) = (seen.weight(&v1.id), seen.weight(&v2.id));
        assert_eq!(old.basis_points() + new.basis_points(), 10_000, "{seen:#?}");
        if parts.last() != Some(&new) {
            parts.push(new);
        }
    })
    .await;
    assert!(
        parts.is_sorted() && parts.last() == Some(&Weight::ALL),
        "{parts:?}"
    );
    bench.finish().await;
}

#[tokio::test]
async fn a_release_that_never_gets_ready_takes_one_place_and_goes_again() {
    let bench = Bench::new();
    let of = |version: &str, answer: &str| {
        let definition = bench.hello().instances(3).env("V", version);
        definition.env("ANSWER", answer).release(version).unwrap()
    };
    let (v1, bad) = (of("v1", "200 OK"), of("v2", "503 Not yet"));
    bench.converge(&v1, ROLLING).await.unwrap();
    bench.until_ready(&v1).await;
    bench.converge(&bad, ROLLING).await.unwrap();
    // As far as it gets: one of the old gone, two of the new in vain.
    let stuck = |seen: &Observation| {
        let (serving, running) = counts(seen);
        assert!(
            serving >= 2 && running <= 4,
            "{serving} of {running}: {seen:#?}"
        );
        let arm = seen.arm(&bad.id);
        ready(seen, &v1).len() == 2 && arm.is_some_and(|arm| arm.instances.len() == 2)
    };
    bench.until("stuck", stuck).await;
    assert_eq!(bench.look().await.weight(&v1.id), Weight::ALL);
    // And back, at the same pace.
    bench.converge(&v1, ROLLING).await.unwrap();
    alone(&bench, &v1, |seen| {
        assert!(counts(seen).0 >= 2, "{seen:#?}")
    })
    .await;
    bench.finish().await;
}

#[tokio::test]
async fn recreating_never_runs_both() {
    let bench = Bench::new();
    let of = |version: &str| {
        let definition = bench.hello().instances(2).env("V", version);
        definition.release(version).unwrap()
    };
    let (v1, v2) = (of("v1"), of("v2"));
    let stop_first = Placement::InPlace(Pace::StopFirst);
    bench.converge(&v1, stop_first).await.unwrap();
    bench.until_ready(&v1).await;
    bench.converge(&v2, stop_first).await.unwrap();
    alone(&bench, &v2, |seen| {
        let running = |release: &Release| {
            let arm = seen.arm(&release.id);
            arm.map_or(0, |arm| arm.instances.len())
        };
        assert!(running(&v1) == 0 || running(&v2) == 0, "{seen:#?}");
    })
    .await;
    bench.finish().await;
}
