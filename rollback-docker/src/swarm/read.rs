//! What is read of the engine's words about a service and its tasks. Everything that is not named
//! here is left as it is; whatever is missing or new is no error.

use rollback_core::model::Timestamp;
use serde_json::Value;

/// One service.
#[derive(Debug, Clone)]
pub(super) struct ServiceSeen {
    pub(super) id: String,
    /// Swarm's `Version.Index`.
    pub(super) version: u64,
    pub(super) created: Timestamp,
    /// The whole specification, to be sent back but for what we change.
    pub(super) spec: Value,
    pub(super) previous: Option<Value>,
    pub(super) update: Option<UpdateSeen>,
}

/// Swarm's word about the last update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UpdateSeen {
    pub(super) state: UpdateState,
    /// In Swarm's words.
    pub(super) message: String,
    pub(super) started: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UpdateState {
    Updating,
    Paused,
    Completed,
    RollbackStarted,
    RollbackPaused,
    RollbackCompleted,
    Other(String),
}

/// One task: an attempt to have one instance.
#[derive(Debug, Clone)]
pub(super) struct TaskSeen {
    pub(super) id: String,
    /// What it is an instance of: a slot of a replicated service, a node of a global one.
    pub(super) place: String,
    pub(super) node: Option<String>,
    pub(super) created: Timestamp,
    pub(super) spec: Value,
    /// Swarm's word; there may be new ones.
    pub(super) state: String,
    pub(super) desired: String,
    /// Swarm's words about what is wrong, or else about what it does.
    pub(super) error: Option<String>,
    pub(super) exit: Option<i64>,
    pub(super) container: Option<String>,
    /// Ports of the node, published by this task itself.
    pub(super) node_ports: Vec<u64>,
    /// Addresses in the networks of the swarm.
    pub(super) addresses: Vec<String>,
}

impl ServiceSeen {
    pub(super) fn of(value: &Value) -> Option<Self> {
        let update = value.get("UpdateStatus").and_then(|update| {
            Some(UpdateSeen {
                state: UpdateState::of(text(update, "/State")?),
                message: text(update, "/Message").unwrap_or_default().to_owned(),
                started: moment(update, "/StartedAt"),
            })
        });
        Some(Self {
            id: text(value, "/ID")?.to_owned(),
            version: value.pointer("/Version/Index")?.as_u64()?,
            created: moment(value, "/CreatedAt").unwrap_or_default(),
            spec: value.get("Spec")?.clone(),
            previous: value.pointer("/PreviousSpec/TaskTemplate").cloned(),
            update,
        })
    }

    pub(super) fn name(&self) -> &str {
        text(&self.spec, "/Name").unwrap_or_default()
    }

    pub(super) fn template(&self) -> &Value {
        self.spec.get("TaskTemplate").unwrap_or(&Value::Null)
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.spec.get("Labels")?.get(name)?.as_str()
    }

    /// How many instances are wanted; none if that follows from the nodes.
    pub(super) fn replicas(&self) -> Option<u64> {
        let replicas = self.spec.pointer("/Mode/Replicated/Replicas");
        replicas.and_then(Value::as_u64)
    }

    /// A job: something that ends.
    pub(super) fn is_job(&self) -> bool {
        let mode = self.spec.get("Mode").and_then(Value::as_object);
        mode.is_some_and(|mode| {
            mode.contains_key("ReplicatedJob") || mode.contains_key("GlobalJob")
        })
    }

    /// Whether an instance takes a certain port of its node: no second one fits on the same node.
    pub(super) fn has_node_ports(&self) -> bool {
        let ports = self.spec.pointer("/EndpointSpec/Ports");
        let mut ports = ports.and_then(Value::as_array).into_iter().flatten();
        ports.any(|port| {
            let fixed = port.get("PublishedPort").and_then(Value::as_u64);
            text(port, "/PublishMode") == Some("host") && fixed.is_some_and(|port| port > 0)
        })
    }

    /// The port that an instance answers on, by the first that is published, or by our label.
    pub(super) fn port(&self) -> Option<u64> {
        let published = self.spec.pointer("/EndpointSpec/Ports/0/TargetPort");
        published
            .and_then(Value::as_u64)
            .or_else(|| self.label("io.rollback.port")?.parse().ok())
    }

    /// Whether a task that ended is followed by another one.
    pub(super) fn restarts(&self) -> bool {
        text(self.template(), "/RestartPolicy/Condition") != Some("none")
    }
}

impl UpdateState {
    fn of(word: &str) -> Self {
        match word {
            "updating" => Self::Updating,
            "paused" => Self::Paused,
            "completed" => Self::Completed,
            "rollback_started" => Self::RollbackStarted,
            "rollback_paused" => Self::RollbackPaused,
            "rollback_completed" => Self::RollbackCompleted,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl TaskSeen {
    pub(super) fn of(value: &Value) -> Option<Self> {
        let node = text(value, "/NodeID").map(str::to_owned);
        let slot = value.get("Slot").and_then(Value::as_u64);
        let place = match (slot, &node) {
            (Some(slot), _) if slot > 0 => slot.to_string(),
            (_, Some(node)) => node.clone(),
            _ => "?".to_owned(),
        };
        let ports = value.pointer("/Status/PortStatus/Ports");
        let ports = ports.and_then(Value::as_array).into_iter().flatten();
        let node_ports = ports
            .filter(|port| text(port, "/PublishMode") == Some("host"))
            .filter_map(|port| port.get("PublishedPort")?.as_u64());
        let networks = value.get("NetworksAttachments").and_then(Value::as_array);
        let addresses = networks
            .into_iter()
            .flatten()
            .filter(|network| text(network, "/Network/Spec/Name") != Some("ingress"))
            .filter_map(|network| network.get("Addresses")?.as_array())
            .flatten()
            .filter_map(|address| Some(address.as_str()?.split('/').next()?.to_owned()));
        let error = text(value, "/Status/Err").filter(|error| !error.is_empty());
        Some(Self {
            id: text(value, "/ID")?.to_owned(),
            place,
            created: moment(value, "/CreatedAt")?,
            spec: value.get("Spec")?.clone(),
            state: text(value, "/Status/State").unwrap_or("new").to_owned(),
            desired: text(value, "/DesiredState").unwrap_or("running").to_owned(),
            error: error.map(str::to_owned),
            exit: value
                .pointer("/Status/ContainerStatus/ExitCode")
                .and_then(Value::as_i64),
            container: text(value, "/Status/ContainerStatus/ContainerID")
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            node_ports: node_ports.collect(),
            addresses: addresses.collect(),
            node,
        })
    }

    /// Ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "failed" | "rejected" | "complete")
    }

    /// Not wanted any more.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.desired.as_str(), "shutdown" | "remove" | "complete")
    }

    /// Nothing of it is left, as it was wanted.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.state.as_str(), "shutdown" | "remove" | "orphaned")
    }
}

/// All of them, newest first; what is not a task is left out.
pub(super) fn tasks(value: &Value) -> Vec<TaskSeen> {
    let tasks = value.as_array().into_iter().flatten();
    let mut tasks: Vec<_> = tasks.filter_map(TaskSeen::of).collect();
    tasks.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    tasks
}

pub(super) fn text<'a>(value: &'a Value, at: &str) -> Option<&'a str> {
    value.pointer(at)?.as_str()
}

fn moment(value: &Value, at: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text(value, at)?.parse().ok()?;
    Some(Timestamp::from_millis(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_read_and_unknown_words_stay() {
        let seen = ServiceSeen::of(&json!({
            "ID": "a1", "Version": {"Index": 12}, "CreatedAt": "2026-11-21T18:09:21.030968015Z",
            "Spec": {"Name": "shop", "Labels": {"io.rollback.port": "81"},
                "TaskTemplate": {"RestartPolicy": {"Condition": "none"}},
                "Mode": {"Replicated": {"Replicas": 2}}, "EndpointSpec": {"Mode": "vip"}},
            "UpdateStatus": {"State": "sideways", "Message": "m", "StartedAt": "2026-11-21T18:09:22Z"},
        }))
        .unwrap();
        assert_eq!(
            (seen.name(), seen.version, seen.replicas()),
            ("shop", 12, Some(2))
        );
        assert_eq!(seen.port(), Some(81));
        assert!(!seen.restarts() && !seen.has_node_ports() && !seen.is_job());
        let update = seen.update.unwrap();
        assert_eq!(update.state, UpdateState::Other("sideways".to_owned()));
        assert_eq!(update.started.unwrap().since(seen.created).as_millis(), 970);
    }

    #[test]
    fn tasks_are_read_newest_first() {
        let task = |id: &str, at: &str, more: Value| {
            let mut task = json!({"ID": id, "CreatedAt": at, "Spec": {}, "Slot": 1,
                "Status": {"State": "running"}, "DesiredState": "running"});
            let map = task.as_object_mut().unwrap();
            map.extend(more.as_object().unwrap().clone());
            task
        };
        let all = tasks(&json!([
            task("old", "2026-11-21T18:09:21Z", json!({"NodeID": "n", "Slot": 0})),
            {"not": "a task"},
            task("new", "2026-11-21T18:09:22Z", json!({
                "NetworksAttachments": [
                    {"Network": {"Spec": {"Name": "ingress"}}, "Addresses": ["10.0.0.2/24"]},
                    {"Network": {"Spec": {"Name": "mine"}}, "Addresses": ["10.0.1.2/24"]}],
                "Status": {"State": "failed", "Err": "task: non-zero exit (1)",
                    "ContainerStatus": {"ContainerID": "c", "ExitCode": 1},
                    "PortStatus": {"Ports": [{"PublishMode": "host", "PublishedPort": 8081}]}}})),
        ]));
        let [new, old] = &all[..] else {
            panic!("{all:?}")
        };
        assert_eq!(
            (new.id.as_str(), new.place.as_str(), old.place.as_str()),
            ("new", "1", "n")
        );
        assert_eq!(
            (&*new.addresses, &*new.node_ports),
            (&["10.0.1.2".to_owned()][..], &[8081][..])
        );
        assert!(new.has_ended() && !new.is_leaving() && !old.has_ended());
        assert_eq!((new.exit, new.container.as_deref()), (Some(1), Some("c")));
    }
}
