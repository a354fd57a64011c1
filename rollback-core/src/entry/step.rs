//! The steps of a plan.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    model::{Change, Placement, ReleaseId, Share},
    policy::{OnTaskFailure, OnTimeout},
};

/// Which way a plan leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// To the candidate.
    Rollout,
    /// Back to a proven release.
    Rollback,
}

/// One step of a plan. A strategy is a list of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// Run a release until all of it is ready.
    Converge {
        /// Which.
        release: ReleaseId,
        /// Where.
        placement: Placement,
    },
    /// Watch the candidate before it gets traffic.
    Check {
        /// How long it must be ready without a break.
        hold_for: Duration,
    },
    /// Divide the traffic.
    Weights {
        /// Shares that add up to everything.
        shares: Vec<Share>,
    },
    /// Wait for a person; the watch goes on.
    Gate {
        /// Its name.
        name: Arc<str>,
        /// How long.
        within: Duration,
        /// And then.
        then: OnTimeout,
    },
    /// Run a task to its end.
    Task {
        /// Its name.
        name: Arc<str>,
        /// Within which time.
        within: Duration,
        /// What follows if it fails.
        on_failure: OnTaskFailure,
    },
    /// Watch the candidate before the next step.
    Wait {
        /// How long.
        length: Duration,
    },
    /// Watch the candidate under traffic until it counts as proven.
    Bake {
        /// How long.
        length: Duration,
    },
    /// Watch the restored release until it is good without a break.
    Verify {
        /// How long without a break.
        hold_for: Duration,
    },
    /// Stop running a release.
    Retire {
        /// Which.
        release: ReleaseId,
    },
}

impl Step {
    /// The change that the step asks for, if it is one that changes the world.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        match self {
            Self::Converge { release, placement } => Some(Change::Converge {
                release: release.clone(),
                placement: *placement,
            }),
            Self::Weights { shares } => Some(Change::Weights {
                shares: shares.clone(),
            }),
            Self::Retire { release } => Some(Change::Retire {
                release: release.clone(),
            }),
            Self::Check { .. }
            | Self::Gate { .. }
            | Self::Task { .. }
            | Self::Wait { .. }
            | Self::Bake { .. }
            | Self::Verify { .. } => None,
        }
    }

    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Converge { .. } => "converge",
            Self::Check { .. } => "check",
            Self::Weights { .. } => "weights",
            Self::Gate { .. } => "gate",
            Self::Task { .. } => "task",
            Self::Wait { .. } => "wait",
            Self::Bake { .. } => "bake",
            Self::Verify { .. } => "verify",
            Self::Retire { .. } => "retire",
        }
    }
}
