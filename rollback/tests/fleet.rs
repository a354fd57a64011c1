//! Many services in one process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod stage;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rollback::{
    Controller, DeployError, DeployOptions, Deployment, Fleet, Unreached, entry::Fact,
    memory::MemoryJournal, model::*, ports::Journal,
};
use rollback_testkit::{NOON, platform::Behaviour};
use stage::*;
use tokio::{
    sync::broadcast::error::TryRecvError,
    time::{sleep, timeout},
};

/// As many services on one platform.
fn world_of(count: usize) -> World {
    let world = World::new();
    let v1 = ReleaseId::new("v1").unwrap();
    let mut model = world.now();
    model.add_release(v1.clone(), Behaviour::good());
    for name in names(count) {
        model.start_service(&ServiceId::new(name).unwrap(), &v1);
    }
    drop(model);
    world
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("s{number}"))
}

async fn start(
    world: &World,
    fleet: &Fleet,
    journal: &Arc<dyn Journal>,
    count: usize,
) -> Vec<Controller> {
    let source = Arc::new(world.clone());
    let mut controllers = Vec::new();
    for name in names(count) {
        let controller = Controller::builder(name)
            .policy(policy_of(POLICY))
            .deployer(world.clone())
            .metrics(Arc::clone(&source))
            .journal(Arc::clone(journal))
            .clock(world.clock)
            .owner("test")
            .fleet(fleet)
            .start();
        controllers.push(controller.await.unwrap());
    }
    controllers
}

async fn deploy(controllers: &[Controller], candidate: &str) -> Vec<Deployment> {
    let mut deployments = Vec::new();
    for controller in controllers {
        deployments.push(controller.deploy(release(candidate)).await.unwrap());
    }
    deployments
}

fn memory() -> Arc<dyn Journal> {
    Arc::new(MemoryJournal::new())
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_bad_releases_is_rolled_back_a_few_at_a_time() {
    let world = world_of(6);
    let fleet = Fleet::builder().max_rollbacks(2).build();
    let mut events = fleet.events();
    let controllers = start(&world, &fleet, &memory(), 6).await;
    let deployments = deploy(&controllers, "bad").await;
    let watching = tokio::spawn({
        let fleet = fleet.clone();
        async move {
            let mut most = 0;
            while let Ok(event) = events.recv().await {
                most = most.max(fleet.rollbacks().len());
                if matches!(event.fact, Some(Fact::Ended { .. })) {
                    break;
                }
            }
            most
        }
    });
    for deployment in &deployments {
        let outcome = ended(deployment).await;
        assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    }
    assert_eq!(watching.await.unwrap(), 2, "never more at the same time");
    assert!(fleet.rollbacks().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_kill_switch_holds_a_rollback_and_a_freeze_refuses_a_deployment() {
    let world = world_of(1);
    let fleet = Fleet::default();
    let controllers = start(&world, &fleet, &memory(), 1).await;
    let alice = Actor::new("alice");
    let deployment = controllers[0].deploy(release("bad")).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        fleet.kill_switch(&alice, "the metrics lie", true).await,
        Unreached::default()
    );
    let settled = timeout(Duration::from_secs(120), deployment.settled()).await;
    let Settled::Held(hold) = settled.unwrap().unwrap() else {
        panic!("not held");
    };
    assert!(
        hold.to_string().contains("alice: the metrics lie"),
        "{hold}"
    );
    let seen = world.now().truth(&ServiceId::new("s0").unwrap()).unwrap();
    assert_eq!(seen.wanted.weight(&release("bad").id), Weight::ALL);
    let refused = controllers[0].deploy(release("v2")).await.unwrap_err();
    assert!(
        matches!(&refused, DeployError::Refused(RefusedReason::Killed { .. })),
        "{refused}"
    );
    assert_eq!(refused.exit_code(), 13);
    let _ = fleet.kill_switch(&alice, "they do not", false).await;
    let outcome = ended(&deployment).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    let _ = fleet.freeze(&alice, "Black Friday", None).await;
    let refused = controllers[0].deploy(release("v2")).await.unwrap_err();
    assert!(refused.to_string().contains("Black Friday"), "{refused}");
    let hotfix = DeployOptions::by(alice.clone(), "payments are down").expedite();
    let hotfix = controllers[0].deploy_with(release("v2"), hotfix).await;
    let outcome = ended(&hotfix.unwrap()).await;
    assert!(matches!(outcome, Outcome::Promoted { .. }), "{outcome}");
}

#[tokio::test(start_paused = true)]
async fn an_order_to_the_fleet_is_in_every_journal_and_reaches_who_comes_later() {
    let world = world_of(2);
    let journal = Arc::new(MemoryJournal::new());
    let open = || -> Arc<dyn Journal> { Arc::new(journal.reopened()) };
    let fleet = Fleet::default();
    let alice = Actor::new("alice");
    let first = start(&world, &fleet, &open(), 1).await;
    let _ = fleet.freeze(&alice, "Black Friday", None).await;
    let frozen = |status: &rollback::engine::Status| {
        let order = status.frozen.as_ref();
        order.is_some_and(|order| order.by.name.as_ref() == "alice")
    };
    assert!(frozen(&first[0].status().await.unwrap()));
    drop(first);
    // The process dies; the journal has the freeze, the new fleet knows nothing of it.
    sleep(Duration::from_millis(10)).await;
    let next = Fleet::default();
    let _ = next.kill_switch(&alice, "we look first", true).await;
    let both = start(&world, &next, &open(), 2).await;
    let (old, new) = (
        both[0].status().await.unwrap(),
        both[1].status().await.unwrap(),
    );
    assert!(frozen(&old) && !frozen(&new), "{old:?} {new:?}");
    assert!(old.killed.is_some() && new.killed.is_some());
    let _ = next.unfreeze(&alice, "over").await;
    assert_eq!(both[0].status().await.unwrap().frozen, None);
}

#[tokio::test(start_paused = true)]
async fn a_permit_outlives_the_process() {
    let world = world_of(2);
    let journal = Arc::new(MemoryJournal::new());
    let open = || -> Arc<dyn Journal> { Arc::new(journal.reopened()) };
    let fleet = Fleet::builder().max_rollbacks(1).build();
    let controllers = start(&world, &fleet, &open(), 2).await;
    let deployments = deploy(&controllers, "bad").await;
    let ids: Vec<DeploymentId> = deployments.iter().map(|d| d.id().clone()).collect();
    timeout(Duration::from_secs(60), async {
        while fleet.rollbacks().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    let running = fleet.rollbacks();
    drop((controllers, deployments));
    sleep(Duration::from_millis(10)).await;
    assert!(fleet.rollbacks().is_empty(), "nobody drives it any more");
    let next = Fleet::builder().max_rollbacks(1).build();
    let controllers = start(&world, &next, &open(), 2).await;
    assert_eq!(
        next.rollbacks(),
        running,
        "the journal remembers who was permitted"
    );
    for (controller, id) in controllers.iter().zip(ids) {
        let outcome = ended(&controller.attach(id)).await;
        assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn services_share_their_reads_and_tell_one_stream() {
    let world = world_of(20);
    let fleet = Fleet::default();
    let controllers = start(&world, &fleet, &memory(), 20).await;
    let mut events = fleet.events();
    let deployments = deploy(&controllers, "v2").await;
    for deployment in &deployments {
        let outcome = ended(deployment).await;
        assert!(matches!(outcome, Outcome::Promoted { .. }), "{outcome}");
    }
    let mut told = BTreeSet::new();
    loop {
        match events.try_recv() {
            Ok(event) => drop(told.insert(event.service.clone())),
            Err(TryRecvError::Lagged(_)) => {}
            Err(_) => break,
        }
    }
    assert_eq!(told.len(), 20, "{told:?}");
    let asked = world.reads.load(Ordering::SeqCst);
    let seconds = rollback::Clock::now(&world.clock).since(NOON).as_secs();
    assert!(
        asked < 3 * seconds,
        "{asked} calls for 20 services in {seconds} s"
    );
}
