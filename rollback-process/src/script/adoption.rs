//! What ran before there was a deployer, and where a person finds what a change printed.

use std::path::PathBuf;

use rollback_core::model::{ChangeError, ChangeId, Release, ServiceId, Wanted};

use super::{
    change::Desk,
    contract::Meaning,
    deployer::ScriptDeployer,
    release::ScriptRelease,
    state::{ArmProgress, ArmRecord},
};
use crate::{deployer::blocking, files::file_name, instance::now};

impl ScriptDeployer {
    /// Says that `release` runs now, since before there was a deployer or because somebody else
    /// deployed it, for a script that cannot say what runs (`status`). What is deployed next replaces
    /// it, and `rollback` brings it back. Nothing is run.
    ///
    /// # Errors
    /// A change is under way or in doubt; the release's definition is not a [`ScriptRelease`]; the
    /// state directory cannot be written.
    pub async fn adopt(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        ScriptRelease::from_release(release).map_err(ChangeError::refused)?;
        let (desk, release) = (self.desk(service)?, release.clone());
        blocking(move || desk.adopt(&release)).await
    }

    /// The file with what a change printed, once it has begun.
    ///
    /// # Errors
    /// The state directory cannot be made.
    pub fn output_of(&self, service: &ServiceId, id: &ChangeId) -> Result<PathBuf, ChangeError> {
        let runs = self.desk(service)?.dir.runs();
        Ok(runs.join(file_name(&id.to_string())).join("log"))
    }
}

impl Desk {
    fn adopt(&self, release: &Release) -> Result<(), ChangeError> {
        let _lock = self.dir.lock()?;
        let mut state = self.dir.state()?;
        if state.wanted == Wanted::only(release.id.clone()) {
            return Ok(());
        }
        let change = state.change.as_ref();
        if change.is_some_and(|begun| matches!(begun.end, None | Some(Meaning::InDoubt(_)))) {
            return Err(ChangeError::not_sent("a change is under way or in doubt"));
        }
        self.dir.keep_definition(&release.id, &release.definition)?;
        let arm = ArmRecord {
            since: now(),
            state: ArmProgress::Deployed,
            run: String::new(),
        };
        state.replaced = state.wanted.main().cloned();
        state.arms = [(release.id.clone(), arm)].into();
        state.change = None;
        state.wanted = Wanted::only(release.id.clone());
        state.serving = state.wanted.clone();
        state.newest = Some(release.id.clone());
        state.revision += 1;
        Ok(self.dir.keep(&state)?)
    }
}
