//! What the tests of the rollback library stand on, for us and for whoever writes an adapter.
//!
//! | room | holds |
//! |---|---|
//! | [`conformance`] | suites that every adapter runs against the real thing |
//! | [`platform`] | three in-memory platforms of different temper |
//! | [`memory`] | the other traits in memory: journal, notifier, release store |
//! | [`mock`] | mocks of every trait |
//! | [`ManualClock`] | a clock that moves only when a test says so |

mod clock;
pub mod conformance;
pub mod memory;
pub mod mock;
pub mod platform;

pub use clock::{ManualClock, NOON};
