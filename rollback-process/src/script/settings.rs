//! What a script understands, and what it is given.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
    time::Duration,
};

use rollback_core::{model::Secret, ports::Capabilities};

use super::{contract::Verb, release::ScriptRelease};
use crate::definition::EnvValue;

/// What a script inherits of the controller's environment.
pub(super) const INHERITED: [&str; 7] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "SHELL"];

/// The script with what it understands.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) program: PathBuf,
    pub(super) working_dir: PathBuf,
    pub(super) verbs: BTreeSet<Verb>,
    pub(super) compares_etag: bool,
    pub(super) rolls: bool,
    pub(super) stops_first: bool,
    pub(super) ends_what_runs: bool,
    pub(super) time_out: Duration,
    pub(super) accepted_after: Duration,
    pub(super) settle: Duration,
    pub(super) passed: BTreeSet<String>,
    pub(super) all_passed: bool,
    pub(super) env: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, Secret<String>>,
}

impl Settings {
    pub(super) fn new(program: PathBuf, working_dir: PathBuf) -> Self {
        Self {
            program,
            working_dir,
            verbs: BTreeSet::from([Verb::Deploy, Verb::Rollback]),
            compares_etag: false,
            rolls: false,
            stops_first: false,
            ends_what_runs: false,
            time_out: Duration::from_secs(600),
            accepted_after: Duration::from_secs(3),
            settle: Duration::ZERO,
            passed: BTreeSet::new(),
            all_passed: false,
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    pub(super) fn can(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::least(self.settle).with_tags();
        if self.can(Verb::UpdateTraffic) {
            can = can.with_two_arms().with_weights();
        }
        if self.rolls {
            can = can.with_rolling();
        }
        if self.stops_first {
            can = can.with_stop_first();
        }
        if self.can(Verb::Status) && self.compares_etag {
            can = can.with_compare_and_set();
        }
        can
    }

    pub(super) fn secrets(&self) -> Vec<Secret<String>> {
        self.secrets.values().cloned().collect()
    }

    /// The environment for a release (none: for a question about all), without the change's own.
    pub(super) fn environment(
        &self,
        release: Option<&ScriptRelease>,
    ) -> Result<Vec<(OsString, OsString)>, String> {
        let mut env: BTreeMap<OsString, OsString> = std::env::vars_os()
            .filter(|(name, _)| {
                let name = name.to_str();
                self.all_passed
                    || name
                        .is_some_and(|name| INHERITED.contains(&name) || self.passed.contains(name))
            })
            .collect();
        env.extend(
            self.env
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        if let Some(release) = release {
            env.insert("RELEASE_NAME".into(), (&release.name).into());
            env.insert("ARTEFACT".into(), (&release.artefact).into());
            if let Some(commit) = &release.commit {
                env.insert("COMMIT".into(), commit.into());
            }
            for (name, value) in &release.env {
                let value = match value {
                    EnvValue::Plain(text) => text,
                    EnvValue::Secret { secret } => match self.secrets.get(secret) {
                        Some(value) => value.expose(),
                        None => {
                            return Err(format!(
                                "the secret `{secret}` was not given to this deployer; give it with `.secret(\"{secret}\", …)`"
                            ));
                        }
                    },
                };
                env.insert(name.into(), value.into());
            }
        }
        Ok(env.into_iter().collect())
    }

    /// Text without the secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in self.secrets.values().map(Secret::expose) {
            if !secret.is_empty() {
                clean = clean.replace(secret.as_str(), "***");
            }
        }
        clean
    }
}
