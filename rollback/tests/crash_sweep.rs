//! Everything stops right before append *n*, right after append *n* and right after effect *n*,
//! for every *n* of a run; the next controller takes the journal over. The outcome, what was done
//! to the platform and what people were told are those of the run that was not interrupted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod stage;

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use rollback::{
    Clock, Controller, Deployment,
    entry::Fact,
    memory::{MemoryJournal, MemoryReleaseStore},
    model::*,
    ports::*,
};
use rollback_store::SqliteJournal;
use rollback_testkit::platform::Temper;
use stage::*;

const QUICK: &str = r#"{
    "poll": "1s",
    "metrics": {"errors": {"unit": "ratio", "per": "arm", "bad": "bad", "total": "all"}},
    "triggers": [{"name": "too_many_errors", "when": "errors > 5%", "for": "1s"}],
    "bake": "4s",
    "verify": {"for": "2s", "within": "60s"},
    "deadlines": {"apply": "10s"}
}"#;

/// Where the first controller ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Nowhere,
    BeforeAppend(u64),
    AfterAppend(u64),
    AfterEffect(u64),
}

/// What a run comes to.
#[derive(Debug, PartialEq)]
struct Run {
    outcome: &'static str,
    serving: String,
    changes: Vec<Change>,
    told: BTreeSet<String>,
    decisions: Vec<&'static str>,
}

/// Where a run keeps its journal.
trait Place {
    /// Opened as by a process of its own.
    fn open(&self, world: &World) -> Arc<dyn Journal>;
}

struct InMemory(MemoryJournal);

impl Place for InMemory {
    fn open(&self, _: &World) -> Arc<dyn Journal> {
        Arc::new(self.0.reopened())
    }
}

struct OnDisk<'a>(&'a Path);

impl Place for OnDisk<'_> {
    fn open(&self, world: &World) -> Arc<dyn Journal> {
        let clock = world.clock;
        let journal = SqliteJournal::open_with_clock(self.0, move || clock.now()).unwrap();
        Arc::new(OffTime(Arc::new(journal)))
    }
}

struct Life {
    world: World,
    people: People,
    trap: Trap,
    releases: Arc<MemoryReleaseStore>,
}

impl Life {
    fn new(world: World, people: People, journal: Arc<dyn Journal>, cut: Cut) -> Self {
        let life = Self {
            world,
            people,
            trap: Trap::around(journal),
            releases: releases(),
        };
        let set = |stop: &Stop, at| {
            stop.count.store(0, std::sync::atomic::Ordering::SeqCst);
            stop.at.store(at, std::sync::atomic::Ordering::SeqCst);
        };
        let effects = match cut {
            Cut::AfterEffect(n) => n,
            _ => 0,
        };
        set(&life.world.stop, effects);
        match cut {
            Cut::Nowhere | Cut::AfterEffect(_) => {}
            Cut::BeforeAppend(n) => set(&life.trap.before, n),
            Cut::AfterAppend(n) => set(&life.trap.stop, n),
        }
        life
    }

    /// Starts, deploys `candidate` unless the journal knows of a deployment, waits for its end.
    async fn live(&self, candidate: &str) -> Outcome {
        let mut people = self.people.clone();
        people.stop = self.world.stop.clone();
        let controller = self
            .world
            .builder(QUICK)
            .journal(self.trap.clone())
            .releases(Arc::clone(&self.releases))
            .notifier(people)
            .start()
            .await
            .unwrap();
        ended(&Self::deployment(&controller, candidate).await).await
    }

    async fn deployment(controller: &Controller, candidate: &str) -> Deployment {
        let status = controller.status().await.unwrap();
        let active = status.active.map(|active| active.deployment);
        let known = active.or_else(|| status.outcomes.last().map(|(id, _)| id.clone()));
        match known {
            Some(id) => controller.attach(id),
            None => controller.deploy(release(candidate)).await.unwrap(),
        }
    }

    /// The same, until everything stands still; false if the deployment ended before.
    async fn live_until_cut(&self, candidate: &str) -> bool {
        tokio::select! {
            _ = self.live(candidate) => false,
            () = self.trap.before.reached.notified() => true,
            () = self.trap.stop.reached.notified() => true,
            () = self.world.stop.reached.notified() => true,
        }
    }
}

/// How much happened in the last life, and whether there was one before that was cut.
struct Counts {
    appends: u64,
    effects: u64,
    cut: bool,
}

async fn run(temper: Temper, place: &impl Place, candidate: &str, cut: Cut) -> (Run, Counts) {
    let world = World::of(temper);
    let people = People::default();
    let mut was_cut = false;
    if cut != Cut::Nowhere {
        let first = Life::new(world.clone(), people.clone(), place.open(&world), cut);
        was_cut = first.live_until_cut(candidate).await;
        drop(first);
        // The next controller is there two seconds later.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let last = Life::new(world, people, place.open(&World::of(temper)), Cut::Nowhere);
    let outcome = last.live(candidate).await;
    let told = last.people.told.lock().unwrap().clone();
    let decisions = facts(&last.trap.journal)
        .await
        .iter()
        .filter_map(decision)
        .collect();
    let run = Run {
        outcome: outcome.word(),
        serving: last.world.serving(),
        changes: last.world.changes(),
        told: told
            .iter()
            .map(|(_, notice)| notice.subject.clone())
            .collect(),
        decisions,
    };
    let counts = Counts {
        appends: last.trap.stop.counted(),
        effects: last.world.stop.counted(),
        cut: was_cut,
    };
    (run, counts)
}

/// The facts that must be the same with and without a crash.
fn decision(fact: &Fact) -> Option<&'static str> {
    match fact {
        Fact::DeploymentOpened { .. } => Some("opened"),
        Fact::RollbackDecided { .. } => Some("rolls back"),
        Fact::LedgerChanged { .. } => Some("ledger"),
        Fact::Ended { .. } => Some("ended"),
        _ => None,
    }
}

async fn sweep<P: Place>(temper: Temper, candidate: &str, new_place: impl Fn(u64) -> P) {
    let (whole, all) = run(temper, &new_place(0), candidate, Cut::Nowhere).await;
    let appends = (1..=all.appends).flat_map(|n| [Cut::BeforeAppend(n), Cut::AfterAppend(n)]);
    let cuts: Vec<Cut> = appends
        .chain((1..=all.effects).map(Cut::AfterEffect))
        .collect();
    let mut fired = 0;
    for (number, cut) in (1..).zip(&cuts) {
        let (cut_run, counts) = run(temper, &new_place(number), candidate, *cut).await;
        assert_eq!(cut_run, whole, "{candidate} on {temper:?}, cut {cut:?}");
        fired += usize::from(counts.cut);
    }
    // The last few are after the end: the notice of the outcome.
    assert!(
        fired > 40 && fired + 5 > cuts.len(),
        "{fired} of {}",
        cuts.len()
    );
}

#[tokio::test(start_paused = true)]
async fn on_a_strict_platform() {
    for candidate in ["bad", "v2"] {
        sweep(
            Temper::Strict,
            candidate,
            |_| InMemory(MemoryJournal::new()),
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_platform_without_compare_and_set_and_tags() {
    for candidate in ["bad", "v2"] {
        sweep(Temper::Eventual, candidate, |_| {
            InMemory(MemoryJournal::new())
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_journal_on_disk() {
    // No power is cut here: a file system in memory makes the sweep quick, where there is one.
    let in_memory = Path::new("/dev/shm");
    let directory = match in_memory.is_dir() {
        true => tempfile::tempdir_in(in_memory),
        false => tempfile::tempdir(),
    }
    .unwrap();
    let paths: Vec<_> = (0..1_000)
        .map(|n| directory.path().join(format!("{n}.db")))
        .collect();
    sweep(Temper::Strict, "bad", |number| {
        OnDisk(&paths[usize::try_from(number).unwrap()])
    })
    .await;
}
