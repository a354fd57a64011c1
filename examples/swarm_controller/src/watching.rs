//! Which services are to be guarded, and one controller for each of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rollback::{
    Controller, Fleet,
    model::ServiceId,
    store::{SealingKeys, SqliteJournal},
};
use rollback_docker::{DockerMetrics, Engine, SwarmDeployer};
use serde_json::{Value, json};

use crate::{
    Fallible,
    guarding::{Guards, Settings},
};

/// How often new services are looked for.
const PACE: Duration = Duration::from_secs(2);

/// The guards of all services with a label.
#[derive(Debug)]
pub(crate) struct Watching {
    guards: Guards,
    filters: String,
    guarded: BTreeMap<ServiceId, Controller>,
    /// What cannot be guarded, and why; told once.
    refused: BTreeMap<ServiceId, String>,
    unreachable: bool,
}

impl Watching {
    pub(crate) fn open(
        engine: Engine,
        label: &str,
        state: &Path,
        key: &Path,
        settings: Settings,
    ) -> Fallible<Self> {
        // What is wrong with the policy of all is said at once.
        settings.policy(None)?;
        let keys = SealingKeys::of_journal(state, key)?;
        let journal = Arc::new(SqliteJournal::open(state)?.sealed(keys));
        let releases = Arc::<SqliteJournal>::clone(&journal);
        let deployer = SwarmDeployer::new(engine.clone()).keeping(releases);
        let guards = Guards {
            metrics: Arc::new(DockerMetrics::new(engine.clone())),
            deployer: Arc::new(deployer),
            journal,
            engine,
            fleet: Fleet::default(),
            settings,
        };
        Ok(Self {
            guards,
            filters: json!({"label": [label]}).to_string(),
            guarded: BTreeMap::new(),
            refused: BTreeMap::new(),
            unreachable: false,
        })
    }

    /// Looks for services from time to time, as long as it is let.
    pub(crate) async fn stay(&mut self) -> Fallible<()> {
        self.look().await?;
        self.unreachable = false;
        loop {
            tokio::time::sleep(PACE).await;
            match self.look().await {
                Ok(()) if self.unreachable => {
                    warn!("The engine answers again.");
                    self.unreachable = false;
                }
                Err(why) if !self.unreachable => {
                    warn!("Services cannot be listed; those that are known stay guarded: {why}");
                    self.unreachable = true;
                }
                _ => {}
            }
        }
    }

    /// Guards what is new, and lets go of what is gone.
    pub(crate) async fn look(&mut self) -> Fallible<()> {
        let filters = [("filters", self.filters.as_str())];
        let found = self.guards.engine.get("/services", &filters).await?;
        let mut there = BTreeSet::new();
        for found in found.as_array().into_iter().flatten() {
            let name = found.pointer("/Spec/Name").and_then(Value::as_str);
            let Some(Ok(service)) = name.map(ServiceId::new) else {
                continue;
            };
            there.insert(service.clone());
            if self.guarded.contains_key(&service) {
                continue;
            }
            let named = found.pointer("/Spec/Labels");
            let named = named.and_then(|labels| labels.get("io.rollback.policy")?.as_str());
            let begun = match self.guards.settings.policy(named) {
                Ok(policy) => self.guards.begin(&service, policy).await,
                Err(why) => Err(why),
            };
            match begun {
                Ok(controller) => {
                    warn!("{service}: guarded.");
                    self.refused.remove(&service);
                    self.guarded.insert(service, controller);
                }
                Err(why) => {
                    let why = why.to_string();
                    if self.refused.get(&service) != Some(&why) {
                        warn!("{service}: NOT guarded: {why}");
                        self.refused.insert(service, why);
                    }
                }
            }
        }
        let gone: Vec<_> = self.guarded.keys().cloned().collect();
        for service in gone.iter().filter(|service| !there.contains(*service)) {
            if let Some(controller) = self.guarded.remove(service) {
                controller.shutdown().await;
                warn!("{service}: gone, or without its label; not guarded any more.");
            }
        }
        self.refused.retain(|service, _| there.contains(service));
        Ok(())
    }

    /// The controller of a service.
    pub(crate) fn of(&self, service: &ServiceId) -> Option<&Controller> {
        self.guarded.get(service)
    }

    /// What all services are deployed with.
    pub(crate) fn deployer(&self) -> Arc<SwarmDeployer> {
        Arc::clone(&self.guards.deployer)
    }

    /// Lets go of everything; the journal remembers.
    pub(crate) async fn end(self) {
        for (_, controller) in self.guarded {
            controller.shutdown().await;
        }
    }
}
