//! What can go wrong for the host, each with what to do about it.

use rollback_core::{
    model::{IdError, RefusedReason, ServiceId, Timestamp},
    ports::{JournalError, ReleaseStoreError},
};

/// Why a controller did not start. Nothing was changed on the platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The name of the service is not an id.
    #[error(transparent)]
    BadName(#[from] IdError),
    /// Something a controller cannot do without was not given.
    #[error("no {what}: call `.{call}(..)` before `.start()`")]
    Missing {
        /// What.
        what: &'static str,
        /// The builder's method.
        call: &'static str,
    },
    /// The policy is written for another service.
    #[error(
        "the policy is written for service `{policy}`, this controller guards `{service}`; correct `service:` in the policy, or leave it out"
    )]
    OtherService {
        /// The policy's.
        policy: ServiceId,
        /// Ours.
        service: ServiceId,
    },
    /// The policy names a metric source that was not given.
    #[error(
        "metric `{metric}` reads from {wanted}, and the controller was given {given}; call `{call}`"
    )]
    NoSource {
        /// The metric.
        metric: String,
        /// What it wants.
        wanted: String,
        /// What there is.
        given: String,
        /// The builder's method.
        call: String,
    },
    /// A rule says `host: true` and no trigger of that name was given.
    #[error(
        "trigger `{name}` is the host's own (`host: true`), and none of that name was given: call `.trigger(..)`"
    )]
    NoTrigger {
        /// The rule's name.
        name: String,
    },
    /// A task of the policy was not given.
    #[error(
        "the policy runs a task `{name}`, and none of that name was given: call `.task(\"{name}\", ..)`"
    )]
    NoTask {
        /// The task's name.
        name: String,
    },
    /// Two notifiers have the same channel.
    #[error("two notifiers are named `{channel}`; give each channel a name of its own")]
    TwoChannels {
        /// The name.
        channel: String,
    },
    /// The journal could not be taken over, read or written.
    #[error("journal: {0}")]
    Journal(#[from] JournalError),
    /// The journal was written by a clock that is ahead of ours.
    #[error(
        "the journal's last entry is of {last}, more than 30 s after our {now}: one of the two clocks is wrong; set this machine's clock, or wait"
    )]
    ClockBehind {
        /// The journal's.
        last: Timestamp,
        /// Ours.
        now: Timestamp,
    },
    /// The orders that stand in the fleet, such as a freeze, could not be given to it.
    #[error("the fleet's orders: {why}")]
    Fleet {
        /// What happened.
        why: Box<CommandError>,
    },
    /// The engine could not be restored.
    #[error(
        "the engine could not be restored from the journal ({why}); keep the journal and report this with it"
    )]
    Faulted {
        /// What happened.
        why: String,
    },
}

/// Why a deployment was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The engine refused it; the refusal is in the journal.
    #[error("refused: {0}")]
    Refused(RefusedReason),
    /// The release could not be kept, so it could not be returned to.
    #[error("not begun: {0}")]
    ReleaseStore(#[from] ReleaseStoreError),
    /// The command did not get through.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl DeployError {
    /// The exit code for whoever asked: 13 refused, 1 else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 13,
            Self::Command(error) => error.exit_code(),
            Self::ReleaseStore(_) => 1,
        }
    }
}

impl CommandError {
    /// The exit code for whoever asked: 13 refused, 1 else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 13,
            _ => 1,
        }
    }
}

impl StartError {
    /// The exit code for whoever started it: 1 if something broke, 2 if what was given is wrong or
    /// missing.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Journal(_) | Self::ClockBehind { .. } | Self::Faulted { .. } => 1,
            _ => 2,
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It does not fit what is going on; the refusal is in the journal.
    #[error("refused: {0}")]
    Refused(RefusedReason),
    /// The journal cannot be written, and nothing is done that is not journaled.
    #[error("held: {why}; nothing is done until the journal can be written again")]
    Unjournaled {
        /// What happened.
        why: String,
    },
    /// The engine could not handle it; it is restored and holds.
    #[error("the engine could not handle it: {why}")]
    Faulted {
        /// The panic's message.
        why: String,
    },
    /// The controller knows of no such deployment, or it is not one of the last few.
    #[error("deployment `{deployment}` is not under way and not one of the last few")]
    NoSuchDeployment {
        /// Which.
        deployment: String,
    },
    /// The controller has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a controller stopped. Nothing more is sent after this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The host asked for it; the lease was handed back.
    #[error("the controller was shut down")]
    ShutDown,
    /// Another controller took over.
    #[error("stopped: {0}")]
    TakenOver(JournalError),
    /// The engine or the journal is in a state that this version cannot go on from.
    #[error("stopped: {why}; the journal has everything up to here")]
    Faulted {
        /// What happened.
        why: String,
    },
    /// The host dropped the last handle.
    #[error("the controller is gone")]
    Dropped,
}

/// Why a deployment could not be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The journal could not be read.
    #[error("journal: {0}")]
    Journal(#[from] JournalError),
    /// The journal does not know the deployment.
    #[error("the journal of `{service}` has no deployment `{deployment}`")]
    NoSuchDeployment {
        /// The service.
        service: String,
        /// The deployment.
        deployment: String,
    },
}
