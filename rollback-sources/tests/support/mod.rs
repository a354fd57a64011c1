//! A local HTTP server that behaves as a test says, well or badly.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rollback_core::model::{
    Arm, Instance, InstanceId, InstanceState, MetricId, Query, ReadError, ReadRequest, Reading,
    ReleaseId, Scope, ServiceId, Subject, Timestamp, Window,
};
use rollback_core::ports::MetricSource;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What the server does with a request.
pub(crate) enum Reply {
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Never answers.
    Hang,
    /// Sends lines for as long as somebody reads.
    Endless,
}

/// A well-behaved answer.
pub(crate) fn page(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Raw(
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .into_bytes(),
    )
}

pub(crate) fn ok(body: &str) -> Reply {
    page("200 OK", "Content-Type: text/plain\r\n", body)
}

pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<String>>>,
    sent: Arc<AtomicUsize>,
}

impl Server {
    /// Serves until the test ends; `reply` is given the path.
    pub(crate) async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            requests: Arc::default(),
            sent: Arc::default(),
        };
        let (requests, sent) = (Arc::clone(&server.requests), Arc::clone(&server.sent));
        let reply = Arc::new(reply);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(
                    stream,
                    Arc::clone(&reply),
                    Arc::clone(&requests),
                    Arc::clone(&sent),
                ));
            }
        });
        server
    }

    /// Serves as well, and tells `reply` when a request begins and again before it is answered,
    /// others having had their turn in between.
    pub(crate) async fn start_slow(reply: impl Fn(bool) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            requests: Arc::default(),
            sent: Arc::default(),
        };
        let (requests, reply) = (Arc::clone(&server.requests), Arc::new(reply));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (requests, reply) = (Arc::clone(&requests), Arc::clone(&reply));
                tokio::spawn(async move {
                    let Some(head) = head(&mut stream).await else {
                        return;
                    };
                    requests.lock().unwrap().push(head);
                    let _ = reply(true);
                    for _ in 0..200 {
                        tokio::task::yield_now().await;
                    }
                    if let Reply::Raw(bytes) = reply(false) {
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Bytes of an endless answer so far.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    reply: Arc<impl Fn(&str) -> Reply>,
    requests: Arc<Mutex<Vec<String>>>,
    sent: Arc<AtomicUsize>,
) {
    let Some(head) = head(&mut stream).await else {
        return;
    };
    let path = head.split(' ').nth(1).unwrap().to_owned();
    requests.lock().unwrap().push(head);
    match reply(&path) {
        Reply::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Reply::Hang => std::future::pending().await,
        Reply::Endless => {
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            let line = "requests_total{code=\"200\"} 1\n".repeat(1000);
            while stream.write_all(line.as_bytes()).await.is_ok() {
                sent.fetch_add(line.len(), Ordering::SeqCst);
            }
        }
    }
}

/// The head of a request, if all of it comes.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

pub(crate) fn instance(name: &str, address: &str) -> Instance {
    let id = InstanceId::new(name).unwrap();
    Instance::new(id, Timestamp::from_millis(1_000), InstanceState::Ready).at(address)
}

pub(crate) fn window() -> Window {
    Window::new(
        Timestamp::from_millis(60_000),
        Timestamp::from_millis(61_000),
    )
}

fn request(query: Query, scope: Scope, subject: Subject) -> ReadRequest {
    let service = ServiceId::new("shop").unwrap();
    let metric = MetricId::new("errors").unwrap();
    ReadRequest::new(service, metric, query, scope, subject, window())
}

/// Asks about one instance of the candidate.
pub(crate) fn of_instance(query: Query, address: &str) -> ReadRequest {
    let one = instance("i1", address);
    let scope = Scope::Instance {
        arm: Arm::Candidate,
        instance: one.id.clone(),
    };
    request(
        query,
        scope,
        Subject::new(Some(ReleaseId::new("v2").unwrap()), [one]),
    )
}

/// Asks about all instances of the candidate.
pub(crate) fn of_arm(query: Query, addresses: &[&str]) -> ReadRequest {
    let instances: Vec<Instance> = addresses
        .iter()
        .enumerate()
        .map(|(n, address)| instance(&format!("i{n}"), address))
        .collect();
    let subject = Subject::new(Some(ReleaseId::new("v2").unwrap()), instances);
    request(query, Scope::Arm(Arm::Candidate), subject)
}

/// Asks about the service as a whole.
pub(crate) fn of_service(query: Query) -> ReadRequest {
    request(query, Scope::Service, Subject::new(None, []))
}

pub(crate) fn value(query: &str) -> Query {
    Query::Value(query.into())
}

pub(crate) fn counts(bad: &str, total: &str) -> Query {
    Query::Counts {
        bad: bad.into(),
        total: total.into(),
    }
}

pub(crate) async fn read(
    source: &dyn MetricSource,
    request: ReadRequest,
) -> Result<Reading, ReadError> {
    source.read(&[request]).await.pop().unwrap()
}

/// The words of an answer that says why nothing was seen.
pub(crate) fn unreachable(result: Result<Reading, ReadError>) -> String {
    match result {
        Err(ReadError::Unreachable { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// The words of an answer that refuses the query.
pub(crate) fn refused(result: Result<Reading, ReadError>) -> String {
    match result {
        Err(ReadError::BadQuery { why }) => why,
        other => panic!("{other:?}"),
    }
}
