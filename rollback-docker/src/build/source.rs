//! The build: a commit's tree becomes an image.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::git;
use crate::{Engine, EngineError, ImageId, image::built};

/// The full name of the commit that an image was built of.
const COMMIT: &str = "io.rollback.commit";
/// A digest over how it was built: another folder, Dockerfile, target or argument is another image.
const RECIPE: &str = "io.rollback.recipe";
/// A build that takes longer is given up.
const WITHIN: Duration = Duration::from_secs(30 * 60);
/// A context is sent from memory.
const MOST_BYTES: u64 = 512 << 20;

/// A repository whose commits become images.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use rollback_docker::{ContainerDefinition, Engine, Source};
///
/// let shop = Source::new("shop", "/srv/shop").context("services/checkout");
/// let built = shop.build(&Engine::from_env()?, "main").await?;
/// let release = ContainerDefinition::new(built.image.as_str()).port(8080).release(built.name())?;
/// # let _ = release;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    repository: PathBuf,
    context: String,
    dockerfile: String,
    target: Option<String>,
    args: BTreeMap<String, String>,
    anew: bool,
    within: Duration,
    most: u64,
}

/// An image that was built of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Built {
    /// What it is; to be deployed by.
    pub image: ImageId,
    /// The full name of the commit.
    pub commit: String,
    /// The first line of the commit's message.
    pub subject: String,
    /// It was there from an earlier build.
    pub reused: bool,
}

/// Why there is no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No such commit.
    #[error("the repository `{}` has no commit `{rev}`; fetch it first, or correct the name", .repository.display())]
    NoSuchCommit {
        /// What was asked for.
        rev: String,
        /// Where.
        repository: PathBuf,
    },
    /// Git said no.
    #[error("`git {action}` failed in `{}`: {said}", .repository.display())]
    Git {
        /// What was tried.
        action: String,
        /// Where.
        repository: PathBuf,
        /// Git's words.
        said: String,
    },
    /// A path that does not stay within the commit.
    #[error("`{path}` is no {what} within a commit; write it relative to {from}, without `..`")]
    Outside {
        /// The path.
        path: String,
        /// For what.
        what: &'static str,
        /// To what it is relative.
        from: &'static str,
    },
    /// The tree of the commit does not fit.
    #[error(
        "the tree of commit {commit} is larger than {most} bytes; name a smaller folder with `context`, or raise `most_bytes`"
    )]
    TooLarge {
        /// Which.
        commit: String,
        /// The limit.
        most: u64,
    },
    /// The build was begun and failed.
    #[error("commit {commit} cannot be built: {said}")]
    Failed {
        /// Which.
        commit: String,
        /// The build's last lines.
        said: String,
    },
    /// The engine could not be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Source {
    /// A repository, as this is called; images of it are tagged `rollback-built/NAME`.
    #[must_use]
    pub fn new(name: impl Into<String>, repository: impl AsRef<Path>) -> Self {
        Self {
            name: name.into(),
            repository: repository.as_ref().to_owned(),
            context: String::new(),
            dockerfile: "Dockerfile".to_owned(),
            target: None,
            args: BTreeMap::new(),
            anew: false,
            within: WITHIN,
            most: MOST_BYTES,
        }
    }

    /// The folder that is built, relative to the repository; all of it. Nothing outside of it is
    /// sent.
    #[must_use]
    pub fn context(mut self, folder: impl Into<String>) -> Self {
        self.context = folder.into();
        self
    }

    /// The Dockerfile, relative to that folder; `Dockerfile`.
    #[must_use]
    pub fn dockerfile(mut self, path: impl Into<String>) -> Self {
        self.dockerfile = path.into();
        self
    }

    /// The stage of the Dockerfile to build; the last.
    #[must_use]
    pub fn target(mut self, stage: impl Into<String>) -> Self {
        self.target = Some(stage.into());
        self
    }

    /// An argument of the Dockerfile. It is kept in the image's history: no secrets.
    #[must_use]
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.args.insert(name.into(), value.into());
        self
    }

    /// Builds also what was built before, and without the engine's cache.
    #[must_use]
    pub const fn anew(mut self) -> Self {
        self.anew = true;
        self
    }

    /// How long a build may take; 30 min.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// How large the tree of a commit may be; 512 MiB. It is sent from memory.
    #[must_use]
    pub const fn most_bytes(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// The image of a commit: `rev` is a branch, a tag or (part of) a commit's name.
    ///
    /// # Errors
    /// [`BuildError`]. What was on the engine before is still there.
    pub async fn build(&self, engine: &Engine, rev: &str) -> Result<Built, BuildError> {
        let context = within(&self.context, "folder", "the repository")?;
        let dockerfile = within(&self.dockerfile, "file", "the context")?;
        let commit = git::commit(&self.repository, rev).await?;
        let recipe = self.recipe(&context, &dockerfile);
        let built = |image, reused| Built {
            image,
            commit: commit.id.clone(),
            subject: commit.subject.clone(),
            reused,
        };
        let there = there(engine, &commit.id, &recipe).await?;
        if !self.anew
            && let Some(image) = newest(&there)
        {
            return Ok(built(image, true));
        }
        let archive = git::archive(&self.repository, &commit.id, &context, self.most).await?;
        let labels = json!({ COMMIT: commit.id, RECIPE: recipe }).to_string();
        let args = json!(self.args).to_string();
        let tag = self.tag(&commit.id, &recipe, there.len());
        let mut query = vec![
            ("rm", "true"),
            ("forcerm", "true"),
            ("dockerfile", dockerfile.as_str()),
            ("labels", labels.as_str()),
            ("buildargs", args.as_str()),
            ("t", tag.as_str()),
        ];
        query.extend(self.target.as_deref().map(|target| ("target", target)));
        if self.anew {
            query.push(("nocache", "true"));
        }
        let patient = engine.clone().timeout(self.within);
        let told = patient.post_archive("/build", &query, archive).await;
        match told.and_then(|told| self::built(&told)) {
            Ok(image) => Ok(built(image, false)),
            // The engine's words: a Dockerfile that cannot be read, a step that failed.
            Err(EngineError::Answer { message, .. }) => Err(BuildError::Failed {
                commit: commit.id,
                said: message,
            }),
            Err(other) => Err(other.into()),
        }
    }

    fn recipe(&self, context: &str, dockerfile: &str) -> String {
        let text = json!([context, dockerfile, self.target, self.args]).to_string();
        let digest = Sha256::digest(text);
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// A name that keeps the image from being pruned; nothing is ever found by it. An image that was
    /// built before keeps its own.
    fn tag(&self, commit: &str, recipe: &str, before: usize) -> String {
        let again = match before {
            0 => String::new(),
            before => format!("-{}", before + 1),
        };
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let name: String = self.name.chars().map(plain).collect();
        let name = match name.split('-').filter(|part| !part.is_empty()) {
            parts if parts.clone().next().is_none() => "source".to_owned(),
            parts => parts.collect::<Vec<_>>().join("-"),
        };
        format!("rollback-built/{name}:{}-{recipe}{again}", short(commit))
    }
}

impl Built {
    /// The commit's short name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        short(&self.commit)
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// The images that were built of this commit by this recipe, as far as the engine still has them.
async fn there(engine: &Engine, commit: &str, recipe: &str) -> Result<Vec<Value>, EngineError> {
    let labels = [format!("{COMMIT}={commit}"), format!("{RECIPE}={recipe}")];
    let filters = json!({ "label": labels }).to_string();
    let found = engine.get("/images/json", &[("filters", &filters)]).await?;
    Ok(found.as_array().cloned().unwrap_or_default())
}

fn newest(images: &[Value]) -> Option<ImageId> {
    let age = |image: &&Value| image.get("Created").and_then(Value::as_i64);
    let image = images.iter().max_by_key(age)?;
    ImageId::try_from(image.get("Id")?.as_str()?.to_owned()).ok()
}

/// A path that stays within, written in one way.
fn within(path: &str, what: &'static str, from: &'static str) -> Result<String, BuildError> {
    let outside = || BuildError::Outside {
        path: path.to_owned(),
        what,
        from,
    };
    if path.starts_with('/') || path.contains([':', '\\']) || path.contains(char::is_control) {
        return Err(outside());
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.contains(&"..") || (parts.is_empty() && what == "file") {
        return Err(outside());
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_within_the_commit() {
        for (path, written) in [
            ("", Some("")),
            (".", Some("")),
            ("services/checkout/", Some("services/checkout")),
            ("./a//b", Some("a/b")),
            ("/etc", None),
            ("../other", None),
            ("a/../../b", None),
            ("a:b", None),
        ] {
            let found = within(path, "folder", "the repository").ok();
            assert_eq!(found.as_deref(), written, "{path}");
        }
        assert!(within("", "file", "the context").is_err());
    }

    #[test]
    fn another_way_to_build_is_another_recipe() {
        let source = Source::new("shop", "/srv/shop");
        let of = |source: &Source| source.recipe(&source.context, &source.dockerfile);
        let plain = of(&source);
        assert_eq!(
            plain,
            of(&source.clone().anew().within(Duration::from_secs(1)))
        );
        for other in [
            source.clone().context("web"),
            source.clone().dockerfile("Dockerfile.prod"),
            source.clone().target("prod"),
            source.clone().arg("A", "b"),
        ] {
            assert_ne!(plain, of(&other));
        }
    }

    #[test]
    fn a_tag_is_one_that_the_engine_takes() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for (name, tag) in [
            (
                "Shop/Checkout_",
                "rollback-built/shop-checkout:0123456789ab-r",
            ),
            ("--", "rollback-built/source:0123456789ab-r"),
        ] {
            let source = Source::new(name, "/");
            assert_eq!(source.tag(commit, "r", 0), tag);
            assert_eq!(source.tag(commit, "r", 1), format!("{tag}-2"));
        }
    }

    #[test]
    fn the_newest_image_is_taken() {
        let id = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let image = |digit, created| json!({ "Id": id(digit), "Created": created });
        let images = [image("1", 10), image("2", 30), image("3", 20)];
        assert_eq!(newest(&images).map(String::from), Some(id("2")));
        assert_eq!(newest(&[]), None);
        assert_eq!(newest(&[Value::Null]), None);
    }
}
