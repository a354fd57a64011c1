//! The controller's own metrics, on a registry of the host (feature `prometheus`).
//!
//! Names and labels follow one plan: prefix `rollback_`, base units, no release in a label except
//! on `rollback_service_info`.

#[cfg(feature = "prometheus")]
mod families;
mod tracker;

pub(crate) use tracker::Tracker;

#[cfg(feature = "prometheus")]
use std::sync::Arc;
use std::{fmt, time::Duration};

use rollback_core::model::{Outcome, ReadError, ServiceId};

/// A handle on the controller's own metrics. Register once per registry, clone for every
/// controller of the process. The default one counts nothing.
#[derive(Clone, Default)]
pub struct OwnMetrics {
    #[cfg(feature = "prometheus")]
    families: Option<Arc<families::Families>>,
}

impl fmt::Debug for OwnMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnMetrics").finish_non_exhaustive()
    }
}

/// What changed in a deployment, for the metrics.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "prometheus"),
    expect(dead_code, reason = "nobody counts without the feature")
)]
pub(crate) enum Change<'a> {
    /// A phase ended or began.
    Phase {
        word: &'static str,
        on: bool,
    },
    /// The candidate left the weights phase, and a rollback was decided so long after.
    Detected {
        trigger: &'a str,
        after: Duration,
    },
    /// Traffic is back so long after the decision.
    Restored {
        after: Duration,
    },
    /// A hold is over.
    Held {
        length: Duration,
    },
    Verdict {
        trigger: &'a str,
        verdict: &'static str,
        on: bool,
    },
    Blind {
        length: Duration,
    },
    Ended {
        outcome: &'a Outcome,
        strategy: &'static str,
        length: Duration,
    },
    Info {
        strategy: &'static str,
        stable: &'a str,
        candidate: &'a str,
        policy: &'a str,
        on: bool,
    },
}

impl OwnMetrics {
    /// Registers every metric.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn register(registry: &mut prometheus_client::registry::Registry) -> Self {
        Self {
            families: Some(Arc::new(families::Families::register(registry))),
        }
    }

    pub(crate) fn changed(&self, service: &ServiceId, change: &Change<'_>) {
        #[cfg(feature = "prometheus")]
        if let Some(families) = &self.families {
            families.changed(service, change);
        }
        #[cfg(not(feature = "prometheus"))]
        let _ = (service, change);
    }

    pub(crate) fn appended(&self, took: Duration, ok: bool) {
        #[cfg(feature = "prometheus")]
        if let Some(families) = &self.families {
            families.appended(took, ok);
        }
        #[cfg(not(feature = "prometheus"))]
        let _ = (took, ok);
    }

    pub(crate) fn effect(&self, effect: &'static str, result: &'static str, took: Duration) {
        #[cfg(feature = "prometheus")]
        if let Some(families) = &self.families {
            families.effect(effect, result, took);
        }
        #[cfg(not(feature = "prometheus"))]
        let _ = (effect, result, took);
    }

    pub(crate) fn notice(&self, channel: &str, result: &'static str) {
        #[cfg(feature = "prometheus")]
        if let Some(families) = &self.families {
            families.notice(channel, result);
        }
        #[cfg(not(feature = "prometheus"))]
        let _ = (channel, result);
    }

    pub(crate) fn reading_error(&self, service: &ServiceId, source: &str, error: &ReadError) {
        #[cfg(feature = "prometheus")]
        if let Some(families) = &self.families {
            families.reading_error(service, source, reason(error));
        }
        #[cfg(not(feature = "prometheus"))]
        let _ = (service, source, reason(error));
    }
}

/// The label `reason` of a reading's error.
fn reason(error: &ReadError) -> &'static str {
    match error {
        ReadError::NoData | ReadError::NotRecorded => "no_data",
        ReadError::NotANumber => "nan",
        ReadError::NotYet { .. } => "stale",
        ReadError::Ambiguous { .. } => "multi_series",
        ReadError::Unreachable { .. } => "unreachable",
        ReadError::BadQuery { .. } => "query",
        _ => "other",
    }
}
