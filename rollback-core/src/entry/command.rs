//! What people and the host ask for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Irreversible, ReleaseId, Timestamp};

/// What a person or the host can ask for. Who asks and why stands beside it, in
/// [`Input::Command`](super::Input::Command).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Move the service to a release.
    Deploy(Deploy),
    /// Stop advancing.
    Pause,
    /// Go on.
    Resume,
    /// Open the gate that the rollout waits at.
    Approve {
        /// Which.
        gate: Arc<str>,
    },
    /// Take the candidate without further evidence.
    Promote,
    /// End the deployment where it stands; nothing is changed any more.
    Abort,
    /// Return to a proven release, now. Allowed while the service is frozen.
    RollBack {
        /// Which; else the newest proven one.
        to: Option<ReleaseId>,
    },
    /// Watch the deployment that is under way by the newest policy.
    AdoptPolicy,
    /// Refuse deployments, unless they are expedited. What is under way goes on.
    Freeze {
        /// Until then; else until somebody ends it.
        until: Option<Timestamp>,
    },
    /// Deployments again.
    Unfreeze,
    /// The kill switch: while it is on, nothing that changes the world is sent, and what would have
    /// been decided is told.
    KillSwitch {
        /// On or off.
        on: bool,
    },
}

/// A wish to move the service to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deploy {
    /// Which.
    pub release: ReleaseId,
    /// What people call it.
    pub name: Arc<str>,
    /// Deploy it although it was rejected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub override_rejection: bool,
    /// Deploy it although the service is frozen: a hotfix. Needs a reason.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expedite: bool,
    /// What cannot be taken back, if anything: then it is held instead of rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<Irreversible>,
}

impl Deploy {
    /// A release and what people call it.
    #[must_use]
    pub fn new(release: ReleaseId, name: impl AsRef<str>) -> Self {
        Self {
            release,
            name: Arc::from(name.as_ref()),
            override_rejection: false,
            expedite: false,
            irreversible: None,
        }
    }

    /// Also if it was rejected before.
    #[must_use]
    pub const fn overriding(mut self, rejection: bool) -> Self {
        self.override_rejection = rejection;
        self
    }

    /// Also if the service is frozen.
    #[must_use]
    pub const fn expedited(mut self, expedite: bool) -> Self {
        self.expedite = expedite;
        self
    }

    /// With something that cannot be taken back.
    #[must_use]
    pub fn irreversible(mut self, irreversible: Option<Irreversible>) -> Self {
        self.irreversible = irreversible;
        self
    }
}

impl From<Deploy> for Command {
    fn from(deploy: Deploy) -> Self {
        Self::Deploy(deploy)
    }
}
