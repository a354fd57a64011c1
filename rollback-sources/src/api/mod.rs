//! The query API of Prometheus as a metric source.
//!
//! Rooms: `render` (placeholders in PromQL, escaped for where they stand), `answer` (what the API's
//! JSON means), `source` (one batch of questions, bounded).

mod answer;
mod render;
mod source;

#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use self::{answer::number, render::render};
pub use source::PrometheusApi;
