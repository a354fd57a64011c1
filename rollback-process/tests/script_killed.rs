//! How a deploy script ends that does not end by itself: killed, cut off, or alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rollback_core::model::{ArmState, ChangeError};
use rollback_process::ScriptRelease;
use support::{
    eventually, example, platform_script, processes,
    scripted::{IN_PLACE, Scripted, failing, plain, release},
};

#[tokio::test]
async fn a_script_that_hangs_is_killed_with_all_its_processes() {
    let limit = Duration::from_secs(3);
    let bench = Scripted::new(|deployer| deployer.time_out(limit));
    let (v1, v2) = (release("v1", ""), release("v2", "hangs"));
    bench.converge(&v1, IN_PLACE).await.unwrap();
    let began = Instant::now();
    bench.converge(&v2, IN_PLACE).await.unwrap();
    assert_eq!(bench.state(&v2).await, Some(ArmState::Converging));
    assert!(!processes(bench.dir.path()).is_empty());
    // One change at a time.
    let second = bench.converge(&v1, IN_PLACE).await;
    assert!(
        matches!(
            &second,
            Err(ChangeError::NotSent {
                retry_after_ms: Some(_),
                ..
            })
        ),
        "{second:?}"
    );
    let state = bench.until(&v2, failing).await;
    assert!(began.elapsed() >= limit);
    let ArmState::Failing { why } = state else {
        panic!("{state:?}")
    };
    assert!(why.contains("not done within 3s"), "{why}");
    let left = processes(bench.dir.path());
    assert!(left.is_empty(), "still running: {left:?}");
    bench.converge(&v1, IN_PLACE).await.unwrap();
    assert_eq!(bench.state(&v1).await, Some(ArmState::Ready));
}

/// A controller that is cut off between its word and its signals, or another that looks meanwhile.
#[tokio::test]
async fn a_script_is_not_called_killed_while_it_runs() {
    let bench = Scripted::new(plain);
    let (v1, v2) = (release("v1", ""), release("v2", "hangs"));
    bench.converge(&v1, IN_PLACE).await.unwrap();
    bench.converge(&v2, IN_PLACE).await.unwrap();
    let runs = bench.dir.path().join("state/shop/runs");
    fs::write(runs.join("d1.s2.a1/killed"), "timed-out").unwrap();
    assert!(!processes(bench.dir.path()).is_empty());
    let state = bench.state(&v2).await;
    assert!(matches!(state, Some(ArmState::Failing { .. })), "{state:?}");
    let left = processes(bench.dir.path());
    assert!(left.is_empty(), "still running: {left:?}");
}

#[tokio::test]
async fn a_script_killed_from_outside_leaves_a_doubt() {
    let bench = Scripted::new(plain);
    let v1 = release("v1", "hangs");
    bench.converge(&v1, IN_PLACE).await.unwrap();
    // All at once, as when the machine goes down: nobody is left to write down an exit status.
    let run = bench.dir.path().join("state/shop/runs/d1.s1.a1/run.json");
    let run: serde_json::Value = serde_json::from_str(&fs::read_to_string(run).unwrap()).unwrap();
    let group = format!("-{}", run["process"]["pid"]);
    let kill = Command::new("kill").args(["-9", "--", &group]).status();
    assert!(kill.unwrap().success());
    let doubt = eventually_doubted(&bench).await;
    assert!(doubt.contains("without an exit status"), "{doubt}");
}

/// Waits until the end of the script was noticed.
async fn eventually_doubted(bench: &Scripted) -> String {
    let looking = async {
        loop {
            match bench.look().await {
                Err(doubt) => return doubt.to_string(),
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_cancelled_call_leaves_a_doubt() {
    let bench = Scripted::new(plain);
    bench
        .converge(&release("v1", "hangs"), IN_PLACE)
        .await
        .unwrap();
    bench.deployer.cancel(&bench.service).await.unwrap();
    assert!(processes(bench.dir.path()).is_empty());
    let doubt = bench.look().await.unwrap_err().to_string();
    assert!(doubt.contains("asked for"), "{doubt}");
}

#[tokio::test]
async fn a_script_outlives_its_controller_and_the_next_one_learns_how_it_ended() {
    for exits in [false, true] {
        let mut bench = Scripted::new(plain);
        let mode = if exits { "bad" } else { "good" };
        let script = bench.dir.path().join("slow.sh");
        fs::write(
            &script,
            format!(
                "#!/bin/sh\nuntil [ -e {0}/gate ]; do sleep 0.02; done\n[ $MODE = good ] || exit 9\nexec {1} \"$@\"\n",
                bench.dir.path().display(),
                platform_script().display()
            ),
        )
        .unwrap();
        let _ = Command::new("chmod").arg("+x").arg(&script).status();
        let mut controller = Command::new(example("deploy_by_script"))
            .arg(bench.dir.path().join("state"))
            .arg("shop")
            .arg(&script)
            .arg("shop:9")
            .env("PLATFORM", bench.dir.path().join("platform"))
            .env("BENCH", bench.dir.path())
            .env("MODE", mode)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let controller_pid = i32::try_from(controller.id()).unwrap();
        eventually("script", || {
            let all = processes(bench.dir.path());
            all.iter().any(|pid| *pid != controller_pid).then_some(())
        })
        .await;
        controller.kill().unwrap();
        controller.wait().unwrap();

        bench.reopen(plain);
        let v9 = ScriptRelease::new("shop:9", "shop:9").release().unwrap();
        assert_eq!(bench.state(&v9).await, Some(ArmState::Converging));
        fs::write(bench.dir.path().join("gate"), "").unwrap();
        let state = bench
            .until(&v9, |state| *state != ArmState::Converging)
            .await;
        if exits {
            assert_eq!(
                state,
                ArmState::Failing {
                    why: "the script ended with exit status 9".into()
                }
            );
        } else {
            assert_eq!(state, ArmState::Ready);
        }
    }
}
