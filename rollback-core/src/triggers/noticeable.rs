//! What a comparison could have noticed with the traffic so far: without that, silence is no pass.

use std::sync::Arc;

use super::wording::short;
use crate::statistics::{FalseRollbackRate, MinEffect, RatioEstimate, smallest_detectable_ratio};

/// A candidate this many times as error-prone should not go unnoticed before a pass.
pub const PASS_RATIO: f64 = 3.0;
/// And where errors are so rare that this is next to nothing: a candidate with this share of errors.
pub const PASS_SHARE: f64 = 0.01;
/// It is computed again when there is so much more traffic.
const MORE_TRAFFIC: f64 = 1.5;

/// Computed anew only when the traffic has grown, so that the words do not change with every poll.
#[derive(Debug)]
pub(super) struct Noticeable {
    /// Requests of both arms when it was computed.
    at_total: u64,
    pub(super) ratio: Option<f64>,
    /// Whether it is enough for a pass.
    pub(super) enough: bool,
    pub(super) words: Arc<str>,
}

impl Noticeable {
    pub(super) fn nothing() -> Self {
        Self {
            at_total: 0,
            ratio: None,
            enough: false,
            words: Arc::from("no requests yet that could be compared"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of requests")]
    pub(super) fn grow(
        &mut self,
        estimate: &RatioEstimate,
        min_effect: MinEffect,
        rate: FalseRollbackRate,
    ) {
        let (candidate, stable) = (estimate.candidate(), estimate.stable());
        let total = candidate.total().saturating_add(stable.total());
        if (total as f64) < self.at_total as f64 * MORE_TRAFFIC || total == 0 {
            return;
        }
        // A share that was never seen is not zero: half an event more than was seen.
        let share = (stable.bad() as f64 + 0.5) / (stable.total() as f64 + 1.0);
        let (requests, of_stable) = (candidate.total(), stable.total());
        let ratio = smallest_detectable_ratio(requests, of_stable, share, min_effect, rate);
        let requests = match requests {
            1 => "1 request".to_owned(),
            many => format!("{many} requests"),
        };
        let words = match ratio {
            Some(ratio) => format!(
                "with {requests} of the candidate only {} times as many errors could have \
                 been noticed",
                short(ratio)
            ),
            None => format!(
                "with {requests} of the candidate no number of errors could have been \
                 noticed"
            ),
        };
        *self = Self {
            at_total: total,
            ratio,
            enough: ratio.is_some_and(|ratio| ratio <= PASS_RATIO.max(PASS_SHARE / share)),
            words: words.into(),
        };
    }
}
