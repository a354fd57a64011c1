//! One look at the engine: the record, the definitions that are kept, and the containers of one
//! service, ours and those that others made. It changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::future::try_join_all;
use rollback_core::model::{Definition, ReleaseId, Secret, ServiceId, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    adoption::Adopt,
    busy::{self, Told},
    carried::{carried, common},
    claims,
    definition::ContainerDefinition,
    desired::{Desired, SCHEMA},
    facts::Facts,
    fetching::Fetch,
    names,
    observation::Known,
    plan::Sizes,
    record::{KEPT, Record},
};
use crate::{Engine, EngineError, Image, digest::digest};

/// What everybody who works on one service shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) service: ServiceId,
    pub(crate) adopt: Option<Adopt>,
    pub(crate) key: Option<Secret<Vec<u8>>>,
    /// So long runs a container without a health check before it counts as ready, in milliseconds.
    pub(crate) steady: i64,
    /// Definitions never change: each is read once.
    pub(crate) definitions: Mutex<BTreeMap<ReleaseId, Arc<ContainerDefinition>>>,
    pub(crate) images: Mutex<BTreeMap<String, Image>>,
    pub(crate) fetches: Mutex<BTreeMap<String, Fetch>>,
    pub(crate) known: Mutex<Known>,
    pub(crate) told: Mutex<Told>,
    /// There may be something to do.
    pub(crate) nudge: Notify,
    /// There may be something to see.
    pub(crate) news: Notify,
}

/// Nothing panics while such a lock is held.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// A service as it is now.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// The newest record; none before the first change, or if it was removed.
    pub(crate) record: Option<Record>,
    /// Older records, by their ids.
    pub(crate) older: Vec<String>,
    /// What should run, strangers included.
    pub(crate) desired: Desired,
    pub(crate) facts: Vec<Facts>,
    /// Of every release of which something is known.
    pub(crate) definitions: BTreeMap<ReleaseId, Arc<ContainerDefinition>>,
    /// The containers that keep definitions, with the time at which each was made.
    pub(crate) kept: BTreeMap<ReleaseId, (String, i64)>,
    /// No revision was ever higher.
    pub(crate) highest: u64,
}

impl Sight {
    /// The platform's mark: the record, and the strangers that it does not know.
    pub(crate) fn mark(&self) -> String {
        let base = self.record.as_ref().map_or("none", |record| &record.id);
        let base = base.get(..24).unwrap_or(base);
        let known = self.record.as_ref().map(|record| &record.known);
        let strangers = self.desired.adopted.keys();
        let strangers: Vec<&str> = strangers
            .filter(|id| !known.is_some_and(|known| known.contains(*id)))
            .map(String::as_str)
            .collect();
        if strangers.is_empty() && self.record.is_some() {
            return base.to_owned();
        }
        let wanted = self.desired.wanted.to_string();
        let digest = digest(format!("{wanted} {}", strangers.join(" ")), None, 24);
        format!("{base}+{digest}")
    }
}

impl Sizes for Sight {
    fn replicas(&self, release: &ReleaseId) -> Option<usize> {
        let definition = self.definitions.get(release)?;
        Some(definition.replicas.into())
    }

    fn clash(&self, a: &ReleaseId, b: &ReleaseId) -> bool {
        match (self.definitions.get(a), self.definitions.get(b)) {
            (Some(of_a), Some(of_b)) => a != b && claims::clash(of_a, of_b).is_some(),
            _ => false,
        }
    }
}

/// Containers that carry a label of the service.
pub(crate) async fn listed(shared: &Shared, kind: Option<&str>) -> Result<Vec<Value>, EngineError> {
    let mut labels = vec![format!("{}={}", names::SERVICE, shared.service)];
    labels.extend(kind.map(|kind| format!("{}={kind}", names::KIND)));
    list(&shared.engine, &json!({ "label": labels })).await
}

pub(crate) async fn list(engine: &Engine, filters: &Value) -> Result<Vec<Value>, EngineError> {
    let filters = filters.to_string();
    let query = [("all", "true"), ("filters", filters.as_str())];
    match engine.get("/containers/json", &query).await? {
        Value::Array(all) => Ok(all),
        _ => Err(EngineError::Garbled {
            path: "/containers/json".to_owned(),
            why: "no list".to_owned(),
        }),
    }
}

pub(crate) fn label<'a>(listed: &'a Value, name: &str) -> Option<&'a str> {
    listed.get("Labels")?.get(name)?.as_str()
}

pub(crate) fn id_of(listed: &Value) -> &str {
    listed.get("Id").and_then(Value::as_str).unwrap_or_default()
}

/// The whole of a container; none if it is gone meanwhile.
pub(crate) async fn inspected(engine: &Engine, id: &str) -> Result<Option<Value>, EngineError> {
    match engine.get(&format!("/containers/{id}/json"), &[]).await {
        Ok(container) => Ok(Some(container)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks.
pub(crate) async fn look(shared: &Shared) -> Result<Sight, EngineError> {
    let ours = listed(shared, None).await?;
    let mut sight = Sight::default();
    let recorded = records(&mut sight, &ours)?;
    definitions(shared, &mut sight, &ours).await?;

    let instances = ours
        .iter()
        .filter(|one| label(one, names::KIND) == Some(names::INSTANCE));
    let instances = try_join_all(instances.map(|one| busy::told(shared, one))).await?;
    locked(&shared.told).forget(&ours);
    for container in instances.into_iter().flatten() {
        own(&mut sight, &container);
    }
    if let Some(adopt) = &shared.adopt {
        foreign(shared, adopt, &mut sight, recorded.as_ref()).await?;
    }
    sight
        .facts
        .sort_by_key(|one| (one.release.clone(), one.index, one.id.clone()));
    sight.desired = Desired::effective(recorded, &sight.facts);
    // What somebody stopped before we came is none of the service.
    let desired = &sight.desired;
    let belongs = |one: &Facts| one.ours || desired.adopted.contains_key(&one.id);
    sight.facts.retain(belongs);
    let known: BTreeSet<&String> = sight.facts.iter().map(|one| &one.id).collect();
    sight.desired.adopted.retain(|id, _| known.contains(id));
    // What is gone makes room for nobody any more.
    let there: BTreeSet<&ReleaseId> = sight.facts.iter().map(|one| &one.release).collect();
    sight
        .desired
        .replaced_by
        .retain(|old, _| there.contains(old));
    Ok(sight)
}

/// Finds the newest record.
fn records(sight: &mut Sight, ours: &[Value]) -> Result<Option<Desired>, EngineError> {
    let mut records = Vec::new();
    for one in ours {
        let revision = label(one, names::REVISION).and_then(|text| text.parse().ok());
        let Some(revision) = revision else { continue };
        sight.highest = sight.highest.max(revision);
        if label(one, names::KIND) == Some(names::RECORD) {
            records.push((revision, one));
        }
    }
    records.sort_by_key(|(revision, _)| *revision);
    let Some((revision, newest)) = records.pop() else {
        return Ok(None);
    };
    let garbled = |why: &str| EngineError::Garbled {
        path: format!("the record r{revision}"),
        why: why.to_owned(),
    };
    let text = label(newest, names::STATE).unwrap_or_default();
    let desired: Desired =
        serde_json::from_str(text).map_err(|_| garbled("its label is damaged; remove it"))?;
    if desired.schema > SCHEMA {
        return Err(garbled("written by a newer version of this library"));
    }
    sight.older = records
        .iter()
        .map(|(_, one)| id_of(one).to_owned())
        .collect();
    let image = newest.get("ImageID").and_then(Value::as_str);
    sight.record = Some(Record {
        id: id_of(newest).to_owned(),
        revision,
        image: image.unwrap_or_default().to_owned(),
        known: desired.adopted.keys().cloned().collect(),
    });
    Ok(Some(desired))
}

/// Reads the definitions that are kept.
async fn definitions(
    shared: &Shared,
    sight: &mut Sight,
    ours: &[Value],
) -> Result<(), EngineError> {
    for one in ours {
        if label(one, names::KIND) != Some(names::DEFINITION) {
            continue;
        }
        let Some(release) = release_label(one) else {
            continue;
        };
        let created = one.get("Created").and_then(Value::as_i64).unwrap_or(0);
        let kept = (id_of(one).to_owned(), created);
        sight.kept.insert(release.clone(), kept);
        if locked(&shared.definitions).contains_key(&release) {
            continue;
        }
        let Some(container) = inspected(&shared.engine, id_of(one)).await? else {
            continue;
        };
        match kept_definition(&container) {
            Some(definition) => {
                locked(&shared.definitions).insert(release, Arc::new(definition));
            }
            None => tracing::error!(%release, "a kept definition cannot be used"),
        }
    }
    sight.definitions.clone_from(&locked(&shared.definitions));
    Ok(())
}

/// The definition inside the container that keeps it.
pub(crate) fn kept_definition(container: &Value) -> Option<ContainerDefinition> {
    let variables = container.pointer("/Config/Env")?.as_array()?;
    let text = variables.iter().find_map(|one| {
        let (name, text) = one.as_str()?.split_once('=')?;
        (name == KEPT).then_some(text)
    })?;
    let value = serde_json::from_str(text).ok()?;
    ContainerDefinition::from_definition(&Definition::new(value)).ok()
}

fn release_label(one: &Value) -> Option<ReleaseId> {
    ReleaseId::new(label(one, names::RELEASE)?).ok()
}

/// A container that this adapter made.
fn own(sight: &mut Sight, container: &Value) {
    let Some(config) = container.get("Config") else {
        return;
    };
    let Some(release) = release_label(config) else {
        return;
    };
    let index = label(config, names::INDEX).and_then(|text| text.parse().ok());
    if !sight.definitions.contains_key(&release) {
        // Its definition was removed by hand; the container itself tells most of it.
        let mut definition = carried(container, &Value::Null);
        definition.former.clear();
        let count = index.map_or(1, |index: u32| index + 1);
        definition.replicas = u16::try_from(count).unwrap_or(1);
        sight
            .definitions
            .insert(release.clone(), Arc::new(definition));
    }
    let port = sight.definitions.get(&release).and_then(|one| one.port);
    sight
        .facts
        .push(Facts::read(container, release, index, true, port));
}

/// Containers that somebody else made.
async fn foreign(
    shared: &Shared,
    adopt: &Adopt,
    sight: &mut Sight,
    recorded: Option<&Desired>,
) -> Result<(), EngineError> {
    let found = list(&shared.engine, &adopt.filters()).await?;
    let found = found.iter().filter(|one| adopt.takes(one));
    let found = try_join_all(found.map(|one| inspected(&shared.engine, id_of(one)))).await?;
    let mut all: Vec<(Value, ContainerDefinition, ReleaseId)> = Vec::new();
    for container in found.into_iter().flatten() {
        let image = container.get("Image").and_then(Value::as_str);
        let image = image_of(shared, image.unwrap_or_default()).await?;
        let config = image.as_ref().map_or(&Value::Null, |image| &image.config);
        let mut definition = carried(&container, config);
        let digest = image
            .as_ref()
            .and_then(|one| one.digest_of(&definition.image_name));
        definition.registry_digest = digest.map(str::to_owned);
        definition.port = adopt.port;
        let known = recorded.and_then(|one| one.adopted.get(id_of(&container)));
        let release = match known {
            Some(known) => known.clone(),
            None => adopted_id(&definition, shared.key.as_ref())?,
        };
        all.push((container, definition, release));
    }
    all.sort_by_key(|(container, ..)| adopt.order(container));
    let mut derived: BTreeMap<ReleaseId, ContainerDefinition> = BTreeMap::new();
    for (container, definition, release) in &all {
        let up = container.pointer("/State/Running") == Some(&Value::Bool(true));
        if sight.definitions.contains_key(release) || !up {
            continue;
        }
        match derived.get_mut(release) {
            Some(first) => {
                first.replicas = first.replicas.saturating_add(1);
                first.former.extend(definition.former.iter().cloned());
            }
            None => {
                derived.insert(release.clone(), definition.clone());
            }
        }
    }
    let derived = derived
        .into_iter()
        .map(|(release, one)| (release, Arc::new(one)));
    sight.definitions.extend(derived);
    for (container, _, release) in all {
        let definition = sight.definitions.get(&release);
        let name = super::carried::name(&container);
        let place = definition.and_then(|one| one.former.iter().position(|one| one.name == name));
        let index = place.and_then(|place| u32::try_from(place).ok());
        let port = definition.and_then(|one| one.port);
        sight
            .facts
            .push(Facts::read(&container, release, index, false, port));
    }
    Ok(())
}

/// The id of the release that a container of somebody else's runs.
fn adopted_id(
    definition: &ContainerDefinition,
    key: Option<&Secret<Vec<u8>>>,
) -> Result<ReleaseId, EngineError> {
    let id = common(definition).id(key);
    id.map_err(|error| EngineError::Garbled {
        path: "a container".to_owned(),
        why: error.to_string(),
    })
}

/// The image of a container; none if it is gone.
async fn image_of(shared: &Shared, image: &str) -> Result<Option<Image>, EngineError> {
    if let Some(known) = locked(&shared.images).get(image) {
        return Ok(Some(known.clone()));
    }
    match shared.engine.image(image).await {
        Ok(found) => {
            locked(&shared.images).insert(image.to_owned(), found.clone());
            Ok(Some(found))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
