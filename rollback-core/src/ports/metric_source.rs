//! Where readings come from.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;

use crate::model::{ReadError, ReadRequest, Reading};

/// What a source can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceCapabilities {
    /// How long after its end a window is complete.
    pub settle: Duration,
    /// The shortest window it can answer for.
    pub min_window: Duration,
    /// Whether windows of the past can be asked for.
    pub history: bool,
    /// How many requests one `read` takes well.
    pub batch: usize,
    /// Whether it answers counts; else values only.
    pub counts: bool,
}

impl SourceCapabilities {
    /// A source of the present moment: no settling, no history.
    #[must_use]
    pub const fn live() -> Self {
        Self {
            settle: Duration::ZERO,
            min_window: Duration::ZERO,
            history: false,
            batch: 100,
            counts: true,
        }
    }

    /// The same with windows that are complete only after `settle`.
    #[must_use]
    pub const fn settling(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// The same with the past.
    #[must_use]
    pub const fn with_history(mut self) -> Self {
        self.history = true;
        self
    }
}

/// A source of readings. The same complete window asked twice gives the same answer. It retries
/// nothing: the engine asks again.
#[async_trait]
pub trait MetricSource: Debug + Send + Sync + 'static {
    /// What it can answer; constant.
    fn capabilities(&self) -> SourceCapabilities;

    /// Answers each request, in order. One that fails does not fail the others.
    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>>;
}
