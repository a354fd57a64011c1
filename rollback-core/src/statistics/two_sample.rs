//! The e-value of one poll: how much the split of its bad events speaks against the candidate.
//!
//! With `n` requests and `x` bad ones of candidate (C) and stable (B), and the null hypothesis
//! `odds_C ≤ ω0 · odds_B`, the bet on the ratio `ω = ω0 · w` pays
//!
//! ```text
//! θ0    = ω0·π / (1 − π + ω0·π)            π = n_C / (n_C + n_B)
//! D1    = x · ln(1 + θ0·(w − 1))           x = x_C + x_B
//! D2    = n_C · ln(1 + p·(w − 1))          p = x / (n_C + n_B); only where ω0 = 1
//! ln e  = x_C · ln w − min(D1, D2)
//! ```
//!
//! Given the margins, `x_C` is hypergeometric where ω0 = 1 (Hoeffding: no more spread than the binomials of either
//! margin), and a sum of independent coins with mean at most `θ0·x` where ω0 > 1; `w^k` is convex and grows, so the
//! mean of `e` is at most 1.

use super::counts::{ArmCounts, MinEffect};

/// The logarithm of the e-value in its closed form, which is never above the exact one's mean of 1.
///
/// `ratio` is how many times `min_effect` the bet is on, above 1. Zero where an arm has no events.
#[must_use]
pub fn log_e_bound(
    candidate: ArmCounts,
    stable: ArmCounts,
    min_effect: MinEffect,
    ratio: f64,
) -> f64 {
    Split::new(candidate, stable, min_effect).map_or(0.0, |split| split.log_e(Bet::new(ratio)))
}

/// The logarithm of the e-value in its exact form: the likelihood ratio of the split, given the margins.
///
/// It sums over all possible splits, so it is for small counts (some ten thousand bad events at most).
#[must_use]
pub fn log_e_exact(
    candidate: ArmCounts,
    stable: ArmCounts,
    min_effect: MinEffect,
    ratio: f64,
) -> f64 {
    let null = libm::log(min_effect.ratio());
    let bet = libm::log(ratio);
    let (_, candidate_bad) = candidate.as_f64();
    candidate_bad * bet
        - (log_normaliser(candidate, stable, null + bet) - log_normaliser(candidate, stable, null))
}

/// `ln Σ_k C(n_C, k) · C(n_B, x − k) · ω^k` over every possible number `k` of bad events of the candidate.
fn log_normaliser(candidate: ArmCounts, stable: ArmCounts, log_omega: f64) -> f64 {
    let bad = candidate.bad() + stable.bad();
    let fewest = bad.saturating_sub(stable.total());
    let most = bad.min(candidate.total());
    let mut sum = LogSum::default();
    for k in fewest..=most {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let (k, rest, x) = (k as f64, (bad - k) as f64, k as f64);
        let term = log_choose(candidate.as_f64().0, k)
            + log_choose(stable.as_f64().0, rest)
            + x * log_omega;
        sum.add(term);
    }
    sum.total()
}

fn log_choose(n: f64, k: f64) -> f64 {
    libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
}

/// A sum of numbers that are known by their logarithms.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogSum {
    /// The largest logarithm so far, and the sum in units of it.
    parts: Option<(f64, f64)>,
}

impl LogSum {
    pub(super) fn add(&mut self, log: f64) {
        self.parts = Some(match self.parts {
            None => (log, 1.0),
            Some((largest, sum)) if log <= largest => (largest, sum + libm::exp(log - largest)),
            Some((largest, sum)) => (log, 1.0 + sum * libm::exp(largest - log)),
        });
    }

    /// Minus infinity where nothing was added.
    pub(super) fn total(self) -> f64 {
        self.parts
            .map_or(f64::NEG_INFINITY, |(largest, sum)| largest + libm::log(sum))
    }
}

/// A ratio to bet on, with its logarithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bet {
    less_one: f64,
    log: f64,
}

impl Bet {
    pub(super) fn new(ratio: f64) -> Self {
        Self::known(ratio, libm::log(ratio))
    }

    pub(super) const fn known(ratio: f64, log: f64) -> Self {
        Self {
            less_one: ratio - 1.0,
            log,
        }
    }
}

/// How the bad events of one poll fell on the two arms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    candidate_total: f64,
    candidate_bad: f64,
    bad: f64,
    /// The candidate's part of the bad events, were the null hypothesis just true.
    expected_part: f64,
    /// The share of bad events among all, where it bounds too.
    bad_share: Option<f64>,
}

impl Split {
    /// None where an arm has no events: then there is nothing to compare.
    pub(super) fn new(
        candidate: ArmCounts,
        stable: ArmCounts,
        min_effect: MinEffect,
    ) -> Option<Self> {
        let (candidate_total, candidate_bad) = candidate.as_f64();
        let (stable_total, stable_bad) = stable.as_f64();
        Self::of_numbers(
            (candidate_total, candidate_bad),
            (stable_total, stable_bad),
            min_effect,
        )
    }

    /// The same for numbers that are expected rather than counted: (total, bad) of candidate and stable.
    pub(super) fn of_numbers(
        (candidate_total, candidate_bad): (f64, f64),
        (stable_total, stable_bad): (f64, f64),
        min_effect: MinEffect,
    ) -> Option<Self> {
        if candidate_total <= 0.0 || stable_total <= 0.0 {
            return None;
        }
        let omega0 = min_effect.ratio();
        let bad = candidate_bad + stable_bad;
        Some(Self {
            candidate_total,
            candidate_bad,
            bad,
            expected_part: omega0 * candidate_total / (stable_total + omega0 * candidate_total),
            bad_share: (omega0 <= 1.0).then(|| bad / (candidate_total + stable_total)),
        })
    }

    /// Nothing went wrong on either arm: every e-value is 1.
    pub(super) fn is_clean(&self) -> bool {
        self.bad <= 0.0
    }

    pub(super) fn log_e(&self, bet: Bet) -> f64 {
        if self.is_clean() {
            return 0.0;
        }
        let by_bad = self.bad * libm::log1p(self.expected_part * bet.less_one);
        let bound = match self.bad_share {
            Some(share) => by_bad.min(self.candidate_total * libm::log1p(share * bet.less_one)),
            None => by_bad,
        };
        self.candidate_bad * bet.log - bound
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn arm(total: u64, bad: u64) -> ArmCounts {
        ArmCounts::new(total, bad).unwrap()
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Vector {
        #[serde(rename = "nC")]
        candidate_total: u64,
        #[serde(rename = "xC")]
        candidate_bad: u64,
        #[serde(rename = "nB")]
        stable_total: u64,
        #[serde(rename = "xB")]
        stable_bad: u64,
        omega: f64,
        #[serde(rename = "log_e_exact")]
        exact: f64,
        #[serde(rename = "log_e_bound")]
        bound: f64,
    }

    /// Reference numbers from scipy's Fisher non-central hypergeometric distribution.
    #[test]
    fn reference_vectors() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../tests/vectors/two_sample_log_e.json"))
                .unwrap();
        assert_eq!(vectors.len(), 6);
        let one = MinEffect::new(1.0).unwrap();
        for v in vectors {
            let candidate = arm(v.candidate_total, v.candidate_bad);
            let stable = arm(v.stable_total, v.stable_bad);
            let bound = log_e_bound(candidate, stable, one, v.omega);
            let exact = log_e_exact(candidate, stable, one, v.omega);
            assert!((bound - v.bound).abs() < 1e-9, "{bound} for {}", v.bound);
            assert!((exact - v.exact).abs() < 1e-9, "{exact} for {}", v.exact);
        }
    }

    #[test]
    fn an_arm_without_events_says_nothing() {
        for (candidate, stable) in [
            (ArmCounts::NONE, ArmCounts::NONE),
            (arm(10, 10), ArmCounts::NONE),
            (ArmCounts::NONE, arm(10, 3)),
            (arm(10, 0), arm(90, 0)),
        ] {
            assert_eq!(log_e_bound(candidate, stable, MinEffect::DEFAULT, 6.0), 0.0);
        }
    }

    #[test]
    fn more_bad_events_of_the_candidate_never_weaken_the_evidence() {
        for effect in [1.0, 1.25, 2.0] {
            let effect = MinEffect::new(effect).unwrap();
            for (candidate_total, stable_total) in [(10, 90), (50, 50), (12, 3), (300, 700)] {
                for stable_bad in [0, 1, 3] {
                    for ratio in super::super::RATIOS {
                        let mut before = f64::NEG_INFINITY;
                        for bad in 0..=candidate_total.min(60) {
                            let now = log_e_bound(
                                arm(candidate_total, bad),
                                arm(stable_total, stable_bad),
                                effect,
                                ratio,
                            );
                            assert!(now >= before - 1e-12, "{bad} of {candidate_total}");
                            before = now;
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn extremes_stay_finite() {
        let n = 1_000_000_000;
        for (candidate, stable) in [
            (arm(n, n), arm(n, n)),
            (arm(n, n), arm(n, 0)),
            (arm(n, 0), arm(n, n)),
            (arm(1, 1), arm(n, 0)),
            (arm(n, n), arm(1, 0)),
            (arm(n, 1), arm(1, 1)),
            (arm(u64::MAX, u64::MAX), arm(u64::MAX, 0)),
        ] {
            for effect in [1.0, 1.25, 1e6] {
                for ratio in super::super::RATIOS {
                    let effect = MinEffect::new(effect).unwrap();
                    assert!(log_e_bound(candidate, stable, effect, ratio).is_finite());
                }
            }
        }
    }
}
