//! What the driver is asked to do.

use crate::{
    model::{ChangeRequest, DeploymentId, Notice, NoticeKey, ReadRequest, ReleaseId, Timestamp},
    ports::PermitRequest,
};

/// One thing to do. Only `Apply` changes the world.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Send a change, unless it is too late for it; answer with `Input::Reported`.
    Apply(Box<ChangeRequest>),
    /// Look at the platform; answer with `Input::Observed` and the same `asked_at`.
    Observe {
        /// When the look was asked for.
        asked_at: Timestamp,
    },
    /// Read metrics; answer with one `Input::Readings` in the same order.
    Read(Reads),
    /// See whether a release could be deployed; answer with `Input::Checked`.
    Check {
        /// Which.
        release: ReleaseId,
    },
    /// Ask the fleet; answer with `Input::Permit`.
    RequestPermit(PermitRequest),
    /// Collect what a release last wrote; answer with `Input::LastWords`.
    CollectLastWords {
        /// Which.
        release: ReleaseId,
        /// At most so many lines.
        lines: usize,
    },
    /// Tell people; answer with `Input::Notified`.
    Notify {
        /// The idempotency key.
        key: NoticeKey,
        /// What.
        notice: Notice,
    },
    /// For the host: a deployment ended or is held.
    Settled {
        /// Which.
        deployment: DeploymentId,
    },
}

impl Effect {
    /// Whether it changes the world.
    #[must_use]
    pub const fn changes_the_world(&self) -> bool {
        matches!(self, Self::Apply(_))
    }
}

/// The requests of one poll.
#[derive(Debug, Clone, PartialEq)]
pub struct Reads {
    /// Each is answered, in order.
    pub requests: Vec<ReadRequest>,
}
