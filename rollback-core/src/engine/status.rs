//! A picture of an engine for people and programs.

use std::sync::Arc;

use serde::Serialize;

use super::{Engine, state::Stage};
use crate::{
    entry::{PlanKind, Step},
    ledger::Record,
    model::{
        Action, Cause, DeploymentId, Explanation, Hold, Order, Outcome, ReleaseId, Seq, ServiceId,
        Timestamp, TriggerId, Verdict, Wanted,
    },
    policy::Mode,
};

/// A service as its engine sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Which service.
    pub service: ServiceId,
    /// As of when.
    pub at: Timestamp,
    /// As of which entry.
    pub seq: Seq,
    /// The newest proven release.
    pub stable: Option<ReleaseId>,
    /// Whether the engine acts by the newest policy, or only observes.
    pub mode: Mode,
    /// Who froze deployments and why, if they are.
    pub frozen: Option<Order>,
    /// Who switched the kill switch on and why, if it is on.
    pub killed: Option<Order>,
    /// Every release that was judged.
    pub ledger: Vec<Record>,
    /// The deployment that is under way.
    pub active: Option<ActiveStatus>,
    /// The last deployments and how they ended, newest last.
    pub outcomes: Vec<(DeploymentId, Outcome)>,
    /// What the platform was last seen to want.
    pub wanted: Option<Wanted>,
    /// Notices that are not delivered yet.
    pub pending_notices: usize,
}

/// A deployment that is under way.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ActiveStatus {
    /// Which.
    pub deployment: DeploymentId,
    /// What it moves to.
    pub candidate: ReleaseId,
    /// What people call it.
    pub name: Arc<str>,
    /// Since when.
    pub opened_at: Timestamp,
    /// `preflight`, `rollout` or `rollback`.
    pub phase: &'static str,
    /// The steps of the plan.
    pub steps: Vec<Step>,
    /// The position of the step that runs.
    pub step: usize,
    /// The step's word; `waiting` between steps.
    pub step_word: &'static str,
    /// Since when the step runs; none between steps.
    pub step_since: Option<Timestamp>,
    /// When the step is stuck.
    pub deadline: Option<Timestamp>,
    /// What the platform should want.
    pub expected: Wanted,
    /// The hold, if nothing advances.
    pub hold: Option<Hold>,
    /// What led to the rollback, if it rolls back.
    pub cause: Option<Cause>,
    /// Whether a change is in doubt.
    pub in_doubt: bool,
    /// What each rule says.
    pub triggers: Vec<TriggerStatus>,
    /// The gate that the rollout waits at; `deadline` says until when.
    pub gate: Option<Arc<str>>,
    /// The task that runs.
    pub task: Option<Arc<str>>,
}

/// What a rule says now.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TriggerStatus {
    /// Which rule.
    pub trigger: TriggerId,
    /// What it says.
    pub verdict: Verdict,
    /// Since when.
    pub since: Timestamp,
    /// What it may do.
    pub action: Action,
    /// The numbers.
    pub explanation: Explanation,
}

impl Engine {
    /// A picture of everything that the engine knows; for people, not for the hot path.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            service: self.config.service.clone(),
            at: self.now,
            seq: self.seq,
            stable: self.state.ledger.stable().cloned(),
            mode: self.state.policy().map_or(Mode::Act, |policy| policy.mode),
            frozen: self.state.frozen.clone(),
            killed: self.state.killed.clone(),
            ledger: self.state.ledger.records().to_vec(),
            active: self.active_status(),
            outcomes: self.state.outcomes.iter().cloned().collect(),
            wanted: self
                .state
                .seen
                .as_ref()
                .map(|seen| seen.observation.wanted.clone()),
            pending_notices: self.state.notices.len(),
        }
    }

    fn active_status(&self) -> Option<ActiveStatus> {
        let active = self.state.active.as_ref()?;
        let triggers = active.watch.iter().flat_map(|watch| &watch.rules);
        Some(ActiveStatus {
            deployment: active.id.clone(),
            candidate: active.candidate.clone(),
            name: Arc::clone(&active.name),
            opened_at: active.opened_at,
            phase: match active.stage {
                Stage::Preflight => "preflight",
                Stage::Planned(PlanKind::Rollout) => "rollout",
                Stage::Planned(PlanKind::Rollback) => "rollback",
            },
            steps: active.steps.clone(),
            step: active.index,
            step_word: match (&active.step, active.steps.get(active.index)) {
                (Some(_), Some(step)) => step.word(),
                _ => "waiting",
            },
            step_since: active.step.as_ref().map(|step| step.entered),
            deadline: active.step.as_ref().map(|step| step.deadline),
            expected: active.expected.clone(),
            hold: active.hold.clone(),
            cause: active
                .rollback
                .as_ref()
                .map(|rollback| rollback.cause.clone()),
            in_doubt: active
                .change
                .as_ref()
                .is_some_and(|pending| pending.doubt.is_some()),
            gate: match active.steps.get(active.index) {
                Some(Step::Gate { name, .. }) if active.step.is_some() => Some(Arc::clone(name)),
                _ => None,
            },
            task: active.task.as_ref().map(|task| Arc::clone(&task.name)),
            triggers: triggers
                .map(|rule| TriggerStatus {
                    trigger: rule.id.clone(),
                    verdict: rule.judge(self.now),
                    since: rule.since,
                    action: rule.action,
                    explanation: rule.explain(self.now),
                })
                .collect(),
        })
    }
}
