//! `progressive_deployment:` stages, and whether a failure rolls back.

use std::time::Duration;

use crate::{
    dialect::{
        TranslateOptions,
        draft::Draft,
        native::Native,
        reading::{Field, Group, Trouble},
    },
    model::duration_text,
};

/// The stages; answers with what a failing trigger may do.
pub(super) fn translate(
    top: &Group<'_>,
    options: &TranslateOptions,
    draft: &mut Draft,
) -> Result<&'static str, Trouble> {
    let Some(field) = top.get("progressive_deployment") else {
        return Ok("roll_back");
    };
    let keys = field.group(&[
        "enabled",
        "stages",
        "auto_rollback_on_failure",
        "min_wait_time",
        "max_wait_time",
    ])?;
    let action = match keys.get("auto_rollback_on_failure") {
        Some(field) if !field.flag()? => {
            draft.applied_as(
                &field,
                "`action: hold` of every trigger that would roll back",
            );
            "hold"
        }
        Some(field) => {
            draft.applied_as(&field, "`action: roll_back` of the rollback thresholds");
            "roll_back"
        }
        None => "roll_back",
    };
    let enabled = match keys.get("enabled") {
        Some(field) if !field.flag()? => {
            draft.applied_as(&field, "`strategy: blue_green`: all of the traffic at once");
            false
        }
        Some(field) => {
            draft.applied_as(&field, "`strategy`, below");
            true
        }
        None => true,
    };
    let limit = |key: &str| keys.get(key).map(|field| field.seconds()).transpose();
    let (least, most) = (limit("min_wait_time")?, limit("max_wait_time")?);
    for key in ["min_wait_time", "max_wait_time"] {
        if let Some(field) = keys.get(key) {
            draft.applied_as(&field, "a check of each `wait_time` while it is translated");
        }
    }
    let Some(list) = keys.get("stages") else {
        return Ok(action);
    };
    if !enabled {
        draft.all_not_ours(&list, "the stages are not enabled");
        return Ok(action);
    }
    let stages = stages(
        &list,
        least.unwrap_or_default(),
        most.unwrap_or(Duration::MAX),
    )?;
    write_stages(&list, &stages, options, draft)?;
    Ok(action)
}

struct Stage<'n> {
    share: String,
    percentage: Field<'n>,
    wait: Duration,
    wait_time: Field<'n>,
}

fn stages<'n>(
    list: &Field<'n>,
    least: Duration,
    most: Duration,
) -> Result<Vec<Stage<'n>>, Trouble> {
    list.list()?
        .into_iter()
        .map(|item| {
            let keys = item.group(&["percentage", "wait_time"])?;
            let missing = |key: &str, example: &str| {
                item.trouble(
                    format!("`{key}` is missing"),
                    format!("add `{key}: {example}`"),
                )
            };
            let percentage = keys
                .get("percentage")
                .ok_or_else(|| missing("percentage", "10"))?;
            let wait_time = keys
                .get("wait_time")
                .ok_or_else(|| missing("wait_time", "300"))?;
            let wait = wait_time.seconds()?;
            if wait < least || wait > most {
                return Err(wait_time.trouble(
                    format!(
                        "{} is not within `min_wait_time` and `max_wait_time`",
                        duration_text(wait)
                    ),
                    "make it fit, or the limits",
                ));
            }
            Ok(Stage {
                share: percentage.percent()?,
                percentage,
                wait,
                wait_time,
            })
        })
        .collect()
}

fn write_stages(
    list: &Field<'_>,
    stages: &[Stage<'_>],
    options: &TranslateOptions,
    draft: &mut Draft,
) -> Result<(), Trouble> {
    let Some((last, before)) = stages.split_last() else {
        return Err(list.trouble(
            "there is no stage",
            "write `- percentage: 100` with its `wait_time`",
        ));
    };
    if last.share != "100%" {
        return Err(last.percentage.trouble(
            format!("the last stage gives the candidate {} of the traffic, and nothing gives it the rest", last.share),
            "add a stage with `percentage: 100`",
        ));
    }
    let wait = before.first().map(|stage| stage.wait);
    let even = before.iter().all(|stage| Some(stage.wait) == wait);
    if even && let Some(wait) = wait {
        let steps: Vec<Native> = stages
            .iter()
            .map(|stage| stage.share.as_str().into())
            .collect();
        draft.set("strategy.canary.steps", steps, list);
        draft.set("strategy.canary.wait", duration_text(wait), list);
        for (index, stage) in stages.iter().enumerate() {
            draft.applied_as(
                &stage.percentage,
                format!("`strategy.canary.steps[{index}]: {}`", stage.share),
            );
        }
        for stage in before {
            draft.applied_as(
                &stage.wait_time,
                format!("`strategy.canary.wait: {}`", duration_text(wait)),
            );
        }
    } else {
        let mut at = 0;
        let mut step = |draft: &mut Draft, key: &str, value: &str, from: &Field<'_>| {
            let path = format!("strategy.steps[{at}].{key}");
            at += 1;
            draft.set(&path, value, from);
            path
        };
        step(draft, "converge", "beside", list);
        for stage in before {
            let path = step(draft, "weight", &stage.share, &stage.percentage);
            draft.applied_as(&stage.percentage, format!("`{path}: {}`", stage.share));
            let path = step(draft, "wait", &duration_text(stage.wait), &stage.wait_time);
            draft.applied_as(
                &stage.wait_time,
                format!("`{path}: {}`", duration_text(stage.wait)),
            );
        }
        let path = step(draft, "weight", "100%", &last.percentage);
        draft.applied_as(&last.percentage, format!("`{path}: 100%`"));
        let bake = options.bake.unwrap_or(last.wait);
        step(draft, "bake", &duration_text(bake), &last.wait_time);
        step(draft, "retire", "stable", list);
    }
    draft.apply_time("bake", last.wait, &last.wait_time);
    Ok(())
}
