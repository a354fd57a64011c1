//! The infrastructure triggers of the first source document, on what a real engine measures: the
//! document is translated, and a real controller plays it, twenty times faster than it is written.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::time::Duration;

use async_trait::async_trait;
use rollback::{AnchoredClock, Clock, Controller, memory::MemoryJournal};
use rollback_core::{
    dialect::{Dialect, TranslateOptions},
    model::{Cause, Outcome, ReadError, ReadRequest, Reading, Sample, Timestamp},
    policy::Policy,
    ports::{MetricSource, SourceCapabilities},
};
use rollback_docker::{ContainerDeployer, DockerMetrics};
use serde_json::json;
use support::{containers::Bench, trial::Trial};

const DOCUMENT: &str = include_str!("../../examples/dialects/001/document/infrastructure.yml");
/// So many seconds of the document are one of the test.
const FASTER: u32 = 20;

/// Time that goes faster.
#[derive(Debug)]
struct Fast {
    real: AnchoredClock,
    begin: Timestamp,
}

impl Fast {
    fn new() -> Self {
        let real = AnchoredClock::anchored_now();
        Self {
            begin: real.now(),
            real,
        }
    }
}

#[async_trait]
impl Clock for Fast {
    fn now(&self) -> Timestamp {
        self.begin.after(self.real.now().since(self.begin) * FASTER)
    }

    async fn reached(&self, at: Timestamp) {
        let real = self.begin.after(at.since(self.begin) / FASTER);
        while self.now() < at {
            self.real.reached(real).await;
            tokio::task::yield_now().await;
        }
    }
}

/// What only the program itself can count: it never fails to reach its database.
#[derive(Debug)]
struct Application;

#[async_trait]
impl MetricSource for Application {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        let none = |request: &ReadRequest| Ok(Reading::new(request.window, Sample::Gauge(0.0)));
        requests.iter().map(none).collect()
    }
}

/// The document as a policy for containers, which have no traffic of their own.
fn policy() -> Policy {
    let options = TranslateOptions::default();
    let translated = Dialect::RollbackConfig.translate(DOCUMENT, &options);
    let translated = translated.unwrap();
    println!("{}", translated.report());
    let mut document = serde_json::to_value(translated.document()).unwrap();
    document["strategy"] = json!("rolling");
    document["metrics"]["db_connection_failures"]["source"] = json!("application");
    for metric in ["cpu_usage", "memory_usage"] {
        assert_eq!(document["metrics"][metric]["source"], "metrics");
    }
    serde_json::from_value(document).unwrap()
}

/// Deploys a candidate that differs from what runs by its environment; the trigger that failed.
async fn rolled_back_by(env: (&str, &str)) -> (String, String) {
    let bench = Bench::new("document").await;
    // A tenth of a CPU is to be had on a machine that is busy with other tests, too.
    let trial = Trial::on(bench, 1, |candidate| {
        let candidate = candidate.with_host_config("NanoCpus", json!(100_000_000));
        candidate.env(env.0, env.1)
    })
    .await;
    let engine = trial.bench.engine.clone();
    let controller = Controller::builder(trial.service.as_str())
        .policy(policy())
        .deployer(ContainerDeployer::on(engine.clone()))
        .metrics_named("metrics", DockerMetrics::new(engine))
        .metrics_named("application", Application)
        .journal(MemoryJournal::default())
        .clock(Fast::new())
        .start()
        .await
        .unwrap();
    let deployment = controller.deploy(trial.candidate.clone()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), deployment.ended()).await;
    let account = deployment.explain().await.unwrap().to_string();
    let outcome = ended
        .unwrap_or_else(|_| panic!("no end: {account}"))
        .unwrap();
    println!("{account}");
    let Outcome::RolledBack { cause, .. } = &outcome else {
        panic!("{outcome:?}\n{account}");
    };
    let Cause::Trigger { trigger, .. } = cause else {
        panic!("{cause:?}\n{account}");
    };
    let name = trigger.name.to_string();
    trial.only_the_stable_release_runs("document 001").await;
    controller.shutdown().await;
    trial.end("document 001").await;
    (name, account)
}

#[tokio::test(flavor = "multi_thread")]
async fn high_cpu_usage_rolls_back_after_its_three_minutes() {
    let (trigger, account) = rolled_back_by(("BURN", "1")).await;
    assert_eq!(trigger, "high_cpu_usage", "{account}");
    assert!(account.contains("cpu_usage"), "{account}");
}
