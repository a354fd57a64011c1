//! From SQLite's words to ours: what happened, where, and what to do.

use std::path::Path;

use rollback_core::ports::JournalError;
use rusqlite::{Error, ErrorCode, ffi};

/// Whether the error says that the file's content is not what it was.
pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => true,
            ErrorCode::SystemIoFailure => matches!(
                failure.extended_code,
                ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS
            ),
            // Statements are fixed and were tested: what does not fit is the file.
            ErrorCode::Unknown | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => true,
            _ => false,
        },
        _ => true,
    }
}

/// The error for whoever asked.
pub(super) fn explain(path: &Path, error: &Error) -> JournalError {
    let file = path.display();
    if is_damage(error) {
        return JournalError::Damaged {
            why: format!("{file}: {error}; {RESCUE}"),
        };
    }
    let code = error.sqlite_error_code();
    let fix = match code {
        Some(ErrorCode::DiskFull) => "free some space on its disk; appends go on by themselves",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "make the file and its directory writable for this user"
        }
        Some(ErrorCode::CannotOpen) => {
            "make its directory exist and be writable for this user; SQLite keeps two more files there"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process keeps it locked; end that one, or give each its own file"
        }
        _ => "look at the disk's health, free space and limits; appends go on when it works again",
    };
    JournalError::Unwritable {
        why: format!("{file}: {error}; {fix}"),
    }
}

/// What to do about damage.
pub(super) const RESCUE: &str = "keep the file as it is, see with `verify` what is intact, and \
     either put a backup in its place or continue with the copy that `salvage` makes of the intact part";

/// What to say when a thread of the journal is gone.
pub(super) fn stopped(path: &Path) -> JournalError {
    JournalError::Unwritable {
        why: format!(
            "{}: the journal's thread has ended; open the journal anew",
            path.display()
        ),
    }
}
