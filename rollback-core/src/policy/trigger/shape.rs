//! `for`, `times`, `consecutive`, `share` and `average`: from the keys to the shape and back, and
//! shapes that can never be filled.

use std::time::Duration;

use super::TriggerDocument;
use crate::{
    model::duration_text,
    policy::{
        MOST_POLLS, Policy, Shape,
        document::{Share, Text, TimesOf},
        error::Problem,
    },
};

/// Without `over`.
const SHARE_OVER: Duration = Duration::from_secs(600);

pub(super) fn compile(
    index: usize,
    document: &TriggerDocument,
    poll: Duration,
) -> Result<Shape, Problem> {
    let shapes = [
        ("for", document.for_.is_some()),
        ("times", document.times.is_some()),
        ("consecutive", document.consecutive.is_some()),
        ("share", document.share.is_some()),
        ("average", document.average.is_some()),
    ];
    let mut given = shapes.iter().filter(|(_, given)| *given);
    let shape = given.next().map(|(key, _)| *key);
    if let (Some(first), Some((second, _))) = (shape, given.next()) {
        return Err(Problem::new(
            (index, *second),
            format!("`{second}` stands beside `{first}`"),
            "keep one of them, and make a second trigger with the other",
        )
        .about_key());
    }
    let with = [
        ("within", document.within.is_some(), &["consecutive"][..]),
        ("over", document.over.is_some(), &["share"]),
        (
            "min_samples",
            document.min_samples.is_some(),
            &["share", "average"],
        ),
    ];
    if let Some((key, _, belongs)) = with
        .iter()
        .find(|(_, given, belongs)| *given && !shape.is_some_and(|shape| belongs.contains(&shape)))
    {
        return Err(Problem::new(
            (index, *key),
            format!(
                "`{key}` has no meaning without `{}`",
                belongs.join("` or `")
            ),
            "remove it",
        )
        .about_key());
    }
    // Half of what fits: a gap is no reason to say nothing, and a few polls are no average.
    let samples = |over: Duration| {
        document
            .min_samples
            .unwrap_or_else(|| (Shape::polls_in(over, poll) / 2).max(1))
    };
    Ok(if let Some(Text(times)) = document.times {
        Shape::Times {
            bad: times.bad,
            of: times.of,
        }
    } else if let Some(polls) = document.consecutive {
        Shape::InARow {
            polls,
            within: document.within.map(|within| within.0),
        }
    } else if let Some(Share(above)) = document.share {
        let over = document.over.map_or(SHARE_OVER, |over| over.0);
        Shape::Share {
            above,
            over,
            min_samples: samples(over),
        }
    } else if let Some(Text(over)) = document.average {
        Shape::Average {
            over,
            min_samples: samples(over),
        }
    } else {
        Shape::Lasting(document.for_.unwrap_or_default().0)
    })
}

/// Writes the shape into the keys of its document.
pub(super) const fn write(shape: Shape, document: &mut TriggerDocument) {
    match shape {
        Shape::Lasting(time) => document.for_ = Some(Text(time)),
        Shape::Times { bad, of } => document.times = Some(Text(TimesOf { bad, of })),
        Shape::InARow { polls, within } => {
            document.consecutive = Some(polls);
            document.within = match within {
                Some(time) => Some(Text(time)),
                None => None,
            };
        }
        Shape::Share {
            above,
            over,
            min_samples,
        } => {
            document.share = Some(Share(above));
            document.over = Some(Text(over));
            document.min_samples = Some(min_samples);
        }
        Shape::Average { over, min_samples } => {
            document.average = Some(Text(over));
            document.min_samples = Some(min_samples);
        }
    }
}

/// The key that names the shape.
pub(in crate::policy) const fn key(shape: &Shape) -> &'static str {
    match shape {
        Shape::Lasting(_) => "for",
        Shape::Times { .. } => "times",
        Shape::InARow { .. } => "consecutive",
        Shape::Share { .. } => "share",
        Shape::Average { .. } => "average",
    }
}

/// Refuses a shape that no polls can fill.
pub(super) fn check(policy: &Policy, index: usize, shape: &Shape) -> Result<(), Problem> {
    let poll = policy.poll;
    let text = duration_text;
    let problem = |key, message: String, fix: String| Err(Problem::new((index, key), message, fix));
    let too_long = |key, polls: u32| {
        problem(
            key,
            format!("{polls} polls are more than can be remembered"),
            format!("at most {MOST_POLLS} polls; make it shorter, or `poll` longer"),
        )
    };
    match *shape {
        Shape::Lasting(_) => Ok(()),
        Shape::Times { bad, of } => match (bad, of) {
            (0, _) => problem(
                "times",
                format!("0 of {of} polls are always bad"),
                "write at least 1, such as `3 of 5`".to_owned(),
            ),
            (bad, of) if bad > of => problem(
                "times",
                format!("it can never fire: {bad} of {of} polls cannot be bad"),
                format!("write at most `{of} of {of}`"),
            ),
            (_, of) if of > MOST_POLLS => too_long("times", of),
            _ => Ok(()),
        },
        Shape::InARow { polls: 0, .. } => problem(
            "consecutive",
            "0 polls in a row are always bad".to_owned(),
            "write at least 1, such as 3".to_owned(),
        ),
        Shape::InARow { polls, .. } if polls > MOST_POLLS => too_long("consecutive", polls),
        Shape::InARow {
            polls,
            within: Some(within),
        } if shape.least(poll) > within => problem(
            "within",
            format!(
                "it can never fire: {polls} polls, one every {}, take {}",
                text(poll),
                text(shape.least(poll))
            ),
            format!(
                "write at least {}, or poll more often",
                text(shape.least(poll))
            ),
        ),
        Shape::InARow { .. } => Ok(()),
        Shape::Share { above, .. } if above >= 1.0 => problem(
            "share",
            "it can never fire: no more than all polls can be bad".to_owned(),
            "write a share below 100%, such as 10%".to_owned(),
        ),
        Shape::Share {
            over, min_samples, ..
        } => samples(policy, index, "over", over, min_samples),
        Shape::Average { over, min_samples } => {
            samples(policy, index, "average", over, min_samples)
        }
    }
}

fn samples(
    policy: &Policy,
    index: usize,
    key: &'static str,
    over: Duration,
    min_samples: u32,
) -> Result<(), Problem> {
    let poll = policy.poll;
    let text = duration_text;
    let fit = Shape::polls_in(over, poll);
    let problem = |key, message: String, fix: String| Err(Problem::new((index, key), message, fix));
    if fit < 2 {
        return problem(
            key,
            format!(
                "{} is no more than one poll, so it is the last reading",
                text(over)
            ),
            format!("write at least {}", text(poll.saturating_mul(2))),
        );
    }
    if fit > MOST_POLLS {
        return problem(
            key,
            format!("{fit} polls are more than can be remembered"),
            format!("at most {MOST_POLLS} polls; make it shorter, or `poll` longer"),
        );
    }
    if min_samples == 0 {
        return problem(
            "min_samples",
            "0 polls say nothing".to_owned(),
            "write at least 1".to_owned(),
        );
    }
    if min_samples > fit {
        return problem(
            "min_samples",
            format!(
                "it can never fire: {fit} polls fit into {}, one every {}",
                text(over),
                text(poll)
            ),
            format!("write at most {fit}, or make `{key}` longer"),
        );
    }
    Ok(())
}
