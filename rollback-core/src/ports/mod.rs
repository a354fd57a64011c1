//! The traits between the engine's driver and the world. Each is small, dyn-first and has an
//! in-memory implementation, a mock and a conformance suite in `rollback-testkit`.

mod deployer;
mod journal;
mod lease;
mod metric_source;
mod notifier;
mod permit;
mod release_store;
mod task;
mod traffic;
mod trigger;

pub use deployer::{Capabilities, Deployer};
pub use journal::{Batch, Durability, Journal, JournalError, Lease};
pub use lease::Holder;
pub use metric_source::{MetricSource, SourceCapabilities};
pub use notifier::{Delivered, Notifier, NotifyError};
pub use permit::{PermitDecision, PermitRequest};
pub use release_store::{ReleaseStore, ReleaseStoreError};
pub use task::{Task, TaskError, TaskHandle, TaskStatus};
pub use traffic::{Traffic, TrafficShifter};
pub use trigger::{ArmSide, Evidence, MetricNeed, Trigger, WatchStart};
