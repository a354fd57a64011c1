//! 004: `DEFAULT_ROLLBACK_CONFIG`. Durations are seconds; a response time's threshold is
//! milliseconds, an error rate's a share of 1, a health check's a number of failures.

use std::time::Duration;

use super::{
    Dialect, MetricMapping, TranslateOptions,
    draft::Draft,
    reading::{Field, Trouble},
};
use crate::model::duration_text;

/// How often the document's monitor looks.
const POLL: Duration = Duration::from_secs(10);

pub(super) fn translate(
    root: &Field<'_>,
    options: &TranslateOptions,
    draft: &mut Draft,
) -> Result<(), Trouble> {
    let keys = root.group(&[
        "enabled",
        "triggers",
        "cooldownPeriod",
        "maxRollbacks",
        "notificationChannels",
    ])?;
    if let Some(field) = keys.get("enabled") {
        super::enabled(&field, draft)?;
    }
    let metrics = options
        .metrics
        .over(MetricMapping::of(Dialect::DefaultRollbackConfig));
    let mut read = Vec::new();
    if let Some(field) = keys.get("triggers") {
        for item in field.list()? {
            read.extend(trigger(&item, draft)?);
        }
    }
    metrics.declare(draft, read);
    if let Some(field) = keys.get("cooldownPeriod") {
        draft.apply_time("budget.cooldown", field.seconds()?, &field);
    }
    if let Some(field) = keys.get("maxRollbacks") {
        draft.apply("budget.rollbacks", field.count()?, &field);
        super::budget_period(draft);
    }
    if let Some(field) = keys.get("notificationChannels") {
        for channel in field.list()? {
            let name = channel.text()?;
            draft.not_ours(
                &channel,
                format!("the host's notifier for `{name}`; its address is a secret of the host"),
            );
        }
    }
    draft.choose(
        "poll",
        duration_text(POLL),
        "the document's monitor looks every ten seconds",
    );
    if options.bake.is_none() {
        draft.choose(
            "bake",
            "10m",
            "the document's monitor never ends; a watch does",
        );
    }
    Ok(())
}

/// The metric that the trigger reads, if it is a trigger here.
fn trigger(item: &Field<'_>, draft: &mut Draft) -> Result<Option<&'static str>, Trouble> {
    let keys = item.group(&["type", "threshold", "duration", "message"])?;
    let kind = keys
        .get("type")
        .ok_or_else(|| item.trouble("`type` is missing", "add `type: 'error-rate'`"))?;
    let threshold = keys.get("threshold");
    let duration = keys.get("duration");
    let time = match &duration {
        Some(field) => field.seconds()?,
        None => Duration::from_secs(60),
    };
    let read = match kind.text()? {
        "error-rate" => {
            let limit = threshold
                .as_ref()
                .map_or_else(|| Ok("5%".to_owned()), Field::ratio)?;
            let path = average(
                draft,
                "error_rate_high",
                &format!("error_rate > {limit}"),
                &kind,
                threshold.as_ref(),
            );
            averaged(draft, &path, time, duration.as_ref(), &kind);
            Some("error_rate")
        }
        "response-time" => {
            let limit = threshold
                .as_ref()
                .map_or(Ok(Duration::from_secs(1)), Field::millis)?;
            let when = format!("response_time > {}ms", limit.as_millis());
            let path = average(
                draft,
                "response_time_high",
                &when,
                &kind,
                threshold.as_ref(),
            );
            averaged(draft, &path, time, duration.as_ref(), &kind);
            Some("response_time")
        }
        "health-check" => {
            health_check(&kind, threshold.as_ref(), duration.as_ref(), time, draft)?;
            Some("health")
        }
        "manual" => {
            draft.not_ours(&kind, "a rollback by hand is a command (`guard rollback`): as a trigger in a configuration it would fire for ever");
            for field in [&threshold, &duration].into_iter().flatten() {
                draft.not_ours(field, "a command has no threshold");
            }
            None
        }
        "alarm" => {
            alarm(item, &kind, keys.get("message"), draft)?;
            for field in [&threshold, &duration].into_iter().flatten() {
                draft.not_ours(field, "the alarm itself has a threshold and a period");
            }
            return Ok(None);
        }
        other => {
            return Err(kind.trouble(
                format!("`{other}` is no type of trigger"),
                crate::policy::one_of(
                    other,
                    &[
                        "error-rate",
                        "response-time",
                        "health-check",
                        "manual",
                        "alarm",
                    ],
                    "it can be",
                ),
            ));
        }
    };
    if let Some(field) = keys.get("message") {
        field.text()?;
        draft.not_ours(
            &field,
            "a notice names the trigger that fired, its numbers and what would have passed",
        );
    }
    Ok(read)
}

fn average(
    draft: &mut Draft,
    name: &str,
    when: &str,
    kind: &Field<'_>,
    threshold: Option<&Field<'_>>,
) -> String {
    let path = draft.trigger(name);
    draft.set(&format!("{path}.when"), when, threshold.unwrap_or(kind));
    draft.applied_as(kind, format!("`{path}.name: {name}`"));
    if let Some(field) = threshold {
        draft.applied_as(field, format!("`{path}.when: {when}`"));
    }
    path
}

fn averaged(
    draft: &mut Draft,
    path: &str,
    time: Duration,
    duration: Option<&Field<'_>>,
    kind: &Field<'_>,
) {
    draft.set(
        &format!("{path}.average"),
        duration_text(time),
        duration.unwrap_or(kind),
    );
    if let Some(field) = duration {
        draft.applied_as(field, format!("`{path}.average: {}`", duration_text(time)));
    }
}

fn health_check(
    kind: &Field<'_>,
    threshold: Option<&Field<'_>>,
    duration: Option<&Field<'_>>,
    time: Duration,
    draft: &mut Draft,
) -> Result<(), Trouble> {
    let failures = threshold.map_or(Ok(3), Field::count)?;
    let path = draft.trigger("health_check_failing");
    draft.set(&format!("{path}.when"), "health == 'down'", kind);
    draft.set(
        &format!("{path}.consecutive"),
        failures,
        threshold.unwrap_or(kind),
    );
    draft.set(
        &format!("{path}.within"),
        duration_text(time),
        duration.unwrap_or(kind),
    );
    draft.applied_as(kind, format!("`{path}.when: health == 'down'`"));
    if let Some(field) = threshold {
        draft.applied_as(field, format!("`{path}.consecutive: {failures}`: counted from poll to poll, where the document's count never passes 1"));
    }
    if let Some(field) = duration {
        draft.applied_as(field, format!("`{path}.within: {}`", duration_text(time)));
    }
    Ok(())
}

/// The document gives the alarm's name as the trigger's message.
fn alarm(
    item: &Field<'_>,
    kind: &Field<'_>,
    message: Option<Field<'_>>,
    draft: &mut Draft,
) -> Result<(), Trouble> {
    let message = message.ok_or_else(|| {
        item.trouble(
            "`message` is missing; for an alarm it is the alarm's name",
            "add `message: 'my-alarm'`",
        )
    })?;
    let alarm = message.text()?;
    let metric: String = alarm
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    let metric = format!("alarm_{metric}");
    let path = draft.trigger(&metric);
    draft.set(&format!("{path}.alarm"), metric.as_str(), kind);
    draft.applied_as(kind, format!("`{path}.alarm: {metric}`"));
    draft.applied_as(
        &message,
        format!("`metrics.{metric}.query`: the name of the alarm"),
    );
    let place = format!("metrics.{metric}");
    for (key, value) in [
        ("unit", "state"),
        ("per", "service"),
        ("query", alarm),
        ("source", "alarms"),
    ] {
        draft.set(&format!("{place}.{key}"), value, &message);
    }
    Ok(())
}
