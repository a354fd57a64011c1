//! The work as a [`Task`]: begun, found again, gone on with, stopped.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use rollback_core::{
    model::{ChangeId, ServiceId},
    ports::{Task, TaskError, TaskHandle, TaskStatus},
};
use serde_json::Value;

use crate::{
    files::{file_name, make, now},
    job::{End, Job, Stop, Worker},
    kept::{Kept, Manifest, Shelf},
};

/// So many jobs of one kind of data are remembered.
const KEPT_JOBS: usize = 50;

/// Something that snapshots are made of.
pub(crate) trait Data: fmt::Debug + Send + Sync + 'static {
    /// What it is called: a kind and a name.
    fn name(&self) -> String;

    /// Writes it into `to`, checks what was written, and says what must be found when it is brought
    /// back. Begun anew when a worker died.
    fn take(&self, worker: &Worker, to: &Path) -> Result<Value, Stop>;

    /// Brings it back. Goes on where an earlier worker died; when it gives up, everything is as it
    /// was before, or it says what is not.
    fn bring_back(&self, worker: &mut Worker, kept: &Kept) -> Result<(), Stop>;

    /// Takes back what a worker that died had begun, since nobody will go on with it.
    fn give_up(&self, worker: &Worker) -> Result<(), Stop>;

    /// What would be lost by bringing it back now.
    fn loss(&self, kept: &Kept) -> Result<String, String>;
}

/// Where snapshots are kept.
///
/// ```no_run
/// use rollback_core::model::Secret;
/// use rollback_snapshot::{Postgres, Snapshots, Volume};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let snapshots = Snapshots::open("/var/lib/rollback/snapshots")?.keep(5);
/// let orders = Postgres::new("orders")
///     .host("db.internal")
///     .user("deployer")
///     .password(Secret::new(std::env::var("ORDERS_PASSWORD")?));
/// let snapshot = snapshots.snapshot_of(orders.clone());
/// let restore = snapshots.restore_of(orders);
/// let uploads = snapshots.snapshot_of(Volume::at("/srv/shop/uploads"));
/// # let _ = (snapshot, restore, uploads);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Snapshots {
    root: PathBuf,
    keep: usize,
}

/// Why snapshots cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("snapshots: {why}")]
pub struct SnapshotError {
    /// What happened and what to do.
    pub why: String,
}

/// A snapshot, or a restore, as a task of a policy.
///
/// It runs on a thread of this process. A controller that starts anew finds it and goes on with it
/// when it asks for its status.
#[derive(Clone)]
pub struct SnapshotTask {
    root: PathBuf,
    data: Arc<dyn Data>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Take { keep: usize },
    BringBack,
}

/// What a snapshot can be made of: [`Postgres`](crate::Postgres), [`Volume`](crate::Volume).
pub trait Restorable: sealed::Restorable {}
impl<T: sealed::Restorable> Restorable for T {}

pub(crate) mod sealed {
    /// Known here only.
    #[allow(private_interfaces, unreachable_pub, reason = "a sealed trait")]
    pub trait Restorable {
        #[doc(hidden)]
        fn data(self) -> std::sync::Arc<dyn super::Data>;
    }
}

impl Snapshots {
    /// Opens the folder, and makes it for its owner alone if there is none.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, SnapshotError> {
        let root = std::path::absolute(root.as_ref()).map_err(|error| SnapshotError {
            why: error.to_string(),
        })?;
        make(&root).map_err(|why| SnapshotError { why })?;
        Ok(Self { root, keep: 3 })
    }

    /// So many snapshots of each kind of data of a service are kept; 3. The newest is always kept.
    #[must_use]
    pub const fn keep(mut self, count: usize) -> Self {
        self.keep = count;
        self
    }

    /// The task that makes a snapshot: `when: before` in a policy.
    #[must_use]
    pub fn snapshot_of(&self, data: impl Restorable) -> SnapshotTask {
        self.task(data, Kind::Take { keep: self.keep })
    }

    /// The task that brings back the snapshot that was made before the deployment it runs in:
    /// `when: restore` in a policy, with what it `loses`.
    #[must_use]
    pub fn restore_of(&self, data: impl Restorable) -> SnapshotTask {
        self.task(data, Kind::BringBack)
    }

    fn task(&self, data: impl Restorable, kind: Kind) -> SnapshotTask {
        SnapshotTask {
            root: self.root.clone(),
            data: data.data(),
            kind,
        }
    }
}

impl SnapshotTask {
    /// The snapshots that are there, the newest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn kept(&self, service: &ServiceId) -> Result<Vec<Manifest>, SnapshotError> {
        let all = self.shelf(service).all();
        let all = all.map_err(|why| SnapshotError { why })?;
        Ok(all.into_iter().map(|kept| kept.manifest).collect())
    }

    /// What bringing back the snapshot of before a deployment would lose if it were done now:
    /// since when, and how much, as far as that can be said.
    ///
    /// # Errors
    /// There is none, or what is there now cannot be looked at.
    pub async fn loss(
        &self,
        service: &ServiceId,
        deployment: &rollback_core::model::DeploymentId,
    ) -> Result<String, SnapshotError> {
        let (task, shelf, deployment) = (self.clone(), self.shelf(service), deployment.clone());
        let look = move || {
            let kept = shelf
                .for_deployment(&deployment)
                .map_err(|stop| match stop {
                    Stop::Failed(why) => why,
                    Stop::Cancelled => String::new(),
                })?;
            task.data.loss(&kept)
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(found) => found.map_err(|why| SnapshotError { why }),
            Err(error) => Err(SnapshotError {
                why: error.to_string(),
            }),
        }
    }

    fn shelf(&self, service: &ServiceId) -> Shelf {
        Shelf::of(&self.root, service, &self.data.name())
    }

    fn handle(&self, service: &ServiceId, id: &ChangeId) -> TaskHandle {
        let words = [service.as_str(), &self.data.name(), &id.to_string()];
        TaskHandle(words.map(file_name).join("/"))
    }

    /// The job that a handle names, which was made by `handle` and has no way out of the folder.
    fn job(&self, handle: &TaskHandle) -> Result<Job, TaskError> {
        let words: Vec<&str> = handle.0.split('/').collect();
        let plain = |name: &&str| !name.is_empty() && !name.starts_with('.');
        match words.as_slice() {
            [service, data, id] if words.iter().all(plain) => {
                let dir = self.root.join(service).join(data).join("jobs").join(id);
                Ok(Job::at(dir))
            }
            _ => Err(not_started(format!("`{}` names no job", handle.0))),
        }
    }

    /// Works on it, on a thread of its own, unless somebody does.
    fn work_on(&self, job: &Job) -> Result<(), TaskError> {
        let Some(mut worker) = job.take().map_err(maybe)? else {
            return Ok(());
        };
        // It may have ended between the question and the lock.
        if job.end().map_err(maybe)?.is_some() {
            return Ok(());
        }
        let task = self.clone();
        let work = move || {
            let end = match task.run(&mut worker) {
                Ok(()) => End::Succeeded,
                Err(Stop::Cancelled) => End::Failed {
                    why: "it was asked to stop".to_owned(),
                },
                Err(Stop::Failed(why)) => End::Failed { why },
            };
            if let Err(error) = worker.finish(&end) {
                // Whoever asks next does it again, and comes to the same end.
                tracing::warn!(%error, "the end of a snapshot's task is not written down");
            }
        };
        std::thread::Builder::new()
            .name("rollback-snapshot".to_owned())
            .spawn(work)
            .map(drop)
            .map_err(|error| not_started(format!("no thread can be started: {error}")))
    }

    fn run(&self, worker: &mut Worker) -> Result<(), Stop> {
        if let Err(stop) = worker.begin() {
            if self.kind == Kind::BringBack {
                self.data.give_up(worker)?;
            }
            return Err(stop);
        }
        let (service, id) = (worker.record.service.clone(), worker.record.id.clone());
        let shelf = self.shelf(&service);
        match self.kind {
            Kind::Take { keep } => {
                if !shelf.has(&id) {
                    self.take(worker, &shelf, &id)?;
                }
                if let Err(error) = shelf.prune(keep) {
                    tracing::warn!(%error, "old snapshots are not removed");
                }
                Ok(())
            }
            Kind::BringBack => {
                let kept = shelf.for_deployment(&id.deployment)?;
                kept.check()?;
                worker.go_on()?;
                self.data.bring_back(worker, &kept)
            }
        }
    }

    fn take(&self, worker: &Worker, shelf: &Shelf, id: &ChangeId) -> Result<(), Stop> {
        let make = || {
            worker.go_on()?;
            let dir = shelf.prepare(id)?;
            // What is written later than this may be missing from it.
            let taken_at = now();
            let about = self.data.take(worker, &dir)?;
            worker.go_on()?;
            let manifest = shelf.keep(id, taken_at, about)?;
            tracing::info!(
                of = manifest.of,
                bytes = manifest.bytes,
                "a snapshot is kept"
            );
            Ok(())
        };
        make().inspect_err(|_| {
            if let Err(error) = shelf.discard(id) {
                tracing::warn!(%error, "a snapshot that failed is not removed");
            }
        })
    }
}

#[async_trait]
impl Task for SnapshotTask {
    async fn start(&self, service: &ServiceId, id: &ChangeId) -> Result<TaskHandle, TaskError> {
        let (task, service, id) = (self.clone(), service.clone(), id.clone());
        blocking(move || {
            let shelf = task.shelf(&service);
            let dir = shelf.job_dir(&id);
            forget(dir.parent());
            let job = Job::at(dir);
            job.ask(&service, &id).map_err(not_started)?;
            task.work_on(&job)?;
            Ok(task.handle(&service, &id))
        })
        .await
    }

    async fn find(
        &self,
        service: &ServiceId,
        id: &ChangeId,
    ) -> Result<Option<TaskHandle>, TaskError> {
        let handle = self.handle(service, id);
        let job = self.job(&handle)?;
        blocking(move || Ok(job.record().map_err(maybe)?.map(|_| handle))).await
    }

    async fn status(&self, handle: &TaskHandle) -> Result<TaskStatus, TaskError> {
        let (task, job, handle) = (self.clone(), self.job(handle)?, handle.clone());
        blocking(move || {
            if job.record().map_err(maybe)?.is_none() {
                return Err(not_started(format!(
                    "nothing was started as `{}`",
                    handle.0
                )));
            }
            match job.end().map_err(maybe)? {
                Some(End::Succeeded) => return Ok(TaskStatus::Succeeded),
                Some(End::Failed { why }) => return Ok(TaskStatus::Failed { why }),
                None => {}
            }
            task.work_on(&job)?;
            Ok(TaskStatus::Running)
        })
        .await
    }

    async fn cancel(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        let (task, job) = (self.clone(), self.job(handle)?);
        blocking(move || {
            if job.record().map_err(maybe)?.is_none() || job.end().map_err(maybe)?.is_some() {
                return Ok(());
            }
            job.ask_to_stop().map_err(maybe)?;
            // Where its worker died, somebody has to take back what it began.
            task.work_on(&job)
        })
        .await
    }
}

impl fmt::Debug for SnapshotTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotTask")
            .field("root", &self.root)
            .field("data", &self.data)
            .field("kind", &self.kind)
            .finish()
    }
}

/// Removes the oldest jobs that have ended.
fn forget(jobs: Option<&Path>) {
    let entries = jobs.and_then(|dir| fs::read_dir(dir).ok());
    let mut ended: Vec<_> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let job = Job::at(entry.ok()?.path());
            job.end().ok()??;
            Some((job.record().ok()??.asked_at, job))
        })
        .collect();
    ended.sort_by_key(|(asked_at, _)| *asked_at);
    let many = ended.len().saturating_sub(KEPT_JOBS);
    for (_, job) in ended.iter().take(many) {
        let _ = fs::remove_dir_all(job.path());
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
) -> Result<T, TaskError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(maybe(format!("the work was cut off: {error}"))),
    }
}

fn not_started(why: String) -> TaskError {
    TaskError::NotStarted { why }
}

fn maybe(why: String) -> TaskError {
    TaskError::MaybeStarted { why }
}
