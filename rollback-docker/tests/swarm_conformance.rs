//! The deployer's conformance suite against a real swarm.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rollback_core::{
    model::{Release, ServiceId, Timestamp},
    ports::Deployer,
};
use rollback_docker::{SwarmDefinition, SwarmDeployer};
use rollback_testkit::conformance::{self, DeployerHarness, Ground, ReleaseKind};
use serde_json::json;
use support::swarm::Yard;
use tokio::task::JoinHandle;

/// So many services are started before they are needed.
const AHEAD: usize = 2;

struct Swarm {
    yard: Arc<Yard>,
    deployer: Arc<SwarmDeployer>,
    releases: AtomicU32,
    /// Services that are on their way, so that no case waits for its own.
    coming: Mutex<VecDeque<JoinHandle<ServiceId>>>,
}

impl Swarm {
    async fn open(what: &str) -> Self {
        let yard = Arc::new(Yard::open(what).await);
        let deployer = Arc::new(SwarmDeployer::new(yard.engine.clone()));
        let swarm = Self {
            yard,
            deployer,
            releases: AtomicU32::new(0),
            coming: Mutex::default(),
        };
        for _ in 0..AHEAD {
            swarm.start_one();
        }
        swarm
    }

    fn start_one(&self) {
        let (yard, count) = (Arc::clone(&self.yard), self.count());
        let start = async move {
            let template = yard.template(&[&count]);
            yard.service(&count.replace('=', "-"), template, &json!({}))
                .await
        };
        self.coming.lock().unwrap().push_back(tokio::spawn(start));
    }

    /// Runs the suite, and leaves nothing behind.
    async fn keeps_its_promises(self, skipped: usize) {
        let report = conformance::deployer(&self).await;
        for coming in self.coming.into_inner().unwrap() {
            coming.await.unwrap();
        }
        self.yard.close().await;
        println!("{report}");
        report.assert_passed();
        assert_eq!(report.cases().len() - report.passed(), skipped, "{report}");
    }

    fn count(&self) -> String {
        let count = self.releases.fetch_add(1, Ordering::Relaxed);
        format!("COUNT={count}")
    }
}

#[async_trait]
impl DeployerHarness for Swarm {
    fn deployer(&self) -> Arc<dyn Deployer> {
        self.deployer.clone()
    }

    /// The next of the services that were started ahead, whatever its name.
    async fn begin(&self, _: &str) -> Ground {
        self.start_one();
        let next = self.coming.lock().unwrap().pop_front();
        let service = next.unwrap().await.unwrap();
        let ready = async {
            loop {
                let seen = self.deployer.observe(&service).await.unwrap();
                if seen.wanted.main().is_some_and(|main| seen.is_ready(main)) {
                    return;
                }
                self.pass(self.pace()).await;
            }
        };
        tokio::time::timeout(self.patience(), ready).await.unwrap();
        let stable = self.deployer.running(&service).await.unwrap();
        Ground { service, stable }
    }

    async fn release(&self, ground: &Ground, kind: ReleaseKind) -> Release {
        let count = self.count();
        let env = match kind {
            ReleaseKind::Good => vec![count.as_str()],
            ReleaseKind::NeverReady => vec![&count, "READY_AFTER=never"],
            ReleaseKind::Exits => vec![&count, "EXIT_AFTER=100"],
            ReleaseKind::Missing => {
                let mut template = self.yard.template(&[&count]);
                template["ContainerSpec"]["Image"] = json!("was-never-built:1");
                let digest = format!("sha256:{}", "0".repeat(64));
                let missing = json!({"template": template, "content": digest});
                let missing: SwarmDefinition = serde_json::from_value(missing).unwrap();
                return missing.release().unwrap();
            }
            other => panic!("the suite asks for {other:?}"),
        };
        let service = &ground.service;
        self.yard.release(&self.deployer, service, &env).await
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_millis(since.as_millis().try_into().unwrap())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn pace(&self) -> Duration {
        Duration::from_millis(100)
    }

    async fn end(&self, ground: Ground) {
        self.yard.remove(&ground.service).await;
    }
}

#[tokio::test]
async fn services_keep_the_promises_of_a_deployer() {
    let swarm = Swarm::open("swarm").await;
    // Two arms, of which there are three cases, weights (four), and rolling back by itself.
    swarm.keeps_its_promises(8).await;
}
