//! Is the candidate worse than the stable release, or was it bad luck? Evidence with a bounded rate of false rollbacks.
//!
//! Both arms answer requests at the same time; per poll each arm gives the number of requests and how many were bad. If
//! the candidate is at most `min_effect` times as error-prone as the stable release, then of the bad events of a poll
//! the candidate's part follows a known law (given the sizes of the arms), whatever the common level of errors is: an
//! outage that hits both arms, a busy hour or a slow dependency say nothing against the candidate.
//!
//! From it comes an *e-value*: a number whose mean is at most 1 while the candidate is fine. Multiplied over the polls
//! it is an [`EProcess`], a bet against the candidate that does not grow on average unless the candidate is worse. By
//! Ville's inequality the probability that it *ever* reaches `1 / rate` is at most `rate`: one may look after every
//! poll, and stop when one likes.
//!
//! | room | holds |
//! |---|---|
//! | `counts` | [`ArmCounts`], [`MinEffect`], [`FalseRollbackRate`]: inputs that can only be valid |
//! | `two_sample` | the e-value of one poll: a closed bound, and the exact form |
//! | `e_process` | [`EProcess`]: the evidence of a whole watch |
//! | `confidence` | [`RatioEstimate`], [`RatioBound`]: how much worse it is, for people |
//! | `detectable` | what could be noticed at all with so much traffic |
//!
//! Assumptions that the caller keeps: polls are disjoint (each event is counted in one poll), events of one poll are
//! independent (a retry storm is one event), the arms run at the same time.

mod confidence;
mod counts;
mod detectable;
mod e_process;
mod two_sample;

#[cfg(test)]
mod guarantees;

pub use confidence::{RatioBound, RatioEstimate};
pub use counts::{ArmCounts, FalseRollbackRate, InvalidCounts, InvalidSetting, MinEffect};
pub use detectable::{minimum_bad_events, smallest_detectable_ratio};
pub use e_process::{EProcess, RATIOS};
pub use two_sample::{log_e_bound, log_e_exact};

/// Name and version of the method, for the record of a verdict: grids and weights below never change under one version.
pub const METHOD: &str = "error_vs_baseline/1";
