//! Whole deployments through the real driver, on a platform in memory and paused time.

mod stage;

use std::sync::Arc;

use rollback::{Controller, entry::Fact, memory::MemoryJournal, model::*};
use stage::*;

#[tokio::test(start_paused = true)]
async fn a_healthy_release_is_promoted() {
    let world = World::new();
    let people = People::default();
    let controller = world
        .builder(POLICY)
        .journal(MemoryJournal::new())
        .notifier(people.clone())
        .start()
        .await
        .unwrap();
    let deployment = controller.deploy(release("v2")).await.unwrap();
    let outcome = ended(&deployment).await;
    assert!(matches!(outcome, Outcome::Promoted { .. }), "{outcome}");
    assert_eq!(world.serving(), "v2 at 100 %");
    assert_eq!(deployment.outcome().await.unwrap(), Some(outcome));
    let status = controller.status().await.unwrap();
    assert_eq!(status.stable, Some(release("v2").id));
}

#[tokio::test(start_paused = true)]
async fn a_bad_release_is_rolled_back_verified_and_explained() {
    let world = World::new();
    let journal = Arc::new(MemoryJournal::new());
    let people = People::default();
    let controller = world
        .builder(POLICY)
        .journal(Arc::clone(&journal))
        .notifier(people.clone())
        .start()
        .await
        .unwrap();
    let mut events = controller.events();
    let deployment = controller.deploy(release("bad")).await.unwrap();
    let outcome = ended(&deployment).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    assert_eq!(world.serving(), "v1 at 100 %");
    let account = deployment.explain().await.unwrap().to_string();
    for part in [
        "rolled back from bad to v1",
        "too_many_errors",
        "threshold",
        "no such table",
    ] {
        assert!(account.contains(part), "no `{part}` in:\n{account}");
    }
    let mut heard = Vec::new();
    while let Ok(event) = events.try_recv() {
        heard.push(event.event.to_string());
    }
    for word in ["deployment_opened", "readings", "rollback_decided", "ended"] {
        assert!(heard.iter().any(|event| event == word), "{word}: {heard:?}");
    }
    let rollbacks = facts(&*journal).await;
    let decided = |fact: &&Fact| matches!(fact, Fact::RollbackDecided { .. });
    assert_eq!(rollbacks.iter().filter(decided).count(), 1);
    assert!(!people.subjects().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_said_before_anything_happens() {
    let world = World::new();
    let says = |error: rollback::StartError| error.to_string();
    let missing = Controller::builder(SERVICE).start().await.map(drop);
    assert!(says(missing.unwrap_err()).contains(".policy(..)"));
    let missing = world.builder(POLICY).start().await.map(drop);
    assert!(says(missing.unwrap_err()).contains(".journal(..)"));
    let named = POLICY.replace(r#""unit": "ratio""#, r#""unit": "ratio", "source": "prom""#);
    let missing = world.builder(&named).journal(MemoryJournal::new()).start();
    let said = says(missing.await.map(drop).unwrap_err());
    assert!(said.contains(".metrics_named(\"prom\", ..)"), "{said}");
    let other = POLICY.replacen('{', r#"{"service": "other","#, 1);
    let wrong = world.builder(&other).journal(MemoryJournal::new()).start();
    assert!(says(wrong.await.map(drop).unwrap_err()).contains("`other`"));
    assert!(world.changes().is_empty());
}
