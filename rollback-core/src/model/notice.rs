//! What is told to people: one notice per transition and channel.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ChannelId, DeploymentId, Seq, Timestamp};

/// How loud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Page,
}

/// The idempotency key of one notice on one channel. The same transition always has the same key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NoticeKey {
    /// The entry whose facts are told.
    pub seq: Seq,
    /// The position among the notices of that entry.
    pub index: u16,
    /// Where.
    pub channel: ChannelId,
}

impl fmt::Display for NoticeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.seq, self.index, self.channel)
    }
}

/// One transition, told to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When it happened.
    pub at: Timestamp,
    /// How loud.
    pub severity: Severity,
    /// Of which deployment.
    pub deployment: Option<DeploymentId>,
    /// One line.
    pub subject: String,
    /// The rest, in plain English with numbers.
    pub body: String,
}
