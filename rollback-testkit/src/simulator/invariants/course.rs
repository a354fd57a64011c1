//! The checks of a deployment's course: outcomes, budgets, circles, deadlines.

use rollback_core::{
    entry::{Fact, Input, SentState},
    model::{DeploymentId, HoldReason},
};

use super::{Sightline, What, at, hold, is_by_itself, is_command, open_of};

/// A deployment makes fewer changes than this, unless somebody keeps it going in a circle.
const MOST_CHANGES: u32 = 60;

pub(super) fn monotone(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Fact(fact) => {
            if let Fact::DeploymentOpened { deployment, .. } = fact {
                hold!(
                    !sight.known.ended.contains_key(deployment),
                    "{deployment} has ended, and is opened"
                );
            } else if let (Fact::ChangeMoved { id, .. }, Some(open)) = (fact, &sight.known.open)
                && id.deployment != open.id
            {
                hold!(
                    open.pending.as_ref() == Some(id),
                    "{id} is of another deployment, and {:?} is under way",
                    open.pending
                );
            } else if let Some(deployment) = deployment_of(fact) {
                hold!(
                    !sight.known.ended.contains_key(deployment),
                    "{deployment} has ended, and {fact:?} follows"
                );
                let open = open_of(sight)?;
                hold!(
                    open.id == *deployment,
                    "{deployment} is not under way, and {fact:?} follows"
                );
            }
            let Some(entry) = sight.entry else {
                return Ok(());
            };
            if let (Fact::ChangeMoved { id, to }, Input::Reported(report)) = (fact, &entry.input) {
                let pending = sight.known.open.as_ref().and_then(|o| o.pending.as_ref());
                hold!(
                    pending == Some(id),
                    "a report about {} moved {id} to {to:?}, and {pending:?} is under way",
                    report.id
                );
            }
            Ok(())
        }
        What::Entry => {
            let Some((entry, Input::Reported(report))) = sight.entry.map(|e| (e, &e.input)) else {
                return Ok(());
            };
            let explained = entry.facts.iter().any(|fact| match fact {
                Fact::Ignored { .. } => true,
                Fact::ChangeMoved { id, .. } => *id == report.id,
                _ => false,
            });
            hold!(
                explained,
                "a report about {} is neither taken nor recorded as ignored",
                report.id
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn budget(sight: &Sightline<'_>) -> Result<(), String> {
    let What::Fact(Fact::RollbackDecided { attempt, cause, .. }) = sight.what else {
        return Ok(());
    };
    if !is_by_itself(sight, cause) {
        return Ok(());
    }
    let open = open_of(sight)?;
    let now = at(sight);
    let budget = open.policy.budget;
    let within = sight
        .known
        .rollbacks
        .iter()
        .filter(|decided| now.since(**decided) < budget.per)
        .count();
    hold!(
        u32::try_from(within).is_ok_and(|within| within < budget.rollbacks),
        "rollback {} within the period, of {} allowed",
        within + 1,
        budget.rollbacks
    );
    if let (1, Some(last)) = (*attempt, sight.known.rollbacks.last()) {
        hold!(
            now.since(*last) >= budget.cooldown,
            "a rollback at {now}, the last one at {last}, the cooldown {} s",
            budget.cooldown.as_secs()
        );
    }
    Ok(())
}

pub(super) fn no_circle(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Fact(Fact::RollbackDecided { target, .. }) => {
            let open = open_of(sight)?;
            let again = open
                .rollback
                .as_ref()
                .is_some_and(|rollback| rollback.tried.contains(target));
            hold!(
                !again || is_command(sight),
                "it goes back to {target} again, which did not work"
            );
            let most = u32::try_from(sight.known.ledger.len()).unwrap_or(u32::MAX);
            hold!(
                open.decided <= most.saturating_mul(open.person_acts + 1),
                "{} rollbacks in one deployment",
                open.decided + 1
            );
            Ok(())
        }
        What::Fact(Fact::ChangeIntended { change, .. }) => {
            let open = open_of(sight)?;
            hold!(
                open.changes < MOST_CHANGES * (open.person_acts + 1),
                "{} changes in one deployment: it fights with somebody",
                open.changes
            );
            // A candidate that somebody put back although this deployment leaves it.
            let Some((_, seen)) = &sight.known.seen else {
                return Ok(());
            };
            let contested = open
                .hold
                .as_ref()
                .is_some_and(|(reason, _)| matches!(reason, HoldReason::Contested { .. }));
            hold!(
                !contested,
                "`{change}` is intended while {} is contested",
                seen.wanted
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Everything that is waited for has a time; the rest of this invariant is the healing phase.
pub(super) fn termination(sight: &Sightline<'_>) -> Result<(), String> {
    let What::Fact(fact) = sight.what else {
        return Ok(());
    };
    let now = at(sight);
    match fact {
        Fact::StepEntered { deadline, .. } | Fact::PermitRequested { deadline, .. } => {
            hold!(
                *deadline >= now && deadline.since(now).as_secs() <= 3_600,
                "at {now} something waits until {deadline}"
            );
        }
        Fact::ChangeMoved {
            to: SentState::InDoubt { until, settles, .. },
            ..
        } => {
            hold!(
                settles <= until && until.since(now).as_secs() <= 3_600,
                "at {now} a doubt that settles at {settles} waits until {until}"
            );
        }
        Fact::Held { exits, reason, .. } => {
            hold!(!exits.is_empty(), "a hold without an exit: {reason}");
        }
        _ => {}
    }
    Ok(())
}

fn deployment_of(fact: &Fact) -> Option<&DeploymentId> {
    match fact {
        Fact::PlanMade { deployment, .. }
        | Fact::StepEntered { deployment, .. }
        | Fact::StepDone { deployment, .. }
        | Fact::VerdictChanged { deployment, .. }
        | Fact::Held { deployment, .. }
        | Fact::Released { deployment, .. }
        | Fact::PermitAnswered { deployment, .. }
        | Fact::RollbackDecided { deployment, .. }
        | Fact::RollbackAttemptFailed { deployment, .. }
        | Fact::Promoted { deployment, .. }
        | Fact::PolicySwitched { deployment, .. }
        | Fact::Ended { deployment, .. } => Some(deployment),
        Fact::PermitRequested { request, .. } => Some(&request.deployment),
        Fact::ChangeIntended { id, .. } | Fact::ChangeMoved { id, .. } => Some(&id.deployment),
        _ => None,
    }
}
