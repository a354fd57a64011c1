//! Which service is meant, by name, policy or journal.

use std::{collections::BTreeMap, fs, path::Path};

use rollback::{
    dialect::{Dialect, Fate, TranslateOptions},
    model::ServiceId,
    policy::{Policy, PolicyError, Strategy},
    store,
};

use crate::{
    archive,
    cli::{At, Guarded},
    exit::{Fallible, Trouble},
    place::Place,
    settings::Settings,
    watching::VERIFY,
};

impl At {
    /// The place of a service that has a journal: the named one, or the only one in it.
    pub(crate) fn known(&self) -> Fallible<Place> {
        if let Some(service) = &self.service {
            return Place::new(&self.journal, service.clone());
        }
        archive::must_exist(&self.journal)?;
        let mut services = store::services(&self.journal).map_err(Trouble::broke)?;
        match (services.pop(), services.len()) {
            (Some(only), 0) => Place::new(&self.journal, only),
            (None, _) => Err(Trouble::asked(format!(
                "{} has no service yet: deploy with `guard run`",
                self.journal.display()
            ))),
            (Some(last), _) => {
                services.push(last);
                let names: Vec<&str> = services.iter().map(ServiceId::as_str).collect();
                Err(Trouble::asked(format!(
                    "{} has several services: say which with --service ({})",
                    self.journal.display(),
                    names.join(", ")
                )))
            }
        }
    }
}

impl Guarded {
    /// Where the service answers.
    pub(crate) fn address(&self) -> Option<String> {
        let given = self.address.clone();
        given.or_else(|| address_of(self.watching.health_url.as_deref()?))
    }

    /// The place and the settings that the arguments mean.
    pub(crate) fn settings(&self, at: &At) -> Fallible<(Place, Settings)> {
        let policy = match &self.policy {
            Some(path) => Some(read_policy(path, self.dialect)?),
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
        let settings = Settings {
            tasks,
            policy,
            metrics_url: self.metrics_url.clone(),
            directory,
        };
        Ok((place, settings))
    }
}

/// A policy from a file: native, YAML or JSON, or in a dialect, whose keys are told.
fn read_policy(path: &Path, dialect: Option<Dialect>) -> Fallible<Policy> {
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
        let mut policy = translation.policy;
        // The dialects say nothing of it, or of platforms that scripts are not.
        if policy.strategy == Strategy::blue_green() {
            eprintln!("policy {name}: `strategy: recreate`, since a script replaces what runs");
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
    read.map_err(wrong)
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
