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
    /// Wait for a person.
    Wait {
        /// Why.
        reason: HoldReason,
    },
    /// Take the candidate as proven.
    Promote {
        /// Which.
        release: ReleaseId,
    },
}

impl Would {
    /// What called for going back, if something did.
    #[must_use]
    pub const fn cause(&self) -> Option<&Cause> {
        match self {
            Self::RollBack { cause, .. } | Self::Hold { cause, .. } => Some(cause),
            Self::Wait { .. } | Self::Promote { .. } => None,
        }
    }

    /// Whether it is the same decision, whatever its numbers have become.
    #[must_use]
    pub fn is_again(&self, other: &Self) -> bool {
        let trigger = |would: &Self| -> Option<TriggerId> {
            match would.cause() {
                Some(Cause::Trigger { trigger, .. }) => Some(trigger.clone()),
                _ => None,
            }
        };
        let same = match (self, other) {
            (Self::RollBack { target, .. }, Self::RollBack { target: other, .. }) => {
                target == other
            }
            (Self::Hold { reason, .. }, Self::Hold { reason: other, .. })
            | (Self::Wait { reason }, Self::Wait { reason: other }) => {
                std::mem::discriminant(reason) == std::mem::discriminant(other)
            }
            (Self::Promote { release }, Self::Promote { release: other }) => release == other,
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
            Self::Wait { reason } => write!(f, "would have held: {reason}"),
            Self::Promote { release } => write!(f, "would have promoted {release}"),
        }
    }
}
