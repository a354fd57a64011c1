//! The journal on SQLite: one writer thread that commits for many services at once, and two
//! reader threads.

mod audit;
mod error;
mod journal;
mod marks;
mod reader;
mod record;
mod registry;
mod releases;
mod rescue;
mod schema;
mod transaction;
mod writer;

pub use audit::{Audit, Lost, ServiceAudit, holder, services, verify};
pub use journal::SqliteJournal;
pub(crate) use releases::holds_sealed;
pub use rescue::{export, salvage};
