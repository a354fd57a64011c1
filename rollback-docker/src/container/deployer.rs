//! Containers on one engine as a [`Deployer`].

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, ChangeError, ChangeRequest, Definition, Observation, Release, ReleaseId, Secret,
        ServiceId,
    },
    ports::{Capabilities, Deployer},
};
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    adoption::Adopt,
    change::{apply, clear, not_looked, startable},
    definition::ContainerDefinition,
    look::{Shared, locked, look, now},
    observation::observation,
    prune::{Keep, Pruned, prune},
    supervisor,
};
use crate::{Engine, EngineError};

/// One Docker Engine as a platform: each release is a number of containers.
///
/// What should run is kept on the engine itself, so containers outlive the controller, every
/// controller sees the same, and the next one goes on where the last one was stopped. Several may
/// work on one service: changes are compare-and-set, and nothing is made twice.
///
/// Traffic is not its business: join it with a traffic shifter for weights.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use rollback_core::{model::ServiceId, ports::Deployer as _};
/// use rollback_docker::{Adopt, ContainerDefinition, ContainerDeployer, Engine};
///
/// let engine = Engine::from_env()?;
/// let web = ServiceId::new("web")?;
/// let deployer = ContainerDeployer::on(engine.clone()).adopt(&web, Adopt::compose("shop", "web"));
/// // What runs already, with another image: the next release.
/// let running = deployer.running(&web).await?;
/// let definition = ContainerDefinition::from_release(&running[0])?;
/// let image = engine.image_or_fetched("shop/web:43").await?;
/// let next = definition.with(&image, "shop/web:43").release("v43")?;
/// deployer.check(&web, &next).await?;
/// # Ok(())
/// # }
/// ```
pub struct ContainerDeployer {
    engine: Engine,
    key: Option<Secret<Vec<u8>>>,
    steady: Duration,
    adopt: BTreeMap<ServiceId, Adopt>,
    services: Mutex<BTreeMap<ServiceId, Service>>,
}

/// A service that this deployer has been asked about.
struct Service {
    shared: Arc<Shared>,
    /// Dropping them leaves the containers as they are.
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Service {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl ContainerDeployer {
    /// Containers on `engine`. Nothing is asked of it yet.
    #[must_use]
    pub fn on(engine: Engine) -> Self {
        Self {
            engine,
            key: None,
            steady: Duration::from_secs(1),
            adopt: BTreeMap::new(),
            services: Mutex::default(),
        }
    }

    /// Takes over the containers of a service that somebody else started.
    #[must_use]
    pub fn adopt(mut self, service: &ServiceId, adopt: Adopt) -> Self {
        self.adopt.insert(service.clone(), adopt);
        self
    }

    /// The key of the digests by which releases that are adopted are named, so that the name tells
    /// nothing about secret values in their environment. All controllers need the same.
    #[must_use]
    pub fn key(mut self, key: Secret<Vec<u8>>) -> Self {
        self.key = Some(key);
        self
    }

    /// How long a container without a health check has to run to count as ready; one second.
    #[must_use]
    pub const fn steady_after(mut self, time: Duration) -> Self {
        self.steady = time;
        self
    }

    /// The releases that run now or should, with their definitions: also one that is adopted, so
    /// that the next release can be made of it and the release store can keep it.
    ///
    /// # Errors
    /// The engine cannot be looked at.
    pub async fn running(&self, service: &ServiceId) -> Result<Vec<Release>, ChangeError> {
        let sight = look(&self.shared(service)).await.map_err(not_looked)?;
        let wanted = sight.desired.wanted.iter();
        let known = wanted.filter_map(|(release, _)| {
            let definition = sight.definitions.get(release)?;
            let name = match definition.image_name.as_str() {
                "" => release.as_str(),
                name => name,
            };
            let value = definition.value().ok()?;
            Some(Release::new(release.clone(), name, Definition::new(value)))
        });
        Ok(known.collect())
    }

    /// Stops every container of a service and removes everything that was made for it; returns when
    /// nothing is left. Images stay.
    ///
    /// # Errors
    /// As for a change.
    pub async fn stop_service(&self, service: &ServiceId) -> Result<(), ChangeError> {
        clear(&self.shared(service)).await
    }

    /// Forgets old releases: the definitions that are kept on the engine, and if asked their
    /// images. What should run stays, and what `keep` names.
    ///
    /// # Errors
    /// The engine cannot be looked at, or does not remove what nobody uses.
    pub async fn prune(&self, service: &ServiceId, keep: &Keep) -> Result<Pruned, ChangeError> {
        prune(&self.shared(service), keep).await
    }

    /// The shared state of a service, its supervisor started at the first call.
    fn shared(&self, service: &ServiceId) -> Arc<Shared> {
        let mut services = locked(&self.services);
        if let Some(known) = services.get(service) {
            return Arc::clone(&known.shared);
        }
        let shared = Arc::new(Shared {
            engine: self.engine.clone(),
            service: service.clone(),
            adopt: self.adopt.get(service).cloned(),
            key: self.key.clone(),
            steady: i64::try_from(self.steady.as_millis()).unwrap_or(i64::MAX),
            definitions: Mutex::default(),
            images: Mutex::default(),
            fetches: Mutex::default(),
            known: Mutex::default(),
            told: Mutex::default(),
            nudge: Notify::new(),
            news: Notify::new(),
        });
        let opened = Service {
            shared: Arc::clone(&shared),
            tasks: [
                tokio::spawn(supervisor::supervise(Arc::clone(&shared))),
                tokio::spawn(supervisor::listen(Arc::clone(&shared))),
            ],
        };
        services.insert(service.clone(), opened);
        shared
    }
}

#[async_trait]
impl Deployer for ContainerDeployer {
    fn capabilities(&self) -> Capabilities {
        // Shown as soon as it is written, and of two that follow the same record the engine takes one:
        // one that is still on its way when it is given up need not be waited for.
        Capabilities::least(Duration::ZERO)
            .with_compare_and_set()
            .with_tags()
            .with_two_arms()
            .with_rolling()
            .with_stop_first()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        let shared = self.shared(service);
        let sight = look(&shared).await.map_err(EngineError::of_look)?;
        let known = locked(&shared.known).clone();
        observation(&sight, &known, shared.steady, now())
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let shared = self.shared(service);
        let accepted = apply(&shared, request).await?;
        shared.nudge.notify_one();
        Ok(accepted)
    }

    async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        let shared = self.shared(service);
        if release.definition != Definition::default() {
            let definition =
                ContainerDefinition::from_release(release).map_err(ChangeError::refused)?;
            return startable(&shared, &definition).await;
        }
        // The engine keeps the definitions of releases that ran.
        let sight = look(&shared).await.map_err(not_looked)?;
        match sight.definitions.get(&release.id) {
            Some(definition) => startable(&shared, definition).await,
            None => Err(ChangeError::refused(format!(
                "nothing is known of the release {}; deploy it with its definition",
                release.id
            ))),
        }
    }

    async fn last_words(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        lines: usize,
    ) -> Vec<String> {
        let Ok(sight) = look(&self.shared(service)).await else {
            return Vec::new();
        };
        let of_release = sight.facts.iter().filter(|one| one.release == *release);
        let containers: Vec<String> = of_release.map(|one| one.name.clone()).collect();
        crate::last_words(&self.engine, &containers, lines, &[]).await
    }

    async fn changed(&self, service: &ServiceId) {
        self.shared(service).news.notified().await;
    }
}

impl fmt::Debug for ContainerDeployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerDeployer")
            .field("engine", &self.engine)
            .field("adopt", &self.adopt)
            .finish_non_exhaustive()
    }
}
