//! `times`, `consecutive` and `share`: how many polls were bad.
//!
//! A poll that could not see, or that showed nothing new, counts neither way. The polls are kept in
//! a ring whose length the policy bounds.

use std::{collections::VecDeque, time::Duration};

use super::streak::Seen;
use crate::{
    model::{Timestamp, Window},
    policy::{MOST_POLLS, Shape},
};

/// The polls that the shape looks at.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tally {
    /// The end of each poll's window, and whether it was bad.
    polls: VecDeque<(Timestamp, bool)>,
    bad: u32,
    /// How long the last one's reading is believed.
    believed: Duration,
}

/// What the polls add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counted {
    pub(super) bad: u32,
    pub(super) polls: u32,
    /// The end of the first one's window, and of the last one's.
    pub(super) ends: Option<(Timestamp, Timestamp)>,
}

impl Tally {
    /// Takes what one poll said about `window`.
    pub(super) fn add(
        &mut self,
        shape: &Shape,
        seen: Seen,
        window: Option<Window>,
        believed: Duration,
    ) {
        let Some((to, bad)) = self.news(shape, seen, window) else {
            return;
        };
        for _ in 0..self.leaving(shape, to, bad, believed) {
            if let Some((_, true)) = self.polls.pop_front() {
                self.bad = self.bad.saturating_sub(1);
            }
        }
        self.believed = believed;
        if bad || !in_a_row(shape) {
            self.polls.push_back((to, bad));
            self.bad += u32::from(bad);
        }
    }

    /// What the polls add up to with one more, which is not kept.
    pub(super) fn with(
        &self,
        shape: &Shape,
        seen: Seen,
        window: Option<Window>,
        believed: Duration,
    ) -> Counted {
        let Some((to, bad)) = self.news(shape, seen, window) else {
            return self.counted();
        };
        let leaving = self.leaving(shape, to, bad, believed);
        let gone = self.polls.iter().take(leaving);
        let gone = gone.fold(0, |sum, (_, bad)| sum + u32::from(*bad));
        let first = self.polls.get(leaving).map_or(to, |(first, _)| *first);
        let kept = u32::try_from(self.polls.len() - leaving).unwrap_or(u32::MAX);
        if in_a_row(shape) && !bad {
            return Counted::default();
        }
        Counted {
            bad: self.bad.saturating_sub(gone) + u32::from(bad),
            polls: kept + 1,
            ends: Some((first, to)),
        }
    }

    fn counted(&self) -> Counted {
        let ends = self.polls.front().zip(self.polls.back());
        Counted {
            bad: self.bad,
            polls: u32::try_from(self.polls.len()).unwrap_or(u32::MAX),
            ends: ends.map(|((first, _), (last, _))| (*first, *last)),
        }
    }

    /// A poll that counts.
    fn news(&self, shape: &Shape, seen: Seen, window: Option<Window>) -> Option<(Timestamp, bool)> {
        let counts = matches!(
            shape,
            Shape::Times { .. } | Shape::InARow { .. } | Shape::Share { .. }
        );
        let to = window?.to;
        let is_new = self.polls.back().is_none_or(|(last, _)| to > *last);
        match seen {
            Seen::Bad if counts && is_new => Some((to, true)),
            Seen::Good if counts && is_new => Some((to, false)),
            _ => None,
        }
    }

    /// How many of the oldest polls make room for the new one.
    fn leaving(&self, shape: &Shape, to: Timestamp, bad: bool, believed: Duration) -> usize {
        let all = self.polls.len();
        // After a long time without sight these are not the last polls any more, although one long
        // window may tell of all of it.
        let believed = believed.min(self.believed);
        let broken = self
            .polls
            .back()
            .is_some_and(|(last, _)| to.since(*last) > believed);
        let older_than = |time: Duration| {
            let mut polls = self.polls.iter();
            polls
                .position(|(end, _)| to.since(*end) < time)
                .unwrap_or(all)
        };
        let more_than = |most: u32| {
            let most = usize::try_from(most.clamp(1, MOST_POLLS)).unwrap_or(1);
            (all + 1).saturating_sub(most).min(all)
        };
        match shape {
            Shape::Times { .. } | Shape::InARow { .. } if broken => all,
            Shape::Times { of, .. } => more_than(*of),
            Shape::InARow { .. } if !bad => all,
            Shape::InARow { polls, within } => {
                let late = within.map_or(0, |time| {
                    older_than(time.saturating_add(Duration::from_millis(1)))
                });
                more_than(*polls).max(late)
            }
            Shape::Share { over, .. } => more_than(MOST_POLLS).max(older_than(*over)),
            _ => all,
        }
    }
}

const fn in_a_row(shape: &Shape) -> bool {
    matches!(shape, Shape::InARow { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Seen::{Bad, Good, Nothing};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Bad polls and polls, as they were after each.
    fn counts(shape: Shape, polls: &[(i64, Seen)]) -> Vec<(u32, u32)> {
        let mut tally = Tally::default();
        let mut counts = Vec::new();
        for (to, seen) in polls {
            let window = Some(Window::new(at(to - 1), at(*to)));
            let with = tally.with(&shape, *seen, window, seconds(3));
            tally.add(&shape, *seen, window, seconds(3));
            assert_eq!(with, tally.counted(), "asked and taken are the same");
            counts.push((with.bad, with.polls));
        }
        counts
    }

    #[test]
    fn the_last_polls_count_and_what_was_not_seen_does_not() {
        let shape = Shape::Times { bad: 2, of: 3 };
        for (polls, expected) in [
            (
                &[(1, Bad), (2, Good), (3, Bad)][..],
                vec![(1, 1), (1, 2), (2, 3)],
            ),
            // The first one leaves.
            (
                &[(1, Bad), (2, Good), (3, Good), (4, Bad)],
                vec![(1, 1), (1, 2), (1, 3), (1, 3)],
            ),
            // Neither good nor bad, and no place taken.
            (
                &[(1, Bad), (2, Nothing), (3, Bad)],
                vec![(1, 1), (1, 1), (2, 2)],
            ),
            // The same window again is no news.
            (&[(1, Bad), (1, Bad)], vec![(1, 1), (1, 1)]),
            // Blind for too long: from the start.
            (&[(1, Bad), (5, Bad)], vec![(1, 1), (1, 1)]),
        ] {
            assert_eq!(counts(shape, polls), expected, "{polls:?}");
        }
    }

    #[test]
    fn in_a_row_one_good_poll_ends_it_and_the_time_is_limited() {
        let row = |within| Shape::InARow { polls: 3, within };
        for (within, polls, expected) in [
            (
                None,
                &[(1, Bad), (2, Bad), (3, Good), (4, Bad)][..],
                vec![(1, 1), (2, 2), (0, 0), (1, 1)],
            ),
            (
                None,
                &[(1, Bad), (2, Nothing), (3, Bad), (4, Bad), (5, Bad)],
                vec![(1, 1), (1, 1), (2, 2), (3, 3), (3, 3)],
            ),
            (
                Some(seconds(2)),
                &[(1, Bad), (2, Bad), (3, Bad)],
                vec![(1, 1), (2, 2), (3, 3)],
            ),
            (
                Some(seconds(2)),
                &[(1, Bad), (2, Bad), (4, Bad)],
                vec![(1, 1), (2, 2), (2, 2)],
            ),
        ] {
            assert_eq!(counts(row(within), polls), expected, "{within:?} {polls:?}");
        }
    }

    #[test]
    fn a_share_is_of_the_polls_of_its_time() {
        let shape = Shape::Share {
            above: 0.5,
            over: seconds(3),
            min_samples: 2,
        };
        assert_eq!(
            counts(
                shape,
                &[(1, Bad), (2, Good), (3, Good), (4, Good), (9, Good)]
            ),
            [(1, 1), (1, 2), (1, 3), (0, 3), (0, 1)]
        );
    }

    #[test]
    fn it_never_grows_beyond_its_bound() {
        for shape in [
            Shape::Times {
                bad: 1,
                of: u32::MAX,
            },
            Shape::InARow {
                polls: u32::MAX,
                within: None,
            },
            Shape::Share {
                above: 0.1,
                over: seconds(100_000),
                min_samples: 1,
            },
        ] {
            let mut tally = Tally::default();
            for second in 1..3_000 {
                let window = Some(Window::new(at(second - 1), at(second)));
                tally.add(&shape, Bad, window, seconds(3));
            }
            assert_eq!(tally.polls.len(), 1_000, "{shape}");
            assert_eq!(tally.bad, 1_000, "{shape}");
        }
    }
}
