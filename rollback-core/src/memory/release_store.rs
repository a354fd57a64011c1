//! Definitions of releases, in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{
    model::{Release, ReleaseId, ServiceId},
    ports::{ReleaseStore, ReleaseStoreError},
};

/// A [`ReleaseStore`] in memory.
#[derive(Debug, Default)]
pub struct MemoryReleaseStore {
    releases: Mutex<BTreeMap<(ServiceId, ReleaseId), Release>>,
}

impl MemoryReleaseStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl ReleaseStore for MemoryReleaseStore {
    async fn put(&self, service: &ServiceId, release: &Release) -> Result<(), ReleaseStoreError> {
        let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        releases
            .entry((service.clone(), release.id.clone()))
            .or_insert_with(|| release.clone());
        Ok(())
    }

    async fn get(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
    ) -> Result<Option<Release>, ReleaseStoreError> {
        let releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(releases.get(&(service.clone(), release.clone())).cloned())
    }
}
