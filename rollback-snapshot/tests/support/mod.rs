//! What the tests of all kinds of data share.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

#[cfg(feature = "__real_postgresql")]
pub(crate) mod server;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rollback_core::{
    model::{ChangeId, DeploymentId, ServiceId},
    ports::{Task as _, TaskHandle, TaskStatus},
};
use rollback_snapshot::SnapshotTask;

const CHILD: &str = "ROLLBACK_SNAPSHOT_CHILD";

pub(crate) fn shop() -> ServiceId {
    ServiceId::new("shop").unwrap()
}

pub(crate) fn id(deployment: &str, step: u32) -> ChangeId {
    ChangeId {
        deployment: DeploymentId::new(deployment).unwrap(),
        step,
        attempt: 1,
    }
}

/// Asks until it has ended.
pub(crate) async fn ended(task: &SnapshotTask, handle: &TaskHandle) -> Result<(), String> {
    let since = Instant::now();
    loop {
        match task.status(handle).await.unwrap() {
            TaskStatus::Succeeded => return Ok(()),
            TaskStatus::Failed { why } => return Err(why),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        assert!(since.elapsed() < Duration::from_secs(60), "it does not end");
    }
}

pub(crate) async fn run(task: &SnapshotTask, id: &ChangeId) -> Result<(), String> {
    let handle = task.start(&shop(), id).await.unwrap();
    ended(task, &handle).await
}

/// What this process was started for, if it was started by [`killed_after`].
pub(crate) fn child_in() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs the test `name` of this program as another process, and kills that after a time; says
/// whether it was still at work.
pub(crate) fn killed_after(name: &str, dir: &Path, after: Duration) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let since = Instant::now();
    // From when it is at work.
    while !dir.join("at-work").exists() && child.try_wait().unwrap().is_none() {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "it does not begin"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(after);
    let at_work = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(dir.join("at-work")).unwrap();
    at_work
}
