//! A release of a Swarm service: its task template, with the image by its content.

use std::fmt;

use rollback_core::model::{ChangeError, Definition, Release, ReleaseId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Image,
    digest::{canonical, digest},
    image::split,
};

/// A label that we write into a template when its image had to be named by its bare id: what the
/// image was called. It is not part of what makes a release.
pub(super) const IMAGE_LABEL: &str = "io.rollback.image";
const OURS: &str = "io.rollback.";

/// What is needed to run a release again: the task template as the engine gave it, byte for byte
/// what the user wrote, and what its image was by content. It may hold secrets in its environment:
/// it is not shown by `Debug`, and a store for it should be sealed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct SwarmDefinition {
    /// The engine's `TaskTemplate`.
    template: Value,
    /// What the image is: `@sha256:…` where it can be fetched again by its digest, `sha256:…` of
    /// an image that was built here; empty if nobody could say.
    content: String,
}

impl fmt::Debug for SwarmDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SwarmDefinition({} is {})", self.name(), self.content)
    }
}

impl SwarmDefinition {
    pub(super) fn new(template: Value, content: impl Into<String>) -> Self {
        Self {
            template,
            content: content.into(),
        }
    }

    /// The definition inside a release.
    ///
    /// # Errors
    /// Refused: it is not of this adapter's form.
    pub fn from_release(id: &ReleaseId, definition: &Definition) -> Result<Self, ChangeError> {
        let parsed: Self = Self::deserialize(definition.value()).map_err(|error| {
            ChangeError::refused(format_args!(
                "{id} is not defined in the form of a Swarm service: {error}"
            ))
        })?;
        let is = parsed.id()?;
        if is != *id {
            return Err(ChangeError::refused(format_args!(
                "what is kept for {id} defines {is}; take releases from `SwarmDeployer::release`"
            )));
        }
        Ok(parsed)
    }

    /// The image as the template names it.
    #[must_use]
    pub fn image(&self) -> &str {
        image_of(&self.template)
    }

    /// What the image is: `@sha256:…`, a digest by which it can be fetched, or `sha256:…`, the id
    /// of an image that was built on its engine; empty if unknown.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The task template, as the engine gave it.
    #[must_use]
    pub const fn template(&self) -> &Value {
        &self.template
    }

    /// What people call the image, without its digest.
    #[must_use]
    pub fn name(&self) -> &str {
        let image = self.image();
        if image.starts_with("sha256:") {
            let kept = self.template.pointer("/ContainerSpec/Labels");
            let kept = kept.and_then(|labels| labels.get(IMAGE_LABEL)?.as_str());
            return kept.unwrap_or(image);
        }
        image.split_once('@').map_or(image, |(name, _)| name)
    }

    /// The id: the image's name, so that people know it again, and a digest over the whole.
    ///
    /// # Errors
    /// Refused: the template names no image.
    pub fn id(&self) -> Result<ReleaseId, ChangeError> {
        if self.image().is_empty() {
            return Err(ChangeError::refused(
                "the service's template names no image; only services of containers are deployed",
            ));
        }
        let mut normal = self.template.clone();
        if let Some(map) = normal.as_object_mut() {
            // A number to have everything started anew; and a word that tasks do not repeat.
            map.remove("ForceUpdate");
            map.remove("Runtime");
        }
        if let Some(container) = normal.pointer_mut("/ContainerSpec") {
            if let Some(Value::Object(labels)) = container.get_mut("Labels") {
                labels.retain(|label, _| !label.starts_with(OURS));
            }
            if let Some(container) = container.as_object_mut() {
                let image = format!("{}#{}", self.name(), self.content);
                container.insert("Image".to_owned(), Value::String(image));
            }
        }
        let digest = fingerprint(&normal);
        let short: String = self
            .name()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii_graphic)
            .take(80)
            .collect();
        ReleaseId::new(format!("{short}-{digest}")).map_err(ChangeError::refused)
    }

    /// As a release, called by its image's name.
    ///
    /// # Errors
    /// Refused: the template names no image.
    pub fn release(&self) -> Result<Release, ChangeError> {
        let value = serde_json::to_value(self).map_err(ChangeError::refused)?;
        Ok(Release::new(
            self.id()?,
            self.name(),
            Definition::new(value),
        ))
    }

    /// The same with another image.
    pub(super) fn with_image(mut self, image: &str, content: impl Into<String>) -> Self {
        self.template = renamed(self.template, image);
        self.content = content.into();
        self
    }

    /// The template to send, where its image's name stands for `now` (none: for nothing here). A
    /// name that has moved on is replaced by the content that it stood for.
    pub(super) fn to_send(&self, now: Option<&str>) -> Value {
        let moved = now.is_some_and(|now| now != self.content) && !self.content.is_empty();
        if !moved || self.image().starts_with("sha256:") || self.image().contains('@') {
            return self.template.clone();
        }
        let name = self.name().to_owned();
        if self.content.starts_with('@') {
            return renamed(self.template.clone(), &format!("{name}{}", self.content));
        }
        let mut template = renamed(self.template.clone(), &self.content);
        if let Some(Value::Object(container)) = template.pointer_mut("/ContainerSpec") {
            let labels = container
                .entry("Labels")
                .or_insert_with(|| Value::Object(Map::new()));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(IMAGE_LABEL.to_owned(), Value::String(name));
            }
        }
        template
    }
}

/// The image that a template names; empty if none.
pub(super) fn image_of(template: &Value) -> &str {
    let image = template.pointer("/ContainerSpec/Image");
    image.and_then(Value::as_str).unwrap_or_default()
}

/// The content that an image's name says by itself.
pub(super) fn content_in_name(image: &str) -> Option<&str> {
    if image.starts_with("sha256:") {
        return Some(image);
    }
    image.find('@').and_then(|at| image.get(at..))
}

/// What an image is: its digest under this name where it has one, else its id.
pub(super) fn content_of(image: &Image, name: &str) -> String {
    let (untagged, _) = split(name);
    let mut digests = image.repo_digests.iter();
    let digest = digests.find_map(|digest| {
        let digest = digest.strip_prefix(untagged)?;
        digest.starts_with('@').then_some(digest)
    });
    match digest {
        Some(digest) => digest.to_owned(),
        None => image.id.to_string(),
    }
}

/// What tells two templates apart to the letter.
pub(super) fn fingerprint(value: &Value) -> String {
    digest(canonical(&without_what_is_empty(value)), None, 16)
}

fn renamed(mut template: Value, image: &str) -> Value {
    if let Some(Value::Object(container)) = template.pointer_mut("/ContainerSpec") {
        container.insert("Image".to_owned(), Value::String(image.to_owned()));
    }
    template
}

/// Engines differ in whether they say `{}` or nothing.
fn without_what_is_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let said = map.iter().filter(|(_, value)| !is_empty(value));
            said.map(|(key, value)| (key.clone(), without_what_is_empty(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(without_what_is_empty).collect(),
        plain => plain.clone(),
    }
}

/// Nothing is said. Zero and false are said: they may differ from an engine's default.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(template: Value) -> String {
        let definition = SwarmDefinition::new(template, "sha256:1");
        definition.id().unwrap().to_string()
    }

    #[test]
    fn a_release_is_what_would_run_and_nothing_else() {
        let base = json!({"ContainerSpec": {"Image": "r.example/shop:2", "Env": ["A=1"]},
            "ForceUpdate": 0, "Runtime": "container", "Resources": {"Limits": {}}});
        assert!(
            of(base.clone()).starts_with("shop:2-"),
            "{}",
            of(base.clone())
        );
        let same = [
            ("/ForceUpdate", json!(3)),
            ("/Runtime", Value::Null),
            ("/Resources", json!({})),
            ("/ContainerSpec/Labels", json!({"io.rollback.image": "x"})),
        ];
        for (at, value) in same {
            assert_eq!(of(with(&base, at, value)), of(base.clone()), "{at}");
        }
        let other = [
            ("/ContainerSpec/Env", json!(["A=2"])),
            ("/ContainerSpec/Image", json!("r.example/shop:3")),
            ("/ContainerSpec/Labels", json!({"team": "x"})),
            ("/ContainerSpec/Init", json!(false)),
            ("/Unknown", json!({"New": 0})),
        ];
        for (at, value) in other {
            assert_ne!(of(with(&base, at, value)), of(base.clone()), "{at}");
        }
        let moved = SwarmDefinition::new(base.clone(), "sha256:2").id().unwrap();
        assert_ne!(moved.to_string(), of(base), "the same name, another image");
    }

    fn with(base: &Value, at: &str, value: Value) -> Value {
        let mut changed = base.clone();
        let (parent, key) = at.rsplit_once('/').unwrap();
        let parent = changed.pointer_mut(parent).unwrap();
        parent
            .as_object_mut()
            .unwrap()
            .insert(key.to_owned(), value);
        changed
    }

    #[test]
    fn a_name_that_moved_is_replaced_by_what_it_stood_for_and_stays_the_same_release() {
        let template = json!({"ContainerSpec": {"Image": "shop:2"}});
        let definition = SwarmDefinition::new(template.clone(), "sha256:aa");
        assert_eq!(definition.to_send(Some("sha256:aa")), template);
        assert_eq!(definition.to_send(None), template, "not here: by its name");
        let pinned = definition.to_send(Some("sha256:bb"));
        assert_eq!(image_of(&pinned), "sha256:aa");
        let fetched = SwarmDefinition::new(template, "@sha256:cc");
        let pinned_there = fetched.to_send(Some("@sha256:dd"));
        assert_eq!(image_of(&pinned_there), "shop:2@sha256:cc");
        let seen = SwarmDefinition::new(pinned_there, "@sha256:cc");
        assert_eq!(seen.id(), fetched.id());
        let seen = SwarmDefinition::new(pinned, "sha256:aa");
        assert_eq!(seen.id(), definition.id());
        assert_eq!(seen.name(), "shop:2");
    }

    #[test]
    fn a_definition_of_another_release_is_refused() {
        let template = json!({"ContainerSpec": {"Image": "shop:2"}});
        let release = SwarmDefinition::new(template, "sha256:aa")
            .release()
            .unwrap();
        let back = SwarmDefinition::from_release(&release.id, &release.definition).unwrap();
        assert_eq!(back.name(), "shop:2");
        let other = ReleaseId::new("another").unwrap();
        assert!(SwarmDefinition::from_release(&other, &release.definition).is_err());
        assert!(SwarmDefinition::from_release(&other, &Definition::default()).is_err());
    }

    #[test]
    fn what_an_image_is_follows_from_its_name_or_from_the_engine() {
        let image = |digests: &[&str]| Image {
            id: format!("sha256:{}", "0a".repeat(32)).try_into().unwrap(),
            repo_digests: digests.iter().map(|text| (*text).to_owned()).collect(),
            config: Value::Null,
        };
        let built = image(&[]).id.to_string();
        assert_eq!(content_of(&image(&[]), "shop:2"), built);
        let pulled = image(&["r:5000/shopping@sha256:1", "r:5000/shop@sha256:2"]);
        assert_eq!(content_of(&pulled, "r:5000/shop:2"), "@sha256:2");
        assert_eq!(content_of(&pulled, "r:5000/shop"), "@sha256:2");
        assert_eq!(content_of(&pulled, "other:1"), built);
        assert_eq!(content_in_name("shop:2@sha256:1"), Some("@sha256:1"));
        assert_eq!(content_in_name("sha256:1"), Some("sha256:1"));
        assert_eq!(content_in_name("shop:2"), None);
    }

    #[test]
    fn an_environment_is_not_shown() {
        let template = json!({"ContainerSpec": {"Image": "a:1", "Env": ["PASSWORD=x"]}});
        let shown = format!("{:?}", SwarmDefinition::new(template, "sha256:aa"));
        assert!(!shown.contains("PASSWORD"), "{shown}");
    }
}
