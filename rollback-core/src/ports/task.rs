//! Work that takes minutes: hooks, snapshots, smoke tests. Started, asked about, cancelled.

use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{ChangeId, ServiceId};

/// A started task, as its runner names it; enough to find it again after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHandle(pub String);

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskStatus {
    /// On its way.
    Running,
    /// Done, and good.
    Succeeded,
    /// Done, and bad.
    Failed {
        /// Why: its last words, without secrets.
        why: String,
    },
}

/// Why a task could not be started or asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskError {
    /// It never began.
    #[error("not started: {why}")]
    NotStarted {
        /// Why.
        why: String,
    },
    /// It may have begun.
    #[error("it may have been started: {why}")]
    MaybeStarted {
        /// Why.
        why: String,
    },
}

/// A kind of task.
#[async_trait]
pub trait Task: Debug + Send + Sync + 'static {
    /// Starts it under this id, and returns when it has begun. Never called twice with one id.
    ///
    /// # Errors
    /// [`TaskError`] keeps *not started* apart from *maybe started*.
    async fn start(&self, service: &ServiceId, id: &ChangeId) -> Result<TaskHandle, TaskError>;

    /// Looks for what was started under this id: after a crash, or when no answer came. None only if
    /// it is certain that nothing was.
    ///
    /// # Errors
    /// It could not be looked for.
    async fn find(
        &self,
        service: &ServiceId,
        id: &ChangeId,
    ) -> Result<Option<TaskHandle>, TaskError>;

    /// How far it is.
    ///
    /// # Errors
    /// It could not be asked.
    async fn status(&self, handle: &TaskHandle) -> Result<TaskStatus, TaskError>;

    /// Asks it to stop. What has ended is stopped.
    ///
    /// # Errors
    /// It could not be asked.
    async fn cancel(&self, handle: &TaskHandle) -> Result<(), TaskError>;
}
