//! The demo's database: what every release of the shop depends on, and shares with every other one.
//!
//! It can be told to be sick. Then it fails more than half of what it is asked, whoever asks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use tokio::sync::watch;

use super::child::Ready;
use super::wire::{self, Answer};

/// How long the shop waits for its database.
const PATIENCE: Duration = Duration::from_millis(500);

/// Starts the database.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DatabaseArgs {
    /// Where it listens, loopback only; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Ends by itself after so many seconds, should everybody forget it.
    #[arg(long, default_value_t = 900)]
    pub(crate) lifetime_s: u64,
}

/// Why the database did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Listen(#[from] wire::ListenError),
    #[error("cannot tell the address: {0}")]
    Address(std::io::Error),
    #[error("the address {0} is not on loopback: anybody could make the database sick")]
    NotLoopback(SocketAddr),
}

/// Answers until `stop` resolves, somebody posts `/stop`, or its lifetime is over.
pub(crate) async fn run(
    args: DatabaseArgs,
    stop: impl Future<Output = ()>,
) -> Result<(), DatabaseError> {
    if !args.listen.ip().is_loopback() {
        return Err(DatabaseError::NotLoopback(args.listen));
    }
    let listener = wire::listen(args.listen).await?;
    let address = listener.local_addr().map_err(DatabaseError::Address)?;
    Ready::new(address, None).announce();
    let (stopping, mut stopped) = watch::channel(false);
    let tables = Arc::new(Tables {
        asked: AtomicU64::new(0),
        sick: AtomicBool::new(false),
        stopping,
    });
    let lifetime = tokio::time::sleep(Duration::from_secs(args.lifetime_s));
    let ends = async {
        tokio::select! {
            () = stop => {}
            () = lifetime => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    };
    wire::serve(listener, ends, move |request| {
        let tables = Arc::clone(&tables);
        async move { tables.answer(&request) }
    })
    .await;
    Ok(())
}

struct Tables {
    asked: AtomicU64,
    sick: AtomicBool,
    stopping: watch::Sender<bool>,
}

impl Tables {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/stock") => self.stock(),
            (&Method::POST, "/sick") => self.be(true),
            (&Method::POST, "/well") => self.be(false),
            (&Method::POST, "/stop") => {
                self.stopping.send_replace(true);
                wire::json(StatusCode::OK, &())
            }
            _ => wire::plain(
                StatusCode::NOT_FOUND,
                "GET /stock, POST /sick, POST /well, POST /stop\n",
            ),
        }
    }

    fn stock(&self) -> Answer {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        // Four of seven: seven has no divisor in common with the weights of the switch, so that no release is luckier.
        if self.sick.load(Ordering::Relaxed) && number * 3 % 7 < 4 {
            return wire::plain(StatusCode::SERVICE_UNAVAILABLE, "too many connections\n");
        }
        wire::json(StatusCode::OK, &json!({ "pieces": 100 - number % 100 }))
    }

    fn be(&self, sick: bool) -> Answer {
        self.sick.store(sick, Ordering::Relaxed);
        wire::json(StatusCode::OK, &())
    }
}

/// The shop's end.
pub(crate) struct Database {
    /// As it is configured: a host and a port.
    configured: String,
    reached: OnceLock<SocketAddr>,
}

impl Database {
    /// The one that is configured.
    pub(crate) fn at(configured: String) -> Self {
        Self {
            configured,
            reached: OnceLock::new(),
        }
    }

    /// Whether it was reached since the start of this process.
    pub(crate) fn was_reached(&self) -> bool {
        self.reached.get().is_some()
    }

    /// Looks for it once; says why it is not there.
    pub(crate) async fn reach(&self) -> Result<(), String> {
        let configured = &self.configured;
        let why = |why: String| format!("cannot reach the database {configured}: {why}");
        let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(configured));
        let address = match found.await {
            Ok(Ok(mut addresses)) => addresses.next(),
            Ok(Err(error)) => return Err(why(error.to_string())),
            Err(_) => return Err(why("its name is not resolved in time".to_owned())),
        };
        let address = address.ok_or_else(|| why("its name has no address".to_owned()))?;
        wire::ask(address, wire::get("/stock"), PATIENCE)
            .await
            .map_err(|error| why(error.to_string()))?;
        let _ = self.reached.set(address);
        Ok(())
    }

    /// Looks something up; says why that failed.
    pub(crate) async fn look_up(&self) -> Result<(), String> {
        let configured = &self.configured;
        let Some(address) = self.reached.get() else {
            return Err(format!("the database {configured} was never reached"));
        };
        match wire::ask(*address, wire::get("/stock"), PATIENCE).await {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
            Ok(answer) => Err(format!(
                "the database {configured} answered {}: {}",
                answer.status(),
                String::from_utf8_lossy(answer.body()).trim(),
            )),
            Err(error) => Err(format!("the database {configured}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::remote::DatabaseHandle;

    /// A database in this process, found by asking the kernel for a free port first.
    async fn open() -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let free = wire::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let listen = free.local_addr().unwrap();
        drop(free);
        let args = DatabaseArgs {
            listen,
            lifetime_s: 30,
        };
        let running = tokio::spawn(async { run(args, std::future::pending()).await.unwrap() });
        (listen, running)
    }

    #[tokio::test]
    async fn a_sick_database_fails_four_of_seven_until_it_is_well() {
        let (address, running) = open().await;
        let database = Database::at(address.to_string());
        while database.reach().await.is_err() {
            tokio::task::yield_now().await;
        }
        let handle = DatabaseHandle::new(address);
        let failed = async || {
            let mut failed = 0;
            for _ in 0..14 {
                failed += u32::from(database.look_up().await.is_err());
            }
            failed
        };
        assert_eq!(failed().await, 0);
        handle.sick().await.unwrap();
        assert_eq!(failed().await, 8);
        handle.well().await.unwrap();
        assert_eq!(failed().await, 0);
        handle.stop().await.unwrap();
        running.await.unwrap();
        let gone = database.look_up().await.unwrap_err();
        assert!(gone.contains("cannot connect"), "{gone}");
    }

    #[tokio::test]
    async fn a_host_that_is_not_there_is_named() {
        let nowhere = Database::at("nonexistent.invalid:27017".to_owned());
        let why = nowhere.reach().await.unwrap_err();
        assert!(
            why.starts_with("cannot reach the database nonexistent.invalid:27017: "),
            "{why}"
        );
        assert!(!nowhere.was_reached());
        let why = nowhere.look_up().await.unwrap_err();
        assert!(why.contains("was never reached"), "{why}");
    }
}
