//! What the cases of the suite share: two releases, a division, a look.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rollback_core::{
    model::{ChangeId, Instance, ReleaseId, ServiceId, Weight},
    ports::{Traffic, TrafficShifter},
};

use super::TrafficHarness;
use crate::conformance::report::ensure;

pub(super) type Places = BTreeMap<ReleaseId, Vec<Instance>>;

/// One case's view of the adapter.
pub(super) struct Stage<'a> {
    pub(super) harness: &'a dyn TrafficHarness,
    pub(super) shifter: Arc<dyn TrafficShifter>,
    pub(super) service: ServiceId,
    name: String,
    steps: AtomicU32,
}

impl<'a> Stage<'a> {
    pub(super) async fn begin(harness: &'a dyn TrafficHarness, case: &str) -> Self {
        let name = case.replace('_', "-");
        Self {
            harness,
            shifter: harness.shifter(),
            service: harness.begin(&name).await,
            name,
            steps: AtomicU32::new(1),
        }
    }

    /// A release of this case: no other case has it.
    pub(super) fn release(&self, word: &str) -> Result<ReleaseId, String> {
        ReleaseId::new(format!("{}@{word}", self.name)).map_err(|error| error.to_string())
    }

    pub(super) fn next_id(&self) -> Result<ChangeId, String> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        ChangeId::try_from(format!("d1-c.s{step}.a1")).map_err(|error| error.to_string())
    }

    pub(super) async fn look(&self) -> Result<Traffic, String> {
        let seen = self.shifter.traffic(&self.service).await;
        seen.map_err(|error| format!("traffic: {error}"))
    }

    pub(super) async fn tell(&self, places: &Places) -> Result<(), String> {
        let told = self.shifter.instances(&self.service, places).await;
        told.map_err(|error| format!("instances: {error}"))
    }

    pub(super) async fn shift(&self, shares: &[(&ReleaseId, u16)]) -> Result<ChangeId, String> {
        let id = self.next_id()?;
        let seen = self.look().await?;
        let asked = weights(shares)?;
        let done = self
            .shifter
            .shift(&self.service, &id, &asked, seen.etag.as_ref());
        match done.await {
            Ok(_) => Ok(id),
            Err(error) => Err(format!("shift to {shares:?}: {error}")),
        }
    }

    /// Two releases with so many instances each; the first one has all traffic.
    pub(super) async fn two(&self, stable: u32, candidate: u32) -> Result<Two, String> {
        let (v1, v2) = (self.release("v1")?, self.release("v2")?);
        let mut places = Places::new();
        for (release, count) in [(&v1, stable), (&v2, candidate)] {
            for _ in 0..count {
                let instance = self.harness.instance(release).await;
                places.entry(release.clone()).or_default().push(instance);
            }
        }
        self.tell(&places).await?;
        self.shift(&[(&v1, 10_000)]).await?;
        Ok(Two { v1, v2, places })
    }

    pub(super) async fn shows(&self, shares: &[(&ReleaseId, u16)]) -> Result<(), String> {
        let seen = self.look().await?.weights;
        let some: BTreeMap<_, _> = seen.iter().filter(|(_, w)| **w > Weight::NONE).collect();
        let asked = weights(shares)?;
        let asked: BTreeMap<_, _> = asked.iter().filter(|(_, w)| **w > Weight::NONE).collect();
        ensure!(some == asked, "the shares are {some:?}, not {asked:?}");
        Ok(())
    }
}

pub(super) struct Two {
    pub(super) v1: ReleaseId,
    pub(super) v2: ReleaseId,
    pub(super) places: Places,
}

pub(super) fn weights(shares: &[(&ReleaseId, u16)]) -> Result<BTreeMap<ReleaseId, Weight>, String> {
    let mut weights = BTreeMap::new();
    for (release, points) in shares {
        let weight = Weight::from_basis_points(*points).map_err(|error| error.to_string())?;
        weights.insert((*release).clone(), weight);
    }
    Ok(weights)
}

/// The answers of two at once.
pub(super) async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    tokio::join!(a, b)
}
