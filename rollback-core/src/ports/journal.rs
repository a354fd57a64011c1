//! The journal: recovery, replay and audit are three readings of it.

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    entry::Entry,
    model::{Epoch, Seq, ServiceId, Timestamp},
    ports::ReleaseStore,
};

/// How safe an append must be before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// In order, and soon on disk.
    Buffered,
    /// On disk before the answer.
    Durable,
}

/// Entries of one service, in order, to be appended all or none.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Whose.
    pub service: ServiceId,
    /// Under which lease.
    pub epoch: Epoch,
    /// What; their numbers follow each other and the last one in the journal.
    pub entries: Vec<Entry>,
}

/// The right to write a service's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Goes with every append; an older one is refused.
    pub epoch: Epoch,
    /// The last entry there is; zero when the journal is empty.
    pub last: Seq,
    /// When the lease ends unless it is renewed by another `acquire` of the same owner.
    pub until: Timestamp,
}

impl Lease {
    /// A lease.
    #[must_use]
    pub const fn new(epoch: Epoch, last: Seq, until: Timestamp) -> Self {
        Self { epoch, last, until }
    }
}

/// Why the journal did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Somebody else writes now.
    #[error(
        "another controller took over (epoch {current}); this one, with epoch {ours}, must stop"
    )]
    Fenced {
        /// What was sent along.
        ours: Epoch,
        /// What is valid.
        current: Epoch,
    },
    /// Somebody else holds the lease.
    #[error("`{owner}` holds the lease until {until}; stop it, or wait")]
    Leased {
        /// Who.
        owner: String,
        /// Until when.
        until: Timestamp,
    },
    /// The entry's number does not follow the last one.
    #[error("entry {got} does not follow entry {last}")]
    OutOfOrder {
        /// The number that came.
        got: Seq,
        /// The last one there is.
        last: Seq,
    },
    /// No space, no permission, no disk.
    #[error("the journal cannot be written: {why}")]
    Unwritable {
        /// What happened, where, and what to do.
        why: String,
    },
    /// The journal is damaged.
    #[error("the journal is damaged: {why}")]
    Damaged {
        /// Where, what is lost, and what to do.
        why: String,
    },
    /// The journal was written by another version.
    #[error("the journal has format {found}, this version reads {known}: {fix}")]
    OtherVersion {
        /// What is there.
        found: u32,
        /// What this version knows.
        known: u32,
        /// What to do.
        fix: String,
    },
}

/// Keeps the entries of many services.
#[async_trait]
pub trait Journal: Debug + Send + Sync + 'static {
    /// Takes (or renews) the lease of a service: the lease and the fence in one. Another owner's
    /// lease that has not ended is refused; an own or ended one is taken with a higher epoch when
    /// the owner changes or starts anew.
    ///
    /// # Errors
    /// [`JournalError::Leased`], or the journal cannot be read or written.
    async fn acquire(
        &self,
        service: &ServiceId,
        owner: &str,
        ttl: Duration,
    ) -> Result<Lease, JournalError>;

    /// Appends batches of many services; each is answered for itself with the number of its last
    /// entry.
    async fn append(
        &self,
        batches: Vec<Batch>,
        durability: Durability,
    ) -> Vec<Result<Seq, JournalError>>;

    /// Up to `limit` entries after `after`, in order.
    ///
    /// # Errors
    /// The journal cannot be read or is damaged.
    async fn read(
        &self,
        service: &ServiceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError>;

    /// The services that have entries.
    ///
    /// # Errors
    /// The journal cannot be read.
    async fn services(&self) -> Result<Vec<ServiceId>, JournalError>;

    /// The release store that is kept in the same place, if there is one: a controller that is
    /// given no other uses it.
    fn release_store(self: Arc<Self>) -> Option<Arc<dyn ReleaseStore>> {
        None
    }
}
