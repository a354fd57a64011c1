//! The demo's users: so many requests a second, on time, however slow the answers are.
//!
//! An open loop with a deadline per request. A closed loop would send less while the service is slow, and so hide the
//! very harm that it is here to measure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::{Method, Request, StatusCode, body::Incoming};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::child::Ready;
use super::lines::{Lines, NoLines};
use super::seen::{Experience, Seen, Summary, Why};
use super::wire::{self, Answer, AskError, RELEASE_HEADER};

/// Starts the users.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LoadArgs {
    /// Where the requests go.
    #[arg(long)]
    pub(crate) target: SocketAddr,
    /// Requests per second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rate: u32,
    /// How long a user waits for an answer.
    #[arg(long, default_value_t = 2000)]
    pub(crate) deadline_ms: u64,
    /// Where the results are asked for; loopback only.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) control: SocketAddr,
    /// Also writes one JSON line a second to this file.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Ends by itself after so many seconds, should everybody forget it.
    #[arg(long, default_value_t = 900)]
    pub(crate) lifetime_s: u64,
}

/// Why the users did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Listen(#[from] wire::ListenError),
    #[error("cannot tell the address: {0}")]
    Address(std::io::Error),
    #[error("the control address {0} is not on loopback: anybody could stop the load")]
    ControlNotLoopback(SocketAddr),
    #[error(transparent)]
    Out(#[from] NoLines),
}

/// Sends until `stop` resolves, somebody posts `/stop`, or its lifetime is over; answers with what was seen.
pub(crate) async fn run(
    args: LoadArgs,
    stop: impl Future<Output = ()>,
) -> Result<Summary, LoadError> {
    if !args.control.ip().is_loopback() {
        return Err(LoadError::ControlNotLoopback(args.control));
    }
    let out = args.out.as_deref().map(Lines::create).transpose()?;
    let control = wire::listen(args.control).await?;
    let steered_at = control.local_addr().map_err(LoadError::Address)?;
    Ready::new(args.target, Some(steered_at)).announce();

    let (stopping, stopped) = watch::channel(false);
    let told = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let desk = Arc::new(Desk {
        seen: Mutex::new(Seen::default()),
        stopping,
    });
    let asked = Arc::clone(&desk);
    let answering = wire::serve(control, told(stopped.clone()), move |request| {
        Arc::clone(&asked).answer(request)
    });
    let lifetime = tokio::time::sleep(Duration::from_secs(args.lifetime_s));
    let ends = async {
        tokio::select! { () = stop => {}, () = lifetime => {}, () = told(stopped) => {} }
        desk.stopping.send_replace(true);
    };
    let (results, seen) = mpsc::unbounded_channel();
    let users = Users {
        target: args.target,
        gap: Duration::from_secs(1) / args.rate,
        deadline: Duration::from_millis(args.deadline_ms),
        clock: Clock::anchored(),
        results,
    };
    tokio::join!(users.come_until(ends), desk.collect(seen, out), answering);
    Ok(desk.seen().summary(0))
}

/// Users that come at even intervals.
struct Users {
    target: SocketAddr,
    gap: Duration,
    deadline: Duration,
    clock: Clock,
    results: mpsc::UnboundedSender<Experience>,
}

impl Users {
    /// Sends on time until `ends`; requests under way still report.
    async fn come_until(self, ends: impl Future<Output = ()>) {
        let mut ends = std::pin::pin!(ends);
        let mut ticks = tokio::time::interval(self.gap);
        // After a stall of this process, the missed users come at once and not never.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                biased;
                () = &mut ends => break,
                due = ticks.tick() => {
                    let visit = visit(self.target, self.deadline, due, self.clock);
                    let results = self.results.clone();
                    tokio::spawn(async move {
                        let _ = results.send(visit.await);
                    });
                }
            }
        }
    }
}

/// One request. Its time runs from when it was due, so that a late start is no excuse.
async fn visit(target: SocketAddr, deadline: Duration, due: Instant, clock: Clock) -> Experience {
    let left = (due + deadline).saturating_duration_since(Instant::now());
    let answer = wire::ask(target, wire::get("/"), left).await;
    let (release, failure) = match &answer {
        Ok(answer) => {
            let release = answer.headers().get(RELEASE_HEADER);
            let release = release
                .and_then(|name| name.to_str().ok())
                .map(str::to_owned);
            let status = answer.status();
            (
                release,
                status
                    .is_server_error()
                    .then(|| Why::ServerError(status.as_u16())),
            )
        }
        Err(AskError::TimedOut { .. }) => (None, Some(Why::TimedOut)),
        Err(_) => (None, Some(Why::Disconnected)),
    };
    Experience {
        release,
        sent_ms: clock.unix_ms(due),
        seen_ms: clock.unix_ms(Instant::now()),
        failure,
    }
}

/// The wall clock read once, then the monotonic one: a step of the wall clock moves no result.
#[derive(Debug, Clone, Copy)]
struct Clock {
    anchor: Instant,
    anchor_ms: u64,
}

impl Clock {
    fn anchored() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            anchor: Instant::now(),
            anchor_ms: millis(wall),
        }
    }

    fn unix_ms(self, at: Instant) -> u64 {
        self.anchor_ms + millis(at.saturating_duration_since(self.anchor))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where results come together and are asked for.
struct Desk {
    seen: Mutex<Seen>,
    stopping: watch::Sender<bool>,
}

impl Desk {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in results until the last user is gone, and writes a line for every second that is over.
    async fn collect(
        &self,
        mut results: mpsc::UnboundedReceiver<Experience>,
        mut out: Option<Lines>,
    ) {
        while let Some(experience) = results.recv().await {
            self.seen().add(&experience);
            if let Some(lines) = &mut out {
                lines.add(&experience);
            }
        }
        if let Some(lines) = &mut out {
            lines.end_second();
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let since = |query: &str| query.strip_prefix("since=")?.parse().ok();
        match (
            request.method(),
            request.uri().path(),
            request.uri().query(),
        ) {
            (&Method::GET, "/seen", None) => wire::json(StatusCode::OK, &self.seen().summary(0)),
            (&Method::GET, "/seen", Some(query)) => match since(query) {
                Some(since_ms) => wire::json(StatusCode::OK, &self.seen().summary(since_ms)),
                None => wire::plain(StatusCode::BAD_REQUEST, "write /seen?since=<unix ms>\n"),
            },
            (&Method::POST, "/stop", _) => {
                self.stopping.send_replace(true);
                wire::json(StatusCode::OK, &())
            }
            _ => wire::plain(
                StatusCode::NOT_FOUND,
                "GET /seen, GET /seen?since=<unix ms>, POST /stop\n",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::lines::Second;
    use crate::demo::remote::LoadHandle;
    use std::sync::atomic::{AtomicU64, Ordering};

    const LONG: Duration = Duration::from_secs(10);

    /// A service of release v9 that answers the n-th request (from 0) as told.
    async fn service<F>(answer: impl Fn(u64) -> F + Clone + Send + Sync + 'static) -> SocketAddr
    where
        F: Future<Output = StatusCode> + Send + 'static,
    {
        let listener = wire::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let number = Arc::new(AtomicU64::new(0));
        tokio::spawn(wire::serve(
            listener,
            std::future::pending(),
            move |_request| {
                let status = answer(number.fetch_add(1, Ordering::Relaxed));
                async move {
                    let mut answer = wire::plain(status.await, "");
                    answer.headers_mut().insert(
                        RELEASE_HEADER,
                        hyper::header::HeaderValue::from_static("v9"),
                    );
                    answer
                }
            },
        ));
        address
    }

    fn args(target: SocketAddr, out: Option<PathBuf>) -> LoadArgs {
        LoadArgs {
            target,
            rate: 200,
            deadline_ms: 300,
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            out,
            lifetime_s: 20,
        }
    }

    #[tokio::test]
    async fn every_third_answer_bad_is_seen_as_such_and_written_down() {
        let out =
            std::env::temp_dir().join(format!("quickstart-load-{}.jsonl", std::process::id()));
        let (told, mut answered) = watch::channel(0);
        let target = service(move |number| {
            told.send_replace(number + 1);
            let bad = number % 3 == 0;
            async move {
                if bad {
                    StatusCode::INTERNAL_SERVER_ERROR
                } else {
                    StatusCode::OK
                }
            }
        })
        .await;
        let enough = async { drop(answered.wait_for(|count| *count >= 30).await) };
        let summary = tokio::time::timeout(LONG, run(args(target, Some(out.clone())), enough));
        let summary = summary.await.unwrap().unwrap();
        let v9 = &summary["v9"];
        let all = v9.ok + v9.failed;
        assert!(all >= 30 && v9.failed == all.div_ceil(3), "{summary:?}");
        let first = v9.first_failure.unwrap();
        assert_eq!(first.why, Why::ServerError(500));
        assert!(
            first.sent_ms <= first.seen_ms && first.seen_ms <= v9.last_failure.unwrap().seen_ms
        );
        // The lines of all seconds add up to the summary.
        let text = std::fs::read_to_string(&out).unwrap();
        let lines: Vec<Second> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let sum = |count: fn(&super::super::seen::SeenOf) -> u64| -> u64 {
            lines.iter().map(|line| count(&line.releases["v9"])).sum()
        };
        assert_eq!(
            (sum(|seen| seen.ok), sum(|seen| seen.failed)),
            (v9.ok, v9.failed)
        );
        std::fs::remove_file(out).unwrap();
    }

    #[tokio::test]
    async fn silence_does_not_lower_the_rate_and_is_a_time_out_at_the_deadline() {
        // Nobody is ever answered: a closed loop would send one request per deadline, this one sends on.
        let (told, mut asked) = watch::channel(0);
        let target = service(move |number| {
            told.send_replace(number + 1);
            std::future::pending()
        })
        .await;
        let enough = async { drop(asked.wait_for(|count| *count >= 40).await) };
        let summary = tokio::time::timeout(LONG, run(args(target, None), enough))
            .await
            .unwrap()
            .unwrap();
        let nobody = &summary["-"];
        assert!(nobody.failed >= 40 && nobody.ok == 0, "{summary:?}");
        let first = nobody.first_failure.unwrap();
        assert_eq!(first.why, Why::TimedOut);
        assert!(
            (300..1500).contains(&(first.seen_ms - first.sent_ms)),
            "{first:?}"
        );
    }

    #[tokio::test]
    async fn nobody_there_is_a_disconnection_and_the_desk_answers_meanwhile() {
        let gone = wire::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let control = wire::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let mut args = args(gone, None);
        args.control = control;
        let load = tokio::spawn(run(args, std::future::pending()));
        let handle = LoadHandle::new(control);
        let live = async {
            loop {
                match handle.seen(0).await {
                    Ok(summary) if summary.get("-").is_some_and(|seen| seen.failed >= 3) => {
                        break summary;
                    }
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        let live = tokio::time::timeout(LONG, live).await.unwrap();
        assert_eq!(live["-"].first_failure.unwrap().why, Why::Disconnected);
        let last_ms = live["-"].last_failure.unwrap().seen_ms;
        assert_eq!(
            handle.seen(last_ms + 600_000).await.unwrap()["-"].failed_since,
            0
        );
        handle.stop().await.unwrap();
        let end = tokio::time::timeout(LONG, load)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(end["-"].failed >= live["-"].failed);
    }
}
