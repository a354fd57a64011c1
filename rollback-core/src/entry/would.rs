//! What an engine, or a trigger, that may not act would have done.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Cause, HoldReason, ReleaseId, TriggerId};

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
    /// Hold, since something stands in the way of going back.
    Hold {
        /// What.
        reason: HoldReason,
        /// Why it would have gone back.
        cause: Cause,
    },
}

impl Would {
    /// Why.
    #[must_use]
    pub const fn cause(&self) -> &Cause {
        match self {
            Self::RollBack { cause, .. } | Self::Hold { cause, .. } => cause,
        }
    }

    /// Whether it is the same decision, whatever its numbers have become.
    #[must_use]
    pub fn is_again(&self, other: &Self) -> bool {
        let trigger = |would: &Self| -> Option<TriggerId> {
            match would.cause() {
                Cause::Trigger { trigger, .. } => Some(trigger.clone()),
                _ => None,
            }
        };
        let same = match (self, other) {
            (Self::RollBack { target, .. }, Self::RollBack { target: other, .. }) => {
                target == other
            }
            (Self::Hold { reason, .. }, Self::Hold { reason: other, .. }) => {
                std::mem::discriminant(reason) == std::mem::discriminant(other)
            }
            _ => false,
        };
        same && trigger(self) == trigger(other)
    }
}

impl fmt::Display for Would {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RollBack { target, cause } => {
                write!(f, "would have rolled back to {target}: {cause}")
            }
            Self::Hold { reason, cause } => {
                write!(f, "would have held ({reason}): {cause}")
            }
        }
    }
}
