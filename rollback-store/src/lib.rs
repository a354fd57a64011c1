//! Keeps what a controller must not forget: the journal and the definitions of releases, in one
//! SQLite file.
//!
//! ```
//! use rollback_store::SqliteJournal;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("rollback.db");
//! let journal = SqliteJournal::open(&path)?;
//! # drop(journal);
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - A durable append is on disk before it is answered; appends of many services that wait at the
//!   same time share one commit. A buffered append is committed with the next durable one, or
//!   after 50 ms. Both survive a kill of the process from the moment they are committed, and a
//!   commit is whole or not there.
//! - Only the holder of a service's lease appends; an older epoch is refused in the transaction
//!   that would have written.
//! - Every entry carries a checksum over its service, its number and its text. What is damaged,
//!   cut off or missing is found when it is read, and named by service and number; it is never
//!   taken for the end of the journal, and it does not hide other services. Beside the file, in
//!   `<file>-marks`, stands how far each service had come, so that the loss of whole commits is
//!   noticed too.
//! - On a full or read-only disk nothing that was answered is lost; appends go on when there is
//!   space again.
//!
//! - With [`SealingKeys`], definitions of releases are kept encrypted; one that was changed, or put
//!   in the place of another, is an error and never a definition.
//!
//! Besides the file there are SQLite's own `<file>-wal` and `<file>-shm`; all of them belong
//! together and must be copied together, or while no controller runs. The file is created for its
//! owner alone (mode 0600). It must lie on a local disk.
//!
//! | room | holds |
//! |---|---|
//! | `sealed` | the keys of the host and the form of a sealed definition: [`SealingKeys`] |
//! | `sqlite` | the file: its form, the writer, the readers; [`verify`], [`services`], [`holder`], [`export`], [`salvage`] |

mod sealed;
mod sqlite;

pub use sealed::{SealingKeyError, SealingKeys};

pub use sqlite::{
    Audit, Lost, ServiceAudit, SqliteJournal, export, holder, salvage, services, verify,
};
