//! Putting a controller together.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollback_core::{
    memory::MemoryReleaseStore,
    model::{ChannelId, ServiceId},
    policy::{Policy, Rule},
    ports::{Deployer, Journal, MetricSource, Notifier, ReleaseStore, Task, Trigger},
};
use tokio::sync::mpsc;

use crate::{
    appends::Appends,
    clock::{AnchoredClock, Clock},
    controller::Controller,
    drive::Drive,
    error::StartError,
    fleet::Fleet,
    given::Given,
    metrics::OwnMetrics,
    setup::{LeaseTerm, Setup, Source},
    shared::Shared,
};

/// How long a lease lasts without being renewed.
const LEASE: Duration = Duration::from_secs(30);

/// A controller in the making; see [`Controller::builder`].
#[derive(Debug)]
#[must_use = "nothing happens before `.start()`"]
pub struct ControllerBuilder {
    service: String,
    policy: Option<Policy>,
    deployer: Option<Arc<dyn Deployer>>,
    sources: BTreeMap<Option<Arc<str>>, Arc<dyn MetricSource>>,
    notifiers: Vec<Arc<dyn Notifier>>,
    journal: Option<Arc<dyn Journal>>,
    releases: Option<Arc<dyn ReleaseStore>>,
    triggers: Vec<Arc<dyn Trigger>>,
    tasks: BTreeMap<Arc<str>, Arc<dyn Task>>,
    owner: Option<String>,
    fleet: Option<Fleet>,
    metrics: OwnMetrics,
    clock: Option<Arc<dyn Clock>>,
    lease: Option<Duration>,
}

impl ControllerBuilder {
    pub(crate) fn new(service: String) -> Self {
        Self {
            service,
            policy: None,
            deployer: None,
            sources: BTreeMap::new(),
            notifiers: Vec::new(),
            journal: None,
            releases: None,
            triggers: Vec::new(),
            tasks: BTreeMap::new(),
            owner: None,
            fleet: None,
            metrics: OwnMetrics::default(),
            clock: None,
            lease: None,
        }
    }

    /// What is watched, what must not be true, and what follows. It serves the deployments to
    /// come; one that is under way keeps the policy it was opened with.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The platform.
    pub fn deployer<K>(mut self, deployer: impl Given<dyn Deployer, K>) -> Self {
        self.deployer = Some(deployer.shared());
        self
    }

    /// The source of metrics without `source:`.
    pub fn metrics<K>(mut self, source: impl Given<dyn MetricSource, K>) -> Self {
        self.sources.insert(None, source.shared());
        self
    }

    /// The source of metrics with `source: name`.
    pub fn metrics_named<K>(
        mut self,
        name: impl AsRef<str>,
        source: impl Given<dyn MetricSource, K>,
    ) -> Self {
        let name = Some(Arc::from(name.as_ref()));
        self.sources.insert(name, source.shared());
        self
    }

    /// One more channel to people.
    pub fn notifier<K>(mut self, notifier: impl Given<dyn Notifier, K>) -> Self {
        self.notifiers.push(notifier.shared());
        self
    }

    /// Where every input and decision is kept; and the definitions of releases, if the journal has
    /// a place for them.
    pub fn journal<K>(mut self, journal: impl Given<dyn Journal, K>) -> Self {
        self.journal = Some(journal.shared());
        self
    }

    /// Journal and release store in one value. For several controllers on one store give its
    /// `Arc` to [`journal`](Self::journal) and to [`releases`](Self::releases).
    pub fn store<S: Journal + ReleaseStore>(mut self, store: S) -> Self {
        let store = Arc::new(store);
        self.journal = Some(Arc::<S>::clone(&store));
        self.releases = Some(store);
        self
    }

    /// Where definitions of releases are kept, if not with the journal. A journal that has no place
    /// for them and no `.releases(..)` means in memory: enough for a platform that keeps definitions
    /// itself, else a release cannot be started again after the controller was.
    pub fn releases<K>(mut self, releases: impl Given<dyn ReleaseStore, K>) -> Self {
        self.releases = Some(releases.shared());
        self
    }

    /// A rule of the host's own, for the trigger of the policy with its name and `host: true`.
    pub fn trigger<K>(mut self, trigger: impl Given<dyn Trigger, K>) -> Self {
        self.triggers.push(trigger.shared());
        self
    }

    /// What runs as the task of this name in the policy.
    pub fn task<K>(mut self, name: impl AsRef<str>, task: impl Given<dyn Task, K>) -> Self {
        self.tasks.insert(Arc::from(name.as_ref()), task.shared());
        self
    }

    /// Who this controller is, in the journal and towards others; the machine's name by default.
    /// Two controllers that share a journal need different ones.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The fleet that this service belongs to.
    pub fn fleet(mut self, fleet: &Fleet) -> Self {
        self.fleet = Some(fleet.clone());
        self
    }

    /// Registers the controller's own metrics. For several controllers on one registry: register
    /// [`OwnMetrics`] once and give it to each with [`own_metrics`](Self::own_metrics).
    #[cfg(feature = "prometheus")]
    pub fn registry(self, registry: &mut prometheus_client::registry::Registry) -> Self {
        let metrics = OwnMetrics::register(registry);
        self.own_metrics(&metrics)
    }

    /// Where the controller's own metrics go.
    pub fn own_metrics(mut self, metrics: &OwnMetrics) -> Self {
        self.metrics = metrics.clone();
        self
    }

    /// Another clock; for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// How long the lease of the journal lasts without being renewed: so long another controller
    /// waits after this one has died. 30 s by default, ten minutes in a fleet. It is renewed when
    /// a third of it has passed.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease.max(Duration::from_secs(3)));
        self
    }

    /// Takes the journal over, restores what is in it, and goes on from there.
    ///
    /// # Errors
    /// [`StartError`]: something is missing or does not fit, somebody else holds the lease, or the
    /// journal cannot be used. Nothing was changed on the platform.
    pub async fn start(self) -> Result<Controller, StartError> {
        let setup = Arc::new(self.setup()?);
        let shared = Arc::new(Shared::default());
        let (sender, mailbox) = mpsc::unbounded_channel();
        let mut drive = Drive::new(Arc::clone(&setup), Arc::clone(&shared), mailbox);
        Box::pin(drive.recover()).await?;
        let task = tokio::spawn(drive.run());
        if let Some(fleet) = &setup.fleet {
            let joined = fleet.join(&setup.service, sender.downgrade()).await;
            joined.map_err(|why| StartError::Fleet { why: Box::new(why) })?;
        }
        Ok(Controller::new(setup, shared, sender, task.abort_handle()))
    }

    fn setup(self) -> Result<Setup, StartError> {
        let service = ServiceId::new(&self.service)?;
        let missing = |what, call| StartError::Missing { what, call };
        let policy = self.policy.ok_or_else(|| missing("policy", "policy"))?;
        if let Some(other) = &policy.service
            && *other != service
        {
            return Err(StartError::OtherService {
                policy: other.clone(),
                service,
            });
        }
        let deployer = self
            .deployer
            .ok_or_else(|| missing("platform", "deployer"))?;
        let journal = self.journal.ok_or_else(|| missing("journal", "journal"))?;
        check_sources(&policy, &self.sources)?;
        check_triggers(&policy, &self.triggers)?;
        let mut tasks = policy.tasks.iter().map(|task| &task.name);
        if let Some(name) = tasks.find(|name| !self.tasks.contains_key(*name)) {
            return Err(StartError::NoTask {
                name: name.to_string(),
            });
        }
        let mut notifiers: BTreeMap<ChannelId, Arc<dyn Notifier>> = BTreeMap::new();
        for notifier in self.notifiers {
            let channel = notifier.channel();
            if notifiers.insert(channel.clone(), notifier).is_some() {
                return Err(StartError::TwoChannels {
                    channel: channel.to_string(),
                });
            }
        }
        let fleet = self.fleet;
        let source = |source: Arc<dyn MetricSource>| match &fleet {
            Some(fleet) => {
                let capabilities = source.capabilities();
                Source::Shared(fleet.source(&source), capabilities)
            }
            None => Source::Alone(source),
        };
        let sources = self
            .sources
            .into_iter()
            .map(|(name, given)| (name, source(given)))
            .collect();
        let lease = self
            .lease
            .or_else(|| fleet.as_ref().map(Fleet::lease))
            .unwrap_or(LEASE);
        Ok(Setup {
            owner: Arc::from(self.owner.unwrap_or_else(this_machine)),
            policy: policy.shared(),
            deployer,
            sources,
            notifiers,
            appends: match &fleet {
                Some(fleet) => fleet.appends(&journal),
                None => Appends::Alone(Arc::clone(&journal)),
            },
            releases: self
                .releases
                .or_else(|| Arc::clone(&journal).release_store())
                .unwrap_or_else(|| Arc::new(MemoryReleaseStore::new())),
            journal,
            triggers: self.triggers,
            tasks: self.tasks,
            metrics: self.metrics,
            clock: self
                .clock
                .unwrap_or_else(|| Arc::new(AnchoredClock::anchored_now())),
            lease: LeaseTerm::new(lease),
            fleet,
            service,
        })
    }
}

fn check_sources(
    policy: &Policy,
    sources: &BTreeMap<Option<Arc<str>>, Arc<dyn MetricSource>>,
) -> Result<(), StartError> {
    for metric in &policy.metrics {
        if sources.contains_key(&metric.source) {
            continue;
        }
        let named: Vec<&str> = sources.keys().flatten().map(|name| &**name).collect();
        let given = match (sources.contains_key(&None), named.is_empty()) {
            (false, true) => "no source at all".to_owned(),
            (true, true) => "only the one without a name".to_owned(),
            (_, false) => named.join(", "),
        };
        return Err(StartError::NoSource {
            metric: metric.id.to_string(),
            wanted: match &metric.source {
                Some(name) => format!("source `{name}`"),
                None => "the source without a name".to_owned(),
            },
            given,
            call: match &metric.source {
                Some(name) => format!(".metrics_named(\"{name}\", ..)"),
                None => ".metrics(..)".to_owned(),
            },
        });
    }
    Ok(())
}

fn check_triggers(policy: &Policy, triggers: &[Arc<dyn Trigger>]) -> Result<(), StartError> {
    for rule in &policy.triggers {
        let given = || triggers.iter().any(|own| own.id().name == rule.name);
        if matches!(rule.rule, Rule::Host) && !given() {
            return Err(StartError::NoTrigger {
                name: rule.name.to_string(),
            });
        }
    }
    Ok(())
}

/// The name of this machine, as far as it tells.
fn this_machine() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "controller".to_owned())
}
