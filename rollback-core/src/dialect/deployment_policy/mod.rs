//! 003: `deployment-policy.yaml`. The document gives its sections and values in words, and
//! `progressive_deployment` as text; the other keys are its words. Rates are percentages, response
//! times milliseconds, all other times seconds.

mod stages;

use super::{
    Dialect, MetricMapping, TranslateOptions,
    draft::Draft,
    reading::{Field, Group, Trouble},
};
use crate::model::duration_text;

const DASHBOARD: &str = "a dashboard's window: the journal and the metrics keep what it shows; a longer watch would be a longer `bake`";
const ISSUES: &str = "the host's notifier opens the issue; a notice carries the trigger, its numbers and what would have passed";

pub(super) fn translate(
    root: &Field<'_>,
    options: &TranslateOptions,
    draft: &mut Draft,
) -> Result<(), Trouble> {
    let top = root.group(&[
        "rollback_thresholds",
        "health_checks",
        "progressive_deployment",
        "monitoring_windows",
        "alert_thresholds",
        "incident_management",
        "advanced",
    ])?;
    let metrics = options
        .metrics
        .over(MetricMapping::of(Dialect::DeploymentPolicy));
    let mut read = Vec::new();
    let action = stages::translate(&top, options, draft)?;
    let rollback = thresholds(&top, action, draft, &mut read)?;
    if let Some(field) = top.get("alert_thresholds") {
        alerts(&field, action, &rollback, draft, &mut read)?;
    }
    metrics.declare(draft, read);
    if let Some(field) = top.get("health_checks") {
        health_checks(&field, draft, &metrics)?;
    }
    windows(&top, options, draft)?;
    if let Some(field) = top.get("incident_management") {
        let keys = field.group(&[
            "auto_create_issues",
            "severity_classification",
            "issue_template",
        ])?;
        for field in keys.fields() {
            draft.all_not_ours(&field, ISSUES);
        }
    }
    if let Some(field) = top.get("advanced") {
        advanced(&field, draft)?;
    }
    Ok(())
}

/// A limit, as the native condition.
fn condition(key: &str, field: &Field<'_>) -> Result<String, Trouble> {
    Ok(match key {
        "error_rate" => format!("error_rate > {}", field.percent()?),
        "availability" => format!("availability < {}", field.percent()?),
        _ => format!("response_time > {}ms", field.millis()?.as_millis()),
    })
}

const LIMITS: [&str; 3] = ["error_rate", "availability", "response_time"];

/// The triggers that roll back, as key, condition and path.
fn thresholds(
    top: &Group<'_>,
    action: &str,
    draft: &mut Draft,
    read: &mut Vec<&'static str>,
) -> Result<Vec<(&'static str, String, String)>, Trouble> {
    let mut written = Vec::new();
    let Some(field) = top.get("rollback_thresholds") else {
        return Ok(written);
    };
    let keys = field.group(&[
        "error_rate",
        "availability",
        "response_time",
        "consecutive_failures",
        "failure_window",
    ])?;
    for key in LIMITS {
        if let Some(field) = keys.get(key) {
            let when = condition(key, &field)?;
            let path = draft.trigger(key);
            draft.set(&format!("{path}.action"), action, &field);
            draft.apply(&format!("{path}.when"), when.as_str(), &field);
            read.push(key);
            written.push((key, when, path));
        }
    }
    if let Some(field) = keys.get("consecutive_failures") {
        let path = draft.trigger("health_check_failing");
        let when = "health == 'down' || status == 'unhealthy'";
        draft.set(&format!("{path}.when"), when, &field);
        draft.set(&format!("{path}.action"), action, &field);
        let polls = field.count()?;
        draft.set(&format!("{path}.consecutive"), polls, &field);
        draft.applied_as(&field, format!("`{path}.consecutive: {polls}` of `{when}`"));
        read.extend(["health", "status"]);
        if let Some(field) = keys.get("failure_window") {
            draft.apply_time(&format!("{path}.within"), field.seconds()?, &field);
        }
    } else if let Some(field) = keys.get("failure_window") {
        return Err(field.trouble(
            "`failure_window` stands without `consecutive_failures`",
            "add `consecutive_failures: 3`",
        ));
    }
    Ok(written)
}

/// Warnings are told; what is critical is among the document's automatic rollback triggers.
fn alerts(
    field: &Field<'_>,
    action: &str,
    rollback: &[(&'static str, String, String)],
    draft: &mut Draft,
    read: &mut Vec<&'static str>,
) -> Result<(), Trouble> {
    let levels = field.group(&["warning", "critical"])?;
    for level in levels.fields() {
        let warning = level.path.ends_with("warning");
        let keys = level.group(&LIMITS)?;
        for key in LIMITS {
            let Some(field) = keys.get(key) else { continue };
            let when = condition(key, &field)?;
            if !warning
                && let Some((_, _, path)) = rollback.iter().find(|(_, same, _)| *same == when)
            {
                draft.applied_as(
                    &field,
                    format!("`{path}`, which is critical and has the same limit"),
                );
                continue;
            }
            let path = draft.trigger(&format!(
                "{key}_{}",
                if warning { "warning" } else { "critical" }
            ));
            let (severity, action) = if warning {
                ("warning", "notify")
            } else {
                ("critical", action)
            };
            draft.set(&format!("{path}.severity"), severity, &field);
            draft.set(&format!("{path}.action"), action, &field);
            draft.set(&format!("{path}.when"), when.as_str(), &field);
            draft.applied_as(
                &field,
                format!(
                    "`{path}.when: {when}`, `{path}.severity: {severity}`, `{path}.action: {action}`"
                ),
            );
            read.push(key);
        }
    }
    Ok(())
}

fn health_checks(
    field: &Field<'_>,
    draft: &mut Draft,
    metrics: &MetricMapping,
) -> Result<(), Trouble> {
    let keys = field.group(&[
        "interval",
        "timeout",
        "max_retries",
        "initial_delay",
        "required_fields",
    ])?;
    if let Some(field) = keys.get("interval") {
        draft.apply_time("poll", field.seconds()?, &field);
    }
    if let Some(field) = keys.get("timeout") {
        field.seconds()?;
        draft.not_ours(&field, "the host gives the metric source its limits");
    }
    if let Some(field) = keys.get("max_retries") {
        field.count()?;
        draft.not_ours(&field, "a question is not repeated: the next poll asks again, and what could not be seen is Unknown, never healthy; `consecutive_failures` is what one slow answer does not reach");
    }
    if let Some(field) = keys.get("initial_delay") {
        let time = field.seconds()?;
        let names = draft.declared();
        for name in &names {
            draft.set(
                &format!("metrics.{name}.warmup"),
                duration_text(time),
                &field,
            );
        }
        draft.applied_as(
            &field,
            format!("`warmup: {}` of {}", duration_text(time), names.join(", ")),
        );
    }
    if let Some(field) = keys.get("required_fields") {
        for item in field.list()? {
            let name = item.text()?;
            if metrics.names().any(|known| known == name) {
                draft.applied_as(
                    &item,
                    format!("the metric `{name}`: a body without it is Unknown, never healthy"),
                );
            } else {
                draft.not_ours(
                    &item,
                    "no trigger reads it; the metric source may ask for it",
                );
            }
        }
    }
    Ok(())
}

fn windows(top: &Group<'_>, options: &TranslateOptions, draft: &mut Draft) -> Result<(), Trouble> {
    let staged = draft.has("bake");
    if let Some(field) = top.get("monitoring_windows") {
        let keys = field.group(&["short_term", "medium_term", "long_term"])?;
        if let Some(field) = keys.get("short_term") {
            let time = field.seconds()?;
            if staged {
                draft.applied_as(&field, "`bake`: the last stage says how long");
            } else {
                draft.apply_time("bake", time, &field);
            }
        }
        for key in ["medium_term", "long_term"] {
            if let Some(field) = keys.get(key) {
                field.seconds()?;
                draft.not_ours(&field, DASHBOARD);
            }
        }
    }
    if !draft.has("bake") && options.bake.is_none() {
        draft.choose(
            "bake",
            "5m",
            "the document's short-term window, for immediate health",
        );
    }
    Ok(())
}

fn advanced(field: &Field<'_>, draft: &mut Draft) -> Result<(), Trouble> {
    let keys = field.group(&[
        "quality_gates",
        "graceful_shutdown",
        "feature_flags",
        "blue_green",
        "traffic_splitting",
    ])?;
    for (key, known, why) in [
        (
            "quality_gates",
            &["enabled", "code_coverage", "performance_regression"][..],
            "the pipeline judges code before there is a release; a regression under traffic is a trigger against the stable arm (`compare`)",
        ),
        (
            "graceful_shutdown",
            &["enabled", "timeout"],
            "the platform stops instances; `deadlines.retire` is how long it may take",
        ),
        (
            "feature_flags",
            &["enabled", "provider"],
            "a flag's provider is the host's; a policy moves traffic, not flags",
        ),
        (
            "blue_green",
            &["enabled"],
            "a policy has one strategy, and `progressive_deployment` chose it",
        ),
        (
            "traffic_splitting",
            &["enabled", "method"],
            "the host's traffic shifter knows how traffic is divided; a policy says into which shares",
        ),
    ] {
        if let Some(field) = keys.get(key) {
            field.group(known)?;
            draft.all_not_ours(&field, why);
        }
    }
    Ok(())
}
