//! Conformance suites: what a trait promises, as cases that every adapter runs against the real
//! thing.
//!
//! An adapter implements the suite's harness (how to make a good release, how to let time pass)
//! and asserts the report in its `tests/conformance.rs`:
//!
//! ```
//! use rollback_testkit::{conformance, platform::{InMemoryPlatform, Temper}, ManualClock};
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let platform = InMemoryPlatform::new(Temper::Strict, ManualClock::default());
//! conformance::deployer(&platform).await.assert_passed();
//! # });
//! ```
//!
//! Cases that need a capability which the adapter does not claim are skipped, and say so.

mod deployer;
mod in_memory;
mod journal;
mod metric_source;
mod notifier;
mod paces;
mod report;
mod traffic;
mod trigger;

pub use deployer::{DeployerHarness, Ground, ReleaseKind, deployer};
pub use journal::{JournalHarness, journal};
pub use metric_source::{MetricSourceHarness, QueryKind, metric_source};
pub use notifier::{NotifierHarness, notifier};
pub use report::{CaseResult, Ran, Report};
pub use traffic::{Answered, TrafficHarness, traffic};
pub use trigger::{Fed, TriggerHarness, trigger};
