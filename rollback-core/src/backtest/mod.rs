//! What another policy would have done: with a journal, or with readings that somebody kept.
//!
//! | room | holds |
//! |---|---|
//! | `recording`, `csv` | [`Recording`]: readings of one deployment, and how they are read |
//! | `world` | a platform that does at once what it is told, metrics that answer what was recorded |
//! | `course` | [`Recording::play`]: what a policy decides, when, and why |
//! | `journal`, `feed` | [`backtest`]: another policy over a journal, fed what does not depend on a policy |
//! | `line`, `parting` | what happened to a deployment; where two policies part, and what that means |
//! | `missing` | what rules read and nobody recorded |

mod course;
#[cfg(test)]
mod course_tests;
mod csv;
#[cfg(test)]
mod csv_tests;
mod feed;
mod journal;
#[cfg(test)]
mod journal_tests;
mod line;
mod missing;
mod parting;
mod recording;
mod world;

pub use course::{Circumstances, Course, CourseEnd, CourseError};
pub use csv::{CsvError, CsvMistake, parse_time};
pub use journal::{Backtested, Comparison, backtest};
pub use line::{Held, Line, Turn};
pub use missing::Missing;
pub use recording::Recording;
