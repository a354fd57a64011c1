//! A platform and a metric source for thousands of services, that answer at once and cost next to
//! nothing, so that what is measured is the controller.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, Change, ChangeError, ChangeRequest, Observation, ReadError, ReadRequest, Reading,
        Release, ReleaseId, ServiceId, Wanted,
    },
    ports::{Capabilities, Deployer, MetricSource, SourceCapabilities},
};

use crate::stage::{healthy, seen};

/// Every service runs `v1` until it is told otherwise.
#[derive(Debug)]
pub struct Platform {
    wanted: Mutex<BTreeMap<ServiceId, Wanted>>,
    /// Changes are taken and never answered.
    hangs: bool,
    /// Services that took a change which was not answered.
    pub taken: Mutex<BTreeSet<ServiceId>>,
    first: ReleaseId,
}

impl Platform {
    /// A platform; one that hangs takes changes and does not answer.
    #[must_use]
    pub fn new(first: ReleaseId, hangs: bool) -> Self {
        Self {
            wanted: Mutex::default(),
            hangs,
            taken: Mutex::default(),
            first,
        }
    }

    /// As if this change had been made before.
    pub fn runs(&self, service: ServiceId, change: &Change) {
        let wanted = change.applied_to(&Wanted::only(self.first.clone()));
        lock(&self.wanted).insert(service, wanted);
    }

    fn now(&self, service: &ServiceId) -> Wanted {
        let wanted = lock(&self.wanted);
        wanted
            .get(service)
            .cloned()
            .unwrap_or_else(|| Wanted::only(self.first.clone()))
    }
}

#[async_trait]
impl Deployer for Platform {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Duration::ZERO)
            .with_compare_and_set()
            .with_two_arms()
            .with_weights()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        Ok(seen(&self.now(service)))
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        if self.hangs {
            lock(&self.taken).insert(service.clone());
            std::future::pending::<()>().await;
        }
        let wanted = request.change.applied_to(&self.now(service));
        lock(&self.wanted).insert(service.clone(), wanted);
        Ok(Accepted::default())
    }

    async fn check(&self, _: &ServiceId, _: &Release) -> Result<(), ChangeError> {
        Ok(())
    }
}

/// Answers every question as a healthy service would, and notes when each service asked.
#[derive(Debug, Default)]
pub struct Healthy {
    number: AtomicU64,
    noting: AtomicBool,
    asked: Mutex<BTreeMap<ServiceId, Instant>>,
    gaps: Mutex<Vec<Duration>>,
    readings: AtomicU64,
}

impl Healthy {
    /// From now on the times between a service's questions are noted.
    pub fn note(&self) {
        lock(&self.asked).clear();
        lock(&self.gaps).clear();
        self.readings.store(0, Ordering::Relaxed);
        self.noting.store(true, Ordering::Relaxed);
    }

    /// The times between two questions of the same service.
    #[must_use]
    pub fn gaps(&self) -> Vec<Duration> {
        lock(&self.gaps).clone()
    }

    /// How many readings were given since they are noted.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.readings.load(Ordering::Relaxed)
    }

    fn seen(&self, requests: &[ReadRequest]) {
        let now = Instant::now();
        let services: BTreeSet<&ServiceId> = requests.iter().map(|one| &one.service).collect();
        let mut asked = lock(&self.asked);
        for service in services {
            if let Some(before) = asked.insert(service.clone(), now) {
                lock(&self.gaps).push(now - before);
            }
        }
        self.readings
            .fetch_add(requests.len() as u64, Ordering::Relaxed);
    }
}

#[async_trait]
impl MetricSource for Healthy {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        if self.noting.load(Ordering::Relaxed) {
            self.seen(requests);
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        requests
            .iter()
            .map(|request| healthy(request, number).result)
            .collect()
    }
}

/// Nothing panics while one of these locks is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
