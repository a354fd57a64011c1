//! `strategies:` several may be enabled in the source; a policy has one.

use crate::dialect::{
    TranslateOptions,
    draft::Draft,
    native::Native,
    reading::{Field, Trouble},
};

const NAMES: [&str; 3] = ["blue_green", "canary", "rolling"];

pub(super) fn translate(
    field: &Field<'_>,
    options: &TranslateOptions,
    draft: &mut Draft,
) -> Result<(), Trouble> {
    let groups = field.group(&NAMES)?;
    let mut enabled = Vec::new();
    for strategy in groups.fields() {
        let keys = strategy.group(keys_of(last(&strategy.path)))?;
        if keys.get("enabled").map_or(Ok(true), |field| field.flag())? {
            enabled.push(last(&strategy.path).to_owned());
        }
    }
    let chosen = match &options.strategy {
        Some(wanted) if enabled.contains(wanted) => Some(wanted.clone()),
        Some(wanted) => {
            return Err(field.trouble(
                format!("the strategy `{wanted}` was asked for, and is not enabled here"),
                format!("ask for one of {}", enabled.join(", ")),
            ));
        }
        None => enabled.first().cloned(),
    };
    for strategy in groups.fields() {
        let name = last(&strategy.path).to_owned();
        if chosen.as_ref() == Some(&name) {
            this_one(&strategy, &name, draft)?;
        } else {
            let why = match &chosen {
                Some(chosen) if enabled.contains(&name) => format!(
                    "a policy has one strategy, and `{chosen}` was chosen; ask for `{name}` to have this one"
                ),
                _ => "this strategy is not enabled".to_owned(),
            };
            draft.all_not_ours(&strategy, &why);
        }
    }
    Ok(())
}

fn keys_of(name: &str) -> &'static [&'static str] {
    match name {
        "blue_green" => &[
            "enabled",
            "switch_traffic",
            "preserve_old_stack",
            "rollback_timeout",
        ],
        "canary" => &[
            "enabled",
            "traffic_shifting",
            "gradual_rollback",
            "rollback_steps",
            "rollback_timeout",
        ],
        _ => &[
            "enabled",
            "max_unavailable",
            "max_surge",
            "rollback_timeout",
        ],
    }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn this_one(strategy: &Field<'_>, name: &str, draft: &mut Draft) -> Result<(), Trouble> {
    let keys = strategy.group(keys_of(name))?;
    let steps = keys.get("rollback_steps");
    let gradual = match keys.get("gradual_rollback") {
        Some(field) => field.flag()?,
        None => steps.is_some(),
    };
    draft.set("strategy", name, strategy);
    for field in keys.fields() {
        match last(&field.path) {
            "enabled" => draft.apply("strategy", name, &field),
            "switch_traffic" | "traffic_shifting" => {
                if !field.flag()? {
                    return Err(field.trouble(
                        format!("`{name}` without moving traffic is no `{name}`"),
                        "set it to true, or take `rolling`",
                    ));
                }
                draft.applied_as(
                    &field,
                    format!("`strategy: {name}`, which gives the candidate the traffic"),
                );
            }
            "preserve_old_stack" => {
                if !field.flag()? {
                    return Err(field.trouble(
                        "without the old stack there is nothing to switch back to",
                        "set it to true: the old stack is stopped when the bake is over",
                    ));
                }
                draft.applied_as(
                    &field,
                    "`strategy: blue_green`: the old stack stays ready until the bake is over, and is the way back",
                );
            }
            "gradual_rollback" if gradual => {
                draft.applied_as(&field, "`strategy.canary.rollback_steps`");
            }
            "gradual_rollback" => {
                draft.applied_as(&field, "`strategy: canary`: the traffic goes back at once");
            }
            "rollback_timeout" => draft.apply_time("verify.within", field.seconds()?, &field),
            _ => {}
        }
    }
    for key in ["max_unavailable", "max_surge"] {
        if let Some(field) = keys.get(key) {
            draft.apply(&format!("strategy.rolling.{key}"), field.count()?, &field);
        }
    }
    if let Some(field) = steps {
        if gradual {
            let shares: Vec<Native> = field
                .list()?
                .iter()
                .map(|share| share.percent().map(Native::from))
                .collect::<Result<_, _>>()?;
            draft.applied_as(
                &field,
                format!(
                    "`strategy.canary.rollback_steps`: shares of the stable release ({} %)",
                    list(&field)?
                ),
            );
            draft.set("strategy.canary.rollback_steps", shares, &field);
        } else {
            draft.not_ours(&field, "`gradual_rollback` is off");
        }
    }
    Ok(())
}

fn list(field: &Field<'_>) -> Result<String, Trouble> {
    let shares: Vec<String> = field
        .list()?
        .iter()
        .map(|share| Ok(share.percent()?.trim_end_matches('%').to_owned()))
        .collect::<Result<_, Trouble>>()?;
    Ok(shares.join(", "))
}
