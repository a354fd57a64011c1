//! The rules that a policy can name, and how they are made from it.
//!
//! | room | holds |
//! |---|---|
//! | `threshold` | [`Threshold`]: a condition that must not be true for longer than `for` |
//! | `error_vs_baseline` | [`ErrorVsBaseline`]: errors of the candidate against the stable release |
//! | `build` | [`build`]: what the engine calls when a policy is offered |
//! | `held`, `streak` | the last reading of each value; how long the condition was true |
//! | `attribution` | what is not the candidate's fault |
//! | `wording` | numbers and sentences for people |

mod attribution;
mod build;
mod error_vs_baseline;
mod held;
mod streak;
mod threshold;
#[cfg(test)]
mod threshold_tests;
mod wording;

pub use build::{BuildError, PolicyTrigger, build};
pub use error_vs_baseline::{ErrorVsBaseline, PASS_RATIO, PASS_SHARE};
pub use threshold::Threshold;
