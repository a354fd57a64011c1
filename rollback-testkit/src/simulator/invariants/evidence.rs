//! The checks of what verdicts and decisions stand on: evidence, and what follows without any.

use rollback_core::{
    entry::{Fact, Step},
    model::{ArmState, Cause, InstanceState, Outcome, Timestamp, Verdict},
    policy::{Mode, OnInconclusive, OnNoData, Rule},
};

use super::{DEPLOYMENT_FAILED, Sightline, What, at, hold, open_of};
use crate::simulator::{
    kinds::follows_from_its_parts,
    open::{Open, Stage},
    scenario::{ERROR_LIMIT, metric},
};

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
            follows_from_its_parts(open, &trigger.name, verdict)?;
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
            match open.running() {
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
                    waited(sight, open, &trigger.name)
                }
                Cause::NotTaken { step, .. } => {
                    hold!(
                        open.not_taken,
                        "it says that the platform did not take `{step}`, and nothing says so"
                    );
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

/// A failure lasts for its delay before its action follows.
fn waited(sight: &Sightline<'_>, open: &Open, trigger: &str) -> Result<(), String> {
    let rule = open.policy.trigger(trigger);
    let failed = open.failed_for(trigger, at(sight));
    hold!(
        is_blind_rollback(open) || rule.is_none_or(|rule| failed >= rule.delay),
        "it acts for {trigger} after {failed:?} of failing, and its delay is {:?}",
        rule.map(|rule| rule.delay)
    );
    Ok(())
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
        let two_arms = open.policy.needs_two_arms(rule);
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
        late || seen,
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
                || open.policy.mode == Mode::Observe
            {
                return Ok(());
            }
            let now = at(sight);
            for rule in open.policy.triggers.iter().filter(|rule| rule.required) {
                let blind_since = match open.verdicts.get(&rule.name) {
                    None => since,
                    Some((Verdict::Unknown(_), since)) => *since,
                    Some(_) => continue,
                }
                .max(open.reads_since);
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

const fn holds_for_a_while(rule: &Rule) -> bool {
    matches!(rule, Rule::When { shape, .. } if !shape.decides_at_once())
}
