//! The metric sources' conformance suite against real servers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rollback_core::{
    model::{ReadRequest, Secret, Window},
    ports::MetricSource,
};
use rollback_sources::{HttpHealth, Limits, PrometheusText};
use rollback_testkit::conformance::{self, MetricSourceHarness, QueryKind};
use support::{Reply, Server, of_instance, ok, page, value, window};

const TEXT: &str =
    "queue 7\nbroken NaN\nrequests_total{code=\"200\"} 1\nrequests_total{code=\"500\"} 2\n";

fn limits() -> Limits {
    Limits::default().total(Duration::from_secs(2))
}

fn secret() -> Secret<String> {
    Secret::new("hunter2".to_owned())
}

struct Text {
    server: Server,
}

#[async_trait]
impl MetricSourceHarness for Text {
    fn source(&self) -> Arc<dyn MetricSource> {
        let source = PrometheusText::of_instances("/metrics", limits()).unwrap();
        Arc::new(source.bearer_token(secret()))
    }

    async fn request(&self, kind: QueryKind) -> Option<ReadRequest> {
        let query = match kind {
            QueryKind::Answered => "queue",
            QueryKind::Absent => "nothere",
            QueryKind::NotANumber => "broken",
            QueryKind::Ambiguous => "requests_total",
            QueryKind::Malformed => "rate(requests_total[5m])",
            _ => return None,
        };
        Some(of_instance(value(query), &self.server.address))
    }

    async fn window(&self) -> Window {
        window()
    }

    async fn unreachable(&self) -> Option<Arc<dyn MetricSource>> {
        // The same address, a path that never answers.
        let source = PrometheusText::of_instances("/hang", limits()).unwrap();
        Some(Arc::new(source.bearer_token(secret())))
    }

    fn secret(&self) -> Option<String> {
        Some(secret().expose().clone())
    }
}

#[tokio::test]
async fn the_text_format_keeps_the_promises_of_a_source() {
    let server = Server::start(|path| match path {
        "/hang" => Reply::Hang,
        _ => ok(TEXT),
    })
    .await;
    let report = conformance::metric_source(&Text { server }).await;
    println!("{report}");
    report.assert_passed();
    assert_eq!(report.passed(), 9, "{report}");
}

struct Health {
    server: Server,
}

#[async_trait]
impl MetricSourceHarness for Health {
    fn source(&self) -> Arc<dyn MetricSource> {
        Arc::new(HttpHealth::new(limits()).unwrap().bearer_token(secret()))
    }

    async fn request(&self, kind: QueryKind) -> Option<ReadRequest> {
        match kind {
            QueryKind::Answered => Some(of_instance(value("/health"), &self.server.address)),
            QueryKind::Malformed => Some(of_instance(value("health"), &self.server.address)),
            // An instance that does not answer is down: that is an answer.
            _ => None,
        }
    }

    async fn window(&self) -> Window {
        window()
    }

    async fn unreachable(&self) -> Option<Arc<dyn MetricSource>> {
        None
    }

    fn secret(&self) -> Option<String> {
        Some(secret().expose().clone())
    }
}

#[tokio::test]
async fn health_checks_keep_the_promises_of_a_source() {
    let server = Server::start(|_| page("204 No Content", "", "")).await;
    let report = conformance::metric_source(&Health { server }).await;
    println!("{report}");
    report.assert_passed();
    assert_eq!(report.passed(), 5, "{report}");
}
