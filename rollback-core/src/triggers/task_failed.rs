//! A task of the plan that fails: the verification, a smoke test.
//!
//! It is `Inconclusive` until the task has ended. A task is about the candidate: while a rollback is
//! verified the rule takes no part.

use std::sync::Arc;

use crate::{
    model::{Explanation, MetricId, Reading, Scope, Timestamp, TriggerId, Verdict},
    ports::{Evidence, MetricNeed, Trigger, WatchStart},
};

/// The version of this rule's code.
const VERSION: u32 = 1;

/// `task: NAME`.
#[derive(Debug)]
pub struct TaskFailed {
    name: Arc<str>,
    task: Arc<str>,
}

impl TaskFailed {
    /// A rule over a task of the plan.
    #[must_use]
    pub const fn new(name: Arc<str>, task: Arc<str>) -> Self {
        Self { name, task }
    }
}

impl Trigger for TaskFailed {
    fn id(&self) -> TriggerId {
        TriggerId {
            name: Arc::clone(&self.name),
            version: VERSION,
        }
    }

    fn reads(&self) -> Vec<MetricNeed> {
        Vec::new()
    }

    fn judges_restored(&self) -> bool {
        false
    }

    fn begin(&self, _: &WatchStart) -> Box<dyn Evidence> {
        Box::new(Ended {
            task: Arc::clone(&self.task),
            pending: format!("task `{}` has not ended yet", self.task).into(),
            result: None,
        })
    }
}

/// The evidence of one watch.
#[derive(Debug)]
struct Ended {
    task: Arc<str>,
    pending: Arc<str>,
    /// How it ended last.
    result: Option<Result<(), Arc<str>>>,
}

impl Evidence for Ended {
    fn observe(&mut self, _: Timestamp, _: &MetricId, _: &Scope, _: &Reading) {}

    fn task_ended(&mut self, _: Timestamp, task: &str, result: Result<(), &str>) {
        if *self.task == *task {
            self.result = Some(result.map_err(Arc::from));
        }
    }

    fn verdict(&self, _: Timestamp) -> Verdict {
        match self.result {
            None => Verdict::Inconclusive(Arc::clone(&self.pending)),
            Some(Ok(())) => Verdict::Pass,
            Some(Err(_)) => Verdict::Fail,
        }
    }

    fn next_wake(&self, _: Timestamp) -> Option<Timestamp> {
        None
    }

    fn explain(&self, _: Timestamp) -> Explanation {
        let task = &self.task;
        Explanation {
            rule: format!("task `{task}` fails"),
            would_pass: Some(format!("task `{task}` succeeds")),
            sentence: match &self.result {
                None => self.pending.to_string(),
                Some(Ok(())) => format!("task `{task}` succeeded"),
                Some(Err(why)) => format!("task `{task}` failed: {why}"),
            },
            ..Explanation::default()
        }
    }
}
