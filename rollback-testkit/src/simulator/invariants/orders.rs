//! The checks of what people and the policy forbid: the freeze, the kill switch, `mode: observe`,
//! what cannot be taken back, what somebody else deployed.

use rollback_core::{
    entry::{Command, Fact, Input, Standing},
    model::{HoldReason, Weight},
    policy::{Consent, Mode},
};

use super::{Sightline, What, at, hold, is_by_itself, open_of};

/// Nothing is sent that is forbidden.
pub(super) fn allowed(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Fact(Fact::ChangeIntended { change, .. }) => {
            let open = open_of(sight)?;
            hold!(
                !sight.known.killed,
                "`{change}` is intended while the kill switch is on"
            );
            hold!(
                open.policy.mode == Mode::Act,
                "`{change}` is intended, and the policy says `mode: observe`"
            );
            Ok(())
        }
        What::Fact(Fact::DeploymentOpened {
            expedited: None,
            adopted: false,
            way_back: None,
            ..
        }) => {
            let frozen = sight.known.frozen.as_ref();
            hold!(
                !frozen.is_some_and(|order| order.holds(at(sight))),
                "a deployment begins in a freeze: {frozen:?}"
            );
            Ok(())
        }
        What::Fact(Fact::Refused { reason, .. }) => {
            let rollback = sight.entry.is_some_and(|entry| {
                let command = |command: &Command| matches!(command, Command::RollBack { .. });
                matches!(&entry.input, Input::Command { command: asked, .. } if command(asked))
            });
            let frozen = matches!(reason, rollback_core::model::RefusedReason::Frozen { .. });
            hold!(!(rollback && frozen), "a freeze refuses a rollback");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A rejected release that somebody else brought is a person's matter.
pub(super) fn nobody_is_fought(sight: &Sightline<'_>) -> Result<(), String> {
    let What::Fact(Fact::RollbackDecided { cause, .. }) = sight.what else {
        return Ok(());
    };
    let open = open_of(sight)?;
    let by_itself = is_by_itself(sight, cause);
    let rejected = sight.known.standing(&open.candidate) == Standing::Rejected;
    hold!(
        !(open.adopted && rejected && by_itself && open.rollback.is_none()) || open.asked,
        "{} was rejected, somebody else brought it, and it is rolled back without a person",
        open.candidate
    );
    Ok(())
}

/// What cannot be taken back is only left by a person's word.
pub(super) fn irreversible(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Fact(Fact::RollbackDecided { cause, target, .. }) => {
            let open = open_of(sight)?;
            let serves = sight
                .known
                .seen
                .as_ref()
                .is_some_and(|(_, seen)| seen.wanted.weight(&open.candidate) > Weight::NONE);
            let by_itself = is_by_itself(sight, cause);
            let mut losses = open
                .policy
                .tasks
                .iter()
                .filter_map(|task| task.loss.as_ref());
            let restored = open.policy.tasks.iter().any(|task| task.loss.is_some())
                && (open.loss_accepted || losses.all(|loss| loss.consent == Consent::Given));
            hold!(
                restored || !(open.irreversible && serves && by_itself && open.rollback.is_none()),
                "{} cannot be taken back, and it goes back to {target}",
                open.candidate
            );
            Ok(())
        }
        What::Fact(Fact::Held {
            reason: HoldReason::Irreversible { .. },
            ..
        }) => {
            let open = open_of(sight)?;
            hold!(
                open.irreversible,
                "{} is held for what cannot be taken back, and it can",
                open.candidate
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Data is brought back on the way back only, where that was declared to be needed, and when
/// somebody accepted what is lost: the policy, or a person who was told.
pub(super) fn restores(sight: &Sightline<'_>) -> Result<(), String> {
    let What::Fact(Fact::TaskIntended { task, .. }) = sight.what else {
        return Ok(());
    };
    let open = open_of(sight)?;
    let mut rules = open.policy.tasks.iter();
    let Some(loss) = rules
        .find(|rule| rule.name == *task)
        .and_then(|rule| rule.loss.as_ref())
    else {
        return Ok(());
    };
    hold!(
        open.rollback.is_some() && open.irreversible,
        "{task} brings data back, which nothing called for"
    );
    hold!(
        loss.consent == Consent::Given || open.loss_accepted,
        "{task} loses {}, and nobody accepted that",
        loss.what
    );
    Ok(())
}
