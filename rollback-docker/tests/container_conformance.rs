//! The deployer's conformance suite against containers of a real engine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback::WithTraffic;
use rollback_core::{
    model::{Change, Placement, Release, ServiceId, Share, Timestamp, Weight},
    ports::Deployer,
};
use rollback_docker::{ContainerDefinition, ContainerDeployer, Engine};
use rollback_specimen::Image;
use rollback_testkit::conformance::{self, DeployerHarness, Ground, ReleaseKind};
use serde_json::json;
use support::{
    TEST, engine,
    ground::{AT_ONCE, change, converge, inspect, left, now, run, until},
    image, name, sweep,
    switch::Switch,
};

/// How long what has no health check runs before it is ready.
const STEADY: Duration = Duration::from_millis(300);

struct Containers {
    /// What all services of the run begin with.
    name: String,
    engine: Engine,
    image: String,
    replicas: u16,
    deployer: Arc<dyn Deployer>,
    /// Another controller, to put things away.
    broom: ContainerDeployer,
    releases: AtomicU32,
}

impl Containers {
    async fn new(
        replicas: u16,
        health: bool,
        join: impl FnOnce(ContainerDeployer) -> Arc<dyn Deployer>,
    ) -> Self {
        let (engine, name) = (engine(), name("suite"));
        let specimen = Image::new("v1").label(TEST, &name);
        let specimen = if health {
            specimen.health_every(500, 2)
        } else {
            specimen.without_health()
        };
        let image = image(&engine, &format!("{name}:1"), &specimen).await;
        Self {
            deployer: join(ContainerDeployer::on(engine.clone()).steady_after(STEADY)),
            broom: ContainerDeployer::on(engine.clone()),
            image: image.to_string(),
            releases: AtomicU32::new(0),
            replicas,
            engine,
            name,
        }
    }

    /// Runs the suite, finds nothing left behind and a bystander as it was.
    async fn keeps_its_promises(self, skipped: usize) {
        let body = json!({ "Image": self.image, "Labels": { TEST: self.name } });
        let id = run(&self.engine, &format!("{}-bystander", self.name), &body).await;
        let before = inspect(&self.engine, &id).await;

        let report = conformance::deployer(&self).await;
        println!("{report}");
        report.assert_passed();
        assert_eq!(report.cases().len() - report.passed(), skipped, "{report}");

        assert_eq!(left(&self.engine, &self.name).await, [""; 0]);
        let after = inspect(&self.engine, &id).await;
        for key in ["Config", "HostConfig", "RestartCount"] {
            assert_eq!(before[key], after[key], "the bystander");
        }
        assert_eq!(
            before["State"]["Pid"], after["State"]["Pid"],
            "the bystander"
        );
        sweep(&self.engine, &format!("{TEST}={}", self.name)).await;
    }

    fn definition(&self) -> ContainerDefinition {
        let count = self.releases.fetch_add(1, Ordering::Relaxed);
        ContainerDefinition::new(&self.image)
            .env("COUNT", count.to_string())
            .replicas(self.replicas)
    }
}

#[async_trait]
impl DeployerHarness for Containers {
    fn deployer(&self) -> Arc<dyn Deployer> {
        Arc::clone(&self.deployer)
    }

    async fn begin(&self, case: &str) -> Ground {
        let service = ServiceId::new(format!("{}-{case}", self.name)).unwrap();
        let stable = self.definition().release("stable").unwrap();
        let weights = self.deployer.capabilities().weights;
        let placement = if weights { Placement::Beside } else { AT_ONCE };
        let start = converge(&stable.id, placement);
        let started = change(&*self.deployer, &service, start, Some(&stable)).await;
        started.unwrap();
        until(&*self.deployer, &service, "the stable release", |seen| {
            seen.is_ready(&stable.id)
        })
        .await;
        if weights {
            let all = Share {
                release: stable.id.clone(),
                weight: Weight::ALL,
            };
            let shift = Change::Weights { shares: vec![all] };
            change(&*self.deployer, &service, shift, None)
                .await
                .unwrap();
        }
        Ground { service, stable }
    }

    async fn release(&self, _: &Ground, kind: ReleaseKind) -> Release {
        let mut definition = self.definition();
        let definition = match kind {
            ReleaseKind::Good => definition,
            ReleaseKind::NeverReady => {
                let probe = [rollback_specimen::PATH, "probe"];
                definition
                    .env("READY_AFTER", "never")
                    .health(probe, Duration::from_millis(500), 2)
            }
            ReleaseKind::Exits => definition.env("EXIT_AFTER", "50"),
            ReleaseKind::Missing => {
                definition.image = format!("sha256:{}", "0".repeat(64));
                definition
            }
            other => panic!("the suite asks for {other:?}"),
        };
        definition.release("candidate").unwrap()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn now(&self) -> Timestamp {
        now()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(15)
    }

    fn pace(&self) -> Duration {
        Duration::from_millis(100)
    }

    async fn end(&self, ground: Ground) {
        self.broom.stop_service(&ground.service).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_keep_the_promises_of_a_deployer() {
    let containers = Containers::new(2, false, |deployer| Arc::new(deployer)).await;
    // Weights, of which there are four cases, and rolling back by itself.
    containers.keeps_its_promises(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_traffic_switch_they_keep_all_promises_about_weights() {
    let join = |deployer| -> Arc<dyn Deployer> {
        Arc::new(WithTraffic::new(deployer, Switch::default()).tagged())
    };
    let containers = Containers::new(1, true, join).await;
    // Replacing in place, at any pace, and rolling back by itself.
    containers.keeps_its_promises(5).await;
}
