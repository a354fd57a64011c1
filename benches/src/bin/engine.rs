//! What one reading costs: in the engine, as text, on disk; and what R3 costs alone. Times are
//! medians, so that other work of the machine disturbs little.

use std::{
    alloc::System,
    error::Error,
    hint::black_box,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use rollback_benches::{
    figures::{Figures, percentile, text},
    process::processor_time,
    stage::{Stage, policy},
};
use rollback_core::{
    entry::{Entry, Input},
    model::{Epoch, Seq, ServiceId},
    ports::{Batch, Durability, Journal},
    statistics::{ArmCounts, EProcess, FalseRollbackRate, MinEffect},
};
use rollback_store::SqliteJournal;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const POLLS: u32 = 50_000;

/// What the polls of one watch cost.
#[derive(Default)]
struct Cost {
    readings: u32,
    polls: u32,
    handle: Vec<Duration>,
    encode: Vec<Duration>,
    quiet: u32,
    quiet_allocations: usize,
    quiet_polls_without: u32,
    entries: Vec<Entry>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut figures = Figures::new();
    let nanos = Duration::from_nanos;
    for metrics in [1, 5] {
        let mut cost = watch(metrics)?;
        let each = cost.readings / cost.polls;
        let handled = percentile(&mut cost.handle, 0.5) / each;
        let encoded = handled + percentile(&mut cost.encode, 0.5) / each;
        let shape = format!("{metrics} metrics of 2 arms");
        figures.bounded(
            format!("engine, per reading ({shape}): handle"),
            handled,
            nanos(200),
        );
        figures.bounded("  + encode", encoded, Duration::from_micros(1));
        for (services, durability) in [(1_000, Durability::Durable), (1, Durability::Buffered)] {
            let (append, used) = group_commit(&cost.entries, services, durability)?;
            figures.bounded(
                format!("  + group commit ({services} services, {durability:?})"),
                encoded + append / each,
                Duration::from_micros(10),
            );
            figures.also("      its processor time", text(used / each));
        }
        figures.also(
            "  polls that changed nothing; of these without any allocation; allocations in all",
            format!(
                "{} / {} / {}",
                cost.quiet, cost.quiet_polls_without, cost.quiet_allocations
            ),
        );
    }
    figures.bounded("R3 step", r3()?, Duration::from_micros(1));
    println!("{figures}");
    Ok(())
}

/// Polls a deployment in its bake, in which all is well.
fn watch(metrics: usize) -> Result<Cost, Box<dyn Error>> {
    let mut stage = Stage::new("checkout", &policy(metrics, "10s", "1000h")?)?;
    if !stage.reach_bake() {
        return Err("the bake was never reached".into());
    }
    let mut cost = Cost::default();
    let overhead = clock_overhead();
    let mut text = Vec::with_capacity(64 << 10);
    for poll in 0..POLLS {
        let (at, input) = loop {
            let (at, input) = stage.happens();
            if let Input::Readings { .. } = input {
                break (at, input);
            }
            let _ = black_box(stage.engine.handle(at, input));
            stage.answer();
        };
        let Input::Readings { answers } = &input else {
            continue;
        };
        let readings = answers.len() as u32;
        let region = Region::new(ALLOCATOR);
        let start = Instant::now();
        let entry = black_box(stage.engine.handle(at, input));
        let handle = start.elapsed();
        let allocations = region.change().allocations;
        let start = Instant::now();
        text.clear();
        serde_json::to_writer(&mut text, &entry)?;
        let encode = start.elapsed();
        black_box(&text);
        stage.answer();
        // The first ones fill caches and tables.
        if poll < POLLS / 10 {
            continue;
        }
        cost.readings += readings;
        cost.polls += 1;
        cost.handle.push(handle.saturating_sub(overhead));
        cost.encode.push(encode.saturating_sub(overhead));
        if entry.facts.is_empty() {
            cost.quiet += 1;
            cost.quiet_allocations += allocations;
            cost.quiet_polls_without += u32::from(allocations == 0);
        }
        if cost.entries.len() < 20_000 {
            cost.entries.push(entry);
        }
    }
    Ok(cost)
}

/// What looking at the clock twice costs.
fn clock_overhead() -> Duration {
    let start = Instant::now();
    for _ in 0..100_000 {
        black_box(Instant::now());
    }
    start.elapsed() / 100_000
}

/// Appends the entries in groups of so many services, one entry each; gives the time per entry.
fn group_commit(
    entries: &[Entry],
    services: usize,
    durability: Durability,
) -> Result<(Duration, Duration), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let directory = tempfile::tempdir()?;
    let journal = SqliteJournal::open(directory.path().join("rollback.db"))?;
    runtime.block_on(async {
        let mut names = Vec::new();
        for number in 0..services {
            let service = ServiceId::new(format!("service-{number}"))?;
            journal
                .acquire(&service, "bench", Duration::from_secs(600))
                .await?;
            names.push(service);
        }
        let mut groups = Vec::new();
        for (round, chunk) in (1..).zip(entries.chunks(services)) {
            let batches = chunk.iter().zip(&names).map(|(entry, service)| Batch {
                service: service.clone(),
                epoch: Epoch::new(1),
                entries: vec![Entry {
                    seq: Seq::new(round),
                    ..entry.clone()
                }],
            });
            groups.push(batches.collect::<Vec<_>>());
        }
        let mut took = Vec::new();
        let used = processor_time()?;
        for group in groups {
            let count = group.len() as u32;
            let start = Instant::now();
            for answer in journal.append(group, durability).await {
                answer?;
            }
            took.push(start.elapsed() / count);
        }
        let used = processor_time()? - used;
        Ok((percentile(&mut took, 0.5), used / entries.len() as u32))
    })
}

/// One window of both arms, and the question whether it is enough.
fn r3() -> Result<Duration, Box<dyn Error>> {
    const STEPS: u32 = 360;
    const WATCHES: u32 = 1_000;
    let horizon = NonZeroU32::new(STEPS).ok_or("a horizon")?;
    let rate = FalseRollbackRate::new(0.01)?;
    let windows: Vec<_> = (0..97u64)
        .map(|n| {
            Ok((
                ArmCounts::new(100 + n % 13, n % 4)?,
                ArmCounts::new(900 + n % 7, n % 9)?,
            ))
        })
        .collect::<Result<_, rollback_core::statistics::InvalidCounts>>()?;
    let mut process = EProcess::new(MinEffect::new(1.25)?, horizon);
    let mut took = Vec::new();
    for _ in 0..WATCHES {
        let start = Instant::now();
        for (candidate, stable) in windows.iter().cycle().take(STEPS as usize) {
            process.step(black_box(*candidate), black_box(*stable));
            black_box(process.crossed(rate));
        }
        took.push(start.elapsed() / STEPS);
        process = EProcess::new(MinEffect::new(1.25)?, horizon);
    }
    Ok(percentile(&mut took, 0.5))
}
