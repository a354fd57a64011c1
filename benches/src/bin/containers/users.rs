//! The users of a service: so many requests a second, whatever becomes of them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::header::HeaderMap;
use tokio::task::JoinHandle;

use crate::fault::BAD;

/// Requests of each system's users every second.
pub(crate) const RATE: u32 = 40;
/// Users are at work so long before the bad release comes,
pub(crate) const BEFORE: Duration = Duration::from_secs(3);
/// and so long after all is over.
pub(crate) const AFTERWARDS: Duration = Duration::from_secs(3);
/// How often it is looked how a service is, and where its doors are.
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// An answer that takes longer is a failed request to its user,
const PATIENCE: Duration = Duration::from_secs(1);
/// who waits for it so long, to see whose fault it is.
const GIVES_UP: Duration = Duration::from_secs(5);

/// The header in which a proxy says which of its servers it asked, also in answers of its own.
pub(crate) const ASKED_OF: &str = "x-asked-of";

/// What a user saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) failed: bool,
    /// The bad release was the one that answered, or did not in time.
    pub(crate) by_the_bad_one: bool,
}

/// Where a service answers.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) behind: Behind,
}

/// Who answers there.
#[derive(Debug, Clone)]
pub(crate) enum Behind {
    Good,
    Bad,
    /// It says in each answer whom it asked; so are the servers of the bad release called.
    Proxy {
        bad: Arc<str>,
    },
}

/// Where a service answers now; the users go round.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    open: Mutex<Vec<Door>>,
    turn: AtomicUsize,
}

impl Doors {
    pub(crate) fn set(&self, open: Vec<Door>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    fn next(&self) -> Option<Door> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        open.get(turn % open.len().max(1)).cloned()
    }
}

/// Users at work, until they are dropped.
#[derive(Debug)]
pub(crate) struct Users {
    asked: Arc<Mutex<Vec<Asked>>>,
    at_work: JoinHandle<()>,
}

impl Drop for Users {
    fn drop(&mut self) {
        self.at_work.abort();
    }
}

impl Users {
    pub(crate) fn of(doors: Arc<Doors>) -> Result<Self, reqwest::Error> {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let client = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .no_proxy()
            .timeout(GIVES_UP)
            .build()?;
        let seen = Arc::clone(&asked);
        let at_work = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
            loop {
                tick.tick().await;
                let (client, seen, door) = (client.clone(), Arc::clone(&seen), doors.next());
                tokio::spawn(async move {
                    let at = Instant::now();
                    let (failed, by_the_bad_one) = ask(&client, door).await;
                    let asked = Asked {
                        at,
                        failed,
                        by_the_bad_one,
                    };
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push(asked);
                });
            }
        });
        Ok(Self { asked, at_work })
    }

    /// What they saw since `from`.
    pub(crate) fn saw(&self, from: Instant) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|a| a.at >= from).copied().collect()
    }
}

/// Whether it failed, and whether by the bad release.
async fn ask(client: &reqwest::Client, door: Option<Door>) -> (bool, bool) {
    let Some(door) = door else {
        return (true, false);
    };
    let asked = Instant::now();
    match client.get(format!("http://{}/", door.address)).send().await {
        Ok(answer) => {
            let late = asked.elapsed() > PATIENCE;
            let by_the_bad_one = is_of_the_bad_one(answer.headers(), &door.behind);
            (late || !answer.status().is_success(), by_the_bad_one)
        }
        Err(_) => (true, matches!(door.behind, Behind::Bad)),
    }
}

/// By what the release says, else by what the proxy says that waited for it in vain, else by whose
/// door it is.
fn is_of_the_bad_one(says: &HeaderMap, behind: &Behind) -> bool {
    if let Some(version) = says.get("x-version") {
        return version.as_bytes() == BAD.as_bytes();
    }
    match behind {
        Behind::Good => false,
        Behind::Bad => true,
        Behind::Proxy { bad } => {
            let asked_of = says.get(ASKED_OF).and_then(|server| server.to_str().ok());
            asked_of.is_some_and(|server| server.contains(&**bad))
        }
    }
}
