//! The sample data, replayed as from the command line.

use std::{fs, path::Path};

use clap::Parser;
use rollback_core::{
    backtest::{Circumstances, Recording},
    entry::Entry,
    model::{Epoch, ServiceId},
    policy::Policy,
    ports::{Batch, Durability, Journal},
};
use rollback_store::SqliteJournal;
use serde_json::Value;

use crate::{cli::Cli, run};

pub(crate) const POLICY: &str = "replay/policy.yml";
pub(crate) const THRESHOLDS: &str = "replay/thresholds.yml";

pub(crate) fn replay(arguments: &[&str]) -> (Result<u8, (u8, String)>, Vec<Value>) {
    let cli = Cli::try_parse_from([&["replay"], arguments].concat()).unwrap();
    let mut out = Vec::new();
    let code = run(&cli, &mut out);
    let text = String::from_utf8(out).unwrap();
    (
        code,
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

/// Without the numbers: they are the triggers' own, and tested there.
fn short(mut line: Value) -> String {
    let keep = |decision: &mut Value| {
        let sentence = decision["evidence"]["sentence"].take();
        decision["evidence"] = serde_json::json!({ "sentence": sentence });
    };
    keep(&mut line);
    if line.get("second").is_some() {
        keep(&mut line["second"]);
    }
    line.to_string()
}

fn golden(name: &str, lines: Vec<Value>) {
    let path = format!("replay/golden/{name}.jsonl");
    let told: String = lines.into_iter().map(|line| short(line) + "\n").collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &told).unwrap();
    }
    let known = fs::read_to_string(&path).unwrap();
    assert_eq!(told, known, "see {path}; UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn the_sample_data_is_decided_as_it_should_be() {
    let (code, lines) = replay(&["--policy", POLICY, "replay/data"]);
    assert_eq!(code, Ok(0));
    golden("one", lines);
}

#[test]
fn two_policies_stand_side_by_side() {
    let (code, lines) = replay(&[
        "--policy",
        POLICY,
        "--policy",
        THRESHOLDS,
        "--explain",
        "replay/data",
    ]);
    assert_eq!(code, Ok(0));
    golden("two", lines);
}

#[test]
fn the_order_is_that_of_the_files_however_many_threads_there_are() {
    let lines = |threads| replay(&["--policy", POLICY, "--threads", threads, "replay/data"]).1;
    assert_eq!(lines("1"), lines("7"));
}

#[test]
fn a_start_may_be_given() {
    let (_, lines) = replay(&[
        "--policy",
        POLICY,
        "--deploy-at",
        "2026-11-21T12:02:00Z",
        "replay/data/errors.csv",
    ]);
    // The errors begin three minutes after twelve.
    assert_eq!(lines[0]["outcome"], "rolled_back");
    assert!(
        lines[0]["decided_after_s"].as_f64().unwrap() < 120.0,
        "{}",
        lines[0]
    );
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read_to_string("replay/data/good.csv").unwrap();
    fs::write(folder.path().join("a.csv"), good.replace(",p95,", ",p95,,")).unwrap();
    fs::write(folder.path().join("b.csv"), good).unwrap();
    let (code, lines) = replay(&["--policy", POLICY, folder.path().to_str().unwrap()]);
    assert_eq!(code, Ok(2));
    assert_eq!(lines[0]["outcome"], "error");
    let error = lines[0]["error"].as_str().unwrap();
    assert!(
        error.starts_with("line 3: 7 fields, and the header has 6; "),
        "{error}"
    );
    assert_eq!(lines[1]["outcome"], "promoted");
}

#[test]
fn mistakes_of_the_caller_are_code_2() {
    for (arguments, words) in [
        (
            &["--policy", POLICY, "replay/nowhere"][..],
            "replay/nowhere",
        ),
        (&["--policy", POLICY, "replay"], "no *.csv in this folder"),
        (
            &["--policy", "replay/nowhere.yml", "replay/data"],
            "replay/nowhere.yml",
        ),
        (
            &["--policy", "replay/data/good.csv", "replay/data"],
            "policy replay/data/good.csv",
        ),
        (
            &[
                "--policy",
                POLICY,
                "--policy",
                POLICY,
                "--policy",
                POLICY,
                "replay/data",
            ],
            "more than two",
        ),
    ] {
        let (code, why) = replay(arguments).0.unwrap_err();
        assert_eq!(code, 2, "{arguments:?}");
        assert!(why.contains(words), "{why}");
    }
    for arguments in [
        &["replay", "replay/data"][..],
        &["replay", "--policy", POLICY],
    ] {
        assert_eq!(Cli::try_parse_from(arguments).unwrap_err().exit_code(), 2);
    }
}

/// The journal that a controller with that policy would have written.
async fn controlled(file: &Path, readings: &str, policy: &str) {
    let policy = Policy::from_yaml(&fs::read_to_string(policy).unwrap()).unwrap();
    let recording = Recording::from_csv(&fs::read_to_string(readings).unwrap()).unwrap();
    let mut entries: Vec<Entry> = Vec::new();
    let around = Circumstances::default();
    recording
        .play_to(&policy, &around, |entry| entries.push(entry))
        .unwrap();
    let journal = SqliteJournal::open(file).unwrap();
    let service = ServiceId::new("checkout").unwrap();
    let ttl = std::time::Duration::from_secs(60);
    journal.acquire(&service, "test", ttl).await.unwrap();
    let batch = Batch {
        service,
        epoch: Epoch::new(1),
        entries,
    };
    for answer in journal.append(vec![batch], Durability::Durable).await {
        answer.unwrap();
    }
}

/// The journal of a controller with the thresholds, for one of the sample recordings.
pub(crate) async fn journal_of(folder: &Path, readings: &str) -> String {
    let file = folder.join("rollback.db");
    controlled(&file, &format!("replay/data/{readings}.csv"), THRESHOLDS).await;
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_journal_is_replayed_deployment_by_deployment() {
    let folder = tempfile::tempdir().unwrap();
    let file = journal_of(folder.path(), "errors").await;
    std::thread::spawn(move || {
        let journal = ["--journal", &file, "--explain", "--policy"];
        let (code, lines) = replay(&[&journal[..], &[POLICY, "--policy", THRESHOLDS]].concat());
        assert_eq!((code, lines.len()), (Ok(0), 1));
        let line = &lines[0];
        assert_eq!(line["answer"], "acts_earlier");
        assert_eq!(
            (&line["trigger"], &line["saved_s"]),
            (&"errors_against_stable".into(), &100.0.into())
        );
        assert_eq!(line["recorded"]["decided_after_s"], 240.0);
        assert_eq!(line["second"]["answer"], "same");
        assert_eq!(line["second"]["earlier_by_s"], -100.0);
        let (code, why) = replay(&[&journal[..], &[POLICY, "--service", "other"]].concat())
            .0
            .unwrap_err();
        assert_eq!(code, 1);
        assert!(
            why.contains("no service `other` in it; it has `checkout`"),
            "{why}"
        );
    })
    .join()
    .unwrap();
}
