//! What a real swarm does to a service while it is guarded: others scale it, update it, roll it
//! back; updates pause; instances never start; names move.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{sync::Arc, time::Duration};

use rollback_core::{
    memory::MemoryReleaseStore,
    model::{
        ArmState, Change, ChangeError, ChangeId, ChangeRequest, DeploymentId, Expectation,
        InstanceState, Observation, Pace, Placement, PlatformRollbackState, Release, ReleaseId,
        ServiceId, Timestamp, Weight,
    },
    ports::Deployer,
};
use rollback_docker::SwarmDeployer;
use serde_json::{Value, json};
use support::{image, swarm::Yard};
use tokio::time::{Instant, sleep, timeout};

const LONG: Duration = Duration::from_secs(30);
const ONE_BY_ONE: Pace = Pace::Rolling {
    max_unavailable: 0,
    max_surge: 1,
};

fn deployer(yard: &Yard) -> SwarmDeployer {
    SwarmDeployer::new(yard.engine.clone())
}

async fn until(
    swarm: &SwarmDeployer,
    service: &ServiceId,
    what: &str,
    holds: impl Fn(&Observation) -> bool,
) -> Observation {
    let looking = async {
        loop {
            let seen = swarm.observe(service).await.unwrap();
            if holds(&seen) {
                return seen;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    match timeout(LONG, looking).await {
        Ok(seen) => seen,
        Err(_) => panic!("{what}: {:?}", swarm.observe(service).await),
    }
}

/// A service of two instances that are ready, and what it is.
async fn ready(yard: &Yard, swarm: &SwarmDeployer, more: &Value) -> (ServiceId, Release) {
    let service = yard.service("s", yard.template(&["N=1"]), more).await;
    until(swarm, &service, "ready", |seen| {
        seen.wanted.main().is_some_and(|main| seen.is_ready(main))
    })
    .await;
    let stable = swarm.running(&service).await.unwrap();
    (service, stable)
}

fn request(step: u32, to: &Release, pace: Pace, seen: &Observation) -> ChangeRequest {
    let id = ChangeId {
        deployment: DeploymentId::new("d1").unwrap(),
        step,
        attempt: 1,
    };
    let change = Change::Converge {
        release: to.id.clone(),
        placement: Placement::InPlace(pace),
    };
    let expect = Expectation {
        wanted: seen.wanted.clone(),
        etag: seen.etag.clone(),
    };
    ChangeRequest::new(id, change, expect, Timestamp::from_millis(i64::MAX))
        .with_definition(Some(to.definition.clone()))
}

fn env(spec: &mut Value, env: &[&str]) {
    spec["TaskTemplate"]["ContainerSpec"]["Env"] = json!(env);
}

fn ids(seen: &Observation, of: &ReleaseId) -> Vec<String> {
    let arm = seen.arm(of).unwrap();
    let mut ids: Vec<_> = arm.instances.iter().map(|i| i.id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_scaling_by_somebody_else_is_a_conflict_to_retry() {
    let yard = Yard::open("scaled").await;
    let swarm = deployer(&yard);
    let (service, stable) = ready(&yard, &swarm, &json!({})).await;
    let next = yard.release(&swarm, &service, &["N=2"]).await;
    let before = swarm.observe(&service).await.unwrap();
    yard.update(&service, |spec| {
        spec["Mode"]["Replicated"]["Replicas"] = json!(3);
    })
    .await;
    let late = request(1, &next, Pace::AtOnce, &before);
    let answer = swarm.apply(&service, &late).await;
    let Err(ChangeError::Conflict { now: Some(now) }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(now.wanted, before.wanted, "the same release as before");
    assert!(now.wanted.runs(&stable.id));
    let retry = request(2, &next, Pace::AtOnce, &now);
    swarm.apply(&service, &retry).await.unwrap();
    let seen = until(&swarm, &service, "three of the next", |seen| {
        seen.is_ready(&next.id) && seen.weight(&next.id) == Weight::ALL
    })
    .await;
    assert_eq!(ids(&seen, &next.id).len(), 3, "what they scaled to stays");
    yard.close().await;
}

#[tokio::test]
async fn of_two_controllers_one_is_taken() {
    let yard = Yard::open("two").await;
    let (one, other) = (deployer(&yard), deployer(&yard));
    let (service, _) = ready(&yard, &one, &json!({})).await;
    let mine = yard.release(&one, &service, &["N=mine"]).await;
    let theirs = yard.release(&other, &service, &["N=theirs"]).await;
    let seen = one.observe(&service).await.unwrap();
    assert_eq!(seen.wanted, other.observe(&service).await.unwrap().wanted);
    let (a, b) = (
        request(1, &mine, Pace::AtOnce, &seen),
        request(2, &theirs, Pace::AtOnce, &seen),
    );
    let (a, b) = tokio::join!(one.apply(&service, &a), other.apply(&service, &b));
    let conflicts = [&a, &b]
        .into_iter()
        .filter(|answer| matches!(answer, Err(ChangeError::Conflict { .. })))
        .count();
    assert!(
        conflicts == 1 && (a.is_ok() || b.is_ok()),
        "{a:?} and {b:?}"
    );
    let seen = one.observe(&service).await.unwrap();
    let taken = if a.is_ok() { mine.id } else { theirs.id };
    assert!(seen.wanted.runs(&taken), "{}", seen.wanted);
    yard.close().await;
}

/// What others deploy is another release, known by heart at once: Swarm may forget what was before,
/// and everything that is not the template survives there and back.
#[tokio::test]
async fn what_somebody_else_deployed_is_undone_and_nothing_else_is_touched() {
    let yard = Yard::open("foreign").await;
    let store = Arc::new(MemoryReleaseStore::new());
    let swarm = deployer(&yard).keeping(store);
    let users = json!({
        "RollbackConfig": {"Parallelism": 3, "FailureAction": "continue", "Order": "start-first"},
        "UpdateConfig": {"Parallelism": 1, "Delay": 7_000_000, "FailureAction": "rollback",
            "Monitor": 500_000_000, "MaxFailureRatio": 0.25, "Order": "start-first"},
    });
    let (service, stable) = ready(&yard, &swarm, &users).await;
    // Options that no part of this crate knows.
    yard.update(&service, |spec| {
        let container = &mut spec["TaskTemplate"]["ContainerSpec"];
        container["Ulimits"] = json!([{"Name": "nofile", "Soft": 512, "Hard": 1024}]);
        container["CapabilityDrop"] = json!(["CAP_NET_RAW"]);
        spec["TaskTemplate"]["Placement"]["MaxReplicas"] = json!(9);
        spec["Labels"]["team"] = json!("shop");
    })
    .await;
    let told = swarm.observe(&service).await.unwrap();
    assert!(!told.wanted.runs(&stable.id), "another template");
    let known = swarm.running(&service).await.unwrap();
    until(&swarm, &service, "the one with options", |seen| {
        seen.is_ready(&known.id) && seen.weight(&known.id) == Weight::ALL
    })
    .await;
    let before = yard.inspect(&service).await["Spec"].clone();

    // Twice, so that Swarm's own one step of memory is overwritten.
    for number in ["N=7", "N=8"] {
        yard.update(&service, |spec| env(spec, &[number])).await;
        swarm.observe(&service).await.unwrap();
    }
    let seen = swarm.observe(&service).await.unwrap();
    assert_eq!(seen.last_change, None, "not our change");
    let mut back = request(1, &known, ONE_BY_ONE, &seen).rolling_back(true);
    back.definition = None; // what we saw is what we know
    swarm.apply(&service, &back).await.unwrap();
    let sent = yard.inspect(&service).await["Spec"].clone();
    assert_eq!(sent["UpdateConfig"]["FailureAction"], "continue");
    assert_eq!(sent["UpdateConfig"]["Monitor"], 500_000_000, "the user's");
    until(&swarm, &service, "restored, and given back", |seen| {
        seen.is_ready(&known.id) && seen.last_change.as_ref() == Some(&back.id)
    })
    .await;
    let given_back = async {
        while yard.inspect(&service).await["Spec"]["UpdateConfig"] != before["UpdateConfig"] {
            swarm.observe(&service).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, given_back).await.unwrap();
    let mut after = yard.inspect(&service).await["Spec"].clone();
    let labels = after["Labels"].as_object_mut().unwrap();
    labels.retain(|label, _| label == support::TEST || !label.starts_with("io.rollback."));
    assert_eq!(after, before, "to the last option");
    let seen = swarm.observe(&service).await.unwrap();
    assert_eq!(seen.last_change, Some(back.id), "found after all");
    yard.close().await;
}

#[tokio::test]
async fn swarms_own_rollback_is_told_to_its_end_and_not_disturbed() {
    let yard = Yard::open("native").await;
    let swarm = deployer(&yard).with_native_rollback();
    // Long enough to be seen. One is replaced after the other, so that one still runs when the first
    // ends: slots in which nothing runs are filled at once, and there would be nothing to wait for.
    let rollback = json!({"Parallelism": 1, "Monitor": 3_000_000_000_u64, "Order": "stop-first"});
    let update = json!({"FailureAction": "rollback", "Monitor": 12_000_000_000_u64});
    // What ended is started anew too late to be restored in passing.
    let mut template = yard.template(&["N=1"]);
    template["RestartPolicy"]["Delay"] = json!(20_000_000_000_u64);
    let users =
        json!({"RollbackConfig": rollback, "UpdateConfig": update, "TaskTemplate": template});
    let (service, stable) = ready(&yard, &swarm, &users).await;
    let bad = yard
        .release(&swarm, &service, &["N=2", "EXIT_AFTER=6000"])
        .await;
    let seen = swarm.observe(&service).await.unwrap();
    let change = request(1, &bad, ONE_BY_ONE, &seen);
    swarm.apply(&service, &change).await.unwrap();
    let state = |seen: &Observation| seen.platform_rollback.as_ref().map(|own| own.state);
    let seen = until(&swarm, &service, "Swarm's own rollback", |seen| {
        state(seen) == Some(PlatformRollbackState::Started)
    })
    .await;
    let own = seen.platform_rollback.clone().unwrap();
    assert_eq!((&own.from, &own.to), (&bad.id, &stable.id));
    assert!(own.why.contains("rolled back"), "{}", own.why);
    let disturbing = request(2, &stable, Pace::AtOnce, &seen).rolling_back(true);
    let answer = swarm.apply(&service, &disturbing).await;
    assert!(
        matches!(answer, Err(ChangeError::Conflict { .. })),
        "{answer:?}"
    );
    let seen = until(&swarm, &service, "its end", |seen| {
        state(seen) == Some(PlatformRollbackState::Completed)
    })
    .await;
    assert_eq!(seen.platform_rollback.unwrap().from, bad.id);
    assert!(seen.wanted.runs(&stable.id));
    yard.close().await;
}

#[tokio::test]
async fn a_paused_update_is_a_failure_and_is_undone_without_starting_anything_anew() {
    let yard = Yard::open("paused").await;
    let swarm = deployer(&yard);
    let (service, stable) = ready(&yard, &swarm, &json!({})).await;
    let bad = yard
        .release(
            &swarm,
            &service,
            &[
                "EXIT_AFTER=50",
                "SAYS=adieu hunter2hunter2",
                "DB_PASSWORD=hunter2hunter2",
            ],
        )
        .await;
    let seen = swarm.observe(&service).await.unwrap();
    let served = ids(&seen, &stable.id);
    let change = request(1, &bad, ONE_BY_ONE, &seen);
    let began = Instant::now();
    swarm.apply(&service, &change).await.unwrap();
    let failing = |seen: &Observation| match seen.arm(&bad.id).map(|arm| arm.state.clone()) {
        Some(ArmState::Failing { why }) => Some(why),
        _ => None,
    };
    // What ended may be seen before Swarm says what it makes of it.
    let seen = until(&swarm, &service, "Swarm's pause", |seen| {
        failing(seen).is_some_and(|why| why.contains("paused"))
    })
    .await;
    let why = failing(&seen).unwrap();
    assert!(why.contains("exit (1)"), "{why}");
    let noticed = began.elapsed();
    let words = swarm.last_words(&service, &bad.id, 5).await;
    assert!(
        words.iter().any(|line| line.contains("adieu")),
        "its last words: {words:?}"
    );
    assert!(!words.concat().contains("hunter2"), "{words:?}");
    let seen = swarm.observe(&service).await.unwrap();
    let decided = Instant::now();
    let back = request(2, &stable, ONE_BY_ONE, &seen).rolling_back(true);
    swarm.apply(&service, &back).await.unwrap();
    let seen = until(&swarm, &service, "restored", |seen| {
        seen.is_ready(&stable.id) && seen.weight(&stable.id) == Weight::ALL
    })
    .await;
    let restored = decided.elapsed();
    println!("noticed after {noticed:?}, restored {restored:?} after the decision");
    assert_eq!(ids(&seen, &stable.id), served, "nothing was started anew");
    assert!(seen.platform_rollback.is_none());
    yard.close().await;
}

#[tokio::test]
async fn a_task_that_can_never_start_is_noticed_with_the_reason() {
    let yard = Yard::open("never").await;
    let swarm = deployer(&yard).stuck_after(Duration::from_secs(1));
    let (service, stable) = ready(&yard, &swarm, &json!({})).await;
    yard.update(&service, |spec| {
        spec["TaskTemplate"]["Placement"]["Constraints"] = json!(["node.labels.moon==full"]);
    })
    .await;
    let candidate = swarm.running(&service).await.unwrap();
    let seen = until(&swarm, &service, "that it never starts", |seen| {
        let arm = seen.arm(&candidate.id);
        arm.is_some_and(|arm| matches!(arm.state, ArmState::Failing { .. }))
    })
    .await;
    let ArmState::Failing { why } = seen.arm(&candidate.id).unwrap().state.clone() else {
        panic!("{seen:?}")
    };
    assert!(why.contains("no suitable node"), "{why}");
    assert_eq!(seen.weight(&stable.id), Weight::ALL, "the old ones serve");
    yard.close().await;
}

#[tokio::test]
async fn a_moved_tag_changes_neither_what_runs_nor_what_a_rollback_means() {
    let yard = Yard::open("moved").await;
    let swarm = deployer(&yard);
    let (service, stable) = ready(&yard, &swarm, &json!({})).await;
    let other = rollback_specimen::Image::new("v2")
        .label(support::TEST, &yard.name)
        .health_every(200, 2);
    let old = yard.engine.image(&yard.image).await.unwrap().id;
    image(&yard.engine, &yard.image, &other).await;
    let seen = swarm.observe(&service).await.unwrap();
    assert!(seen.wanted.runs(&stable.id), "{}", seen.wanted);
    let fresh = deployer(&yard).observe(&service).await.unwrap();
    assert_eq!(
        fresh.wanted, seen.wanted,
        "also for a controller that begins"
    );
    // The same name is another release now.
    let next = swarm.release(&service, &yard.image).await.unwrap();
    assert_ne!(next.id, stable.id);
    yard.update(&service, |spec| {
        spec["TaskTemplate"]["ForceUpdate"] = json!(1);
    })
    .await;
    let seen = until(&swarm, &service, "the name's new image", |seen| {
        seen.is_ready(&next.id) && seen.weight(&next.id) == Weight::ALL
    })
    .await;
    assert!(swarm.check(&service, &stable).await.is_ok());
    let back = request(1, &stable, Pace::AtOnce, &seen).rolling_back(true);
    swarm.apply(&service, &back).await.unwrap();
    until(&swarm, &service, "the old image", |seen| {
        seen.is_ready(&stable.id) && seen.weight(&stable.id) == Weight::ALL
    })
    .await;
    let spec = yard.inspect(&service).await["Spec"].clone();
    assert_eq!(
        spec["TaskTemplate"]["ContainerSpec"]["Image"],
        old.to_string(),
        "by its content"
    );
    yard.close().await;
}

#[tokio::test]
async fn ports_of_the_node_are_given_up_before_they_are_taken() {
    let yard = Yard::open("ports").await;
    let swarm = deployer(&yard);
    let port = {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    let ports = json!([{"Protocol": "tcp", "PublishMode": "host", "TargetPort": 8080,
        "PublishedPort": port}]);
    let more = json!({"EndpointSpec": {"Mode": "dnsrr", "Ports": ports},
        "Mode": {"Replicated": {"Replicas": 1}}});
    let (service, stable) = ready(&yard, &swarm, &more).await;
    let next = yard.release(&swarm, &service, &["N=2"]).await;
    let seen = swarm.observe(&service).await.unwrap();
    let address = seen.arm(&stable.id).unwrap().instances[0].address.clone();
    assert_eq!(address.as_deref(), Some(&*format!("127.0.0.1:{port}")));
    let impossible = request(1, &next, ONE_BY_ONE, &seen);
    let refused = swarm.apply(&service, &impossible).await;
    assert!(
        matches!(&refused, Err(ChangeError::Refused { why }) if why.contains("ports")),
        "{refused:?}"
    );
    let change = request(2, &next, Pace::AtOnce, &seen);
    swarm.apply(&service, &change).await.unwrap();
    let seen = until(&swarm, &service, "the next one", |seen| {
        seen.is_ready(&next.id) && seen.weight(&next.id) == Weight::ALL
    })
    .await;
    let ready = &seen.arm(&next.id).unwrap().instances[0];
    assert_eq!(ready.state, InstanceState::Ready);
    yard.close().await;
}
