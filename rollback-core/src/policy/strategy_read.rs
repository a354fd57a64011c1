//! From a written strategy to its steps, and back.

use std::{sync::Arc, time::Duration};

use super::{
    document::{
        CanaryDocument, ConvergeDocument, ConvergeName, PaceDocument, RetiredArm, RollingDocument,
        Share, StepDocument, StrategyDocument, StrategyName, StrategySettings, Text,
    },
    error::{IntoPath as _, Problem},
    place::Step,
    planned::{OnTimeout, PlannedStep, StrategyError},
    strategy::{Kind, Strategy, TwoArms},
};
use crate::model::{Pace, Placement, Weight, duration_text};

/// The strategy, and how long its bake is.
pub(super) fn read(
    document: StrategyDocument,
    held: Share,
    check: Duration,
    bake: Option<Duration>,
) -> Result<(Strategy, Duration), Problem> {
    let arms = TwoArms {
        holdback: holdback(held)?,
        check,
    };
    let missing = || Problem::new(Vec::new(), "`bake` is missing", "add `bake: 10m`").about_key();
    let (strategy, bake) = match document {
        StrategyDocument::Named(StrategyName::BlueGreen) => (Strategy::blue_green(), bake),
        StrategyDocument::Named(StrategyName::Canary) => (canary(CanaryDocument::default())?, bake),
        StrategyDocument::Named(StrategyName::Rolling) => {
            (rolling(RollingDocument::default())?, bake)
        }
        StrategyDocument::Named(StrategyName::Recreate) => (Strategy::recreate(), bake),
        StrategyDocument::Set(settings) => match *settings {
            StrategySettings {
                canary: Some(own),
                rolling: None,
                steps: None,
            } => (canary(own)?, bake),
            StrategySettings {
                canary: None,
                rolling: Some(own),
                steps: None,
            } => (rolling(own)?, bake),
            StrategySettings {
                canary: None,
                rolling: None,
                steps: Some(own),
            } => steps(own, bake)?,
            _ => {
                return Err(Problem::new(
                    "strategy",
                    "exactly one key says which strategy it is",
                    "write one of `canary`, `rolling` and `steps`, or a name such as blue_green",
                ));
            }
        },
    };
    let two_arms = matches!(strategy.kind(), Kind::BlueGreen(_) | Kind::Canary { .. });
    for (key, given) in [
        ("holdback", arms.holdback > Weight::NONE),
        ("check", !arms.check.is_zero()),
    ] {
        if given && !two_arms {
            return Err(Problem::new(
                key,
                format!("`{key}` has no meaning with `{}`", strategy.name()),
                match strategy.kind() {
                    Kind::Steps(_) => {
                        format!("remove it, and say it in `steps` ({})", in_steps(key))
                    }
                    _ => "remove it; it belongs to `blue_green` and `canary`".to_owned(),
                },
            )
            .about_key());
        }
    }
    let strategy = strategy.with_holdback(arms.holdback).with_check(arms.check);
    Ok((strategy, bake.ok_or_else(missing)?))
}

fn in_steps(key: &str) -> &'static str {
    match key {
        "holdback" => "`weight: 95%` before the bake",
        _ => "`check: 30s` before the first weight",
    }
}

/// The strategy as people write it.
pub(super) fn written(strategy: &Strategy, bake: Duration) -> (StrategyDocument, TwoArms) {
    let named = StrategyDocument::Named;
    let set = |settings| StrategyDocument::Set(Box::new(settings));
    match strategy.kind() {
        Kind::BlueGreen(arms) => (named(StrategyName::BlueGreen), *arms),
        Kind::Canary {
            shares,
            wait,
            back,
            arms,
        } => {
            let written = |shares: &[Weight]| {
                let ratios = shares.iter().map(|share| Share(share.as_ratio()));
                ratios.collect::<Vec<_>>()
            };
            let own = CanaryDocument {
                steps: written(shares),
                wait: Text(*wait),
                rollback_steps: written(back),
            };
            let document = if own == CanaryDocument::default() {
                named(StrategyName::Canary)
            } else {
                set(StrategySettings {
                    canary: Some(own),
                    ..StrategySettings::default()
                })
            };
            (document, *arms)
        }
        Kind::Rolling { pace, back } => {
            let PaceDocument {
                max_unavailable,
                max_surge,
            } = written_pace(*pace).unwrap_or_default();
            let own = RollingDocument {
                max_unavailable,
                max_surge,
                rollback: back.and_then(written_pace),
            };
            let document = if own == RollingDocument::default() {
                named(StrategyName::Rolling)
            } else {
                set(StrategySettings {
                    rolling: Some(own),
                    ..StrategySettings::default()
                })
            };
            (document, TwoArms::default())
        }
        Kind::Recreate => (named(StrategyName::Recreate), TwoArms::default()),
        Kind::Steps(steps) => (
            set(StrategySettings {
                steps: Some(steps.iter().map(|step| written_step(step, bake)).collect()),
                ..StrategySettings::default()
            }),
            TwoArms::default(),
        ),
    }
}

fn canary(own: CanaryDocument) -> Result<Strategy, Problem> {
    let at = |key: &str, index: Option<usize>| {
        let mut path = ["strategy", "canary", key]
            .map(|key| Step::Key(key.to_owned()))
            .to_vec();
        path.extend(index.map(Step::Index));
        path
    };
    let shares = |key: &'static str, written: &[Share]| {
        let shares = written.iter().enumerate();
        shares
            .map(|(index, share)| weight(*share, at(key, Some(index))))
            .collect::<Result<Vec<_>, _>>()
    };
    let not_grown = |key: &'static str, error: StrategyError| {
        Problem::new(at(key, error.step), error.message, error.fix)
    };
    if own.steps.is_empty() {
        return Err(Problem::new(
            at("steps", None),
            "a canary without shares is a blue_green",
            "write `strategy: blue_green`, or shares such as [10%, 50%, 100%]",
        ));
    }
    let wait = above_zero(own.wait.0, at("wait", None), "5m")?;
    Strategy::canary(shares("steps", &own.steps)?, wait)
        .map_err(|error| not_grown("steps", error))?
        .back_in(shares("rollback_steps", &own.rollback_steps)?)
        .map_err(|error| not_grown("rollback_steps", error))
}

fn rolling(own: RollingDocument) -> Result<Strategy, Problem> {
    let strategy = Strategy::rolling(own.max_unavailable, own.max_surge)
        .map_err(|error| Problem::new("strategy.rolling", error.message, error.fix))?;
    match own.rollback {
        Some(back) => strategy
            .back_by(back.max_unavailable, back.max_surge)
            .map_err(|error| Problem::new("strategy.rolling.rollback", error.message, error.fix)),
        None => Ok(strategy),
    }
}

fn steps(
    own: Vec<StepDocument>,
    bake: Option<Duration>,
) -> Result<(Strategy, Option<Duration>), Problem> {
    let mut bake = bake;
    let mut steps = Vec::new();
    for (index, document) in own.into_iter().enumerate() {
        if let Some(Text(own)) = document.bake {
            if let Some(other) = bake.filter(|other| *other != own) {
                return Err(Problem::new(
                    step_path(index, "bake"),
                    format!(
                        "it lasts {}, and the policy's `bake` says {}",
                        duration_text(own),
                        duration_text(other)
                    ),
                    "write the same, or leave the policy's out",
                ));
            }
            bake = Some(above_zero(own, step_path(index, "bake"), "10m")?);
        }
        steps.push(step(index, document)?);
    }
    let strategy = Strategy::custom(steps).map_err(|error| {
        let path = match error.step {
            Some(index) => step_path(index, ""),
            None => "strategy.steps".into_path(),
        };
        Problem::new(path, error.message, error.fix)
    })?;
    Ok((strategy, bake))
}

fn step(index: usize, document: StepDocument) -> Result<PlannedStep, Problem> {
    let given = [
        document.converge.is_some(),
        document.check.is_some(),
        document.task.is_some(),
        document.gate.is_some(),
        document.weight.is_some(),
        document.wait.is_some(),
        document.bake.is_some(),
        document.retire.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(Problem::new(
            step_path(index, ""),
            "a step is one thing",
            "give it exactly one of `converge`, `check`, `task`, `gate`, `weight`, `wait`, `bake`, `retire`",
        ));
    }
    if document.gate.is_none() {
        for (key, given) in [
            ("within", document.within.is_some()),
            ("then", document.then.is_some()),
        ] {
            if given {
                return Err(Problem::new(
                    step_path(index, key),
                    format!("`{key}` belongs to a `gate`"),
                    "remove it",
                )
                .about_key());
            }
        }
    }
    Ok(match document {
        StepDocument {
            converge: Some(converge),
            ..
        } => PlannedStep::Converge(placement(index, converge)?),
        StepDocument {
            check: Some(check), ..
        } => PlannedStep::Check(check.0),
        StepDocument {
            task: Some(name), ..
        } => PlannedStep::Task(name),
        StepDocument {
            gate: Some(name),
            within,
            then,
            ..
        } => gate(index, name, within, then.unwrap_or_default())?,
        StepDocument {
            weight: Some(share),
            ..
        } => PlannedStep::Weight(weight(share, step_path(index, "weight"))?),
        StepDocument {
            wait: Some(wait), ..
        } => PlannedStep::Wait(above_zero(wait.0, step_path(index, "wait"), "5m")?),
        StepDocument {
            retire: Some(RetiredArm::Stable),
            ..
        } => PlannedStep::Retire,
        _ => PlannedStep::Bake,
    })
}

fn gate(
    index: usize,
    name: Arc<str>,
    within: Option<Text<Duration>>,
    then: OnTimeout,
) -> Result<PlannedStep, Problem> {
    one_word(&name, step_path(index, "gate"))?;
    let Some(Text(within)) = within else {
        return Err(Problem::new(
            step_path(index, ""),
            format!("gate `{name}` waits for ever"),
            "say how long, such as `within: 1h`",
        ));
    };
    Ok(PlannedStep::Gate {
        name,
        within: above_zero(within, step_path(index, "within"), "1h")?,
        then,
    })
}

pub(super) fn one_word(name: &str, path: Vec<Step>) -> Result<(), Problem> {
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Problem::new(
            path,
            format!(
                "`{}` is no name: it is empty or has a space in it",
                name.escape_debug()
            ),
            "write one word",
        ));
    }
    Ok(())
}

fn placement(index: usize, document: ConvergeDocument) -> Result<Placement, Problem> {
    let rolling = match document {
        ConvergeDocument::Named(ConvergeName::Beside) => return Ok(Placement::Beside),
        ConvergeDocument::Named(ConvergeName::InPlace) => {
            return Ok(Placement::InPlace(Pace::AtOnce));
        }
        ConvergeDocument::Named(ConvergeName::Recreate) => {
            return Ok(Placement::InPlace(Pace::StopFirst));
        }
        ConvergeDocument::Named(ConvergeName::Rolling) => PaceDocument::default(),
        ConvergeDocument::Rolling { rolling } => rolling,
    };
    Strategy::rolling(rolling.max_unavailable, rolling.max_surge)
        .map(|strategy| strategy.placement())
        .map_err(|error| Problem::new(step_path(index, "converge"), error.message, error.fix))
}

/// None if it is not instance by instance.
const fn written_pace(pace: Pace) -> Option<PaceDocument> {
    match pace {
        Pace::Rolling {
            max_unavailable,
            max_surge,
        } => Some(PaceDocument {
            max_unavailable,
            max_surge,
        }),
        Pace::AtOnce | Pace::StopFirst => None,
    }
}

fn written_step(step: &PlannedStep, bake: Duration) -> StepDocument {
    let mut document = StepDocument::default();
    match step {
        PlannedStep::Converge(placement) => {
            document.converge = Some(match placement {
                Placement::Beside => ConvergeDocument::Named(ConvergeName::Beside),
                Placement::InPlace(Pace::AtOnce) => ConvergeDocument::Named(ConvergeName::InPlace),
                Placement::InPlace(Pace::StopFirst) => {
                    ConvergeDocument::Named(ConvergeName::Recreate)
                }
                Placement::InPlace(pace @ Pace::Rolling { .. }) => ConvergeDocument::Rolling {
                    rolling: written_pace(*pace).unwrap_or_default(),
                },
            });
        }
        PlannedStep::Check(length) => document.check = Some(Text(*length)),
        PlannedStep::Task(name) => document.task = Some(Arc::clone(name)),
        PlannedStep::Gate { name, within, then } => {
            document.gate = Some(Arc::clone(name));
            document.within = Some(Text(*within));
            document.then = Some(*then);
        }
        PlannedStep::Weight(share) => document.weight = Some(Share(share.as_ratio())),
        PlannedStep::Wait(length) => document.wait = Some(Text(*length)),
        PlannedStep::Retire => document.retire = Some(RetiredArm::Stable),
        PlannedStep::Bake => document.bake = Some(Text(bake)),
    }
    document
}

pub(super) fn step_path(index: usize, key: &str) -> Vec<Step> {
    let mut path = "strategy.steps".into_path();
    path.push(Step::Index(index));
    if !key.is_empty() {
        path.push(Step::Key(key.to_owned()));
    }
    path
}

pub(super) fn above_zero(
    length: Duration,
    path: Vec<Step>,
    example: &str,
) -> Result<Duration, Problem> {
    if length.is_zero() {
        return Err(Problem::new(
            path,
            "it takes no time at all",
            format!("give it some time, such as {example}"),
        ));
    }
    Ok(length)
}

fn holdback(share: Share) -> Result<Weight, Problem> {
    let weight = weight(share, "holdback".into_path())?;
    if weight == Weight::ALL {
        return Err(Problem::new(
            "holdback",
            "all traffic stays with the stable release, so the candidate is never seen under traffic",
            "write a share below 100%, such as 5%",
        ));
    }
    Ok(weight)
}

fn weight(share: Share, path: Vec<Step>) -> Result<Weight, Problem> {
    let points = share.0 * 10_000.0;
    let whole = libm::round(points);
    if (points - whole).abs() > 1e-6 {
        return Err(Problem::new(
            path,
            "traffic is divided in steps of 0.01 %, and this is finer",
            format!("write {}%", whole.max(1.0) / 100.0),
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is from 0 to 1"
    )]
    Weight::from_basis_points(whole as u16)
        .map_err(|error| Problem::new(path, error.to_string(), "write a share such as 5%"))
}
