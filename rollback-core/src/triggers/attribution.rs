//! What is not the candidate's fault: a condition that holds as well where the candidate cannot be
//! the cause.
//!
//! Elsewhere is *as bad* when the condition holds there by the same comparisons, and lies at least
//! half as far beyond its bound as on the candidate, in the last poll or over the last bad polls
//! together, or cannot be told from the candidate by the counts of the last poll (z below 3). A
//! stable arm at 6 % therefore does not excuse a candidate at 31 % where 5 % is allowed. One poll
//! alone would not do: what both arms share is asked about at each of hundreds of polls, and a small
//! candidate's share strays far enough in some of them. With `for` and `average` the stable arm's last bad moment counts for
//! as long as they reach back and one reading's life, so that one good poll of it does not put the
//! blame on the candidate. With `times`, `consecutive` and `share` each poll that was as bad elsewhere
//! is left to where it belongs, and the rest has to be enough.

use std::{collections::VecDeque, sync::Arc};

use super::{
    held::Counts,
    watched::{View, Watched},
    wording::quantity,
};
use crate::{
    condition::{ComparisonExplanation, Seen, Truth},
    model::{Arm, Timestamp},
    policy::Shape,
};

/// How far beyond its bound, as a share of the candidate's distance, elsewhere has to be.
const HALF: f64 = 0.5;
/// Standard deviations beyond which counts differ.
const CLEARLY: f64 = 3.0;

/// So many bad polls are looked at together.
const TOGETHER: usize = 10;

/// How far the candidate and the stable arm were beyond the bounds in the last bad polls, one pair for
/// each comparison that has numbers; below zero on the good side.
#[derive(Debug, Clone, Default)]
pub(super) struct Apart(VecDeque<Vec<Option<(f64, f64)>>>);

impl Apart {
    pub(super) fn add(&mut self, distances: Vec<Option<(f64, f64)>>) {
        // The poll that is coming in makes it `TOGETHER`.
        if self.0.len() + 1 >= TOGETHER {
            self.0.pop_front();
        }
        self.0.push_back(distances);
    }

    /// Whether the stable arm was as far on the whole, with this poll.
    fn is_as_far(&self, comparison: usize, now: Option<(f64, f64)>) -> bool {
        let before = self
            .0
            .iter()
            .filter_map(|poll| poll.get(comparison).copied().flatten());
        let (trial, stable) = before
            .chain(now)
            .fold((0.0, 0.0), |sum, far| (sum.0 + far.0, sum.1 + far.1));
        trial > 0.0 && stable >= HALF * trial
    }
}

/// How far both arms are beyond each bound in the last poll.
pub(super) fn distances(watched: &Watched, at: Timestamp) -> Vec<Option<(f64, f64)>> {
    let (trial, _) = watched.explained(View::OnTrial, at);
    let (stable, _) = watched.explained(View::Stable, at);
    let pairs = trial.comparisons.iter().zip(&stable.comparisons);
    pairs.map(|(trial, stable)| beyond(trial, stable)).collect()
}

fn beyond(trial: &ComparisonExplanation, stable: &ComparisonExplanation) -> Option<(f64, f64)> {
    let signed = |one: &ComparisonExplanation| {
        let distance = distance(one)?;
        match one.truth == trial.truth {
            true => Some(distance),
            false => Some(-distance),
        }
    };
    Some((signed(trial)?, signed(stable)?))
}

/// Whether the poll that is coming in is as bad elsewhere.
pub(super) fn is_as_bad_now(watched: &Watched, at: Timestamp) -> bool {
    watched.on_trial == Arm::Candidate
        && [View::Stable, View::Before]
            .into_iter()
            .any(|view| is_as_bad(watched, view, at))
}

pub(super) fn also_elsewhere(watched: &Watched, at: Timestamp) -> Option<Arc<str>> {
    if watched.on_trial != Arm::Candidate {
        return None;
    }
    if matches!(
        watched.terms.shape,
        Shape::Times { .. } | Shape::InARow { .. } | Shape::Share { .. }
    ) {
        return over_polls(watched, at);
    }
    if watched.truth(View::OnTrial, at) != Truth::True {
        return None;
    }
    let now = as_bad_now(watched, at);
    if now.is_some() {
        return now;
    }
    let until = watched
        .stable_bad?
        .after(watched.terms.shape.memory(watched.poll))
        .after(watched.believed());
    (at <= until && watched.truth(View::Stable, at) != Truth::True)
        .then(|| Arc::from("the stable release was as bad a moment ago"))
}

/// Without the polls that were as bad elsewhere too few of them are left.
fn over_polls(watched: &Watched, at: Timestamp) -> Option<Arc<str>> {
    let (all, blamed, enough) = watched.blame(at);
    if enough || all.bad == blamed.bad {
        return None;
    }
    as_bad_now(watched, at).or_else(|| {
        let excused = all.bad.saturating_sub(blamed.bad);
        let words = match watched.terms.shape {
            // After one that is excused the row begins anew.
            Shape::InARow { .. } => format!(
                "it was as bad elsewhere within the {} bad polls in a row",
                all.bad
            ),
            _ => format!(
                "it was as bad elsewhere in {excused} of the {} bad polls",
                all.bad
            ),
        };
        Some(words.into())
    })
}

fn as_bad_now(watched: &Watched, at: Timestamp) -> Option<Arc<str>> {
    if watched.truth(View::OnTrial, at) != Truth::True {
        return None;
    }
    for (view, sentence) in [
        (View::Stable, "the stable release is as bad"),
        (View::Before, "it was as bad before the deployment"),
    ] {
        if is_as_bad(watched, view, at) {
            return Some(format!("{sentence}: {}", numbers(watched, view)).into());
        }
    }
    None
}

fn is_as_bad(watched: &Watched, view: View, at: Timestamp) -> bool {
    let (trial, _) = watched.explained(View::OnTrial, at);
    let (other, _) = watched.explained(view, at);
    other.truth == Truth::True
        && trial
            .comparisons
            .iter()
            .zip(&other.comparisons)
            .enumerate()
            .filter(|(_, (trial, _))| trial.decisive)
            .all(|(index, (trial, other))| {
                let together =
                    || view == View::Stable && watched.apart.is_as_far(index, beyond(trial, other));
                trial.truth == other.truth
                    && (is_as_far(trial, other) || together() || is_alike(watched, view))
            })
}

fn is_as_far(trial: &ComparisonExplanation, other: &ComparisonExplanation) -> bool {
    match (distance(trial), distance(other)) {
        (Some(trial), Some(other)) => other >= HALF * trial,
        // Words are equal or they are not.
        _ => true,
    }
}

fn distance(comparison: &ComparisonExplanation) -> Option<f64> {
    match (&comparison.left, &comparison.right) {
        (Seen::Number { value: left, .. }, Seen::Number { value: right, .. }) => {
            Some((left - right).abs())
        }
        _ => None,
    }
}

/// Whether the counts of the last poll are too few to tell the two apart.
fn is_alike(watched: &Watched, view: View) -> bool {
    (0..watched.terms.reads.len()).any(|slot| {
        let counts = |view| watched.held(view, slot, None).and_then(|held| held.counts);
        match (counts(View::OnTrial), counts(view)) {
            (Some(trial), Some(other)) => deviations(trial, other) < CLEARLY,
            _ => false,
        }
    })
}

/// How many standard deviations `a` lies above `b`: two shares, pooled.
#[expect(clippy::cast_precision_loss, reason = "counts of one poll")]
fn deviations(a: Counts, b: Counts) -> f64 {
    if a.total == 0 || b.total == 0 {
        return 0.0;
    }
    let pooled = a.plus(b).ratio();
    let variance = pooled * (1.0 - pooled) * (1.0 / a.total as f64 + 1.0 / b.total as f64);
    if variance <= 0.0 {
        0.0
    } else {
        (a.ratio() - b.ratio()) / libm::sqrt(variance)
    }
}

fn numbers(watched: &Watched, view: View) -> String {
    let parts: Vec<String> = watched
        .terms
        .reads
        .iter()
        .enumerate()
        .filter(|(_, read)| read.on_trial())
        .filter_map(|(slot, read)| {
            let held = watched.held(view, slot, None)?;
            let value = match held.word() {
                Some(word) => format!("'{word}'"),
                None => quantity(held.number()?, read.slot.unit),
            };
            let counts = held.counts.map_or_else(String::new, |counts| {
                format!(" ({} of {} requests)", counts.bad, counts.total)
            });
            Some(format!("{} is {value}{counts}", read.metric.id))
        })
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_of_shares() {
        let counts = |bad, total| Counts { bad, total };
        assert!(deviations(counts(31, 100), counts(6, 100)) > CLEARLY);
        assert!(deviations(counts(8, 100), counts(6, 100)) < 1.0);
        assert!(deviations(counts(0, 100), counts(0, 100)) < CLEARLY);
        assert!(deviations(counts(5, 0), counts(0, 100)) < CLEARLY);
    }
}
