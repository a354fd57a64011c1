//! A deployer on a directory of its own, and eyes on /proc.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rollback_core::{
    model::{
        Accepted, ArmState, Change, ChangeError, ChangeId, ChangeRequest, DeploymentId,
        Expectation, Instance, InstanceState, Observation, Placement, Release, ServiceId,
        Timestamp,
    },
    ports::Deployer as _,
};
use rollback_process::{HealthCheck, ProcessDefinition, ProcessDeployer, Restart};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) mod scripted;

pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) deployer: ProcessDeployer,
    pub(crate) service: ServiceId,
    step: std::cell::Cell<u32>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|deployer| deployer)
    }

    pub(crate) fn with(extend: impl FnOnce(ProcessDeployer) -> ProcessDeployer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let deployer = extend(ProcessDeployer::open(dir.path()).unwrap());
        Self {
            dir,
            deployer,
            service: ServiceId::new("shop").unwrap(),
            step: std::cell::Cell::new(0),
        }
    }

    /// A shell script as a release; its processes are known by the folder in their environment.
    pub(crate) fn script(&self, text: &str) -> ProcessDefinition {
        self.owned(ProcessDefinition::new("sh").args(["-c", text]))
            .health(HealthCheck::alive(Duration::from_millis(50)))
    }

    /// The HTTP service of the examples.
    pub(crate) fn hello(&self) -> ProcessDefinition {
        self.owned(ProcessDefinition::new(example("hello")))
            .port(rollback_process::PortPlan::Any)
            .health(
                HealthCheck::http("/health")
                    .every(Duration::from_millis(100))
                    .timeout(Duration::from_secs(1)),
            )
    }

    fn owned(&self, definition: ProcessDefinition) -> ProcessDefinition {
        definition
            .env("BENCH", self.dir.path().to_string_lossy())
            .stop_grace(Duration::from_secs(5))
            .restart(Restart::new(
                Duration::from_millis(20),
                Duration::from_millis(200),
            ))
    }

    pub(crate) async fn look(&self) -> Observation {
        self.deployer.observe(&self.service).await.unwrap()
    }

    pub(crate) async fn request(&self, change: Change, release: Option<&Release>) -> ChangeRequest {
        let seen = self.look().await;
        self.step.set(self.step.get() + 1);
        let id = ChangeId {
            deployment: DeploymentId::new("d1").unwrap(),
            step: self.step.get(),
            attempt: 1,
        };
        let expect = Expectation {
            wanted: seen.wanted,
            etag: seen.etag,
        };
        ChangeRequest::new(id, change, expect, Timestamp::from_millis(i64::MAX))
            .with_definition(release.map(|release| release.definition.clone()))
    }

    pub(crate) async fn converge(
        &self,
        release: &Release,
        placement: Placement,
    ) -> Result<Accepted, ChangeError> {
        let change = Change::Converge {
            release: release.id.clone(),
            placement,
        };
        let request = self.request(change, Some(release)).await;
        self.deployer.apply(&self.service, &request).await
    }

    pub(crate) async fn retire(&self, release: &Release) -> Result<Accepted, ChangeError> {
        let change = Change::Retire {
            release: release.id.clone(),
        };
        let request = self.request(change, None).await;
        self.deployer.apply(&self.service, &request).await
    }

    /// Looks until it is as asked for.
    pub(crate) async fn until(
        &self,
        what: &str,
        mut is_so: impl FnMut(&Observation) -> bool,
    ) -> Observation {
        let looking = async {
            loop {
                let seen = self.look().await;
                if is_so(&seen) {
                    return seen;
                }
                let _ = timeout(
                    Duration::from_millis(20),
                    self.deployer.changed(&self.service),
                )
                .await;
            }
        };
        match timeout(Duration::from_secs(20), looking).await {
            Ok(seen) => seen,
            Err(_) => panic!("not {what} in 20 s; seen last: {:#?}", self.look().await),
        }
    }

    pub(crate) async fn until_ready(&self, release: &Release) -> Observation {
        self.until("ready", |seen| seen.is_ready(&release.id)).await
    }

    pub(crate) async fn until_failing(&self, release: &Release) -> String {
        let mut said = String::new();
        self.until("failing", |seen| {
            match seen.arm(&release.id).map(|arm| &arm.state) {
                Some(ArmState::Failing { why }) => {
                    said = why.to_string();
                    true
                }
                _ => false,
            }
        })
        .await;
        said
    }

    /// Waits until it is among a release's last lines, and answers those.
    pub(crate) async fn until_said(
        &self,
        release: &Release,
        line: &str,
        lines: usize,
    ) -> Vec<String> {
        let listening = async {
            loop {
                let words = self
                    .deployer
                    .last_words(&self.service, &release.id, lines)
                    .await;
                if words.iter().any(|said| said == line) {
                    return words;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), listening).await.unwrap()
    }

    pub(crate) async fn stop(&self) {
        let stop = self.deployer.stop_service(&self.service);
        timeout(Duration::from_secs(20), stop)
            .await
            .unwrap()
            .unwrap();
    }

    /// Kills all its processes as a machine's trouble would, and waits for the end of each.
    pub(crate) async fn kill_nine(&self) {
        let pids = processes(self.dir.path());
        assert!(!pids.is_empty(), "nothing runs");
        for pid in &pids {
            let _ = std::process::Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status();
        }
        // Its environment is gone before it has ended: only its state tells.
        eventually("end", || pids.iter().all(|pid| !runs(*pid)).then_some(())).await;
    }

    /// Stops everything, and finds nothing left in /proc.
    pub(crate) async fn finish(self) {
        self.stop().await;
        let left = processes(self.dir.path());
        assert!(left.is_empty(), "orphaned: {left:?}");
    }
}

impl Drop for Bench {
    /// A failed test leaves no processes behind.
    fn drop(&mut self) {
        for pid in processes(self.dir.path()) {
            let _ = std::process::Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status();
        }
    }
}

/// The running processes of a bench, by a variable that all of them carry. One that is being killed
/// carries it no more and has not ended yet: for an end, look with [`runs`].
pub(crate) fn processes(dir: &Path) -> BTreeSet<i32> {
    let variable = format!("BENCH={}", dir.display());
    let of = |pid: i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let ours = environ
            .split(|byte| *byte == 0)
            .any(|var| var == variable.as_bytes());
        (ours && runs(pid)).then_some(pid)
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| of(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// Whether a process is there and has not ended.
pub(crate) fn runs(pid: i32) -> bool {
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    };
    state().is_some_and(|state| state != 'Z')
}

pub(crate) fn ready(seen: &Observation, release: &Release) -> Vec<Instance> {
    let arm = seen.arm(&release.id);
    let all = arm.map(|arm| arm.instances.to_vec()).unwrap_or_default();
    all.into_iter()
        .filter(|one| one.state == InstanceState::Ready)
        .collect()
}

/// A program of this crate's examples, which cargo builds with its tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name);
    assert!(path.exists(), "{} was not built", path.display());
    path
}

/// The deploy script of the tests, and the platform behind it.
pub(crate) fn platform_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/platform.sh")
}

/// Waits for what is not an observation.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    match timeout(Duration::from_secs(20), looking).await {
        Ok(found) => found,
        Err(_) => panic!("no {what} in 20 s"),
    }
}
