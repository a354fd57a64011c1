//! What makes sense together: names, conditions, and triggers that can fire at all.

use std::time::Duration;

use super::{Metric, PerScope, Policy, error::Problem, read::one_of, trigger};
use crate::model::{Query, duration_text};

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
        let checked = self::metric(metric);
        if metric.judged {
            checked?;
        } else {
            checked.map_err(Problem::of_record)?;
        }
    }
    for (index, rule) in policy.triggers.iter().enumerate() {
        trigger::check(policy, index, rule)?;
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
