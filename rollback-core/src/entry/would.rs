//! What an engine that may not act would have done.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Cause, ReleaseId};

/// Told instead of done, once per decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Would {
    /// Go back.
    RollBack {
        /// Where to.
        target: ReleaseId,
        /// Why.
        cause: Cause,
    },
}

impl Would {
    /// Whether it is the same decision, whatever its numbers have become.
    #[must_use]
    pub fn is_again(&self, other: &Self) -> bool {
        let trigger = |cause: &Cause| match cause {
            Cause::Trigger { trigger, .. } => Some(trigger.clone()),
            _ => None,
        };
        match (self, other) {
            (
                Self::RollBack { target, cause },
                Self::RollBack {
                    target: other,
                    cause: because,
                },
            ) => target == other && trigger(cause) == trigger(because),
        }
    }
}

impl fmt::Display for Would {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RollBack { target, cause } => {
                write!(f, "would have rolled back to {target}: {cause}")
            }
        }
    }
}
