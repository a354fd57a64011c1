//! Which windows of the two arms are about the same stretch of time.

use std::time::Duration;

use super::held::Counts;
use crate::model::{Arm, ReadError, Timestamp, Window};

/// What one arm has told and the other has not matched yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) window: Window,
    pub(super) counts: Counts,
}

/// One arm's side of the comparison.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    pub(super) seen_to: Option<Timestamp>,
    /// Everything since the last pair.
    all: Option<Told>,
    /// The newest window alone.
    pub(super) newest: Option<Told>,
    pub(super) error: Option<ReadError>,
    /// Whether it ever had an event.
    pub(super) any: bool,
}

impl Side {
    fn tell(&mut self, told: Told, slack: Duration) {
        self.all = Some(match self.all {
            // Something is missing in between: what was before it has no counterpart.
            Some(known) if told.window.from.since(known.window.to) > slack => told,
            Some(known) => Told {
                window: Window::new(known.window.from, told.window.to),
                counts: known.counts.plus(told.counts),
            },
            None => told,
        });
        self.newest = Some(told);
        self.any |= told.counts.total > 0;
    }
}

/// Both sides; an arm that answers late, or for several polls at once, is waited for.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    pub(super) candidate: Side,
    pub(super) stable: Side,
    /// Windows that only one arm was seen in.
    pub(super) left_out: u32,
}

impl Pairing {
    pub(super) fn side(&mut self, arm: Arm) -> &mut Side {
        match arm {
            Arm::Candidate => &mut self.candidate,
            Arm::Stable => &mut self.stable,
        }
    }

    /// Takes what an arm has told; candidate and stable once they are about the same time.
    pub(super) fn tell(&mut self, arm: Arm, told: Told, poll: Duration) -> Option<(Told, Told)> {
        // Less than half a poll apart is the same poll.
        let slack = poll / 2;
        let apart = |a: Timestamp, b: Timestamp| a.since(b).max(b.since(a)) > slack;
        self.side(arm).tell(told, slack);
        let (candidate, stable) = (self.candidate.all?, self.stable.all?);
        if apart(candidate.window.to, stable.window.to) {
            return None;
        }
        self.candidate.all = None;
        self.stable.all = None;
        if !apart(candidate.window.from, stable.window.from) {
            return Some((candidate, stable));
        }
        self.left_out = self.left_out.saturating_add(1);
        let newest = (self.candidate.newest?, self.stable.newest?);
        (!apart(newest.0.window.from, newest.1.window.from)).then_some(newest)
    }
}
