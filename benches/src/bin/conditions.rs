//! Conditions of policies and the same in CEL (the `cel` crate): how long one takes to be read, and to be asked.
//!
//! ```text
//! cargo run --release -p rollback-benches --bin conditions
//! ```
//!
//! The values are in place on either side before the clock starts: here an array, there the variables of a context that is
//! made once. Before anything is measured both must give the same answer. That they do so for conditions made by chance
//! is what `tests/conditions_in_cel.rs` shows.

use std::{
    error::Error,
    hint::black_box,
    time::{Duration, Instant},
};

use cel::{Context, Program, Value as CelValue};
use rollback_benches::figures::text;
use rollback_core::condition::{Condition, MetricCatalogue, Truth, Unit, Value};

/// The best of so many runs is taken: what disturbs a run only makes it longer.
const RUNS: usize = 15;

/// As a policy writes it, and as CEL.
const CONDITIONS: [(&str, &str, &str); 4] = [
    ("one threshold", "error_rate > 5%", "error_rate > 0.05"),
    (
        "against what was before",
        "conversion_rate < 0.8 * baseline",
        "conversion_rate < 0.8 * baseline_conversion_rate",
    ),
    (
        "two thresholds and a state",
        "(error_rate > 5% || p95 > 2s) && service_status != 'up'",
        "(error_rate > 0.05 || p95 > 2000.0) && service_status != 'up'",
    ),
    (
        "eight comparisons",
        "error_rate > 5% || p95 > 2s || cpu > 90% || memory > 512MiB || db_failures > 5 \
         || conversion_rate < 0.8 * baseline(conversion_rate) || p95 > 1.5 * stable(p95) \
         || service_status == 'down'",
        "error_rate > 0.05 || p95 > 2000.0 || cpu > 90.0 || memory > 536870912.0 || db_failures > 5.0 \
         || conversion_rate < 0.8 * baseline_conversion_rate || p95 > 1.5 * stable_p95 \
         || service_status == 'down'",
    ),
];

/// What is read: name here, name there, value. A healthy service, so that no `||` is decided early.
const READINGS: [(&str, &str, Value<'static>); 9] = [
    ("error_rate", "error_rate", Value::Number(0.01)),
    ("p95", "p95", Value::Number(180.0)),
    ("stable(p95)", "stable_p95", Value::Number(170.0)),
    ("cpu", "cpu", Value::Number(40.0)),
    ("memory", "memory", Value::Number(1e8)),
    ("db_failures", "db_failures", Value::Number(0.0)),
    ("conversion_rate", "conversion_rate", Value::Number(0.10)),
    (
        "baseline(conversion_rate)",
        "baseline_conversion_rate",
        Value::Number(0.11),
    ),
    ("service_status", "service_status", Value::Text("up")),
];

fn main() -> Result<(), Box<dyn Error>> {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!("({processors} processors; the best of {RUNS} runs)");
    println!(
        "{:<28}{:>12}{:>12}{:>8}   {:>12}{:>12}{:>8}",
        "", "asked here", "cel", "ratio", "read here", "cel", "ratio"
    );
    let metrics = MetricCatalogue::new()
        .per_arm("error_rate", Unit::Ratio)
        .per_arm("p95", Unit::Milliseconds)
        .per_service("cpu", Unit::Percent)
        .per_service("memory", Unit::Bytes)
        .per_service("db_failures", Unit::Count)
        .per_service("conversion_rate", Unit::Ratio)
        .per_service("service_status", Unit::State);
    let mut context = Context::default();
    for (_, name, value) in READINGS {
        match value {
            Value::Number(number) => context.add_variable_from_value(name, number),
            Value::Text(word) => context.add_variable_from_value(name, word),
            Value::Missing(_) => {}
        }
    }
    for (name, ours, theirs) in CONDITIONS {
        let condition = Condition::compile(ours, &metrics)?;
        let slots = condition.slots().iter().map(ToString::to_string);
        let values = slots
            .map(|slot| READINGS.iter().find(|(name, ..)| *name == slot))
            .map(|found| found.map(|(.., value)| *value))
            .collect::<Option<Vec<_>>>()
            .ok_or("a metric without a value")?;
        let value = |slot: usize| {
            let value = black_box(&values).get(slot);
            value.copied().unwrap_or(Value::Number(0.0))
        };
        let program = Program::compile(theirs).map_err(|why| format!("{why:?}"))?;
        let answer = condition.evaluate(value) == Truth::True;
        if program.execute(&context) != Ok(CelValue::Bool(answer)) {
            return Err(format!("`{ours}` is {answer} here, and not in CEL").into());
        }
        let asked = best(100_000, || condition.evaluate(value));
        let asked_there = best(20_000, || program.execute(black_box(&context)));
        let read = best(2_000, || Condition::compile(black_box(ours), &metrics));
        let read_there = best(500, || Program::compile(black_box(theirs)));
        println!(
            "{name:<28}{:>12}{:>12}{:>8.1}   {:>12}{:>12}{:>8.1}",
            text(asked),
            text(asked_there),
            asked_there.as_secs_f64() / asked.as_secs_f64(),
            text(read),
            text(read_there),
            read_there.as_secs_f64() / read.as_secs_f64(),
        );
    }
    Ok(())
}

/// How long one takes, in the best run of so many.
fn best<T>(often: u32, one: impl Fn() -> T) -> Duration {
    let run = || {
        let start = Instant::now();
        for _ in 0..often {
            let _ = black_box(one());
        }
        start.elapsed().as_secs_f64() / f64::from(often)
    };
    let best = (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min);
    Duration::from_nanos((best * 1e9).round() as u64)
}
