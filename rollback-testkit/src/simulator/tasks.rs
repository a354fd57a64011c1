//! The runner of tasks: what it was told, what runs, and what it answers.

use std::{collections::BTreeMap, sync::Arc};

use rollback_core::{
    entry::{Input, TaskAnswer, TaskReport},
    model::{ChangeId, Timestamp},
    ports::{TaskError, TaskHandle, TaskStatus},
};

use super::{
    invariants::{Invariant, What},
    world::{Event, World},
};

/// Everything that was ever started.
#[derive(Debug, Default)]
pub(super) struct Runner {
    runs: BTreeMap<ChangeId, Run>,
}

#[derive(Debug)]
struct Run {
    /// None if it hangs.
    ends: Option<Timestamp>,
    fails: bool,
    cancelled: bool,
}

impl Run {
    fn status(&self, now: Timestamp) -> TaskStatus {
        match self.ends {
            _ if self.cancelled => TaskStatus::Failed {
                why: "it was asked to stop".to_owned(),
            },
            Some(ends) if now >= ends && self.fails => TaskStatus::Failed {
                why: "exit status 1".to_owned(),
            },
            Some(ends) if now >= ends => TaskStatus::Succeeded,
            _ => TaskStatus::Running,
        }
    }
}

impl Runner {
    /// What still runs and will never end by itself.
    pub(super) fn hanging(&self) -> impl Iterator<Item = &ChangeId> {
        let hang = self.runs.iter().filter(|(_, run)| run.ends.is_none());
        hang.filter(|(_, run)| !run.cancelled).map(|(id, _)| id)
    }
}

/// A question to the runner, on its way.
pub(super) enum TaskCall {
    Start,
    Ask,
    Cancel,
}

impl World<'_> {
    pub(super) fn start_task(&mut self, to: u32, id: ChangeId, task: Arc<str>, until: Timestamp) {
        let now = self.now;
        let Some(controller) = self.controller(to) else {
            return;
        };
        let (epoch, offset) = (controller.epoch, controller.offset);
        let late = Timestamp::from_millis(now.as_millis() + offset) > until;
        let what = What::StartTask {
            id: &id,
            not_after: until,
            epoch,
            late,
        };
        self.check(None, what);
        if let Some(intent) = self.known.tasks.get_mut(&id) {
            intent.started += 1;
        }
        let travels = self.latency();
        let refused = |why: &str| {
            TaskAnswer::Started(Err(TaskError::NotStarted {
                why: why.to_owned(),
            }))
        };
        if late {
            return self.report_task(to, travels, &id, &task, refused("too late"));
        }
        if self.fault(20, "task_not_started") {
            return self.report_task(to, travels, &id, &task, refused("connection refused"));
        }
        let there = if self.fault(20, "task_lands_late") {
            self.random.millis(500, 9_000)
        } else {
            self.random.millis(2, 60)
        };
        if self.fault(20, "task_request_lost") {
            return;
        }
        self.call_task(to, there, id, task, TaskCall::Start);
    }

    pub(super) fn ask_task(&mut self, to: u32, id: ChangeId, task: Arc<str>, call: TaskCall) {
        if self.fault(20, "task_question_lost") {
            return;
        }
        let there = self.random.millis(1, 50);
        self.call_task(to, there, id, task, call);
    }

    fn call_task(
        &mut self,
        to: u32,
        there: std::time::Duration,
        id: ChangeId,
        task: Arc<str>,
        call: TaskCall,
    ) {
        let event = Event::Task { to, id, task, call };
        self.after(there, event);
    }

    /// A question arrives at the runner.
    pub(super) fn task_called(&mut self, to: u32, id: ChangeId, task: Arc<str>, call: TaskCall) {
        let handle = TaskHandle(format!("run-{id}"));
        let travels = self.latency();
        let failed = || TaskError::MaybeStarted {
            why: "timed out".to_owned(),
        };
        let lost = self.fault(20, "task_answer_lost");
        let answer = match call {
            TaskCall::Start => {
                self.run_task(&id);
                TaskAnswer::Started(if lost { Err(failed()) } else { Ok(handle) })
            }
            TaskCall::Ask if lost => TaskAnswer::Asked(Err(failed())),
            TaskCall::Ask => {
                let run = self.runner.runs.get(&id);
                TaskAnswer::Asked(Ok(run.map(|run| (handle, run.status(self.now)))))
            }
            TaskCall::Cancel => {
                if let Some(run) = self.runner.runs.get_mut(&id) {
                    run.cancelled = true;
                }
                TaskAnswer::Cancelled(if lost { Err(failed()) } else { Ok(()) })
            }
        };
        if lost && self.random.chance(400) {
            return;
        }
        self.report_task(to, travels, &id, &task, answer);
    }

    fn run_task(&mut self, id: &ChangeId) {
        let now = self.now;
        let running = self.runner.runs.iter().find(|(other, run)| {
            other.deployment == id.deployment
                && (other.step == id.step)
                && run.status(now) == TaskStatus::Running
        });
        if let Some((other, _)) = running {
            let what = format!("{id} is started while {other} runs");
            return self.violate(Invariant::Once, what);
        }
        let hangs = self.fault(20, "task_hangs");
        let fails = self.fault(25, "task_fails");
        let ends = now.after(self.random.millis(200, 12_000));
        self.runner.runs.insert(
            id.clone(),
            Run {
                ends: (!hangs).then_some(ends),
                fails,
                cancelled: false,
            },
        );
    }

    fn report_task(
        &mut self,
        to: u32,
        travels: std::time::Duration,
        id: &ChangeId,
        task: &Arc<str>,
        answer: TaskAnswer,
    ) {
        let report = TaskReport {
            id: id.clone(),
            task: Arc::clone(task),
            answer,
        };
        if self.fault(10, "task_answer_doubled") {
            let late = travels + self.random.millis(1, 8_000);
            self.deliver(to, late, Input::TaskReported(report.clone()));
        }
        self.deliver(to, travels, Input::TaskReported(report));
    }

    /// What hangs was asked to stop, or people were told that it could not be.
    pub(super) fn no_task_is_left(&mut self) {
        let left = self
            .runner
            .hanging()
            .find(|id| !self.known.left_running.contains(*id));
        if let Some(id) = left.cloned() {
            self.violate(
                Invariant::Termination,
                format!("task {id} hangs, nobody waits for it, and nobody stops it"),
            );
        }
    }
}
