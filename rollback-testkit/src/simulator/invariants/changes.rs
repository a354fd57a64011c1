//! The checks of what is done to the platform and told to people: fences, targets, once,
//! bystanders.

use rollback_core::{
    entry::{Fact, Standing, Step},
    model::{Change, HoldReason, Outcome, Weight},
};

use super::{Sightline, What, at, hold, is_command, open_of};
use crate::simulator::open::Stage;

pub(super) fn fenced(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Send {
            request,
            epoch,
            at,
            late,
        } => {
            let intent = sight
                .known
                .intents
                .get(&request.id)
                .ok_or_else(|| format!("{} is sent, and was never intended", request.id))?;
            hold!(
                intent.change == request.change
                    && intent.expect == request.expect
                    && intent.not_after == request.not_after,
                "{} is sent otherwise than it was intended",
                request.id
            );
            hold!(
                intent.epoch == epoch,
                "{} was decided under epoch {} and is sent under {epoch}",
                request.id,
                intent.epoch
            );
            if late {
                return Ok(());
            }
            hold!(
                epoch == sight.epoch,
                "{} is sent under epoch {epoch} at {at}, while {} is valid",
                request.id,
                sight.epoch
            );
            let open = sight.known.open.as_ref();
            hold!(
                open.is_some_and(|open| open.id == request.id.deployment),
                "{} is sent for a deployment that is not under way",
                request.id
            );
            Ok(())
        }
        What::Fact(Fact::ChangeIntended {
            id,
            expect,
            not_after,
            change,
        }) => {
            let open = open_of(sight)?;
            hold!(id.deployment == open.id, "{id} is of another deployment");
            let (_, seen) = sight
                .known
                .seen
                .as_ref()
                .ok_or("a change is decided without a look at the platform")?;
            hold!(
                seen.wanted == expect.wanted,
                "`{change}` is decided for {}, and the last look showed {}",
                expect.wanted,
                seen.wanted
            );
            hold!(
                seen.etag == expect.etag,
                "`{change}` is decided for mark {:?}, and the last look showed {:?}",
                expect.etag,
                seen.etag
            );
            let limit = at(sight).after(open.policy.deadlines.apply);
            hold!(
                *not_after <= limit,
                "`{change}` may be sent until {not_after}, beyond {limit}"
            );
            Ok(())
        }
        // Success is only reported of a platform that was seen to be so.
        What::Fact(Fact::Ended {
            outcome:
                outcome @ (Outcome::Promoted { release } | Outcome::RolledBack { to: release, .. }),
            ..
        }) => {
            let (_, seen) = sight.known.seen.as_ref().ok_or("ended without a look")?;
            hold!(
                seen.wanted.main() == Some(release) && seen.weight(release) == Weight::ALL,
                "`{outcome}`, and the last look showed {} with {release} at {}",
                seen.wanted,
                seen.weight(release)
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn target(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Fact(Fact::RollbackDecided { target, .. }) => {
            let open = open_of(sight)?;
            let standing = sight.known.standing(target);
            hold!(
                standing == Standing::Proven,
                "it goes back to {target}, which is {standing}"
            );
            hold!(
                *target != open.candidate,
                "it goes back to the candidate {target}"
            );
            Ok(())
        }
        What::Fact(Fact::ChangeIntended { change, expect, .. }) => {
            let open = open_of(sight)?;
            let Some(rollback) = &open.rollback else {
                return Ok(());
            };
            // Step by step, where the policy wants it so: each one leads back.
            let in_steps = !open.policy.strategy.shares_back().is_empty();
            let elsewhere = match change {
                Change::Converge { release, .. } => *release != rollback.target,
                Change::Weights { shares } => shares
                    .iter()
                    .filter(|s| s.release != rollback.target && s.weight > Weight::NONE)
                    .any(|s| !in_steps || s.weight >= expect.wanted.weight(&s.release)),
                Change::Retire { release } => *release == rollback.target,
                _ => false,
            };
            hold!(
                !elsewhere,
                "on the way back to {} it intends to {change}",
                rollback.target
            );
            Ok(())
        }
        What::Fact(Fact::Held {
            reason: HoldReason::NoTarget { .. },
            ..
        }) => {
            let open = open_of(sight)?;
            if sight.known.irreversible {
                // What is older may be behind what cannot be taken back.
                return Ok(());
            }
            let target = sight.known.proven().find(|id| **id != open.candidate);
            hold!(
                target.is_none(),
                "it says that there is no target, and {target:?} is proven"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn once(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Fact(Fact::RollbackDecided {
            attempt, target, ..
        }) => {
            let open = open_of(sight)?;
            if let Some(rollback) = &open.rollback {
                let by_person = is_command(sight);
                hold!(
                    rollback.failed || by_person,
                    "a rollback to {target} while one to {} is under way",
                    rollback.target
                );
                hold!(
                    by_person || *attempt == rollback.attempt + 1,
                    "attempt {attempt} after attempt {}",
                    rollback.attempt
                );
            } else {
                hold!(*attempt == 1, "the first attempt has the number {attempt}");
            }
            Ok(())
        }
        What::Fact(Fact::ChangeIntended { id, .. }) => {
            let open = open_of(sight)?;
            hold!(
                !sight.known.intents.contains_key(id),
                "{id} is intended twice"
            );
            hold!(
                open.pending.is_none(),
                "{id} is intended while {:?} is not resolved",
                open.pending
            );
            let number = open.step.as_ref().map(|running| running.number);
            hold!(
                Some(id.step) == number,
                "{id} is intended in step {number:?}"
            );
            Ok(())
        }
        What::Fact(Fact::StepEntered { number, .. }) => {
            let open = open_of(sight)?;
            hold!(
                *number == open.last_number + 1,
                "step {number} after step {}",
                open.last_number
            );
            Ok(())
        }
        What::Send { request, .. } => {
            let sent = sight.known.intents.get(&request.id).map_or(0, |i| i.sent);
            hold!(sent == 0, "{} is sent again", request.id);
            Ok(())
        }
        What::Notify { key, notice, epoch } => {
            let told = sight.known.told.get(&key.seq).copied().unwrap_or(0);
            hold!(
                key.index < told,
                "{key} is told, and its entry has {told} things to tell: `{}`",
                notice.subject
            );
            hold!(
                // A controller that wakes up late may repeat what its successor told: with the key.
                epoch != sight.epoch || !sight.known.delivered.contains(key),
                "{key} is told again after it was delivered"
            );
            let before = sight.known.notices.get(key);
            hold!(
                before.is_none_or(|before| before == notice),
                "{key} is told in other words: {before:?} became {notice:?}"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn bystander(sight: &Sightline<'_>) -> Result<(), String> {
    let What::Fact(Fact::ChangeIntended { change, expect, .. }) = sight.what else {
        return Ok(());
    };
    let open = open_of(sight)?;
    hold!(
        open.stage != Stage::Preflight,
        "`{change}` is intended before there is a plan"
    );
    let step = open.running().and_then(Step::change);
    hold!(
        step.as_ref() == Some(change),
        "`{change}` is intended, and the step is {step:?}"
    );
    match change {
        Change::Retire { release } => {
            hold!(
                expect.wanted.weight(release) == Weight::NONE,
                "{release} is retired while it carries {}",
                expect.wanted.weight(release)
            );
            let serves = match open.stage {
                Stage::Rollback => open.rollback.as_ref().map(|rollback| &rollback.target),
                _ if open.baked || open.promoted => Some(&open.candidate),
                _ => open.stable.as_ref(),
            };
            hold!(
                serves != Some(release),
                "{release} is retired, and is the one that has to serve"
            );
        }
        Change::Weights { shares } => {
            let sum: u32 = shares
                .iter()
                .map(|s| u32::from(s.weight.basis_points()))
                .sum();
            hold!(sum == 10_000, "the shares of `{change}` add up to {sum}");
        }
        Change::Converge { release, .. } => {
            let known = *release == open.candidate
                || Some(release) == open.stable.as_ref()
                || open
                    .rollback
                    .as_ref()
                    .is_some_and(|rollback| rollback.target == *release);
            hold!(known, "{release} is started, which nobody named");
        }
        _ => {}
    }
    Ok(())
}
