//! Ten thousand services of five metrics at ten seconds, one in ten being watched, journal on.

use std::{
    error::Error,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use rollback::{Controller, Fleet, ReleaseDraft};
use rollback_benches::{
    figures::{Figures, percentile, text},
    platform::{Healthy, Platform},
    process::{processor_time, resident},
    stage::policy,
};
use rollback_core::model::ReleaseId;
use rollback_store::SqliteJournal;

const SERVICES: usize = 10_000;
const WATCHED: usize = 1_000;
const POLL: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rollback.db");
    let journal = Arc::new(SqliteJournal::open(&path)?);
    let platform = Arc::new(Platform::new(ReleaseId::new("v1")?, false));
    let source = Arc::new(Healthy::default());
    let policy = policy(5, "10s", "1h")?;
    let fleet = Fleet::default();
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..SERVICES {
        let builder = Controller::builder(format!("service-{number}"))
            .policy(policy.clone())
            .deployer(Arc::clone(&platform))
            .metrics(Arc::clone(&source))
            .journal(Arc::clone(&journal))
            .owner("bench")
            .fleet(&fleet);
        tasks.spawn(builder.start());
    }
    let mut controllers = Vec::new();
    while let Some(started) = tasks.join_next().await {
        controllers.push(started??);
    }
    let started = start.elapsed();
    // People deploy at different moments: spread over one poll.
    let mut deployments = Vec::new();
    let release = ReleaseDraft::new("v2", "shop:2").build()?;
    let begun = tokio::time::Instant::now();
    for (number, controller) in (0..).zip(controllers.iter().step_by(SERVICES / WATCHED)) {
        tokio::time::sleep_until(begun + POLL / WATCHED as u32 * number).await;
        deployments.push(controller.deploy(release.clone()).await?);
    }
    // Into the bake.
    tokio::time::sleep(POLL * 3).await;
    source.note();
    let (cpu, at) = (processor_time()?, Instant::now());
    let size = written(&path)?;
    tokio::time::sleep(MEASURED).await;
    let took = at.elapsed();
    let cores = (processor_time()? - cpu).as_secs_f64() / took.as_secs_f64();
    let mut late: Vec<Duration> = source
        .gaps()
        .into_iter()
        .map(|gap| gap.saturating_sub(POLL))
        .collect();
    let polls = late.len();
    let mut figures = Figures::new();
    figures.number(
        "10 000 services × 5 metrics at 10 s, 1 in 10 watched: cores",
        cores,
        0.5,
        "",
    );
    figures.number("  memory", resident()? as f64 / 1e6, 300.0, "MB");
    figures.bounded(
        "  polls late by, p99",
        percentile(&mut late, 0.99),
        Duration::from_secs(1),
    );
    figures.also("  polls late by, worst", text(percentile(&mut late, 1.0)));
    let rate = |count: u64| format!("{:.0} /s", count as f64 / took.as_secs_f64());
    figures.also("  readings", rate(source.readings()));
    figures.also("  polls between which the time was taken", polls);
    figures.also(
        "  journal grows by (files)",
        rate(written(&path)?.saturating_sub(size)),
    );
    figures.also("  start of all controllers", text(started));
    println!("{figures}");
    if polls == 0 {
        return Err("nothing was polled".into());
    }
    Ok(())
}

fn written(path: &std::path::Path) -> Result<u64, Box<dyn Error>> {
    Ok(fs::metadata(path)?.len())
}
