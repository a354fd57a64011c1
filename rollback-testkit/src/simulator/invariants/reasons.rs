//! The checks of reasons: whose fault it is, how it is explained, what must not be shown, and that
//! something follows.

use rollback_core::{
    entry::Fact,
    model::{Action, Arm, Cause, Explanation, HoldReason, Outcome, Verdict, Weight},
    policy::Mode,
};

use super::{DEPLOYMENT_FAILED, Sightline, What, at, hold, open_of};
use crate::simulator::{
    open::Stage,
    scenario::{ERROR_LIMIT, SECRET, metric},
};

pub(super) fn supersede(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Fact(Fact::DeploymentOpened {
            supersedes,
            deployment,
            ..
        }) => {
            hold!(
                sight.known.open.is_none(),
                "{deployment} is opened while another one is under way"
            );
            let Some(entry) = sight.entry else {
                return Ok(());
            };
            let ended = entry.facts.iter().find_map(|fact| match fact {
                Fact::Ended {
                    deployment,
                    outcome:
                        Outcome::Superseded {
                            by: by @ Some(_), ..
                        },
                } => Some((deployment, by)),
                _ => None,
            });
            hold!(
                ended == supersedes.as_ref().zip(Some(&Some(deployment.clone()))),
                "{deployment} supersedes {supersedes:?}, and {ended:?} is what ended"
            );
            Ok(())
        }
        What::Fact(Fact::VerdictChanged {
            trigger,
            verdict,
            explanation,
            ..
        }) => {
            let open = open_of(sight)?;
            if let (Verdict::Fail, Some(explanation)) = (verdict, explanation)
                && let Some(window) = explanation.window
            {
                // A poll that was under way when the watch began reaches back a little.
                let earliest = open.opened_at.before(open.life());
                hold!(
                    window.from >= earliest,
                    "{trigger} judges by readings from {} of a deployment of {}",
                    window.from,
                    open.opened_at
                );
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn attribution(sight: &Sightline<'_>) -> Result<(), String> {
    let What::Fact(Fact::RollbackDecided {
        cause: Cause::Trigger { trigger, .. },
        ..
    }) = sight.what
    else {
        return Ok(());
    };
    let open = open_of(sight)?;
    if *trigger.name != *"errors" || open.rollback.is_some() {
        return Ok(());
    }
    if !matches!(open.verdicts.get("errors"), Some((Verdict::Fail, _))) {
        // The policy has it go back for what it could not see.
        return Ok(());
    }
    let errors = metric("errors");
    let Some(trial) = open.sight(&errors) else {
        return Ok(());
    };
    let now = at(sight);
    let not_as_far = |value: f64| value - ERROR_LIMIT < 0.9 * (trial.value - ERROR_LIMIT).max(1e-9);
    let carries_traffic = sight.known.seen.as_ref().is_some_and(|(_, seen)| {
        let weight = open.stable.as_ref().map(|stable| seen.weight(stable));
        weight.is_some_and(|weight| weight > Weight::NONE)
    });
    let stable = open
        .sights
        .get(&(errors.clone(), Some(Arm::Stable)))
        .filter(|stable| carries_traffic && stable.to.after(open.policy.poll * 2) >= now);
    match (stable, open.before.get(&errors)) {
        (Some(stable), _) => hold!(
            not_as_far(stable.value),
            "{trigger} blames the candidate for {}, and the stable release has {}",
            trial.value,
            stable.value
        ),
        (None, Some(before)) => hold!(
            not_as_far(*before),
            "{trigger} blames the candidate for {}, and before the deployment it was {before}",
            trial.value
        ),
        (None, None) => {}
    }
    Ok(())
}

pub(super) fn explained(sight: &Sightline<'_>) -> Result<(), String> {
    let What::Fact(fact) = sight.what else {
        return Ok(());
    };
    match fact {
        Fact::RollbackDecided { cause, .. } => match cause {
            Cause::Trigger {
                trigger,
                explanation,
            } => {
                let verdict = open_of(sight)?.verdicts.get(&trigger.name);
                if matches!(verdict, None | Some((Verdict::Unknown(_), _)))
                    && *trigger.name != *DEPLOYMENT_FAILED
                {
                    // The policy has it go back for what it could not see: there are no numbers.
                    hold!(
                        !explanation.rule.is_empty() && !explanation.sentence.is_empty(),
                        "{trigger} decides blindly and without a word"
                    );
                    return Ok(());
                }
                numbers(&trigger.name, explanation)
            }
            Cause::Command { reason, .. }
            | Cause::Platform { why: reason }
            | Cause::NotTaken { why: reason, .. } => {
                hold!(!reason.trim().is_empty(), "a rollback without a reason");
                Ok(())
            }
            _ => Ok(()),
        },
        Fact::VerdictChanged {
            trigger,
            verdict: Verdict::Fail,
            explanation,
            ..
        } => {
            let explanation = explanation
                .as_ref()
                .ok_or_else(|| format!("{trigger} fails without an explanation"))?;
            numbers(&trigger.name, explanation)
        }
        Fact::Held { reason, .. } => {
            let (HoldReason::TriggerFailed { why, .. }
            | HoldReason::Inconclusive { why, .. }
            | HoldReason::Blind { why, .. }
            | HoldReason::ExternalCause { why, .. }
            | HoldReason::NoTarget { why }
            | HoldReason::NotPermitted { why }
            | HoldReason::InDoubt { why, .. }
            | HoldReason::StepFailed { why }
            | HoldReason::RollbackFailed { why }) = reason
            else {
                return Ok(());
            };
            hold!(!why.trim().is_empty(), "a hold without a why: {reason}");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn numbers(trigger: &str, explanation: &Explanation) -> Result<(), String> {
    let Explanation {
        rule,
        queries,
        window,
        counts,
        figures,
        threshold,
        would_pass,
        sentence,
    } = explanation;
    for (what, there) in [
        ("rule", !rule.is_empty()),
        ("query", !queries.is_empty()),
        ("sentence", !sentence.is_empty()),
        ("threshold", threshold.is_some()),
        ("number", !(figures.is_empty() && counts.is_empty())),
        (
            "word of what would have passed",
            would_pass.as_ref().is_some_and(|text| !text.is_empty()),
        ),
        (
            "window",
            window.is_some() || trigger == DEPLOYMENT_FAILED || trigger == "own",
        ),
        (
            "finite figure",
            figures.iter().chain(threshold).all(|f| f.value.is_finite()),
        ),
    ] {
        hold!(there, "{trigger} decides without a {what}: {explanation:?}");
    }
    Ok(())
}

pub(super) fn no_secrets(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Notify { notice, .. } => {
            hold!(
                !notice.body.contains(SECRET) && !notice.subject.contains(SECRET),
                "a notice shows a secret: {}",
                notice.subject
            );
        }
        What::Fact(Fact::Held { reason, .. }) => {
            hold!(
                !reason.to_string().contains(SECRET),
                "a hold shows a secret"
            );
        }
        What::Fact(Fact::Ended { outcome, .. }) => {
            hold!(
                !outcome.to_string().contains(SECRET),
                "an outcome shows a secret"
            );
        }
        _ => {}
    }
    Ok(())
}

/// A failing rule that may roll back is followed by a rollback, or by a hold that says why not,
/// in the same entry.
pub(super) fn useful(sight: &Sightline<'_>) -> Result<(), String> {
    let What::Entry = sight.what else {
        return Ok(());
    };
    let Some(open) = &sight.known.open else {
        return Ok(());
    };
    if open.stage != Stage::Rollout || open.hold.is_some() || open.promoted {
        return Ok(());
    }
    if open.policy.mode == Mode::Observe {
        // It was told, once, and the watch goes on.
        return Ok(());
    }
    let waits_for_permit = sight.scenario.permits;
    for rule in &open.policy.triggers {
        let fails = matches!(open.verdicts.get(&rule.name), Some((Verdict::Fail, _)))
            && open.failed_for(&rule.name, at(sight)) >= rule.delay;
        let acknowledged = open.acknowledged.contains(&rule.name);
        hold!(
            !fails || rule.action < Action::Hold || waits_for_permit || acknowledged,
            "{} fails, may {}, and nothing follows",
            rule.name,
            rule.action
        );
    }
    Ok(())
}
