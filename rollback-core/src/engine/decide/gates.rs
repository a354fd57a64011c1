//! Gates: a person is waited for, for a time, and the watch goes on.

use std::sync::Arc;

use super::steps::done;
use crate::{
    engine::{
        Engine,
        mutant::Mutant,
        state::{Active, RunningStep},
    },
    entry::{Fact, Step},
    model::{Actor, Cause, HoldExit, HoldReason, RefusedReason, Timestamp},
    policy::OnTimeout,
};

impl Engine {
    pub(super) fn decide_gate(
        &self,
        at: Timestamp,
        active: &Active,
        running: &RunningStep,
        gate: &Arc<str>,
        then: OnTimeout,
    ) -> Option<Fact> {
        if active.passed.contains(gate) || self.mutant(Mutant::PassesTheGate) {
            return Some(done(active, running));
        }
        if at < running.deadline {
            return None;
        }
        match then {
            OnTimeout::Promote => Some(Fact::GatePassed {
                deployment: active.id.clone(),
                gate: Arc::clone(gate),
                by: None,
            }),
            OnTimeout::Hold => Some(Fact::Held {
                deployment: active.id.clone(),
                reason: HoldReason::NotApproved {
                    gate: Arc::clone(gate),
                },
                exits: vec![
                    HoldExit::Resume,
                    HoldExit::Promote,
                    HoldExit::RollBack,
                    HoldExit::Abort,
                ],
            }),
            // Decided elsewhere.
            OnTimeout::RollBack => None,
        }
    }

    /// A gate whose time ran out, where that calls for a rollback.
    pub(super) fn gate_cause(&self, at: Timestamp, active: &Active) -> Option<Cause> {
        let Some(Step::Gate {
            name,
            within,
            then: OnTimeout::RollBack,
        }) = active.steps.get(active.index)
        else {
            return None;
        };
        let paused = active
            .hold
            .as_ref()
            .is_some_and(|hold| matches!(hold.reason, HoldReason::Paused { .. }));
        let running = active.step.as_ref()?;
        (at >= running.deadline && !paused && !active.passed.contains(name)).then(|| {
            Cause::NotApproved {
                gate: Arc::clone(name),
                within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            }
        })
    }

    /// A person opens the gate that the rollout waits at.
    pub(super) fn approve(&self, active: &Active, actor: &Actor, gate: &Arc<str>) -> Vec<Fact> {
        let waits_at = match active.steps.get(active.index) {
            Some(Step::Gate { name, .. }) if active.step.is_some() || active.hold.is_some() => {
                Some(name)
            }
            _ => None,
        };
        if waits_at != Some(gate) || active.passed.contains(gate) {
            let why = match waits_at {
                Some(other) if other != gate => {
                    format!("the rollout waits at gate `{other}`, not at `{gate}`")
                }
                _ => format!("nothing waits at gate `{gate}`"),
            };
            return vec![Fact::Refused {
                actor: actor.clone(),
                release: None,
                reason: RefusedReason::NotNow {
                    why: Arc::from(why),
                },
            }];
        }
        let mut facts = vec![Fact::GatePassed {
            deployment: active.id.clone(),
            gate: Arc::clone(gate),
            by: Some(actor.clone()),
        }];
        let waited = active
            .hold
            .as_ref()
            .is_some_and(|hold| matches!(hold.reason, HoldReason::NotApproved { .. }));
        if waited {
            facts.push(Fact::Released {
                deployment: active.id.clone(),
                exit: HoldExit::Resume,
                by: Some(actor.clone()),
            });
        }
        facts
    }
}
