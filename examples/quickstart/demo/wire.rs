//! The little HTTP that the demo's programs need, over hyper: serve until told to stop, ask once with a deadline.
//!
//! One connection per question: a refused connection is then always the state of the other side now, never a pooled
//! connection that went stale.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};

/// The header that names the release which answered.
pub(crate) const RELEASE_HEADER: HeaderName = HeaderName::from_static("x-demo-release");

/// An answer of one of the demo's programs.
pub(crate) type Answer = Response<Full<Bytes>>;

/// How long open requests may take to finish after a server was told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// No program of the demo says more than this in one message.
const BODY_LIMIT: usize = 1 << 20;

/// Why a question got no whole answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody listens there, or not reachably.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    /// The other side took too long.
    #[error("{address} did not answer within {} ms", deadline.as_millis())]
    TimedOut {
        address: SocketAddr,
        deadline: Duration,
    },
    /// The connection ended before the answer was whole.
    #[error("{address} broke off: {source}")]
    Broken {
        address: SocketAddr,
        source: hyper::Error,
    },
    /// A whole answer, but not one that can be used.
    #[error("{address} answered {status}: {text}")]
    Unusable {
        address: SocketAddr,
        status: StatusCode,
        text: String,
    },
}

/// Listens on `address`; port 0 takes any free one.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}. Free the port, or choose another one (0 takes any free port)"
)]
pub(crate) struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Serves `handler` until `stop` resolves, then accepts nothing new and lets open requests finish within a few seconds.
pub(crate) async fn serve<H, F>(listener: TcpListener, stop: impl Future<Output = ()>, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new());
    let open = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // The peer is gone again, or descriptors are short for a moment: neither ends a server.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            },
        };
        let handler = handler.clone();
        let service = service_fn(move |request| {
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        // A connection that breaks is the client's affair: it sees it and counts it.
        tokio::spawn(connection);
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, open.shutdown()).await;
}

/// Sends one request on a connection of its own and reads the whole answer, within `deadline`.
pub(crate) async fn ask(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
    deadline: Duration,
) -> Result<Response<Bytes>, AskError> {
    match tokio::time::timeout(deadline, exchange(address, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(AskError::TimedOut { address, deadline }),
    }
}

async fn exchange(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, AskError> {
    let broken = |source| AskError::Broken { address, source };
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| AskError::Connect { address, source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    if let Ok(host) = HeaderValue::from_str(&address.to_string()) {
        request.headers_mut().insert(HOST, host);
    }
    let answer = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    // The connection is driven here and not in a task, so that a deadline drops both together.
    let (answer, _) = tokio::join!(answer, connection);
    answer.map_err(broken)
}

/// Asks `path` with an optional JSON body and reads a JSON answer; a status that is no success is an error.
pub(crate) async fn ask_json<A: DeserializeOwned>(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<A, AskError> {
    let unusable = |status, text: String| AskError::Unusable {
        address,
        status,
        text,
    };
    let body = match body {
        Some(body) => serde_json::to_vec(body)
            .map_err(|error| unusable(StatusCode::BAD_REQUEST, error.to_string()))?,
        None => Vec::new(),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body))
        .map_err(|error| unusable(StatusCode::BAD_REQUEST, error.to_string()))?;
    let answer = ask(address, request, Duration::from_secs(2)).await?;
    if !answer.status().is_success() {
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        return Err(unusable(answer.status(), text));
    }
    serde_json::from_slice(answer.body())
        .map_err(|error| unusable(answer.status(), error.to_string()))
}

/// Reads a request's body whole; `Err` is the answer to give instead.
pub(crate) async fn body_of(request: Request<Incoming>) -> Result<Bytes, Answer> {
    match Limited::new(request.into_body(), BODY_LIMIT)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("more than {BODY_LIMIT} bytes"),
        )),
        Err(error) => Err(plain(StatusCode::BAD_REQUEST, error.to_string())),
    }
}

/// A plain text answer.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", text)
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(text) => answer(status, "application/json", text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// An answer of any type.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A request without a body.
pub(crate) fn get(path: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = hyper::Uri::from_static(path);
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const LOOPBACK: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[tokio::test]
    async fn a_stop_lets_an_open_request_finish_and_refuses_new_ones() {
        let listener = listen(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (arrived, arrival) = tokio::sync::mpsc::channel(1);
        let (release, released) = tokio::sync::watch::channel(false);
        let server = tokio::spawn(serve(
            listener,
            async { drop(stopped.await) },
            move |_request| {
                let arrived = arrived.clone();
                let mut released = released.clone();
                async move {
                    arrived.send(()).await.unwrap();
                    released.wait_for(|go| *go).await.unwrap();
                    plain(StatusCode::OK, "late but whole")
                }
            },
        ));
        let open = tokio::spawn(ask(address, get("/"), Duration::from_secs(10)));
        let mut arrival = arrival;
        arrival.recv().await.unwrap();
        stop.send(()).unwrap();
        // The listener closes before the open request is released.
        let refused = async {
            loop {
                match ask(address, get("/"), Duration::from_millis(200)).await {
                    Err(AskError::Connect { .. }) => break,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), refused)
            .await
            .unwrap();
        release.send(true).unwrap();
        let answer = open.await.unwrap().unwrap();
        assert_eq!(answer.body(), "late but whole");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_silent_server_is_a_time_out_and_an_absent_one_a_refused_connection() {
        let listener = listen(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, std::future::pending(), |_request| {
            std::future::pending()
        }));
        let silent = ask(address, get("/"), Duration::from_millis(50)).await;
        assert!(
            matches!(silent, Err(AskError::TimedOut { .. })),
            "{silent:?}"
        );
        server.abort();
        let _ = server.await;
        let absent = ask(address, get("/"), Duration::from_secs(2)).await;
        assert!(
            matches!(absent, Err(AskError::Connect { .. })),
            "{absent:?}"
        );
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let held = listen(LOOPBACK).await.unwrap();
        let address = held.local_addr().unwrap();
        let error = listen(address).await.unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("choose another"),
            "{error}"
        );
    }
}
