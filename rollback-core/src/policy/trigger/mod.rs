//! Triggers as they are written: document to rule and back, and whether a rule can fire at all.

mod check;
mod compile;
mod document;
mod shape;
mod written;

pub(super) use check::check;
pub(super) use compile::trigger;
pub use document::{SeverityName, TriggerDocument};
pub(super) use shape::key as shape_key;
