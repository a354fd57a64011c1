//! What a fleet of services is asked before one of them acts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{DeploymentId, ServiceId};

/// May this service roll back now?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermitRequest {
    /// Who asks.
    pub service: ServiceId,
    /// For which deployment.
    pub deployment: DeploymentId,
    /// Asked for the n-th time.
    pub attempt: u32,
}

/// The fleet's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermitDecision {
    /// Go on.
    Granted,
    /// Not now.
    Denied {
        /// Why, and what a person can do.
        why: Arc<str>,
    },
}
