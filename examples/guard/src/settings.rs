//! What a controller has to know besides its journal; kept beside it, so that another process can
//! go on with a deployment.

use std::{collections::BTreeMap, fs, path::PathBuf};

use rollback::{
    Controller, StartError,
    policy::Policy,
    process::{ScriptDeployer, ScriptTask},
    store::SqliteJournal,
};
use serde::{Deserialize, Serialize};

use crate::{
    exit::{Fallible, Trouble},
    notices::Told,
    place::Place,
    scripts::{self, VerbScript},
    sources::Sources,
};

/// Of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// What is watched and what follows.
    pub(crate) policy: Policy,
    /// The policy's tasks, each a command for `sh -c`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tasks: BTreeMap<String, String>,
    /// The script that deploys; none if releases bring their commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) script: Option<VerbScript>,
    /// Where the service answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(default)]
    pub(crate) sources: Sources,
    #[serde(default)]
    pub(crate) told: Told,
    /// Where commands run.
    pub(crate) directory: PathBuf,
}

impl Settings {
    pub(crate) fn keep(&self, place: &Place) -> Fallible<()> {
        place.prepare()?;
        let path = place.settings();
        let failed = |why| Trouble::broke(format!("{}: {why}", path.display()));
        let text = serde_json::to_vec_pretty(self).map_err(Trouble::broke)?;
        let partial = path.with_extension("partial");
        fs::write(&partial, text).map_err(failed)?;
        fs::rename(&partial, &path).map_err(failed)
    }

    pub(crate) fn load(place: &Place) -> Fallible<Self> {
        let path = place.settings();
        let text = fs::read(&path).map_err(|_| {
            Trouble::asked(format!(
                "nothing is known of service {} of {}: deploy it with `guard run`, or give `guard serve` a --policy or a --health-url",
                place.service,
                place.journal.display()
            ))
        })?;
        serde_json::from_slice(&text)
            .map_err(|why| Trouble::broke(format!("{}: {why}", path.display())))
    }

    /// The scripts as a platform.
    pub(crate) fn deployer(&self, place: &Place) -> Fallible<ScriptDeployer> {
        scripts::open(place, self.script.as_ref(), &self.directory, &self.policy)
    }

    /// The started controller.
    pub(crate) async fn start(&self, place: &Place) -> Fallible<Controller> {
        place.prepare()?;
        if let Some(folder) = place.journal.parent() {
            crate::place::private_folder(folder)?;
        }
        let store = SqliteJournal::open(&place.journal).map_err(Trouble::broke)?;
        let deployer = self.deployer(place)?;
        let address = self.address.as_deref();
        scripts::adopt(place, &deployer, &store, address, &self.directory).await?;
        let mut builder = Controller::builder(place.service.as_str())
            .policy(self.policy.clone())
            .deployer(deployer)
            .store(store);
        for (name, command) in &self.tasks {
            builder = builder.task(name, self.task(place, name, command)?);
        }
        let builder = self.told.give(builder, &place.service, &self.directory)?;
        let builder = self.sources.give(builder).map_err(Trouble::asked)?;
        let started = builder.start().await;
        started.map_err(|error: StartError| error.into())
    }

    fn task(&self, place: &Place, name: &str, command: &str) -> Fallible<ScriptTask> {
        let task = ScriptTask::open(place.task(name), "sh").map_err(Trouble::broke)?;
        let task = task.args(["-c", command]).working_dir(&self.directory);
        // As deploy commands have it.
        let inherited = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Ok(inherited.fold(task, ScriptTask::pass_env))
    }
}
