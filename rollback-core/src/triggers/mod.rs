//! The rules that a policy can name, and how they are made from it.
//!
//! | room | holds |
//! |---|---|
//! | `threshold`, `watched` | [`Threshold`]: a condition that must not be true for too long, or too often; its evidence |
//! | `error_vs_baseline` | [`ErrorVsBaseline`]: errors of the candidate against the stable release |
//! | `health`, `health_wording` | [`HealthScore`]: checks that are counted together |
//! | `alarm` | [`Alarm`]: an alarm of somebody else's |
//! | `composite` | [`Composite`]: made of other triggers |
//! | `task_failed` | [`TaskFailed`]: a task of the plan that fails |
//! | `build` | [`build`]: what the engine calls when a policy is offered |
//! | `held`, `subject`, `average` | the last reading of each value, of an arm or of its instances; averages |
//! | `polls`, `streak`, `tally` | for how long and how often the condition was true |
//! | `pairing`, `noticeable` | which windows are compared; what they could have shown |
//! | `attribution` | what is not the candidate's fault |
//! | `wording`, `shape_wording` | numbers and sentences for people |

mod alarm;
mod attribution;
mod average;
mod build;
mod composite;
mod error_vs_baseline;
#[cfg(test)]
mod error_vs_baseline_tests;
mod health;
mod health_wording;
mod held;
#[cfg(test)]
mod kinds_tests;
mod noticeable;
mod pairing;
mod polls;
#[cfg(test)]
mod shape_tests;
mod shape_wording;
mod streak;
mod subject;
mod tally;
mod task_failed;
mod threshold;
#[cfg(test)]
mod threshold_tests;
mod watched;
mod wording;

pub use alarm::Alarm;
pub use build::{BuildError, PolicyTrigger, build};
pub use composite::Composite;
pub use error_vs_baseline::ErrorVsBaseline;
pub use health::HealthScore;
pub use noticeable::{PASS_RATIO, PASS_SHARE};
pub use task_failed::TaskFailed;
pub use threshold::Threshold;
