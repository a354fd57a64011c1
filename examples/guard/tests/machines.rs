//! What programs are told: JSON events by their schema, GitHub's files, and the help as it is printed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "this is test code"
)]

mod support;

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use support::{Stage, Told, told};

const GOOD: &str = "echo {{release}} > current";

/// As much of JSON Schema as our schema uses. What it does not know, it refuses.
fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    let rules = schema.as_object().ok_or("a schema is an object")?;
    for (rule, wanted) in rules {
        let good = match rule.as_str() {
            "$schema" | "$id" | "title" | "description" | "format" => true,
            "oneOf" => {
                let all = wanted.as_array().unwrap();
                let tried: Vec<_> = all.iter().map(|one| fits(one, value)).collect();
                match tried.iter().filter(|one| one.is_ok()).count() {
                    1 => true,
                    count => return Err(format!("{count} of {tried:?}")),
                }
            }
            "type" => {
                let is = |word: &Value| match word.as_str() {
                    Some("object") => value.is_object(),
                    Some("string") => value.is_string(),
                    Some("integer") => value.is_i64() || value.is_u64(),
                    Some("null") => value.is_null(),
                    other => panic!("type {other:?}"),
                };
                wanted
                    .as_array()
                    .map_or_else(|| is(wanted), |all| all.iter().any(is))
            }
            "required" => wanted
                .as_array()
                .unwrap()
                .iter()
                .all(|key| value.get(key.as_str().unwrap()).is_some()),
            "properties" => {
                for (key, one) in value.as_object().unwrap() {
                    if let Some(schema) = wanted.get(key) {
                        fits(schema, one).map_err(|why| format!("{key}: {why}"))?;
                    } else if rules.get("additionalProperties") == Some(&Value::Bool(false)) {
                        return Err(format!("{key} is not in the schema"));
                    }
                }
                true
            }
            "additionalProperties" => true,
            "const" => value == wanted,
            "not" => fits(wanted, value).is_err(),
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_i64() >= wanted.as_i64(),
            "pattern" => value
                .as_str()
                .unwrap()
                .chars()
                .all(|c| c == '_' || c.is_ascii_lowercase()),
            other => panic!("the schema uses `{other}`"),
        };
        if !good {
            return Err(format!("{rule} of {value}"));
        }
    }
    Ok(())
}

#[test]
fn every_line_of_json_fits_the_published_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/event.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let stage = Stage::new();
    let mut words = Vec::new();
    for (release, script, code) in [("v2", GOOD, 0), ("v3", "echo bad > current", 10)] {
        let mut run = stage.run(release, if code == 0 { "1" } else { "60" });
        let told = told(run.args(["--json", "--", "sh", "-c", script]));
        assert_eq!(told.code, code, "{told}");
        assert_eq!(told.err, "", "nothing beside the events");
        let lines: Vec<Value> = told
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for line in &lines {
            if let Err(why) = fits(&schema, line) {
                panic!("{why}\nin {line}");
            }
            words.push(line["event"].as_str().unwrap().to_owned());
        }
        assert_eq!(lines.last().unwrap()["exit_code"], code);
    }
    for word in [
        "deployment_opened",
        "readings",
        "verdict_changed",
        "rollback_decided",
        "ended",
        "settled",
    ] {
        assert!(words.iter().any(|told| told == word), "{word} in {words:?}");
    }
    let wrong = serde_json::json!({ "event": "settled", "service": "shop" });
    assert!(fits(&schema, &wrong).is_err());
}

/// The script of the action, as a runner starts it.
struct Action {
    stage: Stage,
}

impl Action {
    fn run(&self, inputs: &[(&str, &str)]) -> Told {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut guard = self.stage.guard(&[]);
        let mut command = Command::new("bash");
        command
            .arg(root.join("action/guard.sh"))
            .current_dir(guard.get_current_dir().unwrap())
            .env_clear();
        for (name, value) in guard
            .env("HEALTH_CHECK_INTERVAL", "0.2")
            .env("STABILIZATION_TIME", "0")
            .get_envs()
        {
            command.env(name, value.unwrap());
        }
        command
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_OUTPUT", self.stage.path("output"))
            .env("GITHUB_STEP_SUMMARY", self.stage.path("summary"))
            .env("RUNNER_TEMP", self.stage.path(""))
            .env("GUARD_PROGRAM", env!("CARGO_BIN_EXE_guard"))
            .env("GUARD_SERVICE", "shop")
            .env("GUARD_HEALTH_URL", &self.stage.health)
            .env("GUARD_ROLLBACK_COMMAND", "echo v1 > current")
            .envs(inputs.iter().copied());
        let _ = fs::remove_file(self.stage.path("output"));
        told(&mut command)
    }

    fn output(&self, name: &str) -> String {
        let text = fs::read_to_string(self.stage.path("output")).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")));
        value
            .unwrap_or_else(|| panic!("no {name} in {text}"))
            .to_owned()
    }

    fn summary(&self) -> String {
        fs::read_to_string(self.stage.path("summary")).unwrap()
    }
}

#[test]
fn the_action_hands_on_how_it_ended() {
    let action = Action {
        stage: Stage::new(),
    };
    let good = [
        ("GUARD_COMMAND", "echo v2 > current"),
        ("GUARD_RELEASE_NAME", "v2"),
        ("GUARD_MONITOR", "1"),
    ];
    let told = action.run(&good);
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(action.output("outcome"), "promoted");
    assert!(
        action.summary().contains("## ✅ shop: promoted v2"),
        "{}",
        action.summary()
    );

    let bad = [
        ("GUARD_COMMAND", "echo bad > current"),
        ("GUARD_RELEASE_NAME", "v3"),
        ("GUARD_MONITOR", "60"),
    ];
    let told = action.run(&bad);
    told.ended(10, "::error title=Rolled back::");
    assert_eq!(action.output("outcome"), "rolled_back");
    assert_eq!(action.output("restored-release"), "v2");
    assert!(action.output("reason").contains("consecutive_failures"));
    assert!(action.output("detect-seconds").parse::<f64>().unwrap() > 0.0);
    assert!(action.output("restore-seconds").parse::<f64>().unwrap() > 0.0);
    let summary = action.summary();
    for part in [
        "## ❌ shop: rolled back from v3 to v2",
        "| consecutive_failures | ",
        "```mermaid\ngantt",
        "<details>",
        "</details>",
    ] {
        assert!(summary.contains(part), "`{part}` in {summary}");
    }
    let report = fs::read_to_string(action.output("report-path")).unwrap();
    assert!(report.contains("Timeline:"), "{report}");

    let allowed = [
        ("GUARD_COMMAND", "echo bad > current"),
        ("GUARD_RELEASE_NAME", "v4"),
        ("GUARD_MONITOR", "60"),
        ("GUARD_ALLOW_ROLLBACK", "true"),
    ];
    let told = action.run(&allowed);
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(action.output("outcome"), "rolled_back");

    let again = [
        ("GUARD_COMMAND", "echo bad > current"),
        ("GUARD_RELEASE_NAME", "v4"),
        ("GUARD_MONITOR", "60"),
    ];
    action.run(&again).ended(13, "::error title=Refused::");
    assert_eq!(action.output("outcome"), "refused");
    action
        .run(&[("GUARD_COMMAND", "")])
        .ended(2, "the inputs `command` and `script` are empty");
    action
        .run(&[("GUARD_COMMAND", "true"), ("GUARD_SCRIPT", "./deploy.sh")])
        .ended(2, "`command` and `script` are both given");
}

/// A script instead of a command, metrics instead of health, and people who are told.
#[test]
fn the_action_hands_on_scripts_sources_and_notices() {
    let stage = Stage::new();
    stage.program(
        "deploy.sh",
        "#!/bin/sh\ncase $1 in deploy) echo \"$ARTEFACT\" >current ;; rollback) echo v1 >current ;; esac\n",
    );
    stage.file(
        "rollback.yml",
        "strategy: recreate\npoll: 200ms\nbake: 60s\nverify: { for: 400ms, within: 30s }\n\
         metrics: { errors: { unit: ratio, per: service, source: metrics, query: error_rate } }\n\
         triggers: [ { name: many_errors, when: 'errors > 5%', consecutive: 2 } ]\n",
    );
    // Without a word about its strategy a policy means blue-green, which the script cannot do.
    let text = fs::read_to_string(stage.path("rollback.yml")).unwrap();
    let wrong = stage.file("wrong.yml", &text.replace("strategy: recreate\n", ""));
    let wrong = wrong.display().to_string();
    let asked = ["run", "--script", "./deploy.sh", "--policy", &wrong];
    let dry = ["--metrics-url", "http://127.0.0.1:9/", "--dry-run"];
    let told = stage.ask(&[&asked[..], &dry[..]].concat());
    told.ended(13, "asks more than to deploy and to go back");
    assert!(told.err.contains("give --verbs update-traffic"), "{told}");
    let page = stage.page("/metrics.json");
    let action = Action { stage };
    let inputs = [
        ("GUARD_ROLLBACK_COMMAND", ""),
        ("GUARD_SCRIPT", "./deploy.sh"),
        ("GUARD_ARTEFACT", "shop-sick"),
        ("GUARD_RELEASE_NAME", "v2"),
        ("GUARD_POLICY", "rollback.yml"),
        ("GUARD_METRICS_URL", &page),
        ("GUARD_METRICS_FORMAT", "json"),
        ("GUARD_NOTIFY_FILE", "notices"),
    ];
    let told = action.run(&inputs);
    told.ended(10, "many_errors");
    assert_eq!(action.output("outcome"), "rolled_back", "{told}");
    assert_eq!(action.stage.current(), "v1");
    let notices = fs::read_to_string(action.stage.path("notices")).unwrap();
    assert!(notices.contains("rolled back"), "{notices}");
}

/// What new users read first. `UPDATE_HELP=1` writes it anew: then read the difference.
#[test]
fn the_help_is_as_it_is_written_down() {
    let stage = Stage::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    for (name, args) in [
        ("guard", &["--help"][..]),
        ("run", &["run", "--help"]),
        ("rollback", &["rollback", "--help"]),
    ] {
        let told = stage.ask(args);
        assert_eq!(told.code, 0, "{told}");
        let text = told
            .out
            .replace(&stage.path("guard.db").display().to_string(), "FILE");
        let path = folder.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_HELP").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, written, "{name}: UPDATE_HELP=1 writes it anew");
        assert!(text.contains("Exit codes:") || name == "rollback", "{text}");
    }
}
