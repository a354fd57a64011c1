//! JSON bodies from real servers, well and badly told.
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
    model::{ReadError, ReadRequest, Reading, Sample, Secret, Timestamp, Window},
    ports::MetricSource,
};
use rollback_sources::{HttpJson, Limits};
use rollback_testkit::conformance::{self, MetricSourceHarness, QueryKind};
use support::{
    Reply, Server, counts, of_arm, of_instance, of_service, ok, page, read, refused, unreachable,
    value, window,
};

/// The body of a health endpoint as deployment scripts expect it.
const BODY: &str = r#"{"status":"degraded","error_rate":1.5,"availability":99.5,"response_time":150,
    "checks":{"database":{"ok":false}},"nothing":null,"list":[1],"dotted.name":7}"#;

fn limits() -> Limits {
    Limits::default().total(Duration::from_secs(2))
}

fn source() -> HttpJson {
    HttpJson::of_instances("/health", limits()).unwrap()
}

async fn ask(server: &Server, field: &str) -> Result<Reading, ReadError> {
    read(&source(), of_instance(value(field), &server.address)).await
}

#[tokio::test]
async fn each_field_is_a_metric() {
    let server = Server::start(|_| ok(BODY)).await;
    let state = |text: &str| Sample::State(text.into());
    for (field, expected) in [
        ("status", state("degraded")),
        ("error_rate", Sample::Gauge(1.5)),
        ("availability", Sample::Gauge(99.5)),
        ("response_time", Sample::Gauge(150.0)),
        ("checks.database.ok", state("false")),
        ("dotted.name", Sample::Gauge(7.0)),
    ] {
        assert_eq!(
            ask(&server, field).await.unwrap().sample,
            expected,
            "{field}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_zero() {
    let server = Server::start(|_| ok(BODY)).await;
    for field in [
        "errors",
        "nothing",
        "checks.cache",
        "status.code",
        "error_rate.x",
    ] {
        assert_eq!(ask(&server, field).await, Err(ReadError::NoData), "{field}");
    }
    for (field, says) in [
        ("checks", "more than one value"),
        ("list", "more than one"),
        ("error rate", "no field"),
        ("", "no field"),
    ] {
        let why = refused(ask(&server, field).await);
        assert!(why.contains(says), "{why}");
    }
    let both = of_instance(counts("error_rate", "error_rate"), &server.address);
    let why = refused(read(&source(), both).await);
    assert!(why.contains("query:"), "{why}");
}

#[tokio::test]
async fn a_body_is_of_the_time_that_it_tells() {
    let asked = window();
    for (told, to) in [
        ("\"1970-01-01T00:00:30Z\"", 30_000),
        ("30.5", 30_500),
        // Newer than the window: nothing is of the future.
        ("\"2026-02-08T12:00:00Z\"", asked.to.as_millis()),
        ("null", asked.to.as_millis()),
    ] {
        let body = format!("{{\"error_rate\":0.1,\"timestamp\":{told}}}");
        let server = Server::start(move |_| ok(&body)).await;
        let reading = ask(&server, "error_rate").await.unwrap();
        assert_eq!(reading.window.to, Timestamp::from_millis(to), "{told}");
        assert!(reading.window.from <= reading.window.to);
    }
    for told in ["\"yesterday\"", "-1", "1e300", "true"] {
        let body = format!("{{\"error_rate\":0.1,\"timestamp\":{told}}}");
        let server = Server::start(move |_| ok(&body)).await;
        let why = unreachable(ask(&server, "error_rate").await);
        assert!(why.contains("RFC 3339"), "{why}");
    }
}

#[tokio::test]
async fn a_sick_service_that_says_so_is_heard_and_one_that_does_not_is_unseen() {
    let sick = Server::start(|_| page("503 No", "", "{\"status\":\"unhealthy\"}")).await;
    assert_eq!(
        ask(&sick, "status").await.unwrap().sample,
        Sample::State("unhealthy".into())
    );
    let why = unreachable(ask(&sick, "error_rate").await);
    assert!(why.contains("503") && why.contains("error_rate"), "{why}");
    let busy = Server::start(|_| page("429 Later", "Retry-After: 7\r\n", "later")).await;
    assert!(matches!(
        ask(&busy, "status").await,
        Err(ReadError::Unreachable {
            retry_after_ms: Some(7000),
            ..
        })
    ));
    for body in ["", "ok", "[1]", "7", "{\"status\":\"ok\""] {
        let server = Server::start(move |_| ok(body)).await;
        let why = unreachable(ask(&server, "status").await);
        assert!(why.contains("cannot be read"), "{body}: {why}");
    }
}

#[tokio::test]
async fn one_request_for_all_fields_and_one_answer_for_one_instance() {
    let server = Server::start(|_| ok(BODY)).await;
    let questions = ["status", "error_rate", "availability"]
        .map(|field| of_instance(value(field), &server.address));
    let answers = source().read(&questions).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.requests().len(), 1);
    let two = of_arm(value("status"), &[&server.address, &server.address]);
    assert_eq!(
        read(&source(), two).await,
        Err(ReadError::Ambiguous { series: 2 })
    );
    let metrics = HttpJson::at(server.url("/metrics"), limits()).unwrap();
    let reading = read(&metrics, of_service(value("error_rate")))
        .await
        .unwrap();
    assert_eq!(reading.sample, Sample::Gauge(1.5));
    let why = refused(read(&metrics, of_instance(value("error_rate"), "a:1")).await);
    assert!(why.contains("same for all"), "{why}");
    let of_each = HttpJson::at("http://{{address}}/metrics", limits()).unwrap();
    let reading = read(&of_each, of_instance(value("error_rate"), &server.address)).await;
    assert_eq!(reading.unwrap().sample, Sample::Gauge(1.5));
    for wrong in ["metrics", "ftp://a/metrics"] {
        assert!(HttpJson::at(wrong, limits()).is_err());
    }
}

struct Json {
    server: Server,
}

#[async_trait]
impl MetricSourceHarness for Json {
    fn source(&self) -> Arc<dyn MetricSource> {
        Arc::new(source().bearer_token(Secret::new("hunter2".to_owned())))
    }

    async fn request(&self, kind: QueryKind) -> Option<ReadRequest> {
        let field = match kind {
            QueryKind::Answered => "error_rate",
            QueryKind::Absent => "nothere",
            QueryKind::Malformed => "checks",
            _ => return None,
        };
        Some(of_instance(value(field), &self.server.address))
    }

    async fn window(&self) -> Window {
        window()
    }

    async fn unreachable(&self) -> Option<Arc<dyn MetricSource>> {
        let source = HttpJson::of_instances("/hang", limits()).unwrap();
        Some(Arc::new(
            source.bearer_token(Secret::new("hunter2".to_owned())),
        ))
    }

    fn secret(&self) -> Option<String> {
        Some("hunter2".to_owned())
    }
}

#[tokio::test]
async fn json_keeps_the_promises_of_a_source() {
    let server = Server::start(|path| match path {
        "/hang" => Reply::Hang,
        _ => ok(BODY),
    })
    .await;
    let report = conformance::metric_source(&Json { server }).await;
    println!("{report}");
    report.assert_passed();
    // Two need history; JSON has finite numbers and one value to a field.
    assert_eq!(report.passed(), 7, "{report}");
}
