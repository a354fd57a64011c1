//! How a deployment ended. No outcome but `Promoted` can be mistaken for success.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Actor, DeploymentId, Explanation, Hold, HoldReason, Order, ReleaseId, TriggerId, duration_text,
};
use crate::entry::Would;

/// What led to a rollback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A trigger failed.
    Trigger {
        /// Which.
        trigger: TriggerId,
        /// Its numbers.
        explanation: Explanation,
    },
    /// A person asked for it.
    Command {
        /// Who.
        by: Actor,
        /// Why, in the person's words.
        reason: Arc<str>,
    },
    /// A task of the plan failed, or took too long.
    Task {
        /// Which.
        task: Arc<str>,
        /// Its last words.
        why: Arc<str>,
    },
    /// Nobody opened a gate in time.
    NotApproved {
        /// Which.
        gate: Arc<str>,
        /// Within how many milliseconds.
        within_ms: u64,
    },
    /// The platform rolled back by itself.
    Platform {
        /// The platform's words.
        why: Arc<str>,
    },
    /// The platform did not take a step of the rollout: what it would have brought about was never
    /// seen, so it says nothing against the candidate.
    NotTaken {
        /// Which, in a word: `converge`, `weights`.
        step: Arc<str>,
        /// The platform's words.
        why: Arc<str>,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trigger {
                trigger,
                explanation,
            } => write!(f, "{}: {}", trigger.name, explanation.sentence),
            Self::Command { by, reason } => write!(f, "{by} asked for it: {reason}"),
            Self::Task { task, why } => write!(f, "task {task} failed: {why}"),
            Self::NotApproved { gate, within_ms } => write!(
                f,
                "nobody approved gate {gate} within {}",
                duration_text(Duration::from_millis(*within_ms))
            ),
            Self::Platform { why } => write!(f, "the platform rolled back by itself: {why}"),
            Self::NotTaken { step, why } => {
                write!(f, "the platform did not take the step `{step}`: {why}")
            }
        }
    }
}

/// Why a request was not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusedReason {
    /// A rollback is on its way.
    #[error("a rollback is under way; deploy again when it has ended")]
    RollingBack,
    /// The release was rejected by its own evidence.
    #[error(
        "release {release} was rejected before; deploy a new release, or override with a reason"
    )]
    Rejected {
        /// Which.
        release: ReleaseId,
    },
    /// Nothing is proven and the policy does not trust what runs.
    #[error(
        "no proven release to return to; set `bootstrap: trust_running`, or start the first release"
    )]
    NoProvenRelease,
    /// The platform, a metric or the target failed the pre-flight.
    #[error("pre-flight: {why}")]
    PreFlight {
        /// What failed and what to do.
        why: Arc<str>,
    },
    /// Deployments are frozen.
    #[error(
        "the service is frozen ({order}); wait for its end, unfreeze it, or expedite the \
         deployment with a reason"
    )]
    Frozen {
        /// By whom and why.
        order: Order,
    },
    /// The kill switch is on.
    #[error("the kill switch is on ({order}); nothing is sent until it is switched off")]
    Killed {
        /// By whom and why.
        order: Order,
    },
    /// The policy says `mode: observe`.
    #[error(
        "the policy says `mode: observe`, which changes nothing; adopt one with `mode: act` and \
         deploy again"
    )]
    Observing,
    /// What was asked for needs a reason, which is kept.
    #[error("say why: {what} is only done with a reason")]
    NoReason {
        /// What.
        what: Arc<str>,
    },
    /// No policy yet.
    #[error("no policy was adopted yet")]
    NoPolicy,
    /// The command does not fit what is going on.
    #[error("{why}")]
    NotNow {
        /// Why.
        why: Arc<str>,
    },
}

/// How a deployment ended; never overwritten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[must_use = "an outcome other than `Promoted` means that the candidate is not in production"]
pub enum Outcome {
    /// The candidate is proven and serves.
    Promoted {
        /// The new stable release.
        release: ReleaseId,
    },
    /// Returned to a proven release, and verified.
    RolledBack {
        /// The candidate that was left.
        from: ReleaseId,
        /// The release that serves again.
        to: ReleaseId,
        /// What led to it.
        cause: Cause,
    },
    /// Neither candidate nor a proven release could be brought back.
    RollbackFailed {
        /// The candidate.
        from: ReleaseId,
        /// What led to the rollback.
        cause: Cause,
        /// Why it failed.
        why: Arc<str>,
    },
    /// A newer deployment took its place.
    Superseded {
        /// By which deployment of ours; none if somebody else deployed.
        by: Option<DeploymentId>,
        /// What the platform wants now, in words.
        why: Arc<str>,
    },
    /// A person ended it where it stood.
    Aborted {
        /// Who.
        by: Actor,
        /// Why.
        reason: Arc<str>,
    },
    /// Not begun.
    Refused {
        /// Why.
        reason: RefusedReason,
    },
    /// The policy says `mode: observe`: it was watched, and nothing was done.
    Observed {
        /// The release that was watched.
        release: ReleaseId,
        /// What would have been done.
        would: Box<Would>,
    },
    /// The candidate already serves.
    NoChange {
        /// Which release.
        release: ReleaseId,
    },
}

impl Outcome {
    /// The exit code for whoever waits for the deployment: 0 promoted, 10 rolled back, 11 left to
    /// people, 12 rollback failed, 13 refused, 14 superseded. What was only observed is 0, whatever
    /// would have been done: a guard on trial breaks nobody's pipeline. Whoever asked for a rollback and got
    /// it answers 0 instead of 10.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Promoted { .. } | Self::NoChange { .. } | Self::Observed { .. } => 0,
            Self::RolledBack { .. } => 10,
            Self::RollbackFailed { .. } => 12,
            Self::Refused { .. } => 13,
            Self::Superseded { .. } => 14,
            Self::Aborted { .. } => 11,
        }
    }

    /// One word, as in metrics and events.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Promoted { .. } => "promoted",
            Self::RolledBack { .. } => "rolled_back",
            Self::RollbackFailed { .. } => "rollback_failed",
            Self::Superseded { .. } => "superseded",
            Self::Aborted { .. } => "aborted",
            Self::Refused { .. } => "refused",
            Self::Observed { .. } => "observed",
            Self::NoChange { .. } => "no_change",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted { release } => write!(f, "promoted {release}"),
            Self::RolledBack { from, to, cause } => {
                write!(f, "rolled back from {from} to {to}: {cause}")
            }
            Self::RollbackFailed { from, why, .. } => {
                write!(f, "could not roll back from {from}: {why}")
            }
            Self::Superseded { by: Some(by), .. } => write!(f, "superseded by deployment {by}"),
            Self::Superseded { why, .. } => write!(f, "superseded: {why}"),
            Self::Aborted { by, reason } => write!(f, "aborted by {by}: {reason}"),
            Self::Refused { reason } => write!(f, "refused: {reason}"),
            Self::Observed { release, would } => write!(f, "{release} was observed: {would}"),
            Self::NoChange { release } => write!(f, "no change: {release} already serves"),
        }
    }
}

/// Where a deployment came to rest.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Settled {
    /// It ended.
    Ended(Outcome),
    /// It waits for a person; the controller keeps watching.
    Held(Hold),
}

impl Settled {
    /// The exit code for whoever waited: the outcome's; 0 for a rollback if leaving the candidate
    /// is what was asked for (`way_back`); 11 held, 12 held since the rollback failed.
    #[must_use]
    pub const fn exit_code(&self, way_back: bool) -> u8 {
        match self {
            Self::Ended(Outcome::RolledBack { .. }) if way_back => 0,
            Self::Ended(outcome) => outcome.exit_code(),
            Self::Held(hold) if matches!(hold.reason, HoldReason::RollbackFailed { .. }) => 12,
            Self::Held(_) => 11,
        }
    }
}
