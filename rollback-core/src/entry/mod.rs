//! What the journal keeps: each input with the facts that the engine decided on it.

mod command;
mod delay;
mod effect;
mod fact;
mod input;
mod standing;
mod step;
mod task;
mod would;

pub use command::{Command, Deploy};
pub use delay::DelayState;
pub use effect::{Effect, Reads};
pub use fact::{Fact, SentState, WayBack};
pub use input::{ChangeReport, Input};
pub use standing::{LedgerReason, Standing};
pub use step::{PlanKind, Step};
pub use task::{TaskAnswer, TaskReport, TaskState};
pub use would::Would;

use serde::{Deserialize, Serialize};

use crate::{
    model::{Epoch, Seq, Timestamp},
    ports::Durability,
};

/// The number of the entries' form; older forms are read and brought to this one.
pub const SCHEMA: u16 = 1;

/// One input and what the engine decided on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its position in the journal of the service.
    #[serde(rename = "q")]
    pub seq: Seq,
    /// Under which lease it was decided.
    #[serde(rename = "e")]
    pub epoch: Epoch,
    /// When, never before the entry in front of it.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The form of this entry.
    #[serde(rename = "v")]
    pub schema: u16,
    /// What came in.
    #[serde(rename = "i")]
    pub input: Input,
    /// What was decided.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
}

/// What the driver does with an entry before it takes the engine's effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing changed: it is not journaled and its number is used again.
    No,
    /// It is appended.
    Append(Durability),
}

impl Entry {
    /// Whether and how safely the entry is to be journaled.
    #[must_use]
    pub fn keep(&self) -> Keep {
        if self.facts.iter().any(Fact::is_durable) || self.input.is_durable() {
            Keep::Append(Durability::Durable)
        } else if self.facts.is_empty() && !self.input.is_recorded() {
            Keep::No
        } else {
            Keep::Append(Durability::Buffered)
        }
    }
}
