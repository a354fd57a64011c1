//! A release as a script knows it: the name of an artefact and an environment.

use std::collections::BTreeMap;

use rollback_core::model::{Definition, Release, ReleaseId};
use serde::{Deserialize, Serialize};

use crate::{
    definition::{EnvValue, ReleaseError},
    program::sha256_of,
    validity::{DefinitionError, at},
};

/// Variables that the deployer sets itself.
pub(super) const RESERVED: [&str; 17] = [
    "RELEASE",
    "RELEASE_NAME",
    "PREVIOUS_RELEASE",
    "ARTEFACT",
    "COMMIT",
    "DEPLOYMENT_ID",
    "CHANGE_ID",
    "STAGE",
    "PERCENTAGE",
    "SERVICE",
    "PLACEMENT",
    "PACE",
    "MAX_UNAVAILABLE",
    "MAX_SURGE",
    "EXPECTED_ETAG",
    "ROLLBACK_INSTANCE",
    "ROLLBACK_RELEASE",
];

/// What a script deploys: an artefact by name, and variables of the release's own.
///
/// It holds the *names* of secrets, never their values: a definition is kept in the journal.
///
/// ```
/// use rollback_process::ScriptRelease;
///
/// let release = ScriptRelease::new("v42", "registry.example/shop@sha256:0f3a…")
///     .env("WORKERS", "4")
///     .secret_env("DATABASE_URL", "shop-database")
///     .release()?;
/// assert_eq!(&*release.name, "v42");
/// # Ok::<(), rollback_process::ReleaseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ScriptRelease {
    /// What people call it; `RELEASE_NAME`.
    pub name: String,
    /// What is deployed: an image, a file, a version; `ARTEFACT`. It must never mean something else.
    pub artefact: String,
    /// The commit that it is, for a deployer that [deploys from
    /// git](super::ScriptDeployer::in_worktrees_of); `COMMIT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Variables of this release.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Where it answers (`host:port`), for metrics that are read from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl ScriptRelease {
    /// A release of this name, which is this artefact.
    #[must_use]
    pub fn new(name: impl Into<String>, artefact: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            artefact: artefact.into(),
            commit: None,
            env: BTreeMap::new(),
            address: None,
        }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), EnvValue::Plain(value.into()));
        self
    }

    /// Sets a variable to the secret that the deployer knows as `secret`.
    #[must_use]
    pub fn secret_env(mut self, name: impl Into<String>, secret: impl Into<String>) -> Self {
        let secret = EnvValue::Secret {
            secret: secret.into(),
        };
        self.env.insert(name.into(), secret);
        self
    }

    /// Where it answers (`host:port`).
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Its commit.
    #[must_use]
    pub fn commit(mut self, commit: impl Into<String>) -> Self {
        self.commit = Some(commit.into());
        self
    }

    /// The release of this definition: its id is a digest over all of it.
    ///
    /// # Errors
    /// The definition contradicts itself.
    pub fn release(self) -> Result<Release, ReleaseError> {
        self.validate()?;
        let value = serde_json::to_value(&self)?;
        let digest = sha256_of(value.to_string().as_bytes());
        let short = digest.get(..24).unwrap_or(&digest);
        let id = ReleaseId::new(short).map_err(|error| at("release", error.to_string()))?;
        Ok(Release::new(id, self.name, Definition::new(value)))
    }

    /// The definition inside a release.
    ///
    /// # Errors
    /// It is not of this adapter's form, or contradicts itself.
    pub fn from_release(release: &Release) -> Result<Self, DefinitionError> {
        Self::from_definition(&release.definition)
    }

    pub(super) fn from_definition(definition: &Definition) -> Result<Self, DefinitionError> {
        let one = Self::deserialize(definition.value())
            .map_err(|error| at("definition", error.to_string()))?;
        one.validate()?;
        Ok(one)
    }

    fn validate(&self) -> Result<(), DefinitionError> {
        if self.artefact.trim().is_empty() {
            return Err(at("artefact", "is empty; name what is deployed"));
        }
        for (name, value) in &self.env {
            let plain = match value {
                EnvValue::Plain(text) => text.as_str(),
                EnvValue::Secret { .. } => "",
            };
            if RESERVED.contains(&name.as_str()) {
                let problem = format!("`{name}` is set by the deployer; take another name");
                return Err(at("env", problem));
            }
            if !is_variable(name) {
                let problem = format!(
                    "`{name}` is no name of a variable; use letters, digits and _, not a digit first"
                );
                return Err(at("env", problem));
            }
            if plain.contains('\0') {
                return Err(at("env", format!("`{name}` holds a NUL byte")));
            }
        }
        let texts = [&self.name, &self.artefact];
        let more = self.commit.iter().chain(&self.address);
        match texts
            .into_iter()
            .chain(more)
            .any(|text| text.contains('\0'))
        {
            true => Err(at("artefact", "a NUL byte cannot be given to a script")),
            false => Ok(()),
        }
    }
}

pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_variable_is_another_release_and_the_form_survives_the_journal() {
        let one = ScriptRelease::new("v1", "shop:1").release().unwrap();
        let same = ScriptRelease::new("v1", "shop:1").release().unwrap();
        let other = ScriptRelease::new("v1", "shop:1")
            .env("A", "b")
            .release()
            .unwrap();
        assert_eq!(one.id, same.id);
        assert_ne!(one.id, other.id);
        let text = serde_json::to_string(&other).unwrap();
        let back = ScriptRelease::from_release(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(back.artefact, "shop:1");
        assert_eq!(back.env["A"], EnvValue::Plain("b".to_owned()));
    }

    #[test]
    fn what_cannot_be_given_to_a_script_is_refused() {
        let base = || ScriptRelease::new("v1", "shop:1");
        for (definition, says) in [
            (ScriptRelease::new("v1", " "), "artefact"),
            (base().env("RELEASE", "x"), "set by the deployer"),
            (base().env("A=B", "x"), "no name of a variable"),
            (base().env("1A", "x"), "no name of a variable"),
            (base().env("A", "x\0y"), "NUL"),
        ] {
            let error = definition.release().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
