//! Who is told.

use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{ChannelId, Notice, NoticeKey};

/// A notice was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delivered {
    /// The channel's own id of it, if it gave one.
    pub receipt: Option<String>,
}

impl Delivered {
    /// Taken, with the channel's receipt if there is one.
    #[must_use]
    pub const fn new(receipt: Option<String>) -> Self {
        Self { receipt }
    }
}

/// Why a notice was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotifyError {
    /// Try again.
    #[error("not delivered, may be tried again: {why}")]
    Temporary {
        /// What happened, without secrets.
        why: String,
        /// How long the channel asked to be left alone, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// Trying again will not help.
    #[error("not delivered: {why}")]
    Permanent {
        /// What happened, without secrets.
        why: String,
    },
}

/// One channel to people. At-least-once with a key: sending the same key twice must not tell
/// people twice where the channel can prevent it.
#[async_trait]
pub trait Notifier: Debug + Send + Sync + 'static {
    /// The channel's name.
    fn channel(&self) -> ChannelId;

    /// Sends one notice, one request.
    ///
    /// # Errors
    /// [`NotifyError`] says whether trying again can help.
    async fn send(&self, key: &NoticeKey, notice: &Notice) -> Result<Delivered, NotifyError>;
}
