//! What became of a seed.

use std::fmt::{self, Write as _};

use rollback_core::{
    entry::{Entry, Input},
    model::{Answer, Observation, Timestamp},
};

use super::{Coverage, Violation};

/// How many entries a failure shows.
const SHOWN: usize = 40;

/// What became of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report may carry a violation"]
pub struct Report {
    /// Replays it.
    pub seed: u64,
    /// How many inputs the engines handled.
    pub inputs: u64,
    /// How many entries were journaled.
    pub entries: usize,
    /// What was gone through.
    pub coverage: Coverage,
    /// The invariant that did not hold, if one did not.
    pub violation: Option<Violation>,
    /// With a violation: the last entries of the journal, one a line.
    pub trace: Vec<String>,
}

impl Report {
    pub(super) fn of(
        seed: u64,
        inputs: u64,
        journal: &[Entry],
        coverage: Coverage,
        violation: Option<Violation>,
    ) -> Self {
        let trace = if violation.is_some() {
            let skip = journal.len().saturating_sub(SHOWN);
            journal.iter().skip(skip).map(line).collect()
        } else {
            Vec::new()
        };
        Self {
            seed,
            inputs,
            entries: journal.len(),
            coverage,
            violation,
            trace,
        }
    }
}

fn line(entry: &Entry) -> String {
    let short = |text: String| -> String {
        let cut: String = text.chars().take(420).collect();
        if cut.len() < text.len() {
            format!("{cut}…")
        } else {
            cut
        }
    };
    let json = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
    let mut text = format!(
        "{:>5} e{} {} {}",
        entry.seq,
        entry.epoch,
        entry.at,
        match &entry.input {
            Input::Observed {
                asked_at,
                result: Ok(seen),
            } => look(*asked_at, seen),
            Input::Readings { answers } => answers.iter().map(answer).collect(),
            other => short(json(serde_json::to_string(other))),
        }
    );
    for fact in &entry.facts {
        text.push_str("\n        → ");
        text.push_str(&short(json(serde_json::to_string(fact))));
    }
    text
}

fn look(asked_at: Timestamp, seen: &Observation) -> String {
    let mut text = format!("observed as asked at {asked_at}: wants {};", seen.wanted);
    for arm in seen.arms.iter() {
        let restarts: u32 = arm.instances.iter().map(|i| i.restarts).sum();
        let _ = write!(
            text,
            " {} {:?} at {} ({} instances, {restarts} restarts);",
            arm.release,
            arm.state,
            arm.weight,
            arm.instances.len()
        );
    }
    if let Some(rollback) = &seen.platform_rollback {
        let _ = write!(text, " {rollback:?}");
    }
    text
}

fn answer(answer: &Answer) -> String {
    let of = format!("{} of {}", answer.metric, answer.scope);
    match &answer.result {
        Ok(reading) => format!(
            "{of}: {:?} from {} to {}; ",
            reading.sample, reading.window.from, reading.window.to
        ),
        Err(error) => format!("{of}: {error}; "),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} inputs, {} entries",
            self.seed, self.inputs, self.entries
        )?;
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        match &self.violation {
            Some(violation) => writeln!(
                f,
                "VIOLATED {violation}\n(replay: cargo run --release -p rollback-testkit --example \
                 simulate -- --seed {})",
                self.seed
            ),
            None => writeln!(f, "all invariants held"),
        }
    }
}
