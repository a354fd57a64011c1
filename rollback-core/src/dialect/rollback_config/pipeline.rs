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
            before(&item, draft)?;
        }
    }
    if let Some(field) = keys.get("post_deployment") {
        for item in field.list()? {
            after(&item, draft, watched)?;
        }
    }
    Ok(())
}

/// A check before anything is changed: if it fails, the deployment is refused.
fn before(item: &Field<'_>, draft: &mut Draft) -> Result<(), Trouble> {
    let keys = item.group(&["name", "script", "timeout"])?;
    let name = keys
        .get("name")
        .ok_or_else(|| item.trouble("`name` is missing", "add `name: \"smoke_test\"`"))?;
    let task = name.text()?;
    if task.is_empty() || !task.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(name.trouble(
            format!("`{}` cannot be the name of a task", task.escape_debug()),
            "use letters, digits and `_`, such as smoke_test",
        ));
    }
    let path = format!("tasks.{task}");
    draft.set(&format!("{path}.when"), "before", &name);
    draft.applied_as(
        &name,
        format!("`{path}.when: before`: if it fails, the deployment is refused"),
    );
    if let Some(field) = keys.get("script") {
        field.text()?;
        draft.not_ours(
            &field,
            format!("the host gives the controller a task of the name `{task}`, which runs it"),
        );
    }
    if let Some(field) = keys.get("timeout") {
        draft.apply_time(&format!("{path}.within"), field.seconds()?, &field);
    }
    Ok(())
}

/// A script that looks at the service for a while: what a watch is.
fn after(item: &Field<'_>, draft: &mut Draft, watched: &mut Watched) -> Result<(), Trouble> {
    const WATCH: &str = "the controller itself watches while there is a way back: the triggers do what this script does";
    let keys = item.group(&["name", "script", "duration", "interval"])?;
    for key in ["name", "script"] {
        if let Some(field) = keys.get(key) {
            field.text()?;
            draft.not_ours(&field, WATCH);
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
