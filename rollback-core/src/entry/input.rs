//! Everything that can happen to an engine.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Command, TaskReport};
use crate::{
    model::{
        Accepted, Actor, Answer, ChangeError, ChangeId, DeploymentId, Epoch, NoticeKey,
        Observation, PolicyDigest, ReleaseId, Timestamp, TriggerId,
    },
    policy::Policy,
    ports::{Delivered, NotifyError, PermitDecision},
};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Input {
    /// A controller took the journal over; whatever was under way before is in doubt.
    Started {
        /// Its lease.
        epoch: Epoch,
        /// Who it is.
        owner: Arc<str>,
        /// The version of the engine.
        engine: Arc<str>,
    },
    /// The policy for the deployments to come.
    PolicyOffered {
        /// Identifies it.
        digest: PolicyDigest,
        /// The policy itself.
        policy: Arc<Policy>,
    },
    /// A person or the host asks for something.
    Command {
        /// Who.
        actor: Actor,
        /// Why, in their words.
        reason: Arc<str>,
        /// What.
        command: Command,
    },
    /// The time that was asked for with `next_wake` has come.
    Woke,
    /// The answers of one poll.
    Readings {
        /// In the order they were asked.
        answers: Vec<Answer>,
    },
    /// It may be worth looking at the platform; carries no fact.
    Hinted,
    /// A look at the platform.
    Observed {
        /// When it was asked for: a look that was overtaken by a later one is ignored.
        asked_at: Timestamp,
        /// What was seen, or why nothing was.
        result: Result<Observation, ChangeError>,
    },
    /// Whether a release could be deployed.
    Checked {
        /// Which.
        release: ReleaseId,
        /// Whether, or why not.
        result: Result<(), ChangeError>,
    },
    /// What became of sending a change.
    Reported(ChangeReport),
    /// What a task's runner said.
    TaskReported(TaskReport),
    /// The fleet's answer.
    Permit {
        /// For which deployment.
        deployment: DeploymentId,
        /// Asked for the n-th time.
        attempt: u32,
        /// The answer.
        decision: PermitDecision,
    },
    /// What a release last wrote.
    LastWords {
        /// Which.
        release: ReleaseId,
        /// Oldest first.
        lines: Vec<String>,
    },
    /// What became of a notice.
    Notified {
        /// Which.
        key: NoticeKey,
        /// What became of it.
        result: Result<Delivered, NotifyError>,
    },
    /// A trigger's own code panicked in the driver's hands or the engine's; it takes no part in
    /// this deployment any more.
    TriggerFaulted {
        /// Which.
        trigger: TriggerId,
    },
    /// The engine panicked on an input; nothing of it was kept.
    Faulted {
        /// The input in words.
        input: Arc<str>,
        /// The panic's message.
        why: Arc<str>,
    },
}

impl Input {
    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::PolicyOffered { .. } => "policy_offered",
            Self::Command { .. } => "command",
            Self::Woke => "woke",
            Self::Hinted => "hinted",
            Self::Readings { .. } => "readings",
            Self::Observed { .. } => "observed",
            Self::Checked { .. } => "checked",
            Self::Reported(_) => "reported",
            Self::TaskReported(_) => "task_reported",
            Self::Permit { .. } => "permit",
            Self::LastWords { .. } => "last_words",
            Self::Notified { .. } => "notified",
            Self::TriggerFaulted { .. } => "trigger_faulted",
            Self::Faulted { .. } => "faulted",
        }
    }

    /// Whether it must be on disk before anything follows from it.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        matches!(
            self,
            Self::Started { .. }
                | Self::PolicyOffered { .. }
                | Self::Command { .. }
                | Self::Faulted { .. }
        )
    }

    /// Whether it is kept even when nothing was decided on it.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        !matches!(self, Self::Woke | Self::Hinted)
    }
}

/// What became of sending one attempt at a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// Which attempt.
    pub id: ChangeId,
    /// What became of it.
    pub result: Result<Accepted, ChangeError>,
}
