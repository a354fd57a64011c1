//! Triggers as they are written: document to rule and back, and whether a rule can fire at all.

mod check;
mod compile;
mod composition;
mod document;
mod health;
mod shape;
mod written;

pub(super) use check::check;
pub(super) use compile::trigger;
pub use composition::Broken;
pub(super) use composition::parts;
pub(crate) use composition::walk;
pub use document::{SeverityName, TriggerDocument};
pub use health::{HealthCheckDocument, HealthDocument};
pub(super) use shape::key as shape_key;
