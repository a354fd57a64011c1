//! How much a large fleet costs: many services in one process, one in ten of them watched, with
//! the journal on disk.
//!
//! `cargo run --release -p rollback --example fleet_load -- [SERVICES] [SECONDS]`
//!
//! Prints CPU, memory, journal entries and how late polls were, once the fleet is steady.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement: it stops at the first surprise and prints what it found"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rollback::{Controller, Fleet, model::*, policy::Policy, ports::*};
use rollback_store::SqliteJournal;

const POLL: Duration = Duration::from_secs(10);

const POLICY: &str = r#"{
    "poll": "10s",
    "metrics": {
        "errors": {"unit": "ratio", "per": "arm", "bad": "b", "total": "t"},
        "p95": {"unit": "ms", "per": "service", "query": "p95"},
        "cpu": {"unit": "percent", "per": "service", "query": "cpu"},
        "queue": {"unit": "count", "per": "service", "query": "queue"},
        "memory": {"unit": "bytes", "per": "service", "query": "memory"}
    },
    "triggers": [
        {"name": "too_many_errors", "when": "errors > 5%", "for": "30s"},
        {"name": "slow", "when": "p95 > 2s", "for": "1m", "action": "hold"},
        {"name": "worse", "compare": "errors"}
    ],
    "holdback": "50%",
    "bake": "10h"
}"#;

/// Every change is in at once.
#[derive(Debug, Default)]
struct Platform(Mutex<BTreeMap<ServiceId, Wanted>>);

#[async_trait]
impl Deployer for Platform {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Duration::ZERO)
            .with_two_arms()
            .with_weights()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        let wanted = self.0.lock().unwrap()[service].clone();
        let arms: Vec<_> = wanted
            .iter()
            .map(|(release, weight)| {
                let id = InstanceId::new(format!("{release}-1")).unwrap();
                let instance = Instance::new(id, Timestamp::default(), InstanceState::Ready);
                ArmObservation::new(release.clone(), ArmState::Ready, weight, [instance])
            })
            .collect();
        Ok(Observation::new(wanted, arms))
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let mut all = self.0.lock().unwrap();
        let after = request.change.applied_to(&all[service]);
        all.insert(service.clone(), after);
        Ok(Accepted::default())
    }

    async fn check(&self, _: &ServiceId, _: &Release) -> Result<(), ChangeError> {
        Ok(())
    }
}

/// Answers at once and keeps how late it was asked.
#[derive(Debug, Default)]
struct Source {
    calls: AtomicU64,
    asked: Mutex<BTreeMap<ServiceId, Instant>>,
    late: Mutex<Vec<Duration>>,
}

#[async_trait]
impl MetricSource for Source {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut asked = self.asked.lock().unwrap();
        let mut late = self.late.lock().unwrap();
        for request in requests.iter().filter(|r| r.metric.as_str() == "p95") {
            if let Some(before) = asked.insert(request.service.clone(), now) {
                late.push(now.duration_since(before).saturating_sub(POLL));
            }
        }
        let answer = |request: &ReadRequest| {
            let sample = match request.query {
                Query::Counts { .. } => Sample::Counts { bad: 1, total: 500 },
                _ => Sample::Gauge(5.0),
            };
            Ok(Reading::new(request.window, sample))
        };
        requests.iter().map(answer).collect()
    }
}

/// Processor time so far, in seconds.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let fields: Vec<f64> = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    fields.iter().sum::<f64>() / 100.0
}

/// Resident memory, in megabytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes / 1_024
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().unwrap());
    let count: usize = arguments.next().unwrap_or(10_000);
    let seconds = arguments.next().unwrap_or(60);
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(SqliteJournal::open(directory.path().join("fleet.db")).unwrap());
    let (platform, source) = (Arc::<Platform>::default(), Arc::<Source>::default());
    let policy: Policy = serde_json::from_str(POLICY).unwrap();
    let v1 = ReleaseId::new("v1").unwrap();
    let v2 = Release::new(ReleaseId::new("v2").unwrap(), "v2", Definition::default());
    let names: Vec<ServiceId> = (0..count)
        .map(|number| ServiceId::new(format!("service-{number}")).unwrap())
        .collect();
    for name in &names {
        let mut all = platform.0.lock().unwrap();
        all.insert(name.clone(), Wanted::only(v1.clone()));
    }
    let fleet = Fleet::default();
    let began = Instant::now();
    let mut starting = tokio::task::JoinSet::new();
    for name in &names {
        let builder = Controller::builder(name.as_str())
            .policy(policy.clone())
            .deployer(Arc::clone(&platform))
            .metrics(Arc::clone(&source))
            .journal(Arc::clone(&journal))
            .fleet(&fleet);
        starting.spawn(async move { builder.start().await.unwrap() });
    }
    let controllers = starting.join_all().await;
    println!(
        "{count} services started in {:.1} s, {} MB",
        began.elapsed().as_secs_f64(),
        memory()
    );
    let idle = processor();
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("all idle: {:.3} cores", (processor() - idle) / 5.0);
    // Spread over one poll, as deployments of different teams are.
    let watched = count / 10;
    let apart = POLL / u32::try_from(watched.max(1)).unwrap();
    for controller in controllers.iter().take(watched) {
        let _deployment = controller.deploy(v2.clone()).await.unwrap();
        tokio::time::sleep(apart).await;
    }
    tokio::time::sleep(POLL * 2).await;
    source.late.lock().unwrap().clear();
    let (calls, used, began) = (
        source.calls.load(Ordering::Relaxed),
        processor(),
        Instant::now(),
    );
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let (elapsed, used) = (began.elapsed().as_secs_f64(), processor() - used);
    let mut late = source.late.lock().unwrap().clone();
    late.sort();
    let at = |part: usize| {
        late.get(late.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{watched} watched: {:.3} cores, {} MB; {} polls, {} calls of the source",
        used / elapsed,
        memory(),
        late.len(),
        source.calls.load(Ordering::Relaxed) - calls
    );
    println!(
        "polls late by {:?} (median), {:?} (p99), {:?} (worst)",
        at(50),
        at(99),
        late.last().copied().unwrap_or_default()
    );
}
