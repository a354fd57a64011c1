//! What could be noticed at all with so much traffic: for lint, and for a watch that ended without an answer.

use super::counts::{FalseRollbackRate, MinEffect};
use super::e_process::{FROM_THE_START, RATIOS};
use super::two_sample::{Bet, LogSum, Split};

/// Beyond this many events or times as bad, the answer is "never".
const MOST_EVENTS: u64 = 1 << 40;
const LARGEST_RATIO: f64 = 1e6;

/// The fewest bad events of the candidate that can ever cross, if the stable arm has none.
///
/// `candidate_share` is the candidate's part of the traffic, between 0 and 1. With a small share, three can do; with
/// half of the traffic it takes more, since each of them might as well have hit the other arm. None where no number
/// can: without traffic on both arms.
#[must_use]
pub fn minimum_bad_events(
    candidate_share: f64,
    min_effect: MinEffect,
    rate: FalseRollbackRate,
) -> Option<u64> {
    if !(candidate_share > 0.0 && candidate_share < 1.0) {
        return None;
    }
    // The bad events are few among many, and all bets run: evidence cannot be stronger.
    let omega0 = min_effect.ratio();
    let part = omega0 * candidate_share / (1.0 - candidate_share + omega0 * candidate_share);
    let gains = RATIOS.map(|ratio| libm::log(ratio) - libm::log1p(part * (ratio - 1.0)));
    #[expect(clippy::cast_precision_loss, reason = "at most 2^40")]
    let crosses = |events: u64| {
        let mut sum = LogSum::default();
        for gain in gains {
            sum.add(gain * events as f64);
        }
        mean(sum) >= rate.log_threshold()
    };
    let mut enough = MOST_EVENTS;
    if !crosses(enough) {
        return None;
    }
    let mut too_few = 0;
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if crosses(middle) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Some(enough)
}

/// The smallest ratio of the two arms' rates of bad events that about half of all watches with these numbers of events
/// would notice, were the candidate bad from the start.
///
/// `stable_bad_share` is the stable arm's rate of bad events, from 0 to 1. None where even a candidate whose every event
/// is bad would not be noticed.
#[must_use]
pub fn smallest_detectable_ratio(
    candidate_total: u64,
    stable_total: u64,
    stable_bad_share: f64,
    min_effect: MinEffect,
    rate: FalseRollbackRate,
) -> Option<f64> {
    if !(stable_bad_share > 0.0 && stable_bad_share < 1.0) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let (candidate, stable) = (candidate_total as f64, stable_total as f64);
    let crosses = |ratio: f64| {
        let bad_share = (ratio * stable_bad_share).min(1.0);
        let Some(split) = Split::of_numbers(
            (candidate, candidate * bad_share),
            (stable, stable * stable_bad_share),
            min_effect,
        ) else {
            return false;
        };
        let mut sum = LogSum::default();
        for ratio in RATIOS {
            sum.add(split.log_e(Bet::new(ratio)));
        }
        mean(sum) + libm::log(FROM_THE_START) >= rate.log_threshold()
    };
    let mut enough = (1.0 / stable_bad_share).min(LARGEST_RATIO);
    if !crosses(enough) {
        return None;
    }
    let mut too_little = 1.0;
    for _ in 0..60 {
        let middle = 0.5 * (too_little + enough);
        if crosses(middle) {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    Some(enough)
}

/// The logarithm of the mean over the ratios.
fn mean(sum: LogSum) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "six ratios")]
    let ratios = RATIOS.len() as f64;
    sum.total() - libm::log(ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(ratio: f64) -> MinEffect {
        MinEffect::new(ratio).unwrap()
    }

    #[test]
    fn a_few_bad_events_are_always_needed() {
        let rate = FalseRollbackRate::DEFAULT;
        for (share, min_effect, expected) in [
            (0.05, 1.0, Some(3)),
            (0.5, 1.0, Some(9)),
            (0.05, 1.25, Some(3)),
            (0.0, 1.0, None),
            (1.0, 1.0, None),
            (f64::NAN, 1.0, None),
        ] {
            assert_eq!(
                minimum_bad_events(share, effect(min_effect), rate),
                expected,
                "{share} at {min_effect}"
            );
        }
        let strict = FalseRollbackRate::new(0.0001).unwrap();
        assert!(
            minimum_bad_events(0.05, effect(1.0), strict)
                > minimum_bad_events(0.05, effect(1.0), rate)
        );
        assert!(minimum_bad_events(0.999, effect(1.25), rate).unwrap() > 1000);
    }

    #[test]
    fn more_traffic_shows_smaller_differences() {
        let ratio = |requests: u64| {
            smallest_detectable_ratio(
                requests,
                9 * requests,
                0.005,
                MinEffect::DEFAULT,
                FalseRollbackRate::DEFAULT,
            )
        };
        let mut before = f64::INFINITY;
        for requests in [50, 200, 1_000, 10_000, 1_000_000] {
            let now = ratio(requests).unwrap();
            assert!(now < before && now > 1.25, "{now} with {requests}");
            before = now;
        }
        // In simulated watches, half notice 2 % against 0.5 % with the poll that makes 800 requests, 5 % with 200.
        for (before, with, noticed) in [(700, 800, 4.0), (100, 200, 10.0)] {
            let (before, with) = (ratio(before).unwrap(), ratio(with).unwrap());
            assert!(with <= noticed && noticed < before, "{with}, {before}");
        }
        assert_eq!(ratio(2), None);
        assert_eq!(ratio(0), None);
    }
}
