//! Definitions of releases, kept in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use rollback_core::{
    model::{Release, ReleaseId, ServiceId},
    ports::{ReleaseStore, ReleaseStoreError},
};

/// Keeps releases as long as it (or a clone of it) lives.
#[derive(Debug, Clone, Default)]
pub struct MemoryReleaseStore {
    kept: Arc<Mutex<BTreeMap<(ServiceId, ReleaseId), Release>>>,
}

impl MemoryReleaseStore {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<(ServiceId, ReleaseId), Release>> {
        // Nothing panics while the lock is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ReleaseStore for MemoryReleaseStore {
    async fn put(&self, service: &ServiceId, release: &Release) -> Result<(), ReleaseStoreError> {
        self.kept()
            .entry((service.clone(), release.id.clone()))
            .or_insert_with(|| release.clone());
        Ok(())
    }

    async fn get(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
    ) -> Result<Option<Release>, ReleaseStoreError> {
        let key = (service.clone(), release.clone());
        Ok(self.kept().get(&key).cloned())
    }
}
