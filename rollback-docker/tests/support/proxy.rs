//! A socket in front of an engine that does to requests what networks and engines do on bad days.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rollback_docker::Engine;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is passed on later.
    Slow(Duration),
    /// It is passed on, and the connection is cut within the answer.
    Half,
    /// It is not passed on; this status is the answer.
    Answer(u16),
    /// It is passed on, and whatever the engine answers, this status is the answer.
    PassedThen(u16),
    /// The connection is cut before it is passed on.
    CutBefore,
    /// The connection is cut after it was carried out.
    CutAfter,
}

/// A request as the proxy sees it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
}

impl Asked<'_> {
    pub(crate) fn changes_something(&self) -> bool {
        self.method == "POST" || self.method == "DELETE"
    }

    /// What it asks for, whomever about: `GET /services/*`.
    pub(crate) fn kind(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        let mut words: Vec<&str> = path.split('/').skip(1).collect();
        if words.first().is_some_and(|word| word.starts_with("v1.")) {
            words.remove(0);
        }
        if let Some(whom) = words.get_mut(1)
            && !["json", "create"].contains(whom)
        {
            *whom = "*";
        }
        format!("{} /{}", self.method, words.join("/"))
    }
}

type Plan = dyn Fn(&Asked<'_>) -> Option<Fault> + Send + Sync;

/// The socket; it is there as long as the value.
pub(crate) struct Proxy {
    folder: tempfile::TempDir,
    plan: Arc<Mutex<Arc<Plan>>>,
    /// How often a fault was done.
    pub(crate) faults: Arc<AtomicU32>,
    /// To which kinds of requests faults were done, where each kind has its own.
    pub(crate) kinds: Arc<Mutex<BTreeMap<String, u32>>>,
    /// Whole specifications with which services were updated: those that the engine took.
    taken: Arc<Mutex<Vec<Value>>>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// In front of the engine at `socket`; passes everything on at first.
    pub(crate) fn of(socket: impl Into<PathBuf>) -> Self {
        let socket = socket.into();
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("d.sock")).unwrap();
        let plan: Arc<Mutex<Arc<Plan>>> = Arc::new(Mutex::new(Arc::new(|_: &Asked<'_>| None)));
        let faults = Arc::<AtomicU32>::default();
        let (plans, count) = (Arc::clone(&plan), Arc::clone(&faults));
        let taken: Arc<Mutex<Vec<Value>>> = Arc::default();
        let log = Arc::clone(&taken);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let plan = Arc::clone(&plans.lock().unwrap());
                let (socket, count) = (socket.clone(), Arc::clone(&count));
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    // A connection that broke is what is to happen.
                    let _ = serve(stream, &socket, &*plan, &count, &log).await;
                });
            }
        });
        Self {
            folder,
            plan,
            faults,
            kinds: Arc::default(),
            taken,
            listening,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("d.sock")
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::at(self.socket())
    }

    /// The updates of services that the engine took.
    pub(crate) fn updates(&self) -> Vec<Value> {
        self.taken.lock().unwrap().clone()
    }

    /// From now on.
    pub(crate) fn plan(&self, plan: impl Fn(&Asked<'_>) -> Option<Fault> + Send + Sync + 'static) {
        *self.plan.lock().unwrap() = Arc::new(plan);
    }

    /// This fault to each n-th of the requests that change something.
    pub(crate) fn each_change(&self, nth: u32, fault: Fault) {
        let count = AtomicU32::new(0);
        self.plan(move |asked| {
            let hit =
                asked.changes_something() && count.fetch_add(1, Ordering::Relaxed) % nth == nth - 1;
            hit.then_some(fault)
        });
    }

    /// This fault to the first request of each kind but streams, and to each n-th after it: of
    /// those that change something, and of the others.
    pub(crate) fn each_of_its_kind(&self, changes: u32, others: u32, fault: Fault) {
        let counts = Mutex::new(BTreeMap::<String, u32>::new());
        let kinds = Arc::clone(&self.kinds);
        self.plan(move |asked| {
            let kind = asked.kind();
            if kind == "GET /events" {
                return None;
            }
            let nth = if asked.changes_something() {
                changes
            } else {
                others
            };
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(kind.clone()).or_default();
            *count += 1;
            let hit = *count % nth == 1 % nth;
            if hit {
                *kinds.lock().unwrap().entry(kind).or_default() += 1;
            }
            hit.then_some(fault)
        });
    }

    /// This fault to each n-th of all requests but those that are streams.
    pub(crate) fn each(&self, nth: u32, fault: Fault) {
        let count = AtomicU32::new(0);
        self.plan(move |asked| {
            let hit = !asked.path.contains("/events")
                && count.fetch_add(1, Ordering::Relaxed) % nth == nth - 1;
            hit.then_some(fault)
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(
    mut client: UnixStream,
    socket: &PathBuf,
    plan: &Plan,
    count: &AtomicU32,
    taken: &Mutex<Vec<Value>>,
) -> std::io::Result<()> {
    let request = whole_request(&mut client).await?;
    let first = String::from_utf8_lossy(&request);
    let mut words = first.lines().next().unwrap_or_default().split(' ');
    let asked = Asked {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
    };
    let fault = plan(&asked);
    if fault.is_some() {
        count.fetch_add(1, Ordering::Relaxed);
    }
    match fault {
        Some(Fault::CutBefore) => return Ok(()),
        Some(Fault::Answer(status)) => return refuse(&mut client, status).await,
        Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let mut engine = UnixStream::connect(socket).await?;
    engine.write_all(&request).await?;
    let is_update = asked.kind() == "POST /services/*/update";
    let passed_on = !matches!(
        fault,
        Some(Fault::Half | Fault::PassedThen(_) | Fault::CutAfter)
    );
    if passed_on && !is_update {
        copy_bidirectional(&mut client, &mut engine).await?;
        return Ok(());
    }
    // The whole head: then the engine has carried it out.
    let answer = until_blank_line(&mut engine).await?;
    if is_update && answer.starts_with(b"HTTP/1.1 200") {
        let begin = request.windows(4).position(|four| four == b"\r\n\r\n");
        let body = &request[begin.unwrap() + 4..];
        taken.lock().unwrap().push(serde_json::from_slice(body)?);
    }
    match fault {
        _ if passed_on => {
            client.write_all(&answer).await?;
            copy_bidirectional(&mut client, &mut engine).await?;
            Ok(())
        }
        Some(Fault::PassedThen(status)) => refuse(&mut client, status).await,
        Some(Fault::Half) => client.write_all(&answer[..answer.len() * 2 / 3]).await,
        _ => Ok(()),
    }
}

async fn refuse(client: &mut UnixStream, status: u16) -> std::io::Result<()> {
    let body = r#"{"message":"a bad day"}"#;
    let answer = format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).await
}

/// The head and as much of a body as the head says.
async fn whole_request(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut request = until_blank_line(stream).await?;
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0_usize);
    let begin = head.find("\r\n\r\n").map_or(request.len(), |at| at + 4);
    let mut left = (begin + length).saturating_sub(request.len());
    let mut piece = vec![0; 64 << 10];
    while left > 0 {
        let most = left.min(piece.len());
        let read = stream.read(&mut piece[..most]).await?;
        if read == 0 {
            break;
        }
        request.extend_from_slice(&piece[..read]);
        left -= read;
    }
    Ok(request)
}

async fn until_blank_line(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 << 10];
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..read]);
    }
    Ok(bytes)
}
