//! Who got which requests, and which of them were answered badly: exact, so that the same window
//! asked twice gives the same counts and adjoining windows add up.

use std::collections::BTreeMap;

use rollback_core::model::{ReleaseId, Timestamp, Window};

use super::Behaviour;

/// The division of the traffic over time.
#[derive(Debug, Clone, Default)]
pub(super) struct TrafficLog {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone)]
struct Segment {
    from: Timestamp,
    shares: Vec<SegmentShare>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct SegmentShare {
    pub(super) release: ReleaseId,
    pub(super) ratio: f64,
    pub(super) since: Timestamp,
}

impl TrafficLog {
    /// From `from` on the traffic is divided like this.
    pub(super) fn divide(&mut self, from: Timestamp, shares: Vec<SegmentShare>) {
        if self
            .segments
            .last()
            .is_some_and(|last| last.shares == shares)
        {
            return;
        }
        self.segments.push(Segment { from, shares });
    }

    /// Bad and all answers of `release` within `window`, at `per_second` requests a second.
    pub(super) fn counts(
        &self,
        scripts: &BTreeMap<ReleaseId, Behaviour>,
        release: &ReleaseId,
        window: Window,
        per_second: f64,
    ) -> (u64, u64) {
        let (bad_to, total_to) = self.since_the_beginning(scripts, release, window.to, per_second);
        let (bad_from, total_from) =
            self.since_the_beginning(scripts, release, window.from, per_second);
        (
            bad_to.saturating_sub(bad_from),
            total_to.saturating_sub(total_from),
        )
    }

    /// Bad and all answers of `release` before `until`.
    pub(super) fn since_the_beginning(
        &self,
        scripts: &BTreeMap<ReleaseId, Behaviour>,
        release: &ReleaseId,
        until: Timestamp,
        per_second: f64,
    ) -> (u64, u64) {
        let (mut bad, mut total) = (0.0, 0.0);
        let ends = self.segments.iter().skip(1).map(|next| next.from);
        for (segment, end) in self.segments.iter().zip(ends.chain([until])) {
            let end = end.min(until);
            if end <= segment.from {
                continue;
            }
            for share in &segment.shares {
                if share.release == *release && share.ratio > 0.0 {
                    let millis = end.since(segment.from).as_secs_f64() * 1_000.0;
                    total += millis * share.ratio;
                    bad += scripts.get(release).map_or(millis, |behaviour| {
                        behaviour.bad_millis(share.since, segment.from, end)
                    }) * share.ratio;
                }
            }
        }
        (whole(bad * per_second), whole(total * per_second))
    }

    /// The share of `release` at `at`.
    pub(super) fn ratio(&self, release: &ReleaseId, at: Timestamp) -> f64 {
        self.segments
            .iter()
            .rev()
            .find(|segment| segment.from <= at)
            .and_then(|segment| segment.shares.iter().find(|s| s.release == *release))
            .map_or(0.0, |share| share.ratio)
    }

    pub(super) fn releases(&self) -> impl Iterator<Item = &ReleaseId> {
        self.segments
            .iter()
            .flat_map(|segment| segment.shares.iter().map(|share| &share.release))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "never negative; a count beyond u64 saturates"
)]
fn whole(answer_millis: f64) -> u64 {
    // A nudge against 0.99999…: the counts are products of decimal fractions.
    (answer_millis / 1_000.0 + 1e-6).floor() as u64
}
