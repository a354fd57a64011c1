//! A traffic system in memory, for platforms that know no weights themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, ChangeError, ChangeId, Etag, Instance, InstanceState, ReleaseId, ServiceId,
        Weight,
    },
    ports::{Traffic, TrafficShifter},
};

/// Divides traffic that is only counted. Clones divide the same traffic.
///
/// ```
/// use rollback_core::{model::ServiceId, ports::TrafficShifter};
/// use rollback_testkit::platform::InMemoryShifter;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let shifter = InMemoryShifter::default();
/// let seen = shifter.traffic(&ServiceId::new("checkout").unwrap()).await.unwrap();
/// assert!(seen.weights.is_empty());
/// # });
/// ```
#[derive(Debug, Clone, Default)]
pub struct InMemoryShifter {
    services: Arc<Mutex<BTreeMap<ServiceId, Divided>>>,
}

#[derive(Debug, Clone, Default)]
struct Divided {
    revision: u64,
    weights: BTreeMap<ReleaseId, Weight>,
    change: Option<ChangeId>,
    told: BTreeMap<ReleaseId, Vec<Instance>>,
    /// What each release is owed, in basis points of a request.
    owed: BTreeMap<ReleaseId, i64>,
    open: BTreeMap<ReleaseId, u64>,
}

impl Divided {
    fn etag(&self) -> Option<Etag> {
        Etag::new(self.revision.to_string()).ok()
    }

    fn answers(&self, release: &ReleaseId) -> bool {
        let ends = |state: &InstanceState| {
            matches!(
                state,
                InstanceState::Exited { .. } | InstanceState::Stopping
            )
        };
        let told = self.told.get(release);
        told.is_some_and(|told| told.iter().any(|instance| !ends(&instance.state)))
    }
}

impl InMemoryShifter {
    fn services(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Divided>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The traffic is divided like this, whoever did it.
    pub fn foreign_change(&self, service: &ServiceId, weights: BTreeMap<ReleaseId, Weight>) {
        let mut services = self.services();
        let divided = services.entry(service.clone()).or_default();
        divided.weights = weights;
        divided.revision += 1;
        divided.change = None;
    }

    /// So many requests are being answered by the release.
    pub fn keep_open(&self, service: &ServiceId, release: &ReleaseId, open: u64) {
        let mut services = self.services();
        let divided = services.entry(service.clone()).or_default();
        divided.open.insert(release.clone(), open);
    }

    /// The instances that were told last.
    #[must_use]
    pub fn told(&self, service: &ServiceId) -> BTreeMap<ReleaseId, Vec<Instance>> {
        let services = self.services();
        let divided = services.get(service);
        divided
            .map(|divided| divided.told.clone())
            .unwrap_or_default()
    }

    /// One request: who answers it, in turn and by weight; none if nobody does.
    #[must_use]
    pub fn request(&self, service: &ServiceId) -> Option<ReleaseId> {
        let mut services = self.services();
        let divided = services.get_mut(service)?;
        for (release, weight) in &divided.weights {
            *divided.owed.entry(release.clone()).or_default() += i64::from(weight.basis_points());
        }
        let some = |release: &ReleaseId| divided.weights.get(release) > Some(&Weight::NONE);
        let owed = divided.owed.iter().filter(|(release, _)| some(release));
        let (next, _) = owed.max_by_key(|(_, owed)| **owed)?;
        let next = next.clone();
        *divided.owed.entry(next.clone()).or_default() -= i64::from(Weight::ALL.basis_points());
        divided.answers(&next).then_some(next)
    }
}

#[async_trait]
impl TrafficShifter for InMemoryShifter {
    async fn traffic(&self, service: &ServiceId) -> Result<Traffic, ChangeError> {
        let mut services = self.services();
        let divided = services.entry(service.clone()).or_default();
        let mut traffic = Traffic::new(divided.etag(), divided.weights.clone());
        traffic.last_change.clone_from(&divided.change);
        traffic.open.clone_from(&divided.open);
        Ok(traffic)
    }

    async fn shift(
        &self,
        service: &ServiceId,
        id: &ChangeId,
        weights: &BTreeMap<ReleaseId, Weight>,
        expect: Option<&Etag>,
    ) -> Result<Accepted, ChangeError> {
        let mut services = self.services();
        let divided = services.entry(service.clone()).or_default();
        if expect.is_some() && expect != divided.etag().as_ref() {
            return Err(ChangeError::Conflict { now: None });
        }
        let sum: u32 = weights.values().map(|w| u32::from(w.basis_points())).sum();
        if sum != u32::from(Weight::ALL.basis_points()) {
            return Err(ChangeError::refused("the shares do not add up to 100 %"));
        }
        for (release, weight) in weights {
            if *weight > Weight::NONE && !divided.told.contains_key(release) {
                return Err(ChangeError::refused(format_args!(
                    "nobody said where {release} answers"
                )));
            }
        }
        divided.weights.clone_from(weights);
        divided.owed.clear();
        divided.revision += 1;
        divided.change = Some(id.clone());
        Ok(Accepted::at(divided.etag()))
    }

    async fn instances(
        &self,
        service: &ServiceId,
        instances: &BTreeMap<ReleaseId, Vec<Instance>>,
    ) -> Result<(), ChangeError> {
        let mut services = self.services();
        let divided = services.entry(service.clone()).or_default();
        divided.told.clone_from(instances);
        Ok(())
    }
}
