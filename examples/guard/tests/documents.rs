//! The configurations of the source documents, as they are written there, run to their ends. Their
//! minutes are rehearsed in seconds; what is measured and decided is real.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "this is test code"
)]

mod support;

use std::{fs, path::PathBuf, process::Command};

use support::{Stage, Told, told};

/// Its file is called as any other.
const DIALECT_OF_004: &str = "default-rollback-config";

const BACK: &str = "echo $GUARD_RELEASE > current";

/// A file of a document, word for word.
fn source(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../dialects")
        .join(path)
        .canonicalize()
        .unwrap()
}

/// `guard run` by the document's configuration, `times` faster.
fn run(stage: &Stage, document: &str, times: &str, release: &str) -> Command {
    let policy = source(document);
    let mut run = stage.guard(&["run", "--service", "shop", "--rehearse", times]);
    run.arg("--policy")
        .arg(policy)
        .args(["--release", release, "--timeout", "60"])
        .args(["--health-url", &stage.health])
        .args(["--metrics-url", &stage.page("/metrics.json")])
        .args(["--metrics-format", "json"]);
    if document == "004/config.json" {
        run.args(["--dialect", DIALECT_OF_004]);
    }
    run
}

/// The same with a deploy command that brings in the release of this name.
fn deployed(stage: &Stage, document: &str, times: &str, release: &str) -> Told {
    let mut run = run(stage, document, times, release);
    run.args(["--rollback-command", BACK]);
    told(run.args(["--", "sh", "-c", "echo {{release}} > current"]))
}

#[test]
fn document_001() {
    let stage = Stage::new();
    let document = "001/rollback-config.yml";
    deployed(&stage, document, "150", "v2").ended(0, "promoted v2");
    let told = deployed(&stage, document, "150", "v3-sick");
    told.ended(10, "rolled back from v3-sick to v2: high_error_rate");
    assert_eq!(stage.current(), "v2", "{told}");
    // `rollback_cooldown: 300` is not rehearsed: nothing is rolled back again so soon by itself.
    let told = deployed(&stage, document, "150", "v4-sick");
    told.ended(11, "the last rollback is too short ago");
}

#[test]
fn document_002() {
    let stage = Stage::new();
    let document = "002/deploy.env";
    deployed(&stage, document, "100", "v2").ended(0, "promoted v2");
    let told = deployed(&stage, document, "100", "v3-bad");
    told.ended(10, "rolled back from v3-bad to v2: health_check_failing");
    assert_eq!(stage.current(), "v2", "{told}");
}

/// More than 10 % of the checks, and never three in a row.
#[test]
fn document_002_error_rate() {
    let stage = Stage::new();
    let told = deployed(&stage, "002/deploy.env", "100", "v2-flaky");
    told.ended(10, "health_checks_failing_often");
    assert_eq!(stage.current(), "before-guard", "{told}");
}

/// The document's own deployment script, with a `kubectl` that writes a file.
#[test]
fn document_003() {
    let stage = Stage::new();
    stage.program(
        "kubectl",
        r#"#!/bin/sh
echo "$*" >>calls
case "$1 $2" in
"set image") cp current before && echo "${4#app=}" >new ;;
"traffic 0") cp before current ;;
traffic*) cp new current ;;
"rollout undo") cp before current ;;
esac
"#,
    );
    stage.program(
        "deploy.sh",
        r#"#!/bin/bash
# deploy.sh - Custom deployment logic

case "$1" in
  deploy)
    # Deploy new version
    kubectl set image deployment/app app=$IMAGE
    ;;
  rollback)
    # Rollback to previous version
    kubectl rollout undo deployment/app
    ;;
  update-traffic)
    # Update traffic percentage
    PERCENTAGE=$2
    STAGE=$3
    # Update load balancer/service mesh
    kubectl traffic $PERCENTAGE $STAGE
    ;;
  *)
    echo "Usage: $0 {deploy|rollback|update-traffic}"
    exit 1
    ;;
esac
"#,
    );
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", stage.path("").display());
    let deployed = |image: &str, release: &str| {
        let policy = source("003/deployment-policy.yaml");
        let mut run = stage.guard(&["run", "--service", "shop", "--rehearse", "150"]);
        run.args(["--timeout", "60", "--env", image]);
        run.args(["--verbs", "update-traffic"]);
        run.arg("--policy").arg(policy);
        // The document's own variables.
        run.env("PATH", &path)
            .env("HEALTH_ENDPOINT", &stage.health)
            .env("DEPLOYMENT_SCRIPT", "deploy.sh")
            .env("COMMIT_SHA", release);
        told(&mut run)
    };
    let calls = || {
        let calls = fs::read_to_string(stage.path("calls")).unwrap();
        fs::remove_file(stage.path("calls")).unwrap();
        calls.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    deployed("IMAGE=shop:2", "abc123def456").ended(0, "promoted abc123def456");
    assert_eq!(
        calls(),
        [
            "set image deployment/app app=shop:2",
            "traffic 10 1",
            "traffic 25 2",
            "traffic 50 3",
            "traffic 100 4"
        ]
    );
    let told = deployed("IMAGE=shop:3-sick", "bad123def456");
    told.ended(
        10,
        "rolled back from bad123def456 to abc123def456: error_rate",
    );
    assert_eq!(stage.current(), "shop:2", "{told}");
    assert_eq!(calls().last().unwrap(), "traffic 0 2");
}

/// Nobody can tell by its name what it is: both say how to read it.
#[test]
fn document_004_is_recognised() {
    let stage = Stage::new();
    let file = source("004/config.json").display().to_string();
    let hint = format!("it reads well with --dialect {DIALECT_OF_004}");
    stage.ask(&["policy", "check", &file]).ended(2, &hint);
    let health = ["--health-url", &stage.health];
    let run = [&["run", "--policy", &file], &health[..], &["--", "true"]].concat();
    stage.ask(&run).ended(2, &hint);
    let told = stage.ask(&["policy", "check", "--json", &file]);
    let json: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(json["reads_as"], DIALECT_OF_004, "{told}");
    let named = ["policy", "check", "--dialect", DIALECT_OF_004, &file];
    stage.ask(&named).ended(0, "What became of each key");
    // A mistake in a native policy is that mistake.
    let wrong = "bake: 10m\nmetrics: { errors: { unit: ratio, query: e } }\ntriggers: [ { name: high, when: 'erors > 5%' } ]\n";
    let wrong = stage.file("rollback.yml", wrong).display().to_string();
    let told = stage.ask(&["policy", "check", &wrong]);
    told.ended(2, "did you mean `errors`?");
}

#[test]
fn document_004() {
    let stage = Stage::new();
    let document = "004/config.json";
    let told = deployed(&stage, document, "100", "v2-sick");
    told.ended(
        10,
        "rolled back from v2-sick to before-guard: error_rate_high",
    );
    assert_eq!(stage.current(), "before-guard", "{told}");
    deployed(&stage, document, "100", "v3").ended(0, "promoted v3");
}
