//! A channel that keeps what it was told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use rollback_core::{
    model::{ChannelId, Notice, NoticeKey},
    ports::{Delivered, Notifier, NotifyError},
};

/// A channel that tells people once per key and remembers what it told. It can be told to fail.
///
/// ```
/// let pager = rollback_testkit::RecordingNotifier::new(
///     rollback_core::model::ChannelId::new("pager").unwrap(),
/// );
/// assert!(pager.told().is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct RecordingNotifier {
    channel: ChannelId,
    kept: Arc<Mutex<Kept>>,
}

/// A notice that people were told, and how often it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldOnce {
    /// Its key.
    pub key: NoticeKey,
    /// What they were told.
    pub notice: Notice,
    /// How often it came.
    pub sent: u32,
}

#[derive(Debug, Default)]
struct Kept {
    told: Vec<ToldOnce>,
    index: BTreeMap<NoticeKey, usize>,
    failing: Option<NotifyError>,
}

impl RecordingNotifier {
    /// A channel of that name.
    #[must_use]
    pub fn new(channel: ChannelId) -> Self {
        Self {
            channel,
            kept: Arc::default(),
        }
    }

    /// From now on every notice fails like this; none heals it.
    pub fn fail_with(&self, error: Option<NotifyError>) {
        self.kept().failing = error;
    }

    /// What people were told, in order.
    #[must_use]
    pub fn told(&self) -> Vec<ToldOnce> {
        self.kept().told.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while the lock is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Notifier for RecordingNotifier {
    fn channel(&self) -> ChannelId {
        self.channel.clone()
    }

    async fn send(&self, key: &NoticeKey, notice: &Notice) -> Result<Delivered, NotifyError> {
        let mut kept = self.kept();
        if let Some(error) = &kept.failing {
            return Err(error.clone());
        }
        let known = kept.index.get(key).copied();
        if let Some(told) = known.and_then(|index| kept.told.get_mut(index)) {
            told.sent += 1;
        } else {
            let index = kept.told.len();
            kept.index.insert(key.clone(), index);
            kept.told.push(ToldOnce {
                key: key.clone(),
                notice: notice.clone(),
                sent: 1,
            });
        }
        Ok(Delivered::new(Some(key.to_string())))
    }
}
