//! Facts and effects in the words of a story.

use rollback_core::{
    entry::{DelayState, Effect, Fact, SentState, Step, TaskState},
    model::{Cause, duration_text},
};

pub(crate) fn fact(fact: &Fact) -> String {
    match fact {
        Fact::PolicyAdopted { .. } => "policy adopted".to_owned(),
        Fact::LedgerChanged {
            release,
            standing,
            because,
            ..
        } => format!("ledger: {release} is {standing} ({because:?})"),
        Fact::Refused { actor, reason, .. } => format!("refused {actor}: {reason}"),
        Fact::DeploymentOpened {
            candidate,
            supersedes,
            adopted,
            ..
        } => format!(
            "deployment of {candidate} opened{}",
            if *adopted {
                ", found on the platform"
            } else if supersedes.is_some() {
                ", in the place of the one before"
            } else {
                ""
            }
        ),
        Fact::PlanMade { kind, steps, .. } => {
            let steps: Vec<String> = steps.iter().map(step).collect();
            format!("{kind:?} planned: {}", steps.join("; ")).replacen("Roll", "roll", 1)
        }
        Fact::StepEntered { number, .. } => format!("step {number} begins"),
        Fact::StepDone { number, .. } => format!("step {number} is done"),
        Fact::ChangeIntended { id, change, .. } => {
            format!(
                "intends (step {} attempt {}): {change}",
                id.step, id.attempt
            )
        }
        Fact::ChangeMoved { to, .. } => match to {
            SentState::Accepted => "the change was accepted".to_owned(),
            SentState::InDoubt { why, .. } => format!("the change is IN DOUBT: {why}"),
            SentState::Found => "the change was found on the platform".to_owned(),
            SentState::NotTaken { why, .. } => format!("the change was not taken: {why}"),
            SentState::Refused { why } => format!("the change was refused: {why}"),
            other => format!("{other:?}"),
        },
        Fact::GatePassed { gate, by, .. } => match by {
            Some(by) => format!("gate {gate} is opened by {by}"),
            None => format!("gate {gate} opens: its time is up"),
        },
        Fact::TaskIntended { id, task, .. } => {
            format!(
                "starts task {task} (step {} attempt {})",
                id.step, id.attempt
            )
        }
        Fact::TaskMoved { task, to, .. } => match to {
            TaskState::Running { .. } => format!("task {task} runs"),
            TaskState::InDoubt { why, .. } => format!("task {task} is IN DOUBT: {why}"),
            TaskState::NotStarted { why, .. } => format!("task {task} was not started: {why}"),
            TaskState::Succeeded => format!("task {task} succeeded"),
            TaskState::Failed { why } => format!("task {task} FAILED: {why}"),
            TaskState::TimedOut { why } => format!("task {task} took too long: {why}"),
            other => format!("task {task}: {other:?}"),
        },
        Fact::VerdictChanged {
            trigger,
            verdict,
            explanation,
            ..
        } => {
            let why = explanation
                .as_ref()
                .map_or_else(String::new, |why| format!(": {}", why.sentence));
            format!("{} says {verdict}{why}", trigger.name)
        }
        Fact::DelayMoved {
            trigger,
            action,
            to,
            ..
        } => match to {
            DelayState::Until { why, .. } => {
                format!("{}: {action} waits for its delay: {why}", trigger.name)
            }
            DelayState::Over { why } => format!("{}: its delay is over: {why}", trigger.name),
            DelayState::Cancelled { .. } => {
                format!("{}: cleared before the delay ended", trigger.name)
            }
            other => format!("{other:?}"),
        },
        Fact::Held { reason, exits, .. } => {
            let exits: Vec<String> = exits.iter().map(ToString::to_string).collect();
            format!("HELD: {reason} [{}]", exits.join(", "))
        }
        Fact::Released { exit, by, .. } => match by {
            Some(by) => format!("goes on: {exit}, by {by}"),
            None => format!("goes on: {exit}"),
        },
        Fact::PermitRequested { request, .. } => {
            format!("asks the fleet (attempt {})", request.attempt)
        }
        Fact::PermitAnswered { denied, .. } => match denied {
            Some(why) => format!("the fleet says no: {why}"),
            None => "the fleet says yes".to_owned(),
        },
        Fact::Promoted { by, .. } => format!("{by} takes the candidate"),
        Fact::PolicySwitched { .. } => "watched by the newest policy".to_owned(),
        Fact::RollbackDecided {
            target,
            attempt,
            cause,
            ..
        } => format!(
            "ROLL BACK to {target} (attempt {attempt}): {}",
            because(cause)
        ),
        Fact::RollbackAttemptFailed { target, why, .. } => {
            format!("returning to {target} did not work: {why}")
        }
        Fact::Ended { outcome, .. } => format!("END {outcome}"),
        Fact::Frozen { order } => format!("frozen ({order})"),
        Fact::Unfrozen { by } => match by {
            Some(by) => format!("not frozen any more, by {by}"),
            None => "not frozen any more: its time is over".to_owned(),
        },
        Fact::Killed { order } => format!("KILL SWITCH on ({order})"),
        Fact::Revived { by } => format!("kill switch off, by {by}"),
        Fact::WouldHave { would, .. } => format!("WOULD HAVE: {would}"),
        Fact::Ignored { why } => format!("ignored: {why}"),
        Fact::NoticeGivenUp { why, .. } => format!("a notice was given up: {why}"),
        other => format!("{other:?}"),
    }
}

fn because(cause: &Cause) -> String {
    match cause {
        Cause::Trigger {
            explanation,
            trigger,
        } => {
            let pass = explanation
                .would_pass
                .as_ref()
                .map_or_else(String::new, |pass| format!("; would pass: {pass}"));
            format!("{}: {}{pass}", trigger.name, explanation.sentence)
        }
        other => other.to_string(),
    }
}

fn step(step: &Step) -> String {
    match step {
        Step::Check { hold_for } => format!("check {}", duration_text(*hold_for)),
        Step::Gate { name, within, then } => {
            format!(
                "gate {name} within {}, then {then:?}",
                duration_text(*within)
            )
        }
        Step::Task { name, .. } => format!("task {name}"),
        Step::Wait { length } => format!("wait {}", duration_text(*length)),
        Step::Bake { length } => format!("bake {}", duration_text(*length)),
        Step::Verify { hold_for } => format!("verify {}", duration_text(*hold_for)),
        other => match other.change() {
            Some(change) => change.to_string(),
            None => format!("{other:?}"),
        },
    }
}

/// Effects that change the world, or that people see.
pub(crate) fn effect(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Apply(request) => Some(format!("→ {}", request.change)),
        Effect::StartTask { task, .. } => Some(format!("→ start task {task}")),
        Effect::CancelTask { task, .. } => Some(format!("→ stop task {task}")),
        Effect::Notify { notice, .. } => {
            Some(format!("✉ {:?}: {}", notice.severity, notice.subject))
        }
        _ => None,
    }
}
