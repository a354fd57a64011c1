//! The in-memory implementations as subjects of their own suites.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{Definition, Release, ReleaseId, ServiceId, Timestamp},
    ports::Deployer,
};

use super::{DeployerHarness, Ground, ReleaseKind};
use crate::platform::{Behaviour, InMemoryPlatform};

#[async_trait]
impl DeployerHarness for InMemoryPlatform {
    fn deployer(&self) -> Arc<dyn Deployer> {
        Arc::new(self.clone())
    }

    async fn begin(&self, name: &str) -> Ground {
        let stable = next_release(name);
        let service = service(name);
        self.with(|model| {
            model.add_release(stable.id.clone(), Behaviour::good());
            model.start_service(&service, &stable.id);
        });
        Ground { service, stable }
    }

    async fn release(&self, ground: &Ground, kind: ReleaseKind) -> Release {
        let release = next_release(ground.service.as_str());
        let behaviour = match kind {
            ReleaseKind::Good => Behaviour::good(),
            ReleaseKind::NeverReady => Behaviour::never_ready(),
            ReleaseKind::Exits => Behaviour::never_ready().exiting_after(Duration::from_secs(1)),
            ReleaseKind::Missing => return release,
        };
        self.with(|model| model.add_release(release.id.clone(), behaviour));
        release
    }

    async fn pass(&self, time: Duration) {
        self.clock().advance(time);
    }

    fn now(&self) -> Timestamp {
        self.clock().now()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

#[expect(clippy::expect_used, reason = "the suite's names are ids")]
fn service(name: &str) -> ServiceId {
    ServiceId::new(name).expect("letters, digits and hyphens")
}

#[expect(clippy::expect_used, reason = "the suite's names are ids")]
fn next_release(name: &str) -> Release {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = ReleaseId::new(format!("{name}-r{number}")).expect("letters, digits and hyphens");
    Release::new(id, format!("r{number}"), Definition::default())
}
