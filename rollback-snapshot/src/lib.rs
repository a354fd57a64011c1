//! Snapshots of data, and their restore, as tasks of the rollback library: a PostgreSQL database by
//! its own programs, a volume by its files. Unix only.
//!
//! A policy says when they run, and that the loss is told first:
//!
//! ```yaml
//! tasks:
//!   snapshot: { when: before, within: 10m }
//!   restore: { when: restore, within: 20m, loses: orders written since the snapshot }
//! ```
//!
//! A restore runs only when a deployment that was declared irreversible is rolled back, and only
//! when a person accepted what it loses, or the policy did with `consent: given`.
//!
//! | promise | how |
//! |---|---|
//! | a snapshot is trusted only when it was checked | it is read back whole after it was written; size and checksum stand in a manifest, and it gets its name last |
//! | what is restored is what was kept | checksum before, comparison after: tables and their rows, or a digest over all files |
//! | nothing half restored looks whole | it is filled beside, compared, and then exchanged: two renames in one transaction, or file by file with each step written down |
//! | nothing is lost for good | what was there before stays under another name |
//! | it goes on when its controller dies | each step is written down before it is done; the next controller goes on when it asks for the status |
//! | no secret is shown | passwords go through the environment of the programs, and are cut out of what they say |
//! | a full disk is refused before | what it takes is compared with what is free |
//!
//! What is kept of old databases (`…_before_…`) and volumes (`.rollback-before-…`) is for people to
//! remove.
//!
//! Rooms: `task` (the [`Task`](rollback_core::ports::Task)) on `job` (one run, written down) and
//! `kept` (the snapshots); `postgres` on `tool` (one program); `volume`; `files`.

mod files;
mod job;
mod kept;
mod postgres;
mod task;
mod tool;
mod volume;

pub use kept::Manifest;
pub use postgres::Postgres;
pub use task::{Restorable, SnapshotError, SnapshotTask, Snapshots};
pub use volume::Volume;
