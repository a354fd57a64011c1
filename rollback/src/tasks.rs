//! Tasks of a plan: started once, asked about, and asked to stop.

use std::sync::Arc;

use rollback_core::{
    entry::{TaskAnswer, TaskReport},
    model::{ChangeId, Timestamp, duration_text},
    ports::{Task, TaskError, TaskHandle, TaskStatus},
};
use tokio::time::timeout;

use crate::{caught::caught, setup::Setup};

/// Starts a task, unless it is too late for it or the lease is gone.
pub(crate) async fn start(
    setup: &Setup,
    id: ChangeId,
    task: Arc<str>,
    not_after: Timestamp,
) -> TaskReport {
    let result = match (still_ours(setup, not_after), known(setup, &task)) {
        (Err(why), _) | (_, Err(why)) => Err(TaskError::NotStarted { why }),
        (Ok(()), Ok(runner)) => {
            let started = patiently(setup, &task, runner.start(&setup.service, &id)).await;
            // Nobody knows how far a start came that panicked or took too long.
            started.unwrap_or_else(|why| Err(TaskError::MaybeStarted { why }))
        }
    };
    TaskReport {
        id,
        task,
        answer: TaskAnswer::Started(result),
    }
}

/// How far it is; found by its id first where there is no handle yet.
pub(crate) async fn ask(
    setup: &Setup,
    id: ChangeId,
    task: Arc<str>,
    handle: Option<TaskHandle>,
) -> TaskReport {
    let result = asked(setup, &id, &task, handle).await;
    TaskReport {
        id,
        task,
        answer: TaskAnswer::Asked(result),
    }
}

async fn asked(
    setup: &Setup,
    id: &ChangeId,
    task: &Arc<str>,
    handle: Option<TaskHandle>,
) -> Result<Option<(TaskHandle, TaskStatus)>, TaskError> {
    let unknown = |why| TaskError::MaybeStarted { why };
    let runner = known(setup, task).map_err(unknown)?;
    let Some(handle) = found(setup, runner, id, task, handle).await? else {
        return Ok(None);
    };
    let status = patiently(setup, task, runner.status(&handle)).await;
    let status = status.map_err(unknown)??;
    Ok(Some((handle, status)))
}

/// Asks it to stop; what was never started is stopped.
pub(crate) async fn cancel(
    setup: &Setup,
    id: ChangeId,
    task: Arc<str>,
    handle: Option<TaskHandle>,
) -> TaskReport {
    let result = cancelled(setup, &id, &task, handle).await;
    TaskReport {
        id,
        task,
        answer: TaskAnswer::Cancelled(result),
    }
}

async fn cancelled(
    setup: &Setup,
    id: &ChangeId,
    task: &Arc<str>,
    handle: Option<TaskHandle>,
) -> Result<(), TaskError> {
    let unknown = |why| TaskError::MaybeStarted { why };
    let runner = known(setup, task).map_err(unknown)?;
    match found(setup, runner, id, task, handle).await? {
        Some(handle) => patiently(setup, task, runner.cancel(&handle))
            .await
            .map_err(unknown)?,
        None => Ok(()),
    }
}

async fn found(
    setup: &Setup,
    runner: &dyn Task,
    id: &ChangeId,
    task: &Arc<str>,
    handle: Option<TaskHandle>,
) -> Result<Option<TaskHandle>, TaskError> {
    match handle {
        Some(handle) => Ok(Some(handle)),
        None => patiently(setup, task, runner.find(&setup.service, id))
            .await
            .map_err(|why| TaskError::MaybeStarted { why })?,
    }
}

fn known<'a>(setup: &'a Setup, task: &Arc<str>) -> Result<&'a dyn Task, String> {
    let runner = setup.tasks.get(task);
    // A journal can name a task that the policy of today does not have.
    runner.map(|runner| &**runner).ok_or_else(|| {
        format!("no task is named `{task}` any more; give it with `.task(\"{task}\", ..)`")
    })
}

fn still_ours(setup: &Setup, not_after: Timestamp) -> Result<(), String> {
    let now = setup.clock.now();
    if now > not_after {
        return Err(format!(
            "it is {now}, too late for a task that was to be started until {not_after}"
        ));
    }
    if !setup.lease.is_ours(now) {
        return Err("the lease of the journal has ended".to_owned());
    }
    Ok(())
}

/// The answer, or why there is none: the runner panicked or took too long.
async fn patiently<T>(
    setup: &Setup,
    task: &Arc<str>,
    answer: impl Future<Output = T>,
) -> Result<T, String> {
    let patience = setup.patience();
    match timeout(patience, caught(answer)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(panic)) => Err(format!("the code of task {task} failed: {panic}")),
        Err(_) => Err(format!(
            "task {task} did not answer within {}",
            duration_text(patience)
        )),
    }
}
