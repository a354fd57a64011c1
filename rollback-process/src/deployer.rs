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
        Accepted, ChangeError, ChangeRequest, Observation, Release, ReleaseId, Secret, ServiceId,
        Wanted,
    },
    ports::{Capabilities, Deployer},
};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    change::{apply, startable},
    definition::ProcessDefinition,
    files::StateError,
    instance::Shared,
    log::Log,
    observation::{etag, observe},
    ports::PortBook,
    state::{ServiceDir, WantedState},
    supervisor,
};

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
            .with_rolling()
            .with_stop_first()
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

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, ChangeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ChangeError::maybe_sent(format!(
            "the work was cut off: {error}"
        ))),
    }
}

impl fmt::Debug for ProcessDeployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessDeployer")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}
