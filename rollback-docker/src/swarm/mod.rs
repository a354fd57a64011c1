//! Swarm services as a [`Deployer`].
//!
//! | contract | Swarm |
//! |---|---|
//! | service | a service of the swarm, by name or id; it must be there (jobs are refused) |
//! | release | its task template, the image by its content: [`SwarmDefinition`]. Not the number of replicas, the published ports, the update settings, the service's labels: they stay as they are in a rollout and in a rollback |
//! | etag | the service's `Version.Index` and a digest of its specification. Each update is sent for one index (`update out of sequence` is a conflict); Swarm's own notes move the index too, and are no conflict |
//! | tag of a change | the service label `io.rollback.change`; it counts only while the template is the release in `io.rollback.release`. Service labels start no task anew |
//! | arms | from each task's own template; an arm's share of the traffic is its share of the ready instances |
//! | instance | a task. Its address: a port of its node, else its first address in a network of the swarm or on its node, with the service's first target port, the label `io.rollback.port`, or the port that its image exposes |
//! | failing | Swarm paused the update; an instance waits for ever (no suitable node); nothing stays: twice in the same place. Only what this update started counts |
//! | converge in place | one update; see the table of paces in `pace` |
//! | stop first | every slot at once stops its instance before it starts the next; with several instances two releases can run beside each other for as long as the slowest takes to stop |
//! | prompt | containers of this node are looked at too: the end of one, or that its health check failed, is known before Swarm says so of its task |
//! | what an update borrows | parallelism, delay, order and failure action of the service's `UpdateConfig`; everything else of it, and the whole `RollbackConfig`, stay the user's. Given back by the first look, of whichever process, after Swarm completed the update; on the way back, after everything is replaced; else by our next update |
//! | converge beside, weights | unsupported: a service has one template |
//! | retire | nothing to do: Swarm stops what is not wanted |
//! | Swarm's own rollback | told with where it came from; no update is sent while it is under way |
//! | definitions | every template that is seen is kept in a [`ReleaseStore`]: Swarm's own memory has one step, and any update overwrites it. A name that has moved since is sent as the content that it stood for |

mod apply;
mod arms;
mod check;
mod failing;
mod here;
mod hints;
mod inspect;
mod look;
mod memory;
mod pace;
mod platform;
mod read;
mod release;
mod specification;
mod words;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    memory::MemoryReleaseStore,
    model::{Accepted, ChangeError, ChangeRequest, Observation, Release, ReleaseId, ServiceId},
    ports::{Capabilities, Deployer, ReleaseStore},
};

use crate::Engine;

pub use release::SwarmDefinition;

/// How long an instance may wait for a node before it counts as waiting for ever.
const PATIENCE: Duration = Duration::from_secs(15);

/// Swarm services as a platform. It needs a manager of the swarm.
///
/// ```no_run
/// use std::sync::Arc;
/// use rollback_core::{memory::MemoryReleaseStore, model::ServiceId, ports::Deployer};
/// use rollback_docker::{Engine, SwarmDeployer};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryReleaseStore::new()); // one that outlives the process, in earnest
/// let swarm = SwarmDeployer::new(Engine::from_env()?).keeping(store.clone());
/// let service = ServiceId::new("shop")?;
/// println!("{}", swarm.observe(&service).await?.wanted);
/// // The service as it is, with another image:
/// let next = swarm.release(&service, "registry.example/shop:2.1").await?;
/// # Ok(()) }
/// ```
pub struct SwarmDeployer {
    engine: Engine,
    store: Arc<dyn ReleaseStore>,
    patience: Duration,
    native_rollback: bool,
    memory: Mutex<BTreeMap<ServiceId, memory::Memory>>,
    hints: Mutex<BTreeMap<ServiceId, hints::Hints>>,
    /// Addresses of nodes.
    nodes: Mutex<BTreeMap<String, String>>,
}

impl SwarmDeployer {
    /// The services of the swarm that this engine manages. Definitions are kept as long as the
    /// process lives: see [`Self::keeping`].
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            store: Arc::new(MemoryReleaseStore::new()),
            patience: PATIENCE,
            native_rollback: false,
            memory: Mutex::default(),
            hints: Mutex::default(),
            nodes: Mutex::default(),
        }
    }

    /// The same, keeping definitions in `store`: the one that the controller has, so that a
    /// rollback finds what others deployed.
    #[must_use]
    pub fn keeping(mut self, store: Arc<dyn ReleaseStore>) -> Self {
        self.store = store;
        self
    }

    /// The same, believing that an instance for which there is no node waits for ever after
    /// `patience` instead of 15 seconds. Time to stop what holds a port should fit into it.
    #[must_use]
    pub const fn stuck_after(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The same, leaving the services' own failure action in place in rollouts: where it is
    /// `rollback`, Swarm rolls back by itself when an instance fails within its monitor, also if
    /// no controller lives. Otherwise a rollout pauses, and the controller decides.
    #[must_use]
    pub const fn with_native_rollback(mut self) -> Self {
        self.native_rollback = true;
        self
    }

    /// What the service wants now, as a release.
    ///
    /// # Errors
    /// The service cannot be seen.
    pub async fn running(&self, service: &ServiceId) -> Result<Release, ChangeError> {
        self.look(service).await?.definition.release()
    }

    /// The service as it is with another image, as a release. The image is named by its content
    /// from now on: by what it is on this engine, else by its digest in its registry.
    ///
    /// # Errors
    /// The service cannot be seen; or refused: the image is neither here nor in its registry.
    pub async fn release(&self, service: &ServiceId, image: &str) -> Result<Release, ChangeError> {
        let running = self.look(service).await?.definition;
        let (image, content) = self.resolve(image).await?;
        running.with_image(&image, content).release()
    }

    /// The service as it is with something else changed in its task template, as a release: a
    /// variable, a limit, a secret. The template is the engine's own form, with its defaults filled
    /// in; what is put into it should be in the same form.
    ///
    /// # Errors
    /// As [`Self::release`].
    pub async fn release_with(
        &self,
        service: &ServiceId,
        edit: impl FnOnce(&mut serde_json::Value) + Send,
    ) -> Result<Release, ChangeError> {
        let running = self.look(service).await?.definition;
        let mut template = running.template().clone();
        edit(&mut template);
        let definition = SwarmDefinition::new(template, running.content());
        if definition.image() == running.image() {
            return definition.release();
        }
        let (image, content) = self.resolve(definition.image()).await?;
        definition.with_image(&image, content).release()
    }
}

impl fmt::Debug for SwarmDeployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SwarmDeployer({})", self.engine)
    }
}

#[async_trait]
impl Deployer for SwarmDeployer {
    fn capabilities(&self) -> Capabilities {
        // Shown as soon as it is taken. A request that is still on its way when it is given up is
        // sent for one version: of it and a new attempt at most one is taken, so nobody waits.
        let can = Capabilities::least(Duration::ZERO)
            .with_compare_and_set()
            .with_tags()
            .with_rolling()
            .with_stop_first()
            .driving_its_rollout();
        if self.native_rollback {
            can.rolling_back_itself()
        } else {
            can
        }
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        Ok(self.look_and_give_back(service).await?.seen)
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        self.change(service, request).await
    }

    async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        self.is_there(service, release).await
    }

    async fn last_words(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        lines: usize,
    ) -> Vec<String> {
        self.words(service, release, lines).await
    }

    /// Waits for an event of the service, or of its containers on this node; while an instance is on
    /// its way, not for long.
    async fn changed(&self, service: &ServiceId) {
        self.listen(service).await;
    }
}
