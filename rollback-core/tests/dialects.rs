//! The source documents' own configurations under `examples/dialects`: each becomes the native
//! policy and the report beside it. `UPDATE=1` writes both anew, to be reviewed as a diff.
#![cfg(feature = "yaml")]

use std::{fs, path::PathBuf};

use rollback_core::{
    dialect::{Dialect, TranslateOptions, Translation},
    policy::{Foreign, Mode, Policy, Rule},
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/dialects")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_default()
}

fn options() -> TranslateOptions {
    TranslateOptions::default()
}

/// Source, dialect, options, and the names of native policy and report.
fn examples() -> Vec<(
    &'static str,
    Dialect,
    TranslateOptions,
    &'static str,
    &'static str,
)> {
    use Dialect::{DefaultRollbackConfig, DeploymentPolicy, Environment, RollbackConfig};
    let whole = "001/whole/rollback-config.yml";
    vec![
        (
            "001/rollback-config.yml",
            RollbackConfig,
            options(),
            "001/native.yml",
            "001/report.txt",
        ),
        (
            whole,
            RollbackConfig,
            options(),
            "001/whole/native.yml",
            "001/whole/report.txt",
        ),
        (
            whole,
            RollbackConfig,
            options().strategy("canary"),
            "001/whole/canary.native.yml",
            "001/whole/canary.report.txt",
        ),
        (
            whole,
            RollbackConfig,
            options().strategy("rolling"),
            "001/whole/rolling.native.yml",
            "001/whole/rolling.report.txt",
        ),
        (
            "002/deploy.env",
            Environment,
            options(),
            "002/native.yml",
            "002/report.txt",
        ),
        (
            "003/deployment-policy.yaml",
            DeploymentPolicy,
            options().environment(read("003/environment.env")),
            "003/native.yml",
            "003/report.txt",
        ),
        (
            "004/triggers.ts",
            DefaultRollbackConfig,
            options(),
            "004/native.yml",
            "004/report.txt",
        ),
    ]
}

fn modeline(name: &str) -> String {
    let up = "../".repeat(name.matches('/').count() + 2);
    format!("# yaml-language-server: $schema={up}rollback-core/rollback.schema.json\n")
}

#[test]
fn each_becomes_its_native_policy_with_a_report() {
    let mut wrong = Vec::new();
    for (source, dialect, options, native, report) in examples() {
        let text = read(source);
        assert!(!text.is_empty(), "{source} is not there");
        let translation = dialect
            .translate(&text, &options)
            .unwrap_or_else(|error| panic!("{source}: {error}"));
        let policy = Policy::from_yaml(&translation.yaml);
        assert_eq!(policy.as_ref(), Ok(&translation.policy), "{native}");
        let head = format!(
            "{}# Translated from {}.\n",
            modeline(native),
            name_of(source)
        );
        for (name, found) in [
            (native, format!("{head}{}", translation.yaml)),
            (report, translation.report()),
        ] {
            if std::env::var_os("UPDATE").is_some() {
                fs::write(folder().join(name), found).unwrap();
            } else if read(name) != found {
                wrong.push(format!("{name}:\n{found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[test]
fn every_line_of_a_source_that_says_something_is_reported() {
    for (source, dialect, options, ..) in examples() {
        let text = read(source);
        let lines: Vec<usize> = dialect
            .translate(&text, &options)
            .unwrap()
            .lines
            .iter()
            .map(|line| line.line)
            .collect();
        if dialect == Dialect::DefaultRollbackConfig {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            let says = line.split('#').next().unwrap().trim();
            // A key with its group below it is reported by what is in the group.
            let says = says.trim_start_matches("- ");
            if !says.is_empty() && !says.ends_with(':') {
                assert!(
                    lines.contains(&(index + 1)),
                    "{source}, line {}: {line}",
                    index + 1
                );
            }
        }
    }
}

#[test]
fn json_and_type_script_mean_the_same() {
    let of = |name: &str| -> Translation {
        Dialect::DefaultRollbackConfig
            .translate(&read(name), &options())
            .unwrap()
    };
    assert_eq!(of("004/config.json").yaml, of("004/triggers.ts").yaml);
}

/// The whole configuration of 001 is put together from the document's own pieces, line by line.
#[test]
fn the_whole_configuration_is_the_documents_own() {
    let lines = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.split("  #").next().unwrap().trim());
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let whole = lines(&read("001/whole/rollback-config.yml"));
    let mut pieces = Vec::new();
    for file in fs::read_dir(folder().join("001/document")).unwrap() {
        pieces.extend(lines(&fs::read_to_string(file.unwrap().path()).unwrap()));
    }
    for line in &pieces {
        assert!(whole.contains(line), "{line} is left out");
    }
    for line in &whole {
        assert!(pieces.contains(line), "{line} is not the document's");
    }
    assert_eq!(
        read("001/rollback-config.yml"),
        read("001/document/main.yml")
    );
}

/// What is switched off in the source watches and never acts, and says so.
#[test]
fn a_source_that_is_switched_off_observes() {
    for (dialect, name, key) in [
        (
            Dialect::RollbackConfig,
            "001/rollback-config.yml",
            "rollback.enabled",
        ),
        (Dialect::DefaultRollbackConfig, "004/triggers.ts", "enabled"),
    ] {
        let on = read(name);
        let off = on.replacen("enabled: true", "enabled: false", 1);
        let of = |text: &str| dialect.translate(text, &options()).unwrap();
        let (on, off) = (of(&on), of(&off));
        assert_eq!(
            (on.policy.mode, on.policy.foreign),
            (Mode::Act, Foreign::Ignore)
        );
        assert_eq!(
            (off.policy.mode, off.policy.foreign),
            (Mode::Observe, Foreign::Adopt)
        );
        assert!(
            off.yaml.contains("mode: observe\nforeign: adopt\n"),
            "{}",
            off.yaml
        );
        let line = off.lines.iter().find(|line| line.key == key).unwrap();
        assert!(
            line.to_string().contains("applied as `mode: observe`"),
            "{line}"
        );
        assert!(
            off.chosen
                .iter()
                .any(|chosen| chosen.starts_with("`foreign: adopt`"))
        );
        // Nothing else is different.
        let mut same = off.policy.clone();
        (same.mode, same.foreign) = (on.policy.mode, on.policy.foreign);
        assert_eq!(same, on.policy);
    }
}

/// Document 004 knows alarms by name; here they are alarms, not words to compare.
#[test]
fn an_alarm_of_document_004_is_an_alarm() {
    let text = read("004/triggers.ts").replace(
        "    {\n      type: 'health-check',",
        "    { type: 'alarm', message: 'cpu-high' },\n    {\n      type: 'health-check',",
    );
    let translation = Dialect::DefaultRollbackConfig
        .translate(&text, &options())
        .unwrap();
    let policy = translation.policy;
    let alarm = policy.trigger("alarm_cpu_high").unwrap();
    let Rule::Alarm { metric } = &alarm.rule else {
        panic!("{:?}", alarm.rule)
    };
    assert_eq!(metric.as_str(), "alarm_cpu_high");
    assert!(policy.metric(metric).is_some());
}
