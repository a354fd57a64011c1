//! The numbers of a threshold, and its one sentence for people.

use std::fmt::Write as _;

use super::{
    held::Counts,
    shape_wording::{in_which_polls, polls_so_far},
    streak::Streak,
    watched::{View, Watched},
};
use crate::{
    condition::{ComparisonExplanation, Passing, Seen, Unit},
    model::{
        Arm, ArmCounts, Explanation, Figure, InstanceId, Timestamp, Verdict, Window, duration_text,
    },
    policy::{PerScope, Shape},
    ports::Evidence as _,
};

pub(super) fn explanation(watched: &Watched, at: Timestamp) -> Explanation {
    let terms = &watched.terms;
    let (explained, row) = watched.explained(View::OnTrial, at);
    let streak = watched.streak_at(at);
    let decisive: Vec<&ComparisonExplanation> = explained
        .comparisons
        .iter()
        .filter(|c| c.decisive)
        .collect();
    let passing = || decisive.iter().filter_map(|c| c.passing.as_ref());
    let would_pass: Vec<String> = passing()
        .map(|p| condition_text(p, p_relation(p)))
        .collect();
    let mut queries: Vec<String> = Vec::new();
    for read in &terms.reads {
        let query = format!("{}: {}", read.metric.id, read.metric.query);
        if !queries.contains(&query) {
            queries.push(query);
        }
    }
    Explanation {
        rule: rule(watched),
        queries,
        window: window(watched, &streak, at),
        counts: counts(watched, &streak, row),
        figures: figures(watched, row, at),
        threshold: passing().find_map(|p| match &p.bound {
            Seen::Number { value, unit } => Some(Figure::new(&p.subject, *value, unit.name())),
            _ => None,
        }),
        would_pass: (!would_pass.is_empty()).then(|| {
            format!(
                "{}{}",
                would_pass.join(" and "),
                in_which_polls(&terms.shape)
            )
        }),
        sentence: sentence(watched, &streak, &decisive, row, at),
    }
}

fn rule(watched: &Watched) -> String {
    format!("{}{}", watched.terms.condition, watched.terms.shape)
}

/// From the first window that counts to the last.
fn window(watched: &Watched, streak: &Streak, at: Timestamp) -> Option<Window> {
    let last = watched.window();
    let polls = watched
        .counted_at(at)
        .ends
        .zip(last)
        .map(|((first, _), last)| {
            // The window of the first poll is as long as that of the last, as far as anyone remembers.
            Window::new(first.before(last.length()), last.to)
        });
    let averaged = matches!(watched.terms.shape, Shape::Average { .. })
        .then(|| watched.span())
        .flatten();
    averaged.or(polls).or(streak.window).or(last)
}

fn sentence(
    watched: &Watched,
    streak: &Streak,
    decisive: &[&ComparisonExplanation],
    row: Option<&InstanceId>,
    at: Timestamp,
) -> String {
    let verdict = watched.verdict(at);
    let shape = &watched.terms.shape;
    if let Some((have, need)) = watched.lacks(at) {
        return format!(
            "{} cannot tell: {have} of {need} readings for an average{}",
            watched.terms.name,
            if let Shape::Average { over, .. } = shape {
                format!(" over {}", duration_text(*over))
            } else {
                String::new()
            }
        );
    }
    let polls = polls_so_far(shape, watched.counted_at(at));
    if let Verdict::Unknown(reason) = &verdict {
        return format!("{} cannot tell: {reason}{polls}", watched.terms.name);
    }
    let bad = watched.poll_at(at).seen == super::streak::Seen::Bad;
    let held = streak.held;
    let lasting = match shape {
        Shape::Average { over, .. } => format!(" on average over {}", duration_text(*over)),
        _ if bad && !held.is_zero() => format!(" for {}", duration_text(held)),
        _ => String::new(),
    };
    let whose = row.map_or_else(String::new, |row| format!(" on {row}"));
    let parts: Vec<String> = decisive
        .iter()
        .map(|comparison| part(watched, streak, comparison, row, &whose, &lasting, bad))
        .collect();
    let mut text = parts.join(" and ");
    text.push_str(&polls);
    if let (Verdict::Inconclusive(_), Shape::Lasting(time)) = (&verdict, shape) {
        // Writing into a String cannot fail.
        let _ = write!(text, "; not yet for {}", duration_text(*time));
    }
    text
}

/// `errors was 31.2 % (125 of 401 requests) for 2s, above 5 %`
fn part(
    watched: &Watched,
    streak: &Streak,
    comparison: &ComparisonExplanation,
    row: Option<&InstanceId>,
    whose: &str,
    lasting: &str,
    bad: bool,
) -> String {
    let Some(passing) = &comparison.passing else {
        return format!(
            "`{}` was {}: {} against {}",
            comparison.source,
            // Below a `!`, what is bad is false.
            bad != comparison.negated,
            seen(&comparison.left),
            seen(&comparison.right)
        );
    };
    let slot = slot_of(watched, passing);
    let (value, counts) = match slot.map(|slot| value(watched, streak, slot, row, bad)) {
        Some((Some(value), counts)) => (value, counts),
        _ => (comparison.left.clone(), None),
    };
    let relation = verbal(p_relation(passing), bad);
    let bound = bound_text(&value, &passing.bound);
    let relation = match relation {
        Some(word) => format!(", {word} {bound}"),
        None => String::new(),
    };
    format!(
        "{} was {}{}{whose}{lasting}{relation}",
        passing.subject,
        seen(&value),
        counts.map_or_else(String::new, |c| format!(
            " ({} of {} requests)",
            c.bad, c.total
        )),
    )
}

/// The value at a place of the condition; while it is bad, over the whole stretch.
fn value(
    watched: &Watched,
    streak: &Streak,
    slot: usize,
    row: Option<&InstanceId>,
    bad: bool,
) -> (Option<Seen>, Option<Counts>) {
    let Some(read) = watched.terms.reads.get(slot) else {
        return (None, None);
    };
    let unit = read.slot.unit;
    let counts = (bad && row.is_none())
        .then(|| watched.sum(slot, streak))
        .filter(|sum| sum.total > 0)
        .or_else(|| watched.held(View::OnTrial, slot, row)?.counts);
    let share = match unit {
        Unit::Ratio => 1.0,
        Unit::Percent => 100.0,
        _ => return (None, None),
    };
    match counts {
        Some(counts) => (
            Some(Seen::Number {
                value: counts.ratio() * share,
                unit,
            }),
            Some(counts),
        ),
        None => (None, None),
    }
}

fn slot_of(watched: &Watched, passing: &Passing) -> Option<usize> {
    let reads = &watched.terms.reads;
    reads
        .iter()
        .position(|read| read.slot.to_string() == passing.subject)
}

fn counts(watched: &Watched, streak: &Streak, row: Option<&InstanceId>) -> Vec<ArmCounts> {
    let mut found: Vec<ArmCounts> = Vec::new();
    let mut add = |arm: Option<Arm>, counts: Counts| {
        if found.iter().all(|known| known.arm != arm) {
            found.push(ArmCounts {
                arm,
                bad: counts.bad,
                total: counts.total,
            });
        }
    };
    for (slot, read) in watched.terms.reads.iter().enumerate() {
        let arm = (read.metric.per != PerScope::Service).then_some(watched.on_trial);
        let sums = streak
            .window
            .map(|_| watched.sum(slot, streak))
            .filter(|sum| sum.total > 0);
        let last = || watched.held(View::OnTrial, slot, row)?.counts;
        if read.on_trial()
            && let Some(counts) = sums.or_else(last)
        {
            add(arm, counts);
        }
        if watched.on_trial == Arm::Candidate
            && let Some(counts) = watched
                .held(View::Stable, slot, None)
                .and_then(|held| held.counts)
        {
            add(Some(Arm::Stable), counts);
        }
    }
    found
}

fn figures(watched: &Watched, row: Option<&InstanceId>, at: Timestamp) -> Vec<Figure> {
    let mut found: Vec<Figure> = Vec::new();
    let counted = watched.counted_at(at);
    if counted.polls > 0 {
        found.push(Figure::new("bad_polls", f64::from(counted.bad), ""));
        found.push(Figure::new("polls", f64::from(counted.polls), ""));
    }
    for (slot, read) in watched.terms.reads.iter().enumerate() {
        let views = [
            (View::OnTrial, read.slot.to_string()),
            (View::Stable, format!("stable({})", read.metric.id)),
            (View::Before, format!("baseline({})", read.metric.id)),
        ];
        for (view, name) in views {
            if view == View::Stable && watched.on_trial == Arm::Stable {
                continue;
            }
            let number = watched
                .held(view, slot, row.filter(|_| view == View::OnTrial))
                .and_then(super::held::Held::number);
            if let Some(number) = number
                && found.iter().all(|figure| *figure.name != *name)
            {
                found.push(Figure::new(name, number, read.slot.unit.name()));
            }
        }
    }
    found
}

fn p_relation(passing: &Passing) -> &str {
    &passing.relation
}

/// The relation in words, when it holds or, if `bad`, when it does not.
fn verbal(passes: &str, bad: bool) -> Option<&'static str> {
    Some(match (passes, bad) {
        ("<=", false) | (">", true) => "at most",
        ("<=", true) | (">", false) => "above",
        ("<", false) | (">=", true) => "below",
        ("<", true) | (">=", false) => "at least",
        ("==", true) | ("!=", false) => "not",
        _ => return None,
    })
}

fn condition_text(passing: &Passing, relation: &str) -> String {
    format!("{} {relation} {}", passing.subject, seen(&passing.bound))
}

fn bound_text(value: &Seen, bound: &Seen) -> String {
    let (shown, text) = (seen(value), seen(bound));
    // Rounding must not make two different numbers look the same.
    match (value, bound) {
        (Seen::Number { value: a, .. }, Seen::Number { value: b, unit })
            if a != b && shown == text =>
        {
            format!("{b} {unit}")
        }
        _ => text,
    }
}

fn seen(seen: &Seen) -> String {
    match seen {
        Seen::Number { value, unit } => quantity(*value, *unit),
        Seen::Text(word) => format!("'{word}'"),
        Seen::Unknown { text, .. } => format!("unknown ({text})"),
    }
}

/// A value for people: `31.2 %`, `2.3s`, `512MiB`.
pub(super) fn quantity(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ratio => format!("{} %", short(value * 100.0)),
        Unit::Percent => format!("{} %", short(value)),
        Unit::Milliseconds if value.abs() < 1_000.0 => format!("{}ms", short(value)),
        Unit::Milliseconds => format!("{}s", short(value / 1_000.0)),
        Unit::Seconds => format!("{}s", short(value)),
        Unit::Bytes => {
            let (scale, name) = [
                (1_073_741_824.0, "GiB"),
                (1_048_576.0, "MiB"),
                (1_024.0, "KiB"),
            ]
            .into_iter()
            .find(|(scale, _)| value.abs() >= *scale)
            .unwrap_or((1.0, "B"));
            format!("{}{name}", short(value / scale))
        }
        Unit::Count | Unit::State => short(value),
    }
}

/// Three significant digits, and all digits of the whole part.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    let decimals = if size >= 100.0 || size == 0.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else if size >= 0.1 {
        3
    } else if size >= 0.01 {
        4
    } else {
        return format!("{value:.2e}");
    };
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        Some((whole, part)) if part.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        Some(_) => text.trim_end_matches('0').to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_for_people() {
        for (value, unit, text) in [
            (0.312, Unit::Ratio, "31.2 %"),
            (0.05, Unit::Ratio, "5 %"),
            (0.0, Unit::Percent, "0 %"),
            (0.052, Unit::Percent, "0.052 %"),
            (250.0, Unit::Milliseconds, "250ms"),
            (2_300.0, Unit::Milliseconds, "2.3s"),
            (12_345.0, Unit::Count, "12345"),
            (536_870_912.0, Unit::Bytes, "512MiB"),
            (0.000_01, Unit::Ratio, "1.00e-3 %"),
        ] {
            assert_eq!(quantity(value, unit), text);
        }
    }
}
