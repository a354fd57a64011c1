//! What fails around the controller: the journal, adapters, people, other controllers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod stage;

use std::{sync::Arc, time::Duration};

use rollback::{
    CommandError, StartError, Stopped,
    entry::{Fact, Input, SentState},
    memory::MemoryJournal,
    model::*,
    ports::*,
};
use stage::*;
use tokio::time::{sleep, timeout};

fn full() -> JournalError {
    JournalError::Unwritable {
        why: "no space left on device".to_owned(),
    }
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_stops_everything_and_heals() {
    let world = World::new();
    let journal = Trap::new(MemoryJournal::new());
    let people = People::default();
    let controller = world
        .builder(POLICY)
        .journal(journal.clone())
        .notifier(people.clone())
        .start()
        .await
        .unwrap();
    let deployment = controller.deploy(release("v2")).await.unwrap();
    seconds(1).await;
    journal.fail(Some(full()));
    seconds(5).await;
    let before = world.changes();
    let refused = controller.pause(Actor::new("alice"), "").await.unwrap_err();
    assert!(matches!(&refused, CommandError::Unjournaled { why } if why.contains("no space")));
    assert!(controller.status().await.is_err());
    seconds(150).await;
    assert_eq!(
        world.changes(),
        before,
        "nothing is done that is not journaled"
    );
    let told = people.subjects();
    let unjournaled = |subject: &&String| subject.contains("unjournaled");
    assert_eq!(told.iter().filter(unjournaled).count(), 1, "{told:?}");
    journal.fail(None);
    let outcome = ended(&deployment).await;
    assert!(matches!(outcome, Outcome::Promoted { .. }), "{outcome}");
    assert_eq!(world.changes().len(), 3, "{:?}", world.changes());
}

#[tokio::test(start_paused = true)]
async fn an_append_that_fails_undoes_what_was_decided() {
    let world = World::new();
    let journal = Trap::new(MemoryJournal::new());
    let controller = world.builder(POLICY).journal(journal.clone()).start();
    let controller = controller.await.unwrap();
    journal.fail(Some(full()));
    let refused = controller.deploy(release("v2")).await.unwrap_err();
    assert!(refused.to_string().contains("no space left"), "{refused}");
    journal.fail(None);
    seconds(3).await;
    let status = controller.status().await.unwrap();
    assert_eq!(status.active, None, "the deployment was never opened");
    let deployment = controller.deploy(release("v2")).await.unwrap();
    assert!(matches!(ended(&deployment).await, Outcome::Promoted { .. }));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_fenced_stops_at_once_and_sends_nothing_more() {
    let world = World::new();
    let journal = MemoryJournal::new();
    let other_end = journal.reopened();
    let first = world
        .builder(POLICY)
        .journal(journal)
        .start()
        .await
        .unwrap();
    let deployment = first.deploy(release("bad")).await.unwrap();
    seconds(2).await;
    // The same owner, started anew: it takes over at once.
    let second = world.builder(POLICY).journal(other_end).start();
    let second = second.await.unwrap();
    let stopped = timeout(Duration::from_secs(60), first.stopped())
        .await
        .unwrap();
    assert!(matches!(stopped, Stopped::TakenOver(_)), "{stopped}");
    let refused = deployment.settled().await.unwrap_err();
    assert!(matches!(
        refused,
        CommandError::Stopped(Stopped::TakenOver(_))
    ));
    let outcome = ended(&second.attach(deployment.id().clone())).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    let started: Vec<Change> = world
        .changes()
        .into_iter()
        .filter(|change| change.word() == "converge")
        .collect();
    assert_eq!(started.len(), 1, "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn another_owner_waits_for_the_lease_or_gets_it_handed_over() {
    let world = World::new();
    let clock = world.clock;
    let journal = MemoryJournal::with_clock(move || rollback::Clock::now(&clock));
    let other_end = || journal.reopened();
    let start = |owner: &str| world.builder(POLICY).owner(owner).journal(other_end());
    let first = start("a").start().await.unwrap();
    // Renewed again and again: it lasts.
    seconds(120).await;
    let refused = start("b").start().await.unwrap_err();
    assert!(matches!(
        refused,
        StartError::Journal(JournalError::Leased { .. })
    ));
    first.shutdown().await;
    let second = start("b").start().await.unwrap();
    drop(second);
    assert!(start("c").start().await.is_err(), "nobody handed it over");
    seconds(31).await;
    start("c").start().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_hangs_is_in_doubt_and_looked_for() {
    for mode in [Mode::DoesThenHangs, Mode::Hangs, Mode::Panics] {
        let world = World::new();
        let journal = Arc::new(MemoryJournal::new());
        let controller = world.builder(POLICY).journal(Arc::clone(&journal)).start();
        let controller = controller.await.unwrap();
        World::set(&world.apply, mode);
        let deployment = controller.deploy(release("v2")).await.unwrap();
        seconds(15).await;
        World::set(&world.apply, Mode::Well);
        let outcome = ended(&deployment).await;
        assert!(
            matches!(outcome, Outcome::Promoted { .. }),
            "{mode:?}: {outcome}"
        );
        assert_eq!(world.changes().len(), 3, "{mode:?}: {:?}", world.changes());
        let doubted = |fact: &Fact| {
            matches!(
                fact,
                Fact::ChangeMoved {
                    to: SentState::InDoubt { .. },
                    ..
                }
            )
        };
        assert!(facts(&*journal).await.iter().any(doubted), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_or_panics_blinds_and_is_never_a_verdict() {
    for mode in [Mode::Hangs, Mode::Panics] {
        let world = World::new();
        let policy = POLICY.replacen('{', r#"{"blind_budget": "30s","#, 1);
        let controller = world.builder(&policy).journal(MemoryJournal::new()).start();
        let controller = controller.await.unwrap();
        let deployment = controller.deploy(release("v2")).await.unwrap();
        seconds(6).await;
        World::set(&world.read, mode);
        let settled = timeout(Duration::from_secs(300), deployment.settled()).await;
        let settled = settled.expect("a blind watch holds in time").unwrap();
        let Settled::Held(hold) = settled else {
            panic!("{mode:?}: {settled:?}");
        };
        assert!(matches!(hold.reason, HoldReason::Blind { .. }), "{hold}");
        World::set(&world.read, Mode::Well);
        let outcome = ended(&deployment).await;
        assert!(matches!(outcome, Outcome::Promoted { .. }), "{outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_does_not_answer_changes_no_verdict() {
    for mode in [Mode::Hangs, Mode::Panics] {
        let world = World::new();
        let controller = world.builder(POLICY).journal(MemoryJournal::new()).start();
        let controller = controller.await.unwrap();
        let deployment = controller.deploy(release("v2")).await.unwrap();
        seconds(6).await;
        World::set(&world.look, mode);
        seconds(15).await;
        World::set(&world.look, Mode::Well);
        let outcome = ended(&deployment).await;
        assert!(
            matches!(outcome, Outcome::Promoted { .. }),
            "{mode:?}: {outcome}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn people_who_cannot_be_told_stop_nothing_and_are_told_later() {
    for mode in [Mode::Hangs, Mode::Panics] {
        let world = World::new();
        let people = People::default();
        World::set(&people.deaf, mode);
        let controller = world
            .builder(POLICY)
            .journal(MemoryJournal::new())
            .notifier(people.clone())
            .start()
            .await
            .unwrap();
        let deployment = controller.deploy(release("bad")).await.unwrap();
        let outcome = ended(&deployment).await;
        assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
        assert!(people.subjects().is_empty());
        World::set(&people.deaf, Mode::Well);
        seconds(600).await;
        let mut keys: Vec<String> = Vec::new();
        for (key, _) in &*people.told.lock().unwrap() {
            keys.push(key.to_string());
        }
        assert!(!keys.is_empty(), "{mode:?}");
        keys.sort();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count, "nobody is told twice: {keys:?}");
    }
}

/// Panics at one point of its life.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sick {
    Begin,
    Observe,
    NextWake,
}

impl Trigger for Sick {
    fn id(&self) -> TriggerId {
        TriggerId::new("sick", 1)
    }
    fn reads(&self) -> Vec<MetricNeed> {
        vec![MetricNeed {
            metric: MetricId::new("errors").unwrap(),
            side: ArmSide::OnTrial,
        }]
    }
    fn begin(&self, _: &WatchStart) -> Box<dyn Evidence> {
        assert!(*self != Self::Begin, "sick from the beginning");
        Box::new(*self)
    }
}

impl Evidence for Sick {
    fn observe(&mut self, _: Timestamp, _: &MetricId, _: &Scope, _: &Reading) {
        assert!(*self != Self::Observe, "sick of readings");
    }
    fn verdict(&self, _: Timestamp) -> Verdict {
        Verdict::Pass
    }
    fn next_wake(&self, _: Timestamp) -> Option<Timestamp> {
        assert!(*self != Self::NextWake, "sick of waking");
        None
    }
    fn explain(&self, _: Timestamp) -> Explanation {
        Explanation::default()
    }
}

async fn with_sick_trigger(sick: Sick) -> (Settled, Vec<Input>) {
    let world = World::new();
    let journal = Arc::new(MemoryJournal::new());
    let policy = POLICY.replace(
        r#""triggers": ["#,
        r#""triggers": [{"name": "sick", "host": true, "action": "notify"},"#,
    );
    let builder = || world.builder(&policy).journal(Arc::clone(&journal));
    let missing = builder().start().await.map(drop).unwrap_err();
    assert!(matches!(missing, StartError::NoTrigger { .. }), "{missing}");
    let controller = builder().trigger(sick).start().await.unwrap();
    let deployment = controller.deploy(release("v2")).await.unwrap();
    let settled = timeout(Duration::from_secs(600), deployment.settled()).await;
    let faulted = inputs(&*journal)
        .await
        .into_iter()
        .filter(|input| matches!(input, Input::Faulted { .. }))
        .collect();
    (settled.unwrap().unwrap(), faulted)
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_panics_takes_no_part_and_stops_nobody() {
    for sick in [Sick::Observe, Sick::NextWake] {
        let (settled, faulted) = with_sick_trigger(sick).await;
        assert!(
            matches!(settled, Settled::Ended(Outcome::Promoted { .. })),
            "{sick:?}: {settled:?}"
        );
        assert_eq!(faulted, []);
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_panics_is_restored_and_holds_for_a_person() {
    let (settled, faulted) = with_sick_trigger(Sick::Begin).await;
    let Settled::Held(hold) = settled else {
        panic!("{settled:?}");
    };
    assert!(matches!(hold.reason, HoldReason::Faulted { .. }), "{hold}");
    assert!(
        hold.to_string().contains("sick from the beginning"),
        "{hold}"
    );
    assert_eq!(faulted.len(), 1, "no crash loop: {faulted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_from_the_future_is_not_taken_over() {
    let world = World::new();
    let journal = Arc::new(MemoryJournal::new());
    let first = world.builder(POLICY).journal(Arc::clone(&journal)).start();
    drop(first.await.unwrap());
    let behind = |seconds| {
        let now = rollback::Clock::now(&world.clock);
        rollback::AnchoredClock::anchored_at(now.before(Duration::from_secs(seconds)))
    };
    let start = |seconds| {
        let builder = world.builder(POLICY).journal(Arc::clone(&journal));
        builder.clock(behind(seconds)).start()
    };
    let refused = start(31).await.unwrap_err();
    assert!(
        matches!(refused, StartError::ClockBehind { .. }),
        "{refused}"
    );
    start(29).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn commands_are_followed_or_refused_with_the_reason() {
    let world = World::new();
    let controller = world.builder(POLICY).journal(MemoryJournal::new()).start();
    let controller = controller.await.unwrap();
    let alice = || Actor::new("alice");
    let refused = controller.pause(alice(), "").await.unwrap_err();
    assert!(matches!(refused, CommandError::Refused(_)), "{refused}");
    let deployment = controller.deploy(release("v2")).await.unwrap();
    seconds(6).await;
    controller.pause(alice(), "lunch").await.unwrap();
    let held = deployment.settled().await.unwrap();
    assert!(matches!(held, Settled::Held(_)), "{held:?}");
    seconds(60).await;
    assert_eq!(deployment.outcome().await.unwrap(), None);
    controller.resume(alice(), "back").await.unwrap();
    assert!(matches!(ended(&deployment).await, Outcome::Promoted { .. }));
    let unknown = controller.attach(DeploymentId::new("d99").unwrap());
    let refused = unknown.settled().await.unwrap_err();
    assert!(matches!(refused, CommandError::NoSuchDeployment { .. }));
    let back = controller.roll_back(alice(), "customers complain", None);
    let outcome = ended(&back.await.unwrap()).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    assert_eq!(world.serving(), "v1 at 100 %");
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_was_paused_sends_nothing_late_and_goes_on() {
    for pause in [40, 900] {
        for before in [0, 500, 1_500, 4_000, 8_000] {
            let world = World::new();
            let clock = world.clock;
            let journal = MemoryJournal::with_clock(move || rollback::Clock::now(&clock));
            let controller = world.builder(POLICY).journal(journal).start();
            let controller = controller.await.unwrap();
            let deployment = controller.deploy(release("bad")).await.unwrap();
            sleep(Duration::from_millis(before)).await;
            // Nothing runs meanwhile, as when a machine is suspended.
            tokio::time::advance(Duration::from_secs(pause)).await;
            let outcome = ended(&deployment).await;
            assert!(
                matches!(outcome, Outcome::RolledBack { .. }),
                "{before} ms, {pause} s: {outcome}"
            );
            let mut changes: Vec<&str> = Vec::new();
            let all = world.changes();
            changes.extend(all.iter().map(Change::word));
            changes.dedup_by(|a, b| a == b && *a != "weights");
            assert_eq!(changes.len(), all.len(), "{before} ms, {pause} s: {all:?}");
            assert_eq!(world.serving(), "v1 at 100 %");
        }
    }
}
