//! The checks of a rollout's steps that change nothing: tasks, gates, waits.

use rollback_core::{
    entry::{Command, Fact, Input, Step},
    policy::{OnTaskFailure, OnTimeout},
};

use super::{Sightline, What, at, hold, open_of};

/// A task is started as it was intended, under the lease, once.
pub(super) fn tasks(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::StartTask {
            id,
            not_after,
            epoch,
            late,
        } => {
            let intent = sight
                .known
                .tasks
                .get(id)
                .ok_or_else(|| format!("task {id} is started, and was never intended"))?;
            hold!(
                intent.not_after == not_after && intent.epoch == epoch,
                "task {id} is started otherwise than it was intended"
            );
            hold!(intent.started == 0, "task {id} is started again");
            let open = sight.known.open.as_ref();
            hold!(
                late || epoch != sight.epoch || open.is_some_and(|open| open.id == id.deployment),
                "task {id} is started for a deployment that is not under way"
            );
            Ok(())
        }
        What::Fact(Fact::TaskIntended { id, not_after, .. }) => {
            let open = open_of(sight)?;
            hold!(
                !sight.known.tasks.contains_key(id),
                "task {id} is intended twice"
            );
            hold!(
                open.hold.is_none() && !sight.known.killed,
                "task {id} is intended while nothing may be done"
            );
            let limit = at(sight).after(open.policy.deadlines.apply);
            hold!(
                *not_after <= limit,
                "task {id} may be started until {not_after}, beyond {limit}"
            );
            let named = open.step.as_ref().map(|running| running.number);
            hold!(Some(id.step) == named, "task {id} is of step {named:?}");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A step ends with what it waited for.
pub(super) fn waited_for(sight: &Sightline<'_>) -> Result<(), String> {
    match sight.what {
        What::Fact(Fact::GatePassed { gate, by, .. }) => {
            let open = open_of(sight)?;
            let running = open.step.as_ref();
            let step = open.running();
            let asked = sight.entry.is_some_and(|entry| {
                matches!(
                    &entry.input,
                    Input::Command {
                        command: Command::Approve { gate: opened },
                        ..
                    } if opened == gate
                )
            });
            let over = matches!(
                step,
                Some(Step::Gate {
                    then: OnTimeout::Promote,
                    ..
                })
            ) && running.is_some_and(|running| at(sight) >= running.deadline);
            hold!(
                if by.is_some() { asked } else { over },
                "gate {gate} is passed by {by:?}, and nobody opened it"
            );
            Ok(())
        }
        What::Fact(Fact::StepDone { .. }) => {
            let open = open_of(sight)?;
            let Some(running) = &open.step else {
                return Ok(());
            };
            match open.running() {
                Some(Step::Gate { name, .. }) => {
                    hold!(
                        open.passed.contains(name),
                        "gate {name} is behind us, and nobody opened it"
                    );
                }
                Some(Step::Task {
                    name, on_failure, ..
                }) => {
                    let ended = open.task_ended;
                    hold!(
                        ended == Some(true)
                            || (ended == Some(false) && *on_failure == OnTaskFailure::GoOn)
                            || open.person_acts > 0,
                        "the rollout goes on after task {name}, which ended {ended:?}"
                    );
                }
                Some(Step::Wait { length }) => {
                    hold!(
                        at(sight) >= running.entered.after(*length) || open.person_acts > 0,
                        "it waited since {} only, not {length:?}",
                        running.entered
                    );
                }
                _ => {}
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
