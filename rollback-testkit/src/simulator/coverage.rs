//! What the simulations went through: phase by input, effect by crash point, outcomes.

use std::{collections::BTreeMap, fmt};

use rollback_core::{entry::Effect, model::Outcome};

/// Counts of what happened, over any number of seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    phase_inputs: BTreeMap<(&'static str, &'static str), u64>,
    effect_crashes: BTreeMap<(&'static str, &'static str), u64>,
    outcomes: BTreeMap<&'static str, u64>,
    holds: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
}

impl Coverage {
    pub(super) fn input(&mut self, phase: &'static str, input: &'static str) {
        *self.phase_inputs.entry((phase, input)).or_default() += 1;
    }

    pub(super) fn crash(&mut self, effect: &'static str, point: &'static str) {
        *self.effect_crashes.entry((effect, point)).or_default() += 1;
    }

    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        *self.outcomes.entry(outcome.word()).or_default() += 1;
    }

    pub(super) fn hold(&mut self, reason: &'static str) {
        *self.holds.entry(reason).or_default() += 1;
    }

    pub(super) fn fault(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Adds what other seeds went through.
    pub fn merge(&mut self, other: &Self) {
        for (key, count) in &other.phase_inputs {
            *self.phase_inputs.entry(*key).or_default() += count;
        }
        for (key, count) in &other.effect_crashes {
            *self.effect_crashes.entry(*key).or_default() += count;
        }
        for (mine, theirs) in [
            (&mut self.outcomes, &other.outcomes),
            (&mut self.holds, &other.holds),
            (&mut self.faults, &other.faults),
        ] {
            for (key, count) in theirs {
                *mine.entry(key).or_default() += count;
            }
        }
    }

    /// How many outcomes of that word there were.
    #[must_use]
    pub fn outcomes(&self, word: &str) -> u64 {
        self.outcomes.get(word).copied().unwrap_or(0)
    }

    /// How many pairs of phase and input, and of effect and crash point, were met.
    #[must_use]
    pub fn pairs(&self) -> (usize, usize) {
        (self.phase_inputs.len(), self.effect_crashes.len())
    }
}

/// One word for an effect.
pub(super) const fn effect_word(effect: &Effect) -> &'static str {
    match effect {
        Effect::Apply(_) => "apply",
        Effect::Observe { .. } => "observe",
        Effect::Read(_) => "read",
        Effect::Check { .. } => "check",
        Effect::StartTask { .. } => "start_task",
        Effect::AskTask { .. } => "ask_task",
        Effect::CancelTask { .. } => "cancel_task",
        Effect::RequestPermit(_) => "permit",
        Effect::CollectLastWords { .. } => "last_words",
        Effect::Notify { .. } => "notify",
        Effect::Settled { .. } => "settled",
        _ => "other",
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table(f, "phase × input", &self.phase_inputs)?;
        table(f, "effect × crash point", &self.effect_crashes)?;
        for (title, row) in [
            ("outcomes", &self.outcomes),
            ("holds", &self.holds),
            ("faults", &self.faults),
        ] {
            write!(f, "{title}:")?;
            for (word, count) in row {
                write!(f, "  {word} {count}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn table(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    cells: &BTreeMap<(&'static str, &'static str), u64>,
) -> fmt::Result {
    let mut columns: Vec<_> = cells.keys().map(|(_, column)| *column).collect();
    columns.sort_unstable();
    columns.dedup();
    let mut rows: Vec<_> = cells.keys().map(|(row, _)| *row).collect();
    rows.dedup();
    write!(f, "{title:<22}")?;
    for column in &columns {
        write!(f, "{column:>15}")?;
    }
    writeln!(f)?;
    for row in rows {
        write!(f, "  {row:<20}")?;
        for column in &columns {
            match cells.get(&(row, *column)) {
                Some(count) => write!(f, "{count:>15}")?,
                None => write!(f, "{:>15}", "-")?,
            }
        }
        writeln!(f)?;
    }
    Ok(())
}
