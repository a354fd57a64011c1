//! Makes recordings for `replay`: the sample data beside it, or a folder of many files.
//!
//! ```text
//! cargo run --release -p rollback-benches --bin recordings -- samples examples/replay/data
//! cargo run --release -p rollback-benches --bin recordings -- many FOLDER 10000 360
//! ```
//!
//! The same arguments give the same bytes.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// When recordings begin: 2026-11-21T12:00:00Z.
const BEGAN: u64 = 1_795_262_400;
/// Polls before the candidate.
const BEFORE: u64 = 6;
/// Seconds from poll to poll.
const POLL: u64 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["samples", folder] => samples(Path::new(folder)),
        ["many", folder, count, polls] => many(Path::new(folder), count.parse()?, polls.parse()?),
        _ => Err("give `samples FOLDER`, or `many FOLDER FILES POLLS`".into()),
    }
}

/// How a candidate is, poll by poll.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Of the candidate's requests, from the poll on.
    errors: (u64, f64),
    stable_errors: (u64, f64),
    /// 95th percentile of the candidate, from the poll on.
    latency: (u64, f64),
    /// Nothing of the candidate is recorded from the poll on.
    silent: u64,
}

const WELL: Kind = Kind {
    name: "good",
    errors: (0, 0.01),
    stable_errors: (0, 0.01),
    latency: (0, 120.0),
    silent: u64::MAX,
};

const KINDS: [Kind; 6] = [
    WELL,
    Kind {
        name: "errors",
        errors: (12, 0.09),
        ..WELL
    },
    Kind {
        name: "a-little-worse",
        errors: (0, 0.03),
        ..WELL
    },
    Kind {
        name: "slow",
        latency: (20, 650.0),
        ..WELL
    },
    Kind {
        name: "brown-out",
        errors: (15, 0.2),
        stable_errors: (15, 0.2),
        ..WELL
    },
    Kind {
        name: "blind",
        silent: 8,
        ..WELL
    },
];

fn samples(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for (seed, kind) in (1..).zip(KINDS) {
        write(folder.join(format!("{}.csv", kind.name)), kind, 62, seed)?;
    }
    Ok(())
}

/// One in ten is bad in some way, from some poll on.
fn many(folder: &Path, count: u64, polls: u64) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for number in 0..count {
        let mut chance = Chance(number);
        let bad = KINDS
            .get(1 + chance.below(5) as usize)
            .filter(|_| number % 10 == 9);
        let kind = bad.copied().unwrap_or(WELL);
        write(
            folder.join(format!("{number:05}-{}.csv", kind.name)),
            kind,
            polls,
            number,
        )?;
    }
    Ok(())
}

fn write(path: PathBuf, kind: Kind, polls: u64, seed: u64) -> Result<(), Box<dyn Error>> {
    let mut chance = Chance(seed);
    let mut csv = "time,metric,arm,bad,total,value\n".to_owned();
    let mut row = |at: u64, arm: &str, errors: f64, latency: f64, requests: u64| {
        let total = requests + chance.below(requests / 10);
        let bad = (0..total).filter(|_| chance.share() < errors).count();
        let wobble = 0.95 + chance.share() / 10.0;
        writeln!(csv, "{at},errors,{arm},{bad},{total},")?;
        writeln!(csv, "{at},p95,{arm},,,{:.0}", latency * wobble)
    };
    let since =
        |(from, then): (u64, f64), before: f64, poll: u64| if poll >= from { then } else { before };
    for poll in 0..polls + BEFORE {
        let at = BEGAN + poll * POLL;
        let stable = poll
            .checked_sub(BEFORE)
            .map_or(0.01, |poll| since(kind.stable_errors, 0.01, poll));
        row(at, "stable", stable, 120.0, 900)?;
        if let Some(poll) = poll.checked_sub(BEFORE).filter(|poll| *poll < kind.silent) {
            let errors = since(kind.errors, 0.01, poll);
            row(
                at,
                "candidate",
                errors,
                since(kind.latency, 120.0, poll),
                100,
            )?;
        }
    }
    fs::write(path, csv)?;
    Ok(())
}

/// SplitMix64: the same numbers on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From 0 to below 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
