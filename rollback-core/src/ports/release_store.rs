//! Where definitions of releases are kept, so that a rollback has something to deploy.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::model::{Release, ReleaseId, ServiceId};

/// Why a definition could not be kept or found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("release store: {why}")]
pub struct ReleaseStoreError {
    /// What happened and what to do.
    pub why: String,
}

/// Keeps definitions of releases.
#[async_trait]
pub trait ReleaseStore: Debug + Send + Sync + 'static {
    /// Keeps a release; the same id again is a no-op.
    ///
    /// # Errors
    /// It could not be kept: nothing must be deployed that could not be returned to.
    async fn put(&self, service: &ServiceId, release: &Release) -> Result<(), ReleaseStoreError>;

    /// The release, if it is kept.
    ///
    /// # Errors
    /// The store could not be read.
    async fn get(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
    ) -> Result<Option<Release>, ReleaseStoreError>;
}
