//! Tasks: what a plan runs beside its changes, and how they are written.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    document::{TaskDocument, Text},
    error::Problem,
    place::Step,
    planned::PlannedStep,
    read::one_of,
    strategy::Strategy,
    strategy_read::{above_zero, one_word, step_path},
};

/// A task that a plan runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskRule {
    /// Its name, under which the controller is given it.
    pub name: Arc<str>,
    /// When it runs; none if the steps of the strategy say so.
    pub when: Option<TaskWhen>,
    /// Within which time.
    pub within: Duration,
    /// What follows if it fails or takes longer.
    pub on_failure: OnTaskFailure,
    /// What it loses, if it brings data back.
    pub loss: Option<Loss>,
}

/// What a task that brings data back loses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// What; people read it.
    pub what: Arc<str>,
    /// Who accepts that.
    pub consent: Consent,
}

/// Who accepts what a task loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// `ask`: a person, each time, told what would be lost.
    #[default]
    Ask,
    /// `given`: the policy.
    Given,
}

/// When a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskWhen {
    /// `before`: before anything is changed for the candidate.
    Before,
    /// `ready`: when the candidate is ready, before it gets traffic; a candidate that takes the
    /// place of what runs has it by then.
    Ready,
    /// `after`: after everything else, in a rollout and after a rollback that is verified.
    After,
    /// `restore`: brings back the data from before a change that was declared irreversible, when
    /// that is rolled back: before anything else, so that the release that is returned to finds
    /// what it knows.
    Restore,
}

/// What follows if a task fails or takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnTaskFailure {
    /// `roll_back`; where nothing was changed yet the deployment is refused.
    RollBack,
    /// `hold`: wait for a person.
    Hold,
    /// `go_on`: as if it had succeeded; triggers may judge it.
    GoOn,
}

/// The tasks, each with its place in the plan.
pub(super) fn read(
    documents: BTreeMap<Arc<str>, TaskDocument>,
    strategy: &Strategy,
) -> Result<Vec<TaskRule>, Problem> {
    let path = |name: &str, key: &str| {
        let keys = ["tasks", name, key]
            .into_iter()
            .filter(|key| !key.is_empty());
        keys.map(|key| Step::Key(key.to_owned()))
            .collect::<Vec<_>>()
    };
    for (index, step) in strategy.steps().iter().enumerate() {
        if let PlannedStep::Task(name) = step
            && !documents.contains_key(name)
        {
            let known: Vec<&str> = documents.keys().map(|name| &**name).collect();
            let fix = if known.is_empty() {
                format!("declare it, as in `tasks: {{ {name}: {{ within: 5m }} }}`")
            } else {
                one_of(name, &known, "declare it under `tasks`, or use one of")
            };
            return Err(Problem::new(
                step_path(index, "task"),
                format!("unknown task `{name}`"),
                fix,
            ));
        }
    }
    let mut tasks = Vec::new();
    for (name, document) in documents {
        one_word(&name, path(&name, ""))?;
        let named = strategy
            .steps()
            .iter()
            .any(|step| matches!(step, PlannedStep::Task(named) if *named == name));
        match document.when {
            Some(_) if named => {
                return Err(Problem::new(
                    path(&name, "when"),
                    format!("the steps of the strategy say when `{name}` runs"),
                    "remove it here, or there",
                )
                .about_key());
            }
            None if !named => {
                return Err(Problem::new(
                    path(&name, ""),
                    format!("nothing says when task `{name}` runs"),
                    "add `when: before`, `ready` or `after`; or name it in the strategy's `steps`",
                )
                .about_key());
            }
            _ => {}
        }
        let after = document.when == Some(TaskWhen::After);
        let restores = document.when == Some(TaskWhen::Restore);
        let on_failure = document.on_failure.unwrap_or(if after || restores {
            OnTaskFailure::Hold
        } else {
            OnTaskFailure::RollBack
        });
        if after && on_failure == OnTaskFailure::RollBack {
            return Err(Problem::new(
                path(&name, "on_failure"),
                format!("`{name}` runs when the stable release is gone, so there is no way back"),
                "write `hold` or `go_on`, or name the task in `steps` before `retire`",
            ));
        }
        if restores && on_failure == OnTaskFailure::RollBack {
            return Err(Problem::new(
                path(&name, "on_failure"),
                format!("`{name}` runs when it is being rolled back already"),
                "write `hold` or `go_on`",
            ));
        }
        let loss = match (document.loses, document.consent) {
            (Some(what), consent) if restores && !what.trim().is_empty() => Some(Loss {
                what,
                consent: consent.unwrap_or_default(),
            }),
            _ if restores => {
                return Err(Problem::new(
                    path(&name, ""),
                    format!("nothing says what is lost when `{name}` brings the data back"),
                    "add it, as in `loses: orders written since the snapshot`",
                )
                .about_key());
            }
            (None, None) => None,
            (loses, _) => {
                let key = if loses.is_some() { "loses" } else { "consent" };
                return Err(Problem::new(
                    path(&name, key),
                    format!("`{key}` is of a task that brings data back, and `{name}` is none"),
                    "remove it, or write `when: restore`",
                )
                .about_key());
            }
        };
        tasks.push(TaskRule {
            loss,
            within: above_zero(document.within.0, path(&name, "within"), "5m")?,
            name,
            when: document.when,
            on_failure,
        });
    }
    Ok(tasks)
}

/// The tasks as people write them.
pub(super) fn written(tasks: Vec<TaskRule>) -> BTreeMap<Arc<str>, TaskDocument> {
    let written = |task: TaskRule| {
        let document = TaskDocument {
            when: task.when,
            within: Text(task.within),
            on_failure: Some(task.on_failure),
            consent: task.loss.as_ref().map(|loss| loss.consent),
            loses: task.loss.map(|loss| loss.what),
        };
        (task.name, document)
    };
    tasks.into_iter().map(written).collect()
}
