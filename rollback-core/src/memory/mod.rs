//! A journal and a release store that live as long as the process: for tests, for trying things
//! out, and for a host that can afford to forget.

#![expect(
    clippy::disallowed_types,
    reason = "the engine takes no lock; these are ports, shared between tasks"
)]

mod journal;
mod release_store;

pub use journal::MemoryJournal;
pub use release_store::MemoryReleaseStore;
