//! The entries of many services, in memory.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    entry::Entry,
    model::{Epoch, Seq, ServiceId, Timestamp},
    ports::{Batch, Durability, Holder, Journal, JournalError, Lease},
};

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A [`Journal`] in memory. It keeps leases, fences and order like one on disk, and forgets
/// everything with the process.
///
/// ```
/// # use rollback_core::{memory::MemoryJournal, model::{Epoch, ServiceId}, ports::Journal};
/// # async fn take() -> Result<(), Box<dyn std::error::Error>> {
/// let journal = MemoryJournal::new();
/// let lease = journal
///     .acquire(&ServiceId::new("checkout")?, "me", std::time::Duration::from_secs(10))
///     .await?;
/// assert_eq!(lease.epoch, Epoch::new(1));
/// # Ok(())
/// # }
/// ```
pub struct MemoryJournal {
    clock: Clock,
    services: Arc<Mutex<BTreeMap<ServiceId, Kept>>>,
    /// The leases that were taken through this value, as opposed to another opening of it.
    held: Mutex<BTreeMap<ServiceId, Epoch>>,
}

#[derive(Default)]
struct Kept {
    holder: Option<Holder>,
    entries: Vec<Entry>,
}

impl Kept {
    fn last(&self) -> Seq {
        self.entries
            .last()
            .map_or_else(Seq::default, |entry| entry.seq)
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryJournal").finish_non_exhaustive()
    }
}

impl MemoryJournal {
    /// An empty journal whose clock stands still: a lease ends only if it was taken for no time.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Timestamp::default)
    }

    /// An empty journal whose leases end by this clock.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self {
            clock: Arc::new(clock),
            services: Arc::default(),
            held: Mutex::default(),
        }
    }

    /// The same entries and leases, as another controller or the next run would open them.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self {
            clock: Arc::clone(&self.clock),
            services: Arc::clone(&self.services),
            held: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Kept>> {
        // Nothing is changed before everything was checked, so what a panic left behind is whole.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn acquire(
        &self,
        service: &ServiceId,
        owner: &str,
        ttl: Duration,
    ) -> Result<Lease, JournalError> {
        let now = (self.clock)();
        let mut services = self.lock();
        let kept = services.entry(service.clone()).or_default();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = held.get(service).copied();
        let holder = Holder::take(kept.holder.as_ref(), ours, owner, ttl, now)?;
        let lease = Lease::new(holder.epoch, kept.last(), holder.until);
        held.insert(service.clone(), holder.epoch);
        kept.holder = Some(holder);
        Ok(lease)
    }

    async fn append(
        &self,
        batches: Vec<Batch>,
        _durability: Durability,
    ) -> Vec<Result<Seq, JournalError>> {
        let mut services = self.lock();
        batches
            .into_iter()
            .map(|batch| {
                let kept = services.entry(batch.service).or_default();
                let seqs = batch.entries.iter().map(|entry| entry.seq);
                let last = Holder::admit(kept.holder.as_ref(), kept.last(), batch.epoch, seqs)?;
                kept.entries.extend(batch.entries);
                Ok(last)
            })
            .collect()
    }

    async fn read(
        &self,
        service: &ServiceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let services = self.lock();
        let entries = services.get(service).map_or(&[][..], |kept| &kept.entries);
        let start = entries.partition_point(|entry| entry.seq <= after);
        Ok(entries.iter().skip(start).take(limit).cloned().collect())
    }

    async fn services(&self) -> Result<Vec<ServiceId>, JournalError> {
        let services = self.lock();
        let with_entries = services.iter().filter(|(_, kept)| !kept.entries.is_empty());
        Ok(with_entries.map(|(service, _)| service.clone()).collect())
    }
}
