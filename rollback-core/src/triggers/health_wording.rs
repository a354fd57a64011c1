//! The numbers of a health score, and its one sentence for people.

use super::{
    health::{Checked, Count},
    shape_wording::{in_which_polls, polls_so_far},
    streak::Seen,
    wording::quantity,
};
use crate::{
    condition::Unit,
    model::{Explanation, Figure, Timestamp, Verdict, Window, duration_text},
    policy::{FailsAt, Health, HealthClass, Shape},
    ports::Evidence as _,
};

pub(super) fn explanation(checked: &Checked, at: Timestamp) -> Explanation {
    let health = &checked.terms.health;
    let count = checked.count(at, false);
    let mut queries: Vec<String> = Vec::new();
    let mut window: Option<Window> = None;
    let mut counts = Vec::new();
    let mut failing = Vec::new();
    for (check, watched) in health.checks.iter().zip(&checked.checks) {
        let told = watched.explain(at);
        for query in told.queries {
            if !queries.contains(&query) {
                queries.push(query);
            }
        }
        window = match (window, told.window) {
            (Some(a), Some(b)) => Some(Window::new(a.from.min(b.from), a.to.max(b.to))),
            (one, other) => one.or(other),
        };
        if watched.verdict(at) == Verdict::Fail {
            let critical = if check.critical {
                "critical check "
            } else {
                ""
            };
            failing.push(format!("{critical}{} fails: {}", check.name, told.sentence));
            if counts.is_empty() {
                counts = told.counts;
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of checks")]
    let number = |count: usize| count as f64;
    Explanation {
        rule: rule(checked),
        queries,
        window,
        counts,
        figures: vec![
            Figure::new("score", health.share(count.passing), Unit::Ratio.name()),
            Figure::new("passing", number(count.passing), ""),
            Figure::new("failing", number(count.failing), ""),
            Figure::new("unseen", number(count.unseen_checks), ""),
        ],
        threshold: Some(match lowest(health) {
            Some(lowest) => Figure::new("score", lowest, Unit::Ratio.name()),
            None => Figure::new("critical_failing", 1.0, ""),
        }),
        would_pass: Some(format!(
            "{}{}",
            passes(health),
            in_which_polls(&checked.terms.shape)
        )),
        sentence: sentence(checked, &count, &failing, at),
    }
}

/// The lowest score that is allowed, if it is the score that counts.
const fn lowest(health: &Health) -> Option<f64> {
    match health.fails_at {
        FailsAt::Critical => None,
        FailsAt::Unhealthy => Some(health.degraded),
        FailsAt::Degraded => Some(health.healthy),
    }
}

fn rule(checked: &Checked) -> String {
    let health = &checked.terms.health;
    let class = match health.fails_at {
        FailsAt::Critical => HealthClass::Critical,
        FailsAt::Unhealthy => HealthClass::Unhealthy,
        FailsAt::Degraded => HealthClass::Degraded,
    };
    let worse = match health.fails_at {
        FailsAt::Critical => "",
        _ => " or worse",
    };
    format!(
        "health is {class}{worse}, by {} checks{}",
        health.checks.len(),
        checked.terms.shape
    )
}

fn passes(health: &Health) -> String {
    let critical = health.checks.iter().any(|check| check.critical);
    let score = lowest(health).map(|lowest| {
        format!(
            "at least {} of the checks pass",
            quantity(lowest, Unit::Ratio)
        )
    });
    match (critical, score) {
        (true, Some(score)) => format!("no critical check fails and {score}"),
        (true, None) => "no critical check fails".to_owned(),
        (false, score) => score.unwrap_or_default(),
    }
}

fn sentence(checked: &Checked, count: &Count, failing: &[String], at: Timestamp) -> String {
    let health = &checked.terms.health;
    let poll = checked.poll_at(at, false);
    let shape = &checked.terms.shape;
    let polls = polls_so_far(shape, checked.polls().counted_with(&poll));
    if poll.seen == Seen::Nothing {
        return format!(
            "{} cannot tell: {}{polls}",
            checked.terms.name,
            checked.verdict(at)
        );
    }
    let held = checked.polls().streak_with(&poll).held;
    let lasting = if poll.seen == Seen::Bad && !held.is_zero() {
        format!(" for {}", duration_text(held))
    } else {
        String::new()
    };
    let unseen = match count.unseen_checks {
        0 => String::new(),
        unseen => format!(", {unseen} could not be seen"),
    };
    let told = match failing {
        [] => String::new(),
        failing => format!("; {}", failing.join("; ")),
    };
    let not_yet = match (checked.verdict(at), shape) {
        (Verdict::Inconclusive(_), Shape::Lasting(time)) => {
            format!("; not yet for {}", duration_text(*time))
        }
        _ => String::new(),
    };
    format!(
        "health was {}{lasting}: {} of {} checks pass ({}){unseen}{told}{polls}{not_yet}",
        count.class(health),
        count.passing,
        health.checks.len(),
        quantity(health.share(count.passing), Unit::Ratio),
    )
}
