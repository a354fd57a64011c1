//! A thousand alert conditions, `m > 5%` for half a minute, in a real Prometheus and here, in one run.
//!
//! ```text
//! apt-get install prometheus
//! cargo run --release -p rollback-benches --bin alerts
//! ```
//!
//! Prometheus' own figure is taken (`prometheus_rule_group_last_duration_seconds`): the time in which it evaluates one group
//! of a thousand rules over series that it scraped from this program. Its processor time and memory are those of the whole
//! process; a second one, that scrapes the same series and has no rules, tells how much of it the rules are.
//!
//! Here a round is a reading for each of the thousand conditions, handled: folded into the evidence, judged with its `for`,
//! decided on, and what is to be done next said. Once as a thousand services with a condition each, once as one service
//! with a thousand. What it costs to fetch the numbers is in neither figure; Prometheus looks them up in its own store, an
//! engine is handed them.

use std::{
    error::Error,
    hint::black_box,
    time::{Duration, Instant},
};

use rollback_benches::{
    figures::{percentile, text},
    process::{resident, thread_time},
    prometheus::{Prometheus, Used},
    stage::Stage,
};
use rollback_core::{
    entry::Input,
    model::Timestamp,
    policy::{Policy, PolicyError},
};

const CONDITIONS: u32 = 1_000;
/// Evaluations of all conditions, there and here.
const ROUNDS: usize = 20;
const ROUNDS_HERE: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    // They are kept to the end: what one frees, the other would not have to ask the system for.
    let (services, _kept) = here(CONDITIONS, 1)?;
    let (one_service, _kept_too) = here(1, CONDITIONS)?;
    let (version, theirs, idle) = there()?;
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{CONDITIONS} conditions; rounds in which all are evaluated: {ROUNDS} there, {ROUNDS_HERE} here ({processors} processors)"
    );
    println!(
        "{:<44}{:>12}{:>12}{:>16}{:>12}",
        "", "round, best", "median", "processor/round", "memory"
    );
    row(&format!("Prometheus {version}"), &theirs);
    row("  the same without rules", &idle);
    row("  so the rules", &theirs.without(&idle));
    row("here, a thousand services of one condition", &services);
    row("here, one service of a thousand conditions", &one_service);
    for (name, ours) in [
        ("a thousand services", &services),
        ("one service", &one_service),
    ] {
        let ratio = |there: Duration, here: Duration| there.as_secs_f64() / here.as_secs_f64();
        println!(
            "Prometheus against {name}: {:.1} times the time of a round (the best of each), {:.1} times the processor time (the rules alone)",
            ratio(
                percentile(&mut theirs.rounds.clone(), 0.0),
                percentile(&mut ours.rounds.clone(), 0.0)
            ),
            ratio(theirs.without(&idle).processor, ours.processor),
        );
    }
    Ok(())
}

fn row(name: &str, used: &Used) {
    let mut rounds = used.rounds.clone();
    let [best, median] = [0.0, 0.5].map(|share| match percentile(&mut rounds, share) {
        Duration::ZERO => "-".to_owned(),
        took => text(took),
    });
    println!(
        "{name:<44}{best:>12}{median:>12}{:>16}{:>9.1} MB",
        text(used.processor),
        used.memory as f64 / 1e6
    );
}

/// Prometheus with the rules, and without.
fn there() -> Result<(String, Used, Used), Box<dyn Error>> {
    let with = Prometheus::start(CONDITIONS, true)?;
    let used = with.watch(ROUNDS)?;
    let version = with.version()?;
    drop(with);
    let idle = Prometheus::start(CONDITIONS, false)?.watch(ROUNDS)?;
    Ok((version, used, idle))
}

/// Engines that handle a reading for each of their conditions, round by round.
fn here(services: u32, conditions: u32) -> Result<(Used, Vec<Stage>), Box<dyn Error>> {
    let policy = policy(conditions)?;
    let before = resident()?;
    let mut stages = (0..services)
        .map(|number| Stage::new(&format!("service-{number}"), &policy))
        .collect::<Result<Vec<_>, _>>()?;
    for stage in &mut stages {
        if !stage.reach_bake() {
            return Err("the bake was never reached".into());
        }
    }
    let mut rounds = Vec::new();
    let mut processor = Duration::ZERO;
    for _ in 0..ROUNDS_HERE {
        let inputs: Vec<_> = stages.iter_mut().map(until_readings).collect();
        let (start, used) = (Instant::now(), thread_time());
        for (stage, (at, input)) in stages.iter_mut().zip(inputs) {
            let _ = black_box(stage.engine.handle(at, input));
        }
        rounds.push(start.elapsed());
        processor += thread_time().saturating_sub(used);
        stages.iter_mut().for_each(Stage::answer);
    }
    let used = Used {
        processor: processor.div_f64(rounds.len() as f64),
        rounds,
        memory: resident()?.saturating_sub(before),
    };
    Ok((used, stages))
}

/// The next readings; what comes before them is handled.
fn until_readings(stage: &mut Stage) -> (Timestamp, Input) {
    loop {
        let (at, input) = stage.happens();
        if let Input::Readings { .. } = input {
            return (at, input);
        }
        let _ = black_box(stage.engine.handle(at, input));
        stage.answer();
    }
}

fn policy(conditions: u32) -> Result<Policy, PolicyError> {
    let mut metrics = serde_json::Map::new();
    let mut triggers = Vec::new();
    for number in 0..conditions {
        let (metric, trigger) = (format!("m{number}"), format!("high_{number}"));
        triggers.push(serde_json::json!({
            "name": trigger, "when": format!("{metric} > 5%"), "for": "30s",
        }));
        metrics.insert(
            metric,
            serde_json::json!({ "unit": "ratio", "per": "service", "bad": "b", "total": "t" }),
        );
    }
    let policy = serde_json::json!({
        "poll": "10s", "bake": "1000h", "metrics": metrics, "triggers": triggers,
    });
    Policy::from_json(&policy.to_string())
}
