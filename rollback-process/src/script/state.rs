//! What a script cannot be asked, the deployer keeps: what was asked, what came of it.
//!
//! ```text
//! <root>/<service>/
//!   script.lock       held for the moment of a change, and while a script is started
//!   script.json       what is wanted, what was done, the last change
//!   definitions/ID.json
//!   runs/CHANGE/      one folder per change
//! ```

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, TryLockError},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rollback_core::model::{
    Change, ChangeId, Definition, DeploymentId, ReleaseId, ServiceId, Timestamp, Wanted,
};
use serde::{Deserialize, Serialize};

use super::{
    contract::{Meaning, Verb},
    run::Run,
};
use crate::files::{Durable, SCHEMA, StateError, failed, file_name, lock_file, read, replace};

/// Longest wait for another controller to finish its change.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The folder of one service.
#[derive(Debug, Clone)]
pub(crate) struct ScriptDir {
    path: PathBuf,
}

/// What was asked of the script, and what came of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct ScriptState {
    pub(crate) schema: u32,
    /// Grows with each change.
    pub(crate) revision: u64,
    /// What the script was told to run.
    pub(crate) wanted: Wanted,
    /// The traffic as far as scripts said that it is so.
    pub(crate) serving: Wanted,
    pub(crate) arms: BTreeMap<ReleaseId, ArmRecord>,
    /// The release deployed last, and the one that it replaced: what `rollback` brings back.
    pub(crate) newest: Option<ReleaseId>,
    pub(crate) replaced: Option<ReleaseId>,
    pub(crate) stages: Stages,
    /// The last change that was begun.
    pub(crate) change: Option<Begun>,
}

/// What is known of a release that was deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ArmRecord {
    pub(crate) since: Timestamp,
    pub(crate) state: ArmProgress,
    /// The run that deployed it last.
    pub(crate) run: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ArmProgress {
    Deploying,
    Deployed,
    Failed { why: String },
}

/// A change that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) id: ChangeId,
    pub(crate) change: Change,
    pub(crate) verb: VerbRecord,
    /// The folder of its run.
    pub(crate) run: String,
    /// What was wanted before: what is wanted again if it was refused.
    pub(crate) before: Wanted,
    /// The caller was told that it is taken.
    pub(crate) accepted: bool,
    pub(crate) end: Option<Meaning>,
}

/// The verbs that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VerbRecord {
    Deploy,
    Rollback,
    UpdateTraffic,
    Retire,
}

/// Which stage of a deployment an `update-traffic` is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Stages {
    deployment: Option<DeploymentId>,
    steps: Vec<u32>,
}

impl Stages {
    /// The stage of a change: 1 for the first of its deployment, the same for another attempt.
    pub(crate) fn of(&mut self, id: &ChangeId) -> usize {
        if self.deployment.as_ref() != Some(&id.deployment) {
            self.deployment = Some(id.deployment.clone());
            self.steps.clear();
        }
        if let Some(known) = self.steps.iter().position(|step| *step == id.step) {
            return known + 1;
        }
        self.steps.push(id.step);
        self.steps.len()
    }
}

impl VerbRecord {
    pub(crate) fn word(self) -> &'static str {
        Verb::from(self).word()
    }
}

impl From<VerbRecord> for Verb {
    fn from(verb: VerbRecord) -> Self {
        match verb {
            VerbRecord::Deploy => Self::Deploy,
            VerbRecord::Rollback => Self::Rollback,
            VerbRecord::UpdateTraffic => Self::UpdateTraffic,
            VerbRecord::Retire => Self::Retire,
        }
    }
}

impl ScriptState {
    /// The verb that brings a release into production.
    pub(crate) fn verb_for(&self, release: &ReleaseId) -> VerbRecord {
        if self.replaced.as_ref() == Some(release) {
            VerbRecord::Rollback
        } else {
            VerbRecord::Deploy
        }
    }

    /// The change whose end is not known, and why.
    pub(crate) fn doubt(&self) -> Option<(&Begun, &str)> {
        let begun = self.change.as_ref()?;
        match &begun.end {
            Some(Meaning::InDoubt(why)) => Some((begun, why)),
            _ => None,
        }
    }
}

impl ScriptDir {
    /// Opens or makes the folder of `service`, for its owner alone.
    pub(crate) fn open(root: &Path, service: &ServiceId) -> Result<Self, StateError> {
        let path = root.join(file_name(service.as_str()));
        for dir in [path.clone(), path.join("definitions"), path.join("runs")] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(failed("create the folder", &dir))?;
        }
        Ok(Self { path })
    }

    pub(crate) fn exists(root: &Path, service: &ServiceId) -> bool {
        root.join(file_name(service.as_str())).is_dir()
    }

    pub(crate) fn state(&self) -> Result<ScriptState, StateError> {
        Ok(read(&self.path.join("script.json"))?.unwrap_or_default())
    }

    pub(crate) fn keep(&self, state: &ScriptState) -> Result<(), StateError> {
        replace(&self.path.join("script.json"), state, Durable::Yes)
    }

    /// The right to change the state, until the returned file is closed. A script that was forked
    /// and does not run yet holds it too, so whoever has it finds every script by its marker.
    pub(crate) fn lock(&self) -> Result<File, StateError> {
        let path = self.path.join("script.lock");
        let lock = lock_file(&path)?;
        let since = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
                Err(TryLockError::WouldBlock) if since.elapsed() > LOCK_PATIENCE => {
                    return Err(StateError::Locked(path));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    pub(crate) fn run(&self, name: &str) -> Run {
        Run::at(self.runs().join(name))
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.path.join("runs")
    }

    pub(crate) fn definition(&self, id: &ReleaseId) -> Result<Option<Definition>, StateError> {
        #[derive(Deserialize)]
        struct Kept {
            definition: Definition,
        }
        Ok(read::<Kept>(&self.definition_path(id))?.map(|kept| kept.definition))
    }

    pub(crate) fn keep_definition(
        &self,
        id: &ReleaseId,
        definition: &Definition,
    ) -> Result<(), StateError> {
        #[derive(Serialize)]
        struct Kept<'a> {
            schema: u32,
            definition: &'a Definition,
        }
        let kept = Kept {
            schema: SCHEMA,
            definition,
        };
        replace(&self.definition_path(id), &kept, Durable::Yes)
    }

    fn definition_path(&self, id: &ReleaseId) -> PathBuf {
        self.path
            .join("definitions")
            .join(format!("{}.json", file_name(id.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_attempt_is_the_same_stage() {
        let id = |deployment: &str, step, attempt| ChangeId {
            deployment: DeploymentId::new(deployment).unwrap(),
            step,
            attempt,
        };
        let mut stages = Stages::default();
        let of = |id: ChangeId, stages: &mut Stages| stages.of(&id);
        assert_eq!(of(id("d1", 3, 1), &mut stages), 1);
        assert_eq!(of(id("d1", 3, 2), &mut stages), 1);
        assert_eq!(of(id("d1", 5, 1), &mut stages), 2);
        assert_eq!(of(id("d2", 3, 1), &mut stages), 1);
    }
}
