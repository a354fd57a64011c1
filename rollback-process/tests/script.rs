//! A deploy script that does well, badly, and not at all.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::fs;

use rollback_core::{
    model::{ArmState, Change, ChangeError, Pace, Placement, Secret, Timestamp, Weight},
    ports::Deployer as _,
};
use rollback_process::{ScriptDeployer, ScriptRelease};
use support::{
    processes,
    scripted::{IN_PLACE, Scripted, failing, plain, release},
};

fn with_traffic(deployer: ScriptDeployer) -> ScriptDeployer {
    deployer.with_update_traffic().with_retire()
}

#[tokio::test]
async fn what_the_running_release_replaced_is_rolled_back_to_all_else_is_deployed() {
    let bench = Scripted::new(plain);
    let (v1, v2, v3) = (release("v1", ""), release("v2", ""), release("v3", ""));
    for one in [&v1, &v2, &v1, &v2, &v3, &v1] {
        bench.converge(one, IN_PLACE).await.unwrap();
        assert_eq!(bench.state(one).await, Some(ArmState::Ready));
    }
    let calls = bench.calls();
    let told: Vec<(&str, &str)> = calls
        .iter()
        .map(|call| {
            let name = call.split_once("NAME=").unwrap().1;
            (
                call.split(' ').next().unwrap(),
                name.split(' ').next().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("deploy", "v1"),
        ("deploy", "v2"),
        ("rollback", "v1"),
        ("deploy", "v2"),
        ("deploy", "v3"),
        // v3 replaced v2.
        ("deploy", "v1"),
    ];
    assert_eq!(told, expected);
    let second = format!(
        "deploy RELEASE={} PREVIOUS_RELEASE={} NAME=v2 CHANGE=d1.s2.a1 DEPLOYMENT=d1 PACE=at_once  ",
        v2.id, v1.id
    );
    assert_eq!(calls[1], second);
}

#[tokio::test]
async fn traffic_goes_by_percentage_and_stage() {
    let bench = Scripted::new(with_traffic);
    let (v1, v2) = (release("v1", ""), release("v2", ""));
    bench.converge(&v1, IN_PLACE).await.unwrap();
    bench.converge(&v2, Placement::Beside).await.unwrap();
    bench.shift(&[(&v1, 9000), (&v2, 1000)]).await.unwrap();
    bench.shift(&[(&v1, 8750), (&v2, 1250)]).await.unwrap();
    bench.shift(&[(&v1, 10_000)]).await.unwrap();
    let calls = bench.calls();
    let traffic: Vec<String> = calls
        .iter()
        .filter(|call| call.starts_with("update-traffic"))
        .map(|call| call.split(" NAME").next().unwrap().to_owned())
        .collect();
    let about = format!("RELEASE={} PREVIOUS_RELEASE={}", v2.id, v1.id);
    assert_eq!(
        traffic,
        ["10 1", "12.5 2", "0 3"].map(|words| format!("update-traffic {words} {about}"))
    );
    assert_eq!(bench.look().await.unwrap().weight(&v1.id), Weight::ALL);

    // A balancer that is away: the traffic stays, and that is said.
    fs::write(bench.platform("broken-balancer"), "").unwrap();
    let before = bench.look().await.unwrap();
    let answer = bench.shift(&[(&v2, 10_000)]).await;
    let Err(ChangeError::Refused { why }) = answer else {
        panic!("{answer:?}")
    };
    assert!(why.ends_with("the balancer is away"), "{why}");
    assert_eq!(bench.look().await.unwrap().wanted, before.wanted);
}

#[tokio::test]
async fn a_failed_deploy_is_a_failing_release_and_the_way_back_is_rollback() {
    let bench = Scripted::new(plain);
    let (v1, v2) = (release("v1", ""), release("v2", "exits"));
    bench.converge(&v1, IN_PLACE).await.unwrap();
    bench.converge(&v2, IN_PLACE).await.unwrap();
    let state = bench.until(&v2, failing).await;
    let ArmState::Failing { why } = state else {
        panic!("{state:?}")
    };
    assert_eq!(
        &*why,
        "the script ended with exit status 3: the disk is full"
    );
    assert_eq!(bench.said(&v2).await, "the disk is full");
    bench.converge(&v1, IN_PLACE).await.unwrap();
    assert!(bench.calls()[2].starts_with("rollback RELEASE="));
    assert_eq!(bench.state(&v1).await, Some(ArmState::Ready));
}

#[tokio::test]
async fn what_ran_before_is_brought_back_from_a_call_that_still_runs() {
    let bench = Scripted::new(|deployer| deployer.ends_what_runs());
    let (v0, v1, v2) = (release("v0", ""), release("v1", ""), release("v2", "hangs"));
    bench.deployer.adopt(&bench.service, &v0).await.unwrap();
    assert_eq!(bench.state(&v0).await, Some(ArmState::Ready));
    // Somebody else deployed v1, and went back.
    for one in [&v1, &v0] {
        bench.deployer.adopt(&bench.service, one).await.unwrap();
        assert_eq!(bench.state(one).await, Some(ArmState::Ready));
    }
    assert!(bench.calls().is_empty(), "{:?}", bench.calls());
    bench.converge(&v2, IN_PLACE).await.unwrap();
    assert_eq!(bench.state(&v2).await, Some(ArmState::Converging));
    bench.converge(&v0, IN_PLACE).await.unwrap();
    assert_eq!(bench.state(&v0).await, Some(ArmState::Ready));
    assert!(bench.calls()[1].starts_with("rollback RELEASE="));
    assert!(
        processes(bench.dir.path()).is_empty(),
        "the call still runs"
    );
}

#[tokio::test]
async fn wrong_usage_changes_nothing() {
    let bench = Scripted::new(plain);
    let (v1, v2) = (release("v1", ""), release("v2", "usage"));
    bench.converge(&v1, IN_PLACE).await.unwrap();
    let before = bench.look().await.unwrap();
    let answer = bench.converge(&v2, IN_PLACE).await;
    assert!(
        matches!(answer, Err(ChangeError::Refused { .. })),
        "{answer:?}"
    );
    assert_eq!(bench.look().await.unwrap().wanted, before.wanted);
    // What it replaced before is not forgotten by it.
    let v3 = release("v3", "");
    bench.converge(&v3, IN_PLACE).await.unwrap();
    bench.converge(&v1, IN_PLACE).await.unwrap();
    assert!(bench.calls()[3].starts_with("rollback RELEASE="));
}

#[tokio::test]
async fn exit_75_is_a_doubt_that_only_a_look_resolves() {
    for made in [true, false] {
        let mut bench = Scripted::new(plain);
        let (v1, v2) = (release("v1", ""), release("v2", "unsure"));
        bench.converge(&v1, IN_PLACE).await.unwrap();
        let answer = bench.converge(&v2, IN_PLACE).await;
        assert!(
            matches!(answer, Err(ChangeError::MaybeSent { .. })),
            "{answer:?}"
        );
        // Also for the controller after this one.
        bench.reopen(plain);
        let doubt = bench.look().await.unwrap_err().to_string();
        assert!(
            doubt.contains("`deploy`")
                && doubt.contains("the line was cut")
                && doubt.contains("resolve"),
            "{doubt}"
        );
        bench.deployer.resolve(&bench.service, made).await.unwrap();
        let serves = if made { &v2 } else { &v1 };
        assert_eq!(bench.state(serves).await, Some(ArmState::Ready));
        assert_eq!(bench.look().await.unwrap().weight(&serves.id), Weight::ALL);
    }
}

#[tokio::test]
async fn a_status_resolves_the_doubt_by_itself() {
    for (mode, made) in [("unsure", false), ("done-and-unsure", true)] {
        let bench = Scripted::new(ScriptDeployer::with_status);
        let (v1, v2) = (release("v1", ""), release("v2", mode));
        bench.converge(&v1, IN_PLACE).await.unwrap();
        let answer = bench.converge(&v2, IN_PLACE).await;
        assert!(
            matches!(answer, Err(ChangeError::MaybeSent { .. })),
            "{answer:?}"
        );
        let seen = bench.look().await.unwrap();
        assert_eq!(seen.wanted.runs(&v2.id), made, "{seen:?}");
        assert_eq!(seen.is_ready(&v2.id), made, "{seen:?}");
        // And the next change follows from what is so.
        bench.converge(&v1, IN_PLACE).await.unwrap();
        let verb = if made { "rollback" } else { "deploy" };
        assert!(bench.calls()[2].starts_with(verb), "{:?}", bench.calls());
    }
}

#[tokio::test]
async fn a_status_that_fails_is_no_look() {
    let bench = Scripted::new(ScriptDeployer::with_status);
    bench.converge(&release("v1", ""), IN_PLACE).await.unwrap();
    fs::write(bench.platform("mute"), "").unwrap();
    let error = bench.look().await.unwrap_err().to_string();
    assert!(error.contains("no platform"), "{error}");
}

#[tokio::test]
async fn what_is_late_is_not_sent() {
    let bench = Scripted::new(plain);
    let v1 = release("v1", "");
    let change = Change::Converge {
        release: v1.id.clone(),
        placement: IN_PLACE,
    };
    let mut request = bench.request(change, Some(&v1)).await;
    request.not_after = Timestamp::from_millis(1);
    let answer = bench.send(&request).await;
    assert!(
        matches!(answer, Err(ChangeError::NotSent { .. })),
        "{answer:?}"
    );
    assert!(bench.calls().is_empty());
    assert!(bench.look().await.unwrap().wanted.is_empty());
}

#[tokio::test]
async fn a_secret_reaches_the_script_and_nobody_else() {
    let secret = || Secret::new("hunter2".to_owned());
    let bench = Scripted::new(|deployer| deployer.secret("shop-token", secret()));
    let v1 = ScriptRelease::new("v1", "shop:1").secret_env("TOKEN", "shop-token");
    let v1 = v1.release().unwrap();
    bench.converge(&v1, IN_PLACE).await.unwrap();
    assert_eq!(bench.said(&v1).await, "deployed with ***");
    assert!(!format!("{:?}", bench.deployer).contains("hunter2"));
    let unknown = ScriptRelease::new("v2", "shop:2").secret_env("TOKEN", "another");
    let answer = bench.converge(&unknown.release().unwrap(), IN_PLACE).await;
    assert!(
        matches!(&answer, Err(ChangeError::Refused { why }) if why.contains("another")),
        "{answer:?}"
    );
    assert_eq!(bench.calls().len(), 1);
}

#[tokio::test]
async fn one_release_at_a_time_is_said_to_be_so() {
    let bench = Scripted::new(plain);
    let answer = bench.converge(&release("v1", ""), Placement::Beside).await;
    assert!(
        matches!(answer, Err(ChangeError::Unsupported { .. })),
        "{answer:?}"
    );
    let can = bench.deployer.capabilities();
    assert!(!can.two_arms && !can.weights && !can.compare_and_set && can.tags_changes);
}

#[tokio::test]
async fn a_pace_is_told_to_a_script_that_understands_it() {
    let pace = |pace| Placement::InPlace(pace);
    let rolling = pace(Pace::Rolling {
        max_unavailable: 1,
        max_surge: 2,
    });
    let bench = Scripted::new(plain);
    for one in [rolling, pace(Pace::StopFirst)] {
        let answer = bench.converge(&release("v1", ""), one).await;
        assert!(
            matches!(answer, Err(ChangeError::Unsupported { .. })),
            "{answer:?}"
        );
    }
    let bench = Scripted::new(|deployer| deployer.with_rolling().with_stop_first());
    bench.converge(&release("v1", ""), rolling).await.unwrap();
    bench
        .converge(&release("v2", ""), pace(Pace::StopFirst))
        .await
        .unwrap();
    let paces: Vec<String> = bench
        .calls()
        .iter()
        .map(|call| call.split_once("PACE=").unwrap().1.to_owned())
        .collect();
    assert_eq!(paces, ["rolling 1 2", "stop_first  "]);
}
