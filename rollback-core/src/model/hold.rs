//! A hold: a state that waits for a person, with its reason and its exits.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Actor, ChangeId, MetricId, Order, ReleaseId, Timestamp, TriggerId};

/// Why nothing advances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HoldReason {
    /// A person asked for it.
    Paused {
        /// Who.
        by: Actor,
    },
    /// A trigger with the action `hold` failed.
    TriggerFailed {
        /// Which.
        trigger: TriggerId,
        /// Its sentence.
        why: Arc<str>,
    },
    /// A required trigger saw, and cannot tell.
    Inconclusive {
        /// Which.
        trigger: TriggerId,
        /// Its words.
        why: Arc<str>,
    },
    /// A required trigger could not see for longer than its budget.
    Blind {
        /// Which.
        trigger: TriggerId,
        /// What was missing.
        why: Arc<str>,
    },
    /// A metric is as bad on the stable arm, or was before the deployment.
    ExternalCause {
        /// Which trigger would have rolled back.
        trigger: TriggerId,
        /// The metric.
        metric: Option<MetricId>,
        /// What is bad on the candidate; none where its sentence is told beside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Arc<str>>,
        /// Why the candidate is not blamed.
        why: Arc<str>,
    },
    /// A rollback is called for and there is no release to return to.
    NoTarget {
        /// What was looked at and why not.
        why: Arc<str>,
    },
    /// A rollback is called for, and it would lose what cannot be brought back.
    Irreversible {
        /// What calls for it.
        cause: Arc<str>,
        /// What would be lost.
        why: Arc<str>,
    },
    /// A rollback is under way, and it brings data back, which loses what was written since.
    LosesData {
        /// What would be lost, by which task.
        why: Arc<str>,
    },
    /// A rollback is called for, and the last one is too short ago.
    Cooldown {
        /// When it may go on.
        until: Timestamp,
    },
    /// A rollback is called for, and its budget is used up.
    BudgetExhausted {
        /// How many were allowed.
        rollbacks: u32,
    },
    /// A rollback is called for, and the fleet did not permit it.
    NotPermitted {
        /// The fleet's words.
        why: Arc<str>,
    },
    /// It could not be found out in time whether a change was taken.
    InDoubt {
        /// Which change.
        change: ChangeId,
        /// What is known.
        why: Arc<str>,
    },
    /// A step of the plan failed and rolling back is not the answer.
    StepFailed {
        /// What happened.
        why: Arc<str>,
    },
    /// Nobody opened a gate in time.
    NotApproved {
        /// Which.
        gate: Arc<str>,
    },
    /// Somebody keeps applying a release that was rejected.
    Contested {
        /// Which.
        release: ReleaseId,
    },
    /// Somebody else deployed a release that was rejected before.
    Quarantined {
        /// Which.
        release: ReleaseId,
    },
    /// Somebody else deployed, and the policy wants a person to be asked.
    Foreign {
        /// Which release.
        release: ReleaseId,
    },
    /// The rollback itself failed, and there is nothing else to return to.
    RollbackFailed {
        /// What happened.
        why: Arc<str>,
    },
    /// The platform could not be looked at for longer than a step may take.
    PlatformUnreachable {
        /// Since when.
        since: Timestamp,
        /// How the last look failed, if any was answered.
        why: Option<Arc<str>>,
    },
    /// The kill switch is on.
    Killed {
        /// By whom and why.
        order: Order,
    },
    /// The engine could not handle an input.
    Faulted {
        /// What happened.
        why: Arc<str>,
    },
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused { by } => write!(f, "paused by {by}"),
            Self::TriggerFailed { trigger, why } => write!(f, "{} failed: {why}", trigger.name),
            Self::Inconclusive { trigger, why } => {
                write!(f, "{} cannot tell: {why}", trigger.name)
            }
            Self::Blind { trigger, why } => write!(f, "{} cannot see: {why}", trigger.name),
            Self::ExternalCause {
                trigger, seen, why, ..
            } => {
                write!(f, "{} failed, and not by this release: ", trigger.name)?;
                if let Some(seen) = seen {
                    write!(f, "{seen}; ")?;
                }
                f.write_str(why)
            }
            Self::NoTarget { why } => write!(f, "no release to return to: {why}"),
            Self::Irreversible { cause, why } => write!(
                f,
                "{cause}; it is not rolled back, since that cannot be taken back: {why}; repair it \
                 with a newer release, or roll back if you accept the loss"
            ),
            Self::LosesData { why } => write!(
                f,
                "{why}; resume if you accept that, or abort to leave everything as it stands"
            ),
            Self::Cooldown { until } => {
                write!(f, "the last rollback is too short ago; goes on at {until}")
            }
            Self::BudgetExhausted { rollbacks } => {
                write!(f, "all {rollbacks} rollbacks of the period are used up")
            }
            Self::NotPermitted { why } => write!(f, "the fleet does not permit it: {why}"),
            Self::InDoubt { change, why } => write!(f, "change {change} is in doubt: {why}"),
            Self::StepFailed { why } => f.write_str(why),
            Self::NotApproved { gate } => write!(
                f,
                "gate {gate} was not approved in time; approve it, or resume to wait once more"
            ),
            Self::Contested { release } => {
                write!(f, "somebody keeps applying the rejected release {release}")
            }
            Self::Quarantined { release } => write!(
                f,
                "somebody else deployed {release}, which was rejected before; resume to watch it \
                 all the same"
            ),
            Self::Foreign { release } => write!(
                f,
                "somebody else deployed {release}; resume to watch it, or abort to leave it alone"
            ),
            Self::RollbackFailed { why } => write!(f, "the rollback failed: {why}"),
            Self::PlatformUnreachable { since, why: None } => {
                write!(f, "the platform has not answered since {since}")
            }
            Self::PlatformUnreachable {
                since,
                why: Some(why),
            } => write!(f, "the platform was last seen at {since}: {why}"),
            Self::Killed { order } => write!(f, "the kill switch is on ({order})"),
            Self::Faulted { why } => write!(f, "an input could not be handled: {why}"),
        }
    }
}

/// How a hold can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HoldExit {
    /// A person resumes.
    Resume,
    /// A person promotes.
    Promote,
    /// A person rolls back.
    RollBack,
    /// A person ends the deployment where it stands.
    Abort,
    /// What was missing comes back.
    DataReturns,
    /// The time comes.
    TimePasses,
    /// Somebody switches the kill switch off.
    KillSwitchOff,
}

impl fmt::Display for HoldExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::RollBack => "roll back",
            Self::Abort => "abort",
            Self::DataReturns => "data returns",
            Self::TimePasses => "time passes",
            Self::KillSwitchOff => "the kill switch goes off",
        })
    }
}

/// A deployment that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// Since when.
    pub since: Timestamp,
    /// How it can end.
    pub exits: Vec<HoldExit>,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "held since {}: {}; exits:", self.since, self.reason)?;
        for (i, exit) in self.exits.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma} {exit}")?;
        }
        Ok(())
    }
}
