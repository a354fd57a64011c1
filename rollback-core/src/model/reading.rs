//! Metrics as they are asked for and answered: one answer for one window, never a silent zero.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Arm, Instance, InstanceId, MetricId, ReleaseId, ServiceId, Timestamp};

/// Whom a reading is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The service as a whole: it tells the arms not apart.
    Service,
    /// All instances of one arm.
    Arm(Arm),
    /// One instance of an arm.
    Instance {
        /// The arm it belongs to.
        arm: Arm,
        /// The platform's name of it.
        instance: InstanceId,
    },
}

impl Scope {
    /// The arm, if the scope tells.
    #[must_use]
    pub const fn arm(&self) -> Option<Arm> {
        match self {
            Self::Service => None,
            Self::Arm(arm) | Self::Instance { arm, .. } => Some(*arm),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("service"),
            Self::Arm(arm) => write!(f, "{arm}"),
            Self::Instance { arm, instance } => write!(f, "{arm}/{instance}"),
        }
    }
}

/// A half-open stretch of the source's time: `from` included, `to` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first moment.
    pub from: Timestamp,
    /// The moment after the last.
    pub to: Timestamp,
}

impl Window {
    /// From, to.
    #[must_use]
    pub const fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to }
    }

    /// Its length; zero if it is turned around.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// What a source is asked, in the source's own language. Placeholders (`{{release}}` …) are
/// rendered and escaped by the adapter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// One value or state.
    Value(Arc<str>),
    /// Bad events and all events: what statistics need.
    Counts {
        /// Counts what went wrong.
        bad: Arc<str>,
        /// Counts everything.
        total: Arc<str>,
    },
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(query) => f.write_str(query),
            Self::Counts { bad, total } => write!(f, "{bad} / {total}"),
        }
    }
}

/// Whom a request is about, as data for the adapter to render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Subject {
    /// The release, where the scope has an arm.
    pub release: Option<ReleaseId>,
    /// The instances in scope as the platform was last seen; empty when the scope is the service.
    pub instances: Arc<[Instance]>,
}

impl Subject {
    /// Release and instances.
    #[must_use]
    pub fn new(release: Option<ReleaseId>, instances: impl Into<Arc<[Instance]>>) -> Self {
        Self {
            release,
            instances: instances.into(),
        }
    }
}

/// One question to a metric source.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReadRequest {
    /// The service that asks.
    pub service: ServiceId,
    /// The metric of the policy.
    pub metric: MetricId,
    /// The source named by the policy; none is the only one there is.
    pub source: Option<Arc<str>>,
    /// What is asked.
    pub query: Query,
    /// About whom.
    pub scope: Scope,
    /// About whom, in the platform's names.
    pub subject: Subject,
    /// For which time.
    pub window: Window,
}

impl ReadRequest {
    /// A question about `metric` for `window`.
    #[must_use]
    pub const fn new(
        service: ServiceId,
        metric: MetricId,
        query: Query,
        scope: Scope,
        subject: Subject,
        window: Window,
    ) -> Self {
        Self {
            service,
            metric,
            source: None,
            query,
            scope,
            subject,
            window,
        }
    }
}

/// What a source saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sample {
    /// A value at the end of the window.
    Gauge(f64),
    /// Events within the window.
    Counts {
        /// Bad ones.
        bad: u64,
        /// All.
        total: u64,
    },
    /// Running totals since `since`; the engine takes the differences.
    Cumulative {
        /// When counting began; a later one than before is a reset.
        since: Timestamp,
        /// Bad ones since then.
        bad: u64,
        /// All since then.
        total: u64,
    },
    /// How many events lay above each of a few cut-points within the window.
    Exceedances {
        /// The cut-points, ascending, in the metric's unit.
        cuts: Vec<f64>,
        /// For each cut-point how many events lay above it.
        over: Vec<u64>,
        /// All events.
        total: u64,
    },
    /// A word, such as `up`.
    State(Arc<str>),
}

/// One answer for one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reading {
    /// The stretch of time the answer is about.
    pub window: Window,
    /// The source's clock when it answered.
    pub source_now: Timestamp,
    /// Whether the window will not change any more.
    pub complete: bool,
    /// What was seen.
    pub sample: Sample,
}

impl Reading {
    /// A complete answer for `window`.
    #[must_use]
    pub const fn new(window: Window, sample: Sample) -> Self {
        Self {
            window,
            source_now: window.to,
            complete: true,
            sample,
        }
    }

    /// The same answer, given by a source whose clock showed `source_now`.
    #[must_use]
    pub const fn seen_at(mut self, source_now: Timestamp) -> Self {
        self.source_now = source_now;
        self
    }

    /// The same answer for a window that may still change.
    #[must_use]
    pub const fn partial(mut self) -> Self {
        self.complete = false;
        self
    }
}

/// Why there is no reading. None of these is a zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReadError {
    /// The source answered, and had nothing for the window.
    #[error("the source has no data for the window")]
    NoData,
    /// The value is not a finite number.
    #[error("the value is not a finite number")]
    NotANumber,
    /// The window is not complete yet.
    #[error("not answered yet; ask again at {retry_at}")]
    NotYet {
        /// When to ask again.
        retry_at: Timestamp,
    },
    /// Several series answered where one was asked for.
    #[error("{series} series answered where one was asked for; narrow the query")]
    Ambiguous {
        /// How many.
        series: u32,
    },
    /// No answer from the source.
    #[error("the source is unreachable: {why}")]
    Unreachable {
        /// What happened, with the address and without secrets.
        why: String,
        /// When the source asked to be left alone until, in milliseconds from now.
        retry_after_ms: Option<u64>,
    },
    /// The source refused the query.
    #[error("the source refused the query: {why}")]
    BadQuery {
        /// The source's words.
        why: String,
    },
    /// Only in a backtest: the journal has no record of it.
    #[error("it was never recorded")]
    NotRecorded,
}

/// A metric's answer as it comes back to the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The metric.
    #[serde(rename = "m")]
    pub metric: MetricId,
    /// About whom.
    #[serde(rename = "s")]
    pub scope: Scope,
    /// The reading, or why there is none.
    #[serde(rename = "r")]
    pub result: Result<Reading, ReadError>,
}
