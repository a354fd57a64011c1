//! The deployment that is under way, as the journal tells it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rollback_core::{
    entry::{Fact, PlanKind, Step, TaskState},
    model::{
        Arm, ArmState, ChangeId, DeploymentId, HoldReason, MetricId, Observation, PolicyDigest,
        ReleaseId, Scope, Timestamp, Verdict, Weight,
    },
    policy::{Mode, Policy, Rule},
};

use super::sights::{Sight, Total};

/// The deployment that is under way.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: DeploymentId,
    pub(super) candidate: ReleaseId,
    pub(super) policy: Arc<Policy>,
    pub(super) opened_at: Timestamp,
    /// Since when a controller reads for this deployment without a break, or a person last resumed:
    /// blindness counts from here.
    pub(super) reads_since: Timestamp,
    pub(super) stage: Stage,
    pub(super) stable: Option<ReleaseId>,
    pub(super) steps: Vec<Step>,
    pub(super) step: Option<Running>,
    pub(super) last_number: u32,
    pub(super) hold: Option<(HoldReason, Timestamp)>,
    pub(super) rollback: Option<Rollback>,
    pub(super) promoted: bool,
    pub(super) baked: bool,
    pub(super) acknowledged: BTreeSet<Arc<str>>,
    pub(super) pending: Option<ChangeId>,
    pub(super) changes: u32,
    pub(super) decided: u32,
    pub(super) person_acts: u32,
    pub(super) watch_since: Option<Timestamp>,
    pub(super) verdicts: BTreeMap<Arc<str>, (Verdict, Timestamp)>,
    /// For how long each rule has failed since it last passed, up to its last verdict.
    pub(super) failed: BTreeMap<Arc<str>, Duration>,
    pub(super) sights: BTreeMap<(MetricId, Option<Arm>), Sight>,
    pub(super) before: BTreeMap<MetricId, f64>,
    pub(super) totals: BTreeMap<(MetricId, Scope), Vec<Total>>,
    /// The last change that was sent: the platform did not take it.
    pub(super) not_taken: bool,
    /// Somebody else deployed it.
    pub(super) adopted: bool,
    /// It did, or follows, what cannot be taken back.
    pub(super) irreversible: bool,
    /// People were told what bringing data back loses; a person then said to go on.
    pub(super) loss_told: bool,
    pub(super) loss_accepted: bool,
    /// Gates that were opened.
    pub(super) passed: BTreeSet<Arc<str>>,
    /// How the task of the running step ended, if it did: well or not.
    pub(super) task_ended: Option<bool>,
    /// A person was asked whether to watch what somebody else deployed.
    pub(super) asked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Preflight,
    Rollout,
    Rollback,
}

#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) number: u32,
    pub(super) index: usize,
    pub(super) deadline: Timestamp,
    pub(super) entered: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Rollback {
    pub(super) target: ReleaseId,
    pub(super) attempt: u32,
    pub(super) failed: bool,
    pub(super) tried: BTreeSet<ReleaseId>,
}

impl Open {
    pub(super) const fn new(
        id: DeploymentId,
        candidate: ReleaseId,
        policy: Arc<Policy>,
        opened_at: Timestamp,
    ) -> Self {
        Self {
            id,
            candidate,
            policy,
            opened_at,
            reads_since: opened_at,
            stage: Stage::Preflight,
            stable: None,
            steps: Vec::new(),
            step: None,
            last_number: 0,
            hold: None,
            rollback: None,
            promoted: false,
            baked: false,
            acknowledged: BTreeSet::new(),
            pending: None,
            changes: 0,
            decided: 0,
            person_acts: 0,
            watch_since: None,
            verdicts: BTreeMap::new(),
            failed: BTreeMap::new(),
            sights: BTreeMap::new(),
            before: BTreeMap::new(),
            totals: BTreeMap::new(),
            not_taken: false,
            adopted: false,
            irreversible: false,
            loss_told: false,
            loss_accepted: false,
            passed: BTreeSet::new(),
            task_ended: None,
            asked: false,
        }
    }

    /// The metrics that a rule reads.
    pub(super) fn reads(&self, trigger: &str) -> Vec<MetricId> {
        let rule = self.policy.triggers.iter().find(|t| *t.name == *trigger);
        let Some(rule) = rule else { return Vec::new() };
        if let Rule::Composite { of, .. } = &rule.rule {
            return of.iter().flat_map(|part| self.reads(part)).collect();
        }
        self.policy
            .metrics
            .iter()
            .filter(|metric| match &rule.rule {
                Rule::When { condition, .. } => condition.contains(metric.id.as_str()),
                Rule::Compare { metric: of, .. } | Rule::Alarm { metric: of } => *of == metric.id,
                Rule::Health { health, .. } => {
                    let mut checks = health.checks.iter();
                    checks.any(|check| check.when.contains(metric.id.as_str()))
                }
                _ => metric.id.as_str() == "errors",
            })
            .map(|metric| metric.id.clone())
            .collect()
    }

    /// For how long a rule has failed since it last passed.
    pub(super) fn failed_for(&self, trigger: &str, at: Timestamp) -> Duration {
        let before = self.failed.get(trigger).copied().unwrap_or_default();
        match self.verdicts.get(trigger) {
            Some((Verdict::Fail, since)) => before + at.since(*since),
            _ => before,
        }
    }

    pub(super) fn take(
        &mut self,
        at: Timestamp,
        fact: &Fact,
        policies: &BTreeMap<PolicyDigest, Arc<Policy>>,
    ) {
        match fact {
            Fact::PlanMade {
                kind,
                stable,
                steps,
                ..
            } => {
                self.stage = match kind {
                    PlanKind::Rollout => Stage::Rollout,
                    PlanKind::Rollback => Stage::Rollback,
                };
                self.stable.clone_from(stable);
                self.steps.clone_from(steps);
                self.step = None;
            }
            Fact::StepEntered {
                number,
                index,
                deadline,
                ..
            } => {
                self.last_number = *number;
                let index = usize::from(*index);
                self.step = Some(Running {
                    number: *number,
                    index,
                    deadline: *deadline,
                    entered: at,
                });
                self.not_taken = false;
                self.task_ended = None;
                let begins = match self.steps.get(index) {
                    Some(Step::Weights { shares }) => {
                        self.rollback.is_none()
                            && !self.promoted
                            && self.watch_since.is_none()
                            && shares
                                .iter()
                                .any(|s| s.release == self.candidate && s.weight > Weight::NONE)
                    }
                    Some(Step::Verify { .. }) => true,
                    // What somebody else deployed is watched from where it stands.
                    Some(Step::Bake { .. }) => self.watch_since.is_none() && !self.is_announced(),
                    _ => false,
                };
                if begins {
                    self.begin_watch(at);
                }
            }
            Fact::StepDone { .. } => {
                self.baked |= matches!(self.running(), Some(Step::Bake { .. }));
                self.step = None;
            }
            Fact::GatePassed { gate, .. } => {
                self.passed.insert(Arc::clone(gate));
            }
            Fact::TaskMoved { to, .. } => match to {
                TaskState::Succeeded => self.task_ended = Some(true),
                TaskState::Failed { .. } | TaskState::TimedOut { .. } => {
                    self.task_ended = Some(false);
                }
                _ => {}
            },
            Fact::VerdictChanged {
                trigger, verdict, ..
            } => {
                let since = match self.verdicts.get(&trigger.name) {
                    Some((before, since)) if before.word() == verdict.word() => *since,
                    _ => at,
                };
                let failed = self.failed_for(&trigger.name, at);
                let failed = match verdict {
                    Verdict::Pass => Duration::ZERO,
                    _ => failed,
                };
                self.failed.insert(Arc::clone(&trigger.name), failed);
                self.verdicts
                    .insert(Arc::clone(&trigger.name), (verdict.clone(), since));
            }
            Fact::Held { reason, .. } => {
                self.loss_told |= matches!(
                    reason,
                    HoldReason::Irreversible { .. } | HoldReason::LosesData { .. }
                );
                self.asked |= matches!(
                    reason,
                    HoldReason::Quarantined { .. } | HoldReason::Foreign { .. }
                );
                self.hold = Some((reason.clone(), at));
            }
            Fact::Released { by, .. } => {
                if let (
                    Some((
                        HoldReason::TriggerFailed { trigger, .. }
                        | HoldReason::ExternalCause { trigger, .. }
                        | HoldReason::Blind { trigger, .. }
                        | HoldReason::Inconclusive { trigger, .. },
                        _,
                    )),
                    Some(_),
                ) = (&self.hold, by)
                {
                    self.acknowledged.insert(Arc::clone(&trigger.name));
                }
                if by.is_some() {
                    // A person who resumes gives the whole time budget anew.
                    self.reads_since = at;
                }
                if by.is_some()
                    && let Some(rollback) = &mut self.rollback
                {
                    rollback.tried.clear();
                    rollback.failed = false;
                }
                self.hold = None;
            }
            Fact::RollbackDecided {
                target, attempt, ..
            } => {
                let tried = self.rollback.take().map(|rollback| rollback.tried);
                self.rollback = Some(Rollback {
                    target: target.clone(),
                    attempt: *attempt,
                    failed: false,
                    tried: tried.unwrap_or_default(),
                });
                self.decided += 1;
                self.stage = Stage::Rollback;
                self.stable = Some(target.clone());
                self.hold = None;
                self.step = None;
                self.steps.clear();
                self.end_watch();
            }
            Fact::RollbackAttemptFailed { target, .. } => {
                if let Some(rollback) = &mut self.rollback {
                    rollback.tried.insert(target.clone());
                    rollback.failed = true;
                }
                self.step = None;
                self.end_watch();
            }
            Fact::Promoted { .. } => {
                self.promoted = true;
                self.hold = None;
                self.end_watch();
            }
            Fact::PolicySwitched { policy, .. } => {
                if let Some(policy) = policies.get(policy) {
                    self.policy = Arc::clone(policy);
                    if self.watch_since.is_some() {
                        self.begin_watch(at);
                    }
                }
            }
            _ => {}
        }
    }

    /// The step that runs.
    pub(super) fn running(&self) -> Option<&Step> {
        self.steps.get(self.step.as_ref()?.index)
    }

    /// Others said that they bring it.
    fn is_announced(&self) -> bool {
        self.policy.mode == Mode::Observe && !self.adopted
    }

    /// What takes the place of what runs is watched from its first traffic on.
    pub(super) fn look(&mut self, at: Timestamp, seen: &Observation) {
        let step = self.running();
        let takes_over = step.is_some_and(
            |step| matches!(step, Step::Converge { placement, .. } if placement.is_in_place()),
        );
        let bakes = step.is_some_and(|step| matches!(step, Step::Bake { .. }));
        let is_ready = seen
            .arm(&self.candidate)
            .is_some_and(|arm| arm.state == ArmState::Ready);
        let serves = seen.weight(&self.candidate) > Weight::NONE;
        let is_there = self.is_announced()
            && bakes
            && is_ready
            && (serves || seen.wanted.weight(&self.candidate) == Weight::NONE);
        if ((takes_over && serves) || is_there)
            && self.watch_since.is_none()
            && self.rollback.is_none()
            && !self.promoted
        {
            self.begin_watch(at);
        }
    }

    fn begin_watch(&mut self, at: Timestamp) {
        self.watch_since = Some(at);
        self.failed.clear();
        self.sights.clear();
        self.verdicts.clear();
    }

    fn end_watch(&mut self) {
        self.watch_since = None;
        self.sights.clear();
        self.verdicts.clear();
    }
}
