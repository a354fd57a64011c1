//! The text format from real servers, good and bad.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::time::{Duration, Instant};

use rollback_core::{
    model::{ReadError, Sample, Secret, Timestamp},
    ports::MetricSource as _,
};
use rollback_sources::{Limits, PrometheusText};
use support::{
    Reply, Server, counts, nobody, of_arm, of_instance, of_service, ok, page, read, refused,
    unreachable, value, window,
};

const TEXT: &str = "\
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{code=\"200\",release=\"v2\"} 90
requests_total{code=\"500\",release=\"v2\"} 10
requests_total{code=\"200\",release=\"v1\"} 900
queue 7
broken NaN
took_seconds_bucket{le=\"0.5\"} 80
took_seconds_bucket{le=\"+Inf\"} 100
took_seconds_sum 12.5
took_seconds_count 100
process_start_time_seconds 1.5e+00
";

const BAD: &str = r#"requests_total{code=~"5..",release="{{release}}"}"#;
const TOTAL: &str = r#"requests_total{release="{{release}}"}"#;

fn source() -> PrometheusText {
    let limits = Limits::default()
        .connect(Duration::from_secs(1))
        .total(Duration::from_secs(2));
    PrometheusText::of_instances("/metrics", limits).unwrap()
}

#[tokio::test]
async fn counts_of_an_instance_are_totals_since_its_process_began() {
    let server = Server::start(|_| ok(TEXT)).await;
    let request = of_instance(counts(BAD, TOTAL), &server.address);
    let reading = read(&source(), request).await.unwrap();
    let since = Timestamp::from_millis(1_500);
    let expected = Sample::Cumulative {
        since,
        bad: 10,
        total: 100,
    };
    assert_eq!(reading.sample, expected);
    assert_eq!((reading.window, reading.complete), (window(), true));

    // Without the process's own word the platform's counts.
    let server = Server::start(|_| ok("requests_total{code=\"200\"} 3\n")).await;
    let query = counts("requests_total{code=\"500\"}", "requests_total");
    let reading = read(&source(), of_instance(query, &server.address))
        .await
        .unwrap();
    let expected = Sample::Cumulative {
        since: Timestamp::from_millis(1_000),
        bad: 0,
        total: 3,
    };
    assert_eq!(reading.sample, expected);
}

#[tokio::test]
async fn slow_requests_are_counted_from_a_histogram() {
    let server = Server::start(|_| ok(TEXT)).await;
    let query = counts("above(0.5, took_seconds)", "took_seconds_count");
    let reading = read(&source(), of_instance(query, &server.address))
        .await
        .unwrap();
    assert!(matches!(
        reading.sample,
        Sample::Cumulative {
            bad: 20,
            total: 100,
            ..
        }
    ));
}

#[tokio::test]
async fn one_request_answers_all_questions_about_an_instance() {
    let server = Server::start(|_| ok(TEXT)).await;
    let questions = [
        of_instance(value("queue"), &server.address),
        of_instance(value("nothere"), &server.address),
        of_instance(value("broken"), &server.address),
        of_instance(value("requests_total"), &server.address),
        of_instance(value("sum(requests_total)"), &server.address),
        of_instance(counts("took_seconds_count", "queue"), &server.address),
        of_instance(value("queue"), &nobody().await),
    ];
    let answers = source().read(&questions).await;
    assert_eq!(answers[0].as_ref().unwrap().sample, Sample::Gauge(7.0));
    assert_eq!(answers[1], Err(ReadError::NoData));
    assert_eq!(answers[2], Err(ReadError::NotANumber));
    assert_eq!(answers[3], Err(ReadError::Ambiguous { series: 3 }));
    assert!(refused(answers[4].clone()).contains("no PromQL"));
    assert!(refused(answers[5].clone()).contains("part of"));
    assert!(unreachable(answers[6].clone()).contains("no connection to http://127.0.0.1"));
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let head = requests[0].to_lowercase();
    assert!(head.starts_with("get /metrics http/1.1"), "{head}");
    assert!(
        !head.contains("accept-encoding"),
        "compression was asked for: {head}"
    );
    assert!(head.contains("accept: text/plain;version=0.0.4"), "{head}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_unreachable_in_time() {
    let server = Server::start(|_| Reply::Hang).await;
    let began = Instant::now();
    let why = unreachable(read(&source(), of_instance(value("queue"), &server.address)).await);
    let expected = format!("no answer from {} within 2s", server.url("/metrics"));
    assert_eq!(why, expected);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn too_much_is_refused_and_not_read() {
    let ten_megabytes = "requests_total 1\n".repeat(10_000_000 / 17);
    let server = Server::start(move |_| ok(&ten_megabytes)).await;
    let why = unreachable(read(&source(), of_instance(value("queue"), &server.address)).await);
    assert!(
        why.contains("more than 1048576 bytes") && why.contains(&server.address),
        "{why}"
    );

    // No length is said beforehand: the reading stops at the limit.
    let server = Server::start(|_| Reply::Endless).await;
    let limits = Limits::default().body_bytes(100_000);
    let small = PrometheusText::of_instances("/metrics", limits).unwrap();
    let why = unreachable(read(&small, of_instance(value("queue"), &server.address)).await);
    assert!(why.contains("more than 100000 bytes"), "{why}");
    assert!(
        server.sent() < 50_000_000,
        "{} bytes were taken",
        server.sent()
    );
}

#[tokio::test]
async fn redirects_have_an_end_and_stay_at_home() {
    let circle = Server::start(|_| page("302 Found", "Location: /metrics\r\n", "")).await;
    let why = unreachable(read(&source(), of_instance(value("queue"), &circle.address)).await);
    assert!(why.contains("redirects more than 3 times"), "{why}");
    assert_eq!(circle.requests().len(), 4);

    let other = Server::start(|_| ok(TEXT)).await;
    let location = format!("Location: {}\r\n", other.url("/metrics"));
    let away = Server::start(move |_| page("307 Go", &location, "")).await;
    let why = unreachable(read(&source(), of_instance(value("queue"), &away.address)).await);
    assert!(why.contains("another address"), "{why}");
    assert_eq!(other.requests().len(), 0);

    let moved = Server::start(|path| match path {
        "/metrics" => page("301 Moved", "Location: /metrics/\r\n", ""),
        _ => ok(TEXT),
    })
    .await;
    read(&source(), of_instance(value("queue"), &moved.address))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_not_the_format_is_said() {
    let cut_line = TEXT.trim_end().to_owned();
    let cut_body = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nqueue 7\n".to_vec();
    let latin = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nqueue \xe4\n".to_vec();
    type Answer = Box<dyn Fn() -> Reply + Send + Sync>;
    let table: [(Answer, &str); 8] = [
        (
            Box::new(|| ok("<html>Welcome</html>\n")),
            "text format: line 1",
        ),
        (Box::new(move || ok(&cut_line)), "cut off"),
        (Box::new(move || Reply::Raw(cut_body.clone())), "cut off"),
        (Box::new(move || Reply::Raw(latin.clone())), "not UTF-8"),
        (
            Box::new(|| Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
            "did not answer in HTTP",
        ),
        (Box::new(|| Reply::Raw(vec![])), "no answer from"),
        (
            Box::new(|| page("200 OK", "Content-Encoding: gzip\r\n", "x")),
            "gzip compression, which was not asked for",
        ),
        (
            Box::new(|| page("404 Not Found", "", "")),
            "404 Not Found, not 200",
        ),
    ];
    for (reply, says) in table {
        let server = Server::start(move |_| reply()).await;
        let why = unreachable(read(&source(), of_instance(value("queue"), &server.address)).await);
        assert!(
            why.contains(says) && why.contains(&server.address),
            "{says}: {why}"
        );
    }
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_back() {
    let server = Server::start(|_| page("503 Busy", "Retry-After: 7\r\n", "")).await;
    let answer = read(&source(), of_instance(value("queue"), &server.address)).await;
    let Err(ReadError::Unreachable { retry_after_ms, .. }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(retry_after_ms, Some(7_000));
}

#[tokio::test]
async fn numbers_of_an_older_time_are_of_that_time() {
    let server = Server::start(|_| ok("queue 7 30000\n")).await;
    let reading = read(&source(), of_instance(value("queue"), &server.address))
        .await
        .unwrap();
    assert_eq!(reading.window.to, Timestamp::from_millis(30_000));
}

#[tokio::test]
async fn nobody_is_blamed_for_anothers_numbers() {
    let server = Server::start(|_| ok(TEXT)).await;
    let one = PrometheusText::at(server.url("/stats"), Limits::default()).unwrap();
    // The whole service, or an arm that the query selects.
    read(&one, of_service(value("queue"))).await.unwrap();
    let arm = read(&one, of_arm(counts(BAD, TOTAL), &["a:1", "b:2"]))
        .await
        .unwrap();
    assert!(matches!(
        arm.sample,
        Sample::Cumulative {
            bad: 10,
            total: 100,
            ..
        }
    ));
    let why = refused(read(&one, of_arm(value("queue"), &["a:1"])).await);
    assert!(
        why.contains("same answer for all") && why.contains("{{release}}"),
        "{why}"
    );

    // Totals of several instances are not one total.
    let two = [&*server.address, &*server.address];
    let why = refused(read(&source(), of_arm(counts(BAD, TOTAL), &two)).await);
    assert!(why.contains("per: instance"), "{why}");
    let answer = read(&source(), of_arm(value("queue"), &two)).await;
    assert_eq!(answer, Err(ReadError::Ambiguous { series: 2 }));
    assert_eq!(
        read(&source(), of_arm(value("queue"), &[])).await,
        Err(ReadError::NoData)
    );
    let why = refused(read(&source(), of_service(value("queue"))).await);
    assert!(why.contains("per: instance"), "{why}");
}

#[tokio::test]
async fn a_token_is_sent_and_never_shown() {
    let server = Server::start(|_| page("401 Unauthorized", "", "")).await;
    let token = Secret::new("hunter2".to_owned());
    let source = source().bearer_token(token);
    let why = unreachable(read(&source, of_instance(value("queue"), &server.address)).await);
    assert!(
        server.requests()[0]
            .to_lowercase()
            .contains("authorization: bearer hunter2")
    );
    assert!(!why.contains("hunter2") && !format!("{source:?}").contains("hunter2"));
}
