//! How much worse the candidate is, for people: an estimate, and a lower bound that keeps the guarantee.

use serde::{Deserialize, Serialize};

use super::counts::{ArmCounts, FalseRollbackRate};
use super::e_process::EProcess;
use super::two_sample::{Bet, LogSum, Split};

/// What was counted in a watch, and the ratio that it looks like. It decides nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioEstimate {
    candidate: ArmCounts,
    stable: ArmCounts,
    expected_bad: f64,
    /// Mantel and Haenszel's sums: each poll is weighed by itself, so that a level of errors or a traffic share that
    /// changes during the watch does not look like a difference between the arms.
    against: f64,
    in_favour: f64,
}

impl RatioEstimate {
    /// Nothing counted.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            candidate: ArmCounts::NONE,
            stable: ArmCounts::NONE,
            expected_bad: 0.0,
            against: 0.0,
            in_favour: 0.0,
        }
    }

    /// Takes in the counts of one poll; a poll in which an arm has no events cannot be compared and is left out.
    pub fn step(&mut self, candidate: ArmCounts, stable: ArmCounts) {
        if candidate.total() == 0 || stable.total() == 0 {
            return;
        }
        self.candidate = self.candidate.plus(candidate);
        self.stable = self.stable.plus(stable);
        let (candidate_total, candidate_bad) = candidate.as_f64();
        let (stable_total, stable_bad) = stable.as_f64();
        let total = candidate_total + stable_total;
        self.expected_bad += (candidate_bad + stable_bad) * (candidate_total / total);
        self.against += candidate_bad * ((stable_total - stable_bad) / total);
        self.in_favour += stable_bad * ((candidate_total - candidate_bad) / total);
    }

    /// The odds of the candidate's events to be bad, divided by those of the stable arm's: for rare errors the ratio of
    /// the error rates. None while no bad event of the stable arm could be compared.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.in_favour > 0.0).then(|| self.against / self.in_favour)
    }

    /// The bad events that the candidate would have had, were both arms alike: the bad ones of each poll times the
    /// candidate's share of its events.
    #[must_use]
    pub const fn expected_bad(&self) -> f64 {
        self.expected_bad
    }

    /// All that was counted of the candidate.
    #[must_use]
    pub const fn candidate(&self) -> ArmCounts {
        self.candidate
    }

    /// All that was counted of the stable arm.
    #[must_use]
    pub const fn stable(&self) -> ArmCounts {
        self.stable
    }
}

impl Default for RatioEstimate {
    fn default() -> Self {
        Self::new()
    }
}

/// The ratios above the smallest effect that are tried as lower bounds, as multiples of it.
const STEPS: [f64; 12] = [
    1.2, 1.5, 2.0, 2.5, 3.2, 4.0, 5.0, 6.5, 8.0, 10.0, 15.0, 25.0,
];

/// For each step, the ratios that are betted on, as multiples of the step.
const BETS: [Bet; 3] = [
    Bet::known(1.5, 0.405_465_108_108_164_4),
    Bet::known(3.0, 1.098_612_288_668_109_6),
    Bet::known(10.0, std::f64::consts::LN_10),
];

const LOG_BETS: f64 = 1.098_612_288_668_109_6;

/// Evidence beyond this is as good as any.
const LARGEST_LOG: f64 = 700.0;

/// A lower bound of the ratio, with the same guarantee as the decision: in at most `rate` of all watches does it ever
/// claim too much.
///
/// Totals would not do: a bound that is recomputed from totals after every poll has no guarantee over the whole watch,
/// and mixes polls with different traffic shares. So one small e-process runs for each ratio of a grid; the bound is
/// the largest ratio that is refuted together with every smaller one, beginning with the decision's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioBound {
    /// The logarithms of what each step's bets are worth.
    log_wealth: [[f64; BETS.len()]; STEPS.len()],
    /// The logarithm of the most that each step's bets were worth together, ever.
    log_most: [f64; STEPS.len()],
}

impl RatioBound {
    /// Nothing refuted.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            log_wealth: [[0.0; BETS.len()]; STEPS.len()],
            log_most: [0.0; STEPS.len()],
        }
    }

    /// Takes in the counts of one poll, the same that `decision` takes in.
    pub fn step(&mut self, decision: &EProcess, candidate: ArmCounts, stable: ArmCounts) {
        let steps = STEPS
            .iter()
            .zip(&mut self.log_wealth)
            .zip(&mut self.log_most);
        for ((step, log_wealth), log_most) in steps {
            let null = decision.min_effect().times(*step);
            let Some(split) = Split::new(candidate, stable, null) else {
                return;
            };
            if split.is_clean() {
                return;
            }
            let mut best = f64::NEG_INFINITY;
            for (log, bet) in log_wealth.iter_mut().zip(BETS) {
                *log = (*log + split.log_e(bet)).min(LARGEST_LOG);
                best = best.max(*log);
            }
            // Together they are worth their mean, so never more than the best of them.
            if best > *log_most {
                let mut sum = LogSum::default();
                for log in log_wealth {
                    sum.add(*log - LOG_BETS);
                }
                *log_most = log_most.max(sum.total());
            }
        }
    }

    /// The candidate's odds of being bad were, at least for a part of the watch, more than this many times those of the
    /// stable arm. None until the decision itself has crossed.
    #[must_use]
    pub fn lower_bound(&self, decision: &EProcess, rate: FalseRollbackRate) -> Option<f64> {
        if !decision.crossed(rate) {
            return None;
        }
        let needed = rate.log_threshold();
        let factor = STEPS
            .iter()
            .zip(self.log_most)
            .take_while(|(_, most)| *most >= needed)
            .last()
            .map_or(1.0, |(step, _)| *step);
        Some(decision.min_effect().times(factor).ratio())
    }
}

impl Default for RatioBound {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::MinEffect;
    use super::*;

    fn arm(total: u64, bad: u64) -> ArmCounts {
        ArmCounts::new(total, bad).unwrap()
    }

    fn decision() -> EProcess {
        EProcess::new(MinEffect::DEFAULT, NonZeroU32::new(180).unwrap())
    }

    #[test]
    fn constants_are_libms() {
        for (ratio, bet) in [1.5, 3.0, 10.0].into_iter().zip(BETS) {
            assert_eq!(format!("{bet:?}"), format!("{:?}", Bet::new(ratio)));
        }
        assert_eq!(LOG_BETS, libm::log(3.0));
        assert!(STEPS.is_sorted());
    }

    #[test]
    fn the_estimate_ignores_what_both_arms_share() {
        let mut estimate = RatioEstimate::new();
        assert_eq!(estimate.ratio(), None);
        // Twice the odds in each poll, while the level and the traffic share change tenfold.
        for _ in 0..10 {
            estimate.step(arm(1010, 10), arm(9045, 45));
            estimate.step(arm(6000, 1000), arm(1100, 100));
        }
        let ratio = estimate.ratio().unwrap();
        assert!((ratio - 2.0).abs() < 0.01, "{ratio}");
        assert_eq!(estimate.candidate(), arm(70_100, 10_100));
        let before = estimate.clone();
        estimate.step(arm(10, 10), ArmCounts::NONE);
        assert_eq!(estimate, before);
    }

    #[test]
    fn expected_events_follow_the_traffic() {
        let mut estimate = RatioEstimate::new();
        estimate.step(arm(900, 12), arm(8100, 14));
        assert!((estimate.expected_bad() - 2.6).abs() < 1e-12);
        assert!((estimate.ratio().unwrap() - 7.8).abs() < 0.1);
    }

    #[test]
    fn the_bound_follows_the_evidence() {
        let (mut decision, mut bound) = (decision(), RatioBound::new());
        let rate = FalseRollbackRate::DEFAULT;
        let mut before = 0.0;
        for _ in 0..60 {
            let (candidate, stable) = (arm(100, 5), arm(900, 4));
            decision.step(candidate, stable);
            bound.step(&decision, candidate, stable);
            let now = bound.lower_bound(&decision, rate);
            assert_eq!(now.is_some(), decision.crossed(rate));
            if let Some(now) = now {
                assert!(now >= before && now >= 1.25);
                before = now;
            }
        }
        // The odds are 11.8 times as high.
        assert!((4.0..11.8).contains(&before), "{before}");
        let saved = serde_json::to_string(&bound).unwrap();
        assert_eq!(serde_json::from_str::<RatioBound>(&saved).unwrap(), bound);
    }

    /// One step of the grid, written down once more with plain numbers.
    #[test]
    fn agrees_with_plain_arithmetic() {
        let (decision, mut bound) = (decision(), RatioBound::new());
        let mut wealth = [1.0; 3];
        let mut most: f64 = 1.0;
        for bad in [0, 4, 0, 7, 1, 0, 9, 2] {
            let (candidate, stable) = (arm(100, bad), arm(900, 5));
            bound.step(&decision, candidate, stable);
            let null = MinEffect::new(1.25 * 1.5).unwrap();
            for (wealth, ratio) in wealth.iter_mut().zip([1.5, 3.0, 10.0]) {
                let log = super::super::log_e_bound(candidate, stable, null, ratio);
                *wealth *= libm::exp(log);
            }
            most = most.max(wealth.iter().sum::<f64>() / 3.0);
        }
        let found = libm::exp(bound.log_most[1]);
        assert!(
            most > 100.0 && (found / most - 1.0).abs() < 1e-9,
            "{found} for {most}"
        );
    }

    #[test]
    fn extremes_stay_finite() {
        let n = 1_000_000_000;
        for (candidate, stable) in [
            (arm(n, n), arm(n, 0)),
            (arm(n, 0), arm(n, n)),
            (arm(1, 1), arm(n, 0)),
        ] {
            let (mut decision, mut bound) = (decision(), RatioBound::new());
            for (candidate, stable) in [
                (candidate, stable),
                (stable, candidate),
                (candidate, stable),
            ] {
                decision.step(candidate, stable);
                bound.step(&decision, candidate, stable);
            }
            assert!(
                bound
                    .log_wealth
                    .iter()
                    .flatten()
                    .all(|wealth| wealth.is_finite())
            );
        }
    }
}
