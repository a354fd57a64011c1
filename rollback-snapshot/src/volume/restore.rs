//! The restore: into a folder beside, compared with the manifest, then the content is exchanged,
//! name by name. What was there before stays beside.
//!
//! | died while | then |
//! |---|---|
//! | unpacking | what is half unpacked is removed and unpacked anew |
//! | it was found whole | the exchange is done |
//! | in the middle of the exchange | the rest of it is done; this is the one step that is not given up |

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{OURS, archive, tree};
use crate::{
    files::{failed, has_room, hex, make, remove},
    job::{Stop, Worker},
    kept::Kept,
};

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Being unpacked beside.
    Unpacking,
    /// Found whole; what is there goes to the one side.
    Clearing,
    /// What was unpacked comes from the other.
    Placing,
}

/// After workers that died: what was unpacked is removed. An exchange that was begun stays as it
/// is, since half of either is worse than telling where everything is.
pub(super) fn give_up(root: &Path, worker: &Worker) -> Result<(), Stop> {
    let (new, old) = beside(root, worker);
    match worker.progress().unwrap_or(Step::Unpacking) {
        Step::Unpacking => Ok(remove(&new)?),
        Step::Clearing | Step::Placing => Err(Stop::Failed(format!(
            "the content of `{}` is half exchanged, and whoever worked on it died again and again: \
             what was kept is in `{}`, what was there before in `{}`; look at the disk",
            root.display(),
            new.display(),
            old.display()
        ))),
    }
}

/// Where it is unpacked, and where what was there goes.
fn beside(root: &Path, worker: &Worker) -> (PathBuf, PathBuf) {
    let tag = hex(&Sha256::digest(worker.record.id.to_string()));
    let tag = tag.get(..10).unwrap_or_default();
    let named = |word: &str| root.join(format!("{OURS}{word}-{tag}"));
    (named("restored"), named("before"))
}

pub(super) fn bring_back(root: &Path, worker: &mut Worker, kept: &Kept) -> Result<(), Stop> {
    let was: tree::Tree = serde_json::from_value(kept.manifest.about.clone()).map_err(|error| {
        let dir = kept.dir.display();
        Stop::Failed(format!(
            "the manifest in `{dir}` is not that of a volume: {error}"
        ))
    })?;
    let (new, old) = beside(root, worker);
    let mut step = worker.progress().unwrap_or(Step::Unpacking);
    if step == Step::Unpacking {
        worker.note(&Step::Unpacking)?;
        if let Err(stop) = unpack(root, worker, kept, &was, &new) {
            if let Err(why) = remove(&new) {
                tracing::warn!(why, "what was half unpacked is left");
            }
            return Err(stop);
        }
        tracing::warn!(volume = %root.display(), kept_as = %old.display(), "a volume is brought back");
        step = Step::Clearing;
        worker.note(&step)?;
    }
    if step == Step::Clearing {
        make(&old)?;
        for name in names(root)? {
            if !tree::is_ours(&name) {
                aside(&root.join(&name), &old, &name)?;
            }
        }
        step = Step::Placing;
        worker.note(&step)?;
    }
    if step == Step::Placing {
        for name in names(&new)? {
            let to = root.join(&name);
            // Somebody who still writes there was faster.
            if fs::symlink_metadata(&to).is_ok() {
                aside(&to, &old, &name)?;
            }
            let from = new.join(&name);
            fs::rename(&from, &to).map_err(|error| failed("put back", &to, &error))?;
        }
        sync(root)?;
        remove(&new)?;
    }
    Ok(())
}

fn unpack(
    root: &Path,
    worker: &Worker,
    kept: &Kept,
    was: &tree::Tree,
    new: &Path,
) -> Result<(), Stop> {
    let go_on = || worker.go_on();
    remove(new)?;
    has_room(root, was.room(), "the content of the volume")?;
    make(new)?;
    archive::unpack(&kept.data(), new, &go_on)?;
    let found = tree::of_folder(new, &go_on)?;
    if found != *was {
        return Err(Stop::Failed(format!(
            "what was unpacked ({found}) is not what was kept ({was}); it is removed, and `{}` is as \
             it was; owners are brought back for root only",
            root.display()
        )));
    }
    sync(new)?;
    go_on()
}

/// Moves something to what was there before; under another name if that is taken.
fn aside(from: &Path, old: &Path, name: &OsString) -> Result<(), Stop> {
    let mut to: PathBuf = old.join(name);
    let mut count = 0;
    while fs::symlink_metadata(&to).is_ok() {
        count += 1;
        let mut other = name.clone();
        other.push(format!("~{count}"));
        to = old.join(other);
    }
    match fs::rename(from, &to) {
        // Whoever it belongs to took it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("move aside", from, &error).into()),
        Ok(()) => Ok(()),
    }
}

fn names(dir: &Path) -> Result<Vec<OsString>, Stop> {
    let unlisted = |error: io::Error| failed("list", dir, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unlisted)? {
        names.push(entry.map_err(unlisted)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// All of the file system: there may be very many files.
fn sync(dir: &Path) -> Result<(), Stop> {
    let synced = fs::File::open(dir).and_then(|dir| rustix::fs::syncfs(&dir).map_err(Into::into));
    synced.map_err(|error| failed("flush", dir, &error).into())
}
