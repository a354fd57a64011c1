//! How often, or for how long, a condition has to be true before its rule fails.

use std::{fmt, time::Duration};

use crate::model::duration_text;

/// A rule remembers at most so many polls.
pub const MOST_POLLS: u32 = 1_000;

/// What turns single polls into a verdict. A poll that could not see counts neither way.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Shape {
    /// True for so long without a break; zero: one poll decides.
    Lasting(Duration),
    /// True in `bad` of the last `of` polls.
    Times {
        /// So many are too many …
        bad: u32,
        /// … of so many.
        of: u32,
    },
    /// True in so many polls, one after the other.
    InARow {
        /// So many are too many.
        polls: u32,
        /// And all of them within this time; none is any time.
        within: Option<Duration>,
    },
    /// True in more than a share of the polls.
    Share {
        /// More than this is too much; 0 to 1.
        above: f64,
        /// Of the polls of this time.
        over: Duration,
        /// Fewer polls than this say nothing.
        min_samples: u32,
    },
    /// True of the averages of the metrics, instead of their last values.
    Average {
        /// Over this time.
        over: Duration,
        /// Fewer readings than this say nothing.
        min_samples: u32,
    },
}

impl Shape {
    /// One poll decides.
    pub const ONCE: Self = Self::Lasting(Duration::ZERO);

    /// How many polls fit into a time.
    #[must_use]
    pub fn polls_in(time: Duration, poll: Duration) -> u32 {
        let polls = time.as_millis().div_ceil(poll.as_millis().max(1));
        u32::try_from(polls).unwrap_or(u32::MAX)
    }

    /// Whether a single poll is enough to fail.
    #[must_use]
    pub const fn decides_at_once(&self) -> bool {
        match self {
            Self::Lasting(time) => time.is_zero(),
            Self::Times { bad, .. } => *bad <= 1,
            Self::InARow { polls, .. } => *polls <= 1,
            Self::Share { min_samples, .. } | Self::Average { min_samples, .. } => {
                *min_samples <= 1
            }
        }
    }

    /// The least time from the first bad poll to the failure.
    #[must_use]
    pub fn least(&self, poll: Duration) -> Duration {
        let more = |polls: u32| poll.saturating_mul(polls.saturating_sub(1));
        match self {
            Self::Lasting(time) => *time,
            Self::Times { bad: polls, .. }
            | Self::InARow { polls, .. }
            | Self::Share {
                min_samples: polls, ..
            }
            | Self::Average {
                min_samples: polls, ..
            } => more(*polls),
        }
    }

    /// The longest time from the first poll that is bad to the failure, if every poll from there on
    /// is bad and can be seen, whatever was before.
    #[must_use]
    pub fn longest(&self, poll: Duration) -> Duration {
        let more = |polls: u32| poll.saturating_mul(polls.saturating_sub(1));
        match self {
            Self::Lasting(time) => poll.saturating_mul(Self::polls_in(*time, poll)),
            Self::Times { bad: polls, .. } | Self::InARow { polls, .. } => more(*polls),
            Self::Share {
                above,
                over,
                min_samples,
            } => {
                let all = Self::polls_in(*over, poll).min(MOST_POLLS);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "at most MOST_POLLS, not negative"
                )]
                let bad = libm::floor(f64::from(all) * above) as u32;
                more((bad + 1).max(*min_samples))
            }
            // Until nothing of the time before is left in the average.
            Self::Average { over, min_samples } => {
                more(Self::polls_in(*over, poll).max(*min_samples))
            }
        }
    }

    /// How far back a failure can reach.
    #[must_use]
    pub fn memory(&self, poll: Duration) -> Duration {
        match self {
            Self::Lasting(time) => *time,
            Self::Times { of: polls, .. }
            | Self::InARow {
                polls,
                within: None,
            } => poll.saturating_mul(*polls),
            Self::InARow {
                within: Some(time), ..
            }
            | Self::Share { over: time, .. }
            | Self::Average { over: time, .. } => *time,
        }
    }
}

/// What follows the condition in the rule's text; nothing for [`Shape::ONCE`].
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = duration_text;
        match self {
            Self::Lasting(time) if time.is_zero() => Ok(()),
            Self::Lasting(time) => write!(f, " for {}", text(*time)),
            Self::Times { bad, of } => write!(f, " in {bad} of the last {of} polls"),
            Self::InARow { polls, within } => {
                write!(f, " in {polls} polls in a row")?;
                within.map_or(Ok(()), |time| write!(f, " within {}", text(time)))
            }
            Self::Share {
                above,
                over,
                min_samples,
            } => write!(
                f,
                " in more than {} of the polls over {}, at least {min_samples}",
                super::values::percent(*above),
                text(*over)
            ),
            Self::Average { over, .. } => write!(f, " on average over {}", text(*over)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn times_at_best_and_at_worst() {
        let share = |above| Shape::Share {
            above,
            over: seconds(600),
            min_samples: 20,
        };
        for (shape, least, longest) in [
            (Shape::ONCE, 0, 0),
            (Shape::Lasting(seconds(25)), 25, 30),
            (Shape::Times { bad: 3, of: 5 }, 20, 20),
            (
                Shape::InARow {
                    polls: 3,
                    within: None,
                },
                20,
                20,
            ),
            // Ten per cent of sixty polls are six: the seventh is too many, and twenty are needed.
            (share(0.1), 190, 190),
            (share(0.5), 190, 300),
            (
                Shape::Average {
                    over: seconds(60),
                    min_samples: 3,
                },
                20,
                50,
            ),
        ] {
            let poll = seconds(10);
            assert_eq!(shape.least(poll), seconds(least), "{shape}");
            assert_eq!(shape.longest(poll), seconds(longest), "{shape}");
        }
    }
}
