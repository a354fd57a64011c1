//! A release's standing, and why it has it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::model::{Actor, TriggerId};

/// A release's standing in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// Never judged.
    Unknown,
    /// Through a full bake, or adopted.
    Proven,
    /// Its own evidence failed.
    Rejected,
    /// Rolled back for another reason; may be deployed again.
    Withdrawn,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Proven => "proven",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        })
    }
}

/// Why a standing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LedgerReason {
    /// It ran when the service was first guarded.
    Adopted,
    /// It went through its bake.
    Baked,
    /// A person promoted it.
    PromotedBy(Actor),
    /// A trigger failed on it.
    Failed(TriggerId),
    /// A task of its rollout failed.
    TaskFailed(Arc<str>),
    /// It was rolled back for another reason.
    RolledBack,
    /// A person overrode the rejection.
    OverriddenBy(Actor),
}
