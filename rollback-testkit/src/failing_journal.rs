//! A journal that can be told to fail.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    entry::Entry,
    model::{Seq, ServiceId},
    ports::{Batch, Durability, Journal, JournalError, Lease},
};

/// Passes everything on to another journal, until it is told to fail appends.
///
/// ```
/// use std::sync::Arc;
/// use rollback_core::{memory::MemoryJournal, ports::JournalError};
/// let journal = rollback_testkit::FailingJournal::new(Arc::new(MemoryJournal::new()));
/// journal.fail_appends(Some(JournalError::Unwritable { why: "disk full".into() }));
/// assert!(journal.is_failing());
/// ```
#[derive(Debug, Clone)]
pub struct FailingJournal {
    inner: Arc<dyn Journal>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    failing: Option<JournalError>,
    durable_appends: u64,
}

impl FailingJournal {
    /// A journal that does not fail yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Journal>) -> Self {
        Self {
            inner,
            state: Arc::default(),
        }
    }

    /// From now on every append fails with this error; none heals it.
    pub fn fail_appends(&self, with: Option<JournalError>) {
        self.state().failing = with;
    }

    /// Whether appends fail now.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.state().failing.is_some()
    }

    /// How many appends were asked to be durable.
    #[must_use]
    pub fn durable_appends(&self) -> u64 {
        self.state().durable_appends
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for FailingJournal {
    async fn acquire(
        &self,
        service: &ServiceId,
        owner: &str,
        ttl: Duration,
    ) -> Result<Lease, JournalError> {
        self.inner.acquire(service, owner, ttl).await
    }

    async fn append(
        &self,
        batches: Vec<Batch>,
        durability: Durability,
    ) -> Vec<Result<Seq, JournalError>> {
        let failing = {
            let mut state = self.state();
            state.durable_appends += u64::from(durability == Durability::Durable);
            state.failing.clone()
        };
        match failing {
            Some(error) => batches.iter().map(|_| Err(error.clone())).collect(),
            None => self.inner.append(batches, durability).await,
        }
    }

    async fn read(
        &self,
        service: &ServiceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        self.inner.read(service, after, limit).await
    }

    async fn services(&self) -> Result<Vec<ServiceId>, JournalError> {
        self.inner.services().await
    }
}
