//! One run of a task, in a folder of its own, so that a controller that starts anew finds out what
//! became of it, and goes on with it.
//!
//! ```text
//! <job>/
//!   lock       held by whoever works on it; the kernel takes it back when that one dies
//!   job.json   what was asked, how often it was begun, how far it is
//!   cancel     somebody asked to stop it
//!   end.json   how it ended; written last
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rollback_core::model::{ChangeId, ServiceId, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::files::{failed, make, now, read, replace};

/// A job that was begun so often, and whose worker died each time, is given up.
const MOST_BEGINNINGS: u32 = 5;

/// Why the work is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody asked for it.
    Cancelled,
    /// It went wrong: what happened and what to do.
    Failed(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Succeeded,
    Failed { why: String },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) service: ServiceId,
    pub(crate) id: ChangeId,
    pub(crate) asked_at: Timestamp,
    pub(crate) beginnings: u32,
    /// How far it is, in the words of the work.
    #[serde(default)]
    progress: Value,
}

/// The folder of one job.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    dir: PathBuf,
}

/// The right to work on a job.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) job: Job,
    pub(crate) record: Record,
    _lock: File,
}

impl Job {
    pub(crate) const fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Writes down what is asked for, unless it was before.
    pub(crate) fn ask(&self, service: &ServiceId, id: &ChangeId) -> Result<(), String> {
        make(&self.dir)?;
        if self.record()?.is_none() {
            let record = Record {
                service: service.clone(),
                id: id.clone(),
                asked_at: now(),
                beginnings: 0,
                progress: Value::Null,
            };
            replace(&self.dir.join("job.json"), &record)?;
        }
        Ok(())
    }

    pub(crate) fn record(&self) -> Result<Option<Record>, String> {
        read(&self.dir.join("job.json"))
    }

    pub(crate) fn end(&self) -> Result<Option<End>, String> {
        read(&self.dir.join("end.json"))
    }

    /// The right to work on it; none if somebody does.
    pub(crate) fn take(&self) -> Result<Option<Worker>, String> {
        let path = self.dir.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed("open", &path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path, &error)),
        }
        let record = self.record()?;
        let record = record.ok_or_else(|| format!("`{}` is no job", self.dir.display()))?;
        Ok(Some(Worker {
            job: self.clone(),
            record,
            _lock: lock,
        }))
    }

    pub(crate) fn ask_to_stop(&self) -> Result<(), String> {
        let path = self.dir.join("cancel");
        fs::write(&path, "").map_err(|error| failed("write", &path, &error))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.dir.join("cancel").exists()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Worker {
    /// Counts a beginning.
    pub(crate) fn begin(&mut self) -> Result<(), Stop> {
        if self.record.beginnings >= MOST_BEGINNINGS {
            return Err(Stop::Failed(format!(
                "whoever worked on it died {MOST_BEGINNINGS} times; look at the memory and the \
                 disk of this machine, then run it again"
            )));
        }
        self.record.beginnings += 1;
        Ok(self.write()?)
    }

    /// How far an earlier worker came.
    pub(crate) fn progress<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(self.record.progress.clone()).ok()
    }

    /// Writes down how far it is, before anything that follows.
    pub(crate) fn note<T: Serialize>(&mut self, progress: &T) -> Result<(), Stop> {
        let value = serde_json::to_value(progress).map_err(|error| error.to_string())?;
        self.record.progress = value;
        Ok(self.write()?)
    }

    /// Stops here if somebody asked for that.
    pub(crate) fn go_on(&self) -> Result<(), Stop> {
        if self.job.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        Ok(())
    }

    pub(crate) fn finish(self, end: &End) -> Result<(), String> {
        replace(&self.job.dir.join("end.json"), end)
    }

    fn write(&self) -> Result<(), String> {
        replace(&self.job.dir.join("job.json"), &self.record)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "this is test code")]
mod tests {
    use rollback_core::model::DeploymentId;

    use super::*;

    fn asked(dir: &Path) -> Job {
        let job = Job::at(dir.join("d1.s1.a1"));
        let id = ChangeId {
            deployment: DeploymentId::new("d1").unwrap(),
            step: 1,
            attempt: 1,
        };
        job.ask(&ServiceId::new("shop").unwrap(), &id).unwrap();
        job
    }

    #[test]
    fn one_works_on_it_at_a_time_and_the_next_sees_how_far_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let job = asked(dir.path());
        let mut first = job.take().unwrap().unwrap();
        first.begin().unwrap();
        first.note(&"half").unwrap();
        assert!(job.take().unwrap().is_none());
        drop(first);
        let second = job.take().unwrap().unwrap();
        assert_eq!(second.progress::<String>().unwrap(), "half");
        assert_eq!(job.end().unwrap(), None);
        second.finish(&End::Succeeded).unwrap();
        assert_eq!(job.end().unwrap(), Some(End::Succeeded));
    }

    #[test]
    fn a_job_that_kills_its_workers_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let job = asked(dir.path());
        for _ in 0..MOST_BEGINNINGS {
            job.take().unwrap().unwrap().begin().unwrap();
        }
        let stop = job.take().unwrap().unwrap().begin().unwrap_err();
        assert!(matches!(stop, Stop::Failed(why) if why.contains("died 5 times")));
    }
}
