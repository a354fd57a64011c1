//! What a release's containers are: the adapter's own form of a release's definition, which holds
//! the engine's own words.

use std::{collections::BTreeMap, fmt};

use rollback_core::model::{Definition, Release, ReleaseId, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::names::OURS;
use crate::{
    Image,
    digest::{canonical, digest},
};

/// Digits of a release's id.
const DIGITS: usize = 24;

/// How the containers of one release are made: an image that cannot change, and what the engine is
/// to be told besides, in the engine's own words (the body of `POST /containers/create`), less what
/// comes from the image.
///
/// Environment values may be secrets. They are in the definition (the engine keeps them in the
/// container anyhow) and never in an error or in `Debug`; seal them where releases are stored.
///
/// ```
/// use rollback_docker::ContainerDefinition;
///
/// # let image = format!("sha256:{}", "0".repeat(64));
/// let definition = ContainerDefinition::new(image)
///     .env("LOG_LEVEL", "info")
///     .network("shop", ["checkout"])
///     .port(8080)
///     .replicas(2)
///     .memory(256 << 20)
///     .restart("unless-stopped");
/// let release = definition.release("v42")?;
/// # assert_eq!(release.id.as_str().len(), 24);
/// # Ok::<_, rollback_docker::DefinitionError>(())
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ContainerDefinition {
    /// The image's id (`sha256:…`) or its digest in a registry (`name@sha256:…`); never a tag.
    pub image: String,
    /// What people call the image; shown, and never used to find it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image_name: String,
    /// Where the image can be fetched again by its content: `name@sha256:…`. It is no part of what
    /// makes a release: an image that is pushed later stays what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_digest: Option<String>,
    /// The engine's configuration of a container: `Env`, `Cmd`, `Labels`, `Healthcheck`, …
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// What it is given of the host: `Binds`, `PortBindings`, `RestartPolicy`, `Memory`, …
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub host_config: Map<String, Value>,
    /// Its networks by name, with `Aliases`, `IPAMConfig`, …; none: as `NetworkMode` says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, Value>,
    /// How many containers serve the release.
    #[serde(default = "one")]
    pub replicas: u16,
    /// The port inside the container that serves; none: the only TCP port that it exposes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What the containers that were adopted had each for itself, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Former>,
}

/// What one adopted container had for itself: what is made in its place has it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Former {
    /// Its name, under which it was found in its networks.
    pub name: String,
    /// Volumes without a name of their own: where they are mounted, and the engine's name of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, String>,
}

/// Why a definition cannot become a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the container's definition: {0}")]
pub struct DefinitionError(pub(crate) String);

impl ContainerDefinition {
    /// One container of `image`: its id or its digest in a registry.
    #[must_use]
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            image_name: String::new(),
            registry_digest: None,
            config: Map::new(),
            host_config: Map::new(),
            networks: BTreeMap::new(),
            replicas: one(),
            port: None,
            former: Vec::new(),
        }
    }

    /// The same of another image, which people call `name`: the next release of a service whose
    /// configuration stays as it is.
    #[must_use]
    pub fn with_image(mut self, image: impl Into<String>, name: impl Into<String>) -> Self {
        self.image = image.into();
        self.image_name = name.into();
        self.registry_digest = None;
        // Compose compares it with the image that it would run.
        if let Some(Value::Object(labels)) = self.config.get_mut("Labels")
            && let Some(label) = labels.get_mut("com.docker.compose.image")
        {
            *label = json!(self.image);
        }
        self
    }

    /// The same of another image as an engine has it, which people call `name`; it can be fetched
    /// again if it came from a registry or was pushed to one.
    #[must_use]
    pub fn with(self, image: &Image, name: impl Into<String>) -> Self {
        let mut definition = self.with_image(image.id.as_str(), name);
        definition.registry_digest = image.digest_of(&definition.image_name).map(str::to_owned);
        definition
    }

    /// Where its image can be fetched again.
    pub(crate) fn in_registry(&self) -> Option<&str> {
        let by_digest = self.image.contains('@').then_some(self.image.as_str());
        by_digest.or(self.registry_digest.as_deref())
    }

    /// The release of this definition: its id is a digest over image and configuration, so another
    /// value of a variable is another release. Whoever knows the rest of the definition and the id
    /// can try values: with secrets of few bits use [`release_with_key`](Self::release_with_key).
    ///
    /// # Errors
    /// The definition contradicts itself.
    pub fn release(&self, name: impl AsRef<str>) -> Result<Release, DefinitionError> {
        self.named(name, None)
    }

    /// The same, the digest with a key, so that it tells nothing about secret values.
    ///
    /// # Errors
    /// The definition contradicts itself.
    pub fn release_with_key(
        &self,
        name: impl AsRef<str>,
        key: &Secret<Vec<u8>>,
    ) -> Result<Release, DefinitionError> {
        self.named(name, Some(key))
    }

    fn named(
        &self,
        name: impl AsRef<str>,
        key: Option<&Secret<Vec<u8>>>,
    ) -> Result<Release, DefinitionError> {
        self.validate()?;
        let id = self.id(key)?;
        Ok(Release::new(id, name, Definition::new(self.value()?)))
    }

    /// The id of a release with this definition.
    pub(crate) fn id(&self, key: Option<&Secret<Vec<u8>>>) -> Result<ReleaseId, DefinitionError> {
        let mut same = self.clone();
        same.registry_digest = None;
        let id = digest(canonical(&same.value()?), key, DIGITS);
        ReleaseId::new(id).map_err(|error| DefinitionError(error.to_string()))
    }

    /// The definition inside a release.
    ///
    /// # Errors
    /// It is not of this adapter's form, or contradicts itself.
    pub fn from_release(release: &Release) -> Result<Self, DefinitionError> {
        Self::from_definition(&release.definition)
    }

    pub(crate) fn from_definition(definition: &Definition) -> Result<Self, DefinitionError> {
        // The words of serde may quote a value of the definition, so of the reason only the kind is
        // told.
        let parsed = Self::deserialize(definition.value()).map_err(|error| {
            let kind = error.to_string();
            let known = ["unknown field", "missing field", "invalid type"];
            let kind = known.iter().find(|word| kind.starts_with(**word));
            let kind = kind.map_or("it cannot be read", |word| word);
            DefinitionError(format!("not one of a container deployer ({kind})"))
        })?;
        parsed.validate()?;
        Ok(parsed)
    }

    pub(crate) fn value(&self) -> Result<Value, DefinitionError> {
        let value = serde_json::to_value(self);
        value.map_err(|_| DefinitionError("it has no form in JSON".to_owned()))
    }

    /// Whether it fits together.
    ///
    /// # Errors
    /// What does not, and what to do.
    pub fn validate(&self) -> Result<(), DefinitionError> {
        let refuse = |why: String| Err(DefinitionError(why));
        if !is_immutable(&self.image) {
            return refuse(format!(
                "`{}` may mean another image tomorrow; give the image's id (`sha256:…`) or its \
                 digest (`name@sha256:…`)",
                self.image
            ));
        }
        if self.replicas == 0 {
            return refuse("no replica; a release needs one at least".to_owned());
        }
        for key in ["Image", "HostConfig", "NetworkingConfig"] {
            if self.config.contains_key(key) {
                return refuse(format!(
                    "`config` has `{key}`, which has a place of its own"
                ));
            }
        }
        let labels = self.config.get("Labels").and_then(Value::as_object);
        if let Some(label) = labels.and_then(|all| all.keys().find(|key| key.starts_with(OURS))) {
            return refuse(format!("the label `{label}` is one of ours"));
        }
        let claims = super::claims::claims(self);
        if let Some(claim) = claims.first().filter(|_| self.replicas > 1) {
            return refuse(format!(
                "{} containers cannot share {claim}; publish on any free port (host port 0), or \
                 run one",
                self.replicas
            ));
        }
        Ok(())
    }
}

/// Names of variables and keys; never a value of the environment or of a label.
impl fmt::Debug for ContainerDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.config.get("Env").and_then(Value::as_array);
        let variables: Vec<&str> = variables
            .into_iter()
            .flatten()
            .filter_map(variable)
            .collect();
        f.debug_struct("ContainerDefinition")
            .field("image", &self.image)
            .field("image_name", &self.image_name)
            .field("registry_digest", &self.registry_digest)
            .field("env", &variables)
            .field("config", &self.config.keys().collect::<Vec<_>>())
            .field("host_config", &self.host_config.keys().collect::<Vec<_>>())
            .field("networks", &self.networks.keys().collect::<Vec<_>>())
            .field("replicas", &self.replicas)
            .field("port", &self.port)
            .finish()
    }
}

/// Whether an image reference means one image for ever.
fn is_immutable(image: &str) -> bool {
    let digest = image.rsplit('@').next().unwrap_or(image);
    let hex = |text: &str| text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
    digest.strip_prefix("sha256:").is_some_and(hex)
}

pub(crate) fn variable(text: &Value) -> Option<&str> {
    Some(text.as_str()?.split('=').next().unwrap_or_default())
}

const fn one() -> u16 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> String {
        format!("sha256:{}", "ab".repeat(32))
    }

    #[test]
    fn another_value_is_another_release_and_the_key_hides_it() {
        let with = |value: &str| ContainerDefinition::new(image()).env("TOKEN", value);
        let id = |definition: &ContainerDefinition| definition.release("v1").unwrap().id;
        assert_eq!(id(&with("a")), id(&with("b").env("TOKEN", "a")));
        assert_ne!(id(&with("a")), id(&with("b")));
        let key = Secret::new(b"key".to_vec());
        let keyed = with("a").release_with_key("v1", &key).unwrap();
        assert_ne!(keyed.id, id(&with("a")));
        let back = ContainerDefinition::from_release(&keyed).unwrap();
        assert_eq!(back, with("a"));
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        let good = || ContainerDefinition::new(image());
        for (definition, word) in [
            (
                ContainerDefinition::new("shop:latest"),
                "another image tomorrow",
            ),
            (good().replicas(0), "no replica"),
            (good().replicas(2).publish(80, 8080), "port 80/tcp"),
            (good().with_config("Image", json!("x")), "`Image`"),
            (good().label("io.rollback.kind", "x"), "one of ours"),
        ] {
            let error = definition.validate().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(good().replicas(2).publish(0, 8080).validate(), Ok(()));
        let digest = format!("shop/web@{}", image());
        assert_eq!(ContainerDefinition::new(digest).validate(), Ok(()));
    }

    #[test]
    fn neither_debug_nor_an_error_shows_a_value() {
        let secret = "hunter2";
        let definition = ContainerDefinition::new(image())
            .env("PASSWORD", secret)
            .label("note", secret);
        assert!(!format!("{definition:?}").contains(secret));
        assert!(format!("{definition:?}").contains("PASSWORD"));
        let wrong = json!({ "image": image(), "replicas": secret });
        let error = ContainerDefinition::from_definition(&Definition::new(wrong)).unwrap_err();
        assert!(!error.to_string().contains(secret), "{error}");
    }
}
