//! An image by what it is: a name may move to another image, an id cannot.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Engine, EngineError};

/// The content address of an image on an engine: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

/// A text that is not the id of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of an image (sha256: and 64 hexadecimal digits)")]
pub struct NotAnImageId(String);

impl ImageId {
    /// The id with its `sha256:`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ImageId {
    type Error = NotAnImageId;

    fn try_from(text: String) -> Result<Self, NotAnImageId> {
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text))
        } else {
            Err(NotAnImageId(text))
        }
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image that an engine has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Image {
    /// What it is.
    pub id: ImageId,
    /// Where it can be fetched again by its content: `name@sha256:…`. None if it was built here
    /// and never pushed.
    pub repo_digests: Vec<String>,
    /// What it says of how it is to be run: the engine's `Config`.
    pub config: Value,
}

/// The name in a reference, and its digest, else its tag.
pub(crate) fn split(reference: &str) -> (&str, Option<&str>) {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    // A colon before the last slash is a port.
    let tagged = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
    let version = digest.or_else(|| tagged.map(|(_, tag)| tag));
    (tagged.map_or(name, |(name, _)| name), version)
}

impl Image {
    /// The digest by which it can be fetched again, under this name if it has several.
    #[must_use]
    pub fn digest_of(&self, name: &str) -> Option<&str> {
        let (name, _) = split(name);
        let digests = || self.repo_digests.iter().map(String::as_str);
        let under = |digest: &&str| split(digest).0 == name;
        digests().find(under).or_else(|| digests().next())
    }
}

impl Engine {
    /// The image that a name, a digest or an id stands for now.
    ///
    /// # Errors
    /// Not found: there is no such image on this engine (nothing is fetched: see
    /// [`image_or_fetched`](Self::image_or_fetched)). Any other [`EngineError`].
    pub async fn image(&self, reference: &str) -> Result<Image, EngineError> {
        let path = format!("/images/{reference}/json");
        let found = self.get(&path, &[]).await?;
        let id = found.get("Id").and_then(Value::as_str).unwrap_or_default();
        let id = ImageId::try_from(id.to_owned()).map_err(|error| EngineError::Garbled {
            path,
            why: error.to_string(),
        })?;
        let digests = found.get("RepoDigests").and_then(Value::as_array);
        let digests = digests.into_iter().flatten().filter_map(Value::as_str);
        Ok(Image {
            id,
            repo_digests: digests.map(str::to_owned).collect(),
            config: found.get("Config").cloned().unwrap_or(Value::Null),
        })
    }

    /// Builds an image from a build context (a tar file with its `Dockerfile`), by the engine's
    /// own builder, and tags it if a name is given. Intermediate containers are removed.
    ///
    /// # Errors
    /// [`EngineError::Answer`] with the build's last lines if it failed.
    pub async fn build(&self, context: Vec<u8>, tag: Option<&str>) -> Result<ImageId, EngineError> {
        let mut query = vec![("rm", "true"), ("forcerm", "true"), ("q", "false")];
        query.extend(tag.map(|tag| ("t", tag)));
        let told = self.post_archive("/build", &query, context).await?;
        built(&told)
    }
}

/// The id in what a build told, or why there is none.
pub(crate) fn built(told: &[u8]) -> Result<ImageId, EngineError> {
    let mut said = String::new();
    let mut id = None;
    for line in serde_json::Deserializer::from_slice(told).into_iter::<Value>() {
        let Ok(line) = line else { break };
        if let Some(error) = line.get("error").and_then(Value::as_str) {
            let last: Vec<&str> = said.lines().rev().take(10).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            return Err(EngineError::Answer {
                status: 500,
                message: format!("the build failed: {error}\n{}", last.join("\n")),
            });
        }
        if let Some(text) = line.get("stream").and_then(Value::as_str) {
            said.push_str(text);
        }
        let found = line.pointer("/aux/ID").and_then(Value::as_str);
        id = found.map(str::to_owned).or(id);
    }
    id.and_then(|id| ImageId::try_from(id).ok())
        .ok_or_else(|| EngineError::Garbled {
            path: "/build".to_owned(),
            why: "it tells neither an image nor an error".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_tells_its_image_or_its_error() {
        let id = format!("sha256:{}", "0a".repeat(32));
        let good = format!("{{\"stream\":\"Step 1\\n\"}}\n{{\"aux\":{{\"ID\":\"{id}\"}}}}\n");
        assert_eq!(built(good.as_bytes()).unwrap().as_str(), id);
        let bad = br#"{"stream":"Step 1/2 : RUN x\n"}{"error":"no such program"}"#;
        let error = built(bad).unwrap_err().to_string();
        assert!(
            error.contains("no such program") && error.contains("Step 1/2"),
            "{error}"
        );
        assert!(matches!(built(b""), Err(EngineError::Garbled { .. })));
    }

    #[test]
    fn a_reference_is_a_name_and_a_version() {
        for (reference, expected) in [
            ("shop", ("shop", None)),
            ("shop:2", ("shop", Some("2"))),
            ("r.example:5000/shop", ("r.example:5000/shop", None)),
            ("r.example:5000/shop:2", ("r.example:5000/shop", Some("2"))),
            ("shop@sha256:aa", ("shop", Some("sha256:aa"))),
            ("r:5/shop:2@sha256:aa", ("r:5/shop", Some("sha256:aa"))),
        ] {
            assert_eq!(split(reference), expected, "{reference}");
        }
    }

    #[test]
    fn an_id_is_a_whole_digest() {
        for text in ["", "sha256:", "latest", "sha256:12"] {
            assert!(ImageId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
