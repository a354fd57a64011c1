//! A volume: a folder, kept as a tar archive and brought back file by file, compared before and
//! after by a digest over all that is in it.
//!
//! What is kept: files (holes stay holes), folders, symbolic links (never followed), hard links,
//! pipes, names of any bytes, permissions, owners, and when files were changed. Sockets belong to
//! who listens, and are left out. Extended attributes and access lists are not kept. Owners are
//! brought back only for root.
//!
//! The folder itself stays, and its content is exchanged by renaming: what has it mounted, such as
//! a container, sees what was brought back. What was there before stays in
//! `.rollback-before-…` within it.
//!
//! Rooms: `tree` (the digest of a folder and of an archive), `archive` (from one to the other),
//! `restore`.

mod archive;
mod restore;
mod tree;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    files::has_room,
    job::{Stop, Worker},
    kept::Kept,
    task::{Data, sealed},
};

/// A folder: also that of a Docker volume, by its `Mountpoint`.
#[derive(Debug, Clone)]
pub struct Volume {
    path: PathBuf,
    name: String,
}

/// Names within a volume that are ours begin with this, and are not kept.
const OURS: &str = ".rollback-";
/// So often a snapshot is begun anew when what it copies changes.
const TRIES: u32 = 3;

impl Volume {
    /// A folder, called by its last name.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        Self { path, name }
    }

    /// Another name, where two would have the same: Docker's are all called `_data`.
    #[must_use]
    pub fn called(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl Data for Volume {
    fn name(&self) -> String {
        format!("volume-{}", self.name)
    }

    fn take(&self, worker: &Worker, to: &Path) -> Result<Value, Stop> {
        let go_on = || worker.go_on();
        let data = to.join("data");
        let mut differs = String::new();
        for _ in 0..TRIES {
            let before = tree::of_folder(&self.path, &go_on)?;
            has_room(to, before.room(), "the archive")?;
            if let Err(stop) = archive::write(&self.path, &data, &go_on) {
                match stop {
                    Stop::Failed(why) if tree::of_folder(&self.path, &go_on)? != before => {
                        differs = why;
                        continue;
                    }
                    stop => return Err(stop),
                }
            }
            // Read back as a restore would, and compared with what is there now.
            let kept = tree::of_archive(&data, &go_on)?;
            if kept == before {
                return serde_json::to_value(kept).map_err(|error| error.to_string().into());
            }
            differs = format!("{before} there, {kept} in the archive");
        }
        Err(Stop::Failed(format!(
            "`{}` changes while it is copied ({differs}); let nobody write to it during the \
             snapshot, or take it from a snapshot of the file system",
            self.path.display()
        )))
    }

    fn bring_back(&self, worker: &mut Worker, kept: &Kept) -> Result<(), Stop> {
        restore::bring_back(&self.path, worker, kept)
    }

    fn give_up(&self, worker: &Worker) -> Result<(), Stop> {
        restore::give_up(&self.path, worker)
    }

    fn loss(&self, kept: &Kept) -> Result<String, String> {
        let changed = tree::changed_since(&self.path, kept.manifest.taken_at)?;
        let since = kept.manifest.taken_at;
        Ok(format!(
            "what was written to `{}` since {since}: {} files and folders were made or changed",
            self.path.display(),
            changed
        ))
    }
}

#[allow(private_interfaces, reason = "a sealed trait")]
impl sealed::Restorable for Volume {
    fn data(self) -> Arc<dyn Data> {
        Arc::new(self)
    }
}
