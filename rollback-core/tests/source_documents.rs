//! Defects of the source documents that a policy cannot have: those that its text alone shows. The
//! rows about an engine at work are stories; `docs/source-documents.md` lists every row with its test.
#![cfg(feature = "yaml")]

use std::{fs, path::Path};

use rollback_core::{
    condition::{Condition, MetricCatalogue, Missing, Truth, Unit, Value},
    dialect::{Dialect, Fate, TranslateOptions},
    inspect::{CheckOptions, check_policy},
    policy::{Rule, Shape},
};

fn errors() -> MetricCatalogue {
    MetricCatalogue::new()
        .per_arm("error_rate", Unit::Ratio)
        .per_arm("health", Unit::State)
}

/// 000: a look every five minutes, "detection in two minutes".
#[test]
fn document_000_the_time_to_detect_is_computed() {
    let text = "
poll: 5m
metrics: { health: { unit: state, query: /health } }
triggers: [ { name: down, when: \"health == 'down'\" } ]
bake: 1h
";
    let report = check_policy(text, &CheckOptions::default());
    let detection = report.numbers.as_ref().map(|numbers| numbers.detection);
    assert!(
        detection.is_some_and(|time| time.as_secs() >= 300),
        "{detection:?}"
    );
    assert!(
        report
            .text()
            .contains("a bad candidate is decided on within")
    );
}

/// 001: `exit 1` of the check meant "not above the threshold", and nothing was asked while `/health`
/// answered.
#[test]
fn document_001_true_means_bad_and_nothing_waits_for_another_metric() {
    let condition = Condition::compile("error_rate > 0.05", &errors()).unwrap();
    let read: Vec<&str> = condition
        .slots()
        .iter()
        .map(|slot| slot.metric.as_str())
        .collect();
    assert_eq!(read, ["error_rate"]);
    assert_eq!(condition.evaluate(|_| Value::Number(0.2)), Truth::True);
    assert_eq!(condition.evaluate(|_| Value::Number(0.01)), Truth::False);
}

/// 001, 004: `metrics.get('error_rate', 0)`, `average: 0` without a data point.
#[test]
fn documents_001_and_004_what_is_absent_is_unknown() {
    let condition = Condition::compile("error_rate > 0.05", &errors()).unwrap();
    let answer = condition.evaluate(|_| Value::Missing(Missing::NoData));
    assert!(matches!(answer, Truth::Unknown(_)), "{answer:?}");
}

/// 004: the count of failed health checks never passes 1, and three were asked for.
#[test]
fn document_004_three_failed_health_checks_can_be_reached() {
    let text = "{ triggers: [ { type: 'health-check', threshold: 3, duration: 60 } ] }";
    let translation = Dialect::DefaultRollbackConfig
        .translate(text, &TranslateOptions::default())
        .unwrap();
    let Rule::When { shape, .. } = &translation.policy.triggers[0].rule else {
        panic!("{:?}", translation.policy.triggers[0]);
    };
    // Two polls more than the first one, well within the minute.
    assert!(matches!(shape, Shape::InARow { polls: 3, .. }), "{shape:?}");
    assert_eq!(shape.least(translation.policy.poll).as_secs(), 20);
}

/// 004: `manual` in the configuration is true on every look.
#[test]
fn document_004_a_command_is_no_trigger() {
    let text = "{ triggers: [ { type: 'manual', message: 'now' }, { type: 'error-rate' } ] }";
    let translation = Dialect::DefaultRollbackConfig
        .translate(text, &TranslateOptions::default())
        .unwrap();
    assert_eq!(translation.policy.triggers.len(), 1);
    let manual = translation
        .lines
        .iter()
        .find(|line| line.key == "triggers[0].type");
    assert!(
        matches!(manual.map(|line| &line.fate), Some(Fate::NotOurs { .. })),
        "{manual:?}"
    );
}

/// 004: an alarm is asked for on every look, whatever it said before the deployment.
#[test]
fn document_004_an_alarm_has_a_name_and_a_history() {
    let of =
        |text: &str| Dialect::DefaultRollbackConfig.translate(text, &TranslateOptions::default());
    let translation = of("{ triggers: [ { type: 'alarm', message: 'cpu-High' } ] }").unwrap();
    let Rule::Alarm { metric } = &translation.policy.triggers[0].rule else {
        panic!("{:?}", translation.policy.triggers[0]);
    };
    assert_eq!(metric.as_str(), "alarm_cpu_high");
    assert!(
        translation.yaml.contains("query: cpu-High"),
        "{}",
        translation.yaml
    );
    let error = of("{ triggers: [ { type: 'alarm' } ] }").unwrap_err();
    assert!(error.message().contains("the alarm's name"), "{error}");
}

/// What the tables of `docs` name is there: stories, tests and invariants.
#[test]
fn everything_that_the_tables_name_exists() {
    for (table, row, rows) in [
        ("docs/source-documents.md", "| 0", 14),
        ("docs/pains.md", "| P", 25),
    ] {
        let text = read(table);
        let told: Vec<&str> = text.lines().filter(|line| line.starts_with(row)).collect();
        assert!(told.len() >= rows, "{table} has {} rows", told.len());
        let missing: Vec<String> = told.into_iter().flat_map(missing).collect();
        assert!(
            missing.is_empty(),
            "{table} names what is not there: {missing:?}"
        );
    }
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

/// What the last column of a row names and is not there.
fn missing(row: &str) -> Vec<String> {
    let shown = row
        .trim_end_matches(" |")
        .rsplit(" | ")
        .next()
        .unwrap_or_default();
    let mut kind = "";
    let mut named = 0;
    let mut missing = Vec::new();
    for (index, part) in shown.split('`').enumerate() {
        if index % 2 == 0 {
            let word = ["story", "stories", "test", "invariant"];
            kind = part
                .split_whitespace()
                .rev()
                .find(|said| word.contains(said))
                .unwrap_or(if part == ", " { kind } else { "" });
            continue;
        }
        let there = match kind {
            "story" | "stories" => {
                read(&format!("rollback-core/tests/stories/{part}.txt")).contains("----")
            }
            "test" => part
                .split_once("::")
                .is_some_and(|(file, name)| read(file).contains(&format!("fn {name}("))),
            "invariant" => read("rollback-testkit/src/simulator/invariants/mod.rs")
                .contains(&format!("Self::{part},")),
            // Words of the sentence, such as a key of the policy.
            _ => continue,
        };
        named += 1;
        if !there {
            missing.push(part.to_owned());
        }
    }
    assert!(named > 0, "nothing shows: {row}");
    missing
}
