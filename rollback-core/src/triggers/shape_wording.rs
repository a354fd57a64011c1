//! A shape, and the polls that it counts, in words for people.

use std::{sync::Arc, time::Duration};

use super::{tally::Counted, wording::quantity};
use crate::{condition::Unit, model::duration_text, policy::Shape};

/// What is said while the polls so far are neither bad enough nor good.
pub(super) fn pending(shape: &Shape) -> Arc<str> {
    Arc::from(match shape {
        Shape::Lasting(time) => format!("true, and not yet for {}", duration_text(*time)),
        Shape::Times { bad, of } => {
            format!("{bad} of {of} polls are too many, and not all are seen yet")
        }
        Shape::InARow { polls, .. } => {
            format!("true, and not yet in {polls} polls in a row")
        }
        Shape::Share { min_samples, .. } => format!("fewer than {min_samples} polls yet"),
        Shape::Average { min_samples, over } => format!(
            "fewer than {min_samples} readings yet for an average over {}",
            duration_text(*over)
        ),
    })
}

/// In which polls the values would have had to be good.
pub(super) fn in_which_polls(shape: &Shape) -> String {
    match shape {
        Shape::Lasting(_) => String::new(),
        Shape::Times { bad, of } => {
            let good = of.saturating_sub(*bad).saturating_add(1);
            format!(" in {good} of the last {of} polls")
        }
        Shape::InARow { polls, .. } => format!(" in one of {polls} polls in a row"),
        Shape::Share { above, over, .. } => format!(
            " in at least {} of the polls over {}",
            quantity(1.0 - above, Unit::Ratio),
            duration_text(*over)
        ),
        Shape::Average { over, .. } => format!(" on average over {}", duration_text(*over)),
    }
}

/// What the polls so far add up to, beside the last values.
pub(super) fn polls_so_far(shape: &Shape, counted: Counted) -> String {
    let Counted { bad, polls, ends } = counted;
    let were = |count: u32| if count == 1 { "was" } else { "were" };
    let word = |count: u32| if count == 1 { "poll" } else { "polls" };
    match shape {
        Shape::Lasting(_) | Shape::Average { .. } => String::new(),
        Shape::Times { bad: most, of } => format!(
            "; {bad} of the last {polls} {} {} bad, and {most} of {of} are too many",
            word(polls),
            were(bad)
        ),
        Shape::InARow {
            polls: most,
            within,
        } => {
            let taken = ends.map_or(Duration::ZERO, |(first, last)| last.since(first));
            let within = within.map_or_else(String::new, |time| {
                format!(" within {}", duration_text(time))
            });
            let taken = if bad > 1 {
                format!(" within {}", duration_text(taken))
            } else {
                String::new()
            };
            format!(
                "; {bad} bad {} in a row{taken}, and {most}{within} {} too many",
                word(bad),
                if *most == 1 { "is" } else { "are" }
            )
        }
        Shape::Share {
            above,
            over,
            min_samples,
        } => {
            let few = if polls < *min_samples {
                format!("; fewer than {min_samples} polls say nothing")
            } else {
                String::new()
            };
            format!(
                "; {bad} of {polls} {} over {} {} bad ({}), and more than {} is too many{few}",
                word(polls),
                duration_text(*over),
                were(bad),
                quantity(f64::from(bad) / f64::from(polls.max(1)), Unit::Ratio),
                quantity(*above, Unit::Ratio),
            )
        }
    }
}
