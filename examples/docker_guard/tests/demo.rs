//! The demo, as a person runs it. Needs a Docker Engine; with an HAProxy installed it uses it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::process::Command;

#[test]
fn each_chapter_ends_as_it_should_and_nothing_is_left() {
    let (about, [good, bad, dead]) = told(&mut demo());
    assert!(about.contains("HAProxy"), "{about}");
    assert!(
        good.contains("promoted") && good.contains("none failed"),
        "{good}"
    );
    assert!(
        bad.contains("rolled back") && bad.contains("failed by v3"),
        "{bad}"
    );
    assert!(dead.contains("rolled back"), "{dead}");
}

#[test]
fn without_haproxy_it_says_what_is_left_out_and_ends_as_it_should() {
    let (about, [good, bad, dead]) = told(demo().env("PATH", ""));
    assert!(
        about.contains("No HAProxy is installed") && about.contains("nobody answers meanwhile"),
        "{about}"
    );
    assert!(good.contains("promoted"), "{good}");
    assert!(
        bad.contains("rolled back") && bad.contains("failed by v3"),
        "{bad}"
    );
    assert!(dead.contains("rolled back"), "{dead}");
}

fn demo() -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_docker_guard"));
    demo.args(["--demo", "--json"]);
    demo
}

/// On what it is played, and how its three chapters ended.
fn told(demo: &mut Command) -> (String, [String; 3]) {
    let ran = demo.output().unwrap();
    let (told, progress) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert_eq!(ran.status.code(), Some(0), "{told}\n{progress}");
    let events: Vec<serde_json::Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert_eq!(events.last().unwrap()["event"], "swept");
    let of = |kind: &str| -> Vec<String> {
        let found = events.iter().filter(|event| event["event"] == kind);
        found
            .map(|event| event["text"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let ends = of("chapter_ended").try_into();
    (
        of("stage").concat(),
        ends.unwrap_or_else(|ends| panic!("three chapters, not {ends:?}")),
    )
}
