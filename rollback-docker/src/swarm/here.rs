//! What this node's engine says of the containers of tasks. It knows the end of one of its own
//! before Swarm does: Swarm hears of it from the node, and of one whose health check failed only
//! when it is stopped.

use std::{collections::BTreeMap, time::Duration};

use rollback_core::model::ChangeError;
use serde_json::{Value, json};

use super::{
    SwarmDeployer,
    read::{TaskSeen, text},
};
use crate::EngineError;

/// An engine that is busy with a container does not tell of it meanwhile: it will be asked again.
const BUSY: Duration = Duration::from_millis(150);

/// By task.
pub(super) type Here = BTreeMap<String, Local>;

/// One container of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Local {
    id: String,
    /// The engine's word: `created`, `running`, `exited`, ..
    state: String,
    /// For people: `Exited (1) 2 seconds ago`, `Up 3 seconds (unhealthy)`.
    status: String,
    /// Why it could not be started.
    error: Option<String>,
}

impl SwarmDeployer {
    /// The containers of a service on this node. They are looked at before the tasks: one that
    /// Swarm stopped then belongs to a task of which Swarm says so.
    pub(super) async fn here(&self, service: &str) -> Result<Here, ChangeError> {
        let filters = json!({ "label": [format!("com.docker.swarm.service.id={service}")] });
        let filters = filters.to_string();
        let query = [("all", "true"), ("filters", filters.as_str())];
        let found = self.engine.get("/containers/json", &query).await;
        let found = found.map_err(EngineError::of_look)?;
        let mut here = Here::new();
        for container in found.as_array().into_iter().flatten() {
            let labels = container.get("Labels");
            let task = labels.and_then(|labels| labels.get("com.docker.swarm.task.id")?.as_str());
            let Some((task, mut local)) = task.zip(Local::of(container)) else {
                continue;
            };
            if local.state == "created" {
                local.error = self.start_error(&local.id).await;
            }
            here.insert(task.to_owned(), local);
        }
        Ok(here)
    }

    async fn start_error(&self, container: &str) -> Option<String> {
        let engine = self.engine.clone().timeout(BUSY);
        let path = format!("/containers/{container}/json");
        let found = engine.get(&path, &[]).await.ok()?;
        let error = text(&found, "/State/Error")?;
        (!error.is_empty()).then(|| error.to_owned())
    }
}

impl Local {
    fn of(container: &Value) -> Option<Self> {
        let word = |name: &str| Some(container.get(name)?.as_str()?.to_owned());
        Some(Self {
            id: word("Id")?,
            state: word("State")?,
            status: word("Status").unwrap_or_default(),
            error: None,
        })
    }

    /// What Swarm will say of the task: how its container ended, or that it will be ended.
    fn end(&self) -> Option<End> {
        match self.state.as_str() {
            "exited" | "dead" => Some(End {
                exit: exit_code(&self.status),
                error: None,
            }),
            "created" => self.error.clone().map(|error| End {
                exit: None,
                error: Some(error),
            }),
            "running" if self.status.ends_with("(unhealthy)") => Some(End {
                exit: None,
                error: Some("its health check failed".to_owned()),
            }),
            _ => None,
        }
    }
}

struct End {
    exit: Option<i64>,
    error: Option<String>,
}

/// `Exited (137) 2 seconds ago`
fn exit_code(status: &str) -> Option<i64> {
    let (_, rest) = status.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}

/// Adds to Swarm's words what this node knows already.
pub(super) fn added(tasks: &mut [TaskSeen], here: &Here) {
    for task in tasks {
        let known = task.has_ended() || task.is_leaving() || task.is_gone();
        let end = here.get(&task.id).filter(|_| !known).and_then(Local::end);
        if let Some(end) = end {
            "failed".clone_into(&mut task.state);
            task.exit = end.exit.or(task.exit);
            task.error = end.error;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: &str, desired: &str) -> TaskSeen {
        let told = json!({"ID": "t", "CreatedAt": "2026-01-01T00:00:00Z", "Spec": {},
            "Status": {"State": state}, "DesiredState": desired});
        TaskSeen::of(&told).unwrap()
    }

    fn after(task: TaskSeen, state: &str, status: &str, error: Option<&str>) -> TaskSeen {
        let told = json!({"Id": "c", "State": state, "Status": status});
        let mut local = Local::of(&told).unwrap();
        local.error = error.map(str::to_owned);
        let mut tasks = [task];
        added(&mut tasks, &Here::from([("t".to_owned(), local)]));
        let [task] = tasks;
        task
    }

    #[test]
    fn the_end_of_a_container_is_the_end_of_its_task() {
        let cases = [
            (
                "exited",
                "Exited (3) 1 second ago",
                None,
                "failed",
                "exit status 3",
            ),
            ("dead", "Dead", None, "failed", "failed"),
            (
                "running",
                "Up 3 seconds (unhealthy)",
                None,
                "failed",
                "its health check failed",
            ),
            (
                "created",
                "Created",
                Some("no such program"),
                "failed",
                "no such program",
            ),
            ("created", "Created", None, "starting", "starting"),
            (
                "running",
                "Up 3 seconds (health: starting)",
                None,
                "starting",
                "starting",
            ),
            (
                "running",
                "Up 3 seconds (healthy)",
                None,
                "starting",
                "starting",
            ),
            ("hibernating", "", None, "starting", "starting"),
        ];
        for (state, status, error, then, how) in cases {
            let task = after(task("starting", "running"), state, status, error);
            assert_eq!(task.state, then, "{state} {status}");
            assert_eq!(super::super::arms::how(&task), how, "{state} {status}");
        }
    }

    #[test]
    fn what_swarm_stops_or_has_told_of_stays_as_it_says() {
        for (state, desired) in [("running", "shutdown"), ("complete", "running")] {
            let task = after(task(state, desired), "exited", "Exited (137) now", None);
            assert_eq!(task.state, state);
        }
    }
}
