//! Files that are not a journal, of another version, that may not be written, and full disks: each
//! a clear error that names the place and the fix, and nothing lost.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

mod support;

use std::{
    ffi::OsString,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use rollback_core::{
    model::Seq,
    ports::{Durability, Journal, JournalError},
};
use rollback_store::{SqliteJournal, export, salvage, services, verify};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use support::{TTL, append, batch, entries, service};

const CHILD: &str = "ROLLBACK_STORE_CHILD_FILE";

/// The error names the file and says what to do.
fn assert_clear(error: &JournalError, path: &Path, fix: &str) {
    let text = error.to_string();
    assert!(text.contains(&*path.to_string_lossy()), "{text}");
    assert!(text.contains(fix), "{text}");
}

#[test]
fn a_file_that_is_not_a_journal_is_left_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other");
    let foreign = directory.path().join("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection
        .execute_batch("CREATE TABLE precious (x); PRAGMA user_version = 1")
        .unwrap();
    drop(connection);
    let truncated = b"SQLite format 3\0\x10\0".to_vec();
    for content in [
        b"service: checkout\n".to_vec(),
        fs::read(&foreign).unwrap(),
        truncated,
    ] {
        fs::write(&path, &content).unwrap();
        for error in [
            SqliteJournal::open(&path).unwrap_err(),
            verify(&path).unwrap_err(),
            export(&path, None, std::io::sink()).unwrap_err(),
            salvage(&path, directory.path().join("to.db")).unwrap_err(),
        ] {
            assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
            assert_clear(&error, &path, "not a journal of this library");
        }
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn another_version_is_said_with_the_fix() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    drop(SqliteJournal::open(&path).unwrap());
    for logged in [false, true] {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        // Whether the number is in the file already, or still in the log.
        let kept_open = logged.then_some(connection);
        let error = SqliteJournal::open(&path).unwrap_err();
        assert!(
            matches!(
                error,
                JournalError::OtherVersion {
                    found: 99,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert_clear(&error, &path, "run the newer version");
        assert!(matches!(
            verify(&path),
            Err(JournalError::OtherVersion { .. })
        ));
        let connection = kept_open.unwrap_or_else(|| rusqlite::Connection::open(&path).unwrap());
        connection.pragma_update(None, "user_version", 1).unwrap();
    }
    SqliteJournal::open(&path).unwrap();
}

#[test]
fn places_where_no_file_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [
        directory.path().to_owned(),
        directory.path().join("nowhere/rollback.db"),
        file.join("rollback.db"),
    ] {
        let error = SqliteJournal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Unwritable { .. }), "{error}");
        assert_clear(&error, &path, "directory");
    }
    let missing = directory.path().join("missing.db");
    assert_clear(
        &verify(&missing).unwrap_err(),
        &missing,
        "there is no journal",
    );
    assert!(!missing.exists());
}

/// Runs one of the tests below in a process of its own, started by `shell` and, if this one may do
/// everything, as a user who may not.
fn run_apart(test: &str, file: &Path, shell: &str, other_user: bool) {
    // A copy, since the other user may not see where this one lies.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("sh");
    let script = format!("{shell} exec \"$0\" --exact {test} --nocapture");
    command
        .args([OsString::from("-c"), script.into(), program.into()])
        .env(CHILD, file);
    if other_user && geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{errors}"
    );
    assert!(text.contains("reached the end"), "{text}");
}

#[test]
fn files_and_directories_that_may_only_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    let mode = |of: &Path, mode| fs::set_permissions(of, fs::Permissions::from_mode(mode)).unwrap();
    mode(directory.path(), 0o555);
    if geteuid().is_root() {
        run_apart("child_may_not_write", &path, "", true);
    }
    mode(directory.path(), 0o755);
    drop(SqliteJournal::open(&path).unwrap());
    fs::remove_file(directory.path().join("rollback.db-marks")).unwrap();
    let content = fs::read(&path).unwrap();
    for (file_mode, directory_mode) in [(0o444, 0o777), (0o000, 0o777), (0o666, 0o555)] {
        mode(&path, file_mode);
        mode(directory.path(), directory_mode);
        run_apart("child_may_not_write", &path, "", true);
        mode(&path, 0o600);
        mode(directory.path(), 0o755);
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

/// Not a test by itself.
#[test]
fn child_may_not_write() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let path = Path::new(&path);
    let error = SqliteJournal::open(path).unwrap_err();
    println!("{error}");
    assert!(matches!(error, JournalError::Unwritable { .. }), "{error}");
    assert_clear(&error, path, "writ");
    println!("reached the end");
}

#[test]
fn a_full_disk_loses_nothing_and_appends_go_on_when_there_is_space() {
    for durability in ["durable", "buffered"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(durability);
        run_apart(
            "child_fills_the_disk",
            &path,
            "trap '' XFSZ; ulimit -S -f 400;",
            false,
        );
    }
}

/// Not a test by itself: a limit on the size of files stands for the disk's end.
#[tokio::test]
async fn child_fills_the_disk() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let path = Path::new(&path);
    let durability = if path.ends_with("durable") {
        Durability::Durable
    } else {
        Durability::Buffered
    };
    let journal = SqliteJournal::open(path).unwrap();
    let of = service("checkout");
    journal.acquire(&of, "me", TTL).await.unwrap();
    let mut next = 1;
    let error = loop {
        let appended = vec![batch(&of, 1, next..=next + 9)];
        match journal.append(appended, durability).await.remove(0) {
            Ok(last) => next = last.get() + 1,
            Err(error) => break error,
        }
        assert!(next < 100_000, "the disk is full some time");
    };
    println!("{error}");
    assert!(matches!(error, JournalError::Unwritable { .. }), "{error}");
    assert_clear(&error, path, "space");
    // Whoever was refused restores from the journal and finds all that was answered.
    let read = journal.read(&of, Seq::new(0), usize::MAX).await.unwrap();
    assert_eq!(read, entries(1, 1..=next - 1));
    assert!(append(&journal, &of, 1, next).await.is_err());
    let limit = getrlimit(Resource::Fsize);
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .unwrap();
    assert_eq!(append(&journal, &of, 1, next).await, Ok(Seq::new(next)));
    drop(journal);
    assert!(verify(path).unwrap().is_intact());
    let journal = SqliteJournal::open(path).unwrap();
    let read = journal.read(&of, Seq::new(0), usize::MAX).await.unwrap();
    assert_eq!(read, entries(1, 1..=next));
    println!("reached the end");
}

#[tokio::test]
async fn the_services_of_a_journal_are_listed_beside_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    assert_clear(&services(&path).unwrap_err(), &path, "there is no journal");
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(services(&path), Ok(Vec::new()));
    for name in ["b", "a"] {
        journal.acquire(&service(name), "me", TTL).await.unwrap();
        append(&journal, &service(name), 1, 1).await.unwrap();
    }
    assert_eq!(services(&path), Ok(vec![service("a"), service("b")]));
}
