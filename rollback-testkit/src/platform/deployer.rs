//! The model behind the traits, with a manual clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, ChangeError, ChangeRequest, Observation, ReadError, ReadRequest, Reading,
        Release, ReleaseId, ServiceId,
    },
    ports::{Capabilities, Deployer, MetricSource, SourceCapabilities},
};
use tokio::sync::Notify;

use super::{Model, Temper};
use crate::ManualClock;

/// A platform in memory, and the metrics of what runs on it. Clones are the same platform.
///
/// As a `MetricSource` it answers `Query::Counts` with bad and all answers, and `Query::Value` of
/// `error_rate`, `latency` (milliseconds) and `status` (`up` or `down`).
///
/// ```
/// use rollback_core::model::*;
/// use rollback_testkit::{ManualClock, platform::{Behaviour, InMemoryPlatform, Temper}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (service, v1) = (ServiceId::new("checkout")?, ReleaseId::new("v1")?);
/// let platform = InMemoryPlatform::new(Temper::Strict, ManualClock::default());
/// platform.with(|model| {
///     model.add_release(v1.clone(), Behaviour::good());
///     model.start_service(&service, &v1);
/// });
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct InMemoryPlatform {
    model: Arc<Mutex<Model>>,
    clock: ManualClock,
    changed: Arc<Notify>,
}

impl InMemoryPlatform {
    /// An empty platform whose time is that of `clock`.
    #[must_use]
    pub fn new(temper: Temper, clock: ManualClock) -> Self {
        Self::of(Model::new(temper, clock.now()), clock)
    }

    /// A platform as `model` describes it.
    #[must_use]
    pub fn of(model: Model, clock: ManualClock) -> Self {
        Self {
            model: Arc::new(Mutex::new(model)),
            clock,
            changed: Arc::default(),
        }
    }

    /// The clock that the platform's time follows.
    #[must_use]
    pub const fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Looks at or changes the model, at the clock's time.
    pub fn with<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        let result = look(&mut self.now());
        self.changed.notify_waiters();
        result
    }

    fn now(&self) -> MutexGuard<'_, Model> {
        // A panic in a test's closure leaves the model as consistent as it was.
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.advance(self.clock.now());
        model
    }
}

#[async_trait]
impl Deployer for InMemoryPlatform {
    fn capabilities(&self) -> Capabilities {
        self.now().capabilities()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        self.now().observe(service)
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let result = self.now().apply(service, request);
        self.changed.notify_waiters();
        result
    }

    async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        self.now().check(service, &release.id)
    }

    async fn last_words(
        &self,
        _service: &ServiceId,
        release: &ReleaseId,
        lines: usize,
    ) -> Vec<String> {
        let mut words = vec![format!("{release}: starting")];
        let exits = |behaviour: &super::Behaviour| behaviour.exits_after.is_some();
        if self.now().behaviour(release).is_some_and(exits) {
            words.push(format!("{release}: fatal: exit status 1"));
        }
        let skip = words.len().saturating_sub(lines);
        words.split_off(skip)
    }

    async fn changed(&self, _service: &ServiceId) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = self.clock.moved() => {}
        }
    }
}

#[async_trait]
impl MetricSource for InMemoryPlatform {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live().with_history()
    }

    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        let model = self.now();
        requests.iter().map(|request| model.read(request)).collect()
    }
}
