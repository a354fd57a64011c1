//! Tasks under way: what is known of them, when they are asked about, and those that a plan left
//! behind.

use std::{sync::Arc, time::Duration};

use super::{
    Engine,
    fold::back_off,
    mutant::Mutant,
    state::{Active, State},
    wake::WakeReason,
};
use crate::{
    entry::{Effect, TaskAnswer, TaskReport, TaskState},
    model::{ChangeId, Timestamp},
    ports::TaskHandle,
};

/// A request to stop that is not answered within this time is made again.
const UNANSWERED: Duration = Duration::from_secs(30);

/// An attempt at the task of the running step.
#[derive(Debug, Clone)]
pub(super) struct RunningTask {
    pub(super) id: ChangeId,
    pub(super) name: Arc<str>,
    pub(super) not_after: Timestamp,
    pub(super) phase: TaskPhase,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TaskPhase {
    /// It is being started, and there is no answer yet.
    Starting,
    /// It may have been started.
    InDoubt {
        since: Timestamp,
        settles: Timestamp,
    },
    /// It runs, by all we know.
    Running(TaskHandle),
    /// Good, or bad with its last words.
    Ended(Result<(), Arc<str>>),
}

/// A task that nobody waits for any more, until it is known to have stopped.
#[derive(Debug, Clone)]
pub(super) struct LeftTask {
    pub(super) task: Arc<str>,
    pub(super) handle: Option<TaskHandle>,
    pub(super) attempts: u32,
    pub(super) next_at: Timestamp,
}

impl RunningTask {
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.phase, TaskPhase::Ended(_))
    }

    pub(super) const fn handle(&self) -> Option<&TaskHandle> {
        match &self.phase {
            TaskPhase::Running(handle) => Some(handle),
            _ => None,
        }
    }
}

impl Active {
    /// The task failed: its last words.
    pub(super) fn failed_task(&self) -> Option<(&Arc<str>, &Arc<str>)> {
        let task = self.task.as_ref()?;
        match &task.phase {
            TaskPhase::Ended(Err(why)) => Some((&task.name, why)),
            _ => None,
        }
    }

    pub(super) fn move_task(&mut self, at: Timestamp, id: &ChangeId, to: &TaskState) {
        let Some(task) = self.task.as_mut().filter(|task| task.id == *id) else {
            return;
        };
        let ended = match to {
            TaskState::Running { handle } => {
                task.phase = TaskPhase::Running(handle.clone());
                return;
            }
            TaskState::InDoubt { settles, .. } => {
                task.phase = TaskPhase::InDoubt {
                    since: at,
                    settles: *settles,
                };
                return;
            }
            TaskState::NotStarted { retry_at, .. } => {
                self.task = None;
                if let Some(step) = &mut self.step {
                    step.retry_at = *retry_at;
                }
                return;
            }
            TaskState::Succeeded => Ok(()),
            TaskState::Failed { why } | TaskState::TimedOut { why } => Err(Arc::clone(why)),
            TaskState::LeftRunning { .. } => return,
        };
        if let Some(watch) = &mut self.watch {
            watch.task_ended(at, &task.name, &ended);
        }
        self.ended_tasks
            .insert(Arc::clone(&task.name), ended.clone());
        task.phase = TaskPhase::Ended(ended);
    }
}

impl State {
    /// The plan goes elsewhere: what still runs of it is asked to stop.
    pub(super) fn leave_task(&mut self, at: Timestamp) {
        let Some(active) = &mut self.active else {
            return;
        };
        let Some(task) = active.task.take_if(|task| !task.has_ended()) else {
            active.task = None;
            return;
        };
        let left = LeftTask {
            // One that is perhaps being started is looked for when it can be found.
            next_at: match task.phase {
                TaskPhase::Running(_) => at,
                _ => at.max(task.not_after.after(active.policy.deadlines.apply)),
            },
            handle: task.handle().cloned(),
            task: task.name,
            attempts: 0,
        };
        self.left_tasks.insert(task.id, left);
    }
}

impl Engine {
    pub(super) fn move_task(&mut self, at: Timestamp, id: &ChangeId, to: &TaskState) {
        if matches!(to, TaskState::LeftRunning { .. }) {
            self.state.left_tasks.remove(id);
        }
        let result = match to {
            TaskState::TimedOut { why } => Some(Arc::clone(why)),
            _ => None,
        };
        if let Some(why) = result {
            // It is asked to stop, and counts as failed all the same.
            let task = self.state.active.as_ref();
            let task = task.and_then(|active| active.task.clone());
            self.state.leave_task(at);
            if let (Some(active), Some(task)) = (&mut self.state.active, task) {
                active.task = Some(task);
                active.move_task(at, id, &TaskState::Failed { why });
            }
            return;
        }
        if let Some(active) = &mut self.state.active {
            active.move_task(at, id, to);
        }
    }

    pub(super) fn fold_task(&mut self, at: Timestamp, report: &TaskReport) {
        let TaskReport { id, answer, .. } = report;
        match answer {
            TaskAnswer::Started(_) => {}
            TaskAnswer::Asked(_) => self.in_flight.ask_task = None,
            TaskAnswer::Cancelled(result) => {
                self.in_flight.cancels.remove(id);
                match result {
                    Ok(()) => {
                        self.state.left_tasks.remove(id);
                    }
                    Err(_) => {
                        if let Some(left) = self.state.left_tasks.get_mut(id) {
                            left.attempts = left.attempts.saturating_add(1);
                            left.next_at = at.after(back_off(left.attempts));
                        }
                    }
                }
            }
        }
    }

    pub(super) fn schedule_tasks(&mut self, at: Timestamp) {
        let killed = self.state.killed.is_some();
        for (id, left) in &self.state.left_tasks {
            if killed || at < self.cancel_due(id, left) || self.mutant(Mutant::LeavesTasksRunning) {
                continue;
            }
            self.in_flight.cancels.insert(id.clone(), at);
            self.effects.push_back(Effect::CancelTask {
                id: id.clone(),
                task: Arc::clone(&left.task),
                handle: left.handle.clone(),
            });
        }
        let Some(active) = &self.state.active else {
            return;
        };
        let Some(task) = &active.task else { return };
        // One that was not started before the kill switch is looked for, and not found.
        if task.phase == TaskPhase::Starting
            && !killed
            && (self.in_flight.start_task.as_ref() != Some(&task.id)
                || self.mutant(Mutant::StartsTasksTwice))
        {
            self.in_flight.start_task = Some(task.id.clone());
            self.in_flight.ask_task = None;
            self.in_flight.asked_task = None;
            self.effects.push_back(Effect::StartTask {
                id: task.id.clone(),
                task: Arc::clone(&task.name),
                not_after: task.not_after,
            });
        }
        if self.task_ask_due(active).is_some_and(|due| at >= due) {
            self.in_flight.ask_task = Some(at);
            self.in_flight.asked_task = Some(at);
            self.effects.push_back(Effect::AskTask {
                id: task.id.clone(),
                task: Arc::clone(&task.name),
                handle: task.handle().cloned(),
            });
        }
    }

    /// When a task that was left behind is asked to stop; again, where no answer ever came.
    fn cancel_due(&self, id: &ChangeId, left: &LeftTask) -> Timestamp {
        match self.in_flight.cancels.get(id) {
            Some(asked) => asked.after(UNANSWERED).max(left.next_at),
            None => left.next_at,
        }
    }

    /// When the runner of the task is asked next.
    fn task_ask_due(&self, active: &Active) -> Option<Timestamp> {
        let task = active.task.as_ref()?;
        let first = match &task.phase {
            TaskPhase::Running(_) => active.step.as_ref()?.entered,
            TaskPhase::InDoubt { since, .. } => *since,
            TaskPhase::Starting | TaskPhase::Ended(_) => return None,
        };
        let pace = active.policy.poll.min(Duration::from_secs(5));
        let again = self
            .in_flight
            .asked_task
            .map_or(first, |asked| asked.after(pace).max(first));
        // What is never answered is asked again.
        let lost = active.policy.deadlines.apply;
        Some(match self.in_flight.ask_task {
            Some(asked) => again.max(asked.after(lost)),
            None => again,
        })
    }

    pub(super) fn wake_for_tasks(&self, at: &mut impl FnMut(Option<Timestamp>, WakeReason)) {
        for (id, left) in &self.state.left_tasks {
            if self.state.killed.is_none() {
                at(Some(self.cancel_due(id, left)), WakeReason::Task);
            }
        }
        let Some(active) = &self.state.active else {
            return;
        };
        let Some(task) = &active.task else { return };
        if task.phase == TaskPhase::Starting {
            let overdue = task.not_after.after(active.policy.deadlines.apply);
            at(Some(overdue), WakeReason::Task);
        }
        at(self.task_ask_due(active), WakeReason::Task);
    }
}
