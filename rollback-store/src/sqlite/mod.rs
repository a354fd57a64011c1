//! The journal on SQLite: one writer thread that commits for many services at once, and two
//! reader threads.

mod error;
mod journal;
mod marks;
mod reader;
mod record;
mod registry;
mod schema;
mod writer;

pub use journal::SqliteJournal;
