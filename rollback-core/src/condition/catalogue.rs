//! What a condition may name: the declared metrics, and the values that it reads.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::unit::Unit;

/// The metrics that conditions may name: their units, and which of them are measured for each arm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricCatalogue {
    metrics: BTreeMap<String, DeclaredMetric>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeclaredMetric {
    pub(super) unit: Unit,
    pub(super) per_arm: bool,
}

impl MetricCatalogue {
    /// A catalogue without metrics.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric that is measured for the candidate and for the stable release.
    #[must_use]
    pub fn per_arm(self, name: impl Into<String>, unit: Unit) -> Self {
        self.with(name, unit, true)
    }

    /// Adds a metric that is measured for the service as a whole.
    #[must_use]
    pub fn per_service(self, name: impl Into<String>, unit: Unit) -> Self {
        self.with(name, unit, false)
    }

    /// The names of the metrics, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.metrics.keys().map(String::as_str)
    }

    pub(super) fn get(&self, name: &str) -> Option<DeclaredMetric> {
        self.metrics.get(name).copied()
    }

    /// Whether one of them answers in words.
    pub(super) fn has_states(&self) -> bool {
        self.metrics
            .values()
            .any(|metric| metric.unit == Unit::State)
    }

    fn with(mut self, name: impl Into<String>, unit: Unit, per_arm: bool) -> Self {
        self.metrics
            .insert(name.into(), DeclaredMetric { unit, per_arm });
        self
    }
}

/// Whose value of a metric a condition reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The arm on trial, or the service where the metric has no arms: `metric`.
    OnTrial,
    /// The stable arm: `stable(metric)`.
    Stable,
    /// The candidate: `candidate(metric)`.
    Candidate,
    /// The same metric before the deployment: `baseline(metric)`.
    Baseline,
}

/// One value that a condition reads; values are provided by the slot's position.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slot {
    /// The metric's name.
    pub metric: String,
    /// Whose value it is.
    pub subject: Subject,
    /// The unit in which the value has to be provided.
    pub unit: Unit,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = &self.metric;
        match self.subject {
            Subject::OnTrial => write!(f, "{metric}"),
            Subject::Stable => write!(f, "stable({metric})"),
            Subject::Candidate => write!(f, "candidate({metric})"),
            Subject::Baseline => write!(f, "baseline({metric})"),
        }
    }
}
