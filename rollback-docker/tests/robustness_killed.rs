//! `kill -9` of a real controller after every record of its journal, while a deployment on real
//! containers, or of a real Swarm service, fails and is rolled back. The process is this test
//! program once more.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{
    fs,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rollback::Controller;
use rollback_core::{
    entry::Entry,
    model::{Release, Seq, ServiceId},
    ports::{Batch, Durability, Journal, JournalError, Lease, ReleaseStore},
};
use rollback_docker::DockerMetrics;
use rollback_store::SqliteJournal;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use support::{
    containers::Bench,
    platform::{Platform, there_and_back, updates_of},
    proxy::Proxy,
    trial::{Trial, policy, rest},
};
use tokio::task::JoinSet;

/// The folder of a run, in the environment of the process that is to be killed.
const FOLDER: &str = "ROLLBACK_KILLED_FOLDER";
/// What it deploys to.
const PLATFORM: &str = "ROLLBACK_KILLED_PLATFORM";
/// After which record it is killed.
const DIES_AT: &str = "ROLLBACK_KILLED_AT";
/// How many deployments go on at the same time.
const AT_ONCE: usize = 4;

/// A journal whose process is killed as soon as a record is written.
#[derive(Debug)]
struct Deadly {
    journal: Arc<SqliteJournal>,
    dies_at: u64,
}

#[async_trait]
impl Journal for Deadly {
    async fn acquire(
        &self,
        service: &ServiceId,
        owner: &str,
        ttl: Duration,
    ) -> Result<Lease, JournalError> {
        self.journal.acquire(service, owner, ttl).await
    }

    async fn append(
        &self,
        batches: Vec<Batch>,
        durability: Durability,
    ) -> Vec<Result<Seq, JournalError>> {
        let written = self.journal.append(batches, durability).await;
        let last = written.iter().flatten().map(|seq| seq.get()).max();
        if last.is_some_and(|seq| seq >= self.dies_at) {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
        written
    }

    async fn read(
        &self,
        service: &ServiceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        self.journal.read(service, after, limit).await
    }

    async fn services(&self) -> Result<Vec<ServiceId>, JournalError> {
        self.journal.services().await
    }

    fn release_store(self: Arc<Self>) -> Option<Arc<dyn ReleaseStore>> {
        Arc::clone(&self.journal).release_store()
    }
}

/// The process that is killed: goes on with what the journal knows of, and says how it settled.
async fn life(folder: &Path) {
    let service = fs::read_to_string(folder.join("service")).unwrap();
    let candidate: Release =
        serde_json::from_slice(&fs::read(folder.join("candidate.json")).unwrap()).unwrap();
    let engine = support::engine();
    let platform = match std::env::var(PLATFORM).unwrap().as_str() {
        "Swarm" => Platform::Swarm,
        _ => Platform::Containers,
    };
    let journal = Arc::new(SqliteJournal::open(folder.join("journal.db")).unwrap());
    let releases = Arc::clone(&journal).release_store().unwrap();
    let journal = Deadly {
        journal,
        dies_at: std::env::var(DIES_AT)
            .ok()
            .and_then(|at| at.parse().ok())
            .unwrap_or(u64::MAX),
    };
    let controller = Controller::builder(&service)
        .policy(policy(platform, &service))
        .deployer(platform.deployer_keeping(&engine, releases))
        .metrics(DockerMetrics::new(engine))
        .journal(journal)
        .owner("killed")
        .start()
        .await
        .unwrap();
    let status = controller.status().await.unwrap();
    let active = status.active.map(|active| active.deployment);
    let known = active.or_else(|| status.outcomes.last().map(|(id, _)| id.clone()));
    let deployment = match known {
        Some(id) => controller.attach(id),
        None => controller.deploy(candidate).await.unwrap(),
    };
    let settled = rest(&deployment).await;
    let account = deployment.explain().await.unwrap();
    fs::write(folder.join("account"), format!("{settled:?}\n{account}")).unwrap();
    let word = match settled {
        rollback_core::model::Settled::Ended(outcome) => outcome.word().to_owned(),
        rollback_core::model::Settled::Held(hold) => format!("held: {hold}"),
    };
    fs::write(folder.join("settled"), word).unwrap();
}

/// Not a test of its own: does something only as the process that is killed.
#[test]
fn as_the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(life(Path::new(&folder)));
}

/// A service whose next release cannot be started.
struct Run {
    trial: Trial,
    folder: tempfile::TempDir,
    /// Counts what arrives of all lives.
    proxy: Proxy,
}

impl Run {
    async fn begin(platform: Platform) -> Self {
        let bench = Bench::new("killed").await;
        let trial = match platform {
            Platform::Containers => {
                Trial::on(bench, 1, |candidate| {
                    candidate.with_config("Entrypoint", json!(["/nowhere"]))
                })
                .await
            }
            Platform::Swarm => {
                Trial::of_service(bench, 1, |candidate| {
                    candidate["ContainerSpec"]["Command"] = json!(["/nowhere"]);
                })
                .await
            }
        };
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("service"), trial.service.as_str()).unwrap();
        let candidate = serde_json::to_vec(&trial.candidate).unwrap();
        fs::write(folder.path().join("candidate.json"), candidate).unwrap();
        let proxy = Proxy::of(trial.bench.engine.to_string());
        Self {
            trial,
            folder,
            proxy,
        }
    }

    /// One life of the process; how it ended.
    async fn lives(&self, dies_at: u64) -> ExitStatus {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let folder = self.folder.path();
        let socket = self.proxy.socket();
        command
            .args(["--exact", "as_the_process_that_is_killed"])
            .env(FOLDER, folder)
            .env(PLATFORM, format!("{:?}", self.trial.platform))
            .env(DIES_AT, dies_at.to_string())
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr")).unwrap());
        tokio::task::spawn_blocking(move || command.status().unwrap())
            .await
            .unwrap()
    }

    async fn records(&self) -> Vec<Entry> {
        let journal = SqliteJournal::open(self.folder.path().join("journal.db")).unwrap();
        let all = journal.read(&self.trial.service, Seq::new(0), 10_000).await;
        all.unwrap()
    }

    /// The last life, which nobody ends; then all is in order.
    async fn ends_well(self, what: &str) -> Vec<Entry> {
        let status = self.lives(u64::MAX).await;
        let told = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        assert!(status.success(), "{what}: {}", told("stderr"));
        assert_eq!(
            told("settled"),
            "rolled_back",
            "{what}: {}",
            told("account")
        );
        self.trial.only_the_stable_release_runs(what).await;
        self.trial.bystander_is_untouched(what).await;
        if self.trial.platform == Platform::Swarm {
            let updates = updates_of(&self.trial.service, &self.proxy.updates());
            assert_eq!(updates, there_and_back(), "{what}");
        }
        let records = self.records().await;
        self.trial.end(what).await;
        records
    }
}

/// A run for each record, killed after it.
async fn killed_once_after_any_record(platform: Platform) {
    let whole = Run::begin(platform).await.ends_well("never killed").await;
    let last = whole.last().unwrap().seq.get();
    println!("{last} records");
    let mut runs = JoinSet::new();
    let mut killed = 0;
    for dies_at in 1..last {
        while runs.len() >= AT_ONCE {
            killed += u64::from(runs.join_next().await.unwrap().unwrap());
        }
        runs.spawn(async move {
            let run = Run::begin(platform).await;
            let was_killed = !run.lives(dies_at).await.success();
            // What is quicker this time is over before this record.
            let written = run.records().await.last().map(|entry| entry.seq.get());
            assert!(
                was_killed || written < Some(dies_at),
                "{dies_at}: not killed"
            );
            run.ends_well(&format!("killed after record {dies_at}"))
                .await;
            was_killed
        });
    }
    while let Some(done) = runs.join_next().await {
        killed += u64::from(done.unwrap());
    }
    assert!(killed * 3 > last * 2, "{killed} of {last} were killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_once_after_any_record_it_ends_in_the_proven_release() {
    killed_once_after_any_record(Platform::Containers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_once_after_any_record_a_service_ends_in_the_proven_release_by_one_update() {
    killed_once_after_any_record(Platform::Swarm).await;
}

/// One run, killed until it cannot be killed any more.
async fn killed_again_and_again(platform: Platform) {
    let run = Run::begin(platform).await;
    let mut kills = 0_u64;
    loop {
        // Each life begins with a record of its own, and gets a little further: some not far
        // enough to do anything, some into the middle of what they do.
        let last = run
            .records()
            .await
            .last()
            .map_or(0, |entry| entry.seq.get());
        let further = 3 + kills % 4;
        if run.lives(last + further).await.success() {
            break;
        }
        kills += 1;
        assert!(kills < 200, "no end after {kills} lives");
    }
    println!("{kills} kills");
    assert!(kills > 3, "{kills} kills only");
    run.ends_well("killed again and again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_ends_in_the_proven_release() {
    killed_again_and_again(Platform::Containers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_a_service_ends_in_the_proven_release_by_one_update() {
    killed_again_and_again(Platform::Swarm).await;
}
