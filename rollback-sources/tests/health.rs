//! Health checks against real servers, well and ill.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::time::Duration;

use rollback_core::{
    model::{ReadError, Sample},
    ports::MetricSource as _,
};
use rollback_sources::{HttpHealth, Limits};
use support::{
    Reply, Server, counts, nobody, of_arm, of_instance, of_service, ok, page, read, refused,
    unreachable, value,
};

fn source() -> HttpHealth {
    let limits = Limits::default()
        .connect(Duration::from_secs(1))
        .total(Duration::from_secs(2))
        .body_bytes(1000);
    HttpHealth::new(limits).unwrap()
}

async fn word(source: &HttpHealth, address: &str) -> String {
    let reading = read(source, of_instance(value("/health"), address))
        .await
        .unwrap();
    match reading.sample {
        Sample::State(word) => word.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn up_is_what_answers_as_expected_and_down_what_does_not() {
    let well = Server::start(|_| ok("{\"status\":\"ok\"}")).await;
    let ill = Server::start(|_| page("503 No", "", "{\"status\":\"ok\"}")).await;
    let mute = Server::start(|_| Reply::Hang).await;
    let gone = Server::start(|_| Reply::Raw(vec![])).await;
    let picky = source().body_contains("\"status\":\"ok\"");
    let wrong = source().body_contains("\"database\":\"ok\"");
    assert_eq!(word(&source(), &well.address).await, "up");
    assert_eq!(word(&picky, &well.address).await, "up");
    assert_eq!(word(&wrong, &well.address).await, "down");
    assert_eq!(word(&source(), &ill.address).await, "down");
    assert_eq!(
        word(&source().expect_status(200..=503), &ill.address).await,
        "up"
    );
    assert_eq!(word(&source(), &mute.address).await, "down");
    assert_eq!(word(&source(), &gone.address).await, "down");
    assert_eq!(word(&source(), &nobody().await).await, "down");
    assert!(well.requests()[0].starts_with("GET /health HTTP/1.1"));
}

#[tokio::test]
async fn an_answer_that_says_nothing_about_health_is_no_answer() {
    let large = Server::start(|_| ok(&"x".repeat(10_000_000))).await;
    let endless = Server::start(|_| Reply::Endless).await;
    let circle = Server::start(|_| page("302 Found", "Location: /health\r\n", "")).await;
    let ssh = Server::start(|_| Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await;
    for (server, says) in [
        (&large, "more than 1000 bytes"),
        (&endless, "more than 1000 bytes"),
        (&circle, "redirects more than 3 times"),
        (&ssh, "did not answer in HTTP"),
    ] {
        let why =
            unreachable(read(&source(), of_instance(value("/health"), &server.address)).await);
        assert!(why.contains(says) && why.contains(&server.address), "{why}");
    }
}

#[tokio::test]
async fn an_arm_is_up_when_all_are_and_checks_are_counted() {
    let well = Server::start(|_| ok("")).await;
    let ill = Server::start(|_| page("500 No", "", "")).await;
    let all = [&*well.address, &*ill.address, &*well.address];
    let state = read(&source(), of_arm(value("/health"), &all))
        .await
        .unwrap();
    assert_eq!(state.sample, Sample::State("down".into()));
    let state = read(&source(), of_arm(value("/health"), &all[..1]))
        .await
        .unwrap();
    assert_eq!(state.sample, Sample::State("up".into()));
    let checks = read(&source(), of_arm(counts("/health", "/health"), &all))
        .await
        .unwrap();
    assert_eq!(checks.sample, Sample::Counts { bad: 1, total: 3 });
    let nobody = read(&source(), of_arm(value("/health"), &[])).await;
    assert_eq!(nobody, Err(ReadError::NoData));
}

#[tokio::test]
async fn whole_urls_and_placeholders() {
    let server = Server::start(|path| match path {
        "/v2/i1" | "/all" => ok(""),
        _ => page("404 No", "", ""),
    })
    .await;
    let url = |path: &str| value(&server.url(path));
    let by_name = of_instance(url("/{{release}}/{{instance}}"), "a:1");
    let by_address = of_instance(value("http://{{address}}/all"), &server.address);
    for request in [by_name, by_address, of_service(url("/all"))] {
        let reading = read(&source(), request).await.unwrap();
        assert_eq!(reading.sample, Sample::State("up".into()));
    }
    for (request, says) in [
        (of_instance(url("/all"), "a:1"), "same for all"),
        (of_service(value("/all")), "per: instance"),
        (of_service(value("health")), "neither a path"),
        (of_service(value("https://a/health")), "TLS"),
        (of_instance(counts("/a", "/b"), "a:1"), "same path"),
        (of_instance(value("/{{colour}}"), "a:1"), "{{colour}}"),
    ] {
        let why = refused(read(&source(), request).await);
        assert!(why.contains(says), "{why}");
    }
}

#[tokio::test]
async fn many_questions_one_check() {
    let server = Server::start(|_| ok("")).await;
    let ask = |query| of_instance(query, &server.address);
    let questions = [ask(value("/health")), ask(counts("/health", "/health"))];
    let answers = source().read(&questions).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.requests().len(), 1);
}
