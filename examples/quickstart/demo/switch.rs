//! The demo's weight switch: one address for the users, any number of releases behind it.
//!
//! A process of its own, as a real load balancer is: it serves on while the controller is dead, and tells it afterwards
//! what the weights are. It hides nothing: an instance that refuses the connection is a 502 for the user and counted
//! against its release, one that is silent a 504.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::child::Ready;
use super::routes::{Balancer, Picked, SetWeights};
use super::wire::{self, Answer, AskError, RELEASE_HEADER};

/// Headers that belong to one connection and are not forwarded.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Starts the weight switch.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SwitchArgs {
    /// Where users come in; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Where the weights are set; loopback only.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) control: SocketAddr,
    /// How long an instance may take before the user gets a 504.
    #[arg(long, default_value_t = 1800)]
    pub(crate) upstream_timeout_ms: u64,
    /// Ends by itself after so many seconds, should everybody forget it.
    #[arg(long, default_value_t = 900)]
    pub(crate) lifetime_s: u64,
}

/// What the switch counted for one release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Requests sent its way.
    pub(crate) requests: u64,
    /// Of these, answered with a 5xx by the release itself.
    pub(crate) failed: u64,
    /// Of these, not connected or broken off.
    pub(crate) unreachable: u64,
    /// Of these, not answered in time.
    pub(crate) timed_out: u64,
    /// Beside these, those that wait for their answer.
    pub(crate) under_way: usize,
}

/// Runs the switch until `stop` resolves, somebody posts `/stop`, or its lifetime is over.
pub(crate) async fn run(
    args: SwitchArgs,
    stop: impl Future<Output = ()>,
) -> Result<(), SwitchError> {
    if !args.control.ip().is_loopback() {
        return Err(SwitchError::ControlNotLoopback(args.control));
    }
    let users = wire::listen(args.listen).await?;
    let control = wire::listen(args.control).await?;
    let address = users.local_addr().map_err(SwitchError::Address)?;
    let steered_at = control.local_addr().map_err(SwitchError::Address)?;
    Ready::new(address, Some(steered_at)).announce();
    let lifetime = tokio::time::sleep(Duration::from_secs(args.lifetime_s));
    let ends = async {
        tokio::select! { () = stop => {}, () = lifetime => {} }
    };
    serve(
        users,
        control,
        Duration::from_millis(args.upstream_timeout_ms),
        ends,
    )
    .await;
    Ok(())
}

/// Why the switch did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    #[error(transparent)]
    Listen(#[from] wire::ListenError),
    #[error("cannot tell the address: {0}")]
    Address(std::io::Error),
    #[error("the control address {0} is not on loopback: anybody could set the weights")]
    ControlNotLoopback(SocketAddr),
}

async fn serve(
    users: TcpListener,
    control: TcpListener,
    upstream_timeout: Duration,
    stop: impl Future<Output = ()>,
) {
    let (stopping, stopped) = watch::channel(false);
    let stopping = Arc::new(stopping);
    let switch = Arc::new(Switch {
        upstream_timeout,
        state: Mutex::new(State {
            balancer: Balancer::default(),
            counts: BTreeMap::new(),
            under_way: BTreeMap::new(),
        }),
        stopping: Arc::clone(&stopping),
    });
    let told = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let proxy = Arc::clone(&switch);
    let proxied = wire::serve(users, told(stopped.clone()), move |request| {
        Arc::clone(&proxy).forward(request)
    });
    let steered = wire::serve(control, told(stopped), move |request| {
        Arc::clone(&switch).steer(request)
    });
    let from_outside = async {
        stop.await;
        stopping.send_replace(true);
    };
    let both = async { tokio::join!(proxied, steered) };
    let mut both = std::pin::pin!(both);
    tokio::select! {
        _ = &mut both => return,
        () = from_outside => {}
    }
    both.await;
}

struct Switch {
    upstream_timeout: Duration,
    state: Mutex<State>,
    stopping: Arc<watch::Sender<bool>>,
}

struct State {
    balancer: Balancer,
    counts: BTreeMap<String, Count>,
    /// Each request holds its release's until it is answered, or nobody waits for it any more.
    under_way: BTreeMap<String, Arc<()>>,
}

impl State {
    fn pick(&mut self) -> Option<(Picked, Arc<()>)> {
        let picked = self.balancer.pick()?;
        let held = self.under_way.entry(picked.release.clone()).or_default();
        Some((picked, Arc::clone(held)))
    }

    fn counted(&self) -> BTreeMap<String, Count> {
        let mut counts = self.counts.clone();
        for (release, held) in &self.under_way {
            counts.entry(release.clone()).or_default().under_way = Arc::strong_count(held) - 1;
        }
        counts
    }
}

impl Switch {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one assignment: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn forward(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let Some((picked, _under_way)) = self.state().pick() else {
            return wire::plain(StatusCode::SERVICE_UNAVAILABLE, "no release has a weight\n");
        };
        let answer = match picked.instance {
            Some(instance) => self.exchange(instance, request).await,
            None => Exchanged::Unreachable(format!("release {} has no instance\n", picked.release)),
        };
        let mut state = self.state();
        let count = state.counts.entry(picked.release.clone()).or_default();
        count.requests += 1;
        let mut answer = match answer {
            Exchanged::Answered(answer) => {
                count.failed += u64::from(answer.status().is_server_error());
                answer
            }
            Exchanged::Unreachable(why) => {
                count.unreachable += 1;
                wire::plain(StatusCode::BAD_GATEWAY, why)
            }
            Exchanged::TimedOut(why) => {
                count.timed_out += 1;
                wire::plain(StatusCode::GATEWAY_TIMEOUT, why)
            }
        };
        drop(state);
        if let Ok(release) = HeaderValue::from_str(&picked.release) {
            answer.headers_mut().insert(RELEASE_HEADER, release);
        }
        answer
    }

    async fn exchange(&self, instance: SocketAddr, request: Request<Incoming>) -> Exchanged {
        let (mut head, body) = request.into_parts();
        strip_hop_by_hop(&mut head.headers);
        let body = match wire::body_of(Request::new(body)).await {
            Ok(body) => body,
            Err(refused) => return Exchanged::Answered(refused),
        };
        let request = Request::from_parts(head, Full::new(body));
        match wire::ask(instance, request, self.upstream_timeout).await {
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                strip_hop_by_hop(&mut head.headers);
                Exchanged::Answered(Response::from_parts(head, Full::new(body)))
            }
            Err(error @ AskError::TimedOut { .. }) => Exchanged::TimedOut(format!("{error}\n")),
            Err(error) => Exchanged::Unreachable(format!("{error}\n")),
        }
    }

    async fn steer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        match (request.method().clone(), request.uri().path()) {
            (Method::GET, "/routes") => wire::json(StatusCode::OK, self.state().balancer.routes()),
            (Method::PUT, "/weights") => match read(request).await {
                Ok(set) => self.set(set),
                Err(refused) => refused,
            },
            (Method::PUT, "/instances") => match read(request).await {
                Ok(instances) => wire::json(StatusCode::OK, self.state().balancer.place(instances)),
                Err(refused) => refused,
            },
            (Method::GET, "/counts") => wire::json(StatusCode::OK, &self.state().counted()),
            (Method::POST, "/stop") => {
                self.stopping.send_replace(true);
                wire::json(StatusCode::OK, &())
            }
            _ => wire::plain(
                StatusCode::NOT_FOUND,
                "GET /routes, PUT /weights, PUT /instances, GET /counts, POST /stop\n",
            ),
        }
    }

    fn set(&self, set: SetWeights) -> Answer {
        match self.state().balancer.set(set) {
            Ok(routes) => wire::json(StatusCode::OK, routes),
            Err(stale) => wire::plain(StatusCode::CONFLICT, stale.to_string()),
        }
    }
}

/// Reads a JSON body; `Err` is the answer to give instead.
async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Answer> {
    let body = wire::body_of(request).await?;
    let unreadable = |error| wire::plain(StatusCode::BAD_REQUEST, format!("{error}\n"));
    serde_json::from_slice(&body).map_err(unreadable)
}

enum Exchanged {
    Answered(Answer),
    Unreachable(String),
    TimedOut(String),
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::remote::SwitchHandle;
    use crate::demo::wire::{ask, get, plain};
    use tokio::task::JoinHandle;

    const LONG: Duration = Duration::from_secs(10);

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    async fn switch(upstream_timeout: Duration) -> (SocketAddr, SwitchHandle, JoinHandle<()>) {
        let users = wire::listen(loopback()).await.unwrap();
        let control = wire::listen(loopback()).await.unwrap();
        let address = users.local_addr().unwrap();
        let handle = SwitchHandle::new(control.local_addr().unwrap());
        let serving = serve(users, control, upstream_timeout, std::future::pending());
        (address, handle, tokio::spawn(serving))
    }

    /// An instance that answers everything with one status, the path, and the request's own `x-asked` header.
    async fn instance(status: StatusCode) -> SocketAddr {
        let listener = wire::listen(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = move |request: Request<Incoming>| async move {
            let mut answer = plain(status, request.uri().path().to_owned());
            if let Some(asked) = request.headers().get("x-asked") {
                answer.headers_mut().insert("x-asked", asked.clone());
            }
            answer
        };
        tokio::spawn(wire::serve(listener, std::future::pending(), answer));
        address
    }

    /// An address where nobody listens any more.
    async fn nobody() -> SocketAddr {
        wire::listen(loopback())
            .await
            .unwrap()
            .local_addr()
            .unwrap()
    }

    fn weights(if_revision: u64, shares: &[(&str, u32)]) -> SetWeights {
        SetWeights {
            if_revision: Some(if_revision),
            change: Some("shift-1".into()),
            weights: shares
                .iter()
                .map(|(release, weight)| ((*release).to_owned(), *weight))
                .collect(),
        }
    }

    fn at(places: &[(&str, &[SocketAddr])]) -> BTreeMap<String, Vec<SocketAddr>> {
        places
            .iter()
            .map(|(release, places)| ((*release).to_owned(), places.to_vec()))
            .collect()
    }

    #[tokio::test]
    async fn requests_are_spread_by_weight_and_marked_with_their_release() {
        let (address, handle, serving) = switch(LONG).await;
        let v1 = instance(StatusCode::OK).await;
        let v2 = instance(StatusCode::INTERNAL_SERVER_ERROR).await;
        handle
            .place(&at(&[("v1", &[v1]), ("v2", &[v2])]))
            .await
            .unwrap();
        let now = handle
            .set(&weights(0, &[("v1", 3), ("v2", 1)]))
            .await
            .unwrap();
        assert_eq!((now.revision, now.change.as_deref()), (1, Some("shift-1")));
        let mut served = String::new();
        for _ in 0..8 {
            let mut request = get("/cart");
            request
                .headers_mut()
                .insert("x-asked", HeaderValue::from_static("blue"));
            let answer = ask(address, request, LONG).await.unwrap();
            assert_eq!(answer.body(), "/cart");
            assert_eq!(answer.headers()["x-asked"], "blue");
            let release = answer.headers()[RELEASE_HEADER].to_str().unwrap();
            served += &format!("{release} {}, ", answer.status().as_u16());
        }
        assert_eq!(served, "v1 200, v1 200, v2 500, v1 200, ".repeat(2));
        let counts = handle.counts().await.unwrap();
        assert_eq!(
            counts["v1"],
            Count {
                requests: 6,
                ..Count::default()
            }
        );
        assert_eq!(
            counts["v2"],
            Count {
                requests: 2,
                failed: 2,
                ..Count::default()
            }
        );
        handle.stop().await.unwrap();
        tokio::time::timeout(LONG, serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_is_under_way_until_it_is_answered() {
        let (address, handle, _serving) = switch(LONG).await;
        let instance = wire::listen(loopback()).await.unwrap();
        let v1 = instance.local_addr().unwrap();
        handle.place(&at(&[("v1", &[v1])])).await.unwrap();
        handle.set(&weights(0, &[("v1", 1)])).await.unwrap();
        let asking = tokio::spawn(async move { ask(address, get("/"), LONG).await });
        let (asked, _) = instance.accept().await.unwrap();
        handle.set(&weights(1, &[("v2", 1)])).await.unwrap();
        assert!(!handle.is_at_rest().await.unwrap());
        drop(asked);
        asking.await.unwrap().unwrap();
        assert!(handle.is_at_rest().await.unwrap());
    }

    #[tokio::test]
    async fn a_dead_a_missing_and_a_silent_instance_fail_for_the_user_and_count_against_their_release()
     {
        let (address, handle, _serving) = switch(Duration::from_millis(100)).await;
        let none = ask(address, get("/"), LONG).await.unwrap();
        assert_eq!(none.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(none.headers().get(RELEASE_HEADER), None);
        handle.set(&weights(0, &[("v2", 1)])).await.unwrap();
        // A listener that never accepts: the kernel completes the connection, nobody answers.
        let silent = wire::listen(loopback()).await.unwrap();
        let (dead, silent_at) = (nobody().await, silent.local_addr().unwrap());
        let table: [(&[SocketAddr], _, _); 3] = [
            (&[dead], StatusCode::BAD_GATEWAY, (1, 0)),
            (&[], StatusCode::BAD_GATEWAY, (2, 0)),
            (&[silent_at], StatusCode::GATEWAY_TIMEOUT, (2, 1)),
        ];
        for (requests, (instances, status, (unreachable, timed_out))) in (1..).zip(table) {
            handle.place(&at(&[("v2", instances)])).await.unwrap();
            let answer = ask(address, get("/"), LONG).await.unwrap();
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()[RELEASE_HEADER], "v2");
            let counted = Count {
                requests,
                unreachable,
                timed_out,
                ..Count::default()
            };
            assert_eq!(handle.counts().await.unwrap()["v2"], counted);
        }
    }

    #[tokio::test]
    async fn only_the_expected_revision_is_changed() {
        let (_address, handle, _serving) = switch(LONG).await;
        handle.set(&weights(0, &[("v1", 1)])).await.unwrap();
        let stale = handle.set(&weights(0, &[("v2", 1)])).await;
        let Err(AskError::Unusable { status, text, .. }) = &stale else {
            panic!("{stale:?}")
        };
        assert_eq!(*status, StatusCode::CONFLICT);
        assert!(text.contains("revision 1, not 0"), "{text}");
        let now = handle.routes().await.unwrap();
        assert_eq!(
            (now.revision, now.weights),
            (1, weights(0, &[("v1", 1)]).weights)
        );
    }

    #[tokio::test]
    async fn a_control_address_that_others_can_reach_is_refused() {
        let args = SwitchArgs {
            listen: loopback(),
            control: SocketAddr::from(([0, 0, 0, 0], 0)),
            upstream_timeout_ms: 100,
            lifetime_s: 1,
        };
        let error = run(args, std::future::pending())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("not on loopback"), "{error}");
    }
}
