//! A real HAProxy in a folder of its own, web servers that say which release they are, and people
//! who ask.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "only tests use it"
)]

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rollback_core::model::{Instance, InstanceId, InstanceState, ReleaseId, Timestamp};
use rollback_testkit::conformance::Answered;
use rollback_traffic::{HaproxyShifter, Socket};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

/// Backends that are there from the beginning: `s0`, `s1`, …
pub const BACKENDS: u32 = 40;

pub struct Haproxy {
    pub folder: TempDir,
    pub front: SocketAddr,
    child: Mutex<Option<Child>>,
}

impl Haproxy {
    /// Starts one with `BACKENDS` empty backends, and more of the test's own.
    pub async fn start(more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("hap").tempdir().unwrap();
        let front = StdListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut config = format!(
            "global\n  stats socket {socket} mode 600 level admin\n  stats socket {low} mode 600 level operator\n\
             defaults\n  mode http\n  timeout connect 1s\n  timeout client 20s\n  timeout server 20s\n  retries 3\n  option redispatch\n\
             frontend front\n  bind {front}\n  use_backend %[req.hdr(x-service)]\n",
            socket = folder.path().join("admin.sock").display(),
            low = folder.path().join("low.sock").display(),
        );
        for number in 0..BACKENDS {
            config.push_str(&format!("backend s{number}\n  balance roundrobin\n"));
        }
        config.push_str(more);
        config.push('\n');
        fs::write(folder.path().join("haproxy.cfg"), config).unwrap();
        let haproxy = Self {
            folder,
            front,
            child: Mutex::default(),
        };
        haproxy.run().await;
        haproxy
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    pub fn shifter(&self) -> HaproxyShifter {
        HaproxyShifter::new(Socket::Unix(self.path()))
    }

    pub async fn run(&self) {
        let child = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(self.folder.path().join("haproxy.cfg"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.path().join("log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("`haproxy`: {error}; install it (Debian: apt-get install haproxy)")
            });
        *self.child.lock().unwrap() = Some(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(self.front).await.is_err()
            || UnixStream::connect(self.path()).await.is_err()
        {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "HAProxy does not start: {}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What HAProxy answers to a line, as a person would ask it.
    pub async fn say(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.path()).await.unwrap();
        stream
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The names of the servers of a backend.
    pub async fn servers(&self, backend: &str) -> Vec<String> {
        let answer = self.say(&format!("show servers state {backend}")).await;
        let row = |line: &str| line.split(' ').nth(3).map(str::to_owned);
        answer.lines().skip(2).filter_map(row).collect()
    }

    /// Requests one after the other, each on a connection of its own.
    pub async fn ask(&self, service: &str, requests: u32) -> Answered {
        let mut answered = Answered::default();
        for _ in 0..requests {
            match self.one(service).await {
                Some(release) => *answered.by.entry(release).or_default() += 1,
                None => answered.failed += 1,
            }
        }
        answered
    }

    /// Who answers one request; none if it fails.
    pub async fn one(&self, service: &str) -> Option<ReleaseId> {
        let mut stream = TcpStream::connect(self.front).await.ok()?;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: x\r\nx-service: {service}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200")
            .then(|| ReleaseId::new(body).ok())?
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Web servers of this process: each answers with the name of its release.
#[derive(Default)]
pub struct Instances {
    stops: Mutex<BTreeMap<InstanceId, watch::Sender<bool>>>,
    next: AtomicU32,
}

impl Instances {
    pub async fn start(&self, release: &ReleaseId) -> Instance {
        self.start_slow(release, Duration::ZERO).await
    }

    /// One that takes so long for each answer.
    pub async fn start_slow(&self, release: &ReleaseId, takes: Duration) -> Instance {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = InstanceId::new(format!("i{number}")).unwrap();
        let (stop, mut stopped) = watch::channel(false);
        self.stops.lock().unwrap().insert(id.clone(), stop);
        let name = release.to_string();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    connection = listener.accept() => {
                        let (stream, _) = connection.unwrap();
                        tokio::spawn(serve(stream, name.clone(), takes, stopped.clone()));
                    }
                    _ = stopped.changed() => return,
                }
            }
        });
        Instance::new(id, Timestamp::default(), InstanceState::Ready).at(address.to_string())
    }

    pub fn stop(&self, instance: &Instance) {
        self.stops.lock().unwrap().remove(&instance.id);
    }
}

async fn serve(
    mut stream: TcpStream,
    name: String,
    takes: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let talk = async {
        let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
        loop {
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                return;
            }
            seen.extend_from_slice(&buffer[..count]);
            if seen.ends_with(b"\r\n\r\n") {
                seen.clear();
                tokio::time::sleep(takes).await;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}",
                    name.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = talk => {}
        _ = stopped.changed() => {}
    }
}
