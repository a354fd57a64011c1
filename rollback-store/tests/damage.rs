//! Bytes flip and files are cut off, anywhere: what is read is right, and what is lost is said.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rollback_core::{
    model::{Definition, Release, ReleaseId, Seq, ServiceId},
    ports::{Durability, Journal, JournalError, ReleaseStore},
};
use rollback_store::{SqliteJournal, export, salvage, verify};
use support::{TTL, append, batch, entry, service};

const LENGTH: u64 = 120;
const SERVICES: [&str; 2] = ["checkout", "search"];

fn release() -> Release {
    let definition = Definition::new(serde_json::json!({ "image": "shop:42" }));
    Release::new(ReleaseId::new("r42").unwrap(), "v42", definition)
}

async fn fill(path: &Path) -> SqliteJournal {
    let journal = SqliteJournal::open(path).unwrap();
    for name in SERVICES {
        journal.acquire(&service(name), "me", TTL).await.unwrap();
        journal.put(&service(name), &release()).await.unwrap();
    }
    for seq in 1..=LENGTH {
        let batches = SERVICES
            .map(|name| batch(&service(name), 1, seq..=seq))
            .to_vec();
        let answers = journal.append(batches, Durability::Durable).await;
        assert_eq!(answers, [Ok(Seq::new(seq)), Ok(Seq::new(seq))]);
    }
    journal
}

/// The files of a journal as a kill leaves them (everything still in the log), or as a graceful end
/// does.
async fn originals(killed: bool) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("open.db");
    let journal = fill(&path).await;
    if !killed {
        drop(journal);
        return (directory, path);
    }
    let copy = directory.path().join("killed.db");
    for end in ["", "-wal", "-marks"] {
        fs::copy(with(&path, end), with(&copy, end)).unwrap();
    }
    (directory, copy)
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// What a damaged journal was like to read.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    refused: usize,
    whole: usize,
    one_hurt: usize,
    both_hurt: usize,
}

impl Seen {
    fn cases(&self) -> usize {
        self.refused + self.whole + self.one_hurt + self.both_hurt
    }
}

/// Reads all that can be read and checks it; counts what it was like.
async fn examine(path: &Path, case: &str, seen: &mut Seen) {
    let journal = match SqliteJournal::open(path) {
        Ok(journal) => journal,
        Err(JournalError::Damaged { why }) => {
            assert!(why.contains(&*path.to_string_lossy()), "{case}: {why}");
            seen.refused += 1;
            return;
        }
        Err(JournalError::OtherVersion { .. }) if case.contains("flip") => {
            seen.refused += 1;
            return;
        }
        Err(other) => panic!("{case}: {other}"),
    };
    let mut hurt = 0;
    for name in SERVICES {
        let read = read_all(&journal, &service(name), case).await;
        if let Err((intact, error)) = &read {
            hurt += 1;
            assert!(
                matches!(error, JournalError::Damaged { .. }),
                "{case}: {error}"
            );
            assert!(error.to_string().contains(name), "{case}: {error}");
            let audit = verify(path).unwrap();
            assert!(!audit.is_intact(), "{case}: {error}, and yet:\n{audit}");
            for found in audit
                .services
                .iter()
                .filter(|found| found.service.as_str() == name)
            {
                assert!(found.intact_to().get() >= *intact, "{case}: {found}");
            }
        }
        match journal.get(&service(name), &release().id).await {
            Ok(found) => assert_eq!(found, Some(release()), "{case}"),
            Err(error) => assert!(
                error.why.contains("release") || error.why.contains("malformed"),
                "{case}: {error}"
            ),
        }
        // A journal that cannot be read whole must not be continued as if it could.
        let next = match journal.acquire(&service(name), "me", TTL).await {
            Ok(lease) => {
                append(
                    &journal,
                    &service(name),
                    lease.epoch.get(),
                    lease.last.get() + 1,
                )
                .await
            }
            Err(error) => Err(error),
        };
        match next {
            Ok(last) => assert_eq!(last, Seq::new(LENGTH + 1), "{case}"),
            Err(error) => assert!(
                matches!(error, JournalError::Damaged { .. }),
                "{case}: {error}"
            ),
        }
    }
    match hurt {
        0 => seen.whole += 1,
        1 => seen.one_hurt += 1,
        _ => seen.both_hurt += 1,
    }
}

/// In small parts, up to the damage; all that comes must be what was written.
async fn read_all(
    journal: &SqliteJournal,
    of: &ServiceId,
    case: &str,
) -> Result<(), (u64, JournalError)> {
    let mut last = 0;
    loop {
        match journal.read(of, Seq::new(last), 1).await {
            Ok(read) if read.is_empty() => {
                assert_eq!(last, LENGTH, "{case}: {of} seems to end early");
                return Ok(());
            }
            Ok(read) => {
                last += 1;
                assert_eq!(read, [entry(1, last)], "{case}");
            }
            Err(error) => return Err((last, error)),
        }
    }
}

/// Copies the files, damages one of them, and examines the copy.
async fn damage(killed: bool, file: &str, stride: usize) -> (Seen, Seen) {
    let (_directory, original) = originals(killed).await;
    let bytes = fs::read(with(&original, file)).unwrap();
    let (mut flipped, mut cut) = (Seen::default(), Seen::default());
    for at in (0..bytes.len())
        .step_by(stride)
        .chain([60, 63, 68].into_iter().filter(|at| *at < bytes.len()))
    {
        for truncated in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("rollback.db");
            for end in ["", "-wal", "-marks"] {
                let _ = fs::copy(with(&original, end), with(&path, end));
            }
            let mut bytes = bytes.clone();
            if truncated {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << (at % 8);
            }
            fs::write(with(&path, file), &bytes).unwrap();
            let (word, seen) = if truncated {
                ("cut", &mut cut)
            } else {
                ("flip", &mut flipped)
            };
            examine(&path, &format!("{word} at {at} of {file:?}"), seen).await;
        }
    }
    println!("{file:?}, killed {killed}: flipped {flipped:?}, cut off {cut:?}");
    (flipped, cut)
}

#[tokio::test]
async fn in_the_file() {
    let (flipped, cut) = damage(false, "", 997).await;
    assert!(flipped.one_hurt > flipped.cases() / 4, "{flipped:?}");
    assert!(flipped.whole > 0, "{flipped:?}");
    assert_eq!(cut.whole, 0, "{cut:?}");
}

#[tokio::test]
async fn in_the_log_that_a_killed_process_leaves() {
    let (flipped, cut) = damage(true, "-wal", 40_009).await;
    assert_eq!(cut.whole, 0, "{cut:?}");
    assert!(flipped.both_hurt + flipped.one_hurt > 0, "{flipped:?}");
    assert_eq!(flipped.refused, 0, "{flipped:?}");
}

#[tokio::test]
async fn in_the_marks_it_does_no_harm() {
    let (flipped, cut) = damage(false, "-marks", 5).await;
    assert_eq!((flipped.whole, cut.whole), (flipped.cases(), cut.cases()));
}

#[tokio::test]
async fn a_cut_off_file_says_what_is_left_and_can_be_continued() {
    let (directory, path) = originals(false).await;
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 20_000]).unwrap();
    let error = SqliteJournal::open(&path).unwrap_err().to_string();
    assert!(error.contains("of 120 entries are lost: "), "{error}");
    let to = directory.path().join("salvaged.db");
    let audit = salvage(&path, &to).unwrap();
    assert!(!audit.is_intact());
    assert!(verify(&to).unwrap().is_intact());
    let journal = SqliteJournal::open(&to).unwrap();
    let mut kept = 0;
    for found in &audit.services {
        let lease = journal.acquire(&found.service, "other", TTL).await.unwrap();
        assert_eq!((lease.epoch.get(), lease.last), (2, found.intact_to()));
        let next = lease.last.get() + 1;
        assert_eq!(
            append(&journal, &found.service, 2, next).await,
            Ok(Seq::new(next))
        );
        kept += lease.last.get();
    }
    assert!(kept > 0, "{audit}");
    assert!(
        salvage(&path, &to)
            .unwrap_err()
            .to_string()
            .contains("there already")
    );
}

#[tokio::test]
async fn a_damaged_entry_is_named_and_the_rest_is_exported() {
    let (_directory, path) = originals(false).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    let changed = connection
        .execute(
            "UPDATE entry SET body = replace(CAST(body AS TEXT), '1795246182250', '1795246182251') \
             || '' WHERE row = (1 << 40) | 50",
            [],
        )
        .unwrap_or(0);
    assert_eq!(changed, 0, "text is not taken where bytes belong");
    connection
        .execute("UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), '\"bad\":1', '\"bad\":0') AS BLOB) WHERE row = (1 << 40) | 50", [])
        .unwrap();
    connection
        .execute("DELETE FROM entry WHERE row = (1 << 40) | 70", [])
        .unwrap();
    drop(connection);
    let mut lines = Vec::new();
    let audit = export(&path, None, &mut lines).unwrap();
    assert_eq!(
        audit.to_string(),
        "checkout: of 120 entries are lost: 50 (does not match its checksum); 70 (missing); intact \
         without a gap: 1 to 49\nsearch: 120 entries, intact\n"
    );
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(lines.lines().count(), 238);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["service"], "checkout");
    assert_eq!(first["entry"], serde_json::to_value(entry(1, 1)).unwrap());
    let journal = SqliteJournal::open(&path).unwrap();
    let error = journal
        .read(&service("checkout"), Seq::new(0), 200)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("entry 50 of `checkout`"),
        "{error}"
    );
    assert_eq!(
        journal
            .read(&service("checkout"), Seq::new(0), 49)
            .await
            .unwrap()
            .len(),
        49
    );
    let only = export(&path, Some(&service("search")), std::io::sink()).unwrap();
    assert!(only.is_intact(), "{only}");
}

#[tokio::test]
async fn an_older_copy_in_the_files_place_is_noticed() {
    let (directory, path) = originals(false).await;
    let backup = directory.path().join("backup.db");
    fs::copy(&path, &backup).unwrap();
    let journal = SqliteJournal::open(&path).unwrap();
    let lease = journal
        .acquire(&service("search"), "me", TTL)
        .await
        .unwrap();
    append(&journal, &service("search"), lease.epoch.get(), LENGTH + 1)
        .await
        .unwrap();
    drop(journal);
    fs::copy(&backup, &path).unwrap();
    let journal = SqliteJournal::open(&path).unwrap();
    let error = journal
        .acquire(&service("search"), "me", TTL)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("entries 121 to 121 of `search`"), "{error}");
    journal
        .acquire(&service("checkout"), "me", TTL)
        .await
        .unwrap();
}

#[test]
fn a_file_that_was_emptied_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    drop(SqliteJournal::open(&path).unwrap());
    fs::write(&path, "").unwrap();
    let error = SqliteJournal::open(&path).unwrap_err().to_string();
    assert!(error.contains("it is empty, and was not"), "{error}");
    fs::remove_file(with(&path, "-marks")).unwrap();
    SqliteJournal::open(&path).unwrap();
}
