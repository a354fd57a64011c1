//! What happened to a deployment, as far as it changed the world.

use std::{fmt, sync::Arc};

use serde::Serialize;

use crate::{
    entry::{Entry, Fact},
    model::{
        Cause, Change, ChangeId, DeploymentId, HoldReason, Outcome, ReleaseId, Timestamp, TriggerId,
    },
};

/// A decision that changes the world, or asks to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Turn {
    /// A change was sent.
    Change {
        /// What.
        change: Change,
        /// As which attempt.
        #[serde(skip)]
        id: ChangeId,
    },
    /// A task was started.
    Task {
        /// Which.
        task: Arc<str>,
        /// As which attempt.
        #[serde(skip)]
        id: ChangeId,
    },
    /// The fleet was asked whether it may go back.
    AskFleet,
    /// It goes back.
    RollBack {
        /// Where to.
        target: ReleaseId,
        /// Why.
        cause: Cause,
    },
    /// It ended.
    End {
        /// How.
        outcome: Outcome,
    },
}

impl Turn {
    fn of(fact: &Fact) -> Option<Self> {
        match fact {
            Fact::ChangeIntended { id, change, .. } => Some(Self::Change {
                change: change.clone(),
                id: id.clone(),
            }),
            Fact::TaskIntended { id, task, .. } => Some(Self::Task {
                task: Arc::clone(task),
                id: id.clone(),
            }),
            Fact::PermitRequested { .. } => Some(Self::AskFleet),
            Fact::RollbackDecided { target, cause, .. } => Some(Self::RollBack {
                target: target.clone(),
                cause: cause.clone(),
            }),
            Fact::Ended { outcome, .. } => Some(Self::End {
                outcome: outcome.clone(),
            }),
            _ => None,
        }
    }

    /// Whether both do the same, whatever the reasons and numbers.
    pub(super) fn does_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Change { change: one, .. }, Self::Change { change: other, .. }) => one == other,
            (Self::RollBack { target: one, .. }, Self::RollBack { target: other, .. }) => {
                one == other
            }
            (Self::End { outcome: one }, Self::End { outcome: other }) => {
                one.word() == other.word()
            }
            (Self::Task { task: one, .. }, Self::Task { task: other, .. }) => one == other,
            (Self::AskFleet, Self::AskFleet) => true,
            _ => false,
        }
    }

    /// Whether it goes back, or asks to.
    pub(super) const fn goes_back(&self) -> bool {
        matches!(self, Self::AskFleet | Self::RollBack { .. })
    }

    /// The id of the attempt, of what is sent and answered.
    pub(super) const fn attempt(&self) -> Option<&ChangeId> {
        match self {
            Self::Change { id, .. } | Self::Task { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The rule that led to it.
    pub(super) const fn trigger(&self) -> Option<&TriggerId> {
        match self {
            Self::RollBack {
                cause: Cause::Trigger { trigger, .. },
                ..
            } => Some(trigger),
            _ => None,
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change { change, .. } => write!(f, "{change}"),
            Self::Task { task, .. } => write!(f, "start task {task}"),
            Self::AskFleet => f.write_str("ask the fleet for a rollback"),
            Self::RollBack { target, cause } => write!(f, "roll back to {target} ({cause})"),
            Self::End { outcome } => write!(f, "end: {outcome}"),
        }
    }
}

/// A time in which nothing advanced.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Held {
    /// From here on …
    pub since: Timestamp,
    /// … until here; none if it did not end.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: HoldReason,
}

impl Held {
    /// The rule that asked for it.
    #[must_use]
    pub const fn trigger(&self) -> Option<&TriggerId> {
        match &self.reason {
            HoldReason::TriggerFailed { trigger, .. }
            | HoldReason::Inconclusive { trigger, .. }
            | HoldReason::Blind { trigger, .. }
            | HoldReason::ExternalCause { trigger, .. } => Some(trigger),
            _ => None,
        }
    }
}

/// The turns and holds of one deployment, in their order.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Line {
    /// When, and what.
    pub turns: Vec<(Timestamp, Turn)>,
    /// When nothing advanced.
    pub holds: Vec<Held>,
}

impl Line {
    /// What the entries say of a deployment, and in which of them each turn stands.
    pub(super) fn of(deployment: &DeploymentId, entries: &[Entry]) -> (Self, Vec<usize>) {
        let mut line = Self::default();
        let mut places = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            for fact in &entry.facts {
                if fact.deployment() == Some(deployment) {
                    line.take(entry.at, fact);
                    places.resize(line.turns.len(), place);
                }
            }
        }
        (line, places)
    }

    pub(super) fn take(&mut self, at: Timestamp, fact: &Fact) {
        if let Some(turn) = Turn::of(fact) {
            self.turns.push((at, turn));
        }
        match fact {
            Fact::Held { reason, .. } => {
                self.let_go(at);
                self.holds.push(Held {
                    since: at,
                    until: None,
                    reason: reason.clone(),
                });
            }
            // Whatever of these comes while it is held ends the hold.
            Fact::Released { .. }
            | Fact::RollbackDecided { .. }
            | Fact::Promoted { .. }
            | Fact::Ended { .. } => self.let_go(at),
            _ => {}
        }
    }

    fn let_go(&mut self, at: Timestamp) {
        if let Some(held) = self.holds.last_mut() {
            held.until.get_or_insert(at);
        }
    }

    /// The hold that was in force at a moment.
    pub(super) fn held_at(&self, at: Timestamp) -> Option<&Held> {
        let in_force =
            |held: &&Held| held.since <= at && held.until.is_none_or(|until| at <= until);
        self.holds.iter().rev().find(in_force)
    }

    /// When it first went back or was held, at `from` or later.
    pub(super) fn first_caution(&self, from: Timestamp) -> Option<Timestamp> {
        let back = self
            .turns
            .iter()
            .find(|(at, turn)| *at >= from && turn.goes_back());
        let held = self.holds.iter().find(|held| held.since >= from);
        let times = [back.map(|(at, _)| *at), held.map(|held| held.since)];
        times.into_iter().flatten().min()
    }

    /// How the deployment ended, if it did.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.turns.iter().find_map(|(_, turn)| match turn {
            Turn::End { outcome } => Some(outcome),
            _ => None,
        })
    }

    /// When it was decided to go back, and why.
    #[must_use]
    pub fn rollback(&self) -> Option<(Timestamp, &Cause)> {
        self.turns.iter().find_map(|(at, turn)| match turn {
            Turn::RollBack { cause, .. } => Some((*at, cause)),
            _ => None,
        })
    }
}
