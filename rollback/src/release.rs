//! Releases: ids that are digests over artefact and definition.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use rollback_core::model::{Definition, IdError, Release, ReleaseId, Secret};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A release in the making: a change of the artefact, of the definition or of a secret's value
/// gives another [`ReleaseId`]; a change of the name does not.
///
/// ```
/// use rollback::ReleaseDraft;
/// use serde_json::json;
/// let one = ReleaseDraft::new("v42", "checkout@sha256:5f3c").definition(json!({"replicas": 3})).build()?;
/// let two = ReleaseDraft::new("v42", "checkout@sha256:5f3c").definition(json!({"replicas": 4})).build()?;
/// assert_ne!(one.id, two.id, "configuration is part of a release");
/// # Ok::<(), rollback::model::IdError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ReleaseDraft {
    name: String,
    artefact: String,
    definition: Value,
    secrets: BTreeMap<String, [u8; 32]>,
}

impl ReleaseDraft {
    /// A release of `artefact` (an image digest, a checksum, a path that never changes its
    /// content) that people call `name`.
    pub fn new(name: impl Into<String>, artefact: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            artefact: artefact.into(),
            definition: Value::Null,
            secrets: BTreeMap::new(),
        }
    }

    /// What the adapter needs to run it, in the adapter's own form and without secret values.
    pub fn definition(mut self, definition: Value) -> Self {
        self.definition = definition;
        self
    }

    /// A secret that the release depends on. Only a keyed hash of its value enters the id; `key`
    /// must stay the same between releases and must not be known to who can read the journal.
    pub fn secret(
        mut self,
        name: impl Into<String>,
        value: &Secret<String>,
        key: &Secret<Vec<u8>>,
    ) -> Self {
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) {
            mac.update(value.expose().as_bytes());
            self.secrets
                .insert(name.into(), mac.finalize().into_bytes().into());
        }
        self
    }

    /// The release with its id.
    ///
    /// # Errors
    /// None that is known: the id is made of hexadecimal digits.
    pub fn build(self) -> Result<Release, IdError> {
        let mut hash = Sha256::new();
        text_into(&mut hash, &self.artefact);
        value_into(&mut hash, &self.definition);
        for (name, keyed) in &self.secrets {
            text_into(&mut hash, name);
            hash.update(keyed);
        }
        let mut id = String::with_capacity(32);
        for byte in hash.finalize().iter().take(16) {
            id.push_str(&format!("{byte:02x}"));
        }
        Ok(Release::new(
            ReleaseId::new(id)?,
            self.name,
            Definition::new(self.definition),
        ))
    }
}

/// Every part goes in with its kind and length: no two different definitions look the same.
fn value_into(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(yes) => hash.update(if *yes { b"t" } else { b"f" }),
        Value::Number(number) => {
            hash.update(b"d");
            text_into(hash, &number.to_string());
        }
        Value::String(text) => text_into(hash, text),
        Value::Array(items) => {
            hash.update(b"a");
            hash.update((items.len() as u64).to_le_bytes());
            for item in items {
                value_into(hash, item);
            }
        }
        Value::Object(fields) => {
            hash.update(b"o");
            hash.update((fields.len() as u64).to_le_bytes());
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            for (key, item) in sorted {
                text_into(hash, key);
                value_into(hash, item);
            }
        }
    }
}

fn text_into(hash: &mut Sha256, text: &str) {
    hash.update(b"s");
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft() -> ReleaseDraft {
        ReleaseDraft::new("v1", "shop@1").definition(json!({"env": {"A": "1", "B": "2"}}))
    }

    fn id(draft: ReleaseDraft) -> ReleaseId {
        draft.build().unwrap().id
    }

    #[test]
    fn the_same_content_is_the_same_release_and_any_other_is_not() {
        let same = ReleaseDraft::new("other name", "shop@1")
            .definition(json!({"env": {"B": "2", "A": "1"}}));
        assert_eq!(id(draft()), id(same));
        for other in [
            ReleaseDraft::new("v1", "shop@2").definition(json!({"env": {"A": "1", "B": "2"}})),
            draft().definition(json!({"env": {"A": "1", "B": 2}})),
            draft().definition(json!({"env": {"A": "12", "B": ""}})),
            draft().definition(json!({"env": ["A", "1", "B", "2"]})),
        ] {
            assert_ne!(id(draft()), id(other));
        }
    }

    #[test]
    fn a_secret_enters_by_its_keyed_hash() {
        let key = Secret::new(b"key".to_vec());
        let with = |value: &str, key| draft().secret("DB", &Secret::new(value.to_owned()), key);
        assert_eq!(id(with("a", &key)), id(with("a", &key)));
        assert_ne!(id(with("a", &key)), id(with("b", &key)));
        assert_ne!(id(with("a", &key)), id(draft()));
        let other = Secret::new(b"other".to_vec());
        assert_ne!(id(with("a", &key)), id(with("a", &other)));
        assert!(!format!("{:?}", with("hunter2", &key)).contains("hunter2"));
    }
}
