//! A real HAProxy: the promises of a traffic shifter, measured with real requests, and what HAProxy
//! alone can do to us.
//!
//! Needs the program `haproxy` (Debian: `apt-get install haproxy`); `./test components` sees to it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{ChangeError, ChangeId, Instance, ReleaseId, ServiceId, Weight},
    ports::TrafficShifter,
};
use rollback_testkit::conformance::{self, Answered, TrafficHarness};
use rollback_traffic::HaproxyShifter;
use support::{BACKENDS, Haproxy, Instances};

struct Real {
    haproxy: Haproxy,
    instances: Instances,
    shifter: Arc<HaproxyShifter>,
    next: AtomicU32,
}

impl Real {
    async fn start() -> Self {
        let haproxy = Haproxy::start("").await;
        Self {
            shifter: Arc::new(haproxy.shifter()),
            haproxy,
            instances: Instances::default(),
            next: AtomicU32::new(0),
        }
    }
}

#[async_trait]
impl TrafficHarness for Real {
    fn shifter(&self) -> Arc<dyn TrafficShifter> {
        Arc::<HaproxyShifter>::clone(&self.shifter)
    }
    async fn second(&self) -> Option<Arc<dyn TrafficShifter>> {
        Some(Arc::new(self.haproxy.shifter()))
    }
    async fn begin(&self, _: &str) -> ServiceId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(number < BACKENDS, "the test needs more backends");
        ServiceId::new(format!("s{number}")).unwrap()
    }
    async fn instance(&self, release: &ReleaseId) -> Instance {
        self.instances.start(release).await
    }
    async fn stop(&self, instance: &Instance) {
        self.instances.stop(instance);
    }
    async fn send(&self, service: &ServiceId, requests: u32) -> Option<Answered> {
        Some(self.haproxy.ask(service.as_str(), requests).await)
    }
    fn off_by(&self, _: u32) -> u32 {
        // After a weight was changed the first round still follows the places of before.
        2
    }
    async fn restart(&self) -> bool {
        self.haproxy.kill();
        self.haproxy.run().await;
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_keeps_a_shifters_promises() {
    let real = Real::start().await;
    let report = conformance::traffic(&real).await;
    println!("{report}");
    report.assert_passed();
    assert_eq!(report.passed(), report.cases().len(), "{report}");
}

/// One service of a test of its own.
struct Stage {
    real: Real,
    service: ServiceId,
    v1: ReleaseId,
    v2: ReleaseId,
    places: BTreeMap<ReleaseId, Vec<Instance>>,
}

fn release(text: &str) -> ReleaseId {
    ReleaseId::new(text).unwrap()
}

fn change(step: u32) -> ChangeId {
    ChangeId::try_from(format!("d7-19a.s{step}.a1")).unwrap()
}

fn shares(shares: &[(&ReleaseId, u16)]) -> BTreeMap<ReleaseId, Weight> {
    let weight = |points| Weight::from_basis_points(points).unwrap();
    let shares = shares.iter();
    shares
        .map(|(release, points)| ((*release).clone(), weight(*points)))
        .collect()
}

impl Stage {
    /// Two releases with so many instances; the first has all traffic.
    async fn set(stable: u32, candidate: u32) -> Self {
        let real = Real::start().await;
        let service = real.begin("").await;
        let (v1, v2) = (release("shop:v1"), release("shop:v2"));
        let mut places = BTreeMap::new();
        for (release, count) in [(&v1, stable), (&v2, candidate)] {
            let mut instances = Vec::new();
            for _ in 0..count {
                instances.push(real.instances.start(release).await);
            }
            places.insert(release.clone(), instances);
        }
        let stage = Self {
            real,
            service,
            v1,
            v2,
            places,
        };
        stage.tell().await.unwrap();
        stage.shift(1, 0).await.unwrap();
        stage
    }

    async fn tell(&self) -> Result<(), ChangeError> {
        self.real
            .shifter
            .instances(&self.service, &self.places)
            .await
    }

    async fn shift(&self, step: u32, candidate: u16) -> Result<(), ChangeError> {
        let asked = shares(&[(&self.v1, 10_000 - candidate), (&self.v2, candidate)]);
        let mark = self.traffic().await.etag;
        let (id, shifter) = (change(step), &self.real.shifter);
        let shifted = shifter.shift(&self.service, &id, &asked, mark.as_ref());
        shifted.await.map(|_| ())
    }

    async fn traffic(&self) -> rollback_core::ports::Traffic {
        self.real.shifter.traffic(&self.service).await.unwrap()
    }

    async fn servers(&self) -> Vec<String> {
        let all = self.real.haproxy.servers(self.service.as_str()).await;
        all.into_iter()
            .filter(|name| name.starts_with("rb:"))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_first_round_every_count_is_exact() {
    let stage = Stage::set(3, 1).await;
    for (step, points) in [(2, 1_000), (3, 2_500), (4, 100)] {
        stage.shift(step, points).await.unwrap();
        let answered = stage.real.haproxy.ask(stage.service.as_str(), 400).await;
        assert_eq!(answered.failed, 0);
        let answered = stage.real.haproxy.ask(stage.service.as_str(), 400).await;
        let expected = BTreeMap::from([
            (stage.v1.clone(), 400 - u32::from(points) / 25),
            (stage.v2.clone(), u32::from(points) / 25),
        ]);
        assert_eq!(answered.by, expected, "at {points}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_answered_is_finished_before_a_server_goes() {
    let mut stage = Stage::set(1, 0).await;
    let slow = stage
        .real
        .instances
        .start_slow(&stage.v2, Duration::from_millis(600))
        .await;
    stage.places.insert(stage.v2.clone(), vec![slow]);
    stage.tell().await.unwrap();
    stage.shift(2, 10_000).await.unwrap();
    let asking = stage.real.haproxy.one(stage.service.as_str());
    let leaving = async {
        while stage.traffic().await.open.get(&stage.v2) != Some(&1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stage.shift(3, 0).await.unwrap();
        let only_v1 = BTreeMap::from([(stage.v1.clone(), stage.places[&stage.v1].clone())]);
        stage
            .real
            .shifter
            .instances(&stage.service, &only_v1)
            .await
            .unwrap();
        assert_eq!(stage.servers().await.len(), 2, "it still answers");
        assert_eq!(stage.traffic().await.open.get(&stage.v2), Some(&1));
        assert_eq!(
            stage.real.haproxy.one(stage.service.as_str()).await,
            Some(stage.v1.clone())
        );
        only_v1
    };
    let (answer, only_v1) = tokio::join!(asking, leaving);
    assert_eq!(
        answer,
        Some(stage.v2.clone()),
        "what had begun was answered"
    );
    stage
        .real
        .shifter
        .instances(&stage.service, &only_v1)
        .await
        .unwrap();
    assert_eq!(stage.servers().await.len(), 1, "now it is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_division_that_was_only_noted_is_completed_by_the_next_telling() {
    let stage = Stage::set(1, 1).await;
    // A controller noted it down and was killed before it could say the weights.
    let mark = format!("rb-mark:{:x}:9:d7-19a.s2.a1:10000-shop_3av2", 1);
    let add = format!(
        "add server {}/{mark} 127.0.0.1:1 weight 0 id 1500000009",
        stage.service
    );
    assert!(stage.real.haproxy.say(&add).await.contains("registered"));
    let seen = stage.traffic().await;
    assert_eq!(
        seen.weights,
        shares(&[(&stage.v1, 10_000)]),
        "as it is, not as it is noted"
    );
    assert_eq!(seen.last_change, None);
    let other = stage.real.haproxy.shifter();
    other
        .instances(&stage.service, &stage.places)
        .await
        .unwrap();
    let seen = stage.traffic().await;
    assert_eq!(seen.weights, shares(&[(&stage.v2, 10_000)]));
    assert_eq!(seen.last_change, Some(change(2)));
    let notes = stage.real.haproxy.servers(stage.service.as_str()).await;
    assert_eq!(
        notes
            .iter()
            .filter(|name| name.starts_with("rb-mark:"))
            .count(),
        1,
        "{notes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_that_a_person_set_are_told_and_then_set_right() {
    let stage = Stage::set(1, 1).await;
    stage.shift(2, 5_000).await.unwrap();
    let server = &stage.servers().await[0];
    let by_hand = format!("set server {}/{server} weight 3", stage.service);
    stage.real.haproxy.say(&by_hand).await;
    let seen = stage.traffic().await;
    assert_eq!(
        seen.weights,
        shares(&[(&stage.v1, 7_500), (&stage.v2, 2_500)])
    );
    assert_eq!(seen.last_change, None, "that was nobody's change");
    stage.tell().await.unwrap();
    assert_eq!(
        stage.traffic().await.weights,
        shares(&[(&stage.v1, 5_000), (&stage.v2, 5_000)])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_started_anew_know_what_was_divided() {
    let stage = Stage::set(1, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let opened = || stage.real.haproxy.shifter().remember_in(folder.path());
    let before = opened();
    before
        .instances(&stage.service, &stage.places)
        .await
        .unwrap();
    let canary = shares(&[(&stage.v1, 9_000), (&stage.v2, 1_000)]);
    before
        .shift(&stage.service, &change(2), &canary, None)
        .await
        .unwrap();
    drop(before);
    stage.real.haproxy.kill();
    stage.real.haproxy.run().await;
    let after = opened();
    after
        .instances(&stage.service, &stage.places)
        .await
        .unwrap();
    let seen = after.traffic(&stage.service).await.unwrap();
    assert_eq!((seen.weights, seen.last_change), (canary, Some(change(2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_moved_is_followed() {
    let mut stage = Stage::set(1, 0).await;
    let elsewhere = stage.real.instances.start(&stage.v1).await;
    let instance = &mut stage.places.get_mut(&stage.v1).unwrap()[0];
    stage.real.instances.stop(instance);
    instance.address = elsewhere.address;
    stage.tell().await.unwrap();
    let answered = stage.real.haproxy.ask(stage.service.as_str(), 20).await;
    assert_eq!(answered.by.get(&stage.v1), Some(&20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_instances_are_many_lines() {
    let mut stage = Stage::set(1, 0).await;
    for release in [stage.v1.clone(), release(&"long-".repeat(30))] {
        for number in 0..60 {
            let mut instance = stage.real.instances.start(&release).await;
            let id = format!("{number}-{}", "x".repeat(150));
            instance.id = rollback_core::model::InstanceId::new(id).unwrap();
            stage
                .places
                .entry(release.clone())
                .or_default()
                .push(instance);
        }
    }
    stage.tell().await.unwrap();
    let v3 = release(&"long-".repeat(30));
    let asked = shares(&[(&stage.v1, 9_999), (&v3, 1)]);
    stage
        .real
        .shifter
        .shift(&stage.service, &change(2), &asked, None)
        .await
        .unwrap();
    assert_eq!(stage.traffic().await.weights, asked);
    assert_eq!(stage.servers().await.len(), 121);
}
