//! What a controller has around it: sources, whoever is told, scripts that do not know, and a person
//! who deploys while it only watches.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "this is test code"
)]

mod support;

use std::fs;

use serde_json::Value;
use support::{Following, Stage, told};

const GOOD: &str = "echo {{release}} > current";

/// A policy of one rule about errors, asked of `source`; `more` is written at its top.
fn policy(stage: &Stage, more: &str, per: &str, source: &str) -> String {
    let query = "query: 'error_rate'";
    let text = format!(
        "service: shop\n{more}\npoll: 200ms\nbake: 1s\nverify: {{ for: 400ms }}\nmetrics:\n  error_rate: {{ unit: ratio, per: {per}, {query}{source} }}\ntriggers:\n  - {{ name: errors, when: 'error_rate > 5%' }}\n"
    );
    let file = stage.file("policy.yml", &text);
    file.to_str().unwrap().to_owned()
}

fn deploy(stage: &Stage, policy: &str, release: &str, more: &[&str]) -> support::Told {
    let mut run = stage.guard(&["run", "--policy", policy, "--release", release]);
    run.args(["--timeout", "30", "--rollback-command"])
        .arg("echo $GUARD_RELEASE > current")
        .args(more);
    told(run.args(["--", "sh", "-c", GOOD]))
}

#[test]
fn metrics_come_from_a_prometheus_a_page_or_a_body() {
    for (source, option, path) in [
        ("", "--prometheus-url", ""),
        (", source: prometheus", "--prometheus-url", ""),
        ("", "--metrics-url", "/metrics"),
    ] {
        let stage = Stage::new();
        let policy = policy(&stage, "strategy: recreate", "service", source);
        let url = stage.page(path);
        let more = [option, url.as_str(), "--scrape-interval", "50ms"];
        deploy(&stage, &policy, "v2", &more).ended(0, "promoted v2");
        let told = deploy(&stage, &policy, "v3-sick", &more);
        told.ended(10, "rolled back from v3-sick to v2: errors");
    }
    let stage = Stage::new();
    let policy = policy(&stage, "strategy: recreate", "service", ", source: shelf");
    deploy(&stage, &policy, "v2", &[]).ended(2, "shelf");
}

#[test]
fn a_source_that_cannot_answer_so_is_named_by_its_reason() {
    let stage = Stage::new();
    let more = "strategy: recreate\nblind_budget: 600ms";
    let policy = policy(&stage, more, "instance", "");
    let url = stage.page("/metrics");
    let more = ["--metrics-url", &url, "--address", "localhost:1"];
    let told = deploy(&stage, &policy, "v2", &more);
    told.ended(11, "select by {{instance}}");
}

#[test]
fn people_are_told_and_a_notice_that_went_nowhere_is_an_exit_code() {
    let stage = Stage::new();
    let mut run = stage.run("v2", "1");
    run.args(["--notify-file", "notices.jsonl"]).args([
        "--notify-command",
        "echo \"$NOTICE_SUBJECT\" >> said; cat >> heard",
    ]);
    told(run.args(["--", "sh", "-c", GOOD])).ended(0, "promoted v2");
    let lines = fs::read_to_string(stage.path("notices.jsonl")).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(last["subject"].as_str().unwrap().contains("v2 is promoted"));
    assert_eq!(last["service"], "shop");
    assert!(
        fs::read_to_string(stage.path("said"))
            .unwrap()
            .contains("v2 is promoted")
    );
    assert!(
        fs::read_to_string(stage.path("heard"))
            .unwrap()
            .contains("\"severity\"")
    );

    let mut run = stage.run("v3", "1");
    run.args(["--notify-command", "no-such-program"]);
    let told = told(run.args(["--", "sh", "-c", GOOD]));
    told.ended(15, "was not delivered");
    told.ended(15, "promoted v3");
}

#[test]
fn a_script_that_does_not_know_is_asked_about() {
    let stage = Stage::new();
    let script = r#"#!/bin/sh
[ "$1" = deploy ] || [ "$1" = rollback ] || exit 64
echo "$RELEASE_NAME" > current
[ ! -e unsure ] || exit 75
"#;
    stage.program("deploy.sh", script);
    fs::write(stage.path("unsure"), "").unwrap();
    let policy = policy(&stage, "strategy: recreate", "service", "");
    let url = stage.page("/metrics");
    let mut run = stage.guard(&["run", "--policy", &policy, "--release", "v2"]);
    run.args([
        "--script",
        "deploy.sh",
        "--metrics-url",
        &url,
        "--timeout",
        "60",
    ]);
    let mut run = Following::start(&mut run);
    run.until("in doubt");
    fs::remove_file(stage.path("unsure")).unwrap();
    stage.ask(&["resolve", "made"]).ended(0, "noted");
    run.end().ended(0, "promoted v2");
    stage
        .ask(&["run", "--script", "deploy.sh", "--", "true"])
        .ended(2, "not both");
}

#[test]
fn a_person_ends_a_deploy_command_that_hangs() {
    let stage = Stage::new();
    let mut run = stage.run("v2", "30");
    let script = "echo half > current; echo begun; sleep 60";
    let mut run = Following::start(run.args(["--", "sh", "-c", script]));
    run.until("| begun");
    let back = stage.ask(&["rollback", "--reason", "it hangs", "--yes"]);
    back.ended(0, "rolled back from v2 to before-guard");
    run.end().ended(10, "it hangs");
    assert_eq!(stage.current(), "before-guard");
}

#[test]
fn what_is_only_observed_is_told_and_never_done() {
    let stage = Stage::new();
    let more = "strategy: recreate\nmode: observe";
    let policy = policy(&stage, more, "service", "");
    let url = stage.page("/metrics");
    let more = ["--metrics-url", url.as_str()];
    deploy(&stage, &policy, "v2", &more).ended(0, "would have promoted v2");
    let told = deploy(&stage, &policy, "v3-sick", &more);
    told.ended(0, "would have rolled back to v2: errors");
    assert_eq!(stage.current(), "v3-sick", "{told}");
    stage.ask(&["why"]).ended(0, "would have rolled back to v2");
    // What ran before is not held against it while its command still runs.
    let mut run = stage.guard(&["run", "--policy", &policy, "--release", "v4"]);
    run.args(more)
        .args(["--", "sh", "-c", "sleep 1; echo v4 > current"]);
    support::told(&mut run).ended(0, "would have promoted v4");
    let mut run = stage.guard(&["run", "--policy", &policy, "--release", "v5"]);
    run.args(more).args(["--", "sh", "-c", "exit 3"]);
    support::told(&mut run).ended(1, "exit status: 3");
}
