//! A plan with a task and a gate through the real driver: the task runs once, whatever happens to
//! the controller; the gate waits for a person.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod stage;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use rollback::{
    Controller,
    memory::{MemoryJournal, MemoryReleaseStore},
    model::*,
    ports::*,
};
use stage::*;

const PLAN: &str = r#"{
    "poll": "1s", "bake": "4s",
    "strategy": {"steps": [
        {"converge": "beside"}, {"task": "smoke"}, {"weight": "50%"},
        {"gate": "look", "within": "5m"}, {"weight": "100%"}, {"bake": "4s"}, {"retire": "stable"}]},
    "tasks": {"smoke": {"within": "2m"}},
    "metrics": {"errors": {"unit": "ratio", "per": "arm", "bad": "bad", "total": "all"}},
    "triggers": [{"name": "too_many_errors", "when": "errors > 5%", "for": "1s"}],
    "verify": {"for": "2s", "within": "60s"},
    "deadlines": {"apply": "10s"}
}"#;

/// A task that takes two looks, and remembers what was asked of it, like a runner of its own.
#[derive(Debug, Clone, Default)]
struct Smoke {
    started: Arc<Mutex<BTreeMap<String, u32>>>,
    cancelled: Arc<Mutex<Vec<String>>>,
    looks: Arc<Mutex<u32>>,
    /// What it says in the end; none is nothing.
    says: Option<Result<(), &'static str>>,
    /// Begins, and never answers.
    mute: bool,
    stop: Stop,
}

#[async_trait]
impl Task for Smoke {
    async fn start(&self, _: &ServiceId, id: &ChangeId) -> Result<TaskHandle, TaskError> {
        let id = id.to_string();
        *self.started.lock().unwrap().entry(id.clone()).or_default() += 1;
        self.stop.passed().await;
        if self.mute {
            std::future::pending::<()>().await;
        }
        Ok(TaskHandle(id))
    }

    async fn find(&self, _: &ServiceId, id: &ChangeId) -> Result<Option<TaskHandle>, TaskError> {
        let id = id.to_string();
        let known = self.started.lock().unwrap().contains_key(&id);
        Ok(known.then_some(TaskHandle(id)))
    }

    async fn status(&self, _: &TaskHandle) -> Result<TaskStatus, TaskError> {
        self.stop.passed().await;
        let mut looks = self.looks.lock().unwrap();
        *looks += 1;
        Ok(match self.says {
            Some(Ok(())) if *looks > 1 => TaskStatus::Succeeded,
            Some(Err(why)) => TaskStatus::Failed {
                why: why.to_owned(),
            },
            _ => TaskStatus::Running,
        })
    }

    async fn cancel(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        self.cancelled.lock().unwrap().push(handle.0.clone());
        Ok(())
    }
}

impl Smoke {
    fn saying(says: Option<Result<(), &'static str>>) -> Self {
        Self {
            says,
            ..Self::default()
        }
    }

    fn starts(&self) -> Vec<u32> {
        self.started.lock().unwrap().values().copied().collect()
    }
}

async fn deploy(
    world: &World,
    journal: impl Journal,
    smoke: &Smoke,
    releases: &Arc<MemoryReleaseStore>,
) -> Outcome {
    let builder = world.builder(PLAN).journal(journal);
    let builder = builder.task("smoke", smoke.clone());
    let controller = builder
        .releases(Arc::clone(releases))
        .start()
        .await
        .unwrap();
    let status = controller.status().await.unwrap();
    let active = status.active.map(|active| active.deployment);
    let known = active.or_else(|| status.outcomes.last().map(|(id, _)| id.clone()));
    let deployment = match known {
        Some(id) => controller.attach(id),
        None => controller.deploy(release("v2")).await.unwrap(),
    };
    let outcome = ended(&deployment);
    tokio::select! {
        outcome = outcome => outcome,
        () = somebody_approves(&controller) => panic!("nobody stops looking"),
    }
}

/// A person who opens every gate.
async fn somebody_approves(controller: &Controller) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let Ok(status) = controller.status().await else {
            continue;
        };
        if let Some(gate) = status.active.and_then(|active| active.gate) {
            // It may have been opened meanwhile.
            let _ = controller.approve(Actor::new("alice"), "fine", &gate).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_and_a_gate_on_the_way_to_a_promotion() {
    let (world, smoke) = (World::new(), Smoke::saying(Some(Ok(()))));
    let outcome = deploy(&world, MemoryJournal::new(), &smoke, &releases()).await;
    assert!(matches!(outcome, Outcome::Promoted { .. }), "{outcome}");
    assert_eq!(smoke.starts(), [1]);
    assert!(smoke.cancelled.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_rolls_back_with_its_last_words() {
    let (world, smoke) = (World::new(), Smoke::saying(Some(Err("GET /cart gave 500"))));
    let outcome = deploy(&world, MemoryJournal::new(), &smoke, &releases()).await;
    assert_eq!(
        outcome.to_string(),
        "rolled back from v2 to v1: task smoke failed: GET /cart gave 500"
    );
    let shifted = |change: &Change| matches!(change, Change::Weights { .. });
    assert!(!world.changes().iter().any(shifted), "it got traffic");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_hangs_is_stopped() {
    let (world, smoke) = (World::new(), Smoke::saying(None));
    let outcome = deploy(&world, MemoryJournal::new(), &smoke, &releases()).await;
    let said = outcome.to_string();
    assert!(said.contains("it did not end within 2m"), "{said}");
    assert_eq!(smoke.cancelled.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_not_answered_is_found_and_not_repeated() {
    let (world, mut smoke) = (World::new(), Smoke::saying(Some(Ok(()))));
    smoke.mute = true;
    let outcome = deploy(&world, MemoryJournal::new(), &smoke, &releases()).await;
    assert!(matches!(outcome, Outcome::Promoted { .. }), "{outcome}");
    assert_eq!(smoke.starts(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_nobody_gave_is_said_before_anything_happens() {
    let world = World::new();
    let started = world.builder(PLAN).journal(MemoryJournal::new()).start();
    let said = started.await.map(drop).unwrap_err().to_string();
    assert!(said.contains(".task(\"smoke\", ..)"), "{said}");
}

/// Everything stands still right after append n and after answer n of the task, for every n; the
/// next controller goes on, and the task was started once under each id.
#[tokio::test(start_paused = true)]
async fn a_task_runs_once_wherever_the_controller_dies() {
    for after_answer in [false, true] {
        let mut cuts = 0;
        for n in 1..200 {
            let (world, mut smoke) = (World::new(), Smoke::saying(Some(Ok(()))));
            let (memory, kept) = (MemoryJournal::new(), releases());
            let trap = Trap::new(memory.reopened());
            let stop = if after_answer {
                &smoke.stop
            } else {
                &trap.stop
            };
            stop.at.store(n, Ordering::SeqCst);
            let reached = Arc::clone(&stop.reached);
            let ended = tokio::select! {
                outcome = deploy(&world, trap.clone(), &smoke, &kept) => Some(outcome),
                () = reached.notified() => None,
            };
            if ended.is_some() {
                break;
            }
            cuts += 1;
            smoke.stop = Stop::default();
            tokio::time::sleep(Duration::from_secs(40)).await;
            let outcome = deploy(&world, memory.reopened(), &smoke, &kept).await;
            assert!(
                matches!(outcome, Outcome::Promoted { .. }),
                "{n}: {outcome}"
            );
            assert!(smoke.starts().iter().all(|count| *count == 1), "{n}: twice");
            // Another attempt only where the first was certainly not made.
            assert_eq!(smoke.starts().len(), 1, "{n}: {:?}", smoke.started);
        }
        assert!(cuts > if after_answer { 1 } else { 20 }, "only {cuts} cuts");
    }
}
