//! Which service is meant, by name, policy or journal.

use std::{fs, path::Path};

use rollback::{
    model::ServiceId,
    policy::{Policy, PolicyError},
    store,
};

use crate::{
    archive,
    cli::{At, Guarded},
    exit::{Fallible, Trouble},
    place::Place,
    settings::Settings,
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
    /// The place and the settings that the arguments mean.
    pub(crate) fn settings(&self, at: &At) -> Fallible<(Place, Settings)> {
        let policy = match &self.policy {
            Some(path) => Some(read_policy(path)?),
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
        let settings = Settings {
            policy,
            metrics_url: self.metrics_url.clone(),
            directory,
        };
        Ok((place, settings))
    }
}

/// A policy from a file, YAML or JSON.
pub(crate) fn read_policy(path: &Path) -> Fallible<Policy> {
    let text = fs::read_to_string(path).map_err(|why| {
        Trouble::asked(format!(
            "policy {}: {why}; check the path and its permissions",
            path.display()
        ))
    })?;
    let json = path.extension().is_some_and(|end| end == "json");
    let read = if json {
        Policy::from_json(&text)
    } else {
        Policy::from_yaml(&text)
    };
    read.map_err(|why: PolicyError| Trouble::asked(format!("policy {}: {why}", path.display())))
}

/// A service that nobody named is called like the folder.
fn named_after(directory: &Path) -> Fallible<ServiceId> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    ServiceId::new(&*name).map_err(|why| Trouble::asked(format!("{why}; give --service NAME")))
}
