//! The state directory: what should run, what was started, and who may supervise. Everything that
//! must survive the controller is here, each file replaced in one step, so that no crash leaves
//! half of one.
//!
//! ```text
//! <root>/<service>/
//!   supervisor.lock     held by the one controller that starts and stops processes
//!   wanted.lock         held for the moment of a change
//!   wanted.json         what should run, with its revision
//!   releases/ID.json    definitions, without secret values
//!   instances/ID.json   one per instance: written before it is started, completed after
//!   logs/RELEASE~ID.log what it prints; kept for a while when the instance is gone
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rollback_core::model::{ChangeId, Definition, Pace, ReleaseId, ServiceId, Timestamp, Wanted};
use serde::{Deserialize, Serialize};

use crate::{
    files::{Durable, SCHEMA, StateError, failed, file_name, lock_file, read, read_plain, replace},
    identity::ProcessIdentity,
};

/// Longest wait for another controller to finish its change.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The directory of one service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceDir {
    path: PathBuf,
}

/// What should run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct WantedState {
    pub(crate) schema: u32,
    /// Grows with each change: the etag.
    pub(crate) revision: u64,
    pub(crate) wanted: Wanted,
    pub(crate) last_change: Option<ChangeId>,
    /// Releases that stay until another one, that takes their place, is ready.
    pub(crate) replaced_by: BTreeMap<ReleaseId, ReleaseId>,
    /// How they make room for it; none: at once.
    #[serde(default)]
    pub(crate) pace: Option<Pace>,
}

/// What is known of one instance. The levels that [`Phase`] names are written when they change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    schema: u32,
    /// The marker in the environment, and the name of the file.
    pub(crate) id: String,
    pub(crate) release: ReleaseId,
    /// None: about to be started, or the controller died before it could write the pid.
    pub(crate) process: Option<ProcessIdentity>,
    pub(crate) port: Option<u16>,
    pub(crate) started_at: Timestamp,
    pub(crate) phase: Phase,
    /// Starts after the first.
    pub(crate) restarts: u32,
    /// Crashes and failed starts in a row.
    pub(crate) failures: u32,
    /// How the process before this one ended.
    pub(crate) last_exit: Option<String>,
}

/// How an instance is, as its supervisor last saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Runs, was not ready yet.
    Starting,
    /// Runs, and its probe succeeds.
    Ready,
    /// Runs, was ready, and its probe fails.
    Unhealthy { why: String },
    /// Ended; started again after a pause.
    Crashed { how: String },
    /// Could not be started; tried again after a pause.
    CannotStart { why: String },
    /// On its way out.
    Stopping,
}

impl InstanceRecord {
    pub(crate) const fn intent(id: String, release: ReleaseId, at: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            id,
            release,
            process: None,
            port: None,
            started_at: at,
            phase: Phase::Starting,
            restarts: 0,
            failures: 0,
            last_exit: None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(ProcessIdentity::is_running)
    }
}

impl ServiceDir {
    /// Opens or makes the directory of `service`, for its owner alone.
    pub(crate) fn open(root: &Path, service: &ServiceId) -> Result<Self, StateError> {
        let path = root.join(file_name(service.as_str()));
        for dir in [
            path.clone(),
            path.join("releases"),
            path.join("instances"),
            path.join("logs"),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(failed("create the folder", &dir))?;
        }
        Ok(Self { path })
    }

    /// Whether the service was ever opened.
    pub(crate) fn exists(root: &Path, service: &ServiceId) -> bool {
        root.join(file_name(service.as_str())).is_dir()
    }

    /// Where an instance of `release` prints to; the file stays when the instance goes.
    pub(crate) fn log_path(&self, release: &ReleaseId, instance: &str) -> PathBuf {
        let release = file_name(release.as_str());
        self.path
            .join("logs")
            .join(format!("{release}~{instance}.log"))
    }

    /// The logs of `release` (of all releases for none), the one written to last at the end.
    pub(crate) fn logs(&self, release: Option<&ReleaseId>) -> Vec<PathBuf> {
        let prefix = release.map(|release| format!("{}~", file_name(release.as_str())));
        let mut logs: Vec<_> = fs::read_dir(self.path.join("logs"))
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let name = path.file_name()?.to_str()?;
                let ours = prefix
                    .as_ref()
                    .is_none_or(|prefix| name.starts_with(prefix));
                let written = path.metadata().and_then(|meta| meta.modified()).ok()?;
                (ours && name.ends_with(".log")).then_some((written, path))
            })
            .collect();
        logs.sort();
        logs.into_iter().map(|(_, path)| path).collect()
    }

    /// The right to start and stop processes, until the returned file is closed; none while another
    /// controller has it. A child that was forked and does not run its program yet keeps the lock
    /// of its parent, so whoever gets it knows that every process already carries its marker.
    pub(crate) fn try_supervise(&self) -> Result<Option<File>, StateError> {
        let path = self.path.join("supervisor.lock");
        let file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    pub(crate) fn wanted(&self) -> Result<WantedState, StateError> {
        Ok(read(&self.path.join("wanted.json"))?.unwrap_or_default())
    }

    /// Reads what is wanted, lets `change` decide, and replaces it durably: one change at a time
    /// across all controllers on this machine. Blocks: not for the async runtime's threads.
    pub(crate) fn change_wanted<E: From<StateError>>(
        &self,
        change: impl FnOnce(WantedState) -> Result<WantedState, E>,
    ) -> Result<WantedState, E> {
        let path = self.path.join("wanted.lock");
        let lock = lock_file(&path)?;
        let since = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => {
                    return Err(failed("lock", &path)(source).into());
                }
                Err(TryLockError::WouldBlock) if since.elapsed() > LOCK_PATIENCE => {
                    return Err(StateError::Locked(path).into());
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        let before = self.wanted()?;
        let revision = before.revision;
        let after = WantedState {
            schema: SCHEMA,
            revision: revision + 1,
            ..change(before)?
        };
        replace(&self.path.join("wanted.json"), &after, Durable::Yes)?;
        Ok(after)
    }

    /// Keeps a release's definition, also for a later rollback to it.
    pub(crate) fn keep_release(
        &self,
        id: &ReleaseId,
        definition: &Definition,
    ) -> Result<(), StateError> {
        replace(&self.release_path(id), definition, Durable::Yes)
    }

    pub(crate) fn release(&self, id: &ReleaseId) -> Result<Option<Definition>, StateError> {
        read_plain(&self.release_path(id))
    }

    /// Not flushed to the disk: the page cache outlives the controller, and no process outlives the
    /// machine.
    pub(crate) fn write_instance(&self, record: &InstanceRecord) -> Result<(), StateError> {
        replace(&self.instance_path(&record.id), record, Durable::No)
    }

    pub(crate) fn remove_instance(&self, id: &str) -> Result<(), StateError> {
        let path = self.instance_path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// All instances, and the ids of those whose file is damaged.
    pub(crate) fn instances(&self) -> Result<(Vec<InstanceRecord>, Vec<String>), StateError> {
        let dir = self.path.join("instances");
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&dir).map_err(failed("list", &dir))? {
            let path = entry.map_err(failed("list", &dir))?.path();
            let Some(id) = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(".json"))
            else {
                continue;
            };
            match read::<InstanceRecord>(&path) {
                Ok(Some(record)) if record.id == id => records.push(record),
                // Removed between the listing and the reading.
                Ok(None) => {}
                Ok(Some(_)) | Err(StateError::Damaged { .. }) => damaged.push(id.to_owned()),
                Err(error) => return Err(error),
            }
        }
        records.sort_by(|a, b| {
            (&a.release, a.started_at, &a.id).cmp(&(&b.release, b.started_at, &b.id))
        });
        Ok((records, damaged))
    }

    fn release_path(&self, id: &ReleaseId) -> PathBuf {
        self.path
            .join("releases")
            .join(format!("{}.json", file_name(id.as_str())))
    }

    fn instance_path(&self, id: &str) -> PathBuf {
        self.path.join("instances").join(format!("{id}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(root: &tempfile::TempDir) -> ServiceDir {
        ServiceDir::open(root.path(), &ServiceId::new("shop/checkout").unwrap()).unwrap()
    }

    #[test]
    fn each_change_has_a_revision_and_a_refused_one_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(&root);
        let release = ReleaseId::new("v1").unwrap();
        let only = Wanted::only(release);
        let first = dir
            .change_wanted(|state| {
                Ok::<_, StateError>(WantedState {
                    wanted: only.clone(),
                    ..state
                })
            })
            .unwrap();
        assert_eq!((first.revision, &first.wanted), (1, &only));
        let path = PathBuf::from("x");
        dir.change_wanted(|_| Err(StateError::Locked(path)))
            .unwrap_err();
        assert_eq!(dir.wanted().unwrap(), first);
    }

    #[test]
    fn changes_of_many_controllers_are_one_after_the_other() {
        let root = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let dir = dir(&root);
                    for _ in 0..10 {
                        dir.change_wanted(Ok::<_, StateError>).unwrap();
                    }
                });
            }
        });
        assert_eq!(dir(&root).wanted().unwrap().revision, 40);
    }

    #[test]
    fn one_supervisor_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(&root);
        let held = dir.try_supervise().unwrap();
        assert!(held.is_some());
        assert!(dir.try_supervise().unwrap().is_none());
        drop(held);
        assert!(dir.try_supervise().unwrap().is_some());
    }

    #[test]
    fn damaged_and_newer_files_are_named() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(&root);
        let path = dir.path.join("wanted.json");
        fs::write(&path, "{\"schema\":1,").unwrap();
        let error = dir.wanted().unwrap_err().to_string();
        assert!(
            error.contains("wanted.json") && error.contains("damaged"),
            "{error}"
        );
        fs::write(&path, "{\"schema\":7}").unwrap();
        let error = dir.wanted().unwrap_err().to_string();
        assert!(error.contains("newer version"), "{error}");
        fs::write(dir.instance_path("abc"), "").unwrap();
        assert_eq!(dir.instances().unwrap(), (vec![], vec!["abc".to_owned()]));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(&root);
        // Works for the superuser as well, whom a read-only mode would not stop.
        fs::remove_dir(dir.path.join("releases")).unwrap();
        fs::write(dir.path.join("releases"), "not a folder").unwrap();
        let id = ReleaseId::new("v1").unwrap();
        let error = dir
            .keep_release(&id, &Definition::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("releases/v1.json") && error.contains("writable"),
            "{error}"
        );
    }
}
