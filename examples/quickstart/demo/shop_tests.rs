//! One shop in this process, with each fault.

use super::*;
use crate::demo::release::Content;
use crate::demo::wire::{AskError, ask, get};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(10);

/// A shop in this process; dropping `stop` stops it.
struct Open {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<Ended, ShopError>>,
}

async fn open(fault: &str) -> Open {
    open_with(fault, None).await
}

async fn open_with(fault: &str, database: Option<&str>) -> Open {
    let listener = wire::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let args = ShopArgs {
        version: "v2".into(),
        port: 0,
        folder: None,
        database: database.map(str::to_owned),
        fault: fault.parse().unwrap(),
        lifetime_s: 30,
    };
    let ended = tokio::spawn(serve(args, None, listener, async { drop(stopped.await) }));
    Open {
        address,
        stop,
        ended,
    }
}

impl Open {
    async fn close(self) -> Ended {
        drop(self.stop);
        tokio::time::timeout(LONG, self.ended)
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }
}

#[tokio::test]
async fn a_healthy_shop_names_its_release_and_counts_what_it_sold() {
    let shop = open("healthy").await;
    for _ in 0..3 {
        let sold = ask(shop.address, get("/"), LONG).await.unwrap();
        assert_eq!(sold.status(), StatusCode::OK);
        assert_eq!(sold.headers()[RELEASE_HEADER], "v2");
    }
    let health = ask(shop.address, get("/health"), LONG).await.unwrap();
    assert_eq!(health.body(), r#"{"release":"v2","status":"ok"}"#);
    let metrics = ask(shop.address, get("/metrics"), LONG).await.unwrap();
    let text = String::from_utf8(metrics.body().to_vec()).unwrap();
    for line in [
        "http_requests_total{code=\"200\"} 3\n",
        "http_requests_total{code=\"500\"} 0\n",
        "http_request_duration_seconds_count 3\n",
        "http_request_duration_seconds_bucket{le=\"+Inf\"} 3\n",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let started = text
        .lines()
        .find_map(|line| line.strip_prefix("process_start_time_seconds "));
    let started: f64 = started.unwrap().parse().unwrap();
    assert!(started > 1.7e9, "{started}");
    assert_eq!(
        ask(shop.address, get("/else"), LONG)
            .await
            .unwrap()
            .status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(shop.close().await, Ended::Stopped);
}

#[tokio::test]
async fn an_error_rate_fails_that_share_of_the_sales_and_leaves_the_health_well() {
    let shop = open("error-rate:0.3").await;
    let mut failed = 0;
    for _ in 0..20 {
        let sold = ask(shop.address, get("/"), LONG).await.unwrap();
        failed += u32::from(sold.status() == StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(failed, 6);
    assert_eq!(
        ask(shop.address, get("/health"), LONG)
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    let metrics = ask(shop.address, get("/metrics"), LONG).await.unwrap();
    let text = String::from_utf8(metrics.body().to_vec()).unwrap();
    assert!(
        text.contains("http_requests_total{code=\"500\"} 6\n"),
        "{text}"
    );
    shop.close().await;
}

#[tokio::test]
async fn a_crash_breaks_the_open_request_and_ends_the_process() {
    let shop = open("crash-loop:2").await;
    for _ in 0..2 {
        ask(shop.address, get("/"), LONG).await.unwrap();
    }
    let last = tokio::spawn(ask(shop.address, get("/"), LONG));
    let ended = tokio::time::timeout(LONG, shop.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(ended, Ended::Crashed);
    // In the program the process exits here, which closes every connection.
    last.abort();
    let gone = ask(shop.address, get("/"), LONG).await;
    assert!(matches!(gone, Err(AskError::Connect { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_short_life_ends_without_being_asked() {
    let shop = open("crash-loop:0.05s").await;
    let ended = tokio::time::timeout(LONG, shop.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(ended, Ended::Crashed);
}

#[tokio::test]
async fn a_hung_shop_is_silent_on_every_page() {
    let shop = open("hang:1").await;
    assert!(ask(shop.address, get("/health"), LONG).await.is_ok());
    assert!(ask(shop.address, get("/"), LONG).await.is_ok());
    for page in ["/", "/health", "/metrics"] {
        let silent = ask(shop.address, get(page), Duration::from_millis(100)).await;
        assert!(
            matches!(silent, Err(AskError::TimedOut { .. })),
            "{page}: {silent:?}"
        );
    }
    assert_eq!(shop.close().await, Ended::Stopped);
}

#[tokio::test]
async fn a_slow_shop_answers_after_its_delay() {
    let shop = open("slow:0.05s-0.06s").await;
    let asked = Instant::now();
    assert_eq!(
        ask(shop.address, get("/"), LONG).await.unwrap().status(),
        StatusCode::OK
    );
    assert!(asked.elapsed() >= Duration::from_millis(50));
    shop.close().await;
}

#[tokio::test]
async fn a_release_that_cannot_be_read_stops_the_start_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    Content::ImportError.unpack(folder.path()).unwrap();
    let args = ShopArgs {
        version: "v2".into(),
        port: 0,
        folder: Some(folder.path().to_owned()),
        database: None,
        fault: Fault::Healthy,
        lifetime_s: 30,
    };
    let error = run(args, std::future::pending())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no module named `vouchers`") && error.contains("No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_shop_is_not_well_before_it_has_reached_its_database_once() {
    let shop = open_with("healthy", Some("nonexistent.invalid:27017")).await;
    let health = ask(shop.address, get("/health"), LONG).await.unwrap();
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        health
            .body()
            .starts_with(br#"{"release":"v2","status":"waits"#)
    );
    let sold = ask(shop.address, get("/"), LONG).await.unwrap();
    assert_eq!(sold.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(shop.close().await, Ended::Stopped);
}
