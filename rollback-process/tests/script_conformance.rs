//! The deployer's conformance suite against a real shell script.
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
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Change, ChangeId, ChangeRequest, DeploymentId, Expectation, Pace, Placement, Release,
        ServiceId, Share, Timestamp, Weight,
    },
    ports::Deployer,
};
use rollback_process::{ScriptDeployer, ScriptRelease};
use rollback_testkit::conformance::{self, DeployerHarness, Ground, ReleaseKind};
use support::{platform_script, processes};
use tempfile::TempDir;

struct Scripts {
    dir: TempDir,
    deployer: Arc<ScriptDeployer>,
    /// It says itself how its releases are.
    has_status: bool,
    count: AtomicU32,
}

impl Scripts {
    fn new(has_status: bool, extend: impl FnOnce(ScriptDeployer) -> ScriptDeployer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let deployer = ScriptDeployer::open(dir.path().join("state"), platform_script())
            .unwrap()
            .env("PLATFORM", dir.path().join("platform").to_string_lossy())
            .env("BENCH", dir.path().to_string_lossy())
            .accepted_after(Duration::from_millis(500))
            .with_check();
        Self {
            deployer: Arc::new(extend(deployer)),
            has_status,
            dir,
            count: AtomicU32::new(0),
        }
    }

    async fn change(&self, service: &ServiceId, change: Change, release: Option<&Release>) {
        let seen = self.deployer.observe(service).await.unwrap();
        let id = ChangeId {
            deployment: DeploymentId::new("begin").unwrap(),
            step: self.count.fetch_add(1, Ordering::Relaxed),
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

    fn definition(&self, artefact: &str) -> ScriptRelease {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        ScriptRelease::new(format!("v{count}"), artefact).env("COUNT", count.to_string())
    }

    /// Runs the suite, and finds nothing left behind.
    async fn keeps_its_promises(self, skipped: usize) {
        let report = conformance::deployer(&self).await;
        println!("{report}");
        report.assert_passed();
        assert_eq!(report.cases().len() - report.passed(), skipped, "{report}");
        let left = processes(self.dir.path());
        assert!(left.is_empty(), "still running: {left:?}");
    }
}

#[async_trait]
impl DeployerHarness for Scripts {
    fn deployer(&self) -> Arc<dyn Deployer> {
        Arc::clone(&self.deployer) as Arc<dyn Deployer>
    }

    async fn begin(&self, name: &str) -> Ground {
        let service = ServiceId::new(name).unwrap();
        let stable = self.definition("shop:1").release().unwrap();
        let weights = self.deployer.capabilities().weights;
        let placement = if weights {
            Placement::Beside
        } else {
            Placement::InPlace(Pace::AtOnce)
        };
        let release = stable.id.clone();
        let change = Change::Converge { release, placement };
        self.change(&service, change, Some(&stable)).await;
        if weights {
            let all = Share {
                release: stable.id.clone(),
                weight: Weight::ALL,
            };
            self.change(&service, Change::Weights { shares: vec![all] }, None)
                .await;
        }
        Ground { service, stable }
    }

    async fn release(&self, _: &Ground, kind: ReleaseKind) -> Release {
        let never = if self.has_status { "starting" } else { "hangs" };
        let definition = match kind {
            ReleaseKind::Good => self.definition("shop:2"),
            ReleaseKind::NeverReady => self.definition("shop:2").env("MODE", never),
            ReleaseKind::Exits => self.definition("shop:2").env("MODE", "exits"),
            ReleaseKind::Missing => self.definition("missing"),
            other => panic!("the suite asks for {other:?}"),
        };
        definition.release().unwrap()
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
        Duration::from_millis(50)
    }

    async fn end(&self, ground: Ground) {
        self.deployer.cancel(&ground.service).await.unwrap();
    }
}

#[tokio::test]
async fn a_script_with_two_verbs_keeps_the_promises_of_a_deployer() {
    // What needs two arms, weights, compare-and-set, a pace, or a platform that rolls back by itself.
    Scripts::new(false, |deployer| deployer)
        .keeps_its_promises(11)
        .await;
}

#[tokio::test]
async fn with_update_traffic_it_keeps_all_promises_about_weights() {
    let extend = |deployer: ScriptDeployer| deployer.with_update_traffic().with_retire();
    // Compare-and-set, paces, and rolling back by itself.
    Scripts::new(false, extend).keeps_its_promises(5).await;
}

#[tokio::test]
async fn with_a_status_that_has_marks_it_is_compare_and_set() {
    let extend = |deployer: ScriptDeployer| {
        deployer
            .with_update_traffic()
            .with_retire()
            .with_status()
            .compares_etag()
            .env("COMPARES", "yes")
    };
    // Paces, and rolling back by itself.
    Scripts::new(true, extend).keeps_its_promises(4).await;
}
