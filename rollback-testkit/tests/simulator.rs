//! Thousands of simulated worlds keep all sixteen invariants, and every deliberate defect of the
//! engine breaks one that names it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rollback_core::engine::{Engine, EngineConfig, Mutant};
use rollback_testkit::simulator::{Coverage, Invariant, Violation, simulate, simulate_with};

/// Enough to meet every outcome; `examples/simulate` runs millions.
const SEEDS: u64 = 400;
/// Within so many seeds every mutant must have been caught.
const CAUGHT_WITHIN: u64 = 3_000;

#[test]
fn every_world_keeps_every_invariant() {
    let mut coverage = Coverage::default();
    let mut inputs = 0;
    for seed in 0..SEEDS {
        let report = simulate(seed);
        assert!(report.violation.is_none(), "{report}");
        coverage.merge(&report.coverage);
        inputs += report.inputs;
    }
    println!("{inputs} inputs\n{coverage}");
    for outcome in [
        "promoted",
        "rolled_back",
        "superseded",
        "aborted",
        "refused",
    ] {
        assert!(
            coverage.outcomes(outcome) > 0,
            "no deployment ended {outcome}"
        );
    }
    let (phases, crashes) = coverage.pairs();
    assert!(phases > 120, "only {phases} pairs of phase and input");
    assert!(
        crashes > 5,
        "only {crashes} pairs of effect and crash point"
    );
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [3, 77, 1_023] {
        assert_eq!(simulate(seed), simulate(seed));
    }
}

/// The first seed that shows the defect, and the invariant that it breaks.
fn caught(mutant: Mutant) -> Option<(u64, Violation)> {
    let make = |config: EngineConfig| Engine::with_mutant(config, mutant);
    (0..CAUGHT_WITHIN).find_map(|seed| {
        let report = simulate_with(seed, &make);
        report.violation.map(|violation| (seed, violation))
    })
}

#[test]
fn every_mutant_is_caught() {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = caught(*mutant);
                    results.lock().unwrap().insert(*mutant, result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let mut by: BTreeMap<Invariant, Vec<Mutant>> = BTreeMap::new();
    let mut survived = Vec::new();
    for (mutant, result) in results {
        match result {
            Some((seed, violation)) => {
                println!("{mutant:?} at seed {seed} by {violation}");
                by.entry(violation.invariant).or_default().push(mutant);
            }
            None => survived.push(mutant),
        }
    }
    println!("{by:#?}");
    assert!(survived.is_empty(), "not caught: {survived:?}");
    let idle: Vec<_> = Invariant::ALL
        .into_iter()
        .filter(|invariant| !by.contains_key(invariant))
        .collect();
    assert!(idle.is_empty(), "no mutant is caught by {idle:?}");
}
