//! The traits that are not platforms, in memory.

mod journal;
mod notifier;
mod release_store;

pub use journal::MemoryJournal;
pub use notifier::{RecordingNotifier, ToldOnce};
pub use release_store::MemoryReleaseStore;
