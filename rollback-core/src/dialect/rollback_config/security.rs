//! `security:` who may do what, what is written down, what is sealed.

use crate::dialect::{
    draft::Draft,
    reading::{Field, Trouble},
};

pub(super) fn translate(field: &Field<'_>, draft: &mut Draft) -> Result<(), Trouble> {
    let parts = field.group(&["access_control", "audit_logging", "encryption"])?;
    if let Some(field) = parts.get("access_control") {
        access_control(&field, draft)?;
    }
    if let Some(field) = parts.get("audit_logging") {
        audit_logging(&field, draft)?;
    }
    if let Some(field) = parts.get("encryption") {
        encryption(&field, draft)?;
    }
    Ok(())
}

fn access_control(field: &Field<'_>, draft: &mut Draft) -> Result<(), Trouble> {
    const WHO: &str = "the controller's socket tells who asks, and every command carries that actor into the journal; who may ask is decided where the socket is, by its owner and mode";
    let keys = field.group(&["enabled", "roles"])?;
    if let Some(field) = keys.get("enabled") {
        field.flag()?;
        draft.not_ours(&field, WHO);
    }
    if let Some(field) = keys.get("roles") {
        for role in field.list()? {
            let keys = role.group(&["name", "permissions", "users"])?;
            if let Some(field) = keys.get("name") {
                field.text()?;
            }
            for key in ["permissions", "users"] {
                if let Some(field) = keys.get(key) {
                    for word in field.list()? {
                        word.text()?;
                    }
                }
            }
        }
        for role in field.list()? {
            draft.all_not_ours(&role, WHO);
        }
    }
    Ok(())
}

fn audit_logging(field: &Field<'_>, draft: &mut Draft) -> Result<(), Trouble> {
    let keys = field.group(&["enabled", "log_level", "retention_days", "events"])?;
    if let Some(field) = keys.get("enabled") {
        if field.flag()? {
            draft.applied(&field);
        } else {
            draft.not_ours(
                &field,
                "the journal cannot be switched off: recovery, replay and audit are the same log",
            );
        }
    }
    if let Some(field) = keys.get("log_level") {
        field.text()?;
        draft.not_ours(
            &field,
            "the journal has no levels; how much the host logs is set where its log is",
        );
    }
    if let Some(field) = keys.get("retention_days") {
        field.count()?;
        draft.not_ours(
            &field,
            "how long entries are kept is set at the journal's store, not in a policy",
        );
    }
    if let Some(field) = keys.get("events") {
        for event in field.list()? {
            match event.text()? {
                "rollback_triggered" => {
                    draft.applied_as(&event, "the journal's fact of the decision to roll back")
                }
                "rollback_executed" => draft.applied_as(
                    &event,
                    "the journal's facts of each change, and the outcome",
                ),
                "rollback_cancelled" => draft.applied_as(
                    &event,
                    "the journal's fact of the trigger that cleared within its delay",
                ),
                "configuration_changed" => draft.applied_as(
                    &event,
                    "the policy itself, in the journal once for each digest",
                ),
                "test_executed" => draft.not_ours(
                    &event,
                    "a task's result is in the journal as an input; tests elsewhere are the host's",
                ),
                other => {
                    return Err(event.trouble(
                        format!("unknown event `{other}`"),
                        "the events are rollback_triggered, rollback_executed, rollback_cancelled, configuration_changed, test_executed",
                    ));
                }
            }
        }
    }
    Ok(())
}

fn encryption(field: &Field<'_>, draft: &mut Draft) -> Result<(), Trouble> {
    const KEPT: &str = "no secret enters a policy, the journal, a notice or an error: secrets stay with the host, as `Secret` values";
    let keys = field.group(&[
        "enabled",
        "sensitive_fields",
        "algorithm",
        "key_rotation_days",
    ])?;
    if let Some(field) = keys.get("enabled") {
        field.flag()?;
        draft.not_ours(&field, KEPT);
    }
    if let Some(field) = keys.get("sensitive_fields") {
        for item in field.list()? {
            item.text()?;
            draft.not_ours(&item, KEPT);
        }
    }
    if let Some(field) = keys.get("algorithm") {
        field.text()?;
        draft.not_ours(
            &field,
            "the release store seals the definitions of releases, with the host's key",
        );
    }
    if let Some(field) = keys.get("key_rotation_days") {
        field.count()?;
        draft.not_ours(
            &field,
            "the host changes its keys; the release store takes the one it is given",
        );
    }
    Ok(())
}
