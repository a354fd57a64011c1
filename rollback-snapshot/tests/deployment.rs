//! A deployment whose migration cannot be taken back: kept before, held or rolled back, and the
//! database brought back with consent only.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

mod support;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use rollback::{Controller, DeployOptions, memory::MemoryJournal};
use rollback_core::{
    model::{
        Actor, ChangeId, Definition, HoldReason, Irreversible, Outcome, Release, ReleaseId,
        ServiceId, Settled, Timestamp,
    },
    policy::Policy,
    ports::{Task, TaskError, TaskHandle, TaskStatus},
};
use rollback_testkit::{
    ManualClock,
    platform::{Behaviour, InMemoryPlatform, Temper},
};
use support::{
    server::{MIGRATION, Server, assert_is_old_shop, set_up, tasks},
    shop,
};

/// A migration, as a task of the rollout.
#[derive(Debug, Clone)]
struct Migrate(Arc<Server>);

#[async_trait]
impl Task for Migrate {
    async fn start(&self, _: &ServiceId, id: &ChangeId) -> Result<TaskHandle, TaskError> {
        self.0
            .sql("shop", &format!("SET ROLE deployer; {MIGRATION}"));
        Ok(TaskHandle(id.to_string()))
    }

    async fn find(&self, _: &ServiceId, _: &ChangeId) -> Result<Option<TaskHandle>, TaskError> {
        Ok(None)
    }

    async fn status(&self, _: &TaskHandle) -> Result<TaskStatus, TaskError> {
        Ok(TaskStatus::Succeeded)
    }

    async fn cancel(&self, _: &TaskHandle) -> Result<(), TaskError> {
        Ok(())
    }
}

fn policy(consent: &str) -> Policy {
    let text = format!(
        r#"{{"poll": "200ms", "bake": "20s", "verify": {{"for": "400ms", "within": "30s"}},
        "tasks": {{
            "a_snapshot": {{"when": "before", "within": "1m"}},
            "b_migrate": {{"when": "before", "within": "1m"}},
            "restore": {{"when": "restore", "within": "1m", "consent": "{consent}",
                "loses": "orders written since the snapshot"}}}},
        "metrics": {{"errors": {{"unit": "ratio", "per": "arm", "bad": "bad", "total": "all"}}}},
        "triggers": [{{"name": "too_many_errors", "when": "errors > 5%", "for": "400ms"}}]}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::default().after(since)
}

/// `v1` runs; `bad` answers half of the requests badly. The platform's time is the wall clock's.
fn platform() -> InMemoryPlatform {
    let clock = ManualClock::starting_at(wall_clock());
    let platform = InMemoryPlatform::new(Temper::Strict, clock.clone());
    let (v1, bad) = (
        ReleaseId::new("v1").unwrap(),
        ReleaseId::new("bad").unwrap(),
    );
    platform.with(|model| {
        model.add_release(v1.clone(), Behaviour::good());
        model.add_release(bad, Behaviour::good().with_errors(0.5));
        model.start_service(&shop(), &v1);
    });
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            clock.set(wall_clock());
        }
    });
    platform
}

async fn deploy(server: &Arc<Server>, consent: &str) -> (Controller, rollback::Deployment) {
    set_up(server);
    let platform = platform();
    let (snapshot, restore) = tasks(server.dir.path());
    let controller = Controller::builder("shop")
        .policy(policy(consent))
        .deployer(platform.clone())
        .metrics(platform)
        .journal(MemoryJournal::new())
        .task("a_snapshot", snapshot)
        .task("b_migrate", Migrate(Arc::clone(server)))
        .task("restore", restore)
        .owner("test")
        .start()
        .await
        .unwrap();
    let release = Release::new(ReleaseId::new("bad").unwrap(), "bad", Definition::default());
    let options =
        DeployOptions::default().irreversible(Irreversible::at_once("column price is dropped"));
    let deployment = controller.deploy_with(release, options).await.unwrap();
    (controller, deployment)
}

fn assert_rolled_back(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_consent_in_the_policy_the_database_is_back_when_the_rollback_is_done() {
    let server = Arc::new(Server::start());
    let (_controller, deployment) = deploy(&server, "given").await;
    match deployment.settled().await.unwrap() {
        Settled::Ended(outcome) => assert_rolled_back(&outcome),
        other => panic!("{other:?}"),
    }
    assert_is_old_shop(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_consent_a_person_is_told_first() {
    let server = Arc::new(Server::start());
    let (controller, deployment) = deploy(&server, "ask").await;
    let hold = match deployment.settled().await.unwrap() {
        Settled::Held(hold) => hold,
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(hold.reason, HoldReason::Irreversible { .. }),
        "{hold}"
    );
    let told = hold.to_string();
    for part in [
        "column price is dropped",
        "orders written since the snapshot",
        "began at",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(server.sql("shop", "SELECT count(*) FROM orders"), "5007");
    assert_eq!(
        server.databases(),
        ["postgres", "shop"],
        "nothing was begun"
    );

    let alice = Actor::new("alice");
    let back = controller
        .roll_back(alice, "the loss is accepted", None)
        .await
        .unwrap();
    assert_rolled_back(&back.ended().await.unwrap());
    assert_is_old_shop(&server);
}
