//! The checks of what is judged: evidence, blindness, attribution, explanations, usefulness.

use rollback_core::{
    entry::{Fact, Step},
    model::{
        Action, ArmState, Cause, Explanation, HoldReason, InstanceState, Outcome, Timestamp,
        Verdict,
    },
    policy::{OnInconclusive, OnNoData},
};

use super::{Sightline, What, hold};
use crate::simulator::{
    chronicle::{Open, Stage},
    scenario::{ERROR_LIMIT, SECRET, metric},
};

/// The rule that every deployment has.
const DEPLOYMENT_FAILED: &str = "deployment_failed";

pub(super) fn evidence(sight: &Sightline<'_>) -> Result<(), String> {
    let What::Fact(fact) = sight.what else {
        return Ok(());
    };
    match fact {
        Fact::VerdictChanged {
            trigger, verdict, ..
        } => {
            let open = open_of(sight)?;
            hold!(
                open.watch_since.is_some(),
                "{trigger} says {verdict} while nothing is watched"
            );
            if !matches!(verdict, Verdict::Pass | Verdict::Fail) {
                return Ok(());
            }
            hold!(
                *trigger.name == *"own" || is_fresh(open, &trigger.name, at(sight)),
                "{trigger} says {verdict} without a fresh reading of what it reads"
            );
            if *trigger.name == *"errors" && *verdict == Verdict::Fail {
                let seen = open.sight(&metric("errors"));
                hold!(
                    seen.is_some_and(|seen| seen.worst > ERROR_LIMIT),
                    "{trigger} says {verdict}, and the worst that was read is {:?}",
                    seen.map(|seen| seen.worst)
                );
            }
            if *trigger.name == *"errors" && *verdict == Verdict::Pass {
                let seen = open.sight(&metric("errors"));
                hold!(
                    seen.is_some_and(|seen| seen.best <= ERROR_LIMIT)
                        || open.policy.triggers.iter().any(|rule| {
                            *rule.name == *"errors" && holds_for_a_while(&rule.rule)
                        }),
                    "{trigger} says {verdict}, and the last that was read is {:?}",
                    seen.map(|seen| seen.value)
                );
            }
            Ok(())
        }
        Fact::StepDone { .. } => {
            let open = open_of(sight)?;
            let step = open
                .step
                .as_ref()
                .and_then(|running| open.steps.get(running.index));
            match step {
                Some(Step::Bake { .. }) => bake_passes(open),
                Some(Step::Verify { .. }) => verified(open),
                _ => Ok(()),
            }
        }
        Fact::RollbackDecided { cause, .. } => {
            let open = open_of(sight)?;
            match cause {
                // The next target is tried for the first one's cause.
                _ if open.rollback.is_some() => Ok(()),
                Cause::Trigger { trigger, .. } if *trigger.name == *DEPLOYMENT_FAILED => {
                    deployment_failed(sight, open)
                }
                Cause::Trigger { trigger, .. } => {
                    let verdict = open.verdicts.get(&trigger.name).map(|(v, _)| v);
                    let may = verdict == Some(&Verdict::Fail) || is_blind_rollback(open);
                    hold!(may, "it goes back for {trigger}, which says {verdict:?}");
                    Ok(())
                }
                Cause::Platform { .. } => {
                    let seen = sight.known.seen.as_ref();
                    hold!(
                        seen.is_some_and(|(_, seen)| seen.platform_rollback.is_some()),
                        "it says that the platform rolled back, and no look shows it"
                    );
                    Ok(())
                }
                _ => Ok(()),
            }
        }
        Fact::Ended {
            outcome: Outcome::Promoted { release },
            ..
        } => {
            let open = open_of(sight)?;
            hold!(
                open.baked || open.promoted,
                "{release} is promoted without a bake"
            );
            Ok(())
        }
        Fact::Ended {
            outcome: Outcome::RolledBack { to, .. },
            ..
        } => {
            let open = open_of(sight)?;
            let verified = open
                .steps
                .iter()
                .position(|step| matches!(step, Step::Verify { .. }));
            hold!(
                verified.is_some(),
                "rolled back to {to} by a plan that verifies nothing"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

fn bake_passes(open: &Open) -> Result<(), String> {
    let mut passed = 0;
    for rule in open.policy.triggers.iter().filter(|rule| rule.required) {
        if open.acknowledged.contains(&rule.name) {
            passed += 1;
            continue;
        }
        match open.verdicts.get(&rule.name).map(|(verdict, _)| verdict) {
            Some(Verdict::Pass) => passed += 1,
            Some(Verdict::Inconclusive(_))
                if open.policy.on_inconclusive == OnInconclusive::Promote => {}
            other => {
                return Err(format!(
                    "the bake passes while {} says {other:?}",
                    rule.name
                ));
            }
        }
    }
    hold!(passed > 0, "the bake passes on nothing");
    Ok(())
}

fn verified(open: &Open) -> Result<(), String> {
    for rule in open.policy.triggers.iter().filter(|rule| rule.required) {
        let verdict = open.verdicts.get(&rule.name).map(|(verdict, _)| verdict);
        // Rules that compare two arms have nothing to say about one.
        let two_arms = matches!(rule.rule, rollback_core::policy::Rule::Compare { .. });
        hold!(
            two_arms || verdict == Some(&Verdict::Pass),
            "the rollback is verified while {} says {verdict:?}",
            rule.name
        );
    }
    Ok(())
}

fn deployment_failed(sight: &Sightline<'_>, open: &Open) -> Result<(), String> {
    let now = at(sight);
    let late = open
        .step
        .as_ref()
        .is_some_and(|running| now >= running.deadline);
    let seen = sight.known.seen.as_ref().is_some_and(|(asked_at, seen)| {
        *asked_at >= open.opened_at
            && seen.arm(&open.candidate).is_some_and(|arm| {
                matches!(arm.state, ArmState::Failing { .. })
                    || arm.instances.iter().any(|instance| {
                        instance.restarts > 0
                            || matches!(instance.state, InstanceState::Exited { .. })
                    })
            })
    });
    hold!(
        late || seen || open.refused,
        "the deployment is called failed, and nothing that was seen says so"
    );
    Ok(())
}

pub(super) fn blindness(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Fact(Fact::RollbackDecided {
            cause: Cause::Trigger { trigger, .. },
            ..
        }) => {
            let open = open_of(sight)?;
            if *trigger.name == *DEPLOYMENT_FAILED || open.rollback.is_some() {
                return Ok(());
            }
            let blind = matches!(
                open.verdicts.get(&trigger.name),
                None | Some((Verdict::Unknown(_), _))
            );
            hold!(
                !blind || open.policy.blindness.then == OnNoData::RollBack,
                "it goes back for {trigger}, which cannot see"
            );
            Ok(())
        }
        What::Entry => {
            let Some(open) = &sight.known.open else {
                return Ok(());
            };
            let Some(since) = open.watch_since else {
                return Ok(());
            };
            let asks_the_fleet =
                sight.scenario.permits && open.policy.blindness.then == OnNoData::RollBack;
            if open.stage != Stage::Rollout
                || open.hold.is_some()
                || open.promoted
                || asks_the_fleet
            {
                return Ok(());
            }
            let now = at(sight);
            for rule in open.policy.triggers.iter().filter(|rule| rule.required) {
                let blind_since = match open.verdicts.get(&rule.name) {
                    None => since,
                    Some((Verdict::Unknown(_), since)) => *since,
                    Some(_) => continue,
                };
                hold!(
                    open.acknowledged.contains(&rule.name)
                        || now < blind_since.after(open.policy.blindness.budget),
                    "{} has not seen since {blind_since}, and it is {now}: nothing is held",
                    rule.name
                );
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

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
                    outcome: Outcome::Superseded { by, .. },
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
    let beyond = |value: f64| (value - ERROR_LIMIT) / (trial.value - ERROR_LIMIT).max(1e-9);
    if let Some(before) = open.before.get(&errors) {
        hold!(
            beyond(*before) < 0.9,
            "{trigger} blames the candidate for {}, and before the deployment it was {before}",
            trial.value
        );
    }
    let stable = (errors, Some(rollback_core::model::Arm::Stable));
    if let Some(stable) = open.sights.get(&stable)
        && stable.to.after(open.policy.poll * 2) >= now
    {
        hold!(
            beyond(stable.value) < 0.9,
            "{trigger} blames the candidate for {}, and the stable release has {}",
            trial.value,
            stable.value
        );
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
            Cause::Command { reason, .. } | Cause::Platform { why: reason } => {
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
    let waits_for_permit = sight.scenario.permits;
    for rule in &open.policy.triggers {
        let fails = matches!(open.verdicts.get(&rule.name), Some((Verdict::Fail, _)));
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

fn is_fresh(open: &Open, trigger: &str, now: Timestamp) -> bool {
    let reads = open.reads(trigger);
    reads.iter().any(|metric| {
        open.sights
            .iter()
            .any(|((of, _), sight)| of == metric && sight.to.after(open.life()) >= now)
    })
}

fn is_blind_rollback(open: &Open) -> bool {
    open.policy.blindness.then == OnNoData::RollBack
}

const fn holds_for_a_while(rule: &rollback_core::policy::Rule) -> bool {
    matches!(rule, rollback_core::policy::Rule::When { for_, .. } if !for_.is_zero())
}

fn open_of<'a>(sight: &Sightline<'a>) -> Result<&'a Open, String> {
    let open = sight.known.open.as_ref();
    open.ok_or_else(|| format!("no deployment is under way, and {:?} follows", sight.what))
}

fn at(sight: &Sightline<'_>) -> Timestamp {
    match sight.entry {
        Some(entry) => entry.at,
        None => Timestamp::default(),
    }
}
