//! What the tests of the rollback library stand on, for us and for whoever writes an adapter.
//!
//! | room | holds |
//! |---|---|
//! | [`conformance`] | suites that every adapter runs against the real thing |
//! | [`platform`] | three in-memory platforms of different temper |
//! | [`FailingJournal`], [`RecordingNotifier`] | a journal that fails when told, a channel that keeps what it was told |
//! | [`mock`] | mocks of every trait |
//! | [`simulator`] | whole deployments on a virtual clock, with faults, and sixteen invariants |
//! | [`ManualClock`] | a clock that moves only when a test says so |

mod clock;
pub mod conformance;
mod failing_journal;
pub mod mock;
pub mod platform;
mod recording_notifier;
pub mod simulator;

pub use clock::{ManualClock, NOON};
pub use failing_journal::FailingJournal;
pub use recording_notifier::{RecordingNotifier, ToldOnce};
