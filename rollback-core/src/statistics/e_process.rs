//! The evidence of a whole watch: e-values multiplied over polls, mixed over ratios and over starting times.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::counts::{ArmCounts, FalseRollbackRate, MinEffect};
use super::two_sample::{Bet, LogSum, Split};

/// The ratios that are betted on at once, as multiples of the smallest effect that counts.
pub const RATIOS: [f64; 6] = [1.5, 2.0, 3.0, 6.0, 12.0, 32.0];

/// The same with their logarithms, which a test compares with `libm`'s.
const BETS: [Bet; RATIOS.len()] = [
    Bet::known(1.5, 0.405_465_108_108_164_4),
    Bet::known(2.0, std::f64::consts::LN_2),
    Bet::known(3.0, 1.098_612_288_668_109_6),
    Bet::known(6.0, 1.791_759_469_228_055),
    Bet::known(12.0, 2.484_906_649_788_000_4),
    Bet::known(32.0, 3.465_735_902_799_726_5),
];

const LOG_RATIOS: f64 = 1.791_759_469_228_055;

/// The part of the stake that is betted from the first poll on; the rest is spread over the later polls of the horizon,
/// so that a candidate which turns bad late is noticed soon too.
pub(super) const FROM_THE_START: f64 = 0.8;

/// Evidence beyond this is as good as any; the cap only ever lowers it, so the guarantee stands.
const LARGEST_LOG: f64 = 700.0;

/// The evidence against a candidate, accumulated over a watch.
///
/// While the candidate is at most `min_effect` times as error-prone as the stable release, the probability that
/// [`crossed`](Self::crossed) ever becomes true is at most the rate that is asked for, however often one looks and
/// however the traffic or the common level of errors changes. Create one per deployment: its state must not be thrown
/// away and started anew within a watch.
///
/// ```
/// use std::num::NonZeroU32;
/// use rollback_core::statistics::{ArmCounts, EProcess, FalseRollbackRate, MinEffect};
///
/// let horizon = NonZeroU32::new(180).unwrap(); // 30 minutes of polls every 10 seconds
/// let mut evidence = EProcess::new(MinEffect::DEFAULT, horizon);
/// for _ in 0..6 {
///     let candidate = ArmCounts::new(100, 5)?;
///     let stable = ArmCounts::new(900, 4)?;
///     evidence.step(candidate, stable);
/// }
/// assert!(evidence.crossed(FalseRollbackRate::DEFAULT));
/// # Ok::<(), rollback_core::statistics::InvalidCounts>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EProcess {
    min_effect: MinEffect,
    horizon: NonZeroU32,
    /// None before the first poll.
    bets: Option<Bets>,
    /// The logarithm of the strongest evidence so far.
    log_max: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bets {
    /// Polls that compared something.
    polls: NonZeroU32,
    /// The logarithm of what each ratio's bets are worth.
    log_wealth: [f64; RATIOS.len()],
}

impl EProcess {
    /// No evidence yet. The horizon is the number of polls that the watch is planned to have.
    #[must_use]
    pub const fn new(min_effect: MinEffect, horizon: NonZeroU32) -> Self {
        Self {
            min_effect,
            horizon,
            bets: None,
            log_max: 0.0,
        }
    }

    /// Takes in the counts of one poll. A poll in which an arm has no events changes nothing.
    ///
    /// Beyond the horizon the running bets go on and no new ones start: the guarantee holds, and a candidate that turns
    /// bad only then is noticed late.
    pub fn step(&mut self, candidate: ArmCounts, stable: ArmCounts) {
        let Some(split) = Split::new(candidate, stable, self.min_effect) else {
            return;
        };
        let mut bets = match self.bets.take() {
            None => Bets {
                polls: NonZeroU32::MIN,
                log_wealth: [libm::log(start_weight(1, self.horizon)); RATIOS.len()],
            },
            Some(mut bets) => {
                bets.polls = bets.polls.saturating_add(1);
                let start = start_weight(bets.polls.get(), self.horizon);
                if start > 0.0 {
                    let log_start = libm::log(start);
                    for log in &mut bets.log_wealth {
                        *log = log_add(*log, log_start);
                    }
                }
                bets
            }
        };
        for (log, bet) in bets.log_wealth.iter_mut().zip(BETS) {
            *log = (*log + split.log_e(bet)).min(LARGEST_LOG);
        }
        self.bets = Some(bets);
        self.log_max = self.log_max.max(self.log_e());
    }

    /// The logarithm of the evidence now; 0 is none, and below 0 the data speak for the candidate.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        let Some(bets) = &self.bets else {
            return 0.0;
        };
        let mut sum = LogSum::default();
        for log in bets.log_wealth {
            sum.add(log - LOG_RATIOS);
        }
        let unspent = unspent_weight(bets.polls.get(), self.horizon);
        if unspent > 0.0 {
            sum.add(libm::log(unspent));
        }
        sum.total().min(LARGEST_LOG)
    }

    /// The logarithm of the strongest evidence that the watch has seen.
    #[must_use]
    pub const fn log_max(&self) -> f64 {
        self.log_max
    }

    /// Whether the evidence has ever been as strong as this rate of false rollbacks asks for.
    ///
    /// It stays true: the guarantee is about ever crossing, so a later lull takes nothing back.
    #[must_use]
    pub fn crossed(&self, rate: FalseRollbackRate) -> bool {
        self.log_max >= rate.log_threshold()
    }

    /// Evidence this strong appears, ever in a watch, in at most this share of the watches over a fine candidate.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        libm::exp(-self.log_max)
    }

    /// How many polls compared something.
    #[must_use]
    pub fn polls(&self) -> u32 {
        self.bets.as_ref().map_or(0, |bets| bets.polls.get())
    }

    /// The smallest effect that counts.
    #[must_use]
    pub const fn min_effect(&self) -> MinEffect {
        self.min_effect
    }
}

/// The part of the stake that is first betted in this poll, counted from 1.
fn start_weight(poll: u32, horizon: NonZeroU32) -> f64 {
    match (poll, horizon.get()) {
        (1, 1) => 1.0,
        (1, _) => FROM_THE_START,
        (poll, horizon) if poll <= horizon => (1.0 - FROM_THE_START) / f64::from(horizon - 1),
        _ => 0.0,
    }
}

/// The part of the stake that is not betted yet after this poll; exactly zero at the horizon.
fn unspent_weight(poll: u32, horizon: NonZeroU32) -> f64 {
    let horizon = horizon.get();
    match horizon.saturating_sub(poll) {
        0 => 0.0,
        left => (1.0 - FROM_THE_START) * f64::from(left) / f64::from(horizon - 1),
    }
}

/// `ln(e^a + e^b)`
fn log_add(a: f64, b: f64) -> f64 {
    let (larger, smaller) = if a >= b { (a, b) } else { (b, a) };
    larger + libm::log1p(libm::exp(smaller - larger))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(total: u64, bad: u64) -> ArmCounts {
        ArmCounts::new(total, bad).unwrap()
    }

    fn evidence(horizon: u32) -> EProcess {
        EProcess::new(MinEffect::DEFAULT, NonZeroU32::new(horizon).unwrap())
    }

    #[test]
    fn constants_are_libms() {
        for (ratio, bet) in RATIOS.into_iter().zip(BETS) {
            let expected = Bet::new(ratio);
            assert_eq!(format!("{bet:?}"), format!("{expected:?}"));
        }
        assert_eq!(LOG_RATIOS, libm::log(6.0));
    }

    /// The recurrence of the method, written down once more with plain numbers.
    #[test]
    fn agrees_with_plain_arithmetic() {
        let horizon = 7;
        let mut process = evidence(horizon);
        let mut wealth = [0.0; 6];
        let mut spent = 0.0;
        for (poll, (candidate, stable)) in [
            (arm(100, 1), arm(900, 5)),
            (arm(110, 0), arm(880, 0)),
            (arm(90, 4), arm(910, 3)),
            (arm(100, 0), arm(900, 9)),
            (arm(50, 3), arm(50, 1)),
            (arm(100, 2), arm(900, 4)),
            (arm(100, 2), arm(900, 4)),
            (arm(100, 5), arm(900, 4)),
        ]
        .into_iter()
        .enumerate()
        {
            process.step(candidate, stable);
            let start = match poll {
                0 => 0.8,
                1..7 => 0.2 / 6.0,
                _ => 0.0,
            };
            spent += start;
            for (wealth, ratio) in wealth.iter_mut().zip(RATIOS) {
                let log = super::super::log_e_bound(candidate, stable, MinEffect::DEFAULT, ratio);
                *wealth = (*wealth + start) * libm::exp(log);
            }
            let expected = wealth.iter().sum::<f64>() / 6.0 + (1.0 - spent);
            let found = libm::exp(process.log_e());
            assert!(
                (found / expected - 1.0).abs() < 1e-9,
                "{found} for {expected}"
            );
        }
    }

    #[test]
    fn a_poll_without_events_of_an_arm_changes_nothing() {
        let mut process = evidence(10);
        for (candidate, stable) in [
            (ArmCounts::NONE, ArmCounts::NONE),
            (arm(5, 5), ArmCounts::NONE),
            (ArmCounts::NONE, arm(5, 1)),
        ] {
            let before = process.clone();
            process.step(candidate, stable);
            assert_eq!(process, before);
            process.step(arm(10, 1), arm(90, 1));
        }
        // Without bad events the stake is only moved.
        let before = process.log_e();
        process.step(arm(10, 0), arm(90, 0));
        assert!((process.log_e() - before).abs() < 1e-12);
    }

    #[test]
    fn the_stake_is_never_more_than_one() {
        for horizon in [1, 2, 3, 10, 360] {
            let horizon = NonZeroU32::new(horizon).unwrap();
            let mut spent = 0.0;
            for poll in 1..=horizon.get() + 3 {
                spent += start_weight(poll, horizon);
                let unspent = unspent_weight(poll, horizon);
                assert!((spent + unspent - 1.0).abs() < 1e-12, "{poll} of {horizon}");
            }
        }
    }

    #[test]
    fn swapping_the_arms_takes_the_evidence_away() {
        let (mut process, mut swapped) = (evidence(100), evidence(100));
        for _ in 0..20 {
            process.step(arm(500, 20), arm(500, 5));
            swapped.step(arm(500, 5), arm(500, 20));
        }
        assert!(process.crossed(FalseRollbackRate::DEFAULT));
        assert!(swapped.log_e() < 0.0, "{}", swapped.log_e());
        assert!(!swapped.crossed(FalseRollbackRate::new(0.5).unwrap()));
    }

    #[test]
    fn equal_rates_are_no_evidence_whatever_the_share() {
        for (candidate, stable) in [(1, 19), (1, 9), (1, 1), (9, 1)] {
            let mut process = evidence(200);
            for poll in 0..200 {
                // The common level of errors triples for a while.
                let bad = if (50..90).contains(&poll) { 3 } else { 1 };
                process.step(
                    arm(100 * candidate, bad * candidate),
                    arm(100 * stable, bad * stable),
                );
            }
            assert!(process.log_max() < 0.3, "{}", process.log_max());
        }
    }

    #[test]
    fn more_bad_events_of_the_candidate_never_weaken_the_evidence() {
        let run = |bad: u64| {
            let mut process = evidence(50);
            for poll in 0..10 {
                process.step(arm(100, if poll == 4 { bad } else { 1 }), arm(900, 4));
            }
            process.log_e()
        };
        for bad in 0..100 {
            assert!(run(bad + 1) >= run(bad), "{bad}");
        }
    }

    #[test]
    fn a_saved_watch_continues_bit_for_bit() {
        let polls = |from: u64, to: u64| {
            (from..to).map(|i| (arm(90 + i % 21, i % 4), arm(900 + i % 7, i % 6)))
        };
        let mut whole = evidence(40);
        for (candidate, stable) in polls(0, 60) {
            whole.step(candidate, stable);
        }
        for cut in [0, 1, 17, 45] {
            let mut first = evidence(40);
            for (candidate, stable) in polls(0, cut) {
                first.step(candidate, stable);
            }
            let saved = serde_json::to_string(&first).unwrap();
            let mut second: EProcess = serde_json::from_str(&saved).unwrap();
            for (candidate, stable) in polls(cut, 60) {
                second.step(candidate, stable);
            }
            assert_eq!(second, whole);
            assert_eq!(second.log_e().to_bits(), whole.log_e().to_bits());
        }
    }

    #[test]
    fn extremes_stay_finite() {
        let n = 1_000_000_000;
        for (candidate, stable) in [
            (arm(n, n), arm(n, 0)),
            (arm(n, 0), arm(n, n)),
            (arm(1, 1), arm(n, 0)),
            (arm(n, n), arm(1, 1)),
            (arm(n, n), arm(n, n)),
        ] {
            let mut process = evidence(3);
            for _ in 0..10 {
                process.step(candidate, stable);
                assert!(process.log_e().is_finite());
                assert!(process.log_e() <= LARGEST_LOG);
                let bets = process.bets.as_ref().unwrap();
                assert!(bets.log_wealth.iter().all(|log| *log <= LARGEST_LOG));
                assert!((0.0..=1.0).contains(&process.p_value()));
            }
            let saved = serde_json::to_string(&process).unwrap();
            assert_eq!(serde_json::from_str::<EProcess>(&saved).unwrap(), process);
        }
    }

    #[test]
    fn crossing_is_remembered() {
        let mut process = evidence(100);
        for _ in 0..4 {
            process.step(arm(100, 8), arm(900, 4));
        }
        assert!(process.crossed(FalseRollbackRate::DEFAULT));
        for _ in 0..90 {
            process.step(arm(100, 0), arm(900, 30));
        }
        assert!(process.log_e() < 0.0);
        assert!(process.crossed(FalseRollbackRate::DEFAULT));
    }
}
