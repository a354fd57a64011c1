//! The demo's service: a small shop, started once per instance, with the fault of its release.
//!
//! It reads its release from a folder, reaches its database once, and then sells: `/` sells something, `/health` says
//! whether the process is well, `/metrics` counts what it did. Like most services, it does not know that it answers
//! wrongly: with an error rate of 30 % its health is still `ok`. A database that is sick later does not make it unwell
//! either, since starting the shop again would heal nothing.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
use super::database::Database;
use super::fault::{Fate, Fault};
use super::prices::Program;
use super::release::{self, Unfit};
use super::wire::{self, Answer, RELEASE_HEADER};

/// The exit code of a crash: "internal software error" of sysexits.h.
pub(crate) const CRASH_CODE: u8 = 70;

/// A leak stops here, so that a story cannot take down the machine that it is told on.
const MOST_LEAKED: usize = 1 << 30;

/// Starts one instance of the shop.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ShopArgs {
    /// The release, as users see it in the answer's `x-demo-release` header.
    #[arg(long)]
    pub(crate) version: String,
    /// The port on loopback; 0 takes any free one and prints it.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// The release's folder; without one, everything costs the same.
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// Host and port of the database; without one, nothing is looked up.
    #[arg(long)]
    pub(crate) database: Option<String>,
    /// What is wrong with this release once it runs.
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
    #[error(transparent)]
    Unfit(#[from] Unfit),
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
    log("INFO", &format!("shop {} starting", args.version));
    let prices = match &args.folder {
        Some(folder) => Some(release::load(folder, |name| std::env::var(name).ok())?),
        None => None,
    };
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
    serve(args, prices, listener, stop).await
}

async fn serve(
    args: ShopArgs,
    prices: Option<Program>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<Ended, ShopError> {
    let release =
        HeaderValue::from_str(&args.version).map_err(|_| ShopError::Name(args.version.clone()))?;
    let (crash, mut crashed) = mpsc::unbounded_channel();
    let shop = Arc::new(Shop {
        release,
        prices,
        database: args.database.map(Database::at),
        fault: args.fault,
        leaked: Mutex::new(Vec::new()),
        started: Instant::now(),
        requests: AtomicU64::new(0),
        counted: Counted::new(),
        hanging: AtomicBool::new(false),
        crash,
    });
    let opening = Arc::clone(&shop);
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
    let opens = async move {
        opening.open().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = opens => Ok(Ended::Stopped),
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
    prices: Option<Program>,
    database: Option<Database>,
    fault: Fault,
    /// What is never given back.
    leaked: Mutex<Vec<Vec<u8>>>,
    started: Instant,
    /// Sales asked for, which is what numbers them.
    requests: AtomicU64,
    counted: Counted,
    /// Whether it was logged that it hangs.
    hanging: AtomicBool,
    crash: mpsc::UnboundedSender<()>,
}

impl Shop {
    /// Looks for the database until it is reached, and says each new reason why it is not.
    async fn open(&self) {
        let Some(database) = &self.database else {
            return;
        };
        let mut said = String::new();
        while let Err(why) = database.reach().await {
            if why != said {
                log("ERROR", &why);
                said = why;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        log("INFO", "the database answers");
    }

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
                self.price(number).await
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
        self.leak();
        self.counted.answered(status, asked.elapsed());
        let body = json!({ "order": number, "ok": status == StatusCode::OK });
        wire::json(status, &body)
    }

    /// What the shop is there for: is it in stock, and what does it cost?
    async fn price(&self, number: u64) -> StatusCode {
        let stock = match &self.database {
            Some(database) => database.look_up().await,
            None => Ok(()),
        };
        let price = match &self.prices {
            Some(prices) => prices.price(number).map_err(|why| why.to_string()),
            None => Ok(1),
        };
        match stock.and(price) {
            Ok(_) => StatusCode::OK,
            Err(why) => {
                log("ERROR", &format!("request {number} GET / failed: {why}"));
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// Keeps the order in a cache that nobody ever empties.
    fn leak(&self) {
        let bytes = self.fault.leaks();
        if bytes > 0
            && let Ok(mut leaked) = self.leaked.lock()
            && leaked.len() * bytes < MOST_LEAKED
        {
            // Written to, so that it is memory and not only a promise of the kernel's.
            leaked.push(vec![1; bytes]);
        }
    }

    async fn health(&self) -> Answer {
        self.silent_if_hung().await;
        let release = self.release.to_str().unwrap_or_default();
        let (code, status) = match &self.database {
            Some(database) if !database.was_reached() => {
                (StatusCode::SERVICE_UNAVAILABLE, "waits for its database")
            }
            _ => (StatusCode::OK, "ok"),
        };
        wire::json(code, &json!({ "status": status, "release": release }))
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
#[path = "shop_tests.rs"]
mod tests;
