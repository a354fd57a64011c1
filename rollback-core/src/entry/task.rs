//! What becomes of a task that was started.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    model::{ChangeId, Timestamp},
    ports::{TaskError, TaskHandle, TaskStatus},
};

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskState {
    /// It was started, or was found to have been.
    Running {
        /// By which it is asked about.
        handle: TaskHandle,
    },
    /// It may have been started; its runner is asked.
    InDoubt {
        /// What is known.
        why: Arc<str>,
        /// Before this moment an answer that it is not there says nothing.
        settles: Timestamp,
    },
    /// It is certain that it was not started; another attempt may follow.
    NotStarted {
        /// What is known.
        why: Arc<str>,
        /// Not tried again before.
        retry_at: Timestamp,
    },
    /// Done, and good.
    Succeeded,
    /// Done, and bad.
    Failed {
        /// Its last words.
        why: Arc<str>,
    },
    /// Its time is up; it is asked to stop.
    TimedOut {
        /// What is known.
        why: Arc<str>,
    },
    /// It could not be asked to stop; it may still run.
    LeftRunning {
        /// What is known.
        why: Arc<str>,
    },
}

/// What a task's runner said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The attempt.
    pub id: ChangeId,
    /// Which task.
    pub task: Arc<str>,
    /// To which question, and what.
    pub answer: TaskAnswer,
}

/// An answer of a task's runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskAnswer {
    /// To being asked to start it.
    Started(Result<TaskHandle, TaskError>),
    /// To being asked how far it is; none if nothing runs or ran under this id.
    Asked(Result<Option<(TaskHandle, TaskStatus)>, TaskError>),
    /// To being asked to stop it.
    Cancelled(Result<(), TaskError>),
}
