//! The supervised processes as a [`Deployer`].

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, ArmObservation, ArmState, Change, ChangeError, ChangeRequest, Etag, Instance,
        InstanceId, InstanceState, Observation, Placement, Release, ReleaseId, Secret, ServiceId,
        Wanted, Weight,
    },
    ports::{Capabilities, Deployer},
};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    definition::ProcessDefinition,
    instance::{Shared, can_start, fixed_port, now},
    log::Log,
    ports::{PortBook, PortError, is_free},
    state::{InstanceRecord, Phase, ServiceDir, StateError, WantedState},
    supervisor,
};

/// Crashes or failed starts in a row after which a release is said not to get there.
const CRASH_LOOP: u32 = 2;

/// This machine as a platform: each release is a number of supervised processes.
///
/// What should run and what was started is kept in a state directory, so processes outlive the
/// controller and the next controller takes them over. Several controllers may open the same
/// directory: all see the same, changes are compare-and-set, and one of them supervises.
///
/// Traffic is not its business: join it with a traffic shifter for weights.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rollback_core::{model::ServiceId, ports::Deployer as _};
/// use rollback_process::{ProcessDefinition, ProcessDeployer};
///
/// # let dir = tempfile::tempdir()?;
/// # let state = dir.path();
/// let deployer = ProcessDeployer::open(state)?;
/// let v1 = ProcessDefinition::new("sleep").arg("600").release("v1")?;
/// let shop = ServiceId::new("shop")?;
/// deployer.check(&shop, &v1).await?;
/// assert!(deployer.observe(&shop).await?.wanted.is_empty());
/// # Ok(())
/// # }
/// ```
pub struct ProcessDeployer {
    root: PathBuf,
    secrets: Arc<BTreeMap<String, Secret<String>>>,
    ports: Arc<PortBook>,
    services: Mutex<BTreeMap<ServiceId, Arc<Service>>>,
}

/// A service that this deployer has been asked about.
struct Service {
    shared: Arc<Shared>,
    /// Supervises, or waits for the right to; dropping it leaves the processes running.
    supervisor: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl ProcessDeployer {
    /// Opens the state directory, making it if it is not there. A service's processes are taken
    /// over when the service is first named.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StateError> {
        let root = std::path::absolute(root.as_ref()).map_err(|source| StateError::Io {
            action: "find",
            path: root.as_ref().to_owned(),
            source,
        })?;
        fs::create_dir_all(&root).map_err(|source| StateError::Io {
            action: "create the folder",
            path: root.clone(),
            source,
        })?;
        Ok(Self {
            root,
            secrets: Arc::default(),
            ports: Arc::default(),
            services: Mutex::default(),
        })
    }

    /// Gives the value of a secret that definitions name.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, value: Secret<String>) -> Self {
        Arc::make_mut(&mut self.secrets).insert(name.into(), value);
        self
    }

    /// Stops every process of a service and returns when none is left. Nothing is wanted
    /// afterwards; logs and definitions stay.
    ///
    /// # Errors
    /// As for a change.
    pub async fn stop_service(&self, service: &ServiceId) -> Result<(), ChangeError> {
        let shared = self.shared(service)?;
        let dir = shared.dir.clone();
        blocking(move || {
            let nothing = |state: WantedState| {
                Ok::<_, ChangeError>(WantedState {
                    wanted: Wanted::nothing(),
                    replaced_by: BTreeMap::new(),
                    ..state
                })
            };
            dir.change_wanted(nothing).map(drop)
        })
        .await?;
        shared.nudge.notify_one();
        loop {
            let (records, damaged) = shared.dir.instances()?;
            if records.is_empty() && damaged.is_empty() {
                return Ok(());
            }
            let _ = tokio::time::timeout(Duration::from_millis(50), shared.news.notified()).await;
        }
    }

    /// The shared state of a service, its supervisor started at the first call.
    fn shared(&self, service: &ServiceId) -> Result<Arc<Shared>, ChangeError> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = services.get(service) {
            return Ok(Arc::clone(&known.shared));
        }
        let shared = Arc::new(Shared {
            dir: ServiceDir::open(&self.root, service)?,
            ports: Arc::clone(&self.ports),
            secrets: Arc::clone(&self.secrets),
            nudge: Notify::new(),
            news: Notify::new(),
        });
        let opened = Service {
            shared: Arc::clone(&shared),
            supervisor: tokio::spawn(supervisor::supervise(Arc::clone(&shared))),
        };
        services.insert(service.clone(), Arc::new(opened));
        Ok(shared)
    }
}

#[async_trait]
impl Deployer for ProcessDeployer {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Duration::ZERO)
            .with_compare_and_set()
            .with_tags()
            .with_two_arms()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        // A look makes nothing: a service that was never named has no folder.
        if !ServiceDir::exists(&self.root, service) {
            let mut nothing = Observation::new(Wanted::nothing(), []);
            nothing.etag = Some(etag(0)?);
            return Ok(nothing);
        }
        let shared = self.shared(service)?;
        blocking(move || observe(&shared.dir)).await
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let shared = self.shared(service)?;
        let request = request.clone();
        let accepted = {
            let shared = Arc::clone(&shared);
            blocking(move || apply(&shared, &request)).await?
        };
        shared.nudge.notify_one();
        Ok(accepted)
    }

    async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        let shared = self.shared(service)?;
        let release = release.clone();
        blocking(move || {
            let definition =
                ProcessDefinition::from_release(&release).map_err(ChangeError::refused)?;
            startable(&shared, &definition)
        })
        .await
    }

    async fn last_words(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        lines: usize,
    ) -> Vec<String> {
        let Ok(shared) = self.shared(service) else {
            return Vec::new();
        };
        let release = release.clone();
        let words = blocking(move || Ok(last_words(&shared, &release, lines))).await;
        words.unwrap_or_default()
    }

    async fn changed(&self, service: &ServiceId) {
        match self.shared(service) {
            Ok(shared) => shared.news.notified().await,
            Err(_) => std::future::pending().await,
        }
    }
}

/// One look at the state directory and at the processes that it names.
fn observe(dir: &ServiceDir) -> Result<Observation, ChangeError> {
    let state = dir.wanted()?;
    let (records, _) = dir.instances()?;
    let mut releases: Vec<&ReleaseId> = state.wanted.iter().map(|(release, _)| release).collect();
    releases.extend(records.iter().map(|record| &record.release));
    releases.sort();
    releases.dedup();

    let mut arms = Vec::new();
    for release in releases {
        let records = records.iter().filter(|record| record.release == *release);
        let records: Vec<&InstanceRecord> = records.collect();
        let instances: Result<Vec<Instance>, ChangeError> =
            records.iter().map(|record| instance(record)).collect();
        let instances = instances?;
        let arm = if state.wanted.runs(release) {
            let size = supervisor::definition(dir, release)?.map(|one| one.instances.into());
            arm_state(size, &records, &instances)
        } else {
            ArmState::Converging
        };
        arms.push((release, arm, instances));
    }
    let serves = |release: &ReleaseId| {
        let arm = arms.iter().find(|(one, ..)| *one == release);
        arm.is_some_and(|(.., instances)| instances.iter().any(is_ready))
    };
    // The weights of what is wanted, as far as somebody is there to serve them.
    let weight = |release: &ReleaseId| match state.replaced_by.get(release) {
        _ if !serves(release) => Weight::NONE,
        Some(new) if !state.wanted.runs(release) && !serves(new) => state.wanted.weight(new),
        _ => state.wanted.weight(release),
    };
    let arms: Vec<ArmObservation> = arms
        .iter()
        .map(|(release, arm, instances)| {
            let weight = weight(release);
            ArmObservation::new((*release).clone(), arm.clone(), weight, instances.clone())
        })
        .collect();
    let mut seen = Observation::new(state.wanted, arms);
    seen.etag = Some(etag(state.revision)?);
    seen.last_change = state.last_change;
    Ok(seen)
}

/// How far a wanted release is.
fn arm_state(size: Option<usize>, records: &[&InstanceRecord], instances: &[Instance]) -> ArmState {
    let Some(size) = size else {
        let why = "its definition is lost; deploy the release again";
        return ArmState::Failing { why: why.into() };
    };
    let failing = records.iter().find_map(|record| match &record.phase {
        Phase::CannotStart { why } => Some(format!("cannot be started: {why}")),
        _ if record.failures >= CRASH_LOOP => {
            let how = record.last_exit.as_deref().unwrap_or("ended");
            Some(format!(
                "crashed {} times in a row, the last time with {how}",
                record.failures
            ))
        }
        _ => None,
    });
    match failing {
        Some(why) => ArmState::Failing { why: why.into() },
        None if instances.iter().filter(|one| is_ready(one)).count() >= size => ArmState::Ready,
        None => ArmState::Converging,
    }
}

fn is_ready(instance: &Instance) -> bool {
    instance.state == InstanceState::Ready
}

/// An instance as it is now: what its supervisor wrote, unless its process has gone since.
fn instance(record: &InstanceRecord) -> Result<Instance, ChangeError> {
    let exited = |how: &str| InstanceState::Exited { how: how.into() };
    let state = match &record.phase {
        Phase::Stopping => InstanceState::Stopping,
        Phase::Crashed { how } => exited(how),
        Phase::CannotStart { why } => exited(&format!("cannot be started: {why}")),
        Phase::Starting if record.process.is_none() => InstanceState::Starting,
        _ if !record.is_running() => exited("ended a moment ago"),
        Phase::Starting => InstanceState::Starting,
        Phase::Ready => InstanceState::Ready,
        Phase::Unhealthy { .. } => InstanceState::Unhealthy,
    };
    let id = InstanceId::new(&record.id).map_err(ChangeError::refused)?;
    let instance = Instance::new(id, record.started_at, state).restarted(record.restarts);
    Ok(match record.port {
        Some(port) => instance.at(format!("127.0.0.1:{port}")),
        None => instance,
    })
}

/// Takes a change, if the service is still as it was when the change was decided.
fn apply(shared: &Shared, request: &ChangeRequest) -> Result<Accepted, ChangeError> {
    match &request.change {
        Change::Converge { release, .. } => admit(shared, release, request)?,
        Change::Retire { .. } => {}
        other => {
            let why = format!(
                "processes cannot {other}; join the deployer with a traffic shifter (`WithTraffic`)"
            );
            return Err(ChangeError::unsupported(why));
        }
    }
    let after = shared.dir.change_wanted(|state| {
        expected(&shared.dir, &state, request)?;
        let after = changed(state, request)?;
        if now() > request.not_after {
            return Err(ChangeError::not_sent("its time had passed"));
        }
        Ok(after)
    })?;
    Ok(Accepted::at(Some(etag(after.revision)?)))
}

/// Keeps the definition of a release that is about to run, if it can run.
fn admit(shared: &Shared, release: &ReleaseId, request: &ChangeRequest) -> Result<(), ChangeError> {
    let kept = shared.dir.release(release)?;
    let definition = match (&kept, &request.definition) {
        (Some(kept), Some(given)) if kept != given => {
            let why = format!(
                "the release {release} is known with another definition; a release never changes: \
                 give the new one another id"
            );
            return Err(ChangeError::refused(why));
        }
        (Some(one), _) | (None, Some(one)) => one.clone(),
        (None, None) => {
            let why = format!("nothing is known of the release {release}; send its definition");
            return Err(ChangeError::refused(why));
        }
    };
    let parsed = Release::new(release.clone(), "", definition.clone());
    let parsed = ProcessDefinition::from_release(&parsed).map_err(ChangeError::refused)?;
    // What already runs is not asked whether it could be started.
    if !shared.dir.wanted()?.wanted.runs(release) {
        startable(shared, &parsed)?;
    }
    if kept.is_none() {
        shared.dir.keep_release(release, &definition)?;
    }
    Ok(())
}

/// Whether an instance could be started now, its port included.
fn startable(shared: &Shared, definition: &ProcessDefinition) -> Result<(), ChangeError> {
    can_start(definition, &shared.secrets).map_err(ChangeError::refused)?;
    match fixed_port(definition) {
        Some(port) if !is_free(port) && !is_ours(shared, port)? => {
            Err(ChangeError::refused(PortError::InUse(port)))
        }
        _ => Ok(()),
    }
}

/// Whether an instance of this service, which may have to make room, was given the port.
fn is_ours(shared: &Shared, port: u16) -> Result<bool, StateError> {
    let (records, _) = shared.dir.instances()?;
    Ok(records.iter().any(|record| record.port == Some(port)))
}

/// The fence. Weights are not compared: dividing traffic is another system's.
fn expected(
    dir: &ServiceDir,
    state: &WantedState,
    request: &ChangeRequest,
) -> Result<(), ChangeError> {
    let releases = |wanted: &Wanted| -> Vec<ReleaseId> {
        wanted.iter().map(|(release, _)| release.clone()).collect()
    };
    let same_wanted = releases(&state.wanted) == releases(&request.expect.wanted);
    let now = etag(state.revision)?;
    let same_etag = request.expect.etag.as_ref().is_none_or(|etag| *etag == now);
    if same_wanted && same_etag {
        return Ok(());
    }
    Err(ChangeError::Conflict {
        now: observe(dir).ok().map(Box::new),
    })
}

/// What is wanted once the change is in.
fn changed(mut state: WantedState, request: &ChangeRequest) -> Result<WantedState, ChangeError> {
    let before = state.wanted.clone();
    state.wanted = request.change.applied_to(&before);
    match &request.change {
        Change::Converge { release, placement } => {
            state.replaced_by.remove(release);
            if *placement == Placement::InPlace {
                for (old, _) in before.iter().filter(|(old, _)| *old != release) {
                    state.replaced_by.insert(old.clone(), release.clone());
                }
                for new in state.replaced_by.values_mut() {
                    *new = release.clone();
                }
            }
        }
        Change::Retire { release } if before.runs(release) && state.wanted.is_empty() => {
            let why = format!("{release} is all that serves; start another release first");
            return Err(ChangeError::refused(why));
        }
        _ => {}
    }
    let wanted = &state.wanted;
    state.replaced_by.retain(|_, new| wanted.runs(new));
    state.last_change = Some(request.id.clone());
    Ok(state)
}

/// The last lines of a release, of several instances each line with the instance's name.
fn last_words(shared: &Shared, release: &ReleaseId, lines: usize) -> Vec<String> {
    let definition = supervisor::definition(&shared.dir, release).ok().flatten();
    let limits = definition
        .map(|definition| definition.log)
        .unwrap_or_default();
    let secrets: Vec<Secret<String>> = shared.secrets.values().cloned().collect();
    let logs = shared.dir.logs(Some(release));
    let each = lines / logs.len().max(1);
    let mut words = Vec::new();
    for path in &logs {
        let tail = Log::new(path.clone(), limits).tail(each.max(1), &secrets);
        if logs.len() == 1 {
            return tail;
        }
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let name = name.rsplit_once('~').map_or(name, |(_, id)| id);
        words.extend(tail.into_iter().map(|line| format!("{name}: {line}")));
    }
    // The log written to last stands at the end.
    words.split_off(words.len().saturating_sub(lines))
}

fn etag(revision: u64) -> Result<Etag, ChangeError> {
    Etag::new(revision.to_string()).map_err(ChangeError::refused)
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, ChangeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ChangeError::maybe_sent(format!(
            "the work was cut off: {error}"
        ))),
    }
}

impl From<StateError> for ChangeError {
    fn from(error: StateError) -> Self {
        match &error {
            // The new file stands already.
            StateError::Io {
                action: "flush", ..
            } => Self::maybe_sent(error),
            StateError::Io { .. } | StateError::Locked(_) => Self::not_sent(error),
            StateError::Damaged { .. } | StateError::Newer { .. } => Self::refused(error),
        }
    }
}

impl fmt::Debug for ProcessDeployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessDeployer")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}
