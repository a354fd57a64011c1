//! Decisions. Each looks at the state as it is and gives at most one fact; the fact changes the
//! state, and the next look follows, until nothing is left to decide.

mod adoption;
mod command;
mod doubt;
mod failed;
mod foreign;
mod gates;
mod holds;
mod observed;
mod orders;
mod preflight;
mod rollback;
mod steps;
mod tasks;
mod verdicts;
mod watched;

use std::{sync::Arc, time::Duration};

use super::{
    Engine,
    fold::back_off,
    mutant::Mutant,
    state::{Active, Stage},
};
use crate::{
    entry::{ChangeReport, Fact, Input, PlanKind, SentState},
    model::{ChangeError, HoldReason, Seq, Timestamp},
    ports::{NotifyError, PermitDecision},
};

/// On the way back users wait: what could not be sent is tried again after so long at most. A
/// request every few seconds is nothing to a platform, and its deadline is near.
const PATIENCE_ON_THE_WAY_BACK: Duration = Duration::from_secs(2);

/// A notice is tried so often.
const NOTICE_ATTEMPTS: u32 = 8;

impl Engine {
    /// What follows directly from an input.
    pub(super) fn decide_on(
        &mut self,
        at: Timestamp,
        seq: Seq,
        input: &Input,
        facts: &mut Vec<Fact>,
    ) {
        match input {
            Input::Started { .. } => {
                if let Some(fact) = self.doubt_after_restart(at) {
                    self.take(at, seq, fact, facts);
                }
                if let Some(fact) = self.task_doubt_after_restart(at) {
                    self.take(at, seq, fact, facts);
                }
            }
            Input::PolicyOffered { digest, .. } if self.state.adopted.as_ref() != Some(digest) => {
                let fact = Fact::PolicyAdopted {
                    digest: digest.clone(),
                };
                self.take(at, seq, fact, facts);
            }
            Input::Command {
                actor,
                reason,
                command,
            } => {
                for fact in self.decide_command(at, actor, reason, command) {
                    self.take(at, seq, fact, facts);
                }
            }
            Input::Reported(report) => {
                let fact = self.decide_report(at, report);
                let silent =
                    matches!(fact, Fact::Ignored { .. }) && self.mutant(Mutant::IgnoresSilently);
                if !silent {
                    self.take(at, seq, fact, facts);
                }
            }
            Input::TaskReported(report) => {
                if let Some(fact) = self.decide_task_report(at, report) {
                    self.take(at, seq, fact, facts);
                }
            }
            Input::Permit {
                deployment,
                attempt,
                decision,
            } => {
                let asked = self.state.active.as_ref().filter(|active| {
                    active.id == *deployment
                        && active.permit.as_ref().is_some_and(|permit| {
                            permit.attempt == *attempt && !permit.granted && permit.denied.is_none()
                        })
                });
                let fact = match (asked, decision) {
                    (None, _) => ignored("nobody waits for this permit"),
                    (Some(_), PermitDecision::Granted) => Fact::PermitAnswered {
                        deployment: deployment.clone(),
                        denied: None,
                    },
                    (Some(_), PermitDecision::Denied { why }) => Fact::PermitAnswered {
                        deployment: deployment.clone(),
                        denied: Some(Arc::clone(why)),
                    },
                };
                self.take(at, seq, fact, facts);
            }
            Input::Notified {
                key,
                result: Err(error),
            } => {
                let given_up = self.state.notices.get(key).is_some_and(|notice| {
                    matches!(error, NotifyError::Permanent { .. })
                        || notice.attempts >= NOTICE_ATTEMPTS
                });
                if given_up {
                    let fact = Fact::NoticeGivenUp {
                        key: Arc::from(key.to_string()),
                        why: Arc::from(error.to_string()),
                    };
                    self.take(at, seq, fact, facts);
                }
            }
            Input::Faulted { why, .. } => {
                if let Some(fact) = self.hold_for_fault(why) {
                    self.take(at, seq, fact, facts);
                }
            }
            _ => {}
        }
    }

    /// The next decision that the state asks for.
    pub(super) fn decide(&self, at: Timestamp) -> Option<Fact> {
        if let Some(fact) = self.decide_orders(at) {
            return Some(fact);
        }
        let Some(active) = &self.state.active else {
            return self.decide_adoption(at);
        };
        self.decide_doubt(at, active)
            .or_else(|| self.decide_foreign(at, active))
            .or_else(|| self.decide_verdict(at, active))
            .or_else(|| self.decide_to_ask(active))
            .or_else(|| self.decide_killed(active))
            .or_else(|| self.refuse_unchanged(active))
            .or_else(|| match active.stage {
                Stage::Preflight if active.hold.is_some() => self.decide_hold(at, active),
                Stage::Preflight => self.decide_preflight(at, active),
                Stage::Planned(PlanKind::Rollout)
                    if active.observes() && !self.mutant(Mutant::ActsInObserveMode) =>
                {
                    self.decide_observed(at, active)
                }
                Stage::Planned(PlanKind::Rollout) => self
                    .decide_to_roll_back(at, active)
                    .or_else(|| self.decide_hold(at, active))
                    .or_else(|| self.decide_step(at, active)),
                Stage::Planned(PlanKind::Rollback) => self
                    .decide_hold(at, active)
                    .or_else(|| self.decide_way_back(at, active))
                    .or_else(|| self.decide_step(at, active)),
            })
    }

    fn decide_report(&self, at: Timestamp, report: &ChangeReport) -> Fact {
        let pending = self
            .state
            .active
            .as_ref()
            .and_then(|active| active.change.as_ref().map(|change| (active, change)))
            .filter(|(_, change)| change.id == report.id || self.mutant(Mutant::TakesAnyReport));
        let Some((active, pending)) = pending else {
            return ignored("no such change is under way");
        };
        let to = match &report.result {
            Ok(_) => SentState::Accepted,
            Err(ChangeError::NotSent {
                why,
                retry_after_ms,
            }) => SentState::NotTaken {
                why: Arc::from(why.as_str()),
                retry_at: retry_after_ms.map_or_else(
                    || at.after(patience(active, report.id.attempt)),
                    |millis| at.after(Duration::from_millis(millis)),
                ),
            },
            Err(ChangeError::Conflict { .. }) => SentState::NotTaken {
                why: Arc::from("the platform had moved on"),
                retry_at: at,
            },
            Err(ChangeError::MaybeSent { why }) if pending.doubt.is_none() => {
                self.doubted(at, active, pending, why)
            }
            Err(ChangeError::MaybeSent { .. }) => {
                return ignored("the change is already in doubt");
            }
            Err(error @ (ChangeError::Refused { .. } | ChangeError::Unsupported { .. })) => {
                SentState::Refused {
                    why: Arc::from(error.to_string()),
                }
            }
        };
        Fact::ChangeMoved {
            id: report.id.clone(),
            to,
        }
    }
}

/// How long after an attempt that was not sent the next one follows.
fn patience(active: &Active, attempt: u32) -> Duration {
    let patience = back_off(attempt);
    if active.rolls_back() {
        patience.min(PATIENCE_ON_THE_WAY_BACK)
    } else {
        patience
    }
}

pub(super) fn ignored(why: &str) -> Fact {
    Fact::Ignored {
        why: Arc::from(why),
    }
}

impl Active {
    pub(super) fn rolls_back(&self) -> bool {
        self.stage == Stage::Planned(PlanKind::Rollback)
    }

    fn is_stopped_by_a_person(&self) -> bool {
        let reason = self.hold.as_ref().map(|hold| &hold.reason);
        matches!(
            reason,
            Some(HoldReason::Paused { .. } | HoldReason::Killed { .. })
        )
    }
}
