//! 001: `rollback-config.yml`, with the `security:` and `ci_cd_integration:` parts that its document
//! keeps beside it.

mod pipeline;
mod security;
mod strategies;
mod triggers;

use std::time::Duration;

use super::{
    Dialect, MetricMapping, TranslateOptions,
    draft::Draft,
    reading::{Field, Group, Trouble},
};
use crate::model::duration_text;

/// Longer than any of its delays: what is left to see and to act in.
const BESIDE_THE_DELAY: Duration = Duration::from_secs(300);
const ROLLBACK: [&str; 7] = [
    "enabled",
    "max_rollback_attempts",
    "rollback_cooldown",
    "health_check",
    "triggers",
    "strategies",
    "notifications",
];

/// What the parts of the source say about the length of the watch.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// The longest `rollback_delay`.
    delay: Duration,
    /// How long the pipeline watches after a deployment.
    pipeline: Duration,
    /// Whether something said how often to look.
    poll: bool,
    metrics: Vec<String>,
}

pub(super) fn translate(
    root: &Field<'_>,
    options: &TranslateOptions,
    draft: &mut Draft,
) -> Result<(), Trouble> {
    // The document writes `triggers:` and `strategies:` both below `rollback:` and by themselves.
    let parts = [
        &ROLLBACK[..],
        &["rollback", "security", "ci_cd_integration"],
    ]
    .concat();
    let top = root.group(&parts)?;
    let metrics = options
        .metrics
        .over(MetricMapping::of(Dialect::RollbackConfig));
    let mut watched = Watched::default();
    main_part(&top, &metrics, options, draft, &mut watched)?;
    if let Some(field) = top.get("rollback") {
        let group = field.group(&ROLLBACK)?;
        main_part(&group, &metrics, options, draft, &mut watched)?;
    }
    if let Some(field) = top.get("ci_cd_integration") {
        pipeline::translate(&field, draft, &mut watched)?;
    }
    if let Some(field) = top.get("security") {
        security::translate(&field, draft)?;
    }
    metrics.declare(draft, watched.metrics.iter().map(String::as_str));
    if options.bake.is_none() {
        bake(draft, &watched);
    }
    Ok(())
}

fn main_part(
    group: &Group<'_>,
    metrics: &MetricMapping,
    options: &TranslateOptions,
    draft: &mut Draft,
    watched: &mut Watched,
) -> Result<(), Trouble> {
    if let Some(field) = group.get("enabled") {
        super::enabled(&field, draft)?;
    }
    if let Some(field) = group.get("max_rollback_attempts") {
        draft.apply("budget.rollbacks", field.count()?, &field);
        super::budget_period(draft);
    }
    if let Some(field) = group.get("rollback_cooldown") {
        draft.apply_time("budget.cooldown", field.seconds()?, &field);
    }
    if let Some(field) = group.get("health_check") {
        triggers::health_check(&field, draft, watched)?;
    }
    if let Some(field) = group.get("triggers") {
        triggers::translate(&field, metrics, draft, watched)?;
    }
    if let Some(field) = group.get("strategies") {
        strategies::translate(&field, options, draft)?;
    }
    if let Some(field) = group.get("notifications") {
        // The document names this section and gives none of its keys.
        draft.all_not_ours(&field, "the host's notifiers tell people; their addresses are secrets of the host, and no policy holds them");
    }
    Ok(())
}

fn bake(draft: &mut Draft, watched: &Watched) {
    let needed = watched.delay + BESIDE_THE_DELAY;
    let bake = needed.max(watched.pipeline);
    let why = if watched.pipeline >= needed {
        "as long as the pipeline watches after a deployment".to_owned()
    } else {
        format!(
            "the source does not say how long a release is on trial; it has to be longer than its \
             longest `rollback_delay` ({}), or that trigger could never act",
            duration_text(watched.delay)
        )
    };
    draft.choose("bake", duration_text(bake), &why);
}
