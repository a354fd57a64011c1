//! The steps of a strategy, and which can follow which.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{Placement, Weight};

/// One step of a strategy, before it is known which releases it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlannedStep {
    /// The candidate is started.
    Converge(Placement),
    /// It must be ready for so long without a break.
    Check(Duration),
    /// A task of this name is run to its end.
    Task(Arc<str>),
    /// A person is waited for; the watch goes on.
    Gate {
        /// Its name, used once.
        name: Arc<str>,
        /// How long.
        within: Duration,
        /// And then.
        then: OnTimeout,
    },
    /// It gets this share of the traffic, and the stable release the rest.
    Weight(Weight),
    /// It is watched for so long before the next step.
    Wait(Duration),
    /// It is watched for the policy's `bake`, and then counts as proven.
    Bake,
    /// The stable release is stopped.
    Retire,
}

impl PlannedStep {
    /// One word, as in a policy.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Converge(_) => "converge",
            Self::Check(_) => "check",
            Self::Task(_) => "task",
            Self::Gate { .. } => "gate",
            Self::Weight(_) => "weight",
            Self::Wait(_) => "wait",
            Self::Bake => "bake",
            Self::Retire => "retire",
        }
    }
}

/// What follows when nobody opened a gate in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnTimeout {
    /// `hold`: go on waiting for a person, and say so.
    #[default]
    Hold,
    /// `roll_back`.
    RollBack,
    /// `promote`: go on as if it had been opened.
    Promote,
}

/// Why a list of steps is no strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {fix}")]
pub struct StrategyError {
    /// The position of the step, if it is about one.
    pub step: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub fix: String,
}

pub(super) fn grows(shares: &[Weight]) -> Result<(), StrategyError> {
    let mut before = Weight::NONE;
    for (index, share) in shares.iter().enumerate() {
        if *share <= before {
            return Err(StrategyError {
                step: Some(index),
                message: format!("{share} is no more than the {before} before it"),
                fix: "write shares that grow, such as 10%, 25%, 50%".to_owned(),
            });
        }
        before = *share;
    }
    Ok(())
}

/// Whether each step can follow the one before it.
pub(super) fn follow_from_each_other(steps: &[PlannedStep]) -> Result<(), StrategyError> {
    let mut placement = None;
    let mut share = Weight::NONE;
    let (mut baked, mut retired) = (false, false);
    for (index, step) in steps.iter().enumerate() {
        let wrong = |message: &str, fix: &str| {
            Err(StrategyError {
                step: Some(index),
                message: message.to_owned(),
                fix: fix.to_owned(),
            })
        };
        let again = |same: &dyn Fn(&PlannedStep) -> bool| steps.iter().take(index).any(same);
        match step {
            PlannedStep::Task(name)
                if again(&|other| *other == PlannedStep::Task(Arc::clone(name))) =>
            {
                return wrong("this task is run for the second time", "keep one of them");
            }
            PlannedStep::Gate { name, .. }
                if again(
                    &|other| matches!(other, PlannedStep::Gate { name: first, .. } if first == name),
                ) =>
            {
                return wrong(
                    "a gate before has the same name",
                    "give each gate its own name",
                );
            }
            _ => {}
        }
        if retired && !matches!(step, PlannedStep::Wait(_) | PlannedStep::Task(_)) {
            return wrong(
                "it follows the end of the stable release",
                "retire it after everything else",
            );
        }
        match step {
            PlannedStep::Converge(_) if placement.is_some() => {
                return wrong(
                    "the candidate is started for the second time",
                    "keep one `converge`",
                );
            }
            PlannedStep::Converge(first) => {
                placement = Some(*first);
                if first.is_in_place() {
                    share = Weight::ALL;
                }
            }
            PlannedStep::Check(_) | PlannedStep::Weight(_) | PlannedStep::Bake
                if placement.is_none() =>
            {
                return wrong(
                    "the candidate does not run yet",
                    "begin with `converge: beside`",
                );
            }
            PlannedStep::Check(_) if share > Weight::NONE => {
                return wrong(
                    "a check is of a candidate without traffic, and it has some",
                    "write `wait` in its place",
                );
            }
            PlannedStep::Weight(_) | PlannedStep::Retire
                if placement.is_some_and(Placement::is_in_place) =>
            {
                return wrong(
                    "a candidate that takes the place of what runs takes all of its traffic, and leaves nothing to retire",
                    "remove it, or write `converge: beside`",
                );
            }
            PlannedStep::Weight(weight) if *weight <= share => {
                return wrong(
                    &format!("{weight} is no more than the {share} before it"),
                    "write shares that grow",
                );
            }
            PlannedStep::Weight(weight) => share = *weight,
            PlannedStep::Bake if baked => {
                return wrong(
                    "the candidate is baked for the second time",
                    "keep one `bake`",
                );
            }
            PlannedStep::Bake if share == Weight::NONE => {
                return wrong(
                    "a bake is a watch under traffic, and the candidate has none",
                    "give it some before, such as `weight: 100%`",
                );
            }
            PlannedStep::Bake => baked = true,
            PlannedStep::Retire if share < Weight::ALL || !baked => {
                return wrong(
                    "the stable release is still needed",
                    "bake the candidate and give it all traffic before",
                );
            }
            PlannedStep::Retire => retired = true,
            PlannedStep::Check(_)
            | PlannedStep::Wait(_)
            | PlannedStep::Task(_)
            | PlannedStep::Gate { .. } => {}
        }
    }
    let missing = |message: &str, fix: &str| {
        Err(StrategyError {
            step: None,
            message: message.to_owned(),
            fix: fix.to_owned(),
        })
    };
    match placement {
        None => missing(
            "the candidate is never started",
            "begin with `converge: beside`",
        ),
        Some(_) if !baked => missing(
            "the candidate is never baked, so nothing proves it",
            "add a `bake` after the last `weight`",
        ),
        Some(Placement::Beside) if !retired => missing(
            "the stable release is never stopped, so each deployment leaves one more",
            "end with `weight: 100%` and `retire: stable`",
        ),
        Some(_) => Ok(()),
    }
}
