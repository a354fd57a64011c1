//! The inputs of the statistics, checked once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What one arm did in one poll: how many events there were, and how many of them were bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedCounts")]
pub struct ArmCounts {
    total: u64,
    bad: u64,
}

#[derive(Deserialize)]
struct UncheckedCounts {
    total: u64,
    bad: u64,
}

impl TryFrom<UncheckedCounts> for ArmCounts {
    type Error = InvalidCounts;

    fn try_from(counts: UncheckedCounts) -> Result<Self, InvalidCounts> {
        Self::new(counts.total, counts.bad)
    }
}

/// More bad events than events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bad} bad events of {total}: `bad` has to be counted among `total`; check that both queries use the same filter and window"
)]
pub struct InvalidCounts {
    total: u64,
    bad: u64,
}

impl ArmCounts {
    /// No events at all.
    pub const NONE: Self = Self { total: 0, bad: 0 };

    /// `bad` events out of `total`.
    ///
    /// # Errors
    ///
    /// When more events are bad than there are.
    pub const fn new(total: u64, bad: u64) -> Result<Self, InvalidCounts> {
        if bad > total {
            return Err(InvalidCounts { total, bad });
        }
        Ok(Self { total, bad })
    }

    /// All events.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.total
    }

    /// The bad ones among them.
    #[must_use]
    pub const fn bad(self) -> u64 {
        self.bad
    }

    /// Both as numbers to calculate with: total, bad.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts beyond 2^53 are out of reach, and would be off by one part in 10^16"
    )]
    pub(super) const fn as_f64(self) -> (f64, f64) {
        (self.total as f64, self.bad as f64)
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        let total = self.total.saturating_add(other.total);
        let bad = self.bad.saturating_add(other.bad);
        Self { total, bad }
    }
}

/// A setting of the statistics that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// A smallest effect below 1, or not a number.
    #[error(
        "`min_effect` is {0}, but it is a ratio of at least 1: 1.25 ignores a candidate that is up to 25% more error-prone"
    )]
    MinEffect(f64),
    /// A rate of false rollbacks that is not between 0 and 1.
    #[error(
        "`max_false_rollback_rate` is {0}, but it is a share above 0% and below 100%, such as 1%"
    )]
    FalseRollbackRate(f64),
}

/// How many times as error-prone as the stable release the candidate may be without being blamed; at least 1.
///
/// It compares odds (bad : good), which for rare errors is the same as comparing error rates.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct MinEffect(f64);

impl MinEffect {
    /// 1.25: small but real differences between hosts do not add up to a rollback.
    pub const DEFAULT: Self = Self(1.25);

    /// A ratio of at least 1.
    ///
    /// # Errors
    ///
    /// When the ratio is below 1, above a million, or not a number.
    pub fn new(ratio: f64) -> Result<Self, InvalidSetting> {
        if (1.0..=1e6).contains(&ratio) {
            Ok(Self(ratio))
        } else {
            Err(InvalidSetting::MinEffect(ratio))
        }
    }

    /// The ratio.
    #[must_use]
    pub const fn ratio(self) -> f64 {
        self.0
    }

    /// A harder null hypothesis on the way up; `factor` is one of a fixed grid of numbers above 1.
    pub(super) const fn times(self, factor: f64) -> Self {
        Self(self.0 * factor)
    }
}

impl Default for MinEffect {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<f64> for MinEffect {
    type Error = InvalidSetting;

    fn try_from(ratio: f64) -> Result<Self, InvalidSetting> {
        Self::new(ratio)
    }
}

impl From<MinEffect> for f64 {
    fn from(effect: MinEffect) -> Self {
        effect.0
    }
}

impl fmt::Display for MinEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×", self.0)
    }
}

/// The accepted probability that a watch over a fine candidate ever ends in a rollback; above 0 and below 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct FalseRollbackRate(f64);

impl FalseRollbackRate {
    /// One in a hundred.
    pub const DEFAULT: Self = Self(0.01);

    /// A share above 0 and below 1, as in `0.01`.
    ///
    /// # Errors
    ///
    /// When the share is not strictly between 0 and 1, or so small that no evidence could be enough.
    pub fn new(share: f64) -> Result<Self, InvalidSetting> {
        if (1e-100..1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(InvalidSetting::FalseRollbackRate(share))
        }
    }

    /// The share.
    #[must_use]
    pub const fn share(self) -> f64 {
        self.0
    }

    /// The logarithm of the evidence that is needed.
    #[must_use]
    pub fn log_threshold(self) -> f64 {
        -libm::log(self.0)
    }
}

impl Default for FalseRollbackRate {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<f64> for FalseRollbackRate {
    type Error = InvalidSetting;

    fn try_from(share: f64) -> Result<Self, InvalidSetting> {
        Self::new(share)
    }
}

impl From<FalseRollbackRate> for f64 {
    fn from(rate: FalseRollbackRate) -> Self {
        rate.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_inputs_are_refused() {
        assert!(ArmCounts::new(3, 3).is_ok());
        let error = ArmCounts::new(3, 4).unwrap_err();
        assert!(error.to_string().starts_with("4 bad events of 3"));
        assert!(serde_json::from_str::<ArmCounts>(r#"{"total":1,"bad":2}"#).is_err());

        for ratio in [0.99, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(MinEffect::new(ratio).is_err(), "{ratio}");
        }
        assert!(MinEffect::new(1.0).is_ok());
        for share in [0.0, 1.0, -0.1, 5.0, f64::NAN] {
            assert!(FalseRollbackRate::new(share).is_err(), "{share}");
        }
        assert!(serde_json::from_str::<FalseRollbackRate>("1.5").is_err());
        assert!(serde_json::from_str::<MinEffect>("0.5").is_err());
    }
}
