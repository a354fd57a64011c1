//! What a policy would have done with readings that somebody kept.
//!
//! | room | holds |
//! |---|---|
//! | `recording`, `csv` | [`Recording`]: readings of one deployment, and how they are read |
//! | `world` | a platform that does at once what it is told, metrics that answer what was recorded |
//! | `course` | [`Recording::play`]: what a policy decides, when, and why |
//! | `missing` | what rules read and nobody recorded |

mod course;
#[cfg(test)]
mod course_tests;
mod csv;
mod missing;
mod recording;
mod world;

pub use course::{Circumstances, Course, CourseEnd, CourseError};
pub use csv::{CsvError, CsvMistake, parse_time};
pub use missing::Missing;
pub use recording::Recording;
