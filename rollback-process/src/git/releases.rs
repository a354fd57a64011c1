//! Commits as releases, and a clean tree of each.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rollback_core::model::{ServiceId, Timestamp};
use tokio::sync::Mutex;

use super::command::{GitError, git};
use crate::{files::file_name, script::ScriptRelease};

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// Its full name.
    pub id: String,
    /// When it was committed.
    pub at: Timestamp,
    /// The first line of its message.
    pub subject: String,
}

/// A repository whose commits are releases.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use rollback_process::{GitReleases, ScriptDeployer};
///
/// let shop = GitReleases::open("/srv/shop", "/var/lib/rollback/trees").await?;
/// let last = shop.last("main", 10).await?;
/// let release = shop.definition(&last[0]).release()?;
/// let deployer = ScriptDeployer::open("/var/lib/rollback", "/opt/deploy.sh")?.in_worktrees_of(shop);
/// # let _ = (release, deployer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct GitReleases {
    pub(super) repository: PathBuf,
    trees: PathBuf,
    pub(super) limit: Duration,
    /// Git itself guards a worktree's registration badly against two at the same time.
    one_tree: Arc<Mutex<()>>,
}

impl GitReleases {
    /// Opens a repository. `trees` is where clean trees of its commits go: a folder that belongs to
    /// this library alone.
    ///
    /// # Errors
    /// It is no repository, or git is missing.
    pub async fn open(
        repository: impl AsRef<Path>,
        trees: impl AsRef<Path>,
    ) -> Result<Self, GitError> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| GitError::NotARepository {
                path: path.to_owned(),
                said: error.to_string(),
            })
        };
        let opened = Self {
            repository: absolute(repository.as_ref())?,
            trees: absolute(trees.as_ref())?,
            limit: Duration::from_secs(60),
            one_tree: Arc::default(),
        };
        match opened.git(&["rev-parse", "--git-dir"]).await {
            Ok(_) => Ok(opened),
            Err(GitError::Failed { said, .. }) => Err(GitError::NotARepository {
                path: opened.repository,
                said,
            }),
            Err(other) => Err(other),
        }
    }

    /// How long one call of git may take; 60 s.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The commit behind a branch, a tag or (part of) a name.
    ///
    /// # Errors
    /// [`GitError::NoSuchCommit`], or git fails.
    pub async fn resolve(&self, rev: &str) -> Result<Commit, GitError> {
        let found = self.commits(rev, 1).await?;
        found.into_iter().next().ok_or_else(|| no_such(rev))
    }

    /// The last commits of a branch, the newest first; of merges, the side that was merged into.
    ///
    /// # Errors
    /// [`GitError::NoSuchCommit`], or git fails.
    pub async fn last(&self, rev: &str, count: usize) -> Result<Vec<Commit>, GitError> {
        self.commits(rev, count).await
    }

    /// The release that a commit is, for a script deployer: its artefact is the commit.
    #[must_use]
    pub fn definition(&self, commit: &Commit) -> ScriptRelease {
        let short = commit.id.get(..12).unwrap_or(&commit.id);
        ScriptRelease::new(short, format!("git:{}", commit.id)).commit(&commit.id)
    }

    /// A clean tree of a commit, in a folder of the service's own. Asked for again it is the same
    /// folder: as it is while nothing in it was changed, made anew otherwise. Files that the
    /// repository ignores, such as what was built there, stay.
    ///
    /// # Errors
    /// [`GitError::NoSuchCommit`], or git fails.
    pub async fn worktree(&self, service: &ServiceId, rev: &str) -> Result<PathBuf, GitError> {
        let commit = self.resolve(rev).await?;
        let path = self
            .trees
            .join(file_name(service.as_str()))
            .join(&commit.id);
        let _one = self.one_tree.lock().await;
        if self.is_clean_tree(&path, &commit.id).await {
            return Ok(path);
        }
        let target = path.as_os_str();
        // What is left of an earlier tree of ours; that there is none is no error.
        let remove = [
            "worktree".as_ref(),
            "remove".as_ref(),
            "--force".as_ref(),
            target,
        ];
        let _ = self.git(&remove).await;
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| failed("worktree remove", &error))?;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| failed("worktree add", &error))?;
        }
        let add = [
            "worktree".as_ref(),
            "add".as_ref(),
            "--detach".as_ref(),
            target,
            commit.id.as_ref(),
        ];
        self.git(&add).await?;
        Ok(path)
    }

    /// Removes the tree of a commit, if there is one.
    ///
    /// # Errors
    /// Git fails.
    pub async fn remove_worktree(&self, service: &ServiceId, rev: &str) -> Result<(), GitError> {
        let commit = self.resolve(rev).await?;
        let path = self
            .trees
            .join(file_name(service.as_str()))
            .join(&commit.id);
        let _one = self.one_tree.lock().await;
        if !path.exists() {
            return Ok(());
        }
        let remove = [
            "worktree".as_ref(),
            "remove".as_ref(),
            "--force".as_ref(),
            path.as_os_str(),
        ];
        self.git(&remove).await.map(drop)
    }

    async fn is_clean_tree(&self, path: &Path, commit: &str) -> bool {
        // Not the repository around the folder, should the folder be none itself.
        if !path.join(".git").is_file() {
            return false;
        }
        let nothing = |_: &mut tokio::process::Command| ();
        let head = git(path, self.limit, &["rev-parse", "HEAD"], nothing).await;
        let status = ["status", "--porcelain", "--untracked-files=all"];
        let status = git(path, self.limit, &status, nothing).await;
        head.is_ok_and(|head| head == commit) && status.is_ok_and(|status| status.is_empty())
    }

    async fn commits(&self, rev: &str, count: usize) -> Result<Vec<Commit>, GitError> {
        let commit = self.name_of(rev).await?;
        let most = format!("--max-count={count}");
        let list = [
            "log",
            "--first-parent",
            &most,
            "--format=%H%x09%ct%x09%s",
            &commit,
            "--",
        ];
        let text = self.git(&list).await?;
        Ok(text.lines().filter_map(parse).collect())
    }

    /// The full name of a commit. A name that looks like an option is a name.
    async fn name_of(&self, rev: &str) -> Result<String, GitError> {
        if rev.is_empty() || rev.contains(char::is_control) {
            return Err(no_such(rev));
        }
        let wanted = format!("{rev}^{{commit}}");
        let parse = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &wanted,
        ];
        match self.git(&parse).await {
            // Older versions repeat the mark.
            Ok(text) => Ok(text.lines().last().unwrap_or_default().to_owned()),
            Err(GitError::Failed { .. }) => Err(no_such(rev)),
            Err(other) => Err(other),
        }
    }

    pub(super) async fn git<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: &[S],
    ) -> Result<String, GitError> {
        git(&self.repository, self.limit, args, |_| ()).await
    }
}

fn parse(line: &str) -> Option<Commit> {
    let mut parts = line.splitn(3, '\t');
    let (id, at, subject) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Commit {
        id: id.to_owned(),
        at: Timestamp::from_millis(at.parse::<i64>().ok()?.saturating_mul(1000)),
        subject: subject.to_owned(),
    })
}

fn no_such(rev: &str) -> GitError {
    GitError::NoSuchCommit {
        rev: rev.to_owned(),
    }
}

fn failed(action: &str, error: &std::io::Error) -> GitError {
    GitError::Failed {
        action: action.to_owned(),
        said: error.to_string(),
    }
}
