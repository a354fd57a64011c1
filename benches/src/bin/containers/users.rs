//! The users of a service: so many requests a second, whatever becomes of them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::fault::BAD;

/// Requests of each system's users every second.
pub(crate) const RATE: u32 = 40;
/// An answer that takes longer is a failed request to its user,
const PATIENCE: Duration = Duration::from_secs(1);
/// who waits for it so long, to see whose fault it is.
const GIVES_UP: Duration = Duration::from_secs(5);

/// What a user saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) failed: bool,
    /// The bad release was the one that answered, or did not in time.
    pub(crate) by_the_bad_one: bool,
}

/// Where a service answers now; the users go round.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    /// Each with whether the bad release is behind it, if that is known.
    open: Mutex<Vec<(SocketAddr, bool)>>,
    turn: AtomicUsize,
}

impl Doors {
    pub(crate) fn set(&self, open: Vec<(SocketAddr, bool)>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    fn next(&self) -> Option<(SocketAddr, bool)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        open.get(turn % open.len().max(1)).copied()
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
async fn ask(client: &reqwest::Client, door: Option<(SocketAddr, bool)>) -> (bool, bool) {
    let Some((door, bad)) = door else {
        return (true, false);
    };
    let asked = Instant::now();
    match client.get(format!("http://{door}/")).send().await {
        Ok(answer) => {
            let version = answer.headers().get("x-version");
            let by = version.map_or(bad, |version| version.as_bytes() == BAD.as_bytes());
            let late = asked.elapsed() > PATIENCE;
            (late || !answer.status().is_success(), by)
        }
        Err(_) => (true, bad),
    }
}
