//! What should run, written on the engine: a container that is never started, whose name is given
//! once. Making the next one is a compare-and-set between controllers wherever they run. Beside it,
//! one such container for each release keeps its definition, and with it its image.

use std::collections::BTreeSet;

use rollback_core::model::{ChangeError, ReleaseId, ServiceId};
use serde_json::{Value, json};

use super::{
    definition::ContainerDefinition,
    desired::{Desired, SCHEMA},
    look::{Shared, Sight, id_of, inspected, kept_definition, label, listed},
    names,
};
use crate::EngineError;

/// The variable, of a container that is never started, that holds a definition: what is in the
/// environment is shown by an inspection alone, as every container's environment is.
pub(crate) const KEPT: &str = "ROLLBACK_DEFINITION";

/// The record that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) revision: u64,
    pub(crate) image: String,
    /// The adopted containers that it names.
    pub(crate) known: BTreeSet<String>,
}

/// Removes a container that was never started.
pub(crate) async fn discard(shared: &Shared, id: &str) -> Result<(), EngineError> {
    let path = format!("/containers/{id}");
    match shared.engine.delete(&path, &[("v", "true")]).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// A container that is never started: it has no network, no volume of its own, and nothing to run.
fn never_started(image: &str, labels: &Value, env: &[String]) -> Value {
    json!({
        "Image": image, "Labels": labels, "Env": env, "NetworkDisabled": true,
        "Entrypoint": ["/never-started"], "Cmd": [], "Healthcheck": { "Test": ["NONE"] },
        "HostConfig": { "NetworkMode": "none", "RestartPolicy": { "Name": "no" } },
    })
}

/// Keeps the definition of a release.
pub(crate) async fn keep(
    shared: &Shared,
    release: &ReleaseId,
    definition: &ContainerDefinition,
) -> Result<(), ChangeError> {
    let value = definition.value().map_err(ChangeError::refused)?;
    let labels = json!({
        names::SERVICE: shared.service, names::KIND: names::DEFINITION, names::RELEASE: release,
    });
    let body = never_started(&definition.image, &labels, &[format!("{KEPT}={value}")]);
    let name = names::definition(&shared.service, release);
    match make(shared, &name, &body).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_conflict() => {
            let there = inspected(&shared.engine, &name).await;
            let there = there.map_err(EngineError::of_look)?;
            let Some(there) = there else {
                return Err(ChangeError::not_sent(error));
            };
            match kept_definition(&there) {
                Some(kept) if is_of(&there, &shared.service, names::DEFINITION) => {
                    same(release, &kept, definition)
                }
                _ => Err(ChangeError::refused(format!(
                    "the name {name} belongs to a container that is not ours; remove or rename it"
                ))),
            }
        }
        Err(error) => Err(before_the_change(error)),
    }
}

/// A release never changes.
pub(crate) fn same(
    release: &ReleaseId,
    kept: &ContainerDefinition,
    given: &ContainerDefinition,
) -> Result<(), ChangeError> {
    if kept == given {
        return Ok(());
    }
    Err(ChangeError::refused(format!(
        "the release {release} is known with another definition; a release never changes: give the \
         new one another id"
    )))
}

/// Whether a container that was inspected is ours, of this service and kind.
pub(crate) fn is_of(container: &Value, service: &ServiceId, kind: &str) -> bool {
    let labels = container.get("Config");
    let is = |name, value| labels.and_then(|labels| label(labels, name)) == Some(value);
    is(names::SERVICE, service.as_str()) && is(names::KIND, kind)
}

/// Writes what should run, if `sight` is still in force.
pub(crate) async fn write(
    shared: &Shared,
    sight: &Sight,
    desired: &Desired,
) -> Result<String, ChangeError> {
    let revision = sight.highest + 1;
    let mut state = desired.clone();
    state.schema = SCHEMA;
    let state = serde_json::to_string(&state).map_err(ChangeError::refused)?;
    let follows = sight.record.as_ref().map_or("", |record| &record.id);
    let labels = json!({
        names::SERVICE: shared.service, names::KIND: names::RECORD, names::STATE: state,
        names::REVISION: revision.to_string(), names::FOLLOWS: follows,
    });
    let name = names::record(&shared.service, revision);
    let mut made = Err(EngineError::NotSent {
        why: "no image of the service is left to make a record of".to_owned(),
    });
    for image in images(sight, desired) {
        made = make(shared, &name, &never_started(&image, &labels, &[])).await;
        // Any image will do that is still there.
        if !made.as_ref().is_err_and(EngineError::is_not_found) {
            break;
        }
    }
    let id = made.map_err(EngineError::of_change)?;
    in_force(shared, &id, revision).await?;
    Ok(id)
}

/// A controller that slept since it looked may have taken a name that was free again: its record
/// does not count, because a newer one follows another.
async fn in_force(shared: &Shared, id: &str, revision: u64) -> Result<(), ChangeError> {
    let unsure = |error: EngineError| ChangeError::maybe_sent(error);
    let records = listed(shared, Some(names::RECORD)).await.map_err(unsure)?;
    let revision_of = |one: &Value| -> Option<u64> { label(one, names::REVISION)?.parse().ok() };
    let next = records
        .iter()
        .filter(|one| revision_of(one).is_some_and(|one| one > revision))
        .min_by_key(|one| revision_of(one));
    match next {
        None => {}
        Some(next) if label(next, names::FOLLOWS) == Some(id) => {}
        Some(next) if revision_of(next) == Some(revision + 1) => {
            discard(shared, id).await.map_err(unsure)?;
            return Err(ChangeError::Conflict { now: None });
        }
        Some(_) => return Err(ChangeError::maybe_sent("other changes came right after it")),
    }
    for one in records
        .iter()
        .filter(|one| revision_of(one) < Some(revision))
    {
        if let Err(error) = discard(shared, id_of(one)).await {
            tracing::warn!(%error, "an old record stays");
        }
    }
    Ok(())
}

/// Images of the service, those that should run first.
fn images(sight: &Sight, desired: &Desired) -> Vec<String> {
    let wanted = desired
        .wanted
        .iter()
        .filter_map(|(release, _)| sight.definitions.get(release));
    let all = wanted.chain(sight.definitions.values());
    let mut images: Vec<String> = Vec::new();
    let record = sight.record.iter().map(|record| record.image.clone());
    for image in all.map(|one| one.image.clone()).chain(record) {
        if !images.contains(&image) {
            images.push(image);
        }
    }
    images
}

/// Makes a container and gives its id.
pub(crate) async fn make(shared: &Shared, name: &str, body: &Value) -> Result<String, EngineError> {
    let made = shared
        .engine
        .post("/containers/create", &[("name", name)], body)
        .await?;
    Ok(id_of(&made).to_owned())
}

/// Whatever goes wrong before the record is written, nothing is changed that anybody sees.
pub(crate) fn before_the_change(error: EngineError) -> ChangeError {
    match error.of_change() {
        ChangeError::MaybeSent { why } => ChangeError::not_sent(why),
        other => other,
    }
}
