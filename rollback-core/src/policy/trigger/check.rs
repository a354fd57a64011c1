//! Triggers that can fire at all.

use std::time::Duration;

use super::{composition, health, shape};
use crate::{
    condition::{Condition, Subject, Unit},
    model::{Arm, MetricId, Query, duration_text},
    policy::{
        PerScope, PlannedStep, Policy, Rule, Shape, TaskWhen, TriggerRule,
        error::{IntoPath, Problem},
        place::Step,
        read::one_of,
        strategy::Kind,
    },
};

/// The engine's own rule.
const BUILT_IN: &str = "deployment_failed";

pub(in crate::policy) fn check(
    policy: &Policy,
    index: usize,
    rule: &TriggerRule,
) -> Result<(), Problem> {
    if &*rule.name == BUILT_IN {
        return Err(Problem::new(
            (index, "name"),
            format!(
                "`{BUILT_IN}` is the name of the rule that is always there: a deployment that crashes or gets stuck"
            ),
            "give the trigger another name",
        ));
    }
    let earliest = match &rule.rule {
        Rule::When { condition, shape } => when(policy, index, condition, shape)?,
        Rule::Compare { metric, .. } => compare(policy, index, metric)?,
        Rule::Alarm { metric } => alarm(policy, index, metric)?,
        Rule::Health { health, shape } => {
            shape::check(policy, index, shape)?;
            let warmup = health::check(policy, index, health)?;
            in_time(policy, index, shape, warmup, "health")?
        }
        Rule::Composite { needs, of } => {
            composition::check(policy, index, rule, *needs, of)?;
            Duration::ZERO
        }
        Rule::Task { task } => {
            self::task(policy, index, task)?;
            Duration::ZERO
        }
        Rule::Host => Duration::ZERO,
    };
    if !rule.delay.is_zero() && earliest + rule.delay >= policy.watched_for() {
        let text = duration_text;
        let fails = match earliest {
            Duration::ZERO => String::new(),
            earliest => format!("it fails after {} at the earliest, ", text(earliest)),
        };
        return Err(Problem::new(
            (index, "delay"),
            format!(
                "it can never act: {fails}the action follows {} later, and {}",
                text(rule.delay),
                watch(policy)
            ),
            "make `delay` shorter, or `bake` longer",
        ));
    }
    Ok(())
}

/// How long it takes at least until it fails.
fn when(policy: &Policy, index: usize, text: &str, shape: &Shape) -> Result<Duration, Problem> {
    shape::check(policy, index, shape)?;
    let warmup = condition(policy, &(index, "when").into_path(), text)?;
    if matches!(shape, Shape::Average { .. })
        && let Ok(condition) = Condition::compile(text, &policy.catalogue())
        && let Some(slot) = condition
            .slots()
            .iter()
            .find(|slot| slot.unit == Unit::State)
    {
        return Err(Problem::new(
            (index, "average"),
            format!("`{}` is a word, and words have no average", slot.metric),
            "use `for`, `times`, `consecutive` or `share`",
        )
        .about_key());
    }
    in_time(policy, index, shape, warmup, "when")
}

/// Refuses a condition that is none; gives the longest warm-up of what it reads.
pub(super) fn condition(policy: &Policy, place: &[Step], text: &str) -> Result<Duration, Problem> {
    let condition = Condition::compile(text, &policy.catalogue()).map_err(|error| {
        Problem::new(place.to_vec(), error.message(), error.fix())
            .about_part(error.span().start, error.span().end)
    })?;
    let mut warmup = Duration::ZERO;
    for slot in condition.slots() {
        let Some(metric) = policy.metrics.iter().find(|m| m.id.as_str() == slot.metric) else {
            continue;
        };
        warmup = warmup.max(metric.warmup);
        if slot.subject == Subject::Stable {
            if matches!(metric.query, Query::Value(_)) && metric.per == PerScope::Instance {
                return Err(Problem::new(
                    place.to_vec(),
                    format!(
                        "`{slot}` is not one value: `{}` is read for each instance",
                        metric.id
                    ),
                    "declare the metric with `per: arm`",
                ));
            }
            two_arms(policy, place.to_vec(), &format!("`{slot}`"))?;
        }
    }
    Ok(warmup)
}

/// Refuses what is never judged for so long as it has to be bad; else how long it takes at least
/// until it fails.
fn in_time(
    policy: &Policy,
    index: usize,
    shape: &Shape,
    warmup: Duration,
    kind: &'static str,
) -> Result<Duration, Problem> {
    let least = shape.least(policy.poll);
    if least + warmup < policy.watched_for() {
        return Ok(least + warmup);
    }
    let text = duration_text;
    let takes = match shape {
        Shape::Lasting(time) => format!("has to be true for {}", text(*time)),
        _ => format!("takes {} of bad polls", text(least)),
    };
    let (key, why) = if warmup.is_zero() {
        (shape::key(shape), format!("it {takes}"))
    } else {
        let why = format!("it is judged after {} of warm-up and {takes}", text(warmup));
        let key = if least.is_zero() {
            kind
        } else {
            shape::key(shape)
        };
        (key, why)
    };
    Err(Problem::new(
        (index, key),
        format!("it can never fire: {why}, and {}", watch(policy)),
        "make that shorter, or `bake` longer",
    ))
}

/// For how long there is traffic to watch.
fn watch(policy: &Policy) -> String {
    let watched = policy.watched_for();
    if watched == policy.bake {
        format!("the bake lasts {}", duration_text(watched))
    } else {
        format!("waits and bake last {}", duration_text(watched))
    }
}

fn alarm(policy: &Policy, index: usize, id: &MetricId) -> Result<Duration, Problem> {
    let Some(metric) = policy.metric(id) else {
        let names: Vec<&str> = policy.metrics.iter().map(|m| m.id.as_str()).collect();
        let declare = "declare it under `metrics` with `unit: state`";
        let fix = if names.is_empty() {
            declare.to_owned()
        } else {
            one_of(id.as_str(), &names, &format!("{declare}, or use one of"))
        };
        return Err(Problem::new(
            (index, "alarm"),
            format!("unknown metric `{id}`"),
            fix,
        ));
    };
    if metric.unit != Unit::State {
        return Err(Problem::new(
            (index, "alarm"),
            format!("`{id}` is a number, and an alarm says `OK`, `ALARM` or `INSUFFICIENT_DATA`"),
            "declare the metric with `unit: state`; or use `when` with a threshold",
        ));
    }
    in_time(policy, index, &Shape::ONCE, metric.warmup, "alarm")
}

fn task(policy: &Policy, index: usize, name: &str) -> Result<(), Problem> {
    let Some(task) = policy.tasks.iter().find(|task| *task.name == *name) else {
        let names: Vec<&str> = policy.tasks.iter().map(|task| &*task.name).collect();
        let fix = if names.is_empty() {
            format!("declare it, as in `tasks: {{ {name}: {{ when: ready, on_failure: go_on }} }}`")
        } else {
            one_of(name, &names, "declare it under `tasks`, or use one of")
        };
        return Err(Problem::new(
            (index, "task"),
            format!("unknown task `{name}`"),
            fix,
        ));
    };
    let steps = policy.strategy.steps();
    let runs = steps
        .iter()
        .position(|step| matches!(step, PlannedStep::Task(named) if **named == *name));
    let bakes = steps
        .iter()
        .rposition(|step| matches!(step, PlannedStep::Bake));
    if task.when == Some(TaskWhen::Restore) {
        return Err(Problem::new(
            (index, "task"),
            format!("it can never fire: `{name}` runs when it is being rolled back already"),
            "use its own `on_failure`",
        ));
    }
    if task.when == Some(TaskWhen::After)
        || runs.is_some_and(|runs| bakes.is_some_and(|bakes| runs > bakes))
    {
        return Err(Problem::new(
            (index, "task"),
            format!(
                "it can never fire: `{name}` runs after the bake, when nobody watches any more"
            ),
            "let the task run before, such as `when: ready`; or use its own `on_failure`",
        ));
    }
    Ok(())
}

/// How long it takes at least until it fails.
fn compare(policy: &Policy, index: usize, id: &MetricId) -> Result<Duration, Problem> {
    let Some(metric) = policy.metric(id) else {
        let names: Vec<&str> = policy.metrics.iter().map(|m| m.id.as_str()).collect();
        let fix = if names.is_empty() {
            "declare it under `metrics` with `bad` and `total`".to_owned()
        } else {
            one_of(
                id.as_str(),
                &names,
                "declare it under `metrics`, or use one of",
            )
        };
        return Err(Problem::new(
            (index, "compare"),
            format!("unknown metric `{id}`"),
            fix,
        ));
    };
    let problem = |message: String, fix: &str| Err(Problem::new((index, "compare"), message, fix));
    if metric.per == PerScope::Service {
        return problem(
            format!(
                "it can never fire: `{id}` is measured for the service as a whole, so the arms \
                 cannot be told apart"
            ),
            "declare the metric with `per: arm` or `per: instance`",
        );
    }
    if matches!(metric.query, Query::Value(_)) {
        return problem(
            format!("`{id}` has no counts, and evidence is made of them"),
            "give the metric `bad` and `total` in place of `query`",
        );
    }
    if metric.warmup >= policy.watched_for() {
        return problem(
            format!(
                "it can never fire: `{id}` is judged after {} of warm-up, and {}",
                duration_text(metric.warmup),
                watch(policy)
            ),
            "make `warmup` shorter, or `bake` longer",
        );
    }
    two_arms(policy, (index, "compare"), "it")?;
    Ok(metric.warmup)
}

/// Refuses what needs both arms where the plan never has traffic on both while it watches.
fn two_arms(policy: &Policy, place: impl IntoPath, what: &str) -> Result<(), Problem> {
    let strategy = &policy.strategy;
    if strategy.compares_arms() {
        return Ok(());
    }
    let name = strategy.name();
    let (why, fix) = match strategy.kind() {
        Kind::BlueGreen(_) | Kind::Canary { .. } => (
            format!("`{name}` without `holdback` leaves it none during the bake"),
            "keep a part of the traffic there, such as `holdback: 5%`",
        ),
        Kind::Rolling { .. } | Kind::Recreate => (
            format!("`{name}` leaves it none"),
            "use `blue_green` with `holdback`, or `canary`",
        ),
        Kind::Steps(_) => (
            "no step watches with traffic on both".to_owned(),
            "add a `weight` below 100% with a `wait` or the `bake` after it",
        ),
    };
    Err(Problem::new(
        place,
        format!(
            "it can never fire: {what} needs traffic on the {} arm, and {why}",
            Arm::Stable
        ),
        fix,
    ))
}
