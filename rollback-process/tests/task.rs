//! Commands as tasks: they end well, badly, late, and after their controller.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{fs, time::Duration};

use rollback_core::{
    model::{ChangeId, DeploymentId, Secret, ServiceId},
    ports::{Task as _, TaskError, TaskHandle, TaskStatus},
};
use rollback_process::ScriptTask;
use support::processes;
use tempfile::TempDir;
use tokio::time::timeout;

fn shop() -> ServiceId {
    ServiceId::new("shop").unwrap()
}

fn id(step: u32) -> ChangeId {
    ChangeId {
        deployment: DeploymentId::new("d1").unwrap(),
        step,
        attempt: 1,
    }
}

fn task(dir: &TempDir, script: &str) -> ScriptTask {
    ScriptTask::open(dir.path().join("state"), "sh")
        .unwrap()
        .args(["-c", script])
        .env("BENCH", dir.path().to_string_lossy())
        .env("HERE", dir.path().to_string_lossy())
}

async fn ended(task: &ScriptTask, handle: &TaskHandle) -> Result<TaskStatus, TaskError> {
    let looking = async {
        loop {
            let status = task.status(handle).await;
            if status != Ok(TaskStatus::Running) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), looking).await.unwrap()
}

#[tokio::test]
async fn it_is_told_what_it_is_for_and_its_last_line_says_why_it_failed() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo $SERVICE $DEPLOYMENT_ID $CHANGE_ID $TOKEN; exit $CODE";
    for (code, step) in [("0", 1), ("4", 2)] {
        let task = task(&dir, script)
            .env("CODE", code)
            .secret_env("TOKEN", Secret::new("hunter2".to_owned()));
        let handle = task.start(&shop(), &id(step)).await.unwrap();
        let status = ended(&task, &handle).await.unwrap();
        match status {
            TaskStatus::Succeeded => assert_eq!(code, "0"),
            TaskStatus::Failed { why } => {
                assert!(
                    why.ends_with("exit status 4: shop d1 d1.s2.a1 ***"),
                    "{why}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_same_id_twice_is_one_run_also_for_another_controller() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo once >>$HERE/ran; until [ -e $HERE/gate ]; do sleep 0.02; done; exit 3";
    let handle = task(&dir, script).start(&shop(), &id(1)).await.unwrap();
    let other = task(&dir, script);
    assert_eq!(other.start(&shop(), &id(1)).await.unwrap(), handle);
    assert_eq!(other.status(&handle).await.unwrap(), TaskStatus::Running);
    fs::write(dir.path().join("gate"), "").unwrap();
    let status = ended(&other, &handle).await.unwrap();
    assert!(matches!(status, TaskStatus::Failed { .. }), "{status:?}");
    assert_eq!(other.start(&shop(), &id(1)).await.unwrap(), handle);
    assert_eq!(
        fs::read_to_string(dir.path().join("ran")).unwrap(),
        "once\n"
    );
}

#[tokio::test]
async fn it_is_killed_when_its_time_is_over_or_when_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let script = "sleep 600 & sleep 600";
    let slow = task(&dir, script).time_out(Duration::from_millis(300));
    let handle = slow.start(&shop(), &id(1)).await.unwrap();
    let status = ended(&slow, &handle).await.unwrap();
    assert!(
        matches!(&status, TaskStatus::Failed { why } if why.contains("not done within 300ms")),
        "{status:?}"
    );
    let unwanted = task(&dir, script);
    let handle = unwanted.start(&shop(), &id(2)).await.unwrap();
    unwanted.cancel(&handle).await.unwrap();
    let status = ended(&unwanted, &handle).await.unwrap();
    assert!(
        matches!(&status, TaskStatus::Failed { why } if why.contains("asked for")),
        "{status:?}"
    );
    let left = processes(dir.path());
    assert!(left.is_empty(), "still running: {left:?}");
}

#[tokio::test]
async fn what_nobody_knows_is_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(&dir, "sleep 600");
    let handle = task.start(&shop(), &id(1)).await.unwrap();
    // All at once, as when the machine goes down: nobody is left to write down an exit status.
    let text = fs::read_to_string(dir.path().join("state").join(&handle.0).join("run.json"));
    let run: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
    let group = format!("-{}", run["process"]["pid"]);
    let kill = std::process::Command::new("kill")
        .args(["-9", "--", &group])
        .status();
    assert!(kill.unwrap().success());
    let status = ended(&task, &handle).await;
    assert!(
        matches!(status, Err(TaskError::MaybeStarted { .. })),
        "{status:?}"
    );
    let again = task.start(&shop(), &id(1)).await;
    assert!(
        matches!(again, Err(TaskError::MaybeStarted { .. })),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_handle_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(&dir, "true");
    for handle in ["", "shop", "../x/y", "shop/../../etc", "shop/none"] {
        let status = task.status(&TaskHandle(handle.to_owned())).await;
        assert!(
            matches!(status, Err(TaskError::NotStarted { .. })),
            "{handle}: {status:?}"
        );
    }
}
