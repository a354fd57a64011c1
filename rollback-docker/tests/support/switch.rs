//! Traffic in memory.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use rollback_core::{
    model::{Accepted, ChangeError, ChangeId, Etag, Instance, ReleaseId, ServiceId, Weight},
    ports::{Traffic, TrafficShifter},
};

/// Of each service its revision and weights.
#[derive(Debug, Default)]
pub(crate) struct Switch(Mutex<BTreeMap<ServiceId, Traffic>>);

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
