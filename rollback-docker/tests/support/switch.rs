//! Traffic in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use rollback_core::{
    model::{Accepted, ChangeError, ChangeId, Etag, Instance, ReleaseId, ServiceId, Weight},
    ports::{Traffic, TrafficShifter},
};

/// Of each service its revision and weights; a clone is the same switch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switch(Arc<Mutex<BTreeMap<ServiceId, Traffic>>>);

impl Switch {
    /// All traffic goes to one release, since before anybody guarded it.
    pub(crate) fn all_to(service: &ServiceId, release: &ReleaseId) -> Self {
        let mut traffic = Traffic::default();
        traffic.etag = Some(Etag::new("1").unwrap());
        traffic.weights.insert(release.clone(), Weight::ALL);
        Self(Arc::new(Mutex::new([(service.clone(), traffic)].into())))
    }
}

#[async_trait]
impl TrafficShifter for Switch {
    async fn traffic(&self, service: &ServiceId) -> Result<Traffic, ChangeError> {
        let all = self.0.lock().unwrap();
        Ok(all.get(service).cloned().unwrap_or_default())
    }

    async fn shift(
        &self,
        service: &ServiceId,
        id: &ChangeId,
        weights: &BTreeMap<ReleaseId, Weight>,
        expect: Option<&Etag>,
    ) -> Result<Accepted, ChangeError> {
        let mut all = self.0.lock().unwrap();
        let traffic = all.entry(service.clone()).or_default();
        if expect.is_some() && expect != traffic.etag.as_ref() {
            return Err(ChangeError::Conflict { now: None });
        }
        let before = traffic.etag.as_ref();
        let revision: u64 = before.map_or(0, |etag| etag.as_str().parse().unwrap());
        traffic.etag = Some(Etag::new((revision + 1).to_string()).unwrap());
        traffic.weights.clone_from(weights);
        traffic.last_change = Some(id.clone());
        Ok(Accepted::at(traffic.etag.clone()))
    }

    async fn instances(
        &self,
        _: &ServiceId,
        _: &BTreeMap<ReleaseId, Vec<Instance>>,
    ) -> Result<(), ChangeError> {
        Ok(())
    }
}
