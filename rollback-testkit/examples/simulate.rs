//! Simulates worlds by the million, with every core:
//! `cargo run --release -p rollback-testkit --example simulate -- --seeds 1000000`.
//!
//! `--seed N` replays one and shows what happened; `--from N` begins elsewhere; `--mutant NAME`
//! takes an engine with a deliberate defect; `--keep-going` does not stop at the first violation.
#![allow(
    clippy::disallowed_methods,
    reason = "it measures how long it takes; the simulation has its own clock"
)]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use rollback_core::engine::{Engine, EngineConfig, Mutant};
use rollback_testkit::simulator::{Coverage, MakeEngine, Report, simulate_with};

struct Arguments {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    keep_going: bool,
    mutant: Option<Mutant>,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        seeds: 10_000,
        from: 0,
        seed: None,
        keep_going: false,
        mutant: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--mutant" {
            let name = words.next().unwrap_or_default();
            let mutant = Mutant::ALL.into_iter().find(|m| format!("{m:?}") == name);
            let known = || format!("`{name}` is none of {:?}", Mutant::ALL);
            parsed.mutant = Some(mutant.ok_or_else(known)?);
            continue;
        }
        let mut number = || -> Result<u64, String> {
            let text = words.next().unwrap_or_default();
            text.parse()
                .map_err(|_| format!("{word} needs a number, not `{text}`"))
        };
        match word.as_str() {
            "--seeds" => parsed.seeds = number()?,
            "--from" => parsed.from = number()?,
            "--seed" => parsed.seed = Some(number()?),
            "--keep-going" => parsed.keep_going = true,
            other => {
                return Err(format!(
                    "`{other}`: give --seeds N, --from N, --seed N, --mutant NAME or --keep-going"
                ));
            }
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let make = |config: EngineConfig| match arguments.mutant {
        Some(mutant) => Engine::with_mutant(config, mutant),
        None => Engine::new(config),
    };
    let make: MakeEngine<'_> = &make;
    if let Some(seed) = arguments.seed {
        let report = simulate_with(seed, make);
        println!("{report}\n{}", report.coverage);
        return code(report.violation.is_none());
    }
    let failures = many(&arguments, make);
    code(failures == 0)
}

fn code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

#[derive(Default)]
struct Sum {
    coverage: Coverage,
    inputs: u64,
    entries: u64,
    failures: BTreeMap<String, Vec<Report>>,
}

fn many(arguments: &Arguments, make: MakeEngine<'_>) -> usize {
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.seeds);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Sum::default();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let report = simulate_with(seed, make);
                    mine.inputs += report.inputs;
                    mine.entries += report.entries as u64;
                    mine.coverage.merge(&report.coverage);
                    if let Some(violation) = &report.violation {
                        stop.fetch_or(!arguments.keep_going, Ordering::Relaxed);
                        let kind = violation.invariant.to_string();
                        mine.failures.entry(kind).or_default().push(report);
                    }
                }
                let Ok(mut all) = sum.lock() else { return };
                all.inputs += mine.inputs;
                all.entries += mine.entries;
                all.coverage.merge(&mine.coverage);
                for (kind, reports) in mine.failures {
                    all.failures.entry(kind).or_default().extend(reports);
                }
            });
        }
    });
    let took = began.elapsed().as_secs_f64();
    let Ok(sum) = sum.into_inner() else { return 1 };
    println!("{}", sum.coverage);
    for (kind, reports) in &sum.failures {
        println!("{} seeds violate {kind}:", reports.len());
        for report in reports.iter().take(8) {
            if let Some(violation) = &report.violation {
                let text: String = violation.what.chars().take(300).collect();
                println!("  seed {}: {text}", report.seed);
            }
        }
    }
    if let (false, Some(report)) = (arguments.keep_going, sum.failures.values().flatten().next()) {
        println!("{report}");
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let per_minute = sum.inputs as f64 / took * 60.0;
    println!(
        "{} inputs, {} entries in {took:.1} s on {threads} threads: {per_minute:.0} inputs a minute",
        sum.inputs, sum.entries
    );
    sum.failures.values().map(Vec::len).sum()
}
