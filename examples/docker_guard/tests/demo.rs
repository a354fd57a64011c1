//! The demo, as a person runs it. Needs a Docker Engine; with an HAProxy installed it uses it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::process::Command;

#[test]
fn each_chapter_ends_as_it_should_and_nothing_is_left() {
    let ran = Command::new(env!("CARGO_BIN_EXE_docker_guard"))
        .args(["--demo", "--json"])
        .output()
        .unwrap();
    let (told, progress) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert_eq!(ran.status.code(), Some(0), "{told}\n{progress}");
    let events: Vec<serde_json::Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let ends = events
        .iter()
        .filter(|event| event["event"] == "chapter_ended");
    let ends: Vec<&str> = ends
        .map(|event| event["text"].as_str().unwrap_or_default())
        .collect();
    let [good, bad, dead] = ends.as_slice() else {
        panic!("three chapters, not {ends:?}")
    };
    assert!(
        good.contains("promoted") && good.contains("none failed"),
        "{good}"
    );
    assert!(
        bad.contains("rolled back") && bad.contains("failed by v3"),
        "{bad}"
    );
    assert!(dead.contains("rolled back"), "{dead}");
    assert_eq!(events.last().unwrap()["event"], "swept");
}
