//! The deployer's conformance suite against real processes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rollback::WithTraffic;
use rollback_core::{
    model::{
        Change, ChangeId, ChangeRequest, DeploymentId, Expectation, Pace, Placement, Release,
        ServiceId, Share, Timestamp, Weight,
    },
    ports::Deployer,
};
use rollback_process::{HealthCheck, PortPlan, ProcessDefinition, ProcessDeployer, Restart};
use rollback_testkit::{
    conformance::{self, DeployerHarness, Ground, ReleaseKind},
    platform::InMemoryShifter,
};
use support::{example, processes};
use tempfile::TempDir;

struct Processes {
    dir: TempDir,
    deployer: Arc<dyn Deployer>,
    /// The same state directory, to put things away.
    broom: ProcessDeployer,
    releases: AtomicU32,
}

impl Processes {
    fn new(join: impl FnOnce(ProcessDeployer) -> Arc<dyn Deployer>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = || ProcessDeployer::open(dir.path().join("state")).unwrap();
        Self {
            deployer: join(open()),
            broom: open(),
            dir,
            releases: AtomicU32::new(0),
        }
    }

    async fn change(&self, service: &ServiceId, change: Change, release: Option<&Release>) {
        let seen = self.deployer.observe(service).await.unwrap();
        let id = ChangeId {
            deployment: DeploymentId::new("begin").unwrap(),
            step: 0,
            attempt: 1,
        };
        let expect = Expectation {
            wanted: seen.wanted,
            etag: seen.etag,
        };
        let request = ChangeRequest::new(id, change, expect, Timestamp::from_millis(i64::MAX))
            .with_definition(release.map(|release| release.definition.clone()));
        self.deployer.apply(service, &request).await.unwrap();
    }

    /// Runs the suite, and finds nothing left behind.
    async fn keeps_its_promises(self, skipped: usize) {
        let report = conformance::deployer(&self).await;
        println!("{report}");
        report.assert_passed();
        assert_eq!(report.cases().len() - report.passed(), skipped, "{report}");
        let left = processes(self.dir.path());
        assert!(left.is_empty(), "orphaned: {left:?}");
    }

    fn definition(&self) -> ProcessDefinition {
        let count = self.releases.fetch_add(1, Ordering::Relaxed);
        ProcessDefinition::new(example("hello"))
            .env("BENCH", self.dir.path().to_string_lossy())
            .env("COUNT", count.to_string())
            .port(PortPlan::Any)
            .health(HealthCheck::http("/").every(Duration::from_millis(50)))
            .stop_grace(Duration::from_secs(2))
            .restart(Restart::new(
                Duration::from_millis(50),
                Duration::from_millis(200),
            ))
    }
}

#[async_trait]
impl DeployerHarness for Processes {
    fn deployer(&self) -> Arc<dyn Deployer> {
        Arc::clone(&self.deployer)
    }

    async fn begin(&self, name: &str) -> Ground {
        let service = ServiceId::new(name).unwrap();
        let stable = self.definition().release("stable").unwrap();
        let release = || stable.id.clone();
        let weights = self.deployer.capabilities().weights;
        let placement = if weights {
            Placement::Beside
        } else {
            Placement::InPlace(Pace::AtOnce)
        };
        self.change(
            &service,
            Change::Converge {
                release: release(),
                placement,
            },
            Some(&stable),
        )
        .await;
        let ready = async {
            while !self
                .deployer
                .observe(&service)
                .await
                .unwrap()
                .is_ready(&stable.id)
            {
                self.pass(self.pace()).await;
            }
        };
        tokio::time::timeout(self.patience(), ready).await.unwrap();
        if weights {
            let all = Share {
                release: release(),
                weight: Weight::ALL,
            };
            self.change(&service, Change::Weights { shares: vec![all] }, None)
                .await;
        }
        Ground { service, stable }
    }

    async fn release(&self, _: &Ground, kind: ReleaseKind) -> Release {
        let mut definition = self.definition();
        let definition = match kind {
            ReleaseKind::Good => definition,
            ReleaseKind::NeverReady => definition.env("ANSWER", "503 Not yet"),
            ReleaseKind::Exits => {
                definition.program = "/bin/sh".into();
                definition.args(["-c", "exit 3"])
            }
            ReleaseKind::Missing => {
                let copy = self.dir.path().join("copy");
                fs::copy(example("hello"), &copy).unwrap();
                definition.program.clone_from(&copy);
                let release = definition.release("missing").unwrap();
                fs::remove_file(copy).unwrap();
                return release;
            }
            other => panic!("the suite asks for {other:?}"),
        };
        definition.release("candidate").unwrap()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_millis(since.as_millis().try_into().unwrap())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn pace(&self) -> Duration {
        Duration::from_millis(25)
    }

    async fn end(&self, ground: Ground) {
        self.broom.stop_service(&ground.service).await.unwrap();
    }
}

#[tokio::test]
async fn processes_keep_the_promises_of_a_deployer() {
    let processes = Processes::new(|deployer| Arc::new(deployer));
    // Weights, of which there are four cases, and rolling back by itself.
    processes.keeps_its_promises(5).await;
}

#[tokio::test]
async fn with_a_traffic_switch_they_keep_all_promises_about_weights() {
    let processes = Processes::new(|deployer| {
        Arc::new(WithTraffic::new(deployer, InMemoryShifter::default()).tagged())
    });
    // Replacing in place, at any pace, and rolling back by itself.
    processes.keeps_its_promises(5).await;
}
