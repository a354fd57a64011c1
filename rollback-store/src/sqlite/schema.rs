//! The file: is it ours, is it of this version, and if it is new, its tables.

use std::{
    ffi::OsString,
    fs,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use rollback_core::ports::JournalError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{
    error::{RESCUE, explain},
    marks,
};

/// Marks the file as a journal of this library: "RLBK".
const APPLICATION_ID: i32 = 0x524c_424b;

/// Each brings the file from the version that is its position to the next one.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE journal (id BLOB NOT NULL) STRICT;
    INSERT INTO journal VALUES (randomblob(8));
    CREATE TABLE service (
        no INTEGER PRIMARY KEY, name TEXT NOT NULL,
        epoch INTEGER NOT NULL, owner TEXT NOT NULL, until INTEGER NOT NULL,
        last INTEGER NOT NULL, crc INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE entry (row INTEGER PRIMARY KEY, crc INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE TABLE definition (
        service TEXT NOT NULL, release TEXT NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (service, release)
    ) STRICT, WITHOUT ROWID;
"];

/// The version of the file's form.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// The log is worked into the file after so many pages: entries of many services touch many
/// pages, and the same ones again and again.
const CHECKPOINT: u32 = 8_192;

/// How long a lock of another process is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// A connection to an existing file that only reads.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(LOCK_WAIT)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    connect().map_err(|error| explain(path, &error))
}

/// A connection that reads what it can, also of a file that is cut off.
pub(super) fn open_to_examine(path: &Path) -> Result<Connection, JournalError> {
    let connection = open_to_read(path)?;
    connection
        // SQLite refuses a file that is shorter than its head says, unless this is on.
        .pragma_update(None, "writable_schema", true)
        .map_err(|error| explain(path, &error))?;
    match version(&connection) {
        Ok(found) if found > VERSION => Err(other_version(path, found)),
        // What else is wrong is for the audit to say.
        _ => Ok(connection),
    }
}

/// A connection that writes, to a file that is ours and has the form of this version; it is made
/// if it is not there.
pub(super) fn open_to_write(path: &Path) -> Result<Connection, JournalError> {
    if inspect(path)? == Found::Nothing {
        create(path)?;
    }
    let mut connection = connect(path).map_err(|error| explain(path, &error))?;
    migrate(path, &mut connection)?;
    tune(path, &connection)?;
    Ok(connection)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Empty,
    Journal,
}

/// Looks at the head of the file before SQLite does, since SQLite may already write to repair.
pub(super) fn inspect(path: &Path) -> Result<Found, JournalError> {
    let unreadable = |error: std::io::Error| JournalError::Unwritable {
        why: format!(
            "{}: {error}; name a file that this user can read and write, in a directory that exists",
            path.display()
        ),
    };
    let mut head = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(100).read_to_end(&mut head).map_err(unreadable)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(unreadable(error)),
    };
    if head.is_empty() {
        // A file that somebody made for us, unless it was more once.
        let held_something = |file: PathBuf| fs::metadata(file).is_ok_and(|file| file.len() > 0);
        if held_something(marks::path_of(path)) || held_something(log_of(path)) {
            return Err(JournalError::Damaged {
                why: format!(
                    "{}: it is empty, and was not: there is still a log or a file of marks beside \
                     it. All entries are lost; put a backup in its place, or remove those too and \
                     begin anew",
                    path.display()
                ),
            });
        }
        return Ok(Found::Empty);
    }
    let number = |at: usize| {
        let bytes = head.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let ours =
        head.starts_with(b"SQLite format 3\0") && number(68) == Some(APPLICATION_ID.unsigned_abs());
    if !ours {
        return Err(JournalError::Damaged {
            why: format!(
                "{}: this is not a journal of this library, or its first bytes are damaged. It was \
                 left untouched; name another file, or put a backup in its place",
                path.display()
            ),
        });
    }
    match number(60) {
        Some(version) if version > VERSION => Err(other_version(path, version)),
        _ => Ok(Found::Journal),
    }
}

/// SQLite's write-ahead log.
fn log_of(journal: &Path) -> PathBuf {
    let mut name = OsString::from(journal);
    name.push("-wal");
    PathBuf::from(name)
}

fn other_version(path: &Path, found: u32) -> JournalError {
    JournalError::OtherVersion {
        found,
        known: VERSION,
        fix: format!(
            "{}: run the newer version of the program that wrote it, or name another file",
            path.display()
        ),
    }
}

/// Made for its owner alone: entries name hosts, people and queries.
fn create(path: &Path) -> Result<(), JournalError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(JournalError::Unwritable {
            why: format!(
                "{}: it cannot be made: {error}; make its directory exist and be writable for this \
                 user, or name another file",
                path.display()
            ),
        }),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    Ok(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the file to this version; all or nothing.
fn migrate(path: &Path, connection: &mut Connection) -> Result<(), JournalError> {
    let failed = |error: rusqlite::Error| explain(path, &error);
    if connection.is_readonly("main").map_err(failed)? {
        return Err(JournalError::Unwritable {
            why: format!(
                "{}: this user may only read it; make the file writable, or name another one",
                path.display()
            ),
        });
    }
    let mut found = version(connection).map_err(failed)?;
    if found < VERSION {
        let change = connection
            .transaction_with_behavior(TransactionBehavior::Exclusive)
            .map_err(failed)?;
        found = version(&change).map_err(failed)?;
        let missing = MIGRATIONS.iter().skip(found as usize);
        let bring = || {
            for step in missing {
                change.execute_batch(step)?;
            }
            change.pragma_update(None, "application_id", APPLICATION_ID)?;
            change.pragma_update(None, "user_version", VERSION.max(found))?;
            change.commit()
        };
        bring().map_err(failed)?;
    }
    if found > VERSION {
        return Err(other_version(path, found));
    }
    Ok(())
}

fn tune(path: &Path, connection: &Connection) -> Result<(), JournalError> {
    let settle = || {
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        // What is replaced is overwritten: a definition may have held secrets.
        connection.pragma_update(None, "secure_delete", true)?;
        connection.pragma_update(None, "cache_size", -16_384)?;
        Ok(mode)
    };
    let mode = settle().map_err(|error| explain(path, &error))?;
    if mode != "wal" {
        return Err(JournalError::Unwritable {
            why: format!(
                "{}: the file system does not allow a write-ahead log; put the journal on a local disk",
                path.display()
            ),
        });
    }
    Ok(())
}

/// The identity of a journal: it tells its marks from those of another file at the same path.
pub(super) fn identity(path: &Path, connection: &Connection) -> Result<[u8; 8], JournalError> {
    let id: Vec<u8> = connection
        .query_row("SELECT id FROM journal", [], |row| row.get(0))
        .map_err(|error| explain(path, &error))?;
    id.try_into().map_err(|_| JournalError::Damaged {
        why: format!("{}: its identity is not whole; {RESCUE}", path.display()),
    })
}
