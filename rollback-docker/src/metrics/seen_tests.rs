//! What real engines said, and what we make of it.

use rollback_core::model::{ServiceId, Timestamp};
use serde_json::{Value, json};

use super::seen::{Container, Health, Network, Stats};

/// As Docker 20.10 tells a container that runs under limits.
fn inspected() -> Value {
    json!({
        "Id": "c43c9999d1f8",
        "Created": "2026-11-21T18:06:38.431712155Z",
        "RestartCount": 2,
        "SizeRw": 4096,
        "State": {
            "Status": "running", "Running": true, "OOMKilled": false, "ExitCode": 0, "Error": "",
            "StartedAt": "2026-11-21T18:06:38.679900025Z", "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": {"Status": "unhealthy", "FailingStreak": 4, "Log": []}
        },
        "HostConfig": {"NanoCpus": 200_000_000, "CpuQuota": 0, "CpuPeriod": 0, "CpusetCpus": "", "Memory": 67_108_864},
        "Config": {"Labels": {"io.rollback.service": "shop"}}
    })
}

fn with(at: &str, value: Value) -> Container {
    let mut inspected = inspected();
    *inspected.pointer_mut(at).unwrap() = value;
    Container::of(&inspected).unwrap()
}

/// As Docker 20.10 on cgroup v1 tells it, shortened.
fn told() -> Value {
    json!({
        "read": "2026-11-21T18:06:58.059866188Z",
        "pids_stats": {"current": 1},
        "cpu_stats": {
            "cpu_usage": {"total_usage": 3_912_791_845_u64},
            "throttling_data": {"periods": 195, "throttled_periods": 194}
        },
        "memory_stats": {
            "usage": 356_352, "limit": 67_108_864,
            "stats": {"inactive_file": 1, "total_inactive_file": 100_000}
        },
        "networks": {
            "eth0": {"rx_bytes": 876, "rx_packets": 10, "rx_errors": 1, "rx_dropped": 2,
                     "tx_bytes": 5, "tx_packets": 3, "tx_errors": 0, "tx_dropped": 0},
            "eth1": {"rx_bytes": 4, "rx_packets": 1, "tx_bytes": 0, "tx_packets": 0}
        }
    })
}

#[test]
fn a_container_is_read_whole() {
    let container = Container::of(&inspected()).unwrap();
    let expected = Container {
        id: "c43c9999d1f8".to_owned(),
        service: Some("shop".to_owned()),
        created: Some(Timestamp::from_millis(1_795_284_398_431)),
        started: Some(Timestamp::from_millis(1_795_284_398_679)),
        status: Some("running".to_owned()),
        restarts: Some(2),
        exit_code: None,
        oom_killed: Some(false),
        health: Some(Health {
            word: "unhealthy".to_owned(),
            streak: Some(4),
        }),
        cpu_limit: Some(0.2),
        memory_limit: Some(67_108_864),
        written: Some(4096),
    };
    assert_eq!(container, expected);
    assert!(container.runs());
    assert!(!container.is_of_another(&ServiceId::new("shop").unwrap()));
    assert!(container.is_of_another(&ServiceId::new("till").unwrap()));
}

#[test]
fn an_answer_without_anything_is_no_container_and_no_zero() {
    assert_eq!(Container::of(&json!({"message": "page not found"})), None);
    let bare = Container::of(&json!({"Id": "x", "State": {"Status": 7}})).unwrap();
    let nothing = Container {
        id: "x".to_owned(),
        ..Container::default()
    };
    assert_eq!(bare, nothing);
}

#[test]
fn only_what_ended_has_an_exit_code() {
    for (status, code) in [
        ("running", None),
        ("paused", None),
        ("created", None),
        ("exited", Some(0)),
        ("restarting", Some(0)),
        ("dead", Some(0)),
        ("hibernating", None),
    ] {
        let container = with("/State/Status", json!(status));
        assert_eq!(container.exit_code, code, "{status}");
    }
    // It could not be started: the engine has a code for that too.
    let mut inspected = inspected();
    inspected["State"] = json!({"Status": "created", "ExitCode": 127, "Error": "exec: /nope"});
    assert_eq!(Container::of(&inspected).unwrap().exit_code, Some(127));
}

#[test]
fn the_smallest_cpu_limit_counts_and_none_is_none() {
    for (nano, quota, period, set, limit) in [
        (0, 0, 0, "", None),
        (1_500_000_000_u64, 0, 0, "", Some(1.5)),
        (0, 50_000, 0, "", Some(0.5)),
        (0, 50_000, 25_000, "", Some(2.0)),
        (0, 0, 0, "0-2,5", Some(4.0)),
        (3_000_000_000, 0, 0, "1", Some(1.0)),
        (0, 0, 0, "3-1", None),
        (0, 0, 0, "x", None),
    ] {
        let config =
            json!({"NanoCpus": nano, "CpuQuota": quota, "CpuPeriod": period, "CpusetCpus": set});
        let container = with("/HostConfig", config);
        assert_eq!(container.cpu_limit, limit, "{nano} {quota}/{period} {set}");
        assert_eq!(container.memory_limit, None);
    }
}

#[test]
fn a_health_check_that_is_off_is_none() {
    for (health, word) in [
        (
            json!({"Status": "starting", "FailingStreak": 0}),
            Some("starting"),
        ),
        (json!({"Status": "none"}), None),
        (json!({"Status": ""}), None),
        (json!(null), None),
        (json!({"Status": "drowsy"}), Some("drowsy")),
    ] {
        let container = with("/State/Health", health);
        assert_eq!(container.health.map(|health| health.word).as_deref(), word);
    }
}

#[test]
fn counters_are_read_on_both_kinds_of_cgroup() {
    let stats = Stats::of(&told()).unwrap();
    let expected = Stats {
        at: Timestamp::from_millis(1_795_284_418_059),
        cpu: Some(3_912_791_845),
        periods: Some((194, 195)),
        memory: Some(256_352),
        network: Some(Network {
            received: 880,
            sent: 5,
            failed: 3,
            packets: 17,
        }),
        processes: Some(1),
    };
    assert_eq!(stats, expected);
    // cgroup v2 has no `total_` names, and an engine may tell no details at all.
    for (details, memory) in [
        (json!({"inactive_file": 56_352, "anon": 1}), 300_000),
        (json!({"inactive_file": 400_000}), 356_352),
        (json!(null), 356_352),
    ] {
        let mut told = told();
        told["memory_stats"]["stats"] = details.clone();
        assert_eq!(Stats::of(&told).unwrap().memory, Some(memory), "{details}");
    }
}

#[test]
fn the_zeros_of_a_container_that_does_not_run_are_nothing() {
    // Word for word what Docker 20.10 answers for one that ended.
    let ended = json!({
        "read": "0001-01-01T00:00:00Z", "pids_stats": {}, "memory_stats": {},
        "cpu_stats": {"cpu_usage": {"total_usage": 0}, "throttling_data": {"periods": 0, "throttled_periods": 0}}
    });
    assert_eq!(Stats::of(&ended), None);
    // Between start and first measurement.
    let mut early = ended;
    early["read"] = json!("2026-11-21T18:06:58Z");
    let stats = Stats::of(&early).unwrap();
    assert_eq!(
        (stats.cpu, stats.memory, stats.processes, stats.periods),
        (None, None, None, None)
    );
    assert_eq!(stats.network, None);
}
