//! Facts as people are told of them: one notice per transition.

use super::{apply::is_success, state::State};
use crate::{
    entry::{DelayState, Fact, Would},
    model::{
        Action, Cause, HoldReason, Notice, Outcome, ServiceId, Severity, Timestamp, TriggerId,
        Verdict,
    },
};

/// How many notices a fact gives: none or one.
pub(super) fn told_by(fact: &Fact) -> u16 {
    u16::from(is_told(fact))
}

fn is_told(fact: &Fact) -> bool {
    match fact {
        Fact::DeploymentOpened { .. }
        | Fact::Refused { .. }
        | Fact::Held { .. }
        | Fact::Released { .. }
        | Fact::RollbackDecided { .. }
        | Fact::RollbackAttemptFailed { .. }
        | Fact::Frozen { .. }
        | Fact::Unfrozen { .. }
        | Fact::Killed { .. }
        | Fact::Revived { .. }
        | Fact::WouldHave { .. } => true,
        // It was told when it was decided.
        Fact::Ended {
            outcome: Outcome::Observed { would, .. },
            ..
        } => !matches!(**would, Would::RollBack { .. }),
        Fact::Ended { .. } => true,
        Fact::VerdictChanged {
            verdict,
            action,
            delayed,
            ..
        } => *verdict == Verdict::Fail && *action == Action::Notify && !delayed,
        // A rule that only tells does so when its failure has lasted.
        Fact::DelayMoved { action, to, .. } => match to {
            DelayState::Until { .. } | DelayState::Cancelled { .. } => *action >= Action::Hold,
            DelayState::Over { .. } => *action == Action::Notify,
        },
        _ => false,
    }
}

/// How loud a rule's failure is told. What is built in is as loud as can be.
fn loudness(state: &State, trigger: &TriggerId) -> Severity {
    let active = state.active.as_ref();
    active
        .and_then(|active| active.policy.trigger(&trigger.name))
        .map_or(Severity::Page, |rule| rule.severity)
}

fn loudness_of(state: &State, cause: &Cause) -> Severity {
    match cause {
        Cause::Trigger { trigger, .. } => loudness(state, trigger),
        Cause::NotTaken { .. } => Severity::Page,
        _ => Severity::Warning,
    }
}

/// What is told of a fact, before it is applied.
pub(super) fn notice(
    at: Timestamp,
    service: &ServiceId,
    state: &State,
    fact: &Fact,
) -> Option<Notice> {
    if !is_told(fact) {
        return None;
    }
    let name = |release: &crate::model::ReleaseId| match &state.active {
        Some(active) if active.candidate == *release => active.name.to_string(),
        _ => state.ledger.name(release).to_owned(),
    };
    let candidate = || {
        state
            .active
            .as_ref()
            .map_or_else(String::new, |active| active.name.to_string())
    };
    let (severity, subject, body) = match fact {
        Fact::DeploymentOpened {
            name: release,
            adopted: true,
            ..
        } if state.ledger.stable().is_none() => (
            Severity::Info,
            format!("{service}: found {release} running"),
            "nothing is proven yet; it is looked at".to_owned(),
        ),
        Fact::DeploymentOpened {
            name: release,
            adopted: true,
            ..
        } => (
            Severity::Info,
            format!("{service}: somebody else deployed {release}"),
            "it is watched from here on; nothing is known of the time before".to_owned(),
        ),
        Fact::DeploymentOpened {
            name: release,
            actor,
            expedited,
            ..
        } => (
            Severity::Info,
            format!("{service}: deploying {release}"),
            match expedited {
                Some(why) => format!("expedited by {actor}: {why}"),
                None => format!("asked for by {actor}"),
            },
        ),
        Fact::Refused { actor, reason, .. } => (
            Severity::Warning,
            format!("{service}: refused a request of {actor}"),
            reason.to_string(),
        ),
        Fact::Held { reason, exits, .. } => {
            let exits: Vec<String> = exits.iter().map(ToString::to_string).collect();
            let severity = match reason {
                HoldReason::TriggerFailed { trigger, .. } => loudness(state, trigger),
                _ => Severity::Page,
            };
            (
                severity,
                format!("{service}: {} is held", candidate()),
                format!("{reason}; it goes on by: {}", exits.join(", ")),
            )
        }
        Fact::Released { exit, by, .. } => (
            Severity::Info,
            format!("{service}: {} goes on", candidate()),
            match by {
                Some(actor) => format!("{exit}, by {actor}"),
                None => exit.to_string(),
            },
        ),
        Fact::RollbackDecided { target, cause, .. } => (
            loudness_of(state, cause),
            format!(
                "{service}: rolling back from {} to {}",
                candidate(),
                name(target)
            ),
            match state.active.as_ref().and_then(|active| {
                let here = active.is_irreversible().map(|here| &here.why);
                here.or_else(|| state.ledger.behind(target))
            }) {
                Some(lost) => match state.active.as_ref().and_then(|active| state.loss(active)) {
                    Some(loss) => format!(
                        "{cause}; this cannot be taken back: {lost}; the data is brought back: {loss}"
                    ),
                    None => format!("{cause}; this cannot be taken back: {lost}"),
                },
                None => cause.to_string(),
            },
        ),
        Fact::RollbackAttemptFailed { target, why, .. } => (
            Severity::Page,
            format!("{service}: returning to {} did not work", name(target)),
            why.to_string(),
        ),
        Fact::Frozen { order } => (
            Severity::Info,
            format!("{service}: deployments are frozen"),
            order.to_string(),
        ),
        Fact::Unfrozen { by } => (
            Severity::Info,
            format!("{service}: deployments are not frozen any more"),
            match by {
                Some(by) => format!("by {by}"),
                None => "the time of the freeze is over".to_owned(),
            },
        ),
        Fact::Killed { order } => (
            Severity::Warning,
            format!("{service}: the kill switch is on, nothing is rolled back"),
            order.to_string(),
        ),
        Fact::Revived { by } => (
            Severity::Info,
            format!("{service}: the kill switch is off"),
            format!("by {by}"),
        ),
        Fact::WouldHave { would, .. } => (
            would
                .cause()
                .map_or(Severity::Warning, |cause| loudness_of(state, cause))
                .min(Severity::Warning),
            match would {
                Would::RollBack { target, .. } => format!(
                    "{service}: would have rolled back from {} to {}",
                    candidate(),
                    name(target)
                ),
                Would::Hold { .. } | Would::Wait { .. } => {
                    format!("{service}: would have held {}", candidate())
                }
                Would::Promote { .. } => {
                    format!("{service}: would have promoted {}", candidate())
                }
            },
            would.to_string(),
        ),
        Fact::DelayMoved {
            trigger,
            action,
            to,
            ..
        } => {
            let (failing, candidate) = (&trigger.name, candidate());
            match to {
                DelayState::Until { until, why } => (
                    loudness(state, trigger).min(Severity::Warning),
                    format!("{service}: {failing} fails on {candidate}; {action} at {until}"),
                    format!("{why}; unless it passes before"),
                ),
                DelayState::Over { why } => (
                    loudness(state, trigger),
                    format!("{service}: {failing} failed on {candidate}"),
                    why.to_string(),
                ),
                DelayState::Cancelled { until } => (
                    Severity::Info,
                    format!("{service}: {failing} passes again on {candidate}"),
                    format!(
                        "cleared before the delay ended; {action} would have followed at {until}"
                    ),
                ),
            }
        }
        Fact::Ended { outcome, .. } => {
            let severity = match outcome {
                Outcome::RollbackFailed { .. } => Severity::Page,
                outcome if is_success(outcome) => Severity::Info,
                _ => Severity::Warning,
            };
            let text = match outcome {
                Outcome::Promoted { release } => format!("{} is promoted", name(release)),
                Outcome::RolledBack { from, to, .. } => {
                    format!(
                        "{} is rolled back, {} serves and is verified",
                        name(from),
                        name(to)
                    )
                }
                other => other.to_string(),
            };
            (severity, format!("{service}: {text}"), outcome.to_string())
        }
        Fact::VerdictChanged {
            trigger,
            explanation,
            ..
        } => (
            loudness(state, trigger),
            format!("{service}: {} failed on {}", trigger.name, candidate()),
            explanation
                .as_ref()
                .map_or_else(String::new, |explanation| explanation.sentence.clone()),
        ),
        _ => return None,
    };
    let deployment = match fact {
        Fact::DeploymentOpened { deployment, .. } | Fact::Ended { deployment, .. } => {
            Some(deployment.clone())
        }
        _ => state.active.as_ref().map(|active| active.id.clone()),
    };
    Some(Notice {
        at,
        severity,
        deployment,
        subject,
        body,
    })
}
