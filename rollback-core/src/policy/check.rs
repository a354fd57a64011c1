//! What makes sense together: names, conditions, and triggers that can fire at all.

use std::time::Duration;

use super::{
    Metric, PerScope, Policy, Rule, TriggerRule, error::Problem, read::one_of, strategy::Kind,
};
use crate::{
    condition::{Condition, Subject},
    model::{Arm, MetricId, Query, duration_text},
};

/// Seldom enough; a longer pause is a mistake in the unit.
const LONGEST_POLL: Duration = Duration::from_secs(3_600);
/// What a query may have rendered into it, and whether that takes arms and instances.
const PLACEHOLDERS: [(&str, Finest); 6] = [
    ("service", Finest::Service),
    ("window", Finest::Service),
    ("release", Finest::Arm),
    ("arm", Finest::Arm),
    ("instance", Finest::Instance),
    ("address", Finest::Instance),
];
/// Words of the condition language.
const RESERVED: [&str; 6] = ["baseline", "stable", "candidate", "true", "false", "not"];

/// The engine's own rule.
const BUILT_IN: &str = "deployment_failed";

/// The coarsest scope in which a placeholder means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Finest {
    Service,
    Arm,
    Instance,
}

pub(super) fn check(policy: &Policy) -> Result<(), Problem> {
    times(policy)?;
    for metric in &policy.metrics {
        self::metric(metric)?;
    }
    for (index, rule) in policy.triggers.iter().enumerate() {
        trigger(policy, index, rule)?;
    }
    if policy.triggers.iter().any(|rule| rule.required) {
        return Ok(());
    }
    Err(if policy.triggers.is_empty() {
        Problem::new(
            "triggers",
            "there is no trigger, so a deployment would be promoted on no evidence at all",
            "add one, such as `- { name: too_many_errors, when: 'error_rate > 5%', for: 30s }`",
        )
    } else {
        Problem::new(
            "triggers",
            "no trigger is required, so a deployment would be promoted on no evidence at all",
            "give one of them `required: true`, or the action `roll_back`",
        )
    })
}

fn times(policy: &Policy) -> Result<(), Problem> {
    let text = duration_text;
    if policy.poll > LONGEST_POLL {
        return Err(Problem::new(
            "poll",
            format!(
                "{} is longer than an hour between two looks",
                text(policy.poll)
            ),
            "write a few seconds, such as 10s",
        ));
    }
    if policy.poll > policy.bake {
        return Err(Problem::new(
            "poll",
            format!(
                "the bake of {} ends before the first poll, after {}",
                text(policy.bake),
                text(policy.poll)
            ),
            format!(
                "poll more often than every {}, or bake longer",
                text(policy.bake)
            ),
        ));
    }
    if policy.verify.hold_for > policy.verify.within {
        return Err(Problem::new(
            "verify.within",
            format!(
                "no rollback can be good for {} within {}",
                text(policy.verify.hold_for),
                text(policy.verify.within)
            ),
            "make `verify.within` longer than `verify.for`",
        ));
    }
    Ok(())
}

fn metric(metric: &Metric) -> Result<(), Problem> {
    let name = metric.id.as_str();
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(letters) {
        let plain: String = name
            .chars()
            .map(|c| if letters(c) { c } else { '_' })
            .collect();
        return Err(Problem::new(
            (&metric.id, ""),
            format!("conditions cannot name a metric `{name}`"),
            format!("use letters, digits and `_`, such as `m_{plain}`").replace("m__", "m_"),
        )
        .about_key());
    }
    if RESERVED.contains(&name) {
        return Err(Problem::new(
            (&metric.id, ""),
            format!("`{name}` is a word of the condition language"),
            "give the metric another name",
        )
        .about_key());
    }
    match &metric.query {
        Query::Value(query) => placeholders(metric, "query", query),
        Query::Counts { bad, total } => {
            placeholders(metric, "bad", bad)?;
            placeholders(metric, "total", total)
        }
    }
}

fn placeholders(metric: &Metric, key: &str, query: &str) -> Result<(), Problem> {
    let problem = |message: String, fix: String| Problem::new((&metric.id, key), message, fix);
    if query.trim().is_empty() {
        return Err(problem(
            format!("`{key}` is empty"),
            "write what to ask the source".to_owned(),
        ));
    }
    let finest = match metric.per {
        PerScope::Service => Finest::Service,
        PerScope::Arm => Finest::Arm,
        PerScope::Instance => Finest::Instance,
    };
    for (start, _) in query.match_indices("{{") {
        let inside = query.get(start + 2..).unwrap_or_default();
        let Some((name, _)) = inside.split_once("}}") else {
            return Err(problem(
                "`{{` without `}}`".to_owned(),
                "close it, as in `{{release}}`".to_owned(),
            )
            .about_part(start, query.len()));
        };
        let end = start + name.len() + 4;
        let name = name.trim();
        let names = PLACEHOLDERS.map(|(name, _)| name);
        let Some((_, needs)) = PLACEHOLDERS.iter().find(|(known, _)| *known == name) else {
            return Err(problem(
                format!("unknown placeholder `{name}`"),
                one_of(name, &names, "the placeholders are"),
            )
            .about_part(start, end));
        };
        if *needs > finest {
            return Err(problem(
                format!(
                    "`{name}` means nothing where the metric is read {}",
                    per(metric)
                ),
                match needs {
                    Finest::Instance => "declare the metric with `per: instance`".to_owned(),
                    _ => "declare the metric with `per: arm`".to_owned(),
                },
            )
            .about_part(start, end));
        }
    }
    Ok(())
}

fn per(metric: &Metric) -> &'static str {
    match metric.per {
        PerScope::Service => "for the service as a whole",
        PerScope::Arm => "for each arm",
        PerScope::Instance => "for each instance",
    }
}

fn trigger(policy: &Policy, index: usize, rule: &TriggerRule) -> Result<(), Problem> {
    if &*rule.name == BUILT_IN {
        return Err(Problem::new(
            (index, "name"),
            format!(
                "`{BUILT_IN}` is the name of the rule that is always there: a deployment that crashes or gets stuck"
            ),
            "give the trigger another name",
        ));
    }
    match &rule.rule {
        Rule::When { condition, for_ } => when(policy, index, condition, *for_),
        Rule::Compare { metric, .. } => compare(policy, index, metric),
        Rule::Host => Ok(()),
    }
}

fn when(policy: &Policy, index: usize, condition: &str, for_: Duration) -> Result<(), Problem> {
    let condition = Condition::compile(condition, &policy.catalogue()).map_err(|error| {
        Problem::new((index, "when"), error.message(), error.fix())
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
                    (index, "when"),
                    format!(
                        "`{slot}` is not one value: `{}` is read for each instance",
                        metric.id
                    ),
                    "declare the metric with `per: arm`",
                ));
            }
            two_arms(policy, index, "when", &format!("`{slot}`"))?;
        }
    }
    if for_ + warmup >= policy.bake {
        let text = duration_text;
        let (key, why) = if warmup.is_zero() {
            ("for", format!("it has to be true for {}", text(for_)))
        } else {
            let why = format!(
                "it is judged after {} of warm-up and has to be true for {}",
                text(warmup),
                text(for_)
            );
            (if for_.is_zero() { "when" } else { "for" }, why)
        };
        return Err(Problem::new(
            (index, key),
            format!(
                "it can never fire: {why}, and the bake lasts {}",
                text(policy.bake)
            ),
            "make that shorter, or `bake` longer",
        ));
    }
    Ok(())
}

fn compare(policy: &Policy, index: usize, id: &MetricId) -> Result<(), Problem> {
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
    if metric.warmup >= policy.bake {
        return problem(
            format!(
                "it can never fire: `{id}` is judged after {} of warm-up, and the bake lasts {}",
                duration_text(metric.warmup),
                duration_text(policy.bake)
            ),
            "make `warmup` shorter, or `bake` longer",
        );
    }
    two_arms(policy, index, "compare", "it")
}

/// Refuses what needs both arms where the plan never has traffic on both while it watches.
fn two_arms(policy: &Policy, index: usize, key: &'static str, what: &str) -> Result<(), Problem> {
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
        (index, key),
        format!(
            "it can never fire: {what} needs traffic on the {} arm, and {why}",
            Arm::Stable
        ),
        fix,
    ))
}
