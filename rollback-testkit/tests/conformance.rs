//! The in-memory implementations against the suites that every adapter runs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    memory::MemoryJournal,
    model::{
        Arm, ChannelId, DeploymentId, Explanation, Instance, InstanceId, InstanceState, MetricId,
        Query, ReadError, ReadRequest, Reading, ReleaseId, Sample, Scope, ServiceId, Subject,
        Timestamp, TriggerId, UnknownReason, Verdict, Window,
    },
    ports::{
        ArmSide, Evidence, Journal, MetricNeed, MetricSource, Notifier, NotifyError,
        TrafficShifter, Trigger, WatchStart,
    },
};
use rollback_testkit::{
    ManualClock, NOON, RecordingNotifier,
    conformance::{
        self, Answered, Fed, JournalHarness, MetricSourceHarness, NotifierHarness, QueryKind,
        TrafficHarness, TriggerHarness,
    },
    platform::{Behaviour, InMemoryPlatform, InMemoryShifter, Temper},
};

#[tokio::test]
async fn platforms_of_every_temper_keep_a_deployers_promises() {
    for (temper, skipped) in [
        (Temper::Strict, 3),
        (Temper::Eventual, 5),
        (Temper::SelfHealing, 2),
    ] {
        let platform = InMemoryPlatform::new(temper, ManualClock::default());
        let report = conformance::deployer(&platform).await;
        report.assert_passed();
        assert_eq!(report.cases().len() - report.passed(), skipped, "{report}");
    }
}

#[derive(Default)]
struct InMemoryJournals {
    clock: ManualClock,
    last: Mutex<Option<MemoryJournal>>,
}

impl InMemoryJournals {
    fn open_again(&self) -> Option<Arc<dyn Journal>> {
        let last = self.last.lock().unwrap();
        last.as_ref()
            .map(|journal| Arc::new(journal.reopened()) as Arc<dyn Journal>)
    }
}

#[async_trait]
impl JournalHarness for InMemoryJournals {
    async fn fresh(&self) -> Arc<dyn Journal> {
        let clock = self.clock.clone();
        let journal = MemoryJournal::with_clock(move || clock.now());
        *self.last.lock().unwrap() = Some(journal.reopened());
        Arc::new(journal)
    }
    async fn second(&self, _: &Arc<dyn Journal>) -> Option<Arc<dyn Journal>> {
        self.open_again()
    }
    async fn reopened(&self, journal: Arc<dyn Journal>) -> Option<Arc<dyn Journal>> {
        drop(journal);
        self.open_again()
    }
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
    fn lease(&self) -> Duration {
        Duration::from_secs(10)
    }
}

#[tokio::test]
async fn the_memory_journal_keeps_a_journals_promises() {
    let report = conformance::journal(&InMemoryJournals::default()).await;
    report.assert_passed();
    assert_eq!(report.passed(), report.cases().len(), "{report}");
}

struct Pager(RecordingNotifier);

#[async_trait]
impl NotifierHarness for Pager {
    async fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(self.0.clone())
    }
    async fn told(&self) -> Option<Vec<String>> {
        let told = self.0.told().into_iter();
        Some(
            told.map(|told| format!("{}\n{}", told.notice.subject, told.notice.body))
                .collect(),
        )
    }
    async fn down(&self) -> Option<Arc<dyn Notifier>> {
        let pager = RecordingNotifier::new(self.0.channel());
        pager.fail_with(Some(NotifyError::Temporary {
            why: "timed out".to_owned(),
            retry_after_ms: None,
        }));
        Some(Arc::new(pager))
    }
    async fn wrong(&self) -> Option<Arc<dyn Notifier>> {
        let pager = RecordingNotifier::new(self.0.channel());
        pager.fail_with(Some(NotifyError::Permanent {
            why: "no such channel".to_owned(),
        }));
        Some(Arc::new(pager))
    }
    fn tells_once(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn the_recording_notifier_keeps_a_notifiers_promises() {
    let pager = Pager(RecordingNotifier::new(ChannelId::new("pager").unwrap()));
    let report = conformance::notifier(&pager).await;
    report.assert_passed();
}

struct PlatformMetrics {
    platform: InMemoryPlatform,
    service: ServiceId,
    stable: ReleaseId,
}

#[async_trait]
impl MetricSourceHarness for PlatformMetrics {
    fn source(&self) -> Arc<dyn MetricSource> {
        Arc::new(self.platform.clone())
    }
    async fn request(&self, kind: QueryKind) -> Option<ReadRequest> {
        let (query, release) = match kind {
            QueryKind::Answered => ("error_rate", self.stable.clone()),
            QueryKind::Absent => ("error_rate", ReleaseId::new("never-ran").unwrap()),
            QueryKind::Malformed => ("sum(rate(", self.stable.clone()),
            _ => return None,
        };
        Some(ReadRequest::new(
            self.service.clone(),
            MetricId::new("errors").unwrap(),
            Query::Value(query.into()),
            Scope::Arm(Arm::Stable),
            Subject::new(Some(release), []),
            Window::new(NOON, NOON),
        ))
    }
    async fn window(&self) -> Window {
        Window::new(NOON.before(Duration::from_secs(60)), NOON)
    }
    async fn unreachable(&self) -> Option<Arc<dyn MetricSource>> {
        None
    }
}

#[tokio::test]
async fn the_platforms_metrics_keep_a_sources_promises() {
    let platform = InMemoryPlatform::new(Temper::Strict, ManualClock::default());
    let (service, stable) = (
        ServiceId::new("checkout").unwrap(),
        ReleaseId::new("v1").unwrap(),
    );
    platform.with(|model| {
        model.add_release(stable.clone(), Behaviour::good().with_errors(0.01));
        model.start_service(&service, &stable);
    });
    let harness = PlatformMetrics {
        platform,
        service,
        stable,
    };
    conformance::metric_source(&harness).await.assert_passed();
}

/// Fails once more than a third of all answers were bad.
#[derive(Debug)]
struct TooManyBad;

#[derive(Debug, Default)]
struct Tally {
    bad: u64,
    total: u64,
}

impl Trigger for TooManyBad {
    fn id(&self) -> TriggerId {
        TriggerId::new("too_many_bad", 1)
    }
    fn reads(&self) -> Vec<MetricNeed> {
        vec![MetricNeed {
            metric: MetricId::new("errors").unwrap(),
            side: ArmSide::OnTrial,
        }]
    }
    fn begin(&self, _: &WatchStart) -> Box<dyn Evidence> {
        Box::new(Tally::default())
    }
}

impl Evidence for Tally {
    fn observe(&mut self, _: Timestamp, metric: &MetricId, _: &Scope, reading: &Reading) {
        if let (Sample::Counts { bad, total }, "errors") = (&reading.sample, metric.as_str()) {
            self.bad += bad;
            self.total += total;
        }
    }
    fn verdict(&self, _: Timestamp) -> Verdict {
        match self.total {
            0 => Verdict::Unknown(UnknownReason::NothingYet),
            total if self.bad * 3 > total => Verdict::Fail,
            _ => Verdict::Pass,
        }
    }
    fn next_wake(&self, _: Timestamp) -> Option<Timestamp> {
        None
    }
    fn explain(&self, _: Timestamp) -> Explanation {
        Explanation {
            rule: "more than a third of the answers is bad".to_owned(),
            sentence: format!("{} of {} answers were bad", self.bad, self.total),
            would_pass: Some(format!("at most {} bad answers", self.total / 3)),
            ..Explanation::default()
        }
    }
}

struct TooManyBadHarness;

impl TooManyBadHarness {
    fn polls(bad: u64) -> Vec<Fed> {
        (0..5)
            .map(|poll| {
                let from = NOON.after(Duration::from_secs(poll));
                let to = from.after(Duration::from_secs(1));
                let sample = Sample::Counts { bad, total: 100 };
                Fed {
                    at: to,
                    metric: MetricId::new("errors").unwrap(),
                    scope: Scope::Arm(Arm::Candidate),
                    result: Ok::<_, ReadError>(Reading::new(Window::new(from, to), sample)),
                }
            })
            .collect()
    }
}

impl TriggerHarness for TooManyBadHarness {
    fn trigger(&self) -> Arc<dyn Trigger> {
        Arc::new(TooManyBad)
    }
    fn watch(&self) -> WatchStart {
        WatchStart::new(
            NOON,
            DeploymentId::new("d1").unwrap(),
            ReleaseId::new("v1").unwrap(),
            ReleaseId::new("v2").unwrap(),
            Duration::from_secs(1),
            Duration::from_secs(30),
        )
    }
    fn good(&self) -> Vec<Fed> {
        Self::polls(2)
    }
    fn bad(&self) -> Vec<Fed> {
        Self::polls(50)
    }
}

#[test]
fn a_hosts_own_rule_keeps_a_triggers_promises() {
    conformance::trigger(&TooManyBadHarness).assert_passed();
}

/// Traffic that is only counted, of instances that are only names.
#[derive(Default)]
struct Counted {
    shifter: InMemoryShifter,
    instances: AtomicU32,
}

#[async_trait]
impl TrafficHarness for Counted {
    fn shifter(&self) -> Arc<dyn TrafficShifter> {
        Arc::new(self.shifter.clone())
    }
    async fn second(&self) -> Option<Arc<dyn TrafficShifter>> {
        Some(self.shifter())
    }
    async fn begin(&self, name: &str) -> ServiceId {
        ServiceId::new(name).unwrap()
    }
    async fn instance(&self, release: &ReleaseId) -> Instance {
        let number = self.instances.fetch_add(1, Ordering::Relaxed);
        let id = InstanceId::new(format!("{release}-{number}")).unwrap();
        Instance::new(id, NOON, InstanceState::Ready).at("127.0.0.1:1")
    }
    async fn send(&self, service: &ServiceId, requests: u32) -> Option<Answered> {
        let mut answered = Answered::default();
        for _ in 0..requests {
            match self.shifter.request(service) {
                Some(release) => *answered.by.entry(release).or_default() += 1,
                None => answered.failed += 1,
            }
        }
        Some(answered)
    }
}

#[tokio::test]
async fn the_shifter_in_memory_keeps_a_shifters_promises() {
    let report = conformance::traffic(&Counted::default()).await;
    report.assert_passed();
    // It is never started anew.
    assert_eq!(report.cases().len() - report.passed(), 1, "{report}");
}
