//! The query API as a scripted server speaks it: well, badly, late, and not at all.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rollback_core::{
    model::{ReadError, Reading, Sample, Secret, Timestamp},
    ports::MetricSource as _,
};
use rollback_sources::{Limits, PrometheusApi};
use support::{
    Reply, Server, counts, nobody, of_arm, of_service, ok, page, read, refused, unreachable, value,
    window,
};

fn limits() -> Limits {
    Limits::default()
        .connect(Duration::from_secs(1))
        .total(Duration::from_secs(2))
}

fn api(server: &Server) -> PrometheusApi {
    PrometheusApi::new(server.url(""), limits()).unwrap()
}

fn vector(series: &[&str]) -> String {
    let all: Vec<String> = series
        .iter()
        .map(|value| format!("{{\"metric\":{{}},\"value\":[61,\"{value}\"]}}"))
        .collect();
    let all = all.join(",");
    format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{all}]}}}}")
}

/// An answer to every question; the time of the sample is the end of the window.
async fn answer(body: String) -> Result<Reading, ReadError> {
    status("200 OK", "", body).await
}

async fn status(
    line: &'static str,
    headers: &'static str,
    body: String,
) -> Result<Reading, ReadError> {
    let server = Server::start(move |path| {
        if path.contains("timestamp%28") {
            ok(&vector(&["61"]))
        } else {
            page(line, headers, &body)
        }
    })
    .await;
    read(&api(&server), of_service(value("up"))).await
}

#[tokio::test]
async fn one_finite_series_is_a_value_and_nothing_else_is() {
    let reading = answer(vector(&["0.25"])).await.unwrap();
    assert_eq!(reading.sample, Sample::Gauge(0.25));
    assert_eq!(reading.window, window());
    assert!(reading.complete);
    assert_eq!(answer(vector(&[])).await, Err(ReadError::NoData));
    assert_eq!(
        answer(vector(&["1", "2", "3"])).await,
        Err(ReadError::Ambiguous { series: 3 })
    );
    for number in ["NaN", "+Inf", "-Inf"] {
        assert_eq!(
            answer(vector(&[number])).await,
            Err(ReadError::NotANumber),
            "{number}"
        );
    }
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[61,"7"]}}"#;
    assert_eq!(
        answer(scalar.to_owned()).await.unwrap().sample,
        Sample::Gauge(7.0)
    );
    for (kind, result, says) in [
        (
            "matrix",
            r#"[{"metric":{},"values":[[1,"2"]]}]"#,
            "increase()",
        ),
        ("string", r#"[61,"x"]"#, "a text"),
        (
            "vector",
            r#"[{"metric":{},"histogram":[61,{}]}]"#,
            "a histogram",
        ),
    ] {
        let body =
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#);
        let why = refused(answer(body).await);
        assert!(why.contains(says), "{why}");
    }
}

#[tokio::test]
async fn a_warning_makes_the_answer_a_partial_one() {
    let body = vector(&["1"]).replace(
        "\"status\"",
        "\"warnings\":[\"store s3 is away\"],\"status\"",
    );
    let reading = answer(body).await.unwrap();
    assert!(!reading.complete);
}

#[tokio::test]
async fn what_the_api_refuses_is_told_apart_from_what_it_cannot_do_now() {
    let error = |kind: &str| {
        format!(r#"{{"status":"error","errorType":"{kind}","error":"1:5: parse error"}}"#)
    };
    for (line, kind) in [
        ("400 Bad Request", "bad_data"),
        ("422 Unprocessable", "execution"),
    ] {
        let why = refused(status(line, "", error(kind)).await);
        assert!(
            why.contains("`up`") && why.contains("1:5: parse error"),
            "{why}"
        );
    }
    for (line, kind) in [
        ("503 Unavailable", "timeout"),
        ("500 Error", "internal"),
        ("503 Unavailable", "canceled"),
    ] {
        let why = unreachable(status(line, "", error(kind)).await);
        assert!(
            why.contains("parse error") && why.contains(line.split(' ').next().unwrap()),
            "{why}"
        );
    }
    for line in ["429 Too Many", "503 Unavailable"] {
        let answer = status(line, "Retry-After: 7\r\n", "go away".to_owned()).await;
        assert!(
            matches!(
                answer,
                Err(ReadError::Unreachable {
                    retry_after_ms: Some(7000),
                    ..
                })
            ),
            "{answer:?}"
        );
    }
    for (line, says) in [
        ("401 No", "credentials"),
        ("404 No", "without /api/v1"),
        ("502 No", "502"),
    ] {
        let why = unreachable(status(line, "", "<html>".to_owned()).await);
        assert!(why.contains(says), "{why}");
    }
}

#[tokio::test]
async fn what_is_no_answer_of_the_api_is_none() {
    for body in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[61,7]}]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[61,"x"]}]}}"#,
        r#"{"status":"success","data":{"resultType":"colour","result":[]}}"#,
    ] {
        unreachable(answer(body.to_owned()).await);
    }
    let elsewhere =
        Server::start(|_| page("302 Found", "Location: http://localhost:1/\r\n", "")).await;
    let why = unreachable(read(&api(&elsewhere), of_service(value("up"))).await);
    assert!(why.contains("another address"), "{why}");
    let circle =
        Server::start(|path| page("302 Found", &format!("Location: {path}\r\n"), "")).await;
    let why = unreachable(read(&api(&circle), of_service(value("up"))).await);
    assert!(why.contains("redirects"), "{why}");
    let mute = Server::start(|_| Reply::Hang).await;
    let why = unreachable(read(&api(&mute), of_service(value("up"))).await);
    assert!(why.contains("2s"), "{why}");
    let gone = PrometheusApi::new(format!("http://{}", nobody().await), limits()).unwrap();
    unreachable(read(&gone, of_service(value("up"))).await);
}

#[tokio::test]
async fn counts_are_whole_and_the_bad_ones_a_part() {
    for (bad, total, expected) in [
        ("2.4", "99.6", Ok((2, 100))),
        ("0", "0", Ok((0, 0))),
        // Extrapolated by themselves: one more by rounding is none.
        ("10.6", "10.4", Ok((10, 10))),
        ("12", "10", Err("must be a part")),
        ("-1", "10", Err("counts nothing")),
    ] {
        let server = Server::start(move |path| {
            ok(&vector(&[if path.contains("bad") { bad } else { total }]))
        })
        .await;
        let answer = read(&api(&server), of_service(counts("bad", "total"))).await;
        match expected {
            Ok((bad, total)) => assert_eq!(answer.unwrap().sample, Sample::Counts { bad, total }),
            Err(says) => assert!(refused(answer).contains(says)),
        }
    }
    let none =
        Server::start(|path| ok(&vector(if path.contains("bad") { &[] } else { &["9"] }))).await;
    let answer = read(&api(&none), of_service(counts("bad", "total"))).await;
    assert_eq!(
        answer,
        Err(ReadError::NoData),
        "what is not there is not zero"
    );
}

#[tokio::test]
async fn an_old_sample_is_of_its_own_time() {
    let server = Server::start(|path| {
        ok(&vector(&[if path.contains("timestamp%28") {
            "12.5"
        } else {
            "7"
        }]))
    })
    .await;
    let reading = read(&api(&server), of_service(value("up"))).await.unwrap();
    assert_eq!(reading.window.to, Timestamp::from_millis(12_500));
}

#[tokio::test]
async fn a_question_is_rendered_for_its_window_and_its_subject() {
    let server = Server::start(|_| ok(&vector(&["1"]))).await;
    let query = "sum(increase(m{r=\"{{release}}\"}[{{window}}]))";
    let of_candidate = of_arm(counts(query, query), &[]);
    read(&api(&server), of_candidate).await.unwrap();
    let heads = server.requests();
    assert_eq!(heads.len(), 1, "asked twice for the same: {heads:?}");
    let expected = "GET /api/v1/query?query=sum%28increase%28m%7Br%3D%22v2%22%7D%5B1000ms%5D%29%29&time=61.000 HTTP/1.1";
    assert!(heads[0].starts_with(expected), "{}", heads[0]);

    let why = refused(read(&api(&server), of_arm(value("up"), &[])).await);
    assert!(why.contains("same answer for all"), "{why}");
    let mut future = of_service(value("up"));
    future.window.to = Timestamp::from_millis(i64::MAX / 2);
    let answer = read(&api(&server), future).await;
    assert!(
        matches!(answer, Err(ReadError::NotYet { .. })),
        "{answer:?}"
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let server = Server::start(|_| ok(&vector(&["1"]))).await;
    let secret = || Secret::new("hunter2".to_owned());
    let bearer = api(&server).bearer_token(secret());
    let basic = api(&server).basic_auth("ops", secret());
    for (source, header) in [
        (bearer, "bearer hunter2"),
        (basic, "basic b3bzomh1bnrlcji="),
    ] {
        read(&source, of_service(value("up"))).await.unwrap();
        let head = server.requests().pop().unwrap().to_ascii_lowercase();
        assert!(head.contains(&format!("authorization: {header}")), "{head}");
        assert!(!format!("{source:?}").contains("hunter2"));
    }
    for url in [
        "prometheus:9090",
        "http://a:9090/?x=1",
        "http://u:hunter2@a",
        "https://a",
    ] {
        let error = PrometheusApi::new(url, limits()).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn no_more_than_so_many_are_asked_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        // A question that is answered is followed by the next one: what is open at a time is what
        // was asked and not answered.
        Server::start_slow(move |begins| {
            let open = if begins {
                now.fetch_add(1, Ordering::SeqCst) + 1
            } else {
                now.fetch_sub(1, Ordering::SeqCst) - 1
            };
            most.fetch_max(open, Ordering::SeqCst);
            ok(&vector(&["1"]))
        })
        .await
    };
    let questions: Vec<_> = (0..12)
        .map(|n| of_service(counts(&format!("bad{n}"), &format!("total{n}"))))
        .collect();
    let answers = api(&server).at_once(3).read(&questions).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.requests().len(), 24);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}
