//! One look at a service: what Swarm says, and what the engine of this node knows beyond it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use rollback_core::model::{
    ArmState, ChangeError, ChangeId, Etag, InstanceState, Observation, ReleaseId, ServiceId,
    Timestamp, Wanted,
};
use serde_json::{Value, json};

use super::{
    SwarmDeployer,
    arms::{Picture, Placed, arms},
    here::added,
    inspect::address,
    memory::Memory,
    platform,
    read::{ServiceSeen, TaskSeen, UpdateState, tasks},
    release::{SwarmDefinition, content_in_name, content_of, fingerprint, image_of},
    specification::{BEGAN_LABEL, CHANGE_LABEL, RELEASE_LABEL, given_back, goes_on_whatever_fails},
};

/// What one look found.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) service: ServiceSeen,
    /// What the service wants.
    pub(super) release: ReleaseId,
    pub(super) definition: SwarmDefinition,
    pub(super) tasks: Vec<Placed>,
    pub(super) began: Timestamp,
    pub(super) seen: Observation,
}

impl Look {
    /// The part of our etag that is the same as long as nobody changed the specification: Swarm
    /// moves the index for its own notes too.
    pub(super) fn unchanged_since(&self, etag: &Etag) -> bool {
        let specification = |etag: &Etag| -> Option<String> {
            let (_, specification) = etag.as_str().split_once('-')?;
            Some(specification.to_owned())
        };
        let now = self.seen.etag.as_ref();
        now == Some(etag) || now.and_then(specification) == specification(etag)
    }

    /// The last update does not need what it borrowed any more. By Swarm's word that it is done,
    /// after its monitor; on the way back, when everything is replaced: nothing more would follow
    /// from a failure, and whoever asked for the rollback may not look again.
    fn is_over(&self) -> bool {
        let arm = self.seen.arm(&self.release);
        if arm.is_none_or(|arm| arm.state != ArmState::Ready) {
            return false;
        }
        let update = self.service.update.as_ref();
        let completed = update.is_some_and(|update| update.state == UpdateState::Completed);
        completed || (goes_on_whatever_fails(&self.service) && self.is_alone())
    }

    /// Nothing of another release serves, or is to serve.
    fn is_alone(&self) -> bool {
        let others = self
            .seen
            .arms
            .iter()
            .filter(|arm| arm.release != self.release);
        let mut instances = others.flat_map(|arm| arm.instances.iter());
        instances.all(|one| !matches!(one.state, InstanceState::Ready | InstanceState::Starting))
    }
}

/// A template without what only a service's has.
fn fingerprint_of(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(template) = template.as_object_mut() {
        template.remove("Runtime");
    }
    fingerprint(&template)
}

impl SwarmDeployer {
    /// Looks, and gives back what an update of ours borrowed once it is over: also one that this
    /// process did not send.
    pub(super) async fn look_and_give_back(&self, of: &ServiceId) -> Result<Look, ChangeError> {
        let look = self.look(of).await?;
        if !look.is_over() {
            return Ok(look);
        }
        let Some(spec) = given_back(&look.service, look.began) else {
            return Ok(look);
        };
        match self.send(&look.service, &spec, None).await {
            Ok(()) => self.look(of).await,
            // The next look tries again.
            Err(error) => {
                tracing::debug!(service = %of, %error, "the update settings were not given back");
                Ok(look)
            }
        }
    }

    pub(super) async fn look(&self, of: &ServiceId) -> Result<Look, ChangeError> {
        let service = self.service(of).await?;
        let here = self.here(&service.id).await?;
        let filters = json!({"service": [service.id]}).to_string();
        let found = self.engine.get("/tasks", &[("filters", &filters)]).await;
        let mut seen = tasks(&found.map_err(crate::EngineError::of_look)?);
        let soon = self.remembered(of, |memory| memory.on_its_way(&seen));
        self.look_again(of, soon);
        added(&mut seen, &here);
        self.inspect(of, &service, &seen).await?;
        self.name_templates(of, &service, &seen).await?;
        let node_addresses = self.node_addresses(&seen).await;

        let (definition, previous, tasks) = self.remembered(of, |memory| {
            let defined = |template: &Value, own: Option<&str>| {
                let content = content(memory, template, own);
                SwarmDefinition::new(template.clone(), content)
            };
            // What its newest task runs is what the service runs, whatever the name stands for.
            let wanted = fingerprint_of(service.template());
            let newest = seen
                .iter()
                .filter(|task| fingerprint_of(&task.spec) == wanted)
                .find_map(|task| memory.containers.get(&task.id)?.content.clone());
            let definition = defined(service.template(), newest.as_deref());
            let previous = service.previous.as_ref().map(|old| defined(old, None).id());
            let tasks: Vec<_> = seen
                .into_iter()
                .map(|task| {
                    let inspected = memory.containers.get(&task.id);
                    let own = inspected.and_then(|inspected| inspected.content.as_deref());
                    let address = address(&service, &task, inspected, &node_addresses);
                    (defined(&task.spec, own), task, address)
                })
                .collect();
            (definition, previous, tasks)
        });
        let release = definition.id()?;
        let mut placed = Vec::new();
        let mut definitions = BTreeMap::from([(release.clone(), definition.clone())]);
        for (definition, task, address) in tasks {
            let release = definition.id()?;
            definitions.entry(release.clone()).or_insert(definition);
            placed.push(Placed {
                task,
                release,
                address,
            });
        }
        self.keep(of, &definitions).await;
        let previous = previous.and_then(Result::ok);
        let (began, seen) = self.remembered(of, |memory| {
            memory.wants(&release);
            observed(memory, &service, &release, previous, &placed, self.patience)
        });
        Ok(Look {
            service,
            release,
            definition,
            tasks: placed,
            began,
            seen,
        })
    }

    async fn service(&self, of: &ServiceId) -> Result<ServiceSeen, ChangeError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !of.as_str().chars().all(fits) {
            return Err(ChangeError::refused(format_args!(
                "`{of}` is not the name of a Swarm service"
            )));
        }
        let path = format!("/services/{of}");
        let found = self.engine.get(&path, &[]).await.map_err(|error| {
            if error.is_not_found() {
                ChangeError::refused(format_args!(
                    "there is no service `{of}` on this swarm; create it first"
                ))
            } else {
                error.of_look()
            }
        })?;
        let service = ServiceSeen::of(&found).ok_or_else(|| {
            ChangeError::not_sent(format_args!("{path}: the answer describes no service"))
        })?;
        // Swarm also takes the beginning of an id.
        if service.name() != of.as_str() && service.id != of.as_str() {
            return Err(ChangeError::refused(format_args!(
                "there is no service `{of}` on this swarm, only `{}`",
                service.name()
            )));
        }
        if service.is_job() {
            return Err(ChangeError::refused(format_args!(
                "`{of}` is a job, which ends; only services that stay are guarded"
            )));
        }
        Ok(service)
    }

    /// Finds out what the names of images stand for that were not seen before.
    async fn name_templates(
        &self,
        of: &ServiceId,
        service: &ServiceSeen,
        tasks: &[TaskSeen],
    ) -> Result<(), ChangeError> {
        let templates = [Some(service.template()), service.previous.as_ref()];
        let templates: BTreeMap<String, &Value> = templates
            .into_iter()
            .flatten()
            .chain(tasks.iter().map(|task| &task.spec))
            .map(|template| (fingerprint_of(template), template))
            .collect();
        for (fingerprint, template) in &templates {
            let name = image_of(template);
            let known = self.remembered(of, |memory| {
                if memory.templates.contains_key(fingerprint) {
                    return true;
                }
                let mut same = tasks
                    .iter()
                    .filter(|task| fingerprint_of(&task.spec) == *fingerprint);
                let runs = same.find_map(|task| memory.containers.get(&task.id)?.content.clone());
                let content = content_in_name(name).map(str::to_owned).or(runs);
                match content {
                    Some(content) => {
                        memory.templates.insert(fingerprint.clone(), content);
                        true
                    }
                    None => false,
                }
            });
            if known {
                continue;
            }
            let content = self.content_now(name).await?.unwrap_or_default();
            self.remembered(of, |memory| {
                memory.templates.insert(fingerprint.clone(), content);
            });
        }
        let ids: BTreeSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
        let templates: BTreeSet<&str> = templates.keys().map(String::as_str).collect();
        self.remembered(of, |memory| memory.prune(&ids, &templates));
        Ok(())
    }

    /// What an image's name stands for on this engine now.
    pub(super) async fn content_now(&self, name: &str) -> Result<Option<String>, ChangeError> {
        match self.engine.image(name).await {
            Ok(image) => Ok(Some(content_of(&image, name))),
            // No image, or a name that no image can have. Another error says nothing about it.
            Err(error) if matches!(error.status(), Some(400 | 404)) => Ok(None),
            Err(error) => Err(error.of_look()),
        }
    }

    /// Keeps the definition of everything that is seen: Swarm itself remembers one step.
    async fn keep(&self, of: &ServiceId, definitions: &BTreeMap<ReleaseId, SwarmDefinition>) {
        for (id, definition) in definitions {
            if self.remembered(of, |memory| memory.kept.contains(id)) {
                continue;
            }
            let Ok(release) = definition.release() else {
                continue;
            };
            match self.store.put(of, &release).await {
                Ok(()) => self.remembered(of, |memory| {
                    memory.kept.insert(id.clone());
                }),
                // The pre-flight of the next deployment finds it missing; the next look tries again.
                Err(error) => {
                    tracing::warn!(service = %of, release = %id, %error, "a definition was not kept");
                }
            }
        }
    }
}

/// What the image of a template is, as far as is known.
fn content(memory: &Memory, template: &Value, own: Option<&str>) -> String {
    let of_template = memory.templates.get(&fingerprint_of(template));
    match (of_template.map(String::as_str), own) {
        // Nobody knew when it was first seen, and it must not become another release since.
        (Some(""), _) => String::new(),
        (_, Some(own)) => own.to_owned(),
        (Some(known), None) => known.to_owned(),
        (None, None) => content_in_name(image_of(template))
            .unwrap_or_default()
            .to_owned(),
    }
}

fn observed(
    memory: &mut Memory,
    service: &ServiceSeen,
    release: &ReleaseId,
    previous: Option<ReleaseId>,
    tasks: &[Placed],
    patience: std::time::Duration,
) -> (Timestamp, Observation) {
    // Our labels count only for the release that they were written for.
    let ours = service.label(RELEASE_LABEL) == Some(release.as_str());
    let labelled = service.label(BEGAN_LABEL).filter(|_| ours);
    let labelled = labelled.and_then(|millis| Some(Timestamp::from_millis(millis.parse().ok()?)));
    let told = service.update.as_ref().and_then(|update| update.started);
    let began = memory.began(release, told, labelled, service.created);
    let of_release = || tasks.iter().filter(|placed| placed.release == *release);
    let ended: Vec<&str> = of_release()
        .filter(|placed| placed.task.has_ended() && placed.task.created >= began)
        .map(|placed| placed.task.id.as_str())
        .collect();
    let waiting = of_release()
        .map(|placed| &placed.task)
        .filter(|task| task.state == "pending" && !task.is_leaving() && task.error.is_some());
    let picture = Picture {
        service,
        wanted: release,
        tasks,
        began,
        stuck: memory.stuck(waiting, patience),
        forgotten: memory.forgotten(&ended),
    };
    let mut seen = Observation::new(Wanted::only(release.clone()), arms(&picture));
    let etag = format!("{}-{}", service.version, fingerprint(&service.spec));
    seen.etag = Etag::new(etag).ok();
    seen.last_change = service
        .label(CHANGE_LABEL)
        .filter(|_| ours)
        .and_then(|tag| ChangeId::try_from(tag.to_owned()).ok());
    seen.platform_rollback =
        platform::rollback(service, release, previous, tasks, memory.wanted_before());
    (began, seen)
}

/// A deployer's memory of one service.
impl SwarmDeployer {
    pub(super) fn remembered<T>(&self, of: &ServiceId, f: impl FnOnce(&mut Memory) -> T) -> T {
        let mut all = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        f(all.entry(of.clone()).or_default())
    }

    /// The store, shared.
    pub(super) fn releases(&self) -> &Arc<dyn rollback_core::ports::ReleaseStore> {
        &self.store
    }
}
