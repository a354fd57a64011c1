//! The demo on an engine that is in no swarm: it begins one, and when it is told to end in the
//! middle it leaves the engine as it was. The engine is the test's own, in a network of its own
//! (needs root, `dockerd`, and `unshare` and `ip` of the system).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rollback_docker::Engine;
use serde_json::Value;
use tempfile::TempDir;

/// Ended when this is dropped.
struct Daemon {
    folder: TempDir,
    running: Child,
}

impl Daemon {
    async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("sd").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let log = fs::File::create(at("log")).unwrap();
        let begin = format!(
            "ip link set lo up && exec dockerd --data-root {} --exec-root {} --pidfile {} -H unix://{} --iptables=false",
            at("data"),
            at("exec"),
            at("pid"),
            at("d.sock")
        );
        let running = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", &begin])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Self { folder, running };
        for _ in 0..300 {
            if daemon.engine().get("/info", &[]).await.is_ok() {
                return daemon;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = fs::read_to_string(daemon.folder.path().join("log"));
        panic!(
            "no engine within half a minute: {}",
            log.unwrap_or_default()
        );
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.folder.path().join("d.sock").display())
    }

    fn engine(&self) -> Engine {
        Engine::at(self.folder.path().join("d.sock"))
    }

    /// Swarm, networks, services' containers and images.
    async fn inventory(&self) -> Vec<String> {
        let info = self.engine().get("/info", &[]).await.unwrap();
        let mut all = Vec::from([info.pointer("/Swarm/LocalNodeState").unwrap().to_string()]);
        for path in ["/networks", "/containers/json", "/images/json"] {
            let every = [("all", "true")];
            let query: &[_] = if path == "/networks" { &[] } else { &every };
            let found = self.engine().get(path, query).await.unwrap();
            let found = found.as_array().unwrap().iter();
            let mut names: Vec<String> = found
                .map(|one| {
                    one.get("Name")
                        .or_else(|| one.get("Id"))
                        .map_or_else(String::new, Value::to_string)
                })
                .collect();
            names.sort();
            all.push(format!("{path} {}", names.join(" ")));
        }
        all
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let id = self.running.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.running.wait();
    }
}

#[tokio::test]
async fn a_swarm_that_the_demo_began_is_left_also_in_the_middle() {
    let daemon = Daemon::start().await;
    let before = daemon.inventory().await;
    assert!(before.concat().contains("inactive"), "{before:?}");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_swarm_controller"))
        .arg("--demo")
        .env("DOCKER_HOST", daemon.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap());
    let mut told = String::new();
    while !told.contains("v1 runs") {
        let more = lines.read_line(&mut told).unwrap();
        if more == 0 {
            let mut why = String::new();
            demo.stderr
                .take()
                .unwrap()
                .read_to_string(&mut why)
                .unwrap();
            panic!("{told}\n{why}");
        }
    }
    assert!(told.contains("Began a swarm of one node"), "{told}");
    let id = demo.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status();
    assert!(sent.unwrap().success());
    let mut why = String::new();
    demo.stderr
        .take()
        .unwrap()
        .read_to_string(&mut why)
        .unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1), "{told}\n{why}");
    assert!(
        why.contains("SIGTERM") && why.contains("is removed"),
        "{why}"
    );
    assert_eq!(daemon.inventory().await, before, "{told}\n{why}");
}
