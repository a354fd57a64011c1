//! From the document of a trigger to its rule.

use std::{sync::Arc, time::Duration};

use super::{SeverityName, TriggerDocument, composition, shape};
use crate::{
    model::{Action, MetricId, Severity},
    policy::{Rule, TriggerRule, document::Share, error::Problem},
    statistics::{FalseRollbackRate, MinEffect},
};

pub(in crate::policy) fn trigger(
    index: usize,
    document: TriggerDocument,
    poll: Duration,
    part_of: Option<&Arc<str>>,
) -> Result<TriggerRule, Problem> {
    let name = Arc::clone(&document.name);
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Problem::new(
            (index, "name"),
            format!(
                "`{}` is no name: it is empty or has a space in it",
                name.escape_debug()
            ),
            "write one word, such as too_many_errors",
        ));
    }
    let kinds = [
        ("when", document.when.is_some()),
        ("compare", document.compare.is_some()),
        ("alarm", document.alarm.is_some()),
        ("health", document.health.is_some()),
        ("any", document.any.is_some()),
        ("all", document.all.is_some()),
        ("at_least", document.at_least.is_some()),
        ("task", document.task.is_some()),
        ("host", document.host),
    ];
    let mut given = kinds
        .iter()
        .filter(|(_, given)| *given)
        .map(|(kind, _)| *kind);
    let kind = match (given.next(), given.next()) {
        (Some(kind), None) => kind,
        (Some(first), Some(second)) => {
            return Err(Problem::new(
                (index, second),
                format!("trigger `{name}` has both `{first}` and `{second}`"),
                "keep one of them, and make a second trigger of the other",
            )
            .about_key());
        }
        (None, _) => {
            return Err(Problem::new(
                (index, ""),
                format!("nothing says when trigger `{name}` fails"),
                "give it `when: CONDITION`, `compare: METRIC`, `alarm: METRIC`, `health`, `any`, `all`, \
                 `at_least`, `task: NAME` or `host: true`",
            ));
        }
    };
    let with = [
        ("for", document.for_.is_some(), &["when", "health"][..]),
        ("times", document.times.is_some(), &["when", "health"]),
        (
            "consecutive",
            document.consecutive.is_some(),
            &["when", "health"],
        ),
        ("share", document.share.is_some(), &["when", "health"]),
        ("average", document.average.is_some(), &["when"]),
        ("of", document.of.is_some(), &["at_least"]),
        (
            "max_false_rollback_rate",
            document.max_false_rollback_rate.is_some(),
            &["compare"],
        ),
        ("min_effect", document.min_effect.is_some(), &["compare"]),
    ];
    if let Some((key, _, belongs)) = with
        .iter()
        .find(|(_, given, with)| *given && !with.contains(&kind))
    {
        return Err(Problem::new(
            (index, *key),
            format!("`{key}` has no meaning with `{kind}`"),
            format!("remove it; it belongs to `{}`", belongs.join("` and `")),
        )
        .about_key());
    }
    let shape = shape::compile(index, &document, poll)?;
    let composite = composition::compile(index, &document)?;
    if let Some(whole) = part_of {
        not_of_a_part(index, &document, whole)?;
    }
    let action = match (document.action, part_of) {
        (_, Some(_)) => Action::Observe,
        (action, None) => action.unwrap_or(Action::RollBack),
    };
    let rule = if let Some(condition) = document.when {
        Rule::When { condition, shape }
    } else if let Some(metric) = document.compare {
        compare(
            index,
            metric,
            document.max_false_rollback_rate,
            document.min_effect,
        )?
    } else if let Some(metric) = document.alarm {
        Rule::Alarm { metric }
    } else if let Some(health) = document.health {
        Rule::Health {
            health: health.into(),
            shape,
        }
    } else if let Some((needs, of)) = composite {
        Rule::Composite { needs, of }
    } else if let Some(task) = document.task {
        Rule::Task { task }
    } else {
        Rule::Host
    };
    Ok(TriggerRule {
        name,
        rule,
        action,
        severity: document.severity.map_or_else(
            || TriggerRule::default_severity(action),
            |severity| match severity {
                SeverityName::Critical => Severity::Page,
                SeverityName::Warning => Severity::Warning,
                SeverityName::Info => Severity::Info,
            },
        ),
        delay: document.delay.unwrap_or_default().0,
        blind_budget: document.blind_budget.map(|budget| budget.0),
        required: document.required.unwrap_or(action == Action::RollBack),
        is_part: part_of.is_some(),
    })
}

/// Refuses what only a trigger that acts by itself can have.
fn not_of_a_part(
    index: usize,
    document: &TriggerDocument,
    whole: &Arc<str>,
) -> Result<(), Problem> {
    let given = [
        ("action", document.action.is_some()),
        ("severity", document.severity.is_some()),
        ("delay", document.delay.is_some()),
        ("blind_budget", document.blind_budget.is_some()),
        ("required", document.required.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((key, _)) => Err(Problem::new(
            (index, *key),
            format!(
                "`{}` is a part of `{whole}`, which acts in its place, so `{key}` has no meaning",
                document.name
            ),
            format!("remove it, or write it at `{whole}`"),
        )
        .about_key()),
    }
}

fn compare(
    index: usize,
    metric: MetricId,
    rate: Option<Share>,
    min_effect: Option<f64>,
) -> Result<Rule, Problem> {
    let rate = rate.map_or_else(|| FalseRollbackRate::DEFAULT.share(), |share| share.0);
    if FalseRollbackRate::new(rate).is_err() {
        return Err(Problem::new(
            (index, "max_false_rollback_rate"),
            format!(
                "{} % is no rate that can be kept: no evidence is ever enough for 0 %, and none is \
                 needed for 100 %",
                rate * 100.0
            ),
            "write a share between them, such as 1%",
        ));
    }
    let min_effect = min_effect.unwrap_or_else(|| MinEffect::DEFAULT.ratio());
    if MinEffect::new(min_effect).is_err() {
        return Err(Problem::new(
            (index, "min_effect"),
            if min_effect < 1.0 {
                format!("a candidate that is {min_effect} times as error-prone is not worse")
            } else {
                format!("{min_effect} times as error-prone is beyond all measure")
            },
            "write a number from 1 on, such as 1.25",
        ));
    }
    Ok(Rule::Compare {
        metric,
        max_false_rollback_rate: rate,
        min_effect,
    })
}
