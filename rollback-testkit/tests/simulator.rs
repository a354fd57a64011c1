//! Thousands of simulated worlds keep all sixteen invariants, and every deliberate defect of the
//! engine breaks one that names it.
#![allow(clippy::panic, reason = "a test")]

use std::collections::BTreeMap;

use rollback_core::engine::{Engine, EngineConfig, Mutant};
use rollback_testkit::simulator::{Coverage, Invariant, simulate, simulate_with};

/// Enough to meet every outcome; `examples/simulate` runs millions.
const SEEDS: u64 = 1_200;
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

#[test]
fn every_mutant_is_caught() {
    let mut caught: BTreeMap<Invariant, Vec<String>> = BTreeMap::new();
    let mut survived = Vec::new();
    for mutant in Mutant::ALL {
        let make = |config: EngineConfig| Engine::with_mutant(config, mutant);
        let violation = (0..CAUGHT_WITHIN).find_map(|seed| {
            let report = simulate_with(seed, &make);
            report.violation.map(|violation| (seed, violation))
        });
        match violation {
            Some((seed, violation)) => {
                println!("{mutant:?} at seed {seed} by {violation}");
                let by = caught.entry(violation.invariant).or_default();
                by.push(format!("{mutant:?}"));
            }
            None => survived.push(mutant),
        }
    }
    println!("{caught:#?}");
    assert!(survived.is_empty(), "not caught: {survived:?}");
    let idle: Vec<_> = Invariant::ALL
        .into_iter()
        .filter(|invariant| !caught.contains_key(invariant))
        .collect();
    assert!(idle.is_empty(), "no mutant is caught by {idle:?}");
}
