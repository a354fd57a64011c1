//! Where the metrics come from that the sources name.

use std::collections::BTreeMap;

use super::{Dialect, draft::Draft, native::Native};
use crate::{
    condition::{MetricCatalogue, Unit},
    model::MetricId,
    policy::document::{MetricDocument, PerName},
};

/// Metrics by the names that a source uses for them.
///
/// ```
/// use rollback_core::dialect::{Dialect, MetricMapping};
///
/// let defaults = MetricMapping::of(Dialect::RollbackConfig);
/// assert!(defaults.names().any(|name| name == "p95_response_time"));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricMapping(BTreeMap<MetricId, MetricDocument>);

/// `name`, unit, whom it is about, source, query; and where the dialect's document says so.
type Known = (&'static str, Unit, PerName, &'static str, &'static str);

const HEALTH: Known = (
    "health",
    Unit::State,
    PerName::Instance,
    "health",
    "/health",
);

/// 001 asks the JSON at `/metrics` and the status of `/health`.
const METRICS_001: [Known; 11] = [
    HEALTH,
    (
        "health_response_time",
        Unit::Milliseconds,
        PerName::Instance,
        "health",
        "response_time /health",
    ),
    (
        "error_rate",
        Unit::Ratio,
        PerName::Instance,
        "metrics",
        "error_rate",
    ),
    (
        "service_status",
        Unit::State,
        PerName::Instance,
        "health",
        "/health",
    ),
    (
        "p95_response_time",
        Unit::Milliseconds,
        PerName::Instance,
        "metrics",
        "p95_response_time",
    ),
    (
        "cpu_usage",
        Unit::Ratio,
        PerName::Instance,
        "metrics",
        "cpu_usage",
    ),
    (
        "memory_usage",
        Unit::Ratio,
        PerName::Instance,
        "metrics",
        "memory_usage",
    ),
    (
        "disk_usage",
        Unit::Ratio,
        PerName::Instance,
        "metrics",
        "disk_usage",
    ),
    (
        "db_connection_failures",
        Unit::Count,
        PerName::Instance,
        "metrics",
        "db_connection_failures",
    ),
    (
        "conversion_rate",
        Unit::Ratio,
        PerName::Service,
        "metrics",
        "conversion_rate",
    ),
    (
        "user_activity",
        Unit::Count,
        PerName::Service,
        "metrics",
        "user_activity",
    ),
];

/// 003 asks one JSON body at `/health`; 002 and 004 name the same numbers.
const METRICS_003: [Known; 5] = [
    HEALTH,
    ("status", Unit::State, PerName::Instance, "body", "status"),
    (
        "error_rate",
        Unit::Percent,
        PerName::Instance,
        "body",
        "error_rate",
    ),
    (
        "availability",
        Unit::Percent,
        PerName::Instance,
        "body",
        "availability",
    ),
    (
        "response_time",
        Unit::Milliseconds,
        PerName::Instance,
        "body",
        "response_time",
    ),
];

impl MetricMapping {
    /// The metrics that a dialect speaks of, from the endpoints that its document shows.
    #[must_use]
    pub fn of(dialect: Dialect) -> Self {
        let known: &[Known] = match dialect {
            Dialect::RollbackConfig => &METRICS_001,
            _ => &METRICS_003,
        };
        let known = known.iter().filter_map(|(name, unit, per, source, query)| {
            let metric = MetricDocument {
                unit: *unit,
                per: *per,
                query: Some((*query).into()),
                bad: None,
                total: None,
                source: Some((*source).into()),
                warmup: crate::policy::document::Text::default(),
            };
            Some((MetricId::new(*name).ok()?, metric))
        });
        Self(known.collect())
    }

    /// The same with this metric from there, in place of the default of that name.
    #[must_use]
    pub fn with(mut self, name: MetricId, metric: MetricDocument) -> Self {
        self.0.insert(name, metric);
        self
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(MetricId::as_str)
    }

    /// These where there are any, and those where not.
    pub(super) fn over(&self, defaults: Self) -> Self {
        let mut all = defaults.0;
        all.extend(self.0.clone());
        Self(all)
    }

    /// What conditions can name.
    pub(super) fn catalogue(&self) -> MetricCatalogue {
        self.0.iter().fold(
            MetricCatalogue::new(),
            |known, (name, metric)| match metric.per {
                PerName::Service => known.per_service(name.as_str(), metric.unit),
                PerName::Arm | PerName::Instance => known.per_arm(name.as_str(), metric.unit),
            },
        )
    }

    /// Declares the metrics of these names in the policy, and says where they come from.
    pub(super) fn declare<'a>(&self, draft: &mut Draft, names: impl IntoIterator<Item = &'a str>) {
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let Some(metric) = self.0.iter().find(|(known, _)| known.as_str() == name) else {
                continue;
            };
            let MetricDocument {
                source, query, bad, ..
            } = metric.1;
            let asked = query.as_deref().or(bad.as_deref()).unwrap_or_default();
            let why = match source {
                Some(source) => format!("asked of the source `{source}`: `{asked}`"),
                None => format!("asked of the only source: `{asked}`"),
            };
            let written = written(metric.1);
            draft.choose(&format!("metrics.{name}"), written, &why);
        }
    }
}

/// A metric in the order in which people write its keys, without defaults.
fn written(metric: &MetricDocument) -> Native {
    let json = serde_json::to_value(metric).unwrap_or_default();
    let keys = ["unit", "per", "query", "bad", "total", "source", "warmup"];
    Native::Map(
        keys.into_iter()
            .filter_map(|key| Some((key, json.get(key)?)))
            .filter(|(key, value)| !(*key == "warmup" && *value == "0s"))
            .map(|(key, value)| (key.to_owned(), Native::from(value)))
            .collect(),
    )
}
