//! The snapshots that are kept: made beside, checked, and named only when they are whole.
//!
//! ```text
//! <root>/<service>/<data>/
//!   kept/CHANGE/manifest.json   what it is of, its length and checksum
//!   kept/CHANGE/data
//!   kept/.new-CHANGE/           being made; never read
//!   jobs/CHANGE/
//! ```

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rollback_core::model::{ChangeId, DeploymentId, ServiceId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    files::{digest, failed, file_name, make, read, remove, replace, sync_folder_of},
    job::Stop,
};

const SCHEMA: u32 = 1;

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    schema: u32,
    /// The service.
    pub service: ServiceId,
    /// The deployment before which it was made.
    pub deployment: DeploymentId,
    /// Of what: `postgres-shop`, `volume-uploads`.
    pub of: String,
    /// What it holds is as of this time.
    pub taken_at: Timestamp,
    /// Length of the data.
    pub bytes: u64,
    /// SHA-256 of the data.
    pub sha256: String,
    /// What the data must show when it is brought back.
    pub about: Value,
}

/// The place of the snapshots of one kind of data of one service.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    dir: PathBuf,
    service: ServiceId,
    of: String,
}

/// A snapshot that is whole.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Shelf {
    pub(crate) fn of(root: &Path, service: &ServiceId, of: &str) -> Self {
        let dir = root.join(file_name(service.as_str())).join(file_name(of));
        Self {
            dir,
            service: service.clone(),
            of: of.to_owned(),
        }
    }

    pub(crate) fn job_dir(&self, id: &ChangeId) -> PathBuf {
        self.dir.join("jobs").join(file_name(&id.to_string()))
    }

    fn kept_dir(&self, id: &ChangeId) -> PathBuf {
        self.dir.join("kept").join(file_name(&id.to_string()))
    }

    fn new_dir(&self, id: &ChangeId) -> PathBuf {
        let name = format!(".new-{}", file_name(&id.to_string()));
        self.dir.join("kept").join(name)
    }

    /// An empty folder to make it in; what an earlier worker left there is gone.
    pub(crate) fn prepare(&self, id: &ChangeId) -> Result<PathBuf, String> {
        let dir = self.new_dir(id);
        remove(&dir)?;
        make(&dir)?;
        Ok(dir)
    }

    pub(crate) fn discard(&self, id: &ChangeId) -> Result<(), String> {
        remove(&self.new_dir(id))
    }

    /// Whether it is there, whole.
    pub(crate) fn has(&self, id: &ChangeId) -> bool {
        self.kept_dir(id).join("manifest.json").exists()
    }

    /// Gives what was made its name: flushed first, so that it is whole whenever it is there.
    pub(crate) fn keep(
        &self,
        id: &ChangeId,
        taken_at: Timestamp,
        about: Value,
    ) -> Result<Manifest, String> {
        let dir = self.new_dir(id);
        let data = dir.join("data");
        File::open(&data)
            .and_then(|file| file.sync_all())
            .map_err(|error| failed("flush", &data, &error))?;
        let (bytes, sha256) = digest(&data)?;
        let manifest = Manifest {
            schema: SCHEMA,
            service: self.service.clone(),
            deployment: id.deployment.clone(),
            of: self.of.clone(),
            taken_at,
            bytes,
            sha256,
            about,
        };
        replace(&dir.join("manifest.json"), &manifest)?;
        let kept = self.kept_dir(id);
        fs::rename(&dir, &kept)
            .and_then(|()| sync_folder_of(&kept))
            .map_err(|error| failed("name", &kept, &error))?;
        Ok(manifest)
    }

    /// All that are whole, the newest first.
    pub(crate) fn all(&self) -> Result<Vec<Kept>, String> {
        let dir = self.dir.join("kept");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("list", &dir, &error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &dir, &error))?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let dir = entry.path();
            match read::<Manifest>(&dir.join("manifest.json"))? {
                Some(manifest) if manifest.schema > SCHEMA => {
                    return Err(format!(
                        "`{}` was made by a newer version of this library; use that one",
                        dir.display()
                    ));
                }
                Some(manifest) => found.push(Kept { dir, manifest }),
                None => {}
            }
        }
        found.sort_by(|a, b| (b.manifest.taken_at, &b.dir).cmp(&(a.manifest.taken_at, &a.dir)));
        Ok(found)
    }

    /// The newest that was made for a deployment.
    pub(crate) fn for_deployment(&self, deployment: &DeploymentId) -> Result<Kept, Stop> {
        let all = self.all()?;
        let found = all.into_iter().find(|kept| {
            kept.manifest.deployment == *deployment && kept.manifest.service == self.service
        });
        found.ok_or_else(|| {
            Stop::Failed(format!(
                "there is no snapshot of {} from before deployment {deployment} in `{}`; run a \
                 snapshot as a task with `when: before`",
                self.of,
                self.dir.display()
            ))
        })
    }

    /// Removes all but the newest `keep`, and never the newest: the deployment that is under way
    /// may still need it.
    pub(crate) fn prune(&self, keep: usize) -> Result<(), String> {
        for old in self.all()?.iter().skip(keep.max(1)) {
            // Under another name first: what is half removed is never taken for whole.
            let name = old.dir.file_name().unwrap_or_default().to_string_lossy();
            let going = self.dir.join("kept").join(format!(".old-{name}"));
            fs::rename(&old.dir, &going).map_err(|error| failed("rename", &old.dir, &error))?;
            remove(&going)?;
        }
        Ok(())
    }
}

impl Kept {
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Whether the data is still what was kept.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (bytes, sha256) = digest(&self.data())?;
        let Manifest {
            bytes: kept_bytes,
            sha256: kept_sha256,
            ..
        } = &self.manifest;
        if bytes != *kept_bytes || sha256 != *kept_sha256 {
            return Err(format!(
                "the snapshot `{}` is damaged: it has {bytes} bytes with checksum {sha256}, and \
                 was kept with {kept_bytes} and {kept_sha256}; it is not brought back",
                self.dir.display()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "this is test code")]
mod tests {
    use super::*;

    fn id(deployment: &str, attempt: u32) -> ChangeId {
        ChangeId {
            deployment: DeploymentId::new(deployment).unwrap(),
            step: 1,
            attempt,
        }
    }

    fn keep(shelf: &Shelf, id: &ChangeId, at: i64, text: &str) {
        let dir = shelf.prepare(id).unwrap();
        fs::write(dir.join("data"), text).unwrap();
        let at = Timestamp::from_millis(at);
        shelf.keep(id, at, Value::Null).unwrap();
    }

    #[test]
    fn only_what_is_whole_is_found_and_only_for_its_deployment() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(root.path(), &ServiceId::new("../shop").unwrap(), "volume-x");
        assert!(shelf.all().unwrap().is_empty());
        let half = shelf.prepare(&id("d1", 1)).unwrap();
        assert!(half.starts_with(root.path()));
        fs::write(half.join("data"), "half").unwrap();
        assert!(shelf.for_deployment(&id("d1", 1).deployment).is_err());
        keep(&shelf, &id("d1", 2), 10, "first");
        keep(&shelf, &id("d1", 3), 20, "second");
        keep(&shelf, &id("d2", 1), 30, "third");
        let kept = shelf.for_deployment(&id("d1", 1).deployment).unwrap();
        assert_eq!(fs::read_to_string(kept.data()).unwrap(), "second");
        kept.check().unwrap();
        fs::write(kept.data(), "sec0nd").unwrap();
        assert!(kept.check().unwrap_err().contains("is damaged"));
    }

    #[test]
    fn the_newest_stays_whatever_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(root.path(), &ServiceId::new("shop").unwrap(), "volume-x");
        for number in 1..=4 {
            keep(&shelf, &id("d1", number), i64::from(number), "x");
        }
        shelf.prune(2).unwrap();
        let left = |shelf: &Shelf| -> Vec<i64> {
            let all = shelf.all().unwrap();
            all.iter()
                .map(|kept| kept.manifest.taken_at.as_millis())
                .collect()
        };
        assert_eq!(left(&shelf), [4, 3]);
        shelf.prune(0).unwrap();
        assert_eq!(left(&shelf), [4]);
    }
}
