//! One service on a platform in memory whose time is tokio's, with faults on demand.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test uses its part of the stage, and fails loudly"
)]

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback::{
    AnchoredClock, Clock, Controller, ControllerBuilder, Deployment,
    entry::{Entry, Fact, Input},
    memory::MemoryReleaseStore,
    model::*,
    policy::Policy,
    ports::*,
};
use rollback_testkit::{
    FailingJournal, NOON,
    platform::{AppliedChange, Behaviour, Model, Temper},
};
use tokio::sync::Notify;

pub const SERVICE: &str = "checkout";

/// How an adapter misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Well,
    Hangs,
    /// Does it, then hangs.
    DoesThenHangs,
    Panics,
}

#[derive(Debug, Clone)]
pub struct World {
    pub model: Arc<Mutex<Model>>,
    pub clock: AnchoredClock,
    pub apply: Arc<Mutex<Mode>>,
    pub look: Arc<Mutex<Mode>>,
    pub read: Arc<Mutex<Mode>>,
    /// How often the source was asked.
    pub reads: Arc<AtomicU64>,
    /// After how many effects everything stands still.
    pub stop: Stop,
}

/// Stands still for ever after the n-th time.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    pub at: Arc<AtomicU64>,
    pub count: Arc<AtomicU64>,
    pub reached: Arc<Notify>,
}

impl Stop {
    pub fn at(at: u64) -> Self {
        let stop = Self::default();
        stop.at.store(at, Ordering::SeqCst);
        stop
    }

    pub async fn passed(&self) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let at = self.at.load(Ordering::SeqCst);
        if at != 0 && count >= at {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }

    pub fn counted(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

pub fn service() -> ServiceId {
    ServiceId::new(SERVICE).unwrap()
}

pub fn release(name: &str) -> Release {
    Release::new(
        ReleaseId::new(name).unwrap(),
        name,
        Definition::new(serde_json::json!({ "name": name })),
    )
}

impl World {
    /// `v1` runs; `bad` answers half of the requests badly, `v2` is good.
    pub fn new() -> Self {
        Self::of(Temper::Strict)
    }

    pub fn of(temper: Temper) -> Self {
        let mut model = Model::new(temper, NOON);
        for (name, behaviour) in [
            ("v1", Behaviour::good()),
            ("v2", Behaviour::good()),
            ("bad", Behaviour::good().with_errors(0.5)),
        ] {
            model.add_release(ReleaseId::new(name).unwrap(), behaviour);
        }
        model.start_service(&service(), &ReleaseId::new("v1").unwrap());
        Self {
            model: Arc::new(Mutex::new(model)),
            clock: AnchoredClock::anchored_at(NOON),
            apply: Arc::default(),
            look: Arc::default(),
            read: Arc::default(),
            reads: Arc::default(),
            stop: Stop::default(),
        }
    }

    pub fn now(&self) -> MutexGuard<'_, Model> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.advance(self.clock.now());
        model
    }

    /// What was asked of the platform, in order, and taken.
    pub fn changes(&self) -> Vec<Change> {
        let of = |applied: &AppliedChange| applied.change.clone();
        self.now().applied().iter().filter_map(of).collect()
    }

    pub fn serving(&self) -> String {
        let seen = self.now().truth(&service()).unwrap();
        seen.wanted.to_string()
    }

    pub fn set(mode: &Arc<Mutex<Mode>>, to: Mode) {
        *mode.lock().unwrap() = to;
    }

    pub fn builder(&self, policy: &str) -> ControllerBuilder {
        Controller::builder(SERVICE)
            .policy(policy_of(policy))
            .deployer(self.clone())
            .metrics(self.clone())
            .clock(self.clock)
            .owner("test")
    }
}

async fn misbehave<T>(mode: &Arc<Mutex<Mode>>, work: impl FnOnce() -> T) -> T {
    let mode = *mode.lock().unwrap();
    match mode {
        Mode::Well => work(),
        Mode::Hangs => std::future::pending().await,
        Mode::DoesThenHangs => {
            let _ = work();
            std::future::pending().await
        }
        Mode::Panics => panic!("the adapter is broken"),
    }
}

#[async_trait]
impl Deployer for World {
    fn capabilities(&self) -> Capabilities {
        self.now().capabilities()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        let result = misbehave(&self.look, || self.now().observe(service)).await;
        self.stop.passed().await;
        result
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        if let Change::Converge { release, .. } = &request.change {
            let known = request
                .definition
                .as_ref()
                .map(|d| d.value()["name"].clone());
            // `v1` runs from before; nobody gave its definition to the controller.
            if let Some(name) = known {
                assert_eq!(name, release.as_str(), "the definition of another release");
            }
        }
        let result = misbehave(&self.apply, || self.now().apply(service, request)).await;
        self.stop.passed().await;
        result
    }

    async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        let result = self.now().check(service, &release.id);
        self.stop.passed().await;
        result
    }

    async fn last_words(&self, _: &ServiceId, release: &ReleaseId, _: usize) -> Vec<String> {
        self.stop.passed().await;
        vec![format!("{release}: no such table")]
    }
}

#[async_trait]
impl MetricSource for World {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let answers = misbehave(&self.read, || {
            let model = self.now();
            requests.iter().map(|request| model.read(request)).collect()
        })
        .await;
        self.stop.passed().await;
        answers
    }
}

/// Keeps what people are told.
#[derive(Debug, Clone, Default)]
pub struct People {
    pub told: Arc<Mutex<Vec<(NoticeKey, Notice)>>>,
    pub deaf: Arc<Mutex<Mode>>,
    pub stop: Stop,
}

impl People {
    pub fn subjects(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        told.iter()
            .map(|(_, notice)| notice.subject.clone())
            .collect()
    }
}

#[async_trait]
impl Notifier for People {
    fn channel(&self) -> ChannelId {
        ChannelId::new("people").unwrap()
    }

    async fn send(&self, key: &NoticeKey, notice: &Notice) -> Result<Delivered, NotifyError> {
        misbehave(&self.deaf, || ()).await;
        self.told
            .lock()
            .unwrap()
            .push((key.clone(), notice.clone()));
        self.stop.passed().await;
        Ok(Delivered::default())
    }
}

/// A journal that fails or stands still when told.
#[derive(Debug, Clone)]
pub struct Trap {
    pub journal: FailingJournal,
    /// Before an append, and after one.
    pub before: Stop,
    pub stop: Stop,
}

impl Trap {
    pub fn new(journal: impl Journal) -> Self {
        Self::around(Arc::new(journal))
    }

    pub fn around(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal: FailingJournal::new(journal),
            before: Stop::default(),
            stop: Stop::default(),
        }
    }

    pub fn fail(&self, with: Option<JournalError>) {
        self.journal.fail_appends(with);
    }
}

#[async_trait]
impl Journal for Trap {
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
        if self.journal.is_failing() {
            return self.journal.append(batches, durability).await;
        }
        self.before.passed().await;
        let results = self.journal.append(batches, durability).await;
        self.stop.passed().await;
        results
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
}

/// Has a journal with threads of its own waited for on a blocking thread: paused time must not run
/// on while it works.
#[derive(Debug)]
pub struct OffTime<J>(pub Arc<J>);

impl<J: Journal> OffTime<J> {
    async fn wait<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(Arc<J>) -> T + Send + 'static,
    ) -> T {
        let journal = Arc::clone(&self.0);
        let runtime = tokio::runtime::Handle::current();
        let work = move || runtime.block_on(work(journal));
        tokio::task::spawn_blocking(work).await.unwrap()
    }
}

#[async_trait]
impl<J: Journal> Journal for OffTime<J> {
    async fn acquire(
        &self,
        service: &ServiceId,
        owner: &str,
        ttl: Duration,
    ) -> Result<Lease, JournalError> {
        let (service, owner) = (service.clone(), owner.to_owned());
        self.wait(async move |journal| journal.acquire(&service, &owner, ttl).await)
            .await
    }

    async fn append(
        &self,
        batches: Vec<Batch>,
        durability: Durability,
    ) -> Vec<Result<Seq, JournalError>> {
        self.wait(async move |journal| journal.append(batches, durability).await)
            .await
    }

    async fn read(
        &self,
        service: &ServiceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let service = service.clone();
        self.wait(async move |journal| journal.read(&service, after, limit).await)
            .await
    }

    async fn services(&self) -> Result<Vec<ServiceId>, JournalError> {
        self.wait(async move |journal| journal.services().await)
            .await
    }
}

pub async fn entries(journal: &dyn Journal) -> Vec<Entry> {
    journal
        .read(&service(), Seq::default(), usize::MAX)
        .await
        .unwrap()
}

pub async fn facts(journal: &dyn Journal) -> Vec<Fact> {
    entries(journal)
        .await
        .into_iter()
        .flat_map(|entry| entry.facts)
        .collect()
}

pub async fn inputs(journal: &dyn Journal) -> Vec<Input> {
    entries(journal)
        .await
        .into_iter()
        .map(|entry| entry.input)
        .collect()
}

/// Errors per instance, one condition, everything quick.
pub const POLICY: &str = r#"{
    "poll": "1s",
    "metrics": {"errors": {"unit": "ratio", "per": "instance", "bad": "bad", "total": "all"}},
    "triggers": [{"name": "too_many_errors", "when": "errors > 5%", "for": "2s"}],
    "bake": "20s",
    "verify": {"for": "3s", "within": "60s"},
    "deadlines": {"apply": "10s", "converge": "60s", "doubt": "60s"}
}"#;

pub fn policy_of(text: &str) -> Policy {
    serde_json::from_str(text).unwrap()
}

pub fn releases() -> Arc<MemoryReleaseStore> {
    Arc::new(MemoryReleaseStore::new())
}

/// Waits, by tokio's own time, at most ten minutes of it.
pub async fn ended(deployment: &Deployment) -> Outcome {
    tokio::time::timeout(Duration::from_secs(600), deployment.ended())
        .await
        .expect("the deployment ends in time")
        .expect("the controller goes on")
}
