//! What an engine remembers: the fold of every input and fact so far.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    intake::{Intake, Sum},
    tasks::{LeftTask, RunningTask},
    watch::Watch,
};
use crate::{
    entry::{PlanKind, Step, WayBack, Would},
    ledger::Ledger,
    model::{
        Actor, ArmState, Cause, Change, ChangeError, ChangeId, DeploymentId, Expectation, Hold,
        Irreversible, IrreversibleFrom, MetricId, Notice, NoticeKey, Observation, Order, Outcome,
        PolicyDigest, Reading, ReleaseId, Timestamp, Wanted, Weight,
    },
    policy::{Mode, Policy},
    triggers::PolicyTrigger,
};

/// How many outcomes of past deployments are remembered beside the journal.
const OUTCOMES: usize = 32;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Every policy that was offered, by its digest.
    pub(super) policies: BTreeMap<PolicyDigest, Arc<Policy>>,
    /// The policy of the deployments to come.
    pub(super) adopted: Option<PolicyDigest>,
    pub(super) ledger: Ledger,
    /// Deployments are refused.
    pub(super) frozen: Option<Order>,
    /// Nothing that changes the world is sent.
    pub(super) killed: Option<Order>,
    /// When rollbacks were decided, failed ones included, oldest first.
    pub(super) rollbacks: VecDeque<Timestamp>,
    pub(super) active: Option<Active>,
    pub(super) outcomes: VecDeque<(DeploymentId, Outcome)>,
    pub(super) seen: Option<Seen>,
    /// Why the last look saw nothing.
    pub(super) unseen: Option<Arc<str>>,
    pub(super) notices: BTreeMap<NoticeKey, PendingNotice>,
    /// What an older deployment did that cannot be taken back, and that no promotion has sealed.
    pub(super) scar: Option<Irreversible>,
    /// How the last deployment left the platform: whatever else it wants, somebody else wanted.
    pub(super) left: Option<Left>,
    /// What a superseded deployment had under way: its follower resolves it first.
    pub(super) carried: Option<Carried>,
    /// Tasks of plans that were left, until they are known to have stopped.
    pub(super) left_tasks: BTreeMap<ChangeId, LeftTask>,
}

/// A change that outlived its deployment.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) change: PendingChange,
    pub(super) expected: Wanted,
    pub(super) before: Option<(Wanted, Timestamp)>,
}

/// How a deployment left the platform.
#[derive(Debug, Clone)]
pub(super) struct Left {
    pub(super) wanted: Wanted,
    /// With the change that was still under way.
    pub(super) maybe: Option<Wanted>,
    /// An eventually consistent platform may show this until then.
    pub(super) before: Option<(Wanted, Timestamp)>,
}

impl State {
    pub(super) fn policy(&self) -> Option<&Arc<Policy>> {
        self.policies.get(self.adopted.as_ref()?)
    }

    pub(super) fn keep_outcome(&mut self, deployment: DeploymentId, outcome: Outcome) {
        if self.outcomes.len() == OUTCOMES {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((deployment, outcome));
    }

    /// What the platform wants when a deployment is over, by all we know.
    pub(super) fn leave(&mut self, ended: &Active, outcome: &Outcome) {
        // Who aborts, or finds out that somebody else's deployment cannot be watched, leaves
        // everything as it stands.
        let as_it_stands = ended.policy.mode == Mode::Observe
            || matches!(outcome, Outcome::Aborted { .. })
            || (ended.adopted && ended.stage == Stage::Preflight);
        if as_it_stands && let Some(seen) = &self.seen {
            self.left = Some(Left {
                wanted: seen.observation.wanted.clone(),
                maybe: None,
                before: None,
            });
        }
        if let Outcome::Promoted { .. } | Outcome::RolledBack { .. } = outcome {
            self.scar = None;
        } else if let Some(irreversible) = ended.is_irreversible() {
            self.scar = Some(irreversible.clone());
        }
        if !as_it_stands && ended.stage != Stage::Preflight {
            let change = ended.change.as_ref();
            self.left = Some(Left {
                wanted: ended.expected.clone(),
                maybe: change.map(|pending| pending.change.applied_to(&ended.expected)),
                before: ended.before.clone(),
            });
        }
    }

    /// The newest look, if it was asked for at `from` or later.
    pub(super) fn seen_since(&self, from: Timestamp) -> Option<&Observation> {
        self.seen
            .as_ref()
            .filter(|seen| seen.asked_at >= from)
            .map(|seen| &seen.observation)
    }

    /// Whether what runs, and is not proven yet, is still on its way to be ready.
    pub(super) fn comes_up(&self, seen: &Observation) -> bool {
        let arm = seen.wanted.main().and_then(|running| seen.arm(running));
        self.ledger.stable().is_none() && arm.is_some_and(|arm| arm.state == ArmState::Converging)
    }
}

/// The newest look at the platform.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) asked_at: Timestamp,
    pub(super) observation: Observation,
}

/// A notice that was not delivered yet.
#[derive(Debug)]
pub(super) struct PendingNotice {
    pub(super) notice: Notice,
    pub(super) attempts: u32,
    pub(super) next_at: Timestamp,
}

/// The deployment that is under way.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: DeploymentId,
    pub(super) candidate: ReleaseId,
    pub(super) name: Arc<str>,
    pub(super) actor: Actor,
    pub(super) way_back: Option<WayBack>,
    /// Somebody else deployed it.
    pub(super) adopted: bool,
    /// What cannot be taken back.
    pub(super) irreversible: Option<Irreversible>,
    /// A person was told what bringing the data back loses, and said to do it.
    pub(super) loss_accepted: bool,
    /// A person was asked whether to watch what somebody else deployed.
    pub(super) asked: bool,
    pub(super) policy: Arc<Policy>,
    pub(super) rules: Vec<PolicyTrigger>,
    pub(super) opened_at: Timestamp,
    /// The release that is returned to; set when the plan is made.
    pub(super) stable: Option<ReleaseId>,
    pub(super) stage: Stage,
    /// What the platform wants by all we know.
    pub(super) expected: Wanted,
    /// What it wanted before the last accepted change, and when that was accepted: an eventually
    /// consistent platform may show it for a while.
    pub(super) before: Option<(Wanted, Timestamp)>,
    /// Nothing is intended before a look that was asked for at this time or later.
    pub(super) look_after: Timestamp,
    /// When a person last resumed, or a controller took over: the time budget for blindness begins
    /// anew there.
    pub(super) resumed_at: Timestamp,
    /// The candidate is not checked again before.
    pub(super) check_after: Timestamp,
    pub(super) steps: Vec<Step>,
    pub(super) index: usize,
    pub(super) number: u32,
    pub(super) step: Option<RunningStep>,
    pub(super) change: Option<PendingChange>,
    /// What was not to be seen when its doubt ended: its request may still be on its way.
    pub(super) late: Option<PendingChange>,
    pub(super) hold: Option<Hold>,
    /// Rules whose hold a person ended: they do not hold this deployment again.
    pub(super) acknowledged: BTreeSet<Arc<str>>,
    pub(super) intake: Intake,
    pub(super) watch: Option<Watch>,
    pub(super) rollback: Option<Rollback>,
    pub(super) permit: Option<Permit>,
    pub(super) candidate_check: Option<Result<(), ChangeError>>,
    /// Whether what would be returned to could be started again.
    pub(super) target_checks: BTreeMap<ReleaseId, Result<(), ChangeError>>,
    /// What was read of the release that runs, where nothing is proven yet.
    pub(super) running: Option<Vec<Sum>>,
    pub(super) baseline: Option<Vec<(MetricId, Reading)>>,
    pub(super) crashes: Crashes,
    pub(super) promoted_by: Option<Actor>,
    pub(super) baked: bool,
    pub(super) last_words: Option<Vec<String>>,
    /// What was told instead of done.
    pub(super) would: Vec<Would>,
    /// The task of the running step.
    pub(super) task: Option<RunningTask>,
    /// How the tasks of this deployment ended.
    pub(super) ended_tasks: BTreeMap<Arc<str>, Result<(), Arc<str>>>,
    /// Gates that were opened.
    pub(super) passed: BTreeSet<Arc<str>>,
}

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Looking before anything is changed.
    Preflight,
    /// Following a plan.
    Planned(PlanKind),
}

/// The step of the plan that runs.
#[derive(Debug)]
pub(super) struct RunningStep {
    pub(super) number: u32,
    pub(super) entered: Timestamp,
    pub(super) deadline: Timestamp,
    pub(super) attempts: u32,
    /// No further attempt before.
    pub(super) retry_at: Timestamp,
    /// The platform will not do what the step asks for.
    pub(super) refused: Option<Arc<str>>,
    /// Why the last attempt was not taken, while none was.
    pub(super) not_taken: Option<Arc<str>>,
    /// Since when the platform shows what the step waits for, without a break.
    pub(super) good_since: Option<Timestamp>,
}

/// A change whose sending is not known to have ended.
#[derive(Debug, Clone)]
pub(super) struct PendingChange {
    pub(super) id: ChangeId,
    pub(super) change: Change,
    pub(super) expect: Expectation,
    pub(super) not_after: Timestamp,
    pub(super) doubt: Option<Doubt>,
}

/// It may have been taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    pub(super) since: Timestamp,
    pub(super) settles: Timestamp,
    pub(super) until: Timestamp,
}

/// The way back.
#[derive(Debug, Clone)]
pub(super) struct Rollback {
    pub(super) cause: Cause,
    pub(super) decided_at: Timestamp,
    pub(super) target: ReleaseId,
    pub(super) attempt: u32,
    /// Targets that did not work.
    pub(super) tried: BTreeSet<ReleaseId>,
    pub(super) failed: Option<Arc<str>>,
}

/// What the fleet was asked.
#[derive(Debug, Clone)]
pub(super) struct Permit {
    pub(super) attempt: u32,
    pub(super) deadline: Timestamp,
    pub(super) granted: bool,
    pub(super) denied: Option<Arc<str>>,
}

/// Ends of candidate instances that nobody asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Crashes {
    /// Seen before this deployment.
    pub(super) before: u32,
    pub(super) now: u32,
}

impl Crashes {
    pub(super) const fn count(self) -> u32 {
        self.now.saturating_sub(self.before)
    }
}

/// What was asked of the world and not answered yet. Lost with the process, on purpose: after a
/// crash everything harmless is simply asked again.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) observe: Option<Timestamp>,
    /// After a look that failed, the next one waits.
    pub(super) observe_after: Timestamp,
    pub(super) hinted: bool,
    /// The last look while nothing was under way that showed nothing new.
    pub(super) idle_look: Option<Timestamp>,
    pub(super) read: Option<Timestamp>,
    pub(super) last_read: Option<Timestamp>,
    pub(super) check: Option<Timestamp>,
    pub(super) permit: Option<(u32, Timestamp)>,
    pub(super) apply: Option<ChangeId>,
    pub(super) start_task: Option<ChangeId>,
    pub(super) ask_task: Option<Timestamp>,
    pub(super) asked_task: Option<Timestamp>,
    pub(super) cancels: BTreeMap<ChangeId, Timestamp>,
    pub(super) words: Option<Timestamp>,
    pub(super) notices: BTreeMap<NoticeKey, Timestamp>,
}

impl Active {
    /// Whether a release could not be started again when it was looked for.
    pub(super) fn is_gone(&self, release: &ReleaseId) -> bool {
        matches!(
            self.target_checks.get(release),
            Some(Err(
                ChangeError::Refused { .. } | ChangeError::Unsupported { .. }
            ))
        )
    }

    /// What would be lost by going back from here.
    pub(super) fn is_irreversible(&self) -> Option<&Irreversible> {
        let runs = self.expected.runs(&self.candidate)
            || self.change.as_ref().is_some_and(|pending| {
                let after = pending.change.applied_to(&self.expected);
                after.runs(&self.candidate)
            });
        let served = self.watch.is_some()
            || self.expected.weight(&self.candidate) > Weight::NONE
            || self.change.as_ref().is_some_and(|pending| {
                let after = pending.change.applied_to(&self.expected);
                after.weight(&self.candidate) > Weight::NONE
            });
        let irreversible = self.irreversible.as_ref()?;
        let is_now = self.stage != Stage::Preflight
            && match irreversible.from {
                IrreversibleFrom::Traffic => served,
                _ => runs,
            };
        is_now.then_some(irreversible)
    }
}
