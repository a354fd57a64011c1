//! `kill -9` of a real process, again and again, at moments that nobody chose. The process is
//! this test program once more: a controller with its journal on disk, and a platform in a file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rollback::{Controller, model::*, policy::Policy, ports::*};
use rollback_store::SqliteJournal;
use serde::{Deserialize, Serialize};

const POLICY: &str = r#"{
    "poll": "100ms",
    "metrics": {"errors": {"unit": "ratio", "per": "arm", "bad": "bad", "total": "all"}},
    "triggers": [{"name": "too_many_errors", "when": "errors > 5%", "for": "300ms"}],
    "bake": "10s",
    "verify": {"for": "300ms", "within": "30s"},
    "deadlines": {"apply": "5s"}
}"#;

/// The folder of a run, in the environment of the process that is to be killed.
const FOLDER: &str = "ROLLBACK_KILLED_FOLDER";

/// A platform in a file: written beside and renamed, so that a kill leaves it whole.
#[derive(Debug)]
struct Filed(PathBuf);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    wanted: Wanted,
    last: Option<ChangeId>,
    changes: Vec<Change>,
}

impl Filed {
    fn read(&self) -> State {
        serde_json::from_slice(&fs::read(&self.0).unwrap()).unwrap()
    }

    fn write(&self, state: &State) {
        let beside = self.0.with_extension("new");
        fs::write(&beside, serde_json::to_vec(state).unwrap()).unwrap();
        fs::rename(beside, &self.0).unwrap();
    }
}

#[async_trait]
impl Deployer for Filed {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Duration::from_millis(200))
            .with_two_arms()
            .with_weights()
            .with_tags()
    }

    async fn observe(&self, _: &ServiceId) -> Result<Observation, ChangeError> {
        let state = self.read();
        let arms: Vec<_> = state
            .wanted
            .iter()
            .map(|(release, weight)| {
                let id = InstanceId::new(format!("{release}-1")).unwrap();
                let instance = Instance::new(id, Timestamp::default(), InstanceState::Ready);
                ArmObservation::new(release.clone(), ArmState::Ready, weight, [instance])
            })
            .collect();
        let mut seen = Observation::new(state.wanted, arms);
        seen.last_change = state.last;
        Ok(seen)
    }

    async fn apply(&self, _: &ServiceId, request: &ChangeRequest) -> Result<Accepted, ChangeError> {
        let mut state = self.read();
        if state.wanted != request.expect.wanted {
            return Err(ChangeError::Conflict { now: None });
        }
        state.wanted = request.change.applied_to(&state.wanted);
        state.last = Some(request.id.clone());
        state.changes.push(request.change.clone());
        self.write(&state);
        // A kill shall find changes that are done and not yet answered.
        tokio::time::sleep(Duration::from_millis(30)).await;
        Ok(Accepted::default())
    }

    async fn check(&self, _: &ServiceId, _: &Release) -> Result<(), ChangeError> {
        Ok(())
    }
}

/// The candidate answers half of the requests that it gets badly.
#[derive(Debug)]
struct Errors(Filed);

#[async_trait]
impl MetricSource for Errors {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        let wanted = self.0.read().wanted;
        let answer = |request: &ReadRequest| {
            let release = request.subject.release.as_ref();
            if release.is_some_and(|release| wanted.weight(release) == Weight::NONE) {
                return Err(ReadError::NoData);
            }
            let bad = release.is_some_and(|release| release.as_str() == "v2");
            let counts = Sample::Counts {
                bad: if bad { 50 } else { 0 },
                total: 100,
            };
            Ok(Reading::new(request.window, counts))
        };
        requests.iter().map(answer).collect()
    }
}

/// The process that is killed: goes on with what the journal knows of, and ends with its outcome.
async fn life(folder: &Path) {
    let controller = Controller::builder("checkout")
        .policy(serde_json::from_str::<Policy>(POLICY).unwrap())
        .deployer(Filed(folder.join("platform.json")))
        .metrics(Errors(Filed(folder.join("platform.json"))))
        .journal(SqliteJournal::open(folder.join("journal.db")).unwrap())
        .owner("killed")
        .start()
        .await
        .unwrap();
    let status = controller.status().await.unwrap();
    let active = status.active.map(|active| active.deployment);
    let known = active.or_else(|| status.outcomes.last().map(|(id, _)| id.clone()));
    let deployment = match known {
        Some(id) => controller.attach(id),
        None => {
            let v2 = ReleaseId::new("v2").unwrap();
            let release = Release::new(v2, "v2", Definition::default());
            controller.deploy(release).await.unwrap()
        }
    };
    let outcome = deployment.ended().await.unwrap();
    let account = deployment.explain().await.unwrap();
    fs::write(folder.join("account.txt"), account.to_string()).unwrap();
    fs::write(folder.join("outcome"), outcome.word()).unwrap();
}

/// Not a test of its own: does something only as the process that is killed.
#[test]
fn as_the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(life(Path::new(&folder)));
}

fn spawn(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_the_process_that_is_killed"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the process `apart` after each of its starts, `kills` times; then lets it live.
fn killed_again_and_again(apart: Duration, kills: u32) -> (String, Vec<Change>, String) {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let platform = Filed(folder.join("platform.json"));
    platform.write(&State {
        wanted: Wanted::only(ReleaseId::new("v1").unwrap()),
        last: None,
        changes: Vec::new(),
    });
    for _ in 0..kills {
        let mut child = spawn(folder);
        std::thread::sleep(apart);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = spawn(folder);
    let late = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > late {
            child.kill().unwrap();
            panic!("{apart:?}: no end in a minute");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let outcome = fs::read_to_string(folder.join("outcome")).unwrap();
    let account = fs::read_to_string(folder.join("account.txt")).unwrap();
    (outcome, platform.read().changes, account)
}

#[test]
fn whatever_the_moment_nothing_is_doubled_and_the_end_is_the_same() {
    let (outcome, whole, account) = killed_again_and_again(Duration::ZERO, 0);
    assert_eq!(outcome, "rolled_back", "{account}");
    let words: Vec<&str> = whole.iter().map(Change::word).collect();
    assert_eq!(words, ["converge", "weights", "weights", "retire"]);
    let runs: Vec<_> = [60, 110, 170, 240]
        .map(|millis| {
            std::thread::spawn(move || {
                (
                    millis,
                    killed_again_and_again(Duration::from_millis(millis), 6),
                )
            })
        })
        .into_iter()
        .map(|run| run.join().unwrap())
        .collect();
    let taken_over = |account: &str| account.contains("took the journal over");
    let in_the_middle = runs.iter().any(|(_, (.., account))| taken_over(account));
    assert!(in_the_middle, "no kill fell into the deployment");
    for (millis, (outcome, changes, account)) in runs {
        assert_eq!(
            outcome, "rolled_back",
            "killed after {millis} ms: {account}"
        );
        assert_eq!(changes, whole, "killed after {millis} ms: {account}");
    }
}
