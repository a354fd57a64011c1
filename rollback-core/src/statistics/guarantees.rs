//! The promises of the method, by exact enumeration and by simulated watches with fixed seeds.

use std::num::NonZeroU32;

use super::*;

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn up_to(&mut self, most: u64) -> u64 {
        self.next() % (most + 1)
    }

    /// Above 0, at most 1.
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// How many of `n` events are bad: jumps from one bad event to the next.
    fn bad(&mut self, n: u64, share: f64) -> ArmCounts {
        let log_good = libm::log1p(-share);
        let (mut at, mut bad) = (0.0, 0);
        loop {
            at += libm::floor(libm::log(self.share()) / log_good) + 1.0;
            if at > n as f64 {
                return ArmCounts::new(n, bad).unwrap();
            }
            bad += 1;
        }
    }
}

fn effect(ratio: f64) -> MinEffect {
    MinEffect::new(ratio).unwrap()
}

fn rate(share: f64) -> FalseRollbackRate {
    FalseRollbackRate::new(share).unwrap()
}

/// The mean of the e-value over all splits of `bad` events, where the odds ratio is just `min_effect`.
fn means(candidate: u64, stable: u64, bad: u64, min_effect: MinEffect) -> Vec<f64> {
    let fewest = bad.saturating_sub(stable);
    let most = bad.min(candidate);
    // Each probability from the one before it, which keeps all digits.
    let mut weights = vec![1.0];
    for k in fewest..most {
        let last = *weights.last().unwrap();
        let step = ((candidate - k) * (bad - k)) as f64 / ((k + 1) * (stable + k + 1 - bad)) as f64;
        weights.push(last * step * min_effect.ratio());
    }
    let total: f64 = weights.iter().sum();
    RATIOS
        .iter()
        .map(|ratio| {
            (fewest..=most)
                .zip(&weights)
                .map(|(k, weight)| {
                    let candidate = ArmCounts::new(candidate, k).unwrap();
                    let stable = ArmCounts::new(stable, bad - k).unwrap();
                    weight / total * libm::exp(log_e_bound(candidate, stable, min_effect, *ratio))
                })
                .sum()
        })
        .collect()
}

#[test]
fn the_mean_of_an_e_value_is_at_most_one() {
    let mut largest: f64 = 0.0;
    let mut check = |candidate, stable, bad, min_effect| {
        for mean in means(candidate, stable, bad, min_effect) {
            assert!(
                mean <= 1.0 + 1e-9,
                "{mean} for {bad} bad of {candidate} and {stable} at {min_effect}"
            );
            largest = largest.max(mean);
        }
    };
    for min_effect in [1.0, 1.25, 2.0].map(effect) {
        for candidate in 0..=12 {
            for stable in 0..=12 {
                for bad in 0..=candidate + stable {
                    check(candidate, stable, bad, min_effect);
                }
            }
        }
        let mut random = Random(7);
        for _ in 0..60 {
            let (candidate, stable) = (1 + random.up_to(399), 1 + random.up_to(399));
            let bad = random.up_to((candidate + stable) / 4);
            check(candidate, stable, bad, min_effect);
        }
    }
    assert!(largest > 0.999, "the bound is never near: {largest}");
}

#[test]
fn the_exact_form_has_mean_one() {
    for (candidate, stable, bad, min_effect) in
        [(10, 30, 8, 1.0), (40, 40, 25, 1.25), (3, 200, 9, 2.0)]
    {
        let min_effect = effect(min_effect);
        for ratio in RATIOS {
            let (mut mean, mut total) = (0.0, 0.0);
            let mut weight = 1.0;
            for k in 0..=bad.min(candidate) {
                let c = ArmCounts::new(candidate, k).unwrap();
                let s = ArmCounts::new(stable, bad - k).unwrap();
                mean += weight * libm::exp(log_e_exact(c, s, min_effect, ratio));
                total += weight;
                weight *= ((candidate - k) * (bad - k)) as f64
                    / ((k + 1) * (stable + k + 1 - bad)) as f64
                    * min_effect.ratio();
            }
            assert!((mean / total - 1.0).abs() < 1e-9, "{}", mean / total);
        }
    }
}

/// The candidate's share of bad events whose odds are `ratio` times those of the stable arm.
fn worse(stable: f64, ratio: f64) -> f64 {
    let odds = ratio * stable / (1.0 - stable);
    odds / (1.0 + odds)
}

/// 2 000 watches over a candidate that is just as bad as it may be, looked at after every poll. The common level of
/// errors wanders, with an outage in the middle.
#[test]
fn false_rollbacks_stay_below_the_promised_rate() {
    const WATCHES: u32 = 2000;
    const POLLS: u32 = 90;
    let rates = [0.01, 0.05, 0.2];
    for min_effect in [1.0, 1.25].map(effect) {
        let mut crossed = [0_u32; 3];
        let mut overclaimed = 0_u32;
        for seed in 0..WATCHES {
            let mut random = Random(u64::from(seed));
            let mut evidence = EProcess::new(min_effect, NonZeroU32::new(POLLS).unwrap());
            let mut bound = RatioBound::new();
            for poll in 0..POLLS {
                let level = match poll {
                    30..35 => 0.1,
                    _ => 0.002 + 0.006 * random.share(),
                };
                let candidate = random.bad(100, worse(level, min_effect.ratio()));
                let stable = random.bad(300, level);
                evidence.step(candidate, stable);
                if seed % 8 == 0 {
                    bound.step(&evidence, candidate, stable);
                }
            }
            for (crossed, share) in crossed.iter_mut().zip(rates) {
                *crossed += u32::from(evidence.crossed(rate(share)));
            }
            let claim = bound.lower_bound(&evidence, rate(0.2));
            overclaimed += u32::from(claim.is_some_and(|ratio| ratio > min_effect.ratio()));
        }
        for (crossed, share) in crossed.into_iter().zip(rates) {
            let watches = f64::from(WATCHES);
            let error = (share * (1.0 - share) / watches).sqrt();
            assert!(
                f64::from(crossed) / watches <= share + 3.0 * error,
                "{crossed} of {WATCHES} at {share} and {min_effect}"
            );
        }
        assert!(
            crossed[2] > 0,
            "nothing ever crosses: the test sees nothing"
        );
        assert!(overclaimed <= WATCHES / 8 / 5, "{overclaimed}");
    }
}

/// A candidate five times as bad: how often does the lower bound say more than that?
#[test]
fn the_lower_bound_claims_too_much_as_rarely_as_promised() {
    let (watches, truth, share) = (300_u32, 5.0, 0.1);
    let (mut overclaimed, mut useful) = (0_u32, 0_u32);
    for seed in 0..watches {
        let mut random = Random(u64::from(seed) + 1_000_000);
        let mut evidence = EProcess::new(MinEffect::DEFAULT, NonZeroU32::new(60).unwrap());
        let mut bound = RatioBound::new();
        for _ in 0..60 {
            let candidate = random.bad(100, worse(0.005, truth));
            let stable = random.bad(900, 0.005);
            evidence.step(candidate, stable);
            bound.step(&evidence, candidate, stable);
        }
        let claim = bound.lower_bound(&evidence, rate(share)).unwrap_or(0.0);
        overclaimed += u32::from(claim > truth);
        useful += u32::from(claim >= 2.0);
    }
    let error = (share * (1.0 - share) / f64::from(watches)).sqrt();
    assert!(f64::from(overclaimed) <= f64::from(watches) * (share + 3.0 * error));
    assert!(useful > watches * 9 / 10, "{useful}");
}

/// Half of all watches notice within this many seconds: 100 requests a second, one in ten to the candidate, polls of 10
/// seconds, 0.5 % of errors on the stable arm. The limits are the measured delays of the method plus a fifth.
#[test]
fn a_worse_candidate_is_noticed_in_time() {
    for (min_effect, bad_share, good_polls, limit) in [
        (1.25, 0.02, 0, 96),
        (1.25, 0.05, 0, 24),
        (1.25, 0.10, 0, 12),
        (1.0, 0.01, 0, 408),
        (1.0, 0.02, 0, 72),
        (1.0, 0.05, 0, 24),
        // It turns bad after twenty minutes.
        (1.0, 0.02, 120, 132),
        (1.0, 0.05, 120, 36),
    ] {
        let median = median_delay(effect(min_effect), bad_share, good_polls);
        assert!(
            median <= limit,
            "{median} s at {bad_share} after {good_polls} polls, {min_effect}"
        );
    }
}

fn median_delay(min_effect: MinEffect, bad_share: f64, good_polls: u32) -> u32 {
    let mut delays: Vec<u32> = (0..200)
        .map(|seed| {
            let mut random = Random(seed + 77);
            let mut evidence = EProcess::new(min_effect, NonZeroU32::new(360).unwrap());
            (1..=360)
                .find(|poll| {
                    let share = if *poll > good_polls { bad_share } else { 0.005 };
                    evidence.step(random.bad(100, share), random.bad(900, 0.005));
                    *poll > good_polls && evidence.crossed(FalseRollbackRate::DEFAULT)
                })
                .map_or(u32::MAX, |poll| 10 * (poll - good_polls))
        })
        .collect();
    delays.sort_unstable();
    delays[100]
}
