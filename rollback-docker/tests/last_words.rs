//! What real containers leave behind.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use rollback_core::model::Secret;
use rollback_docker::last_words;
use serde_json::{Value, json};
use support::containers::{Bench, health_check, until};

/// What is left of one container once `enough` is among it.
async fn left(bench: &Bench, id: &str, enough: &str) -> Vec<String> {
    let secrets = [Secret::new("sealed-value".to_owned())];
    until(enough, || async {
        let words = last_words(&bench.engine, &[id.to_owned()], 10, &secrets).await;
        words
            .iter()
            .any(|line| line.contains(enough))
            .then_some(words)
    })
    .await
}

#[tokio::test]
async fn a_container_that_ends_leaves_its_lines_and_its_code_and_no_secret() {
    let bench = Bench::new("words").await;
    let says =
        "SAYS=\u{1b}[31mfatal\u{1b}[0m: no database at postgres://shop:hunter2@db, sealed-value";
    let env = [
        "DATABASE_URL=postgres://shop:hunter2@db",
        says,
        "EXIT_AFTER=50",
        "EXIT_CODE=3",
    ];
    let expected = "fatal: no database at postgres://shop:${DATABASE_URL}@db, ***";
    let piped = bench.run("piped", &env, json!({})).await;
    let words = left(&bench, &piped, "ended with").await;
    assert_eq!(
        words.iter().filter(|line| *line == expected).count(),
        2,
        "{words:?}"
    );
    assert!(
        words.contains(&"fatal: told to end after 50 ms".to_owned()),
        "{words:?}"
    );
    assert_eq!(words.last().unwrap(), "ended with exit code 3");
    // A terminal has one output, which comes without frames.
    let terminal = bench.run("terminal", &env, json!({"Tty": true})).await;
    let words = left(&bench, &terminal, "ended with").await;
    assert_eq!(
        words.iter().filter(|line| *line == expected).count(),
        2,
        "{words:?}"
    );
    // Of several: names before the lines, and no more than asked for.
    let both = [piped, terminal];
    let words = last_words(&bench.engine, &both, 4, &[]).await;
    assert_eq!(words.len(), 4, "{words:?}");
    let name = format!("{}-piped: ended with exit code 3", bench.name);
    assert!(words.contains(&name), "{words:?}");
    bench.clear().await;
    assert!(last_words(&bench.engine, &both, 4, &[]).await.is_empty());
}

#[tokio::test]
async fn a_failing_health_check_and_a_start_that_failed_are_told() {
    let bench = Bench::new("unwell").await;
    let checked = json!({"Healthcheck": health_check(200, 1)});
    let sick = bench.run("sick", &["READY_AFTER=never"], checked).await;
    let words = left(&bench, &sick, "its health check failed").await;
    assert!(words.last().unwrap().contains("last with 1"), "{words:?}");
    let missing = json!({"Entrypoint": ["/nope"]});
    let missing = bench.create("missing", &[], missing).await;
    let path = format!("/containers/{missing}/start");
    let refused = bench.engine.post(&path, &[], &Value::Null).await;
    assert!(refused.is_err());
    let words = left(&bench, &missing, "the engine says").await;
    assert!(words.iter().any(|line| line.contains("/nope")), "{words:?}");
    // A log that nobody keeps.
    let silent = json!({"HostConfig": {"LogConfig": {"Type": "none"}}});
    let silent = bench.run("silent", &[], silent).await;
    let words = left(&bench, &silent, "its log cannot be read").await;
    assert!(words[0].contains("logging driver"), "{words:?}");
}
