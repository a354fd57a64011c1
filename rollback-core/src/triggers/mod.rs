//! The rules that a policy can name, and how they are made from it.
//!
//! | room | holds |
//! |---|---|
//! | `threshold` | [`Threshold`]: a condition that must not be true for longer than `for` |
//! | `error_vs_baseline` | [`ErrorVsBaseline`]: errors of the candidate against the stable release |
//! | `build` | [`build`]: what the engine calls when a policy is offered |
//! | `held`, `streak` | the last reading of each value; how long the condition was true |
//! | `pairing`, `noticeable` | which windows are compared; what they could have shown |
//! | `attribution` | what is not the candidate's fault |
//! | `wording` | numbers and sentences for people |

mod attribution;
mod build;
mod error_vs_baseline;
#[cfg(test)]
mod error_vs_baseline_tests;
mod held;
mod noticeable;
mod pairing;
mod streak;
mod threshold;
#[cfg(test)]
mod threshold_tests;
mod wording;

pub use build::{BuildError, PolicyTrigger, build};
pub use error_vs_baseline::ErrorVsBaseline;
pub use noticeable::{PASS_RATIO, PASS_SHARE};
pub use threshold::Threshold;
