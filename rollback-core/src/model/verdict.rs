//! What a trigger says, and the numbers it said it from.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Arm, MetricId, ReadError, Window};

/// What a rule says of the evidence so far. Only [`Verdict::Pass`] is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use]
pub enum Verdict {
    /// Seen, and not bad.
    Pass,
    /// Seen, and bad.
    Fail,
    /// Seen, and it cannot tell.
    Inconclusive(Arc<str>),
    /// Could not see.
    Unknown(UnknownReason),
}

impl Verdict {
    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive(_) => "inconclusive",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inconclusive(why) => write!(f, "inconclusive ({why})"),
            Self::Unknown(why) => write!(f, "unknown ({why})"),
            Self::Pass | Self::Fail => f.write_str(self.word()),
        }
    }
}

/// Why a rule could not see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnknownReason {
    /// Nothing was read yet.
    NothingYet,
    /// A metric's last answer was an error.
    Unreadable {
        /// Which metric.
        metric: MetricId,
        /// What the source said.
        error: ReadError,
    },
    /// The last reading is too old.
    Stale {
        /// Which metric.
        metric: MetricId,
    },
    /// The arm carries no traffic, or does not exist.
    NoArm(Arm),
    /// Too few events to say anything.
    TooFew,
    /// The rule's own code panicked; it takes no part any more.
    TriggerFaulted,
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingYet => f.write_str("nothing read yet"),
            Self::Unreadable { metric, error } => write!(f, "{metric}: {error}"),
            Self::Stale { metric } => write!(f, "{metric}: the last reading is too old"),
            Self::NoArm(arm) => write!(f, "the {arm} arm gives no data"),
            Self::TooFew => f.write_str("too few events"),
            Self::TriggerFaulted => f.write_str("the trigger's own code failed"),
        }
    }
}

/// What a failing trigger may do; each rung includes those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Keep it for the record.
    Observe,
    /// Tell people.
    Notify,
    /// Stop advancing and wait for a person.
    Hold,
    /// Return to the stable release.
    RollBack,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Observe => "observe",
            Self::Notify => "notify",
            Self::Hold => "hold",
            Self::RollBack => "roll_back",
        })
    }
}

/// The numbers behind a verdict; text is made from them when somebody reads it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The rule in words, for example `error_rate > 5% for 2s`.
    pub rule: String,
    /// The queries that were asked.
    pub queries: Vec<String>,
    /// From the first to the last window that counted.
    pub window: Option<Window>,
    /// Events per arm.
    pub counts: Vec<ArmCounts>,
    /// Named numbers: the value, the evidence, an estimate.
    pub figures: Vec<Figure>,
    /// What the value was compared with.
    pub threshold: Option<Figure>,
    /// What would have passed, in words with a number.
    pub would_pass: Option<String>,
    /// One sentence for people.
    pub sentence: String,
}

/// Events of one arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmCounts {
    /// Which arm; none when the metric is of the whole service.
    pub arm: Option<Arm>,
    /// Bad events.
    pub bad: u64,
    /// All events.
    pub total: u64,
}

/// A number with its name and unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub name: Arc<str>,
    /// How much; finite.
    pub value: f64,
    /// In what; empty for a plain number.
    pub unit: Arc<str>,
}

impl Figure {
    /// A named number. A value that is not finite is kept as the largest finite one of its sign.
    #[must_use]
    pub fn new(name: impl AsRef<str>, value: f64, unit: impl AsRef<str>) -> Self {
        let value = if value.is_nan() {
            0.0
        } else {
            value.clamp(f64::MIN, f64::MAX)
        };
        Self {
            name: Arc::from(name.as_ref()),
            value,
            unit: Arc::from(unit.as_ref()),
        }
    }
}
