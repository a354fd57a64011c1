//! The journal's promises, on a real file.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rollback_core::{
    model::{Definition, Epoch, Release, ReleaseId, Seq, Timestamp},
    ports::{Batch, Durability, Journal, JournalError, ReleaseStore},
};
use rollback_store::SqliteJournal;
use support::{TTL, append, batch, entries, entry, name, service};

#[tokio::test]
async fn what_was_appended_is_read_back_in_order_and_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    let journal = SqliteJournal::open(&path).unwrap();
    let (a, b) = (service("a"), service("b"));
    for of in [&a, &b] {
        journal.acquire(of, "me", TTL).await.unwrap();
    }
    let batches = vec![
        batch(&a, 1, 1..=3),
        batch(&b, 1, 1..=1),
        batch(&a, 1, 4..=4),
    ];
    let answers = journal.append(batches, Durability::Durable).await;
    assert_eq!(answers, [Ok(Seq::new(3)), Ok(Seq::new(1)), Ok(Seq::new(4))]);
    let answers = journal
        .append(vec![batch(&a, 1, 5..=6)], Durability::Buffered)
        .await;
    assert_eq!(answers, [Ok(Seq::new(6))]);
    for reopened in [false, true] {
        let journal = if reopened {
            drop(journal.clone());
            SqliteJournal::open(&path).unwrap()
        } else {
            journal.clone()
        };
        assert_eq!(
            journal.read(&a, Seq::new(0), 100).await.unwrap(),
            entries(1, 1..=6)
        );
        assert_eq!(
            journal.read(&a, Seq::new(2), 2).await.unwrap(),
            entries(1, 3..=4)
        );
        assert_eq!(journal.read(&a, Seq::new(6), 100).await.unwrap(), []);
        assert_eq!(
            journal.read(&service("c"), Seq::new(0), 9).await.unwrap(),
            []
        );
        assert_eq!(journal.services().await.unwrap(), [a.clone(), b.clone()]);
    }
}

#[tokio::test]
async fn a_long_journal_is_read_whole() {
    let directory = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(directory.path().join("rollback.db")).unwrap();
    let a = service("a");
    journal.acquire(&a, "me", TTL).await.unwrap();
    journal
        .append(vec![batch(&a, 1, 1..=20_000)], Durability::Buffered)
        .await;
    for (after, limit, first, last) in [
        (0, usize::MAX, 1, 20_000),
        (3, 4096, 4, 4099),
        (3, 4097, 4, 4100),
        (4096, 9_000, 4097, 13_096),
        (19_999, 5, 20_000, 20_000),
    ] {
        let read = journal.read(&a, Seq::new(after), limit).await.unwrap();
        assert_eq!(read, entries(1, first..=last), "after {after}, {limit}");
    }
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(directory.path().join("rollback.db")).unwrap();
    let a = service("a");
    journal.acquire(&a, "me", TTL).await.unwrap();
    let holes = Batch {
        service: a.clone(),
        epoch: Epoch::new(1),
        entries: vec![entry(1, 1), entry(1, 3)],
    };
    let answers = journal
        .append(vec![holes, batch(&a, 1, 1..=1)], Durability::Durable)
        .await;
    assert_eq!(
        answers,
        [
            Err(JournalError::OutOfOrder {
                got: Seq::new(3),
                last: Seq::new(1)
            }),
            Ok(Seq::new(1))
        ]
    );
    assert_eq!(
        journal.read(&a, Seq::new(0), 9).await.unwrap(),
        entries(1, 1..=1)
    );
}

#[tokio::test]
async fn the_lease_fences_the_former_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    let now = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&now);
    let clock = move || Timestamp::from_millis(clock.load(Ordering::Relaxed));
    let first = SqliteJournal::open_with_clock(&path, clock.clone()).unwrap();
    let second = SqliteJournal::open_with_clock(&path, clock).unwrap();
    let a = service("a");
    assert_eq!(
        first.acquire(&a, "one", TTL).await.unwrap().epoch,
        Epoch::new(1)
    );
    assert_eq!(append(&first, &a, 1, 1).await, Ok(Seq::new(1)));
    assert!(matches!(
        second.acquire(&a, "two", TTL).await,
        Err(JournalError::Leased { owner, .. }) if owner == "one"
    ));
    assert_eq!(
        first.acquire(&a, "one", TTL).await.unwrap().epoch,
        Epoch::new(1)
    );
    now.store(i64::try_from(TTL.as_millis()).unwrap(), Ordering::Relaxed);
    let lease = second.acquire(&a, "two", TTL).await.unwrap();
    assert_eq!((lease.epoch, lease.last), (Epoch::new(2), Seq::new(1)));
    assert_eq!(
        append(&first, &a, 1, 2).await,
        Err(JournalError::Fenced {
            ours: Epoch::new(1),
            current: Epoch::new(2)
        })
    );
    assert_eq!(append(&second, &a, 2, 2).await, Ok(Seq::new(2)));
    assert!(matches!(
        first.acquire(&a, "one", TTL).await,
        Err(JournalError::Leased { .. })
    ));
}

#[tokio::test]
async fn a_restart_under_the_same_name_takes_over_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    let before = SqliteJournal::open(&path).unwrap();
    let a = service("a");
    before.acquire(&a, "me", TTL).await.unwrap();
    let after = SqliteJournal::open(&path).unwrap();
    assert_eq!(
        after.acquire(&a, "me", TTL).await.unwrap().epoch,
        Epoch::new(2)
    );
    assert!(matches!(
        append(&before, &a, 1, 1).await,
        Err(JournalError::Fenced { .. })
    ));
    assert!(before.acquire(&a, "me", TTL).await.is_err());
}

#[tokio::test]
async fn a_buffered_append_is_soon_on_disk_without_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    let journal = SqliteJournal::open(&path).unwrap();
    let a = service("a");
    journal.acquire(&a, "me", TTL).await.unwrap();
    let answers = journal
        .append(vec![batch(&a, 1, 1..=1)], Durability::Buffered)
        .await;
    assert_eq!(answers, [Ok(Seq::new(1))]);
    let on_disk = || {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .query_row("SELECT count(*) FROM entry", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    tokio::time::timeout(Duration::from_secs(20), async {
        while on_disk() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("committed within its time");
}

#[tokio::test]
async fn many_tasks_share_commits_and_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(directory.path().join("rollback.db")).unwrap();
    let mut tasks = Vec::new();
    for number in 0..20 {
        let journal = journal.clone();
        let of = service(&format!("s{number}"));
        tasks.push(tokio::spawn(async move {
            journal.acquire(&of, "me", TTL).await.unwrap();
            for seq in 1..=50 {
                let durability = if seq % 7 == 0 {
                    Durability::Durable
                } else {
                    Durability::Buffered
                };
                let answers = journal
                    .append(vec![batch(&of, 1, seq..=seq)], durability)
                    .await;
                assert_eq!(answers, [Ok(Seq::new(seq))]);
            }
            assert_eq!(
                journal.read(&of, Seq::new(0), 99).await.unwrap(),
                entries(1, 1..=50)
            );
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn releases_are_kept_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    let journal = SqliteJournal::open(&path).unwrap();
    let a = service("a");
    let id = ReleaseId::new("r1").unwrap();
    let release = |text: &str| {
        Release::new(
            id.clone(),
            "v1",
            Definition::new(serde_json::json!({ "image": text })),
        )
    };
    journal.put(&a, &release("first")).await.unwrap();
    journal.put(&a, &release("second")).await.unwrap();
    assert_eq!(journal.get(&a, &id).await.unwrap(), Some(release("first")));
    assert_eq!(journal.get(&service("b"), &id).await.unwrap(), None);
    drop(journal);
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(journal.get(&a, &id).await.unwrap(), Some(release("first")));
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(directory.path().join("rollback.db")).unwrap();
    journal.acquire(&service("a"), "me", TTL).await.unwrap();
    let mut seen = Vec::new();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
        seen.push(name(&file.path()));
    }
    seen.sort();
    let expected = [
        "rollback.db",
        "rollback.db-marks",
        "rollback.db-shm",
        "rollback.db-wal",
    ];
    assert_eq!(seen, expected);
}
