//! Everything a controller was given, shared by its loop and its effects.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rollback_core::{
    engine::EngineConfig,
    model::{
        ChannelId, Notice, NoticeKey, ReadError, ReadRequest, Reading, Seq, ServiceId, Timestamp,
        duration_text,
    },
    policy::Policy,
    ports::{
        Delivered, Deployer, Journal, MetricSource, Notifier, NotifyError, ReleaseStore,
        SourceCapabilities, Task, Trigger,
    },
};

use crate::{
    appends::Appends,
    clock::Clock,
    coalesce::{self, Coalesced},
    fleet::Fleet,
    metrics::OwnMetrics,
};

#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) service: ServiceId,
    pub(crate) owner: Arc<str>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) deployer: Arc<dyn Deployer>,
    pub(crate) sources: BTreeMap<Option<Arc<str>>, Source>,
    pub(crate) notifiers: BTreeMap<ChannelId, Arc<dyn Notifier>>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) appends: Appends,
    pub(crate) releases: Arc<dyn ReleaseStore>,
    pub(crate) triggers: Vec<Arc<dyn Trigger>>,
    pub(crate) tasks: BTreeMap<Arc<str>, Arc<dyn Task>>,
    pub(crate) fleet: Option<Fleet>,
    pub(crate) metrics: OwnMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lease: LeaseTerm,
}

/// Where readings come from: one call per service, or shared by a fleet.
#[derive(Debug)]
pub(crate) enum Source {
    Alone(Arc<dyn MetricSource>),
    Shared(Arc<Coalesced>, SourceCapabilities),
}

impl Source {
    pub(crate) fn capabilities(&self) -> SourceCapabilities {
        match self {
            Self::Alone(source) => source.capabilities(),
            Self::Shared(_, capabilities) => *capabilities,
        }
    }

    pub(crate) async fn read(&self, requests: Vec<ReadRequest>) -> Vec<Result<Reading, ReadError>> {
        match self {
            Self::Alone(source) => coalesce::read(&**source, &requests).await,
            Self::Shared(source, _) => source.read(requests).await,
        }
    }
}

impl Setup {
    /// What the engine has to know.
    pub(crate) fn engine_config(&self) -> EngineConfig {
        let mut config = EngineConfig::new(self.service.clone(), self.deployer.capabilities())
            .with_channels(self.notifiers.keys().cloned().collect());
        if self.fleet.is_some() {
            config = config.with_permits();
        }
        for (name, source) in &self.sources {
            config = config.with_source(name.clone(), source.capabilities());
        }
        for trigger in &self.triggers {
            config = config.with_host_trigger(Arc::clone(trigger));
        }
        config
    }

    /// How long a look at the platform or the sending of a change may take.
    pub(crate) fn patience(&self) -> Duration {
        self.policy.deadlines.apply
    }

    /// How long a read may take: two polls, and not less than five seconds, so that a source that
    /// hangs blinds the watch no longer than one that says so.
    pub(crate) fn read_patience(&self) -> Duration {
        (self.policy.poll * 2)
            .max(Duration::from_secs(5))
            .min(self.patience())
    }

    /// Sends a notice once, on every channel, beside the journal: for what cannot be journaled.
    pub(crate) async fn tell_directly(&self, seq: Seq, notice: &Notice) {
        for (channel, notifier) in &self.notifiers {
            let key = NoticeKey {
                seq,
                index: u16::MAX,
                channel: channel.clone(),
            };
            let result = send_notice(&**notifier, &key, notice, self.patience()).await;
            self.metrics
                .notice(channel.as_str(), notice_result(&result));
            if let Err(why) = result {
                tracing::error!(service = %self.service, %channel, %why, "an unjournaled notice was not delivered");
            }
        }
    }
}

/// One attempt at a notice.
pub(crate) async fn send_notice(
    notifier: &dyn Notifier,
    key: &NoticeKey,
    notice: &Notice,
    patience: Duration,
) -> Result<Delivered, NotifyError> {
    let temporary = |why: String| NotifyError::Temporary {
        why,
        retry_after_ms: None,
    };
    match tokio::time::timeout(patience, crate::caught::caught(notifier.send(key, notice))).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(temporary(format!("the notifier's code failed: {panic}"))),
        Err(_) => Err(temporary(format!(
            "no answer within {}",
            duration_text(patience)
        ))),
    }
}

/// The label `result` of a notice.
pub(crate) fn notice_result(result: &Result<Delivered, NotifyError>) -> &'static str {
    match result {
        Ok(_) => "delivered",
        Err(NotifyError::Temporary { .. }) => "failed",
        Err(_) => "refused",
    }
}

/// How long our lease lasts, by our own clock: a change is only sent while it does.
#[derive(Debug)]
pub(crate) struct LeaseTerm {
    pub(crate) ttl: Duration,
    until: AtomicI64,
}

impl LeaseTerm {
    pub(crate) const fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            until: AtomicI64::new(i64::MIN),
        }
    }

    /// It was asked for at `asked` and given.
    pub(crate) fn given(&self, asked: Timestamp) {
        let until = asked.after(self.ttl);
        self.until.store(until.as_millis(), Ordering::Release);
    }

    /// It is no longer ours.
    pub(crate) fn lost(&self) {
        self.until.store(i64::MIN, Ordering::Release);
    }

    pub(crate) fn is_ours(&self, now: Timestamp) -> bool {
        now.as_millis() < self.until.load(Ordering::Acquire)
    }
}
