//! Adapters with one deliberate defect each: the suites must notice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, Change, ChangeError, ChangeRequest, Observation, Placement, Release, ServiceId,
        Timestamp, Wanted, Weight,
    },
    ports::{Capabilities, Deployer},
};
use rollback_testkit::{
    ManualClock,
    conformance::{self, DeployerHarness, Ground, ReleaseKind},
    platform::{InMemoryPlatform, Temper},
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    IgnoresTheFence,
    IgnoresTheMark,
    TellsNoTag,
    TakesTrafficUnasked,
    StartsBeforeItStops,
    CallsEverythingReady,
    RetiresWhatServes,
    ChecksNothing,
    ForgetsInstances,
    TouchesTheBystander,
}

#[derive(Debug, Clone)]
struct Broken {
    platform: InMemoryPlatform,
    defect: Defect,
}

#[async_trait]
impl Deployer for Broken {
    fn capabilities(&self) -> Capabilities {
        self.platform.deployer().capabilities()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        let mut seen = self.platform.observe(service).await?;
        match self.defect {
            Defect::TellsNoTag => seen.last_change = None,
            Defect::CallsEverythingReady => {
                seen.arms = seen
                    .arms
                    .iter()
                    .cloned()
                    .map(|mut arm| {
                        arm.state = rollback_core::model::ArmState::Ready;
                        arm
                    })
                    .collect();
            }
            Defect::ForgetsInstances => {
                seen.arms = seen
                    .arms
                    .iter()
                    .cloned()
                    .map(|mut arm| {
                        arm.instances = Arc::from([]);
                        arm
                    })
                    .collect();
            }
            _ => {}
        }
        Ok(seen)
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let mut request = request.clone();
        let seen = self.platform.observe(service).await?;
        match (self.defect, &request.change) {
            (Defect::IgnoresTheFence, _) => {
                request.expect.wanted = seen.wanted;
                request.expect.etag = None;
            }
            (Defect::IgnoresTheMark, _) => request.expect.etag = None,
            (
                Defect::TakesTrafficUnasked,
                Change::Converge {
                    release,
                    placement: Placement::Beside,
                },
            ) => {
                let half = Weight::from_basis_points(5_000).unwrap();
                let both = seen.wanted.main().cloned().unwrap();
                let wanted = Wanted::nothing()
                    .with(both, half)
                    .with(release.clone(), half);
                self.platform
                    .with(|model| model.foreign_change(service, wanted));
                return Ok(Accepted::default());
            }
            (Defect::StartsBeforeItStops, Change::Converge { release, placement })
                if placement.is_in_place() =>
            {
                request.change = Change::Converge {
                    release: release.clone(),
                    placement: Placement::Beside,
                };
            }
            (Defect::RetiresWhatServes, Change::Retire { release }) => {
                let wanted = seen.wanted.without(release);
                self.platform
                    .with(|model| model.foreign_change(service, wanted));
                return Ok(Accepted::default());
            }
            (Defect::TouchesTheBystander, _) => {
                let bystander = ServiceId::new("bystander").unwrap();
                if let Ok(other) = self.platform.observe(&bystander).await {
                    let same = other.wanted;
                    self.platform
                        .with(|model| model.foreign_change(&bystander, same));
                }
            }
            _ => {}
        }
        self.platform.apply(service, &request).await
    }

    async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        if self.defect == Defect::ChecksNothing {
            return Ok(());
        }
        self.platform.check(service, release).await
    }
}

#[async_trait]
impl DeployerHarness for Broken {
    fn deployer(&self) -> Arc<dyn Deployer> {
        Arc::new(self.clone())
    }
    async fn begin(&self, name: &str) -> Ground {
        self.platform.begin(name).await
    }
    async fn release(&self, ground: &Ground, kind: ReleaseKind) -> Release {
        DeployerHarness::release(&self.platform, ground, kind).await
    }
    async fn pass(&self, time: Duration) {
        self.platform.pass(time).await;
    }
    fn now(&self) -> Timestamp {
        DeployerHarness::now(&self.platform)
    }
    fn patience(&self) -> Duration {
        self.platform.patience()
    }
}

#[tokio::test]
async fn every_defect_of_a_deployer_is_named_by_a_case() {
    for (defect, case) in [
        (Defect::IgnoresTheFence, "a_stale_expectation_is_a_conflict"),
        (Defect::IgnoresTheMark, "a_stale_mark_is_a_conflict"),
        (Defect::TellsNoTag, "a_change_leaves_its_tag"),
        (
            Defect::TakesTrafficUnasked,
            "converging_beside_leaves_the_traffic",
        ),
        (
            Defect::StartsBeforeItStops,
            "stopping_first_never_serves_both",
        ),
        (
            Defect::CallsEverythingReady,
            "a_release_that_never_gets_ready_is_never_called_ready",
        ),
        (
            Defect::RetiresWhatServes,
            "retiring_what_carries_traffic_is_refused",
        ),
        (Defect::ChecksNothing, "a_missing_release_is_refused"),
        (Defect::ForgetsInstances, "instances_are_named"),
        (Defect::TouchesTheBystander, "other_services_are_left_alone"),
    ] {
        let platform = InMemoryPlatform::new(Temper::Strict, ManualClock::default());
        let report = conformance::deployer(&Broken { platform, defect }).await;
        assert!(
            report.failed().any(|(broken, _)| broken == case),
            "{defect:?} was not noticed by {case}:\n{report}"
        );
    }
}
