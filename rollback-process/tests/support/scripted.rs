//! A script deployer on a directory of its own, and the platform behind its script.

use std::{cell::Cell, fs, path::PathBuf, time::Duration};

use rollback_core::{
    model::{
        Accepted, ArmState, Change, ChangeError, ChangeId, ChangeRequest, DeploymentId,
        Expectation, Observation, Pace, Placement, Release, ServiceId, Share, Timestamp, Weight,
    },
    ports::Deployer as _,
};
use rollback_process::{ScriptDeployer, ScriptRelease};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{platform_script, processes};

pub(crate) const IN_PLACE: Placement = Placement::InPlace(Pace::AtOnce);

pub(crate) struct Scripted {
    pub(crate) dir: TempDir,
    pub(crate) deployer: ScriptDeployer,
    pub(crate) service: ServiceId,
    step: Cell<u32>,
}

impl Scripted {
    pub(crate) fn new(extend: impl FnOnce(ScriptDeployer) -> ScriptDeployer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut scripted = Self {
            deployer: ScriptDeployer::open(dir.path(), "true").unwrap(),
            dir,
            service: ServiceId::new("shop").unwrap(),
            step: Cell::new(0),
        };
        scripted.reopen(extend);
        scripted
    }

    /// Another controller with the same state directory.
    pub(crate) fn reopen(&mut self, extend: impl FnOnce(ScriptDeployer) -> ScriptDeployer) {
        let deployer = ScriptDeployer::open(self.dir.path().join("state"), platform_script())
            .unwrap()
            .env(
                "PLATFORM",
                self.dir.path().join("platform").to_string_lossy(),
            )
            .env("BENCH", self.dir.path().to_string_lossy())
            .accepted_after(Duration::from_secs(1));
        self.deployer = extend(deployer);
    }

    /// A file of the platform.
    pub(crate) fn platform(&self, name: &str) -> PathBuf {
        self.dir.path().join("platform/shop").join(name)
    }

    /// The calls so far: verb, arguments, variables.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.platform("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn look(&self) -> Result<Observation, ChangeError> {
        self.deployer.observe(&self.service).await
    }

    pub(crate) async fn request(&self, change: Change, release: Option<&Release>) -> ChangeRequest {
        let seen = self.look().await.unwrap();
        self.step.set(self.step.get() + 1);
        let id = ChangeId {
            deployment: DeploymentId::new("d1").unwrap(),
            step: self.step.get(),
            attempt: 1,
        };
        let expect = Expectation {
            wanted: seen.wanted,
            etag: seen.etag,
        };
        ChangeRequest::new(id, change, expect, Timestamp::from_millis(i64::MAX))
            .with_definition(release.map(|release| release.definition.clone()))
    }

    pub(crate) async fn send(&self, request: &ChangeRequest) -> Result<Accepted, ChangeError> {
        self.deployer.apply(&self.service, request).await
    }

    pub(crate) async fn converge(
        &self,
        release: &Release,
        placement: Placement,
    ) -> Result<Accepted, ChangeError> {
        let change = Change::Converge {
            release: release.id.clone(),
            placement,
        };
        let request = self.request(change, Some(release)).await;
        self.send(&request).await
    }

    pub(crate) async fn shift(&self, shares: &[(&Release, u16)]) -> Result<Accepted, ChangeError> {
        let shares = shares.iter().map(|(release, points)| Share {
            release: release.id.clone(),
            weight: Weight::from_basis_points(*points).unwrap(),
        });
        let change = Change::Weights {
            shares: shares.collect(),
        };
        let request = self.request(change, None).await;
        self.send(&request).await
    }

    pub(crate) async fn state(&self, release: &Release) -> Option<ArmState> {
        let seen = self.look().await.unwrap();
        seen.arm(&release.id).map(|arm| arm.state.clone())
    }

    /// Looks until the release is so.
    pub(crate) async fn until(
        &self,
        release: &Release,
        is_so: impl Fn(&ArmState) -> bool,
    ) -> ArmState {
        let looking = async {
            loop {
                if let Some(state) = self.state(release).await.filter(&is_so) {
                    return state;
                }
                let _ = timeout(
                    Duration::from_millis(20),
                    self.deployer.changed(&self.service),
                )
                .await;
            }
        };
        match timeout(Duration::from_secs(20), looking).await {
            Ok(state) => state,
            Err(_) => panic!("not so in 20 s; seen last: {:#?}", self.look().await),
        }
    }

    pub(crate) async fn said(&self, release: &Release) -> String {
        let words = self
            .deployer
            .last_words(&self.service, &release.id, 5)
            .await;
        words.join("\n")
    }
}

impl Drop for Scripted {
    /// A failed test leaves no processes behind.
    fn drop(&mut self) {
        for pid in processes(self.dir.path()) {
            let _ = std::process::Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status();
        }
    }
}

pub(crate) fn release(name: &str, mode: &str) -> Release {
    let definition = ScriptRelease::new(name, format!("shop:{name}"));
    let definition = match mode {
        "" => definition,
        mode => definition.env("MODE", mode),
    };
    definition.release().unwrap()
}

/// The deployer as it is.
pub(crate) fn plain(deployer: ScriptDeployer) -> ScriptDeployer {
    deployer
}

pub(crate) fn failing(state: &ArmState) -> bool {
    matches!(state, ArmState::Failing { .. })
}
