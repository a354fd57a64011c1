//! The demo's service: a small shop, started once per instance, with the fault of its release.
//!
//! `/` sells something, `/health` says whether the process is well, `/metrics` counts what it did. Like most services,
//! it does not know that it answers wrongly: with an error rate of 30 % its health is still `ok`.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::child::Ready;
use super::counted::{self, Counted};
use super::fault::{Fate, Fault};
use super::wire::{self, Answer, RELEASE_HEADER};

/// The exit code of a crash: "internal software error" of sysexits.h.
pub(crate) const CRASH_CODE: u8 = 70;

/// The file of the module that a release with an import error cannot find.
const MISSING_MODULE: &str = "modules/payments-v3.module";

/// Starts one instance of the shop.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ShopArgs {
    /// The release, as users see it in the answer's `x-demo-release` header.
    #[arg(long)]
    pub(crate) version: String,
    /// The port on loopback; 0 takes any free one and prints it.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// What is wrong with this release.
    #[arg(long, default_value_t = Fault::Healthy)]
    pub(crate) fault: Fault,
    /// Ends by itself after so many seconds, should everybody forget it.
    #[arg(long, default_value_t = 900)]
    pub(crate) lifetime_s: u64,
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to stop and finished its open requests.
    Stopped,
    /// Its fault killed it.
    Crashed,
}

/// Why an instance did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShopError {
    #[error(transparent)]
    Listen(#[from] wire::ListenError),
    /// The words of a loader that misses a module.
    #[error("cannot load module \"payments\": {MISSING_MODULE}: {0}")]
    Import(std::io::Error),
    #[error("cannot tell the address: {0}")]
    Address(std::io::Error),
    #[error("release name {0:?} cannot stand in a header")]
    Name(String),
}

/// Runs an instance until `stop` resolves or its fault kills it.
pub(crate) async fn run(
    args: ShopArgs,
    stop: impl Future<Output = ()>,
) -> Result<Ended, ShopError> {
    if args.fault == Fault::ImportError {
        log("INFO", &format!("shop {} starting", args.version));
        // Really looked for, so that the error is the operating system's own.
        std::fs::read(MISSING_MODULE).map_err(ShopError::Import)?;
    }
    let listener = wire::listen(SocketAddr::from(([127, 0, 0, 1], args.port))).await?;
    let address = listener.local_addr().map_err(ShopError::Address)?;
    if args.port == 0 {
        // Nobody could know it otherwise.
        Ready::new(address, None).announce();
    }
    log(
        "INFO",
        &format!("shop {} listening on {address}", args.version),
    );
    serve(args, listener, stop).await
}

async fn serve(
    args: ShopArgs,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<Ended, ShopError> {
    let release =
        HeaderValue::from_str(&args.version).map_err(|_| ShopError::Name(args.version.clone()))?;
    let (crash, mut crashed) = mpsc::unbounded_channel();
    let shop = Arc::new(Shop {
        release,
        fault: args.fault,
        started: Instant::now(),
        requests: AtomicU64::new(0),
        counted: Counted::new(),
        hanging: AtomicBool::new(false),
        crash,
    });
    let dies = async {
        match args.fault.dies_at() {
            Some(age) => tokio::time::sleep(age).await,
            None => std::future::pending().await,
        }
    };
    let ends = async {
        tokio::select! {
            () = stop => {},
            () = tokio::time::sleep(Duration::from_secs(args.lifetime_s)) => {}
        }
    };
    let served = wire::serve(listener, ends, move |request| {
        Arc::clone(&shop).handle(request)
    });
    tokio::select! {
        () = served => {
            log("INFO", &format!("shop {} stopped", args.version));
            Ok(Ended::Stopped)
        }
        Some(()) = crashed.recv() => Ok(die(&args.version)),
        () = dies => Ok(die(&args.version)),
    }
}

fn die(version: &str) -> Ended {
    log("ERROR", "price cache: cannot reserve 2147483648 bytes");
    log(
        "FATAL",
        &format!("shop {version}: out of memory, giving up"),
    );
    Ended::Crashed
}

/// One line of the service's log. Never fails: the reader of the log may be gone.
fn log(level: &str, text: &str) {
    let at = Timestamp::now();
    let _ = writeln!(std::io::stderr(), "{at:.3} {level:<5} {text}");
}

struct Shop {
    release: HeaderValue,
    fault: Fault,
    started: Instant,
    /// Sales asked for, which is what numbers them.
    requests: AtomicU64,
    counted: Counted,
    /// Whether it was logged that it hangs.
    hanging: AtomicBool,
    crash: mpsc::UnboundedSender<()>,
}

impl Shop {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let mut answer = match request.uri().path() {
            "/" => self.sell().await,
            "/health" => self.health().await,
            "/metrics" => self.metrics().await,
            _ => wire::plain(StatusCode::NOT_FOUND, "not here\n"),
        };
        answer
            .headers_mut()
            .insert(RELEASE_HEADER, self.release.clone());
        answer
    }

    async fn sell(&self) -> Answer {
        let asked = Instant::now();
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let work = Duration::from_millis(2 + number * 7 % 9);
        let status = match self.fault.fate(number, self.started.elapsed()) {
            Fate::Answered => {
                tokio::time::sleep(work).await;
                StatusCode::OK
            }
            Fate::AnsweredAfter(delay) => {
                tokio::time::sleep(delay).await;
                log(
                    "WARN",
                    &format!(
                        "request {number} GET / waited {} ms for a lock on table \"orders\"",
                        delay.as_millis(),
                    ),
                );
                StatusCode::OK
            }
            Fate::Failed => {
                tokio::time::sleep(work).await;
                log(
                    "ERROR",
                    &format!(
                        "request {number} GET / failed: column \"discount\" does not exist in table \"orders\"",
                    ),
                );
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Fate::NeverAnswered => {
                if !self.hanging.swap(true, Ordering::Relaxed) {
                    log(
                        "WARN",
                        "worker pool: 16 of 16 threads wait for the lock on \"inventory\"",
                    );
                }
                return self.silence().await;
            }
            Fate::Crashes => {
                // The receiver ends the process; this request dies with it.
                let _ = self.crash.send(());
                return std::future::pending().await;
            }
        };
        self.counted.answered(status, asked.elapsed());
        let body = json!({ "order": number, "ok": status == StatusCode::OK });
        wire::json(status, &body)
    }

    async fn health(&self) -> Answer {
        self.silent_if_hung().await;
        let release = self.release.to_str().unwrap_or_default();
        wire::json(
            StatusCode::OK,
            &json!({ "status": "ok", "release": release }),
        )
    }

    async fn metrics(&self) -> Answer {
        self.silent_if_hung().await;
        match self.counted.text() {
            Ok(text) => wire::answer(StatusCode::OK, counted::CONTENT_TYPE, text),
            Err(error) => wire::plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    async fn silent_if_hung(&self) {
        if self.fault.hung(
            self.requests.load(Ordering::Relaxed),
            self.started.elapsed(),
        ) {
            self.silence::<()>().await;
        }
    }

    /// What a deadlock looks like from outside: the connection stands and nothing comes.
    async fn silence<T>(&self) -> T {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let listener = wire::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let args = ShopArgs {
            version: "v2".into(),
            port: 0,
            fault: fault.parse().unwrap(),
            lifetime_s: 30,
        };
        let ended = tokio::spawn(serve(args, listener, async { drop(stopped.await) }));
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
    async fn a_missing_module_stops_the_start_with_its_name() {
        let args = ShopArgs {
            version: "v2".into(),
            port: 0,
            fault: Fault::ImportError,
            lifetime_s: 30,
        };
        let error = run(args, std::future::pending())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("cannot load module \"payments\"") && error.contains("No such file"),
            "{error}"
        );
    }
}
