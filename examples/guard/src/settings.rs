//! What a controller has to know besides its journal; kept beside it, so that another process can
//! go on with a deployment.

use std::{collections::BTreeMap, fs, path::PathBuf};

use rollback::{
    Controller, ControllerBuilder, StartError,
    policy::Policy,
    process::ScriptTask,
    sources::{HttpHealth, Limits, PrometheusText, SourceError},
    store::SqliteJournal,
};
use serde::{Deserialize, Serialize};

use crate::{
    exit::{Fallible, Trouble},
    place::Place,
    script::Scripts,
};

/// Of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// What is watched and what follows.
    pub(crate) policy: Policy,
    /// Where metrics without a source are scraped, if not by health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metrics_url: Option<String>,
    /// Where the scripts run.
    pub(crate) directory: PathBuf,
    /// The policy's tasks, each a command for `sh -c`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tasks: BTreeMap<String, String>,
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

    /// The controller of these settings, not started.
    pub(crate) fn builder(&self, place: &Place) -> Fallible<ControllerBuilder> {
        place.prepare()?;
        if let Some(folder) = place.journal.parent() {
            crate::place::private_folder(folder)?;
        }
        let store = SqliteJournal::open(&place.journal).map_err(Trouble::broke)?;
        let scripts = Scripts::open(&place.scripts())
            .map_err(|why| Trouble::broke(format!("{}: {why}", place.scripts().display())))?;
        let health = || HttpHealth::new(Limits::default());
        let sources = |builder: ControllerBuilder| -> Result<ControllerBuilder, SourceError> {
            let builder = builder.metrics_named("health", health()?);
            Ok(match &self.metrics_url {
                Some(url) => {
                    let scraped = PrometheusText::at(url.clone(), Limits::default())?;
                    builder
                        .metrics_named("metrics", scraped.clone())
                        .metrics(scraped)
                }
                None => builder.metrics(health()?),
            })
        };
        let mut builder = Controller::builder(place.service.as_str())
            .policy(self.policy.clone())
            .deployer(scripts)
            .store(store);
        for (name, command) in &self.tasks {
            let task = ScriptTask::open(place.task(name), "sh").map_err(Trouble::broke)?;
            let task = task
                .args(["-c", command.as_str()])
                .working_dir(&self.directory);
            builder = builder.task(name, task);
        }
        sources(builder).map_err(Trouble::asked)
    }

    /// The started controller.
    pub(crate) async fn start(&self, place: &Place) -> Fallible<Controller> {
        let builder = self.builder(place)?;
        builder
            .start()
            .await
            .map_err(|error: StartError| error.into())
    }
}
