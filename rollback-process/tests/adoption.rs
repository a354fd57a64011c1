//! The controller dies in every way; its processes do not, and the next one takes them over.
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
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rollback_core::{
    model::{InstanceState, Pace, Placement, Release},
    ports::Deployer as _,
};
use rollback_process::{HealthCheck, ProcessDefinition, ProcessDeployer};
use serde_json::Value;
use support::{Bench, eventually, example, processes, ready};

/// The release that the example `supervise` makes of these arguments.
fn same_release(name: &str, program: &Path, args: &[&str]) -> Release {
    ProcessDefinition::new(program)
        .args(args.iter().copied())
        .env("RELEASE_NAME", name)
        .port(rollback_process::PortPlan::Any)
        .health(HealthCheck::alive(Duration::from_millis(100)))
        .release(name)
        .unwrap()
}

/// A controller in a process of its own. Its children are known by their arguments' folder.
fn controller(bench: &Bench, name: &str, script: &str) -> Child {
    Command::new(example("supervise"))
        .arg(bench.dir.path())
        .args(["shop", name, "/bin/sh", "-c", script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill_nine(mut controller: Child) {
    controller.kill().unwrap();
    controller.wait().unwrap();
}

/// Restarts the bench's deployer as another controller would.
fn reopen(bench: &mut Bench) {
    bench.deployer = ProcessDeployer::open(bench.dir.path()).unwrap();
}

/// Ends the bench's deployer and waits until nothing of it acts any more: it held the lock until
/// then. Its processes go on.
async fn close(bench: &mut Bench) {
    bench.deployer = ProcessDeployer::open(bench.dir.path().join("elsewhere")).unwrap();
    let lock = fs::File::open(bench.dir.path().join("shop/supervisor.lock")).unwrap();
    eventually("free lock", || lock.try_lock().ok()).await;
}

/// The leading processes of a script that holds the bench's folder in its arguments.
fn leaders(bench: &Bench) -> Vec<i32> {
    let needle = bench.dir.path().to_string_lossy().into_owned();
    let of = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // A child that was forked and does not run its program yet looks like its parent.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let group = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(2)?;
        if group != pid.to_string() {
            return None;
        }
        (line.starts_with("/bin/sh -c") && line.contains(&needle)).then_some(pid)
    };
    let mut all: Vec<i32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| of(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect();
    all.sort_unstable();
    all
}

fn records(bench: &Bench) -> Vec<PathBuf> {
    let dir = bench.dir.path().join("shop/instances");
    let all = fs::read_dir(dir).into_iter().flatten();
    all.filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect()
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut record: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut record);
    fs::write(path, record.to_string()).unwrap();
}

#[tokio::test]
async fn a_process_outlives_its_controller_and_is_taken_over() {
    let mut bench = Bench::new();
    let ticks = bench.dir.path().join("ticks");
    let script = format!(
        "while :; do echo tick; echo t >> {}; sleep 0.02; done",
        ticks.display()
    );
    let first = controller(&bench, "v1", &script);
    eventually("tick", || ticks.exists().then_some(())).await;
    let pids = eventually("record with a pid", || {
        let record = fs::read_to_string(records(&bench).first()?).ok()?;
        record.contains("start_ticks").then(|| leaders(&bench))
    })
    .await;
    assert_eq!(pids.len(), 1);
    kill_nine(first);

    // It goes on printing: nobody's death gave it a SIGPIPE.
    let length = || fs::metadata(&ticks).unwrap().len();
    let before = length();
    eventually("more ticks", || (length() > before + 10).then_some(())).await;
    assert_eq!(leaders(&bench), pids);

    reopen(&mut bench);
    let v1 = same_release("v1", Path::new("/bin/sh"), &["-c", &script]);
    let seen = bench.until_ready(&v1).await;
    let adopted = ready(&seen, &v1);
    assert_eq!((adopted.len(), adopted[0].restarts), (1, 0));
    assert_eq!(leaders(&bench), pids, "it was started again");

    // The new controller sees it end, too.
    let killed = Command::new("kill")
        .args(["-9", &pids[0].to_string()])
        .status();
    assert!(killed.unwrap().success());
    bench
        .until("started again", |seen| {
            ready(seen, &v1)
                .first()
                .is_some_and(|one| one.restarts == 1)
        })
        .await;
    let again = leaders(&bench);
    assert!(again.len() == 1 && again != pids, "{again:?}");
    bench.stop().await;
    assert!(leaders(&bench).is_empty());
}

#[tokio::test]
async fn a_controller_killed_at_any_moment_doubles_and_orphans_nothing() {
    let started = Instant::now();
    for delay in (0..20).map(|step| Duration::from_micros(step * 1500)) {
        let mut bench = Bench::new();
        let script = format!(
            ": {}; exec 3</dev/null; while :; do sleep 600; done",
            bench.dir.path().display()
        );
        let first = controller(&bench, "v1", &script);
        // From the moment it has opened the state directory: its start-up is not what is tested.
        let lock = bench.dir.path().join("shop/supervisor.lock");
        eventually("lock", || lock.exists().then_some(())).await;
        // The moment of its death is what varies from round to round; nothing waits for it.
        tokio::time::sleep(delay).await;
        kill_nine(first);
        let left = leaders(&bench);
        assert!(left.len() <= 1, "{left:?}");

        reopen(&mut bench);
        let v1 = same_release("v1", Path::new("/bin/sh"), &["-c", &script]);
        if !bench.look().await.wanted.runs(&v1.id) {
            bench
                .converge(&v1, Placement::InPlace(Pace::AtOnce))
                .await
                .unwrap();
        }
        bench.until_ready(&v1).await;
        let now = leaders(&bench);
        assert_eq!(
            now.len(),
            1,
            "killed after {delay:?}: {left:?} then {now:?}"
        );
        assert!(
            left.is_empty() || left == now,
            "killed after {delay:?}: {left:?} then {now:?}"
        );
        bench.stop().await;
        assert!(leaders(&bench).is_empty());
        if started.elapsed() > Duration::from_secs(15) {
            break;
        }
    }
}

#[tokio::test]
async fn an_intent_without_a_pid_is_resolved_by_the_marker() {
    let mut bench = Bench::new();
    let v1 = bench.script("exec sleep 600").release("v1").unwrap();
    bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    let before = ready(&bench.until_ready(&v1).await, &v1);
    let pids = processes(bench.dir.path());
    // As a controller leaves it that dies between the start and the record.
    close(&mut bench).await;
    edit(&records(&bench)[0], |record| {
        record["process"] = Value::Null;
        record["phase"] = "starting".into();
    });
    reopen(&mut bench);
    let after = ready(&bench.until_ready(&v1).await, &v1);
    assert_eq!(after[0].id, before[0].id);
    assert_eq!(processes(bench.dir.path()), pids);

    // And one whose process was never started is started, once.
    close(&mut bench).await;
    bench.kill_nine().await;
    edit(&records(&bench)[0], |record| {
        record["process"] = Value::Null;
        record["phase"] = "starting".into();
    });
    reopen(&mut bench);
    let after = ready(&bench.until_ready(&v1).await, &v1);
    let words = bench.deployer.last_words(&bench.service, &v1.id, 20).await;
    assert_eq!((after.len(), after[0].restarts), (1, 0), "{words:?}");
    assert_eq!(processes(bench.dir.path()).len(), 1);
    bench.finish().await;
}

#[tokio::test]
async fn a_damaged_record_is_rebuilt_from_its_process() {
    let mut bench = Bench::new();
    let v1 = bench.hello().release("v1").unwrap();
    bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    let before = ready(&bench.until_ready(&v1).await, &v1);
    let pids = processes(bench.dir.path());
    close(&mut bench).await;
    fs::write(&records(&bench)[0], "{\"schema\":1,\"id\":").unwrap();
    fs::write(bench.dir.path().join("shop/instances/nobody.json"), "").unwrap();
    reopen(&mut bench);
    let after = ready(&bench.until_ready(&v1).await, &v1);
    assert_eq!(
        (&after[0].id, &after[0].address),
        (&before[0].id, &before[0].address)
    );
    assert_eq!(processes(bench.dir.path()), pids);
    eventually("tidy folder", || (records(&bench).len() == 1).then_some(())).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_bystander_with_the_same_pid_is_not_touched() {
    let mut bench = Bench::new();
    let v1 = bench.script("exec sleep 600").release("v1").unwrap();
    bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench.until_ready(&v1).await;
    close(&mut bench).await;
    bench.kill_nine().await;
    // The pid now belongs to somebody else, who started at another time.
    let mut bystander = Command::new("sleep")
        .arg("60")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    edit(&records(&bench)[0], |record| {
        record["process"]["pid"] = bystander.id().into()
    });
    reopen(&mut bench);
    let seen = bench
        .until("started again", |seen| {
            ready(seen, &v1)
                .first()
                .is_some_and(|one| one.restarts == 1)
        })
        .await;
    assert_eq!(
        seen.arm(&v1.id).unwrap().instances[0].state,
        InstanceState::Ready
    );
    let words = bench
        .deployer
        .last_words(&bench.service, &v1.id, 20)
        .await
        .join("\n");
    assert!(!words.contains("found running (pid"), "{words}");
    bench.stop().await;
    assert!(
        bystander.try_wait().unwrap().is_none(),
        "the bystander was killed"
    );
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    bench.finish().await;
}

#[tokio::test]
async fn what_ended_unwatched_is_told_and_started_only_if_it_is_wanted() {
    let mut bench = Bench::new();
    let v1 = bench
        .script("echo s >> $BENCH/starts; exec sleep 600")
        .release("v1")
        .unwrap();
    let starts = |bench: &Bench| {
        fs::read_to_string(bench.dir.path().join("starts"))
            .unwrap()
            .lines()
            .count()
    };
    bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench.until_ready(&v1).await;
    for wanted in [true, false] {
        close(&mut bench).await;
        bench.kill_nine().await;
        if !wanted {
            let state = bench.dir.path().join("shop/wanted.json");
            edit(&state, |state| state["wanted"] = serde_json::json!({}));
        }
        reopen(&mut bench);
        if wanted {
            bench
                .until("started again", |seen| {
                    ready(seen, &v1)
                        .first()
                        .is_some_and(|one| one.restarts == 1)
                })
                .await;
            let words = bench
                .deployer
                .last_words(&bench.service, &v1.id, 20)
                .await
                .join("\n");
            assert!(
                words.contains("ended while no controller watched it"),
                "{words}"
            );
        } else {
            bench.until("gone", |seen| seen.arms.is_empty()).await;
        }
        assert_eq!(starts(&bench), 2);
    }
    bench.finish().await;
}
