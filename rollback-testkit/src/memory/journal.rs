//! A journal in memory, that can be told to fail.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    entry::Entry,
    model::{Epoch, Seq, ServiceId, Timestamp},
    ports::{Batch, Durability, Journal, JournalError, Lease},
};

use crate::ManualClock;

/// Keeps entries as long as it (or a clone of it) lives. Clones are other controllers' ends of
/// the same journal: each `MemoryJournal` value is a writer of its own.
///
/// ```
/// let journal = rollback_testkit::memory::MemoryJournal::new(Default::default());
/// let same_entries_other_controller = journal.reopened();
/// journal.refuse_appends(Some("disk full"));
/// ```
#[derive(Debug, Clone)]
pub struct MemoryJournal {
    kept: Arc<Mutex<Kept>>,
    clock: ManualClock,
    opening: u64,
}

#[derive(Debug, Default)]
struct Kept {
    services: BTreeMap<ServiceId, Service>,
    refusing: Option<String>,
    openings: u64,
    durable_appends: u64,
}

#[derive(Debug, Default)]
struct Service {
    entries: Vec<Entry>,
    lease: Option<Held>,
    epoch: Epoch,
}

#[derive(Debug)]
struct Held {
    owner: String,
    until: Timestamp,
    opening: u64,
}

impl MemoryJournal {
    /// An empty journal whose leases end by `clock`.
    #[must_use]
    pub fn new(clock: ManualClock) -> Self {
        Self {
            kept: Arc::default(),
            clock,
            opening: 0,
        }
    }

    /// The same journal as another process would open it.
    #[must_use]
    pub fn reopened(&self) -> Self {
        let mut kept = self.kept();
        kept.openings += 1;
        Self {
            kept: Arc::clone(&self.kept),
            clock: self.clock.clone(),
            opening: kept.openings,
        }
    }

    /// From now on every append fails with these words; none heals it.
    pub fn refuse_appends(&self, why: Option<&str>) {
        self.kept().refusing = why.map(ToOwned::to_owned);
    }

    /// How many appends were asked to be durable.
    #[must_use]
    pub fn durable_appends(&self) -> u64 {
        self.kept().durable_appends
    }

    /// Everything that is kept of a service.
    #[must_use]
    pub fn entries(&self, service: &ServiceId) -> Vec<Entry> {
        self.kept()
            .services
            .get(service)
            .map(|known| known.entries.clone())
            .unwrap_or_default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while the lock is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
        let now = self.clock.now();
        let mut kept = self.kept();
        let known = kept.services.entry(service.clone()).or_default();
        let held = known.lease.as_ref().filter(|held| held.until > now);
        let renewed = match held {
            Some(held) if held.owner != owner => {
                return Err(JournalError::Leased {
                    owner: held.owner.clone(),
                    until: held.until,
                });
            }
            Some(held) => held.opening == self.opening,
            None => false,
        };
        if !renewed {
            known.epoch = known.epoch.next();
        }
        let until = now.after(ttl);
        known.lease = Some(Held {
            owner: owner.to_owned(),
            until,
            opening: self.opening,
        });
        Ok(Lease::new(known.epoch, known.last(), until))
    }

    async fn append(
        &self,
        batches: Vec<Batch>,
        durability: Durability,
    ) -> Vec<Result<Seq, JournalError>> {
        let mut kept = self.kept();
        if durability == Durability::Durable {
            kept.durable_appends += 1;
        }
        batches
            .into_iter()
            .map(|batch| {
                if let Some(why) = &kept.refusing {
                    return Err(JournalError::Unwritable { why: why.clone() });
                }
                kept.services
                    .entry(batch.service)
                    .or_default()
                    .append(batch.epoch, batch.entries)
            })
            .collect()
    }

    async fn read(
        &self,
        service: &ServiceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let kept = self.kept();
        let Some(known) = kept.services.get(service) else {
            return Ok(Vec::new());
        };
        let entries = known.entries.iter().filter(|entry| entry.seq > after);
        Ok(entries.take(limit).cloned().collect())
    }

    async fn services(&self) -> Result<Vec<ServiceId>, JournalError> {
        let kept = self.kept();
        let with_entries = kept.services.iter().filter(|(_, s)| !s.entries.is_empty());
        Ok(with_entries.map(|(id, _)| id.clone()).collect())
    }
}

impl Service {
    fn last(&self) -> Seq {
        self.entries.last().map_or(Seq::new(0), |entry| entry.seq)
    }

    fn append(&mut self, epoch: Epoch, entries: Vec<Entry>) -> Result<Seq, JournalError> {
        if epoch != self.epoch {
            return Err(JournalError::Fenced {
                ours: epoch,
                current: self.epoch,
            });
        }
        let mut last = self.last();
        for entry in &entries {
            if entry.seq != last.next() {
                return Err(JournalError::OutOfOrder {
                    got: entry.seq,
                    last,
                });
            }
            last = entry.seq;
        }
        self.entries.extend(entries);
        Ok(last)
    }
}
