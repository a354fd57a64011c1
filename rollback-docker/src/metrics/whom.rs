//! Which containers a question is about.

use rollback_core::model::{ReadError, ReadRequest, ReleaseId, Scope, ServiceId};
use serde_json::{Value, json};

use super::seen::{RELEASE_LABEL, SERVICE_LABEL, SWARM_SERVICE_LABEL, SWARM_TASK_LABEL};
use crate::{Engine, EngineError};

/// Whom a request asks about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whom {
    /// These instances, by the platform's names of them.
    Instances(Vec<String>),
    /// What runs under a label of the service; and of the release, where an arm is asked about.
    Labelled(ServiceId, Option<ReleaseId>),
}

impl Whom {
    pub(crate) fn of(request: &ReadRequest) -> Result<Self, ReadError> {
        let subject = &request.subject;
        if !subject.instances.is_empty() {
            let names = subject.instances.iter();
            let names = names.map(|instance| instance.id.as_str().to_owned());
            return Ok(Self::Instances(names.collect()));
        }
        match (&request.scope, &subject.release) {
            (Scope::Service, _) => Ok(Self::Labelled(request.service.clone(), None)),
            (Scope::Instance { instance, .. }, _) => {
                Ok(Self::Instances(vec![instance.as_str().to_owned()]))
            }
            (Scope::Arm(_), Some(release)) => Ok(Self::Labelled(
                request.service.clone(),
                Some(release.clone()),
            )),
            // An arm without a release and without instances is nobody.
            (Scope::Arm(_), None) => Err(ReadError::NoData),
        }
    }
}

/// The containers that run under the labels of a service. What was stopped is not among them.
pub(crate) async fn labelled(
    engine: &Engine,
    service: &ServiceId,
    release: Option<&ReleaseId>,
    more: &[String],
) -> Result<Vec<String>, ReadError> {
    let own = [SERVICE_LABEL, SWARM_SERVICE_LABEL];
    for label in own.into_iter().chain(more.iter().map(String::as_str)) {
        let mut labels = vec![format!("{label}={service}")];
        labels.extend(release.map(|release| format!("{RELEASE_LABEL}={release}")));
        let found = listed(engine, &labels, false).await?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(ReadError::NoData)
}

/// What the engine says of the container of this name: a container's id or name, or the id of a
/// Swarm task.
pub(crate) async fn inspect(engine: &Engine, name: &str, size: bool) -> Result<Value, ReadError> {
    if !is_a_name(name) {
        return Err(ReadError::NoData);
    }
    match inspect_container(engine, name, size).await {
        Err(error) if error.is_not_found() && is_a_swarm_id(name) => {}
        other => return other.map_err(read_error),
    }
    let label = format!("{SWARM_TASK_LABEL}={name}");
    match listed(engine, &[label], true).await?.as_slice() {
        [container] => inspect_container(engine, container, size)
            .await
            .map_err(read_error),
        [] => Err(elsewhere(engine, name).await),
        several => Err(ReadError::Ambiguous {
            series: u32::try_from(several.len()).unwrap_or(u32::MAX),
        }),
    }
}

async fn inspect_container(engine: &Engine, name: &str, size: bool) -> Result<Value, EngineError> {
    let path = format!("/containers/{name}/json");
    let size: &[(&str, &str)] = if size { &[("size", "true")] } else { &[] };
    engine.get(&path, size).await
}

async fn listed(engine: &Engine, labels: &[String], all: bool) -> Result<Vec<String>, ReadError> {
    let filters = json!({ "label": labels }).to_string();
    let all = if all { "true" } else { "false" };
    let query = [("all", all), ("filters", filters.as_str())];
    let found = engine
        .get("/containers/json", &query)
        .await
        .map_err(read_error)?;
    let ids = found.as_array().into_iter().flatten();
    Ok(ids
        .filter_map(|one| Some(one.get("Id")?.as_str()?.to_owned()))
        .collect())
}

/// A task whose container is not here: it has none (yet, any more), or it runs on another node.
async fn elsewhere(engine: &Engine, task: &str) -> ReadError {
    let Ok(task) = engine.get(&format!("/tasks/{task}"), &[]).await else {
        return ReadError::NoData;
    };
    let text = |at: &str| task.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let here = match engine.get("/info", &[]).await {
        Ok(info) => info
            .pointer("/Swarm/NodeID")
            .and_then(Value::as_str)
            .map(str::to_owned),
        Err(error) => return read_error(error),
    };
    let node = text("/NodeID");
    if node.is_empty() || here.as_deref() == Some(node) {
        return ReadError::NoData;
    }
    ReadError::Unreachable {
        why: format!(
            "the task {} runs on the node {node}, and only the engine at {engine} is asked; read its numbers from the instances themselves",
            text("/ID")
        ),
        retry_after_ms: None,
    }
}

/// What a failed request says about a reading.
pub(crate) fn read_error(error: EngineError) -> ReadError {
    match error.status() {
        // Gone, or on its way.
        Some(404 | 409) => ReadError::NoData,
        _ => ReadError::Unreachable {
            why: error.to_string(),
            retry_after_ms: None,
        },
    }
}

/// Anything else cannot be a container, and must not become part of a path.
pub(crate) fn is_a_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty() && name.chars().all(allowed) && name.chars().any(|c| c.is_ascii_alphanumeric())
}

fn is_a_swarm_id(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() == 25 && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use rollback_core::model::{
        Arm, Instance, InstanceId, InstanceState, MetricId, Query, Subject, Timestamp, Window,
    };

    use super::*;

    fn request(scope: Scope, release: bool, instances: &[&str]) -> ReadRequest {
        let service = ServiceId::new("shop").unwrap();
        let release = release.then(release_id);
        let at = Timestamp::from_millis(0);
        let instances: Vec<Instance> = instances
            .iter()
            .map(|name| Instance::new(InstanceId::new(name).unwrap(), at, InstanceState::Ready))
            .collect();
        ReadRequest::new(
            service,
            MetricId::new("m").unwrap(),
            Query::Value("cpus".into()),
            scope,
            Subject::new(release, instances),
            Window::new(at, at),
        )
    }

    fn release_id() -> ReleaseId {
        ReleaseId::new("r1").unwrap()
    }

    #[test]
    fn the_subject_names_the_containers() {
        let shop = || ServiceId::new("shop").unwrap();
        let arm = || Scope::Arm(Arm::Candidate);
        let one = || Scope::Instance {
            arm: Arm::Candidate,
            instance: InstanceId::new("i1").unwrap(),
        };
        let names = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned());
            Ok(Whom::Instances(names.collect()))
        };
        for (scope, release, instances, whom) in [
            (arm(), true, &["i1", "i2"][..], names(&["i1", "i2"])),
            (one(), true, &["i1"], names(&["i1"])),
            (one(), false, &[], names(&["i1"])),
            (Scope::Service, false, &[], Ok(Whom::Labelled(shop(), None))),
            (
                arm(),
                true,
                &[],
                Ok(Whom::Labelled(shop(), Some(release_id()))),
            ),
            (arm(), false, &[], Err(ReadError::NoData)),
        ] {
            let request = request(scope.clone(), release, instances);
            assert_eq!(Whom::of(&request), whom, "{scope} {instances:?}");
        }
    }

    #[test]
    fn only_names_become_part_of_a_path() {
        for (name, good) in [
            ("shop-1", true),
            ("shop.1.k3v8abcdefghijklmnopqrstu", true),
            ("c43c9999d1f8", true),
            ("", false),
            ("..", false),
            ("../images", false),
            ("a b", false),
            ("a?force=1", false),
        ] {
            assert_eq!(is_a_name(name), good, "{name}");
        }
        assert!(is_a_swarm_id("ndk66tugwdjbsg80vcbc8bx7k"));
        assert!(!is_a_swarm_id("c43c9999d1f8"));
    }

    #[test]
    fn what_is_gone_has_no_data_and_the_rest_could_not_be_seen() {
        let answer = |status| EngineError::Answer {
            status,
            message: "words".to_owned(),
        };
        for (error, gone) in [
            (answer(404), true),
            (answer(409), true),
            (answer(500), false),
            (answer(403), false),
            (
                EngineError::NotSent {
                    why: "nobody".to_owned(),
                },
                false,
            ),
        ] {
            let read = read_error(error.clone());
            assert_eq!(read == ReadError::NoData, gone, "{error}");
            let seen = matches!(&read, ReadError::Unreachable { why, .. } if !why.is_empty());
            assert_eq!(seen, !gone, "{error}");
        }
    }
}
