//! `for`: how long a condition has been true without a break, measured by the ends of the windows.

use std::time::Duration;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Streak {
    /// From the first window that was bad to the last.
    pub(super) window: Option<Window>,
    pub(super) held: Duration,
    paused: bool,
}

impl Streak {
    /// The stretch after what one poll said about `window`.
    pub(super) fn after(mut self, seen: Seen, window: Option<Window>, believed: Duration) -> Self {
        match (seen, window) {
            (Seen::Good, _) => Self::default(),
            (Seen::Nothing, _) | (Seen::Bad, None) => {
                self.paused = true;
                self
            }
            (Seen::Bad, Some(new)) => {
                let known = self
                    .window
                    .filter(|known| new.to.since(known.to) <= believed);
                let Some(known) = known else {
                    return Self {
                        window: Some(new),
                        ..Self::default()
                    };
                };
                if !self.paused {
                    self.held += new.to.since(known.to);
                }
                Self {
                    window: Some(Window::new(known.from, new.to)),
                    held: self.held,
                    paused: false,
                }
            }
        }
    }

    /// Whether the last poll could not see.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether `later` is the same stretch, and not one that began anew.
    pub(super) fn goes_on_in(&self, later: &Self) -> bool {
        match (self.window, later.window) {
            (Some(now), Some(later)) => now.from == later.from,
            _ => false,
        }
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
            let mut streak = Streak::default();
            for (to, seen) in polls {
                let window = Window::new(at(to - 1), at(*to));
                streak = streak.after(*seen, Some(window), Duration::from_secs(3));
            }
            assert_eq!(streak.held, Duration::from_secs(held), "{polls:?}");
        }
    }
}
