//! One bounded call of the `git` program.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rollback_core::model::duration_text;
use tokio::{process::Command, time::timeout};

/// Variables that would send git to another repository, index or history than the one named.
const LEADING_AWAY: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
];

/// Why git did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The folder is no repository that git would use.
    #[error("`{}` is not a git repository that can be used: {said}", .path.display())]
    NotARepository {
        /// The folder.
        path: PathBuf,
        /// Git's words.
        said: String,
    },
    /// No such commit.
    #[error("the repository has no commit `{rev}`; fetch it first, or correct the name")]
    NoSuchCommit {
        /// What was asked for.
        rev: String,
    },
    /// The branch stands for another rollback already.
    #[error(
        "the branch `{name}` is there already and holds something else; branches are not moved: remove it, or give the deployment another id"
    )]
    BranchTaken {
        /// Its name.
        name: String,
    },
    /// A name that git cannot use.
    #[error("`{text}` cannot be used as {what}")]
    Name {
        /// The text.
        text: String,
        /// For what.
        what: &'static str,
    },
    /// Git said no.
    #[error("`git {action}` failed: {said}")]
    Failed {
        /// What was tried.
        action: String,
        /// Git's words.
        said: String,
    },
    /// It took too long.
    #[error("`git {action}` was not done within {}", duration_text(*.limit))]
    TimedOut {
        /// What was tried.
        action: String,
        /// The limit.
        limit: Duration,
    },
}

/// A call in `dir`: its output without the last line's end.
pub(super) async fn git<S: AsRef<OsStr>>(
    dir: &Path,
    limit: Duration,
    args: &[S],
    extend: impl FnOnce(&mut Command),
) -> Result<String, GitError> {
    let words: Vec<String> = args
        .iter()
        .map(|arg| arg.as_ref().to_string_lossy().into_owned())
        .collect();
    let action = words.join(" ");
    let mut command = Command::new("git");
    for name in LEADING_AWAY {
        command.env_remove(name);
    }
    command
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .args(["-c", "core.fsmonitor=false", "-c", "gc.auto=0"])
        .kill_on_drop(true)
        .stdin(Stdio::null());
    if words.first().is_none_or(|verb| verb != "push") {
        command.args(["-c", "core.hooksPath=/dev/null"]);
    }
    command.args(args);
    extend(&mut command);
    let output = match timeout(limit, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            let said = format!("git cannot be started ({error}); install it");
            return Err(GitError::Failed { action, said });
        }
        Err(_) => return Err(GitError::TimedOut { action, limit }),
    };
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(text.trim_end_matches('\n').to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = said.len().saturating_sub(3);
    Err(GitError::Failed {
        action,
        said: said.get(last..).unwrap_or_default().join("; "),
    })
}
