//! What the engine knows of containers, as metrics.
//!
//! Rooms: `quantity` (the language), `whom` (which containers a question is about), `seen` (the
//! engine's answers in our words), `rates` (counters at two times), `answer` (from what was seen
//! to a sample), `source` (the requests).

mod answer;
#[cfg(test)]
mod answer_tests;
mod quantity;
mod rates;
mod seen;
#[cfg(test)]
mod seen_tests;
mod source;
mod whom;

pub use source::DockerMetrics;
pub(crate) use whom::is_a_name;
