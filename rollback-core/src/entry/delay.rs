//! A trigger that failed and whose action waits for its `delay`.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// How the wait stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DelayState {
    /// The action follows then, unless the trigger passes before. While it cannot see or cannot tell
    /// the time does not count: a new moment is named when it fails again.
    Until {
        /// When.
        until: Timestamp,
        /// What is failing, in a sentence.
        why: Arc<str>,
    },
    /// It lasted: the action follows now.
    Over {
        /// What is failing, in a sentence.
        why: Arc<str>,
    },
    /// Cleared before the delay ended: nothing follows.
    Cancelled {
        /// When the action would have followed.
        until: Timestamp,
    },
}

impl fmt::Display for DelayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Until { until, why } => {
                write!(f, "follows at {until} unless it passes before: {why}")
            }
            Self::Over { why } => write!(f, "follows now, since it lasted: {why}"),
            Self::Cancelled { until } => write!(
                f,
                "does not follow at {until}: cleared before the delay ended"
            ),
        }
    }
}
