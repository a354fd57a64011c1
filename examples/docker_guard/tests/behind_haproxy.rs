//! Real containers behind a real HAProxy, deployed by the program as people run it: what users
//! notice of a bad release, how soon the stable one has all of them again, and a program that is
//! killed in the middle.
//!
//! Needs a Docker Engine and `haproxy` (Debian: `apt-get install haproxy`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rollback::{
    entry::Fact,
    model::{Seq, ServiceId, Timestamp},
    ports::Journal,
    store::SqliteJournal,
};
use rollback_docker::{ContainerDeployer, Engine};
use rollback_specimen::{Image, Proxy, free_address};
use serde_json::{Value, json};
use tempfile::TempDir;

const LABEL: &str = "io.rollback.test";

/// A service with two instances of `v1`, started by hand, behind an HAProxy of the test's own.
struct Shop {
    name: String,
    folder: TempDir,
    proxy: Proxy,
    engine: Engine,
}

impl Shop {
    async fn open(what: &str) -> Self {
        let name = format!("guard-{what}-{}", std::process::id());
        let folder = tempfile::Builder::new().prefix("gd").tempdir().unwrap();
        let front = free_address().unwrap();
        let proxy = Proxy::start(folder.path(), front).unwrap();
        let proxy = proxy.unwrap_or_else(|| panic!("no HAProxy (Debian: apt-get install haproxy)"));
        let shop = Self {
            name,
            folder,
            proxy,
            engine: Engine::from_env().unwrap(),
        };
        let image = |version: &str| Image::new(version).label(LABEL, &shop.name);
        for (version, image) in [
            ("v1", image("v1")),
            ("v2", image("v2")),
            ("v3", image("v3").env("FAIL_PERCENT", 30)),
        ] {
            let tag = format!("{}:{version}", shop.name);
            shop.engine
                .build(image.context(), Some(&tag))
                .await
                .unwrap();
        }
        let container =
            json!({ "Image": format!("{}:v1", shop.name), "ExposedPorts": { "8080/tcp": {} } });
        let query = [("name", shop.name.as_str())];
        shop.engine
            .post("/containers/create", &query, &container)
            .await
            .unwrap();
        let start = format!("/containers/{}/start", shop.name);
        shop.engine.post(&start, &[], &Value::Null).await.unwrap();
        shop.is_healthy().await;
        shop
    }

    /// Only what serves already can be returned to.
    async fn is_healthy(&self) {
        let path = format!("/containers/{}/json", self.name);
        for _ in 0..200 {
            let container = self.engine.get(&path, &[]).await.unwrap();
            if container["State"]["Health"]["Status"] == "healthy" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} is never healthy", self.name);
    }

    fn guard(&self, args: &[&str]) -> Command {
        let mut guard = Command::new(env!("CARGO_BIN_EXE_docker_guard"));
        guard.args(args).arg("--state").arg(self.folder.path());
        guard
    }

    fn deploy(&self, version: &str, strategy: &str) -> Command {
        let policy = self.folder.path().join("policy.yml");
        fs::write(
            &policy,
            format!(
                "strategy: {strategy}\ncheck: 1s\nbake: 4s\npoll: 500ms\n\
                 metrics:\n  errors: {{ unit: ratio, per: instance, source: metrics, bad: 'http_requests_total{{code=~\"5..\"}}', total: http_requests_total }}\n\
                 triggers:\n  - {{ name: too_many_errors, when: 'errors > 5%', for: 1s }}\n\
                 verify: {{ for: 2s, within: 30s }}\n\
                 deadlines: {{ converge: 20s, shift: 20s, retire: 60s, apply: 20s, doubt: 30s }}\nblind_budget: 30s\n"
            ),
        )
        .unwrap();
        let image = format!("{}:{version}", self.name);
        let haproxy = format!("{}/{}", self.proxy.socket().display(), Proxy::BACKEND);
        self.guard(&[
            "deploy",
            &self.name,
            &image,
            "--policy",
            &policy.to_string_lossy(),
            "--haproxy",
            &haproxy,
            "--container",
            &self.name,
            "--port",
            "8080",
        ])
    }

    /// When what was decided: the journal's own times.
    async fn decided_and_restored(&self) -> (Timestamp, Timestamp) {
        let journal = SqliteJournal::open(self.folder.path().join("guard.db")).unwrap();
        let service = ServiceId::new(&self.name).unwrap();
        let entries = journal
            .read(&service, Seq::default(), 100_000)
            .await
            .unwrap();
        let facts = entries
            .iter()
            .flat_map(|entry| entry.facts.iter().map(|fact| (entry.at, fact)));
        let mut decided = None;
        for (at, fact) in facts {
            match (fact, decided) {
                (Fact::RollbackDecided { .. }, None) => decided = Some(at),
                (Fact::StepDone { .. }, Some(decided)) => return (decided, at),
                _ => {}
            }
        }
        panic!("nothing was restored");
    }

    async fn close(self) {
        let service = ServiceId::new(&self.name).unwrap();
        ContainerDeployer::on(self.engine.clone())
            .stop_service(&service)
            .await
            .unwrap();
        let force = [("force", "true")];
        let _ = self
            .engine
            .delete(&format!("/containers/{}", self.name), &force)
            .await;
        for version in ["v1", "v2", "v3"] {
            let path = format!("/images/{}:{version}", self.name);
            self.engine.delete(&path, &force).await.unwrap();
        }
    }
}

type Seen = BTreeMap<(String, bool), u32>;

/// People who ask all the time; who answered, and whether well.
struct Users {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Users {
    fn come(front: SocketAddr) -> Self {
        let (stop, seen) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(Mutex::new(Seen::new())),
        );
        let threads = (0..2).map(|_| {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let answer = ask(front).unwrap_or_else(|| ("nobody".to_owned(), false));
                    *seen.lock().unwrap().entry(answer).or_default() += 1;
                    thread::sleep(Duration::from_millis(20));
                }
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            seen,
        }
    }

    fn leave(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.seen.lock().unwrap().clone()
    }
}

fn ask(front: SocketAddr) -> Option<(String, bool)> {
    let mut stream = TcpStream::connect(front).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let version = answer.lines().find_map(|line| {
        line.strip_prefix("X-Version: ")
            .or_else(|| line.strip_prefix("x-version: "))
    });
    Some((
        version.unwrap_or("nobody").to_owned(),
        answer.starts_with("HTTP/1.1 200"),
    ))
}

fn ended(output: &Output, code: i32) {
    let (told, progress) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{told}\n{progress}");
}

fn failed(seen: &Seen) -> Vec<&str> {
    let bad = seen.keys().filter(|(_, good)| !good);
    bad.map(|(version, _)| version.as_str()).collect()
}

#[tokio::test]
async fn stable_users_never_fail_and_have_everything_back() {
    let shop = Shop::open("canary").await;
    // The first deployment adopts what runs; with it, HAProxy lets users in, and they are evidence.
    let early = Users::come(shop.proxy.front());
    ended(&shop.deploy("v2", "blue_green").output().unwrap(), 0);
    early.leave();
    let users = Users::come(shop.proxy.front());
    let canary = "{ canary: { steps: [10%, 50%, 100%], wait: 5s } }";
    let output = shop.deploy("v3", canary).output().unwrap();
    let seen = users.leave();
    ended(&output, 10);
    assert_eq!(failed(&seen), ["v3"], "{seen:?}");
    assert!(seen.contains_key(&("v2".to_owned(), true)), "{seen:?}");
    let (decided, restored) = shop.decided_and_restored().await;
    let took = restored.since(decided);
    println!("restored {took:?} after the decision; {seen:?}");
    shop.close().await;
}

/// Waits until a program that runs works on the service.
fn until_it_guards(shop: &Shop) {
    for _ in 0..100 {
        let status = shop.guard(&["status", &shop.name]).output().unwrap();
        if String::from_utf8_lossy(&status.stdout).contains("guarded by") {
            return;
        }
    }
    panic!("nobody guards {}", shop.name);
}

fn send(signal: &str, to: &Child) {
    let id = to.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.unwrap().success());
}

/// It was told to end, and said how to go on; nobody works on the service now.
fn left(shop: &Shop, output: &Output, words: &[&str]) {
    ended(output, 130);
    let said = String::from_utf8_lossy(&output.stderr);
    let resume = format!("docker_guard resume {}", shop.name);
    for word in words.iter().chain([&&*resume]) {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    let status = shop.guard(&["status", &shop.name]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("nobody watches it"), "{status}");
}

#[tokio::test]
async fn a_program_that_is_interrupted_or_killed_in_the_middle_goes_on_where_it_was() {
    let shop = Shop::open("killed").await;
    let strategy = "{ canary: { steps: [50%, 100%], wait: 5s } }";
    let mut guard = shop
        .deploy("v2", strategy)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(guard.stderr.take().unwrap());
    let mut told = String::new();
    // Until the candidate has half of the users.
    while told.matches("is done").count() < 3 {
        assert!(progress.read_line(&mut told).unwrap() > 0, "{told}");
    }
    send("-INT", &guard);
    progress.read_to_string(&mut told).unwrap();
    let mut output = guard.wait_with_output().unwrap();
    output.stderr = told.clone().into_bytes();
    left(&shop, &output, &["Ctrl-C", "v2 at 50 %", "rollback"]);

    let resume = || {
        let mut resume = shop.guard(&["resume", &shop.name]);
        let resume = resume.stdout(Stdio::piped()).stderr(Stdio::piped());
        let resume = resume.spawn().unwrap();
        until_it_guards(&shop);
        resume
    };
    let guard = resume();
    send("-HUP", &guard);
    let output = guard.wait_with_output().unwrap();
    left(&shop, &output, &["the terminal was closed"]);
    let mut guard = resume();
    guard.kill().unwrap();
    guard.wait().unwrap();
    let users = Users::come(shop.proxy.front());
    let output = shop.guard(&["resume", &shop.name]).output().unwrap();
    let seen = users.leave();
    assert!(
        output.status.code() == Some(0),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(failed(&seen).is_empty(), "{seen:?}");
    let answers = ask(shop.proxy.front());
    assert_eq!(answers, Some(("v2".to_owned(), true)));
    let history = shop.guard(&["history", &shop.name]).output().unwrap();
    let history = String::from_utf8(history.stdout).unwrap();
    assert_eq!(history.lines().count(), 1, "one deployment: {history}");
    assert!(history.contains("promoted"), "{history}");
    shop.close().await;
}
