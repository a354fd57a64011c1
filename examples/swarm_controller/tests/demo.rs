//! The demo on a real engine: every chapter ends as it should, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

use rollback_docker::Engine;
use serde_json::{Value, json};

async fn of_demo(engine: &Engine, path: &str, label: &str) -> Vec<Value> {
    let filters = json!({"label": [label]}).to_string();
    let query = [("all", "true"), ("filters", filters.as_str())];
    let found = engine.get(path, &query).await.unwrap();
    found.as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn the_demo_tells_its_story_and_leaves_the_engine_as_it_was() {
    let engine = Engine::from_env().unwrap();
    let swarm = |info: Value| info["Swarm"]["LocalNodeState"].clone();
    let before = swarm(engine.get("/info", &[]).await.unwrap());
    let child = Command::new(env!("CARGO_BIN_EXE_swarm_controller"))
        .arg("--demo")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let label = format!("io.rollback.demo=rollback-demo-{}", child.id());
    let ended = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout);
    let errors = String::from_utf8_lossy(&ended.stderr);
    println!("{told}\n{errors}");
    assert!(ended.status.success(), "{told}\n{errors}");
    for words in ["it stays", "never gets healthy", "5 %", "ends by itself"] {
        assert!(told.contains(words), "nothing of `{words}` in:\n{told}");
    }
    assert_eq!(told.matches("restored and verified").count(), 3, "{told}");
    assert_eq!(swarm(engine.get("/info", &[]).await.unwrap()), before);
    for path in ["/services", "/containers/json", "/images/json"] {
        let left = match path {
            // A swarm of the demo's own is gone with everything in it.
            "/services" if before != "active" => Vec::new(),
            path => of_demo(&engine, path, &label).await,
        };
        assert!(left.is_empty(), "{path}: {left:?}");
    }
}
