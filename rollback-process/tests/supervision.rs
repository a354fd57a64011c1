//! Real processes: started, watched, crashed, stopped, replaced.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, time::Duration};

use rollback_core::{
    model::{
        Change, ChangeError, Expectation, InstanceState, Pace, Placement, Secret, Share, Timestamp,
        Wanted, Weight,
    },
    ports::Deployer as _,
};
use rollback_process::{LogLimits, PortPlan, ProcessDefinition, ProcessDeployer};
use support::{Bench, eventually, processes, ready};

#[tokio::test]
async fn a_release_starts_beside_another_and_the_other_is_retired() {
    let bench = Bench::new();
    let v1 = bench.hello().instances(2).release("v1").unwrap();
    let v2 = bench.hello().env("V", "2").release("v2").unwrap();
    let accepted = bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    let seen = bench.until_ready(&v1).await;
    assert_eq!(seen.etag, accepted.etag);
    assert_eq!(seen.last_change.as_ref().unwrap().to_string(), "d1.s1.a1");
    assert_eq!(seen.wanted, Wanted::only(v1.id.clone()));
    let first = seen.arm(&v1.id).unwrap().instances.clone();
    assert_eq!(first.len(), 2);
    assert_ne!(first[0].address, first[1].address);

    bench.converge(&v2, Placement::Beside).await.unwrap();
    let seen = bench.until_ready(&v2).await;
    assert_eq!(
        seen.arm(&v1.id).unwrap().instances,
        first,
        "a bystander was touched"
    );
    assert_eq!(seen.weight(&v1.id), Weight::ALL);
    assert_eq!(seen.weight(&v2.id), Weight::NONE);

    bench.retire(&v1).await.unwrap();
    bench.until("gone", |seen| seen.arm(&v1.id).is_none()).await;
    assert_eq!(processes(bench.dir.path()).len(), 1);
    let error = bench.retire(&v2).await.unwrap_err();
    assert!(matches!(error, ChangeError::Refused { .. }), "{error}");
    bench.finish().await;
}

#[tokio::test]
async fn in_place_the_old_release_goes_only_when_the_new_one_is_ready() {
    let bench = Bench::new();
    let gate = bench.dir.path().join("gate");
    let v1 = bench.script("exec sleep 600").release("v1").unwrap();
    let v2 = bench.script("exit 7").env("V", "2").release("v2").unwrap();
    let open = format!(
        "while [ ! -e {} ]; do sleep 0.02; done; exec \"$HELLO\"",
        gate.display()
    );
    let v3 = bench
        .script(&open)
        .env("HELLO", support::example("hello").to_string_lossy())
        .port(PortPlan::Any)
        .health(rollback_process::HealthCheck::tcp())
        .release("v3")
        .unwrap();
    bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench.until_ready(&v1).await;
    bench
        .converge(&v2, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench.until_failing(&v2).await;
    let seen = bench.look().await;
    assert_eq!(
        ready(&seen, &v1).len(),
        1,
        "the old capacity was removed first"
    );
    assert_eq!(seen.weight(&v1.id), Weight::ALL);
    bench
        .converge(&v3, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench
        .until("v2 gone", |seen| {
            seen.arm(&v2.id).is_none() || ready(seen, &v1).len() == 1
        })
        .await;
    assert_eq!(ready(&bench.look().await, &v1).len(), 1);
    fs::write(&gate, "").unwrap();
    bench
        .until("moved", |seen| {
            seen.arms.len() == 1 && seen.is_ready(&v3.id) && seen.weight(&v3.id) == Weight::ALL
        })
        .await;
    bench.finish().await;
}

#[tokio::test]
async fn a_fixed_port_is_handed_over() {
    let bench = Bench::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let fixed = bench.hello().port(PortPlan::Fixed(port));
    let v1 = fixed.clone().release("v1").unwrap();
    let v2 = fixed.env("V", "2").release("v2").unwrap();
    for release in [&v1, &v2] {
        bench
            .converge(release, Placement::InPlace(Pace::AtOnce))
            .await
            .unwrap();
        let id = &release.id;
        bench
            .until("alone", |seen| seen.is_ready(id) && seen.arms.len() == 1)
            .await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_process_that_ignores_the_friendly_signal_is_killed_with_its_children() {
    let bench = Bench::new();
    let stubborn = bench
        .script("trap '' TERM; sh -c 'trap \"\" TERM; echo armed; while :; do sleep 1; done' & while :; do sleep 1; done")
        .stop_grace(Duration::from_millis(300))
        .release("v1")
        .unwrap();
    bench
        .converge(&stubborn, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench.until_ready(&stubborn).await;
    bench.until_said(&stubborn, "armed", 5).await;
    assert!(processes(bench.dir.path()).len() >= 2);
    let dir = bench.dir.path().join("shop/logs");
    bench.stop().await;
    let log = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains("still there 300ms after SIGTERM: killed"),
        "{log}"
    );
    bench.finish().await;
}

#[tokio::test]
async fn a_friendly_process_ends_its_own_way() {
    let bench = Bench::new();
    let polite = bench
        .script("trap 'echo saved; exit 0' TERM; echo armed; while :; do sleep 0.05; done")
        .release("v1")
        .unwrap();
    bench
        .converge(&polite, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench.until_ready(&polite).await;
    bench.until_said(&polite, "armed", 5).await;
    bench.stop().await;
    let words = bench
        .deployer
        .last_words(&bench.service, &polite.id, 2)
        .await;
    assert_eq!(words, ["saved", "[supervisor] stopped"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_crash_loop_is_a_fact_with_its_exit_its_count_and_its_words() {
    let bench = Bench::new();
    let v1 = bench.script("exec sleep 600").release("v1").unwrap();
    let bad = bench
        .script("echo ModuleNotFoundError: no pay; exit 3")
        .release("v2")
        .unwrap();
    bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench.until_ready(&v1).await;
    bench.converge(&bad, Placement::Beside).await.unwrap();
    let why = bench.until_failing(&bad).await;
    assert!(
        why.contains("crashed 2 times in a row") && why.contains("exit status 3"),
        "{why}"
    );
    let seen = bench
        .until("restarted", |seen| {
            seen.arm(&bad.id).unwrap().instances[0].restarts >= 2
        })
        .await;
    assert!(seen.is_ready(&v1.id));
    let words = bench
        .deployer
        .last_words(&bench.service, &bad.id, 40)
        .await
        .join("\n");
    assert!(words.contains("ModuleNotFoundError: no pay"), "{words}");
    assert!(
        words.contains("[supervisor] exit status 3; starts again in 40ms"),
        "{words}"
    );
    bench.finish().await;
}

#[tokio::test]
async fn a_crash_by_a_signal_takes_the_children_along_and_is_mended() {
    let bench = Bench::new();
    let v1 = bench
        .script("exec sleep 601 & echo $$; wait")
        .release("v1")
        .unwrap();
    bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench.until_ready(&v1).await;
    let before = processes(bench.dir.path());
    assert_eq!(before.len(), 2);
    let leader = before.first().unwrap().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-9", &leader])
            .status()
            .unwrap()
            .success()
    );
    let seen = bench
        .until("mended", |seen| {
            let mended = ready(seen, &v1);
            mended.first().is_some_and(|one| one.restarts == 1)
        })
        .await;
    assert!(seen.is_ready(&v1.id));
    let after = processes(bench.dir.path());
    assert!(
        before.is_disjoint(&after),
        "a child of the crashed process is still there"
    );
    let words = bench
        .deployer
        .last_words(&bench.service, &v1.id, 10)
        .await
        .join("\n");
    assert!(words.contains("signal 9 (SIGKILL"), "{words}");
    bench.finish().await;
}

#[tokio::test]
async fn what_cannot_start_is_refused_with_the_reason() {
    let bench = Bench::new();
    let path = bench.dir.path().join("app");
    fs::write(&path, "#!/bin/sh\nsleep 600\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let app = ProcessDefinition::new(&path);
    let table = [
        (
            app.clone()
                .port(PortPlan::Fixed(port))
                .release("a")
                .unwrap(),
            format!("port {port} is in use"),
        ),
        (
            app.clone().working_dir("/no/such").release("b").unwrap(),
            "working directory `/no/such`".to_owned(),
        ),
        (
            app.clone().secret_env("K", "key").release("c").unwrap(),
            "secret `key`".to_owned(),
        ),
    ];
    for (release, says) in &table {
        for result in [
            bench.deployer.check(&bench.service, release).await,
            bench
                .converge(release, Placement::InPlace(Pace::AtOnce))
                .await
                .map(drop),
        ] {
            let Err(ChangeError::Refused { why }) = result else {
                panic!("{says}: {result:?}")
            };
            assert!(why.contains(says), "{why}");
        }
    }
    let good = app.release("d").unwrap();
    bench.deployer.check(&bench.service, &good).await.unwrap();
    type Damage = fn(&std::path::Path);
    let damages: [(Damage, &str); 3] = [
        (
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap(),
            "chmod +x",
        ),
        (
            |path| {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
                fs::write(path, "#!/bin/sh\necho another\n").unwrap();
            },
            "not the file any more",
        ),
        (|path| fs::remove_file(path).unwrap(), "does not exist"),
    ];
    for (damage, says) in damages {
        damage(&path);
        let error = bench
            .converge(&good, Placement::InPlace(Pace::AtOnce))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(bench.look().await.wanted.is_empty());
    bench.finish().await;
}

#[tokio::test]
async fn a_change_decided_for_another_state_is_not_taken() {
    let bench = Bench::new();
    let v1 = bench.script("exec sleep 600").release("v1").unwrap();
    let v2 = bench.script("exec sleep 602").release("v2").unwrap();
    let change = Change::Converge {
        release: v1.id.clone(),
        placement: Placement::InPlace(Pace::AtOnce),
    };
    let first = bench.request(change.clone(), Some(&v1)).await;
    let mut late = first.clone();
    late.not_after = Timestamp::from_millis(1);
    let error = bench
        .deployer
        .apply(&bench.service, &late)
        .await
        .unwrap_err();
    assert!(matches!(error, ChangeError::NotSent { .. }), "{error}");
    bench.deployer.apply(&bench.service, &first).await.unwrap();

    let mut other_wanted = bench.request(change.clone(), Some(&v1)).await;
    other_wanted.expect = Expectation {
        wanted: Wanted::only(v2.id.clone()),
        etag: None,
    };
    for stale in [&first, &other_wanted] {
        let error = bench
            .deployer
            .apply(&bench.service, stale)
            .await
            .unwrap_err();
        let ChangeError::Conflict { now: Some(now) } = error else {
            panic!("{error:?}")
        };
        assert_eq!(now.wanted, Wanted::only(v1.id.clone()));
    }
    let weights = Change::Weights {
        shares: vec![Share {
            release: v1.id.clone(),
            weight: Weight::ALL,
        }],
    };
    let request = bench.request(weights, None).await;
    let error = bench
        .deployer
        .apply(&bench.service, &request)
        .await
        .unwrap_err();
    assert!(matches!(error, ChangeError::Unsupported { .. }), "{error}");
    bench.finish().await;
}

#[tokio::test]
async fn a_process_gets_its_secret_and_nothing_of_the_controllers_environment() {
    let secret = || Secret::new("hunter2".to_owned());
    let bench = Bench::with(|deployer| deployer.secret("database", secret()));
    let v1 = bench
        .script("env; echo url is $DATABASE; sleep 600")
        .secret_env("DATABASE", "database")
        .release("v1")
        .unwrap();
    assert!(!serde_json::to_string(&v1).unwrap().contains("hunter2"));
    bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    let words = bench.until_said(&v1, "url is ***", 50).await;
    let inherited = words.iter().filter(|line| line.starts_with("CARGO"));
    assert_eq!(inherited.count(), 0, "{words:?}");
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    let state = std::process::Command::new("grep")
        .args(["-rl", "hunter2", "--exclude-dir=logs"])
        .arg(bench.dir.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&state.stdout), "");
    assert!(!format!("{:?}", bench.deployer).contains("hunter2"));
    bench.finish().await;
}

#[tokio::test]
async fn a_flood_of_output_is_cut() {
    let bench = Bench::new();
    let flood = bench
        .script(
            "i=0; while [ $i -lt 4000 ]; do echo line $i of a flood; i=$((i+1)); done
             touch $BENCH/flooded; while [ ! -e $BENCH/go ]; do sleep 0.02; done
             echo the end; exec sleep 600",
        )
        .log(LogLimits::new(16_384, 120))
        .release("v1")
        .unwrap();
    bench
        .converge(&flood, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    let flooded = bench.dir.path().join("flooded");
    eventually("flood", || flooded.exists().then_some(())).await;
    let dir = bench.dir.path().join("shop/logs");
    eventually("cut", || {
        let files = fs::read_dir(&dir).ok()?;
        let sizes = files.map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        let sizes: Vec<u64> = sizes.collect::<Option<_>>()?;
        (sizes.len() == 2 && sizes.iter().sum::<u64>() <= 16_384 + 8_192).then_some(())
    })
    .await;
    fs::write(bench.dir.path().join("go"), "").unwrap();
    let words = bench.until_said(&flood, "the end", 3).await;
    assert_eq!(words.len(), 3);
    assert!(words[0].ends_with("of a flood"), "{words:?}");
    bench.finish().await;
}

#[tokio::test]
async fn an_instance_that_answers_badly_is_never_ready_and_one_that_fails_later_is_unhealthy() {
    let bench = Bench::new();
    let bad = bench.hello().env("ANSWER", "503 No").release("v1").unwrap();
    bench
        .converge(&bad, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    let seen = bench
        .until("listening", |seen| {
            let address = seen
                .arm(&bad.id)
                .and_then(|arm| arm.instances.first()?.address.clone());
            address.is_some_and(|address| std::net::TcpStream::connect(&*address).is_ok())
        })
        .await;
    assert_eq!(
        seen.arm(&bad.id).unwrap().instances[0].state,
        InstanceState::Starting
    );

    let good = bench
        .hello()
        .stop_grace(Duration::from_millis(100))
        .release("v2")
        .unwrap();
    bench
        .converge(&good, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    bench
        .until("alone", |seen| {
            seen.is_ready(&good.id) && seen.arms.len() == 1
        })
        .await;
    for pid in processes(bench.dir.path()) {
        let stopped = std::process::Command::new("kill")
            .args(["-STOP", &pid.to_string()])
            .status();
        assert!(stopped.unwrap().success());
    }
    bench
        .until("unhealthy", |seen| {
            seen.arm(&good.id).unwrap().instances[0].state == InstanceState::Unhealthy
        })
        .await;
    bench.finish().await;
}

#[tokio::test]
async fn two_controllers_see_the_same_and_one_of_them_supervises() {
    let mut bench = Bench::new();
    let second = ProcessDeployer::open(bench.dir.path()).unwrap();
    let v1 = bench.script("exec sleep 600").release("v1").unwrap();
    let v2 = bench.script("exec sleep 602").release("v2").unwrap();
    bench
        .converge(&v1, Placement::InPlace(Pace::AtOnce))
        .await
        .unwrap();
    let seen = bench.until_ready(&v1).await;
    let other = second.observe(&bench.service).await.unwrap();
    assert_eq!(seen, other);

    // The same decision twice, at once: one is taken.
    let change = Change::Converge {
        release: v2.id.clone(),
        placement: Placement::Beside,
    };
    let request = bench.request(change, Some(&v2)).await;
    let (a, b) = tokio::join!(
        bench.deployer.apply(&bench.service, &request),
        second.apply(&bench.service, &request),
    );
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    bench.until_ready(&v2).await;
    assert_eq!(processes(bench.dir.path()).len(), 2);

    // The first leaves; the second goes on with what is there.
    bench.deployer = second;
    let before = processes(bench.dir.path());
    bench.retire(&v1).await.unwrap();
    bench.until("gone", |seen| seen.arm(&v1.id).is_none()).await;
    let after = processes(bench.dir.path());
    assert!(
        after.len() == 1 && after.is_subset(&before),
        "{before:?} {after:?}"
    );
    bench.finish().await;
}
