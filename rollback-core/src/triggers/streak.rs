//! `for`: how long a condition has been true without a break, measured by the ends of the windows.

use std::time::Duration;

use super::held::Counts;
use crate::model::Window;

/// What one poll said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Bad,
    Good,
    Nothing,
}

/// A stretch of time in which the condition was true.
///
/// A poll that could not see neither counts nor starts the stretch again, unless it lasts longer
/// than a reading is believed: after that nobody knows what was in between.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Streak {
    /// From the first window that was bad to the last.
    pub(super) window: Option<Window>,
    pub(super) held: Duration,
    /// Events since the stretch began, one for each value that the condition reads.
    pub(super) sums: Vec<Counts>,
    paused: bool,
}

impl Streak {
    pub(super) fn of(values: usize) -> Self {
        Self {
            sums: vec![Counts::default(); values],
            ..Self::default()
        }
    }

    /// Becomes `other` without asking for memory.
    pub(super) fn become_like(&mut self, other: &Self) {
        self.window = other.window;
        self.held = other.held;
        self.paused = other.paused;
        self.sums.clone_from(&other.sums);
    }

    /// Takes what one poll said about `window`.
    pub(super) fn take(&mut self, seen: Seen, window: Option<Window>, believed: Duration) {
        match (seen, window) {
            (Seen::Good, _) => self.end(),
            (Seen::Nothing, _) | (Seen::Bad, None) => self.paused = true,
            (Seen::Bad, Some(new)) => {
                if self
                    .window
                    .is_some_and(|known| new.to.since(known.to) > believed)
                {
                    self.end();
                }
                let from = match self.window {
                    Some(known) => {
                        if !self.paused {
                            self.held += new.to.since(known.to);
                        }
                        known.from
                    }
                    None => new.from,
                };
                self.window = Some(Window::new(from, new.to));
                self.paused = false;
            }
        }
    }

    pub(super) fn count(&mut self, value: usize, counts: Counts) {
        if let Some(sum) = self.sums.get_mut(value) {
            *sum = sum.plus(counts);
        }
    }

    fn end(&mut self) {
        self.window = None;
        self.held = Duration::ZERO;
        self.paused = false;
        self.sums.fill(Counts::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn only_time_that_was_seen_to_be_bad_counts() {
        use Seen::{Bad, Good, Nothing};
        for (polls, held) in [
            (&[(1, Bad)][..], 0),
            (&[(1, Bad), (2, Bad), (3, Bad)], 2),
            (&[(1, Bad), (2, Good), (3, Bad)], 0),
            (&[(1, Bad), (2, Good), (3, Bad), (4, Bad)], 1),
            // The gap is left out, and what was there before it is kept.
            (&[(1, Bad), (2, Bad), (3, Nothing), (4, Bad)], 1),
            (&[(1, Bad), (2, Bad), (3, Nothing), (4, Bad), (5, Bad)], 2),
            // Blind for too long: from the start.
            (&[(1, Bad), (2, Bad), (3, Nothing), (6, Bad)], 0),
            (&[(1, Bad), (2, Bad), (6, Bad)], 0),
            // A slow source, not a blind one.
            (&[(1, Bad), (4, Bad)], 3),
        ] {
            let mut streak = Streak::of(0);
            for (to, seen) in polls {
                let window = Window::new(at(to - 1), at(*to));
                streak.take(*seen, Some(window), Duration::from_secs(3));
            }
            assert_eq!(streak.held, Duration::from_secs(held), "{polls:?}");
        }
    }
}
