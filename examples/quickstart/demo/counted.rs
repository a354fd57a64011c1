//! What the demo's shop counts about itself, for its `/metrics` page.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The content type of [`Counted::text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the shop counts about itself.
pub(crate) struct Counted {
    registry: Registry,
    requests: Family<CodeLabel, Counter>,
    duration: Histogram,
    memory: Gauge<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

impl Counted {
    /// Nothing counted yet.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<CodeLabel, Counter>::default();
        registry.register("http_requests", "Answers by status code", requests.clone());
        // Both series exist before the first answer: "none yet" is a zero, not a missing series.
        for code in [200, 500] {
            drop(requests.get_or_create(&CodeLabel { code }));
        }
        let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0];
        let duration = Histogram::new(bounds);
        registry.register_with_unit(
            "http_request_duration",
            "Time until the answer",
            Unit::Seconds,
            duration.clone(),
        );
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |at| at.as_secs_f64()),
        );
        registry.register_with_unit(
            "process_start_time",
            "When this process started, since the Unix epoch",
            Unit::Seconds,
            started,
        );
        let memory = Gauge::<i64>::default();
        registry.register_with_unit(
            "process_resident_memory",
            "Memory that this process occupies",
            Unit::Bytes,
            memory.clone(),
        );
        Self {
            registry,
            requests,
            duration,
            memory,
        }
    }

    /// One more answer, and how long it took.
    pub(crate) fn answered(&self, status: StatusCode, took: Duration) {
        self.requests
            .get_or_create(&CodeLabel {
                code: status.as_u16(),
            })
            .inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// The page for `/metrics`.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What the kernel says that this process occupies; none where there is no `/proc`.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_series_from_the_start_and_counts_from_zero() {
        let counted = Counted::new();
        let before = counted.text().unwrap();
        assert!(
            before.contains("http_requests_total{code=\"500\"} 0\n"),
            "{before}"
        );
        counted.answered(StatusCode::OK, Duration::from_millis(300));
        let after = counted.text().unwrap();
        let resident = |text: &str| -> i64 {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
            line.unwrap().parse().unwrap()
        };
        let grown = vec![1_u8; 32 << 20];
        let later = counted.text().unwrap();
        assert!(
            resident(&later) >= resident(&after) + 16 * (1 << 20),
            "{later} {}",
            grown.len()
        );
        for line in [
            "http_requests_total{code=\"200\"} 1\n",
            "http_requests_total{code=\"500\"} 0\n",
            "http_request_duration_seconds_bucket{le=\"0.25\"} 0\n",
            "http_request_duration_seconds_bucket{le=\"0.5\"} 1\n",
            "http_request_duration_seconds_count 1\n",
        ] {
            assert!(after.contains(line), "no {line:?} in\n{after}");
        }
    }
}
