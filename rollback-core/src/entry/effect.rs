//! What the driver is asked to do.

use std::sync::Arc;

use crate::{
    model::{
        ChangeId, ChangeRequest, DeploymentId, Notice, NoticeKey, ReadRequest, ReleaseId, Timestamp,
    },
    ports::{PermitRequest, TaskHandle},
};

/// One thing to do. Only `Apply`, `StartTask` and `CancelTask` change the world.
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
    /// Start a task, unless it is too late for it; answer with `Input::TaskReported`.
    StartTask {
        /// The id of the attempt: the only one that starts it.
        id: ChangeId,
        /// Which task.
        task: Arc<str>,
        /// Not started after this moment.
        not_after: Timestamp,
    },
    /// Ask how far a task is; answer with `Input::TaskReported`.
    AskTask {
        /// The id of the attempt.
        id: ChangeId,
        /// Which task.
        task: Arc<str>,
        /// By which it is asked about; none if it is not known whether it was started.
        handle: Option<TaskHandle>,
    },
    /// Ask a task to stop; answer with `Input::TaskReported`.
    CancelTask {
        /// The id of the attempt.
        id: ChangeId,
        /// Which task.
        task: Arc<str>,
        /// By which it is asked about; none if it is not known whether it was started.
        handle: Option<TaskHandle>,
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
        matches!(
            self,
            Self::Apply(_) | Self::StartTask { .. } | Self::CancelTask { .. }
        )
    }
}

/// The requests of one poll.
#[derive(Debug, Clone, PartialEq)]
pub struct Reads {
    /// Each is answered, in order.
    pub requests: Vec<ReadRequest>,
}
