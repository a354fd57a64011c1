//! The polls of a watch as a rule's shape looks at them.

use std::time::Duration;

use super::{
    streak::{Seen, Streak},
    tally::{Counted, Tally},
};
use crate::{model::Window, policy::Shape};

/// What was seen up to the poll before the one that is coming in.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Polls {
    pub(super) streak: Streak,
    tally: Tally,
}

/// One poll, and how its shape looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Poll {
    pub(super) shape: Shape,
    pub(super) seen: Seen,
    /// The last window of what is on trial.
    pub(super) window: Option<Window>,
    /// How long a reading is believed.
    pub(super) believed: Duration,
    /// The time between two polls.
    pub(super) every: Duration,
}

/// What follows from the polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Bad,
    Good,
    NotYet,
}

impl Polls {
    pub(super) fn add(&mut self, poll: &Poll) {
        self.streak = self.streak_with(poll);
        self.tally
            .add(&poll.shape, poll.seen, poll.window, poll.believed);
    }

    /// The stretch in which it was bad, with one more poll.
    pub(super) fn streak_with(&self, poll: &Poll) -> Streak {
        self.streak.after(poll.seen, poll.window, poll.believed)
    }

    /// How many were bad, with one more poll.
    pub(super) fn counted_with(&self, poll: &Poll) -> Counted {
        self.tally
            .with(&poll.shape, poll.seen, poll.window, poll.believed)
    }

    /// What follows, with one more poll. One that could not see says nothing.
    pub(super) fn say(&self, poll: &Poll) -> Said {
        let bad = match poll.seen {
            Seen::Bad => true,
            Seen::Good => false,
            Seen::Nothing => return Said::NotYet,
        };
        let counted = || self.counted_with(poll);
        match poll.shape {
            Shape::Lasting(time) if bad => {
                let streak = self.streak_with(poll);
                // Polls are never quite on time.
                let tolerance = (poll.every / 10).min(time / 10);
                if streak.window.is_some() && streak.held + tolerance >= time {
                    Said::Bad
                } else {
                    Said::NotYet
                }
            }
            Shape::Times { bad, of } => {
                let counted = counted();
                let missing = of.saturating_sub(counted.polls);
                if counted.bad >= bad {
                    Said::Bad
                } else if counted.bad.saturating_add(missing) < bad {
                    // Good even if all that was not seen had been bad.
                    Said::Good
                } else {
                    Said::NotYet
                }
            }
            Shape::InARow { polls, .. } if bad => {
                if counted().bad >= polls {
                    Said::Bad
                } else {
                    Said::NotYet
                }
            }
            Shape::Share {
                above, min_samples, ..
            } => {
                let counted = counted();
                if counted.polls < min_samples {
                    Said::NotYet
                } else if f64::from(counted.bad) > above * f64::from(counted.polls) {
                    Said::Bad
                } else {
                    Said::Good
                }
            }
            Shape::Average { .. } if bad => Said::Bad,
            _ => Said::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use Seen::{Bad, Good, Nothing};

    /// What is said after each of these polls, one a second.
    fn said(shape: Shape, polls: &[Seen]) -> Vec<Said> {
        let mut known = Polls::default();
        let mut said = Vec::new();
        for (to, seen) in (1..).zip(polls) {
            let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
            let poll = Poll {
                shape,
                seen: *seen,
                window: Some(Window::new(at(to - 1), at(to))),
                believed: Duration::from_secs(3),
                every: Duration::from_secs(1),
            };
            said.push(known.say(&poll));
            known.add(&poll);
        }
        said
    }

    #[test]
    fn each_shape_says_when_it_is_enough() {
        use Said::{Bad as B, Good as G, NotYet as N};
        let second = Duration::from_secs(1);
        let three_of_five = Shape::Times { bad: 3, of: 5 };
        let share = Shape::Share {
            above: 0.5,
            over: second * 60,
            min_samples: 3,
        };
        for (shape, polls, expected) in [
            (Shape::ONCE, &[Good, Bad, Good][..], &[G, B, G][..]),
            (
                Shape::Lasting(second * 2),
                &[Bad, Bad, Bad, Good],
                &[N, N, B, G],
            ),
            // Three good ones of five cannot be undone by the two that are missing.
            (three_of_five, &[Good, Good, Good], &[N, N, G]),
            (
                three_of_five,
                &[Good, Bad, Bad, Good, Good],
                &[N, N, N, N, G],
            ),
            // Also while the last poll is good.
            (
                three_of_five,
                &[Bad, Bad, Good, Bad, Good, Good],
                &[N, N, N, B, B, G],
            ),
            (
                Shape::InARow {
                    polls: 2,
                    within: None,
                },
                &[Bad, Good, Bad, Nothing, Bad, Good],
                &[N, G, N, N, B, G],
            ),
            // Exactly half is not more than half, and two are too few.
            (share, &[Bad, Bad, Good, Good, Bad], &[N, N, B, G, B]),
        ] {
            assert_eq!(said(shape, polls), expected, "{shape} {polls:?}");
        }
    }
}
