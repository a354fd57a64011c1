//! The client against a real engine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::time::Duration;

use rollback_docker::EngineError;
use rollback_specimen::Image;
use serde_json::json;
use support::{TEST, engine, image, name, sweep};

#[tokio::test]
async fn an_image_is_built_found_by_name_and_kept_apart_when_the_name_moves() {
    let engine = engine();
    let name = name("image");
    let (label, tag) = (format!("{TEST}={name}"), format!("{name}:latest"));
    let first = image(&engine, &tag, &Image::new("v1").label(TEST, &name)).await;
    assert_eq!(engine.image(&tag).await.unwrap().id, first);
    let second = image(&engine, &tag, &Image::new("v2").label(TEST, &name)).await;
    assert_ne!(first, second, "another environment is another image");
    assert_eq!(engine.image(&tag).await.unwrap().id, second);
    let old = engine.image(first.as_str()).await.unwrap();
    let env = old.config["Env"].as_array().unwrap();
    assert!(env.contains(&"VERSION=v1".into()), "{env:?}");
    sweep(&engine, &label).await;
    let gone = engine.image(&tag).await.unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
}

#[tokio::test]
async fn a_build_that_fails_says_where() {
    let (engine, name) = (engine(), name("broken"));
    let broken = Image::new("v1")
        .label(TEST, &name)
        .label("a=b\nRUN nothing\nLABEL c", "d");
    let error = engine.build(broken.context(), None).await.unwrap_err();
    assert!(matches!(error, EngineError::Answer { .. }), "{error}");
    assert!(error.to_string().contains("RUN nothing"), "{error}");
    // The steps before it were kept.
    sweep(&engine, &format!("{TEST}={name}")).await;
}

#[tokio::test]
async fn an_event_is_heard() {
    let engine = engine();
    let name = name("event");
    let heard = {
        let (engine, name) = (engine.clone(), name.clone());
        tokio::spawn(async move { engine.happened(&[("volume", &[&name])]).await })
    };
    // Whenever the listening begins: one of these falls into it.
    let mut count = 0;
    while !heard.is_finished() {
        let volume = json!({"Name": name});
        engine.post("/volumes/create", &[], &volume).await.unwrap();
        let path = format!("/volumes/{name}");
        engine.delete(&path, &[]).await.unwrap();
        count += 1;
        assert!(count < 1000, "nothing was heard");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    heard.await.unwrap().unwrap();
}
