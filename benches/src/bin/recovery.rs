//! How fast a controller is back: a million entries; and ten thousand services whose process was
//! killed while five hundred changes were under way.

use std::{
    error::Error,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use rollback::{Controller, Fleet, ReleaseDraft};
use rollback_benches::{
    figures::{Figures, text},
    platform::{Healthy, Platform},
    process::processor_time,
    stage::{Stage, config, policy},
};
use rollback_core::{
    engine::Engine,
    entry::{Entry, Fact, Input, SentState},
    model::{Change, Placement, Release, ReleaseId, Seq, ServiceId},
    ports::{Batch, Durability, Journal},
};
use rollback_store::SqliteJournal;

const ENTRIES: u64 = 1_000_000;
const SERVICES: usize = 10_000;
const WATCHES: usize = 500;
/// As many as the driver reads at once.
const PAGE: usize = 2_048;
const TTL: Duration = Duration::from_secs(600);

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    if let Some(path) = std::env::args().nth(1) {
        return be_killed(Path::new(&path)).await;
    }
    let mut figures = Figures::new();
    let directory = tempfile::tempdir()?;
    one_service(&directory.path().join("one.db"), &mut figures).await?;
    many_services(&directory.path().join("many.db"), &mut figures).await?;
    killed(&directory.path().join("killed.db"), &mut figures).await?;
    println!("{figures}");
    Ok(())
}

/// The entries of a long watch of one metric, as an engine would journal them; without the looks
/// at the platform, so that each has one reading.
fn entries(service: &str, count: u64) -> Outcome<Vec<Entry>> {
    let policy = serde_json::from_value(serde_json::json!({
        "poll": "10s", "bake": "366d", "check": "0s",
        "metrics": { "errors": { "unit": "ratio", "per": "service", "bad": "b", "total": "t" } },
        "triggers": [{ "name": "errors", "when": "errors > 50%" }],
    }))?;
    let mut stage = Stage::new(service, &policy)?;
    let mut entries = Vec::new();
    while (entries.len() as u64) < count {
        let (at, input) = stage.happens();
        let mut entry = stage.engine.handle(at, input);
        stage.answer();
        // What is decided is kept, and of the rest what was read.
        if !entry.facts.is_empty() || matches!(entry.input, Input::Readings { .. }) {
            entry.seq = Seq::new(entries.len() as u64 + 1);
            entries.push(entry);
        }
    }
    Ok(entries)
}

async fn fill(journal: &SqliteJournal, service: &ServiceId, entries: &[Entry]) -> Outcome<()> {
    let lease = journal.acquire(service, "bench", TTL).await?;
    for part in entries.chunks(10_000) {
        let batch = Batch {
            service: service.clone(),
            epoch: lease.epoch,
            entries: part.to_vec(),
        };
        for answer in journal.append(vec![batch], Durability::Buffered).await {
            answer?;
        }
    }
    Ok(())
}

/// Reads and restores one service's journal as the driver does; says how long restoring took.
async fn restore(journal: &SqliteJournal, service: &ServiceId) -> Outcome<(u64, Duration)> {
    let mut engine = Engine::new(config(service.as_str())?);
    let mut restoring = Duration::ZERO;
    loop {
        let entries = journal.read(service, engine.seq(), PAGE).await?;
        let start = Instant::now();
        for entry in &entries {
            engine.restore(entry);
        }
        restoring += start.elapsed();
        if entries.len() < PAGE {
            return Ok((engine.seq().get(), restoring));
        }
    }
}

async fn one_service(path: &Path, figures: &mut Figures) -> Outcome<()> {
    let service = ServiceId::new("checkout")?;
    let journal = SqliteJournal::open(path)?;
    fill(&journal, &service, &entries("checkout", ENTRIES)?).await?;
    drop(journal);
    let mut best = (Duration::MAX, Duration::ZERO, Duration::ZERO);
    for _ in 0..3 {
        let (start, used) = (Instant::now(), processor_time()?);
        let journal = SqliteJournal::open(path)?;
        let (restored, restoring) = restore(&journal, &service).await?;
        assert_eq!(restored, ENTRIES);
        best = best.min((start.elapsed(), processor_time()? - used, restoring));
    }
    figures.bounded(
        "recovery of 1 000 000 entries of one service (best of 3)",
        best.0,
        Duration::from_secs(2),
    );
    figures.also("  processor time", text(best.1));
    figures.also("  of which the engine's restore", text(best.2));
    let size = std::fs::metadata(path)?.len();
    figures.also("  bytes per entry in the file", size / ENTRIES);
    Ok(())
}

async fn many_services(path: &Path, figures: &mut Figures) -> Outcome<()> {
    let each = ENTRIES / SERVICES as u64;
    let pattern = entries("service", each)?;
    let journal = SqliteJournal::open(path)?;
    let mut services = Vec::new();
    for number in 0..SERVICES {
        let service = ServiceId::new(format!("service-{number}"))?;
        fill(&journal, &service, &pattern).await?;
        services.push(service);
    }
    drop(journal);
    let (start, used) = (Instant::now(), processor_time()?);
    let journal = SqliteJournal::open(path)?;
    let mut tasks = tokio::task::JoinSet::new();
    for part in services.chunks(SERVICES / 8) {
        let (journal, part) = (journal.clone(), part.to_vec());
        tasks.spawn(async move {
            let mut restored = 0;
            for service in part {
                restored += restore(&journal, &service)
                    .await
                    .map_or(0, |(restored, _)| restored);
            }
            restored
        });
    }
    let mut restored = 0;
    while let Some(part) = tasks.join_next().await {
        restored += part?;
    }
    assert_eq!(restored, ENTRIES);
    figures.bounded(
        "recovery of 1 000 000 entries of 10 000 services",
        start.elapsed(),
        Duration::from_secs(2),
    );
    figures.also("  processor time", text(processor_time()? - used));
    Ok(())
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

fn candidate() -> Outcome<Release> {
    Ok(ReleaseDraft::new("v2", "shop:2").build()?)
}

/// Starts a controller for each service; in the order in which a host lists them.
async fn start_all(
    path: &Path,
    platform: &Arc<Platform>,
    fleet: &Fleet,
) -> Outcome<Vec<Controller>> {
    let journal = Arc::new(SqliteJournal::open(path)?);
    let source = Arc::new(Healthy::default());
    let policy = policy(5, "10s", "1h")?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..SERVICES {
        let builder = Controller::builder(name(number))
            .policy(policy.clone())
            .deployer(Arc::clone(platform))
            .metrics(Arc::clone(&source))
            .journal(Arc::clone(&journal))
            .owner("bench")
            .fleet(fleet);
        tasks.spawn(builder.start());
    }
    let mut controllers = Vec::new();
    while let Some(started) = tasks.join_next().await {
        controllers.push(started??);
    }
    controllers.sort_by(|a, b| a.service().cmp(b.service()));
    Ok(controllers)
}

/// The process that is killed: every twentieth service sends a change that is never answered.
async fn be_killed(path: &Path) -> Outcome<()> {
    let platform = Arc::new(Platform::new(ReleaseId::new("v1")?, true));
    let fleet = Fleet::default();
    let controllers = start_all(path, &platform, &fleet).await?;
    let mut deployments = Vec::new();
    for controller in controllers.iter().step_by(SERVICES / WATCHES) {
        deployments.push(controller.deploy(candidate()?).await?);
    }
    loop {
        let taken = platform
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if taken.len() == WATCHES {
            for service in taken {
                println!("{service}");
            }
            println!("ready");
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn killed(path: &Path, figures: &mut Figures) -> Outcome<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()?;
    let platform = Arc::new(Platform::new(ReleaseId::new("v1")?, false));
    // What the killed process sent had been taken.
    let change = Change::Converge {
        release: candidate()?.id,
        placement: Placement::Beside,
    };
    for line in BufReader::new(child.stdout.take().ok_or("its output")?).lines() {
        match line?.as_str() {
            "ready" => break,
            service => platform.runs(ServiceId::new(service)?, &change),
        }
    }
    child.kill()?;
    child.wait()?;
    let fleet = Fleet::default();
    let mut events = fleet.events();
    let (start, used) = (Instant::now(), processor_time()?);
    let heard = tokio::spawn(async move {
        let (mut first, mut last, mut count) = (None, Duration::ZERO, 0);
        while count < WATCHES {
            match tokio::time::timeout(Duration::from_secs(60), events.recv()).await {
                Ok(Ok(event)) => {
                    if let Some(Fact::ChangeMoved {
                        to: SentState::Found,
                        ..
                    }) = event.fact
                    {
                        first.get_or_insert_with(|| start.elapsed());
                        last = start.elapsed();
                        count += 1;
                    }
                }
                // Whoever lags misses some.
                Ok(Err(tokio::sync::broadcast::error::RecvError::Lagged(_))) => {}
                _ => break,
            }
        }
        (first, last, count)
    });
    let _controllers = start_all(path, &platform, &fleet).await?;
    let (started, spent) = (start.elapsed(), processor_time()? - used);
    let (first, last, count) = heard.await?;
    figures.bounded(
        "killed with 10 000 services and 500 open watches: first effect in doubt resolved",
        first.ok_or("nothing was resolved")?,
        Duration::from_secs(2),
    );
    figures.also(
        format!("  the last of {count} that were heard of"),
        text(last),
    );
    figures.also("  all 10 000 controllers started", text(started));
    figures.also("  processor time until then", text(spent));
    Ok(())
}
