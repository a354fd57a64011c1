//! A sketch of a Swarm adapter against a small fake of the Engine API: proof that the traits fit a
//! platform with a version index, one step of memory (`PreviousSpec`) and `UpdateStatus`.
//!
//! What it showed: after an automatic rollback Swarm clears `PreviousSpec`, so that the release it
//! left is only found in the task history; and a spec changed by hand keeps our label, so that the
//! label counts only together with the image it was written for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, ArmObservation, ArmState, Change, ChangeError, ChangeId, ChangeRequest,
        Definition, Etag, Instance, InstanceId, InstanceState, Observation, Pace, Placement,
        PlatformRollback, PlatformRollbackState, Release, ReleaseId, ServiceId, Timestamp, Wanted,
        Weight,
    },
    ports::{Capabilities, Deployer},
};
use rollback_testkit::{
    ManualClock,
    conformance::{self, DeployerHarness, Ground, ReleaseKind},
};

// The part of the Engine API that the adapter calls.

#[derive(Debug, Clone, PartialEq)]
struct Spec {
    image: String,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
struct Inspected {
    version: u64,
    spec: Spec,
    /// `updating`, `paused`, `completed`, `rollback_started`, `rollback_paused`,
    /// `rollback_completed`.
    update_status: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct SwarmTask {
    id: String,
    spec: Spec,
    created: Timestamp,
    state: &'static str,
}

#[derive(Debug)]
enum ApiError {
    NotFound,
    OutOfSequence,
    NoSuchImage,
    Refused,
    Timeout,
}

#[async_trait]
trait SwarmApi: std::fmt::Debug + Send + Sync + 'static {
    async fn inspect_service(&self, name: &str) -> Result<Inspected, ApiError>;
    async fn list_tasks(&self, name: &str) -> Result<Vec<SwarmTask>, ApiError>;
    async fn update_service(&self, name: &str, version: u64, spec: Spec) -> Result<(), ApiError>;
    async fn inspect_distribution(&self, image: &str) -> Result<(), ApiError>;
}

// The adapter.

const RELEASE: &str = "rollback.release";
const IMAGE: &str = "rollback.image";
const CHANGE: &str = "rollback.change";

#[derive(Debug)]
struct SwarmDeployer<A> {
    api: Arc<A>,
}

impl<A: SwarmApi> SwarmDeployer<A> {
    /// The label counts only for the image that it was written for.
    fn release_of(spec: &Spec) -> Option<ReleaseId> {
        let label = spec.labels.get(RELEASE);
        match label {
            Some(release) if spec.labels.get(IMAGE) == Some(&spec.image) => {
                ReleaseId::new(release).ok()
            }
            _ => ReleaseId::new(format!("foreign:{}", spec.image)).ok(),
        }
    }

    fn instance(task: &SwarmTask) -> Option<Instance> {
        let state = match task.state {
            "running" => InstanceState::Ready,
            "failed" | "rejected" | "complete" => InstanceState::Exited {
                how: Arc::from(task.state),
            },
            "shutdown" | "remove" | "orphaned" => return None,
            _ => InstanceState::Starting,
        };
        let id = InstanceId::new(&task.id).ok()?;
        Some(Instance::new(id, task.created, state))
    }

    fn looking(error: ApiError) -> ChangeError {
        match error {
            ApiError::NotFound => ChangeError::refused("no such service; create it first"),
            ApiError::Timeout => ChangeError::not_sent("the look timed out"),
            other => ChangeError::refused(format_args!("{other:?}")),
        }
    }
}

#[async_trait]
impl<A: SwarmApi> Deployer for SwarmDeployer<A> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Duration::ZERO)
            .with_compare_and_set()
            .with_tags()
            .driving_its_rollout()
            .rolling_back_itself()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        let inspected = self.api.inspect_service(service.as_str()).await;
        let inspected = inspected.map_err(Self::looking)?;
        let tasks = self.api.list_tasks(service.as_str()).await;
        let tasks = tasks.map_err(Self::looking)?;
        let release = Self::release_of(&inspected.spec)
            .ok_or_else(|| ChangeError::refused("the image's name is not an id"))?;

        let mut arms: BTreeMap<ReleaseId, Vec<Instance>> = BTreeMap::new();
        arms.entry(release.clone()).or_default();
        for task in &tasks {
            if let (Some(of), Some(instance)) = (Self::release_of(&task.spec), Self::instance(task))
            {
                arms.entry(of).or_default().push(instance);
            }
        }
        // Swarm has no weights: the wanted release carries the traffic once one of it runs.
        let ready = |instances: &[Instance]| {
            !instances.is_empty() && instances.iter().all(|i| i.state == InstanceState::Ready)
        };
        let wanted_serves = arms.get(&release).is_some_and(|i| ready(i));
        let arms: Vec<_> = arms
            .into_iter()
            .map(|(of, instances)| {
                let serves = (of == release) == wanted_serves;
                let state = match inspected.update_status {
                    _ if ready(&instances) => ArmState::Ready,
                    Some("paused" | "rollback_paused") if of == release => ArmState::Failing {
                        why: Arc::from("the update is paused"),
                    },
                    None
                    | Some("updating" | "completed" | "rollback_started")
                    | Some("rollback_completed" | "paused" | "rollback_paused") => {
                        ArmState::Converging
                    }
                    Some(word) => ArmState::Unknown {
                        word: Arc::from(word),
                    },
                };
                let weight = if serves { Weight::ALL } else { Weight::NONE };
                ArmObservation::new(of, state, weight, instances)
            })
            .collect();

        let mut seen = Observation::new(Wanted::only(release.clone()), arms);
        seen.etag = Etag::new(inspected.version.to_string()).ok();
        seen.last_change = inspected
            .spec
            .labels
            .get(CHANGE)
            .and_then(|tag| ChangeId::try_from(tag.clone()).ok());
        let state = match inspected.update_status {
            Some("rollback_started") => Some(PlatformRollbackState::Started),
            Some("rollback_completed") => Some(PlatformRollbackState::Completed),
            Some("rollback_paused") => Some(PlatformRollbackState::Paused),
            _ => None,
        };
        if let Some(state) = state {
            // `PreviousSpec` is gone by now: the newest task of another release tells.
            let left = tasks
                .iter()
                .filter_map(|task| Some((task.created, Self::release_of(&task.spec)?)))
                .filter(|(_, of)| *of != release)
                .max();
            seen.platform_rollback =
                left.map(|(_, from)| PlatformRollback::new(from, release, state, "update_status"));
        }
        Ok(seen)
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let seen = self.observe(service).await?;
        if seen.last_change.as_ref() == Some(&request.id) {
            return Ok(Accepted::at(seen.etag));
        }
        let etag_moved = request.expect.etag.is_some() && request.expect.etag != seen.etag;
        if seen.wanted != request.expect.wanted || etag_moved {
            return Err(ChangeError::Conflict {
                now: Some(Box::new(seen)),
            });
        }
        let release = match &request.change {
            Change::Converge {
                release,
                placement: Placement::InPlace(Pace::AtOnce),
            } => release,
            Change::Retire { release } if seen.wanted.runs(release) => {
                return Err(ChangeError::refused("it serves"));
            }
            Change::Retire { .. } => return Ok(Accepted::at(seen.etag)),
            _ => {
                return Err(ChangeError::unsupported(
                    "one Swarm service has one arm; give it a traffic shifter",
                ));
            }
        };
        let definition = request
            .definition
            .as_ref()
            .and_then(|definition| definition.value().get("image")?.as_str())
            .ok_or_else(|| ChangeError::refused("the definition names no `image`"))?;
        let labels = [
            (RELEASE, release.to_string()),
            (IMAGE, definition.to_owned()),
            (CHANGE, request.id.to_string()),
        ];
        let spec = Spec {
            image: definition.to_owned(),
            labels: labels.map(|(k, v)| (k.to_owned(), v)).into(),
        };
        let version = seen
            .etag
            .as_ref()
            .and_then(|etag| etag.as_str().parse().ok())
            .ok_or_else(|| ChangeError::not_sent("no version index was seen"))?;
        let sent = self.api.update_service(service.as_str(), version, spec);
        match sent.await {
            Ok(()) => Ok(Accepted::default()),
            Err(ApiError::OutOfSequence) => Err(ChangeError::Conflict { now: None }),
            Err(ApiError::Timeout) => Err(ChangeError::maybe_sent("no answer to the update")),
            Err(error) => Err(ChangeError::refused(format_args!("{error:?}"))),
        }
    }

    async fn check(&self, _: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        let image = release.definition.value().get("image");
        let image = image.and_then(|image| image.as_str()).unwrap_or_default();
        match self.api.inspect_distribution(image).await {
            Ok(()) => Ok(()),
            Err(ApiError::Timeout) => Err(ChangeError::not_sent("the registry timed out")),
            Err(error) => Err(ChangeError::refused(format_args!("{image}: {error:?}"))),
        }
    }
}

// A fake Swarm: tasks of `good` images run after a second, `stuck` ones never, `exit` ones fail.

#[derive(Debug, Clone, Default)]
struct FakeSwarm {
    clock: ManualClock,
    loses_answers: Arc<AtomicBool>,
    services: Arc<Mutex<BTreeMap<String, FakeService>>>,
}

#[derive(Debug, Clone)]
struct FakeService {
    version: u64,
    spec: Spec,
    previous: Option<Spec>,
    update_status: Option<&'static str>,
    updated: Timestamp,
    tasks: Vec<SwarmTask>,
}

impl FakeSwarm {
    fn with<T>(&self, name: &str, f: impl FnOnce(&mut FakeService) -> T) -> Result<T, ApiError> {
        let mut services = self.services.lock().unwrap();
        let service = services.get_mut(name).ok_or(ApiError::NotFound)?;
        service.advance(self.clock.now());
        Ok(f(service))
    }
}

impl FakeService {
    fn start(&mut self, now: Timestamp) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.updated = now;
        self.tasks.push(SwarmTask {
            id: format!("task-{id}"),
            spec: self.spec.clone(),
            created: now,
            state: "preparing",
        });
    }

    fn advance(&mut self, now: Timestamp) {
        for task in &mut self.tasks {
            if task.state == "preparing" && now.since(task.created) >= Duration::from_secs(1) {
                task.state = match task.spec.image.split('-').next() {
                    Some("good") => "running",
                    Some("exit") => "failed",
                    _ => "preparing",
                };
            }
        }
        if self
            .tasks
            .last()
            .is_some_and(|task| task.state == "running")
        {
            let last = self.tasks.len() - 1;
            for task in &mut self.tasks[..last] {
                task.state = "shutdown";
            }
            self.update_status = match self.update_status {
                Some("updating") => Some("completed"),
                Some("rollback_started") => Some("rollback_completed"),
                other => other,
            };
        }
        let failing = now.since(self.updated) >= Duration::from_secs(10);
        if !failing || self.update_status != Some("updating") {
            return;
        }
        if let Some(previous) = self.previous.take() {
            self.spec = previous;
            self.version += 1;
            self.update_status = Some("rollback_started");
            self.tasks.last_mut().unwrap().state = "shutdown";
            self.start(now);
        }
    }
}

#[async_trait]
impl SwarmApi for FakeSwarm {
    async fn inspect_service(&self, name: &str) -> Result<Inspected, ApiError> {
        self.with(name, |service| Inspected {
            version: service.version,
            spec: service.spec.clone(),
            update_status: service.update_status,
        })
    }
    async fn list_tasks(&self, name: &str) -> Result<Vec<SwarmTask>, ApiError> {
        self.with(name, |service| service.tasks.clone())
    }
    async fn update_service(&self, name: &str, version: u64, spec: Spec) -> Result<(), ApiError> {
        let now = self.clock.now();
        self.with(name, |service| {
            if version != service.version {
                return Err(ApiError::OutOfSequence);
            }
            if spec.image.is_empty() {
                return Err(ApiError::Refused);
            }
            service.previous = Some(std::mem::replace(&mut service.spec, spec));
            service.version += 1;
            service.update_status = Some("updating");
            service.start(now);
            match self.loses_answers.load(Ordering::Relaxed) {
                true => Err(ApiError::Timeout),
                false => Ok(()),
            }
        })?
    }
    async fn inspect_distribution(&self, image: &str) -> Result<(), ApiError> {
        match image.starts_with("missing") {
            true => Err(ApiError::NoSuchImage),
            false => Ok(()),
        }
    }
}

fn release(kind: &str) -> Release {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let image = format!("{kind}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Release::new(
        ReleaseId::new(format!("digest-of-{image}")).unwrap(),
        &image,
        Definition::new(serde_json::json!({ "image": image })),
    )
}

#[async_trait]
impl DeployerHarness for FakeSwarm {
    fn deployer(&self) -> Arc<dyn Deployer> {
        Arc::new(SwarmDeployer {
            api: Arc::new(self.clone()),
        })
    }
    async fn begin(&self, name: &str) -> Ground {
        let stable = release("good");
        let labels = [(RELEASE, stable.id.as_str()), (IMAGE, &*stable.name)];
        let mut service = FakeService {
            version: 10,
            spec: Spec {
                image: stable.name.to_string(),
                labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            },
            previous: None,
            update_status: None,
            updated: self.clock.now(),
            tasks: Vec::new(),
        };
        service.start(self.clock.now());
        self.services
            .lock()
            .unwrap()
            .insert(name.to_owned(), service);
        self.clock.advance(Duration::from_secs(2));
        Ground {
            service: ServiceId::new(name).unwrap(),
            stable,
        }
    }
    async fn release(&self, _: &Ground, kind: ReleaseKind) -> Release {
        release(match kind {
            ReleaseKind::Good => "good",
            ReleaseKind::Exits => "exit",
            ReleaseKind::Missing => "missing",
            _ => "stuck",
        })
    }
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

#[tokio::test]
async fn a_swarm_adapter_fits_the_traits_and_keeps_their_promises() {
    let report = conformance::deployer(&FakeSwarm::default()).await;
    report.assert_passed();
    assert!(report.passed() >= 12, "{report}");
}

#[tokio::test]
async fn an_image_changed_by_hand_is_not_taken_for_our_release() {
    let swarm = FakeSwarm::default();
    let ground = swarm.begin("checkout").await;
    swarm
        .with("checkout", |service| {
            service.spec.image = "good-by-hand".to_owned();
            service.version += 1;
        })
        .unwrap();
    let seen = swarm.deployer().observe(&ground.service).await.unwrap();
    assert!(!seen.wanted.runs(&ground.stable.id), "{}", seen.wanted);
    assert_eq!(seen.wanted.to_string(), "foreign:good-by-hand at 100 %");
}

#[tokio::test]
async fn an_update_whose_answer_was_lost_is_found_by_its_tag() {
    let swarm = FakeSwarm::default();
    let ground = swarm.begin("checkout").await;
    let release = DeployerHarness::release(&swarm, &ground, ReleaseKind::Good).await;
    let deployer = swarm.deployer();
    let seen = deployer.observe(&ground.service).await.unwrap();
    let request = ChangeRequest::new(
        ChangeId::try_from("d1.s1.a1".to_owned()).unwrap(),
        Change::Converge {
            release: release.id.clone(),
            placement: Placement::InPlace(Pace::AtOnce),
        },
        rollback_core::model::Expectation {
            wanted: seen.wanted,
            etag: seen.etag,
        },
        swarm.clock.now(),
    )
    .with_definition(Some(release.definition.clone()));
    swarm.loses_answers.store(true, Ordering::Relaxed);
    let lost = deployer.apply(&ground.service, &request).await;
    assert!(
        matches!(lost, Err(ChangeError::MaybeSent { .. })),
        "{lost:?}"
    );
    let seen = deployer.observe(&ground.service).await.unwrap();
    assert_eq!(seen.last_change.as_ref(), Some(&request.id));
    let again = deployer.apply(&ground.service, &request).await;
    assert!(again.is_ok(), "{again:?}");
}
