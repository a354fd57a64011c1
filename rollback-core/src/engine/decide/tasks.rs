//! Tasks of a plan: intended, started once, asked about, and what follows from how they end.

use std::{sync::Arc, time::Duration};

use super::{ignored, steps::done};
use crate::{
    engine::{
        Engine,
        fold::back_off,
        mutant::Mutant,
        state::{Active, RunningStep},
        tasks::{RunningTask, TaskPhase},
    },
    entry::{Fact, Step, TaskAnswer, TaskReport, TaskState},
    model::{
        Cause, ChangeId, HoldExit, HoldReason, Outcome, RefusedReason, Timestamp, duration_text,
    },
    policy::{OnTaskFailure, TaskWhen},
    ports::{TaskError, TaskStatus},
};

/// A task that nobody waits for is asked to stop so often.
const CANCEL_ATTEMPTS: u32 = 8;

impl Engine {
    pub(super) fn decide_task(
        &self,
        at: Timestamp,
        active: &Active,
        running: &RunningStep,
        name: &Arc<str>,
        on_failure: OnTaskFailure,
    ) -> Option<Fact> {
        let Some(task) = &active.task else {
            if at < running.retry_at && at < running.deadline {
                return None;
            }
            let id = ChangeId {
                deployment: active.id.clone(),
                step: running.number,
                attempt: running.attempts + 1,
            };
            return Some(Fact::TaskIntended {
                id,
                task: Arc::clone(name),
                not_after: at.after(active.policy.deadlines.apply / 2),
            });
        };
        let moved = |to| {
            Some(Fact::TaskMoved {
                id: task.id.clone(),
                task: Arc::clone(name),
                to,
            })
        };
        match &task.phase {
            TaskPhase::Ended(Ok(())) => Some(done(active, running)),
            TaskPhase::Ended(Err(_))
                if on_failure == OnTaskFailure::GoOn || self.mutant(Mutant::IgnoresFailedTasks) =>
            {
                Some(done(active, running))
            }
            TaskPhase::Ended(Err(why)) => self.task_failed(active, name, why, on_failure),
            _ if at >= running.deadline && !self.mutant(Mutant::NoDeadline) => {
                let allowed = running.deadline.since(running.entered);
                let known = match task.phase {
                    TaskPhase::Running(_) => "it did not end",
                    _ => "nobody knows whether it was started",
                };
                moved(TaskState::TimedOut {
                    why: Arc::from(format!("{known} within {}", duration_text(allowed))),
                })
            }
            TaskPhase::Starting => {
                let overdue = task.not_after.after(active.policy.deadlines.apply);
                (at >= overdue)
                    .then(|| moved(doubted(active, task, at, "no answer came in time")))
                    .flatten()
            }
            TaskPhase::InDoubt { .. } | TaskPhase::Running(_) => None,
        }
    }

    fn task_failed(
        &self,
        active: &Active,
        name: &Arc<str>,
        why: &Arc<str>,
        on_failure: OnTaskFailure,
    ) -> Option<Fact> {
        let held = |why: String| {
            let mut exits = vec![HoldExit::Resume];
            if active.rollback.is_none() {
                exits.extend([HoldExit::Promote, HoldExit::RollBack]);
            }
            exits.push(HoldExit::Abort);
            Some(Fact::Held {
                deployment: active.id.clone(),
                reason: HoldReason::StepFailed {
                    why: Arc::from(why),
                },
                exits,
            })
        };
        let mut tasks = active.policy.tasks.iter();
        if tasks.any(|task| task.name == *name && task.when == Some(TaskWhen::Restore)) {
            return held(format!(
                "nothing was rolled back yet, since task {name}, which brings the data back, failed: \
                 {why}; resume to run it again"
            ));
        }
        if active.rollback.is_some() {
            return held(format!(
                "the service is restored and verified; task {name} failed: {why}"
            ));
        }
        if on_failure == OnTaskFailure::Hold || active.promoted_by.is_some() {
            return held(format!("task {name} failed: {why}"));
        }
        // Rolling back is decided elsewhere.
        None
    }

    /// A task that has to succeed before anything is changed did not: the deployment is not begun.
    pub(super) fn refuse_unchanged(&self, active: &Active) -> Option<Fact> {
        let Cause::Task { task, why } = self.task_cause(active)? else {
            return None;
        };
        let before = active.steps.iter().take(active.index + 1);
        let changed = before.into_iter().any(|step| step.change().is_some());
        (!changed).then(|| Fact::Ended {
            deployment: active.id.clone(),
            outcome: Outcome::Refused {
                reason: RefusedReason::PreFlight {
                    why: Arc::from(format!(
                        "task {task} failed, and nothing was changed: {why}"
                    )),
                },
            },
        })
    }

    /// A task whose failure calls for a rollback.
    pub(super) fn task_cause(&self, active: &Active) -> Option<Cause> {
        let Some(Step::Task { on_failure, .. }) = active.steps.get(active.index) else {
            return None;
        };
        let (task, why) = active.failed_task()?;
        (*on_failure == OnTaskFailure::RollBack && !self.mutant(Mutant::IgnoresFailedTasks)).then(
            || Cause::Task {
                task: Arc::clone(task),
                why: Arc::clone(why),
            },
        )
    }

    /// A new controller does not know whether the old one started what it intended.
    pub(super) fn task_doubt_after_restart(&self, at: Timestamp) -> Option<Fact> {
        if self.mutant(Mutant::RepeatsAfterRestart) {
            return None;
        }
        let active = self.state.active.as_ref()?;
        let task = active.task.as_ref()?;
        (task.phase == TaskPhase::Starting).then(|| Fact::TaskMoved {
            id: task.id.clone(),
            task: Arc::clone(&task.name),
            to: doubted(
                active,
                task,
                at,
                "the controller started anew before the answer came",
            ),
        })
    }

    /// What a runner's word means; none if it changes nothing.
    pub(super) fn decide_task_report(&self, at: Timestamp, report: &TaskReport) -> Option<Fact> {
        let TaskReport { id, task, answer } = report;
        let moved = |to| {
            Some(Fact::TaskMoved {
                id: id.clone(),
                task: Arc::clone(task),
                to,
            })
        };
        if let TaskAnswer::Cancelled(result) = answer {
            let left = self.state.left_tasks.get(id)?;
            let Err(error) = result else { return None };
            return (left.attempts >= CANCEL_ATTEMPTS)
                .then(|| {
                    moved(TaskState::LeftRunning {
                        why: Arc::from(error.to_string()),
                    })
                })
                .flatten();
        }
        let active = self.state.active.as_ref();
        let Some((active, own)) = active.and_then(|active| {
            let task = active.task.as_ref().filter(|task| task.id == *id)?;
            Some((active, task))
        }) else {
            return Some(ignored("no such task is under way"));
        };
        match (answer, &own.phase) {
            (_, TaskPhase::Ended(_)) => Some(ignored("the task has ended already")),
            (TaskAnswer::Started(Ok(handle)), TaskPhase::Starting | TaskPhase::InDoubt { .. }) => {
                moved(TaskState::Running {
                    handle: handle.clone(),
                })
            }
            (TaskAnswer::Started(Err(TaskError::NotStarted { why })), TaskPhase::Starting) => {
                moved(TaskState::NotStarted {
                    why: Arc::from(why.as_str()),
                    retry_at: at.after(back_off(id.attempt)),
                })
            }
            (TaskAnswer::Started(Err(error)), TaskPhase::Starting) => {
                moved(doubted(active, own, at, &error.to_string()))
            }
            (TaskAnswer::Started(_), _) => Some(ignored("the task's start is known already")),
            (TaskAnswer::Asked(Ok(Some((handle, status)))), phase) => match status {
                TaskStatus::Running if matches!(phase, TaskPhase::Running(_)) => None,
                TaskStatus::Running => moved(TaskState::Running {
                    handle: handle.clone(),
                }),
                TaskStatus::Succeeded => moved(TaskState::Succeeded),
                TaskStatus::Failed { why } => moved(TaskState::Failed {
                    why: Arc::from(why.as_str()),
                }),
            },
            (TaskAnswer::Asked(Ok(None)), TaskPhase::Running(_)) => moved(TaskState::Failed {
                why: Arc::from("its runner does not know it any more"),
            }),
            (TaskAnswer::Asked(Ok(None)), TaskPhase::InDoubt { settles, .. }) if at >= *settles => {
                moved(TaskState::NotStarted {
                    why: Arc::from("its runner does not know it"),
                    retry_at: at,
                })
            }
            (TaskAnswer::Asked(_) | TaskAnswer::Cancelled(_), _) => None,
        }
    }
}

/// A start that is still on its way can be found only when it can come no more.
fn doubted(active: &Active, task: &RunningTask, at: Timestamp, why: &str) -> TaskState {
    let sent_until = task.not_after.after(active.policy.deadlines.apply);
    TaskState::InDoubt {
        why: Arc::from(why),
        settles: at.max(sent_until).after(Duration::from_secs(1)),
    }
}
