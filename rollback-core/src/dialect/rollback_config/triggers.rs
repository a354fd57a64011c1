//! `triggers:` and `health_check:`.

use super::{
    super::{
        draft::Draft,
        reading::{Field, Trouble},
    },
    Watched,
};
use crate::{dialect::MetricMapping, model::duration_text};

const GROUPS: [&str; 3] = ["application", "infrastructure", "business"];

pub(super) fn translate(
    field: &Field<'_>,
    metrics: &MetricMapping,
    draft: &mut Draft,
    watched: &mut Watched,
) -> Result<(), Trouble> {
    let groups = field.group(&GROUPS)?;
    for group in groups.fields() {
        for item in group.list()? {
            trigger(&item, metrics, draft, watched)?;
        }
    }
    Ok(())
}

fn trigger(
    item: &Field<'_>,
    metrics: &MetricMapping,
    draft: &mut Draft,
    watched: &mut Watched,
) -> Result<(), Trouble> {
    let keys = item.group(&["name", "condition", "severity", "rollback_delay"])?;
    let missing = |key: &str, example: &str| {
        item.trouble(
            format!("`{key}` is missing"),
            format!("add `{key}: {example}`"),
        )
    };
    let name = keys
        .get("name")
        .ok_or_else(|| missing("name", "\"high_error_rate\""))?;
    let condition = keys
        .get("condition")
        .ok_or_else(|| missing("condition", "\"error_rate > 0.05\""))?;
    let text = name.text()?;
    let path = draft.trigger(text);
    draft.apply(&format!("{path}.name"), text, &name);
    let read = draft.condition(&format!("{path}.when"), &condition, &metrics.catalogue())?;
    watched.metrics.extend(read.iter().map(ToString::to_string));
    let delay = keys.get("rollback_delay");
    if let Some(field) = keys.get("severity") {
        severity(&field, &path, delay.is_some(), draft)?;
    }
    if let Some(field) = delay {
        let time = field.seconds()?;
        watched.delay = watched.delay.max(time);
        draft.apply_time(&format!("{path}.delay"), time, &field);
    }
    Ok(())
}

/// How loud it is, and what it may do: in the source the first says the second too.
fn severity(
    field: &Field<'_>,
    path: &str,
    delayed: bool,
    draft: &mut Draft,
) -> Result<(), Trouble> {
    let severity = field.text()?;
    let (action, why) = match severity {
        "critical" => ("roll_back", ""),
        "warning" if delayed => (
            "roll_back",
            ", since a trigger with a `rollback_delay` rolls back after it; a warning is only told less loudly",
        ),
        "warning" => (
            "notify",
            ", since a warning without a `rollback_delay` never rolls back",
        ),
        "info" => ("observe", ", since it is only for the record"),
        other => {
            return Err(field.trouble(
                format!("`{other}` is no severity"),
                "write critical, warning or info",
            ));
        }
    };
    draft.set(&format!("{path}.action"), action, field);
    draft.set(&format!("{path}.severity"), severity, field);
    draft.applied_as(
        field,
        format!("`{path}.severity: {severity}`, `{path}.action: {action}`{why}"),
    );
    Ok(())
}

/// Health checks that fail too often, one after the other, or too slowly.
pub(super) fn health_check(
    field: &Field<'_>,
    draft: &mut Draft,
    watched: &mut Watched,
) -> Result<(), Trouble> {
    let keys = field.group(&[
        "max_failure_rate",
        "max_response_time",
        "consecutive_failures",
        "health_check_interval",
    ])?;
    if let Some(field) = keys.get("health_check_interval") {
        draft.apply_time("poll", field.seconds()?, &field);
        watched.poll = true;
    }
    let consecutive = keys.get("consecutive_failures");
    let polls = consecutive.as_ref().map(Field::count).transpose()?;
    let mut applied = Vec::new();
    if let (Some(field), Some(polls)) = (&consecutive, polls) {
        let path = draft.trigger("health_check_failing");
        *draft.native.at(&format!("{path}.when")) = "health == 'down'".into();
        draft.set(&format!("{path}.consecutive"), polls, field);
        applied.push(format!(
            "`{path}.consecutive: {polls}` of `health == 'down'`"
        ));
        watched.metrics.push("health".to_owned());
    }
    if let Some(field) = keys.get("max_failure_rate") {
        let share = field.ratio()?;
        let path = draft.trigger("health_checks_failing_often");
        *draft.native.at(&format!("{path}.when")) = "health == 'down'".into();
        draft.set(&format!("{path}.share"), share.as_str(), &field);
        *draft.native.at(&format!("{path}.over")) = "5m".into();
        draft.applied_as(
            &field,
            format!("`{path}.share: {share}` of the checks over 5m; the source does not say over which time"),
        );
        watched.metrics.push("health".to_owned());
    }
    if let Some(field) = keys.get("max_response_time") {
        let limit = duration_text(field.millis()?).replace(' ', "");
        let millis = field.millis()?.as_millis();
        let path = draft.trigger("health_check_slow");
        let when = format!("health_response_time > {millis}ms");
        draft.set(&format!("{path}.when"), when.as_str(), &field);
        if let (Some(field), Some(polls)) = (&consecutive, polls) {
            draft.set(&format!("{path}.consecutive"), polls, field);
            applied.push(format!(
                "`{path}.consecutive: {polls}`, since a slow check is a failed one"
            ));
        }
        draft.applied_as(&field, format!("`{path}.when: {when}` ({limit})"));
        watched.metrics.push("health_response_time".to_owned());
    }
    if let Some(field) = consecutive {
        draft.applied_as(&field, applied.join(", "));
    }
    Ok(())
}
