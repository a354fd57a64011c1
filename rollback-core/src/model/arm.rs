//! The two arms of a deployment and the traffic they carry.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The side of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// The proven release.
    Stable,
    /// The release on trial.
    Candidate,
}

impl Arm {
    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Stable => Self::Candidate,
            Self::Candidate => Self::Stable,
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stable => "stable",
            Self::Candidate => "candidate",
        })
    }
}

/// A share of the traffic, in hundredths of a percent (0 to 10 000).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(u16);

/// A weight of more than everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a weight is at most 100 % (10000 hundredths of a percent), not {0}")]
pub struct WeightError(u16);

impl Weight {
    /// No traffic.
    pub const NONE: Self = Self(0);
    /// All traffic.
    pub const ALL: Self = Self(10_000);

    /// A weight from hundredths of a percent.
    ///
    /// # Errors
    /// More than 10 000.
    pub const fn from_basis_points(points: u16) -> Result<Self, WeightError> {
        if points > 10_000 {
            return Err(WeightError(points));
        }
        Ok(Self(points))
    }

    /// Hundredths of a percent.
    #[must_use]
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// What is left of the traffic beside this share.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(10_000 - self.0)
    }

    /// The share as a fraction, 0 to 1.
    #[must_use]
    pub fn as_ratio(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl TryFrom<u16> for Weight {
    type Error = WeightError;
    fn try_from(points: u16) -> Result<Self, WeightError> {
        Self::from_basis_points(points)
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        if part == 0 {
            write!(f, "{whole} %")
        } else {
            write!(f, "{whole}.{part:02} %")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_everything_is_refused() {
        assert!(Weight::from_basis_points(10_001).is_err());
        assert!(serde_json::from_str::<Weight>("10001").is_err());
        assert_eq!(
            Weight::from_basis_points(1_250).unwrap().to_string(),
            "12.50 %"
        );
    }
}
