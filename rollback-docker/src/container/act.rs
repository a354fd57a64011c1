//! Making, starting and stopping one container. Each may be done twice, or broken off anywhere: the
//! next look finds how far it came.

use std::time::Duration;

use rollback_core::model::ReleaseId;
use serde_json::{Value, json};

use super::{
    carried::told,
    definition::ContainerDefinition,
    look::{Shared, inspected, label},
    names,
    record::{is_of, make},
};
use crate::EngineError;

/// How long the engine may take for a stop beyond the container's own grace period.
const BEYOND_GRACE: Duration = Duration::from_secs(30);

/// Why an act did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ActError {
    /// It will not succeed before somebody does something.
    Blocked(String),
    /// The engine failed; it may be well again the next time.
    Unwell(String),
    /// Look again.
    Again(String),
}

impl From<EngineError> for ActError {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Answer { status, .. } if *status >= 500 => Self::Unwell(error.to_string()),
            EngineError::Answer { status, .. } if *status != 409 => {
                Self::Blocked(error.to_string())
            }
            _ => Self::Again(error.to_string()),
        }
    }
}

/// What a container is made for: it is written on it.
#[derive(Debug, Clone)]
pub(crate) struct Purpose {
    pub(crate) release: ReleaseId,
    pub(crate) index: u32,
    pub(crate) revision: u64,
    pub(crate) change: String,
}

/// Makes the container of a place, and starts it.
pub(crate) async fn create(
    shared: &Shared,
    definition: &ContainerDefinition,
    purpose: &Purpose,
) -> Result<(), ActError> {
    let (index, revision) = (purpose.index.to_string(), purpose.revision.to_string());
    let labels = [
        (names::SERVICE, shared.service.as_str()),
        (names::KIND, names::INSTANCE),
        (names::RELEASE, purpose.release.as_str()),
        (names::INDEX, index.as_str()),
        (names::REVISION, revision.as_str()),
        (names::CHANGE, purpose.change.as_str()),
    ];
    let (body, _) = told(definition, purpose.index, &labels);
    let name = names::instance(&shared.service, &purpose.release, purpose.index);
    let id = match make(shared, &name, &body).await {
        Ok(id) => id,
        Err(error) if error.is_conflict() => {
            let Some(there) = inspected(&shared.engine, &name).await? else {
                return Err(ActError::Again(error.to_string()));
            };
            let release = there
                .get("Config")
                .and_then(|one| label(one, names::RELEASE));
            if !is_of(&there, &shared.service, names::INSTANCE)
                || release != Some(purpose.release.as_str())
            {
                return Err(ActError::Blocked(format!(
                    "the name {name} belongs to a container that is not ours; remove or rename it"
                )));
            }
            name
        }
        Err(error) if error.is_not_found() => {
            return Err(ActError::Blocked(format!(
                "{}: {error}; load or pull it",
                definition.image
            )));
        }
        Err(error) => return Err(error.into()),
    };
    start(shared, &id, Some((definition, purpose.index))).await
}

/// Starts a container that is there, in all of its networks. An adopted one needs none.
pub(crate) async fn start(
    shared: &Shared,
    id: &str,
    as_defined: Option<(&ContainerDefinition, u32)>,
) -> Result<(), ActError> {
    if let Some((definition, index)) = as_defined {
        let (_, others) = told(definition, index, &[]);
        if !others.is_empty() {
            join(shared, id, others).await?;
        }
    }
    let path = format!("/containers/{id}/start");
    match shared.engine.post(&path, &[], &Value::Null).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() && inspected(&shared.engine, id).await?.is_none() => {
            Err(ActError::Again(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

async fn join(
    shared: &Shared,
    id: &str,
    networks: impl IntoIterator<Item = (String, Value)>,
) -> Result<(), ActError> {
    let Some(there) = inspected(&shared.engine, id).await? else {
        return Err(ActError::Again("it is gone".to_owned()));
    };
    let joined = there.pointer("/NetworkSettings/Networks");
    for (network, endpoint) in networks {
        if joined.is_some_and(|joined| joined.get(&network).is_some()) {
            continue;
        }
        let path = format!("/networks/{network}/connect");
        let body = json!({ "Container": id, "EndpointConfig": endpoint });
        shared.engine.post(&path, &[], &body).await?;
    }
    Ok(())
}

/// Stops a container, gently first, and removes it; of an adopted one the volumes stay.
pub(crate) async fn stop(
    shared: &Shared,
    id: &str,
    grace: u64,
    ours: bool,
) -> Result<(), ActError> {
    let patience = Duration::from_secs(grace).saturating_add(BEYOND_GRACE);
    let patient = shared.engine.clone().timeout(patience);
    let path = format!("/containers/{id}/stop");
    match patient.post(&path, &[], &Value::Null).await {
        Err(error) if !error.is_not_found() => return Err(error.into()),
        _ => {}
    }
    let volumes = if ours { "true" } else { "false" };
    let path = format!("/containers/{id}");
    match shared.engine.delete(&path, &[("v", volumes)]).await {
        // Gone, or just going.
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
        _ => Ok(()),
    }
}
