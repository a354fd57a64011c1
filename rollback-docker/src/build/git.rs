//! A commit and its tree, as git has them. Nothing of the repository is changed.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};

use super::source::BuildError;

/// One call of git, an archive of a large repository included.
const LIMIT: Duration = Duration::from_secs(300);
/// So much of what git complains about is read.
const MOST_WORDS: u64 = 64 << 10;

/// Variables that would send git to another repository or history than the one named.
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

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    /// Its full name.
    pub(super) id: String,
    /// The first line of its message.
    pub(super) subject: String,
}

/// The commit behind a branch, a tag or (part of) a name. A name that looks like an option is a
/// name.
pub(super) async fn commit(repository: &Path, rev: &str) -> Result<Commit, BuildError> {
    let no_such = || BuildError::NoSuchCommit {
        rev: rev.to_owned(),
        repository: repository.to_owned(),
    };
    if rev.is_empty() || rev.contains(char::is_control) {
        return Err(no_such());
    }
    call(repository, &["rev-parse", "--git-dir"], MOST_WORDS).await?;
    let wanted = format!("{rev}^{{commit}}");
    let parse = [
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &wanted,
    ];
    let id = match call(repository, &parse, MOST_WORDS).await {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(BuildError::Git { .. }) => return Err(no_such()),
        Err(other) => return Err(other),
    };
    // Older versions repeat the mark.
    let id = id.lines().last().unwrap_or_default().to_owned();
    let log = ["log", "--max-count=1", "--format=%s", &id, "--"];
    let subject = call(repository, &log, MOST_WORDS).await?;
    let subject = String::from_utf8_lossy(&subject).trim_end().to_owned();
    Ok(Commit { id, subject })
}

/// The tree of a commit, or of a folder in it, as a tar archive.
pub(super) async fn archive(
    repository: &Path,
    commit: &str,
    folder: &str,
    most: u64,
) -> Result<Vec<u8>, BuildError> {
    let tree = match folder {
        "" => commit.to_owned(),
        folder => format!("{commit}:{folder}"),
    };
    let archive = call(repository, &["archive", "--format=tar", &tree], most).await?;
    if archive.len() as u64 >= most {
        return Err(BuildError::TooLarge {
            commit: commit.to_owned(),
            most,
        });
    }
    Ok(archive)
}

/// A bounded call: its output, cut off at `most` bytes.
async fn call(repository: &Path, args: &[&str], most: u64) -> Result<Vec<u8>, BuildError> {
    let failed = |said: String| BuildError::Git {
        action: args.join(" "),
        repository: repository.to_owned(),
        said,
    };
    let mut command = Command::new("git");
    for name in LEADING_AWAY {
        command.env_remove(name);
    }
    let mut child = command
        .current_dir(repository)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .args(["-c", "core.fsmonitor=false", "-c", "gc.auto=0"])
        .args(args)
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            failed(format!(
                "git cannot be started there ({error}); is it installed, and is the folder there?"
            ))
        })?;
    let (out, words) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (out, words) = tokio::join!(read(out, most), read(words, MOST_WORDS));
        if out.len() as u64 >= most {
            // Nobody reads the rest.
            let _ = child.start_kill();
            return Ok((None, out, words));
        }
        Ok::<_, std::io::Error>((Some(child.wait().await?), out, words))
    };
    match timeout(LIMIT, work).await {
        Ok(Ok((None, out, _))) => Ok(out),
        Ok(Ok((Some(status), out, _))) if status.success() => Ok(out),
        Ok(Ok((_, _, words))) => {
            let words = String::from_utf8_lossy(&words);
            let words: Vec<&str> = words
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            let last = words.len().saturating_sub(3);
            Err(failed(words.get(last..).unwrap_or_default().join("; ")))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("it was not done within {LIMIT:?}"))),
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let _ = from.take(most).read_to_end(&mut bytes).await;
    }
    bytes
}
