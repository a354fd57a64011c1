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

/// Passes everything on to another journal, until it is told to refuse appends.
///
/// ```
/// use std::sync::Arc;
/// use rollback_core::memory::MemoryJournal;
/// let journal = rollback_testkit::FailingJournal::new(Arc::new(MemoryJournal::new()));
/// journal.refuse_appends(Some("disk full"));
/// ```
#[derive(Debug, Clone)]
pub struct FailingJournal {
    inner: Arc<dyn Journal>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    refusing: Option<String>,
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

    /// From now on every append fails with these words; none heals it.
    pub fn refuse_appends(&self, why: Option<&str>) {
        self.state().refusing = why.map(ToOwned::to_owned);
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
        let refusing = {
            let mut state = self.state();
            state.durable_appends += u64::from(durability == Durability::Durable);
            state.refusing.clone()
        };
        match refusing {
            Some(why) => batches
                .iter()
                .map(|_| Err(JournalError::Unwritable { why: why.clone() }))
                .collect(),
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
