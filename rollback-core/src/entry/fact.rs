//! What the engine decided. The state of an engine is the fold of inputs and facts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DelayState, LedgerReason, PlanKind, Standing, Step, TaskState, Would};
use crate::{
    model::{
        Action, Actor, Cause, Change, ChangeId, DeploymentId, Expectation, Explanation, HoldExit,
        HoldReason, Irreversible, Order, Outcome, PolicyDigest, RefusedReason, ReleaseId,
        Timestamp, TriggerId, Verdict,
    },
    ports::PermitRequest,
};

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fact {
    /// Deployments from now on follow this policy.
    PolicyAdopted {
        /// Which.
        digest: PolicyDigest,
    },
    /// A release's standing changed.
    LedgerChanged {
        /// Which release.
        release: ReleaseId,
        /// What people call it.
        name: Arc<str>,
        /// Its standing now.
        standing: Standing,
        /// Why.
        because: LedgerReason,
    },
    /// A request was not begun.
    Refused {
        /// Whose.
        actor: Actor,
        /// The release, if the request named one.
        release: Option<ReleaseId>,
        /// Why.
        reason: RefusedReason,
    },
    /// A deployment begins with its pre-flight.
    DeploymentOpened {
        /// Which.
        deployment: DeploymentId,
        /// What it moves to.
        candidate: ReleaseId,
        /// What people call it.
        name: Arc<str>,
        /// Whose wish.
        actor: Actor,
        /// The policy it is pinned to.
        policy: PolicyDigest,
        /// The rules it is pinned to.
        triggers: Vec<TriggerId>,
        /// The engine it is pinned to.
        engine: Arc<str>,
        /// Which deployment it takes the place of.
        supersedes: Option<DeploymentId>,
        /// Set when a person asked to leave the release that serves.
        way_back: Option<WayBack>,
        /// Set when a freeze does not count for it: why, in the person's words.
        expedited: Option<Arc<str>>,
        /// What cannot be taken back, by it or by one before it that is not through.
        irreversible: Option<Irreversible>,
        /// Set when somebody else deployed it, and it was found on the platform.
        adopted: bool,
    },
    /// The pre-flight is done: from here to there.
    PlanMade {
        /// The deployment.
        deployment: DeploymentId,
        /// Rollout or rollback.
        kind: PlanKind,
        /// The release that is returned to; none if there is none yet.
        stable: Option<ReleaseId>,
        /// The steps, in order.
        steps: Vec<Step>,
    },
    /// A step begins.
    StepEntered {
        /// The deployment.
        deployment: DeploymentId,
        /// Its number within the deployment, counted through rollout and rollback.
        number: u32,
        /// Its position in the current plan.
        index: u16,
        /// When it is stuck.
        deadline: Timestamp,
    },
    /// A step is done.
    StepDone {
        /// The deployment.
        deployment: DeploymentId,
        /// Its number.
        number: u32,
    },
    /// A change will be sent.
    ChangeIntended {
        /// Its id.
        id: ChangeId,
        /// What.
        change: Change,
        /// What it is decided for.
        expect: Expectation,
        /// Not sent later.
        not_after: Timestamp,
    },
    /// How the sending of a change stands.
    ChangeMoved {
        /// Which.
        id: ChangeId,
        /// How it stands.
        to: SentState,
    },
    /// A gate was opened.
    GatePassed {
        /// The deployment.
        deployment: DeploymentId,
        /// Which gate.
        gate: Arc<str>,
        /// By whom; none if its time ran out and the policy lets it open then.
        by: Option<Actor>,
    },
    /// A task will be started.
    TaskIntended {
        /// The id of the attempt.
        id: ChangeId,
        /// Which task.
        task: Arc<str>,
        /// Not started later.
        not_after: Timestamp,
    },
    /// How a task stands.
    TaskMoved {
        /// The id of the attempt.
        id: ChangeId,
        /// Which task.
        task: Arc<str>,
        /// How it stands.
        to: TaskState,
    },
    /// A rule's verdict changed.
    VerdictChanged {
        /// The deployment.
        deployment: DeploymentId,
        /// Which rule.
        trigger: TriggerId,
        /// What it says.
        verdict: Verdict,
        /// What it may do.
        action: Action,
        /// Whether that waits for the rule's `delay`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        delayed: bool,
        /// The numbers; only with a verdict that matters.
        explanation: Option<Box<Explanation>>,
    },
    /// The action of a failing rule waits for its `delay`, follows now, or does not follow.
    DelayMoved {
        /// The deployment.
        deployment: DeploymentId,
        /// Which rule.
        trigger: TriggerId,
        /// What it may do.
        action: Action,
        /// How the wait stands.
        to: DelayState,
    },
    /// Nothing advances.
    Held {
        /// The deployment.
        deployment: DeploymentId,
        /// Why.
        reason: HoldReason,
        /// How it can end.
        exits: Vec<HoldExit>,
    },
    /// The hold is over.
    Released {
        /// The deployment.
        deployment: DeploymentId,
        /// By which exit.
        exit: HoldExit,
        /// Who, if a person.
        by: Option<Actor>,
    },
    /// May this service roll back?
    PermitRequested {
        /// The question.
        request: PermitRequest,
        /// When silence is taken for a no.
        deadline: Timestamp,
    },
    /// The fleet answered, or its silence was taken for a no.
    PermitAnswered {
        /// For which deployment.
        deployment: DeploymentId,
        /// Why not; none is a yes.
        denied: Option<Arc<str>>,
    },
    /// A person takes the candidate without further evidence.
    Promoted {
        /// The deployment.
        deployment: DeploymentId,
        /// Who.
        by: Actor,
    },
    /// A person has the deployment watched by another policy.
    PolicySwitched {
        /// The deployment.
        deployment: DeploymentId,
        /// By which.
        policy: PolicyDigest,
    },
    /// It goes back.
    RollbackDecided {
        /// The deployment.
        deployment: DeploymentId,
        /// Where to.
        target: ReleaseId,
        /// The n-th of this deployment.
        attempt: u32,
        /// Why.
        cause: Cause,
    },
    /// Returning to this target did not work.
    RollbackAttemptFailed {
        /// The deployment.
        deployment: DeploymentId,
        /// The target.
        target: ReleaseId,
        /// Why.
        why: Arc<str>,
    },
    /// The end.
    Ended {
        /// The deployment.
        deployment: DeploymentId,
        /// How.
        outcome: Outcome,
    },
    /// Deployments are refused from now on.
    Frozen {
        /// Who, why, and until when.
        order: Order,
    },
    /// Deployments again.
    Unfrozen {
        /// Who; none if its time has come.
        by: Option<Actor>,
    },
    /// The kill switch is on: nothing that changes the world is sent.
    Killed {
        /// Who and why.
        order: Order,
    },
    /// The kill switch is off again.
    Revived {
        /// Who.
        by: Actor,
    },
    /// What would have followed if the engine were allowed to act.
    WouldHave {
        /// The deployment.
        deployment: DeploymentId,
        /// What.
        would: Would,
    },
    /// An input came too late, twice, or for nothing that is under way.
    Ignored {
        /// Why it changes nothing.
        why: Arc<str>,
    },
    /// A notice will not be tried again.
    NoticeGivenUp {
        /// Its key in words.
        key: Arc<str>,
        /// Why.
        why: Arc<str>,
    },
}

impl Fact {
    /// The deployment that it is about.
    #[must_use]
    pub const fn deployment(&self) -> Option<&DeploymentId> {
        match self {
            Self::DeploymentOpened { deployment, .. }
            | Self::PlanMade { deployment, .. }
            | Self::StepEntered { deployment, .. }
            | Self::StepDone { deployment, .. }
            | Self::GatePassed { deployment, .. }
            | Self::VerdictChanged { deployment, .. }
            | Self::DelayMoved { deployment, .. }
            | Self::Held { deployment, .. }
            | Self::Released { deployment, .. }
            | Self::PermitAnswered { deployment, .. }
            | Self::Promoted { deployment, .. }
            | Self::PolicySwitched { deployment, .. }
            | Self::RollbackDecided { deployment, .. }
            | Self::RollbackAttemptFailed { deployment, .. }
            | Self::WouldHave { deployment, .. }
            | Self::Ended { deployment, .. } => Some(deployment),
            Self::ChangeIntended { id, .. }
            | Self::ChangeMoved { id, .. }
            | Self::TaskIntended { id, .. }
            | Self::TaskMoved { id, .. } => Some(&id.deployment),
            Self::PermitRequested { request, .. } => Some(&request.deployment),
            Self::PolicyAdopted { .. }
            | Self::LedgerChanged { .. }
            | Self::Refused { .. }
            | Self::Frozen { .. }
            | Self::Unfrozen { .. }
            | Self::Killed { .. }
            | Self::Revived { .. }
            | Self::Ignored { .. }
            | Self::NoticeGivenUp { .. } => None,
        }
    }

    /// Whether it must be on disk before anything follows from it: intents, outcomes, and what a
    /// person or another deployment could contradict.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        !matches!(
            self,
            Self::VerdictChanged { .. }
                | Self::Ignored { .. }
                | Self::StepDone { .. }
                | Self::ChangeMoved { .. }
        )
    }
}

/// A person's wish to return to an older release while nothing is being deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// Where to; else the newest proven release that is not the one that serves.
    pub to: Option<ReleaseId>,
    /// Why, in the person's words.
    pub reason: Arc<str>,
}

/// How the sending of a change stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SentState {
    /// The platform took it.
    Accepted,
    /// It may have been taken; it is looked for until `until`.
    InDoubt {
        /// What is known.
        why: Arc<str>,
        /// Before this moment the platform may not show it yet.
        settles: Timestamp,
        /// When it is given to a person.
        until: Timestamp,
    },
    /// It was found on the platform.
    Found,
    /// It is certain that it was not taken; another attempt may follow.
    NotTaken {
        /// What is known.
        why: Arc<str>,
        /// Not tried again before.
        retry_at: Timestamp,
    },
    /// It will not be taken.
    Refused {
        /// The platform's words.
        why: Arc<str>,
    },
}
