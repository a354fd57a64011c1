//! What is guarded and how: a policy or a few settings, scripts, sources, who is told.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use rollback::{
    dialect::{Dialect, Fate, KeyReport, TranslateOptions},
    model::ServiceId,
    policy::{Policy, PolicyError, Strategy},
};
use serde_json::Value;

use crate::{
    cli::{At, dialect, task},
    exit::{Fallible, Trouble},
    notices::Told,
    place::Place,
    rehearsal::faster,
    scripts::{self, Verb, VerbScript},
    settings::Settings,
    sources::Sources,
    watching::{VERIFY, Watching},
};

/// What to watch by: a policy, or a few settings.
#[derive(Debug, Clone, Args)]
pub(crate) struct Guarded {
    /// Watch by this policy instead of by the settings below
    #[arg(long, value_name = "FILE", env = "ROLLBACK_POLICY")]
    policy: Option<PathBuf>,
    /// In which form the policy is written [default: by its name, else the native one]
    #[arg(long, value_name = "DIALECT", value_parser = dialect, requires = "policy")]
    dialect: Option<Dialect>,
    /// Try the policy out, every wait and window of it so many times shorter (not deadlines, tasks, budgets)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1000), hide_short_help = true)]
    rehearse: Option<u32>,
    /// What runs as a task of the policy, for `sh -c`; once for each task
    #[arg(long = "task", value_name = "NAME=COMMAND", value_parser = task)]
    tasks: Vec<(String, String)>,
    /// Deploy by this script, called with `deploy`, `rollback` and what --verbs names, instead of by a COMMAND [env: DEPLOYMENT_SCRIPT]
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// What the script understands besides `deploy` and `rollback`; without it no more is asked of it
    #[arg(long, value_name = "VERBS", value_delimiter = ',')]
    verbs: Vec<Verb>,
    /// Where the service answers, for metrics that are read from its instances [default: that of --health-url]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    told: Told,
    #[command(flatten)]
    watching: Watching,
}

impl Guarded {
    /// Whether it says by what to watch.
    pub(crate) fn is_given(&self) -> bool {
        self.policy.is_some() || self.watching.health_url().is_some()
    }

    /// Where the service answers.
    pub(crate) fn address(&self) -> Option<String> {
        let given = self.address.clone();
        given.or_else(|| address_of(&self.watching.health_url()?))
    }

    /// The script that deploys; `command` if there is a deploy command.
    pub(crate) fn script(&self, command: bool) -> Fallible<Option<VerbScript>> {
        if command && self.script.is_some() {
            return Err(Trouble::asked(
                "give --script FILE or a deploy COMMAND, not both",
            ));
        }
        let named = || std::env::var_os("DEPLOYMENT_SCRIPT").map(PathBuf::from);
        let Some(file) = self.script.clone().or_else(|| named().filter(|_| !command)) else {
            return Ok(None);
        };
        let program = std::path::absolute(&file)
            .map_err(|why| Trouble::asked(format!("--script {}: {why}", file.display())))?;
        Ok(Some(VerbScript {
            program,
            verbs: self.verbs.clone(),
        }))
    }

    /// The place and the settings that the arguments mean; `command` if there is a deploy command.
    pub(crate) fn settings(&self, at: &At, command: bool) -> Fallible<(Place, Settings)> {
        let script = self.script(command)?;
        let policy = match &self.policy {
            Some(path) => Some(read_policy(path, self.dialect, script.as_ref())?),
            None => None,
        };
        let directory = std::env::current_dir()
            .map_err(|why| Trouble::broke(format!("the current folder: {why}")))?;
        let service = at
            .service
            .clone()
            .or_else(|| policy.as_ref()?.service.clone());
        let service = match service {
            Some(service) => service,
            None => named_after(&directory)?,
        };
        let policy = match policy {
            Some(policy) => policy,
            None => self.watching.policy(service.as_str())?,
        };
        if script.is_some()
            && let Some(why) = scripts::beyond(&policy, script.as_ref())
        {
            eprintln!("{why}");
        }
        let policy = match self.rehearse {
            Some(times) => {
                eprintln!(
                    "rehearsal: the policy runs {times} times faster; it proves nothing about a release"
                );
                faster(&policy, times)?
            }
            None => policy,
        };
        let place = Place::new(&at.journal, service)?;
        let mut tasks: BTreeMap<String, String> = self.tasks.iter().cloned().collect();
        if let Some(command) = &self.watching.verify_command {
            tasks.insert(VERIFY.to_owned(), command.clone());
        }
        for task in &policy.tasks {
            if !tasks.contains_key(&*task.name) {
                return Err(Trouble::asked(format!(
                    "the policy runs a task `{0}`: say what it is with --task {0}=COMMAND",
                    task.name
                )));
            }
        }
        let health_url = self.watching.health_url();
        let settings = Settings {
            tasks,
            policy,
            script,
            address: self.address(),
            sources: self.sources.clone().with_body_of(health_url.as_ref()),
            told: self.told.clone().within(&directory),
            directory,
        };
        Ok((place, settings))
    }
}

/// A policy from a file: native, YAML or JSON, or in a dialect, whose keys are told.
fn read_policy(
    path: &Path,
    dialect: Option<Dialect>,
    script: Option<&VerbScript>,
) -> Fallible<Policy> {
    let name = path.display().to_string();
    let wrong = |why: PolicyError| Trouble::asked(format!("policy {name}: {why}"));
    let text = fs::read_to_string(path).map_err(|why| {
        Trouble::asked(format!(
            "policy {name}: {why}; check the path and its permissions"
        ))
    })?;
    if let Some(dialect) = dialect.or_else(|| Dialect::of_file(&name)) {
        let read = dialect.translate(&text, &TranslateOptions::default());
        let translation = read.map_err(wrong)?;
        for line in &translation.lines {
            if matches!(line.fate, Fate::NotOurs { .. }) {
                eprintln!("policy {name}: {line}");
            }
        }
        let mut policy = of_the_whole(&translation.policy)?;
        let beside = script.is_some_and(|script| script.can(Verb::UpdateTraffic));
        // The dialects say nothing of it, or of platforms that commands are not.
        if policy.strategy == Strategy::blue_green() && !beside {
            eprintln!(
                "policy {name}: `strategy: recreate`, since a command replaces what runs; a --script that understands `update-traffic` can have both"
            );
            policy.strategy = Strategy::recreate();
        }
        return Ok(policy);
    }
    let json = path.extension().is_some_and(|end| end == "json");
    let read = if json {
        Policy::from_json(&text)
    } else {
        Policy::from_yaml(&text)
    };
    read.map_err(|why| match written_in(&text) {
        Some(dialect) => Trouble::asked(not_native(&name, dialect)),
        None => wrong(why),
    })
}

/// What to do about a policy in a dialect that nobody named.
pub(crate) fn not_native(name: &str, dialect: Dialect) -> String {
    format!(
        "policy {name}: it is not written in the native form; it reads well with --dialect {}",
        dialect.name()
    )
}

/// The dialect in which a text makes sense, if it does in one.
pub(crate) fn written_in(text: &str) -> Option<Dialect> {
    Dialect::ALL.into_iter().find(|dialect| {
        let read = dialect.translate(text, &TranslateOptions::default());
        // A text in which nothing means anything is not in that dialect.
        let ours = |line: &KeyReport| !matches!(line.fate, Fate::NotOurs { .. });
        read.is_ok_and(|read| read.lines.iter().any(ours))
    })
}

/// A page at one URL tells of the whole service, whatever instances there are.
fn of_the_whole(policy: &Policy) -> Fallible<Policy> {
    let mut written = serde_json::to_value(policy).map_err(Trouble::broke)?;
    let metrics = written.get_mut("metrics").and_then(Value::as_object_mut);
    for metric in metrics.into_iter().flat_map(|all| all.values_mut()) {
        let source = metric.get("source").and_then(Value::as_str);
        if matches!(source, Some("metrics" | "body")) {
            *metric.get_mut("per").unwrap_or(&mut Value::Null) = "service".into();
        }
    }
    Policy::from_json(&written.to_string()).map_err(Trouble::broke)
}

/// Host and port of a URL.
fn address_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let host = host.rsplit('@').next()?;
    if host.is_empty() {
        return None;
    }
    let port_at = host.rfind(']').unwrap_or(0);
    if host.get(port_at..)?.contains(':') {
        return Some(host.to_owned());
    }
    let port = if scheme == "https" { 443 } else { 80 };
    Some(format!("{host}:{port}"))
}

/// A service that nobody named is called like the folder.
fn named_after(directory: &Path) -> Fallible<ServiceId> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    ServiceId::new(&*name).map_err(|why| Trouble::asked(format!("{why}; give --service NAME")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_where_the_service_answers() {
        for (url, address) in [
            ("http://localhost:3001/health", Some("localhost:3001")),
            ("https://shop.example/health?x=1", Some("shop.example:443")),
            ("http://user:word@[::1]/", Some("[::1]:80")),
            ("localhost", None),
        ] {
            assert_eq!(address_of(url).as_deref(), address, "{url}");
        }
    }
}
