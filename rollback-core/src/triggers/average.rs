//! `average`: the last readings of one subject, in a ring whose length the policy bounds.

use std::{collections::VecDeque, time::Duration};

use super::held::Counts;
use crate::{model::Window, policy::MOST_POLLS};

/// What is asked of the average of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Averaged {
    pub(super) over: Duration,
    pub(super) min_samples: u32,
    /// Whether the last reading speaks while there are too few for an average.
    pub(super) early: bool,
}

/// The readings of the last `over`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Recent {
    readings: VecDeque<(Window, f64, Option<Counts>)>,
}

impl Recent {
    /// Takes a reading and lets go what is too old by then.
    pub(super) fn add(
        &mut self,
        averaged: Averaged,
        window: Window,
        value: f64,
        counts: Option<Counts>,
    ) {
        let most = usize::try_from(MOST_POLLS).unwrap_or(usize::MAX);
        while self.readings.len() >= most
            || self
                .readings
                .front()
                .is_some_and(|(old, ..)| window.to.since(old.to) >= averaged.over)
        {
            self.readings.pop_front();
        }
        self.readings.push_back((window, value, counts));
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.readings.len()).unwrap_or(u32::MAX)
    }

    /// From the first reading to the last.
    pub(super) fn span(&self) -> Option<Window> {
        let (first, last) = self.readings.front().zip(self.readings.back())?;
        Some(Window::new(first.0.from, last.0.to))
    }

    /// The mean of the values. Added up anew each time, so that rounding does not add up too.
    pub(super) fn mean(&self) -> f64 {
        let sum: f64 = self.readings.iter().map(|(_, value, _)| value).sum();
        sum / f64::from(self.len().max(1))
    }

    /// All events together, where every reading counts events.
    pub(super) fn counts(&self) -> Option<Counts> {
        self.readings
            .iter()
            .try_fold(Counts::default(), |sum, (_, _, counts)| {
                counts.map(|counts| sum.plus(counts))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn window(to: i64) -> Window {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        Window::new(at(to - 1), at(to))
    }

    #[test]
    fn what_is_too_old_leaves() {
        let averaged = Averaged {
            over: Duration::from_secs(3),
            min_samples: 1,
            early: false,
        };
        let mut recent = Recent::default();
        for (second, value) in [(1, 10.0), (2, 20.0), (3, 30.0), (4, 40.0)] {
            recent.add(averaged, window(second), value, None);
        }
        assert_eq!(recent.mean(), 30.0);
        assert_eq!(
            recent.span(),
            Some(Window::new(window(2).from, window(4).to))
        );
        recent.add(averaged, window(60), 1.0, None);
        assert_eq!((recent.len(), recent.mean()), (1, 1.0));
    }

    #[test]
    fn events_weigh_more_than_readings() {
        let averaged = Averaged {
            over: Duration::from_secs(60),
            min_samples: 1,
            early: false,
        };
        let mut recent = Recent::default();
        for (second, bad, total) in [(1, 1, 2), (2, 0, 98)] {
            let counts = Counts { bad, total };
            recent.add(averaged, window(second), counts.ratio(), Some(counts));
        }
        assert_eq!(recent.counts(), Some(Counts { bad: 1, total: 100 }));
    }
}
