//! The commands to a running controller, from another process, and those on its journal.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "this is test code"
)]

mod support;

use serde_json::Value;
use support::{Following, Stage};

const GOOD: &str = "echo {{release}} > current";

/// A run of v2 that is being watched, and will be for a long time.
fn watched(stage: &Stage) -> Following {
    let mut run = Following::start(stage.run("v2", "60").args(["--", "sh", "-c", GOOD]));
    run.until("Progress: ");
    run
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

#[test]
fn people_command_a_deployment_that_is_under_way() {
    let stage = Stage::new();
    let run = watched(&stage);
    stage.ask(&["hold", "--reason", "lunch"]).ended(0, "held");
    run.end().ended(11, "held");
    let status = json(&stage.ask(&["status", "--json"]).out);
    assert_eq!(status["controller"], true);
    assert_eq!(status["active"]["name"], "v2");
    assert_eq!(status["active"]["triggers"][0]["verdict"], "pass");
    let told = stage.ask(&["status"]);
    for part in [
        "under way",
        "HELD",
        "next        waits: ",
        "consecutive_failures",
    ] {
        assert!(told.out.contains(part), "`{part}`: {told}");
    }
    stage
        .ask(&["resume", "--reason", "back"])
        .ended(0, "resumed");
    stage
        .ask(&["promote", "--reason", "good enough"])
        .ended(0, "promoting");
    stage.ask(&["attach"]).ended(0, "promoted v2");
    let why = stage.ask(&["why"]);
    for part in [
        "promoted v2",
        "held: ",
        "promotes it without further evidence",
    ] {
        assert!(why.out.contains(part), "`{part}`: {why}");
    }
    // Who asked is known from the kernel.
    let export = stage.ask(&["journal", "export"]);
    let uid = stage.uid();
    let lines: Vec<Value> = export.out.lines().map(json).collect();
    let command = lines
        .iter()
        .map(|line| &line["entry"]["i"]["command"])
        .find(|command| command["command"] == "promote")
        .expect("the command is journaled");
    assert_eq!(command["reason"], "good enough");
    let actor = command["actor"]["name"].as_str().unwrap();
    assert!(actor.ends_with(&format!("({uid})")), "{actor}");
}

#[test]
fn an_aborted_deployment_is_left_to_people() {
    let stage = Stage::new();
    let run = watched(&stage);
    stage
        .ask(&["abort", "--reason", "wrong cluster"])
        .ended(0, "aborted");
    run.end().ended(11, "wrong cluster");
    assert_eq!(stage.current(), "v2", "nothing is changed any more");
}

#[test]
fn a_person_rolls_back_with_a_reason_and_a_confirmation() {
    let stage = Stage::new();
    stage.deploy("v2", "1", GOOD).ended(0, "promoted v2");
    stage.ask(&["rollback"]).ended(2, "--reason");
    stage
        .ask(&["rollback", "--reason", "carts"])
        .ended(2, "ROLLBACK_CONFIRM=yes");
    stage
        .ask(&["rollback", "--to", "v9", "--reason", "carts", "--yes"])
        .ended(13, "no release of shop is called `v9`");
    assert_eq!(stage.current(), "v2");
    let mut confirmed = stage.guard(&["rollback", "--to", "before-guard", "--reason", "carts"]);
    let told = support::told(confirmed.env("ROLLBACK_CONFIRM", "yes"));
    told.ended(0, "rolled back from v2 to before-guard");
    assert_eq!(stage.current(), "before-guard");
}

#[test]
fn frozen_deployments_are_refused_and_a_hotfix_is_not() {
    let stage = Stage::new();
    stage.deploy("v2", "1", GOOD).ended(0, "promoted v2");
    stage
        .ask(&["freeze", "--reason", "christmas", "--until", "3d"])
        .ended(0, "frozen");
    stage.ask(&["status"]).ended(0, "FROZEN");
    stage.deploy("v3", "1", GOOD).ended(13, "christmas");
    let mut hotfix = stage.run("v3", "1");
    let hotfix =
        support::told(hotfix.args(["--expedite", "--reason", "it burns", "--", "sh", "-c", GOOD]));
    hotfix.ended(0, "promoted v3");
    stage.ask(&["unfreeze"]).ended(0, "allowed again");
    stage
        .ask(&["kill-switch", "on", "--reason", "wrong metrics"])
        .ended(0, "on");
    stage.deploy("v4", "1", GOOD).ended(13, "wrong metrics");
    stage.ask(&["kill-switch", "off"]).ended(0, "off");
    stage.deploy("v4", "1", GOOD).ended(0, "promoted v4");
}

#[test]
fn a_controller_that_stays_is_used_and_hands_over() {
    let stage = Stage::new();
    let mut serve = Following::start(&mut stage.guard(&[
        "serve",
        "--service",
        "shop",
        "--health-url",
        &stage.health,
        "--monitor",
        "1",
        "--every",
        "200ms",
        "--settle",
        "0",
    ]));
    serve.until("guards shop");
    stage
        .ask(&["stop", "--service", "other"])
        .ended(0, "no controller runs");
    let other = stage.ask(&["serve", "--service", "shop", "--health-url", &stage.health]);
    other.ended(2, "has a controller already");
    stage.deploy("v2", "1", GOOD).ended(0, "promoted v2");
    stage.deploy("v3", "7", GOOD).ended(2, "another policy");
    stage
        .ask(&["doctor"])
        .ended(0, &format!("process {}", serve.child.id()));
    support::signal("-TERM", &serve.child.id().to_string());
    serve.end().ended(0, "");
    stage.ask(&["status"]).ended(0, "no controller runs");
}

#[test]
fn commands_without_a_controller_say_what_to_do() {
    let stage = Stage::new();
    stage.ask(&["status"]).ended(2, "deploy with `guard run`");
    stage
        .ask(&["why", "--service", "shop"])
        .ended(2, "there is no journal");
    stage.deploy("v2", "1", GOOD).ended(0, "promoted");
    stage.ask(&["stop"]).ended(0, "");
    stage
        .ask(&["promote"])
        .ended(2, "no controller runs for service shop");
    stage.ask(&["watch"]).ended(2, "guard serve");
    stage.ask(&["why", "d99"]).ended(2, "guard history");
}

#[test]
fn what_happened_is_told_line_by_line() {
    let stage = Stage::new();
    let run = watched(&stage);
    let mut watch = Following::start_reading_out(&mut stage.guard(&["watch"]));
    let mut events = Following::start_reading_out(&mut stage.guard(&["watch", "--json"]));
    // Both listen: each poll is an event.
    events.until("\"event\":\"readings\"");
    // `watch` connects on its own; a command that it must tell is given until it has told it.
    stage.ask(&["hold", "--reason", "look"]).ended(0, "held");
    events.until("\"event\":\"held\"");
    run.end().ended(11, "held");
    stage
        .ask(&["abort", "--reason", "enough"])
        .ended(0, "aborted");
    watch.until("aborted by");
    watch.stop();
    events.stop();
}

#[test]
fn statistics_and_history_count_what_the_journal_has() {
    let stage = Stage::new();
    stage.deploy("v2", "1", GOOD).ended(0, "promoted");
    stage
        .deploy("v3", "60", "echo bad > current")
        .ended(10, "rolled back");
    let stats = json(&stage.ask(&["stats", "--json"]).out);
    assert_eq!(stats["deployments"], 2);
    assert_eq!(stats["outcomes"]["promoted"], 1);
    assert_eq!(stats["change_failure_rate"], 0.5);
    let detect = stats["median_detect_seconds"].as_f64().unwrap();
    let restore = stats["median_restore_seconds"].as_f64().unwrap();
    assert!(detect > 0.0 && restore > 0.0, "{stats}");
    stage.ask(&["stats"]).ended(0, "50.0 %");
    let history = stage.ask(&["history"]);
    let first = history.out.lines().nth(1).unwrap();
    assert!(
        first.contains("v3") && first.contains("rolled_back"),
        "newest first: {history}"
    );
}

/// Document 003's tables: its columns, with the rows of what happened.
#[test]
fn the_four_tables_of_document_003() {
    let stage = Stage::new();
    stage.deploy("v2", "1", GOOD).ended(0, "promoted");
    stage
        .deploy("v3", "60", "echo bad > current")
        .ended(10, "rolled back");
    let table = |name: &str| {
        let told = stage.ask(&["history", "--table", name, "--format", "json"]);
        assert_eq!(told.code, 0, "{told}");
        told.out.lines().map(json).collect::<Vec<_>>()
    };
    let header = |name: &str| {
        let told = stage.ask(&["history", "--table", name]);
        told.out.lines().next().unwrap().to_owned()
    };
    assert_eq!(
        header("deployments"),
        "id,deployment_id,commit_sha,previous_commit,build_id,status,deployment_type,environment,rollback_from_commit,rollback_reason,timestamp"
    );
    assert_eq!(
        header("health_checks"),
        "id,deployment_id,commit_sha,build_id,health_status,response_time_ms,error_rate,availability,endpoint,threshold_error_rate,threshold_response_time,threshold_availability,checks_passed,checks_failed,timestamp"
    );
    assert_eq!(
        header("progressive_deployments"),
        "id,deployment_id,commit_sha,build_id,stage,traffic_percentage,status,error_rate,availability,response_time_ms,started_at,completed_at,rollback_triggered,rollback_reason"
    );
    assert_eq!(
        header("version_markers"),
        "marker_name,commit_sha,updated_at"
    );

    let deployments = table("deployments");
    assert_eq!(deployments[0]["status"], "promoted");
    assert_eq!(deployments[0]["previous_commit"], "before-guard");
    assert_eq!(deployments[1]["status"], "rolled_back");
    assert_eq!(deployments[1]["rollback_from_commit"], "v3");
    assert_eq!(deployments[1]["previous_commit"], "v2");
    assert_eq!(deployments[1]["environment"], "production");
    let reason = deployments[1]["rollback_reason"].as_str().unwrap();
    assert!(reason.starts_with("consecutive_failures"), "{reason}");

    let checks = table("health_checks");
    let of = |commit: &str, status: &str| {
        checks
            .iter()
            .filter(|row| row["commit_sha"] == commit && row["health_status"] == status)
            .count()
    };
    assert!(of("v2", "healthy") >= 3, "{checks:?}");
    assert!(of("v3", "unhealthy") >= 3, "{checks:?}");
    assert_eq!(checks[0]["endpoint"], stage.health);
    let failed = checks
        .iter()
        .any(|row| row["checks_failed"][0] == "consecutive_failures");
    assert!(failed, "{checks:?}");

    let stages = table("progressive_deployments");
    assert_eq!(stages[0]["traffic_percentage"], 100);
    assert_eq!(stages[0]["status"], "completed");
    assert_eq!(stages[1]["rollback_triggered"], true);
    assert_eq!(stages[1]["status"], "rolled_back");

    let markers = table("version_markers");
    assert_eq!(markers.len(), 1);
    assert_eq!(markers[0]["commit_sha"], "v2");
}

#[test]
fn a_journal_is_verified_and_damage_is_found() {
    let stage = Stage::new();
    stage.deploy("v2", "1", GOOD).ended(0, "promoted");
    stage.ask(&["stop"]).ended(0, "");
    stage.ask(&["journal", "verify"]).ended(0, "intact");
    let path = stage.path("guard.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let needle = b"deployment_opened";
    // Also where the file keeps what it needs no more.
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, part)| part == needle)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] = b'D';
    }
    std::fs::write(&path, bytes).unwrap();
    stage
        .ask(&["journal", "verify"])
        .ended(1, "does not match its checksum");
}

#[test]
fn a_policy_is_checked_without_a_network() {
    let stage = Stage::new();
    let good = stage.file("good.yml", "bake: 10m\nmetrics:\n  errors: { unit: ratio, bad: failed, total: all }\ntriggers:\n  - { name: high, when: 'errors > 5%', for: 30s }\n");
    stage
        .ask(&["policy", "check", good.to_str().unwrap()])
        .ended(0, "valid");
    stage.ask(&["policy", "docs", "bake"]).ended(0, "bake");
    stage
        .ask(&["policy", "docs", "bakery"])
        .ended(2, "no part `bakery`");
    let schema = json(&stage.ask(&["policy", "schema"]).out);
    assert!(schema["properties"]["triggers"].is_object(), "{schema}");
    let bad = stage.file("bad.yml", "bake: 10m\npoll: fast\n");
    let mut check = stage.guard(&["policy", "check", bad.to_str().unwrap()]);
    let told = support::told(check.env("GITHUB_ACTIONS", "true"));
    told.ended(2, "write it like 500ms");
    assert!(told.err.contains("::error file="), "{told}");
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let stage = Stage::new();
    let told = stage.ask(&["doctor", "--service", "shop", "--health-url", &stage.health]);
    told.ended(0, "answers well");
    for line in told.out.lines() {
        assert!(
            ["ok  ", "warn"].iter().any(|word| line.starts_with(word)),
            "{line}"
        );
    }
    let unreachable = "http://127.0.0.1:1/health";
    stage
        .ask(&["doctor", "--service", "shop", "--health-url", unreachable])
        .ended(0, "warn  sources");
    stage.file("guard.db", "not a journal");
    stage
        .ask(&["doctor", "--service", "shop", "--health-url", &stage.health])
        .ended(1, "FAIL  journal");
}
