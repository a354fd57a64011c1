//! The suite that every journal keeps, on a real file.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is test code"
)]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::ports::Journal;
use rollback_store::SqliteJournal;
use rollback_testkit::{
    ManualClock,
    conformance::{JournalHarness, journal},
};
use tempfile::TempDir;

struct Files {
    directory: TempDir,
    clock: ManualClock,
    made: AtomicUsize,
    paths: Mutex<BTreeMap<usize, PathBuf>>,
}

impl Files {
    fn open(&self, path: PathBuf) -> Arc<dyn Journal> {
        let clock = self.clock.clone();
        let journal: Arc<dyn Journal> =
            Arc::new(SqliteJournal::open_with_clock(&path, move || clock.now()).unwrap());
        let mut paths = self.paths.lock().unwrap();
        paths.insert(Arc::as_ptr(&journal).cast::<()>() as usize, path);
        journal
    }

    fn path(&self, journal: &Arc<dyn Journal>) -> PathBuf {
        let paths = self.paths.lock().unwrap();
        paths[&(Arc::as_ptr(journal).cast::<()>() as usize)].clone()
    }
}

#[async_trait]
impl JournalHarness for Files {
    async fn fresh(&self) -> Arc<dyn Journal> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.open(self.directory.path().join(format!("{number}.db")))
    }

    async fn second(&self, journal: &Arc<dyn Journal>) -> Option<Arc<dyn Journal>> {
        Some(self.open(self.path(journal)))
    }

    async fn reopened(&self, journal: Arc<dyn Journal>) -> Option<Arc<dyn Journal>> {
        let path = self.path(&journal);
        drop(journal);
        Some(self.open(path))
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(10)
    }
}

#[tokio::test]
async fn sqlite_keeps_what_a_journal_promises() {
    let files = Files {
        directory: tempfile::tempdir().unwrap(),
        clock: ManualClock::default(),
        made: AtomicUsize::default(),
        paths: Mutex::default(),
    };
    let report = journal(&files).await;
    println!("{report}");
    report.assert_passed();
    assert_eq!(
        report.passed(),
        report.cases().len(),
        "no case is left out:\n{report}"
    );
}
