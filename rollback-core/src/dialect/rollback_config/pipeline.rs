//! `ci_cd_integration:` what the pipeline runs before and after.

use super::Watched;
use crate::dialect::{
    draft::Draft,
    reading::{Field, Trouble},
};

pub(super) fn translate(
    field: &Field<'_>,
    draft: &mut Draft,
    watched: &mut Watched,
) -> Result<(), Trouble> {
    let systems = field.group(&["github_actions"])?;
    let Some(actions) = systems.get("github_actions") else {
        return Ok(());
    };
    let keys = actions.group(&["enabled", "pre_deployment", "post_deployment"])?;
    if let Some(field) = keys.get("enabled") {
        field.flag()?;
        draft.not_ours(&field, "the pipeline calls the controller, with the GitHub Action or its command; a policy does not know who calls");
    }
    if let Some(field) = keys.get("pre_deployment") {
        for item in field.list()? {
            script(&item, "before", draft, watched)?;
        }
    }
    if let Some(field) = keys.get("post_deployment") {
        for item in field.list()? {
            script(&item, "after", draft, watched)?;
        }
    }
    Ok(())
}

fn script(
    item: &Field<'_>,
    when: &str,
    draft: &mut Draft,
    watched: &mut Watched,
) -> Result<(), Trouble> {
    let known: &[&str] = match when {
        "before" => &["name", "script", "timeout"],
        _ => &["name", "script", "duration", "interval"],
    };
    let keys = item.group(known)?;
    let name = keys
        .get("name")
        .ok_or_else(|| item.trouble("`name` is missing", "add `name: \"smoke_test\"`"))?;
    name.text()?;
    let why = match when {
        "before" => {
            "the pipeline runs it before it asks for a deployment, and asks for none if it fails"
        }
        _ => {
            "the controller itself watches after a deployment: the triggers do what this script does"
        }
    };
    draft.not_ours(&name, why);
    for key in ["script", "timeout"] {
        if let Some(field) = keys.get(key) {
            draft.not_ours(&field, why);
        }
    }
    if let Some(field) = keys.get("duration") {
        let time = field.seconds()?;
        watched.pipeline = watched.pipeline.max(time);
        draft.applied_as(&field, "`bake`, which is at least as long");
    }
    if let Some(field) = keys.get("interval") {
        let time = field.seconds()?;
        if watched.poll {
            draft.not_ours(
                &field,
                "`health_check_interval` says how often the controller looks",
            );
        } else {
            draft.apply_time("poll", time, &field);
            watched.poll = true;
        }
    }
    Ok(())
}
