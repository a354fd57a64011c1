//! `guard run` as a new user has it: a deploy command wrapped, to each of its ends.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "this is test code"
)]

mod support;

use support::{Following, Stage, signal};

const GOOD: &str = "echo deploying {{release}}; echo {{release}} > current";

#[test]
fn a_good_release_is_promoted() {
    let stage = Stage::new();
    let told = stage.deploy("v2", "1", GOOD);
    told.ended(0, "promoted v2");
    assert!(told.err.contains("  | deploying v2"), "{told}");
    assert!(told.out.starts_with("promoted v2 (deployment "), "{told}");
    assert_eq!(told.out.lines().count(), 1, "stdout is data: {told}");
    let line = told.err.lines().find(|line| line.starts_with("Progress: "));
    let line = line.unwrap_or_else(|| panic!("no progress: {told}"));
    assert!(
        line.contains("s / 1s | Checks: 1 | Failures: 0 (0.00%) | Consecutive: 0 | Remaining: "),
        "{line}"
    );
    assert_eq!(stage.current(), "v2");
    stage.ask(&["status"]).ended(0, "stable      v2");
}

#[test]
fn a_deploy_command_that_fails_is_rolled_back() {
    let stage = Stage::new();
    stage.deploy("v2", "1", GOOD).ended(0, "promoted v2");
    let told = stage.deploy("v3", "1", "echo half > current; echo no space left; exit 3");
    told.ended(10, "rolled back from v3 to v2");
    told.ended(10, "exit status 3");
    assert!(
        told.err.contains("| no space left"),
        "its last words: {told}"
    );
    assert_eq!(stage.current(), "v2", "{told}");
}

#[test]
fn a_release_that_is_bad_for_its_users_is_rolled_back() {
    let stage = Stage::new();
    let told = stage.deploy("v2", "30", "echo bad > current");
    told.ended(
        10,
        "rolled back from v2 to before-guard: consecutive_failures",
    );
    assert!(told.err.contains("Consecutive: 2"), "{told}");
    assert!(told.err.contains("| back to before-guard"), "{told}");
    assert!(
        told.err.contains("would have passed"),
        "the numbers: {told}"
    );
    assert_eq!(stage.current(), "before-guard");
    // The evidence was against this very release: it is not deployed again by mistake.
    let again = stage.deploy("v2", "1", "echo bad > current");
    again.ended(13, "was rejected before");
    assert_eq!(stage.current(), "before-guard");
}

#[test]
fn a_policy_that_holds_leaves_it_to_a_person() {
    let stage = Stage::new();
    let policy = stage.file(
        "hold.yml",
        &format!(
            "service: shop\nstrategy: recreate\npoll: 200ms\nbake: 30s\nverify: {{ for: 400ms }}\nmetrics:\n  health: {{ unit: state, per: service, query: '{}' }}\ntriggers:\n  - {{ name: down, when: \"health == 'down'\", action: hold, required: true }}\n",
            stage.health
        ),
    );
    let policy = policy.to_str().unwrap();
    let told = stage.ask(&[
        "run",
        "--policy",
        policy,
        "--release",
        "v2",
        "--rollback-command",
        "echo v1 > current",
        "--",
        "sh",
        "-c",
        "echo bad > current",
    ]);
    told.ended(11, "held: down");
    assert!(told.out.contains("roll back"), "the exits: {told}");
    stage.ask(&["status"]).ended(0, "HELD");
    let back = stage.ask(&["rollback", "--reason", "users complain", "--yes"]);
    back.ended(0, "rolled back from v2 to before-guard");
    assert_eq!(stage.current(), "v1");
    stage.ask(&["why"]).ended(0, "users complain");
}

#[test]
fn a_policy_with_a_mistake_is_refused_with_its_place() {
    let stage = Stage::new();
    let policy = stage.file("wrong.yml", "service: shop\nbake: 1m\nbakes: 2m\n");
    let policy = policy.to_str().unwrap();
    let told = stage.ask(&["run", "--policy", policy, "--", "./deploy.sh"]);
    told.ended(2, "wrong.yml");
    told.ended(2, "bakes");
    stage
        .ask(&["run", "--", "./deploy.sh"])
        .ended(2, "give --health-url URL, or --policy FILE");
}

#[test]
fn a_rollback_command_that_fails_is_not_success() {
    let stage = Stage::new();
    let back = "echo the backup is gone; exit 7";
    let mut run = stage.run_and_back("v2", "30", back);
    let told = support::told(run.args(["--", "sh", "-c", "echo bad > current"]));
    told.ended(12, "exit status 7");
    assert_eq!(stage.current(), "bad");
}

#[test]
fn whoever_waits_no_longer_leaves_it_going_on() {
    let stage = Stage::new();
    let told =
        support::told(
            stage
                .run("v2", "30")
                .args(["--timeout", "1", "--", "sh", "-c", GOOD]),
        );
    told.ended(16, "goes on");
    stage.ask(&["status"]).ended(0, "bake for 30s");
    stage
        .ask(&["promote", "--reason", "seen enough"])
        .ended(0, "promoting");
    stage.ask(&["attach"]).ended(0, "promoted v2");
}

#[test]
fn ctrl_c_interrupts_the_waiting_and_not_the_deployment() {
    let stage = Stage::new();
    let mut run = Following::start(stage.run("v2", "3").args(["--", "sh", "-c", GOOD]));
    run.until("Progress: ");
    signal("-INT", &run.child.id().to_string());
    run.end().ended(130, "goes on");
    stage.ask(&["attach"]).ended(0, "promoted v2");
}

#[test]
fn a_killed_controller_is_followed_by_one_that_goes_on() {
    let stage = Stage::new();
    let mut run = Following::start(stage.run("v2", "30").args(["--", "sh", "-c", GOOD]));
    run.until("Progress: ");
    signal("-KILL", &stage.controller());
    run.end().ended(1, "guard attach");
    stage.ask(&["status"]).ended(0, "no controller runs");
    stage.ask(&["promote"]).ended(2, "guard attach");
    // The same run again finds its deployment, and deploys nothing twice.
    let mut again = Following::start(stage.run("v2", "30").args(["--", "sh", "-c", GOOD]));
    again.until("is under way already");
    again.until("Progress: ");
    stage
        .ask(&["promote", "--reason", "seen enough"])
        .ended(0, "promoting");
    let told = again.end();
    told.ended(0, "promoted v2");
    assert!(!told.err.contains("deploying v2"), "deployed twice: {told}");
    let history = stage.ask(&["history", "--json"]);
    assert_eq!(history.out.lines().count(), 1, "{history}");
}

#[test]
fn a_dry_run_looks_and_changes_nothing() {
    let stage = Stage::new();
    let told = support::told(
        stage
            .run("v2", "600")
            .args(["--dry-run", "--", "sh", "-c", GOOD]),
    );
    told.ended(0, "Nothing was changed");
    for part in [
        "watch it for 10m",
        "consecutive_failures: health == 'down'",
        "answers well",
    ] {
        assert!(told.out.contains(part), "`{part}`: {told}");
    }
    assert_eq!(stage.current(), "v1");
    assert!(!stage.path("guard.db").exists());
    let missing = support::told(
        stage
            .run("v2", "600")
            .args(["--dry-run", "--", "./deploy.sh"]),
    );
    missing.ended(13, "is not there");
}

#[test]
fn nobody_has_to_wait() {
    let stage = Stage::new();
    let told = support::told(
        stage
            .run("v2", "1")
            .args(["--no-wait", "--", "sh", "-c", GOOD]),
    );
    told.ended(0, "");
    let deployment = told.out.trim();
    stage.ask(&["attach", deployment]).ended(0, "promoted v2");
    stage.ask(&["wait", deployment]).ended(0, "promoted v2");
}

#[test]
fn a_deploy_command_that_takes_too_long_is_ended_before_the_way_back() {
    let stage = Stage::new();
    let mut run = stage.run("v2", "30");
    let script = "echo half > current; sleep 40; echo late > current";
    let told = support::told(run.args(["--deploy-timeout", "1", "--", "sh", "-c", script]));
    told.ended(10, "rolled back from v2 to before-guard: deployment_failed");
    assert_eq!(stage.current(), "before-guard");
    let left = std::process::Command::new("pgrep")
        .args(["-f", "sleep 40; echo late"])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "the script still runs: {left:?}");
}

/// Document 002's variables as they are exported there.
#[test]
fn a_policy_in_a_dialect_is_run() {
    let stage = Stage::new();
    let text = "export MONITORING_DURATION=600\nexport ERROR_THRESHOLD=0.10\n";
    let policy = stage.file("production.env", text);
    let mut run = stage.guard(&[
        "run",
        "--policy",
        policy.to_str().unwrap(),
        "--service",
        "shop",
    ]);
    run.args([
        "--health-url",
        &stage.health,
        "--release",
        "v2",
        "--dry-run",
    ]);
    let told = support::told(run.args(["--", "sh", "-c", GOOD]));
    told.ended(0, "watch it for 10m, every 10s");
    told.ended(0, "health_check_failing");
    assert!(told.err.contains("strategy: recreate"), "{told}");
}

/// Document 002's fourth failure: the verification script.
#[test]
fn a_verification_that_fails_is_rolled_back() {
    let stage = Stage::new();
    let mut run = stage.run("v2", "1");
    run.args(["--verify-command", "grep -q v2 current"]);
    support::told(run.args(["--", "sh", "-c", GOOD])).ended(0, "promoted v2");
    let mut run = stage.run("v3", "1");
    run.args(["--verify-command", "echo no checkout page; exit 4"]);
    let told = support::told(run.args(["--", "sh", "-c", GOOD]));
    told.ended(10, "rolled back from v3 to v2");
    told.ended(10, "verify");
    assert_eq!(stage.current(), "v2");
}

#[test]
fn a_gate_waits_for_a_person() {
    let stage = Stage::new();
    let text = format!(
        "service: shop\nstrategy:\n  steps: [ {{ converge: in_place }}, {{ task: smoke }}, {{ gate: sign_off, within: 1h, then: hold }}, {{ bake: 1s }} ]\ntasks:\n  smoke: {{ within: 1m }}\npoll: 200ms\nmetrics:\n  health: {{ unit: state, per: service, query: '{}' }}\ntriggers:\n  - {{ name: down, when: \"health == 'down'\" }}\n",
        stage.health
    );
    let policy = stage.file("gate.yml", &text);
    let policy = policy.to_str().unwrap();
    let args = ["run", "--policy", policy, "--release", "v2"];
    let script = ["--", "sh", "-c", GOOD];
    stage
        .ask(&[&args[..], &script[..]].concat())
        .ended(2, "--task smoke=COMMAND");
    let task = ["--task", "smoke=test -f current"];
    let mut run = Following::start(&mut stage.guard(&[&args[..], &task[..], &script[..]].concat()));
    run.until("Progress: ");
    stage.ask(&["status"]).ended(0, "guard approve sign_off");
    stage.ask(&["approve", "lunch"]).ended(13, "sign_off");
    stage
        .ask(&["approve", "sign_off", "--reason", "looks good"])
        .ended(0, "approved");
    run.end().ended(0, "promoted v2");
}
