//! The deployment that is under way, as the journal tells it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rollback_core::{
    entry::{Fact, PlanKind, Step, TaskState},
    model::{
        Arm, ChangeId, DeploymentId, HoldReason, MetricId, Observation, PolicyDigest, Reading,
        ReleaseId, Sample, Scope, Timestamp, Verdict, Weight,
    },
    policy::{Policy, Rule},
};

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
    totals: BTreeMap<(MetricId, Scope), Vec<Total>>,
    pub(super) refused: bool,
    /// Somebody else deployed it.
    pub(super) adopted: bool,
    /// It did, or follows, what cannot be taken back.
    pub(super) irreversible: bool,
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

/// A running total as it was read: since when it counts, bad and all events.
type Total = (Timestamp, u64, u64);

/// The newest valid reading of a metric about an arm since the watch began, and the worst one
/// that is still fresh.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) to: Timestamp,
    pub(super) value: f64,
    pub(super) worst: f64,
    pub(super) best: f64,
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
            refused: false,
            adopted: false,
            irreversible: false,
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

    /// What was seen of a metric on the arm on trial, or of the service.
    pub(super) fn sight(&self, metric: &MetricId) -> Option<Sight> {
        let arm = match self.stage {
            Stage::Rollback => Arm::Stable,
            Stage::Preflight | Stage::Rollout => Arm::Candidate,
        };
        self.sights
            .get(&(metric.clone(), Some(arm)))
            .or_else(|| self.sights.get(&(metric.clone(), None)))
            .copied()
    }

    /// For how long a rule has failed since it last passed.
    pub(super) fn failed_for(&self, trigger: &str, at: Timestamp) -> Duration {
        let before = self.failed.get(trigger).copied().unwrap_or_default();
        match self.verdicts.get(trigger) {
            Some((Verdict::Fail, since)) => before + at.since(*since),
            _ => before,
        }
    }

    /// After this long a reading is not fresh any more.
    pub(super) fn life(&self) -> Duration {
        self.policy.poll * 3 + Duration::from_secs(5)
    }

    pub(super) fn see(
        &mut self,
        metric: &MetricId,
        scope: &Scope,
        reading: &Reading,
        at: Timestamp,
    ) {
        if reading.window.to.after(self.life()) < at {
            return;
        }
        let (value, best, worst) = match &reading.sample {
            Sample::Gauge(value) if value.is_finite() => (*value, *value, *value),
            Sample::Counts { bad, total } if *total > 0 => {
                let value = ratio(*bad, *total);
                (value, value, value)
            }
            Sample::Cumulative { since, bad, total } => {
                // Which of the last totals the next one is compared with depends on which of them
                // came in order: all are possible here.
                let whole = ratio(*bad, *total);
                let before = self
                    .totals
                    .entry((metric.clone(), scope.clone()))
                    .or_default();
                let steps: Vec<f64> = before
                    .iter()
                    .filter(|(s, b, t)| s == since && b <= bad && t < total)
                    .map(|(_, b, t)| ratio(bad - b, total - t))
                    .collect();
                let first = before.is_empty();
                before.push((*since, *bad, *total));
                if before.len() > 12 {
                    before.remove(0);
                }
                match steps.last() {
                    Some(last) if self.stage != Stage::Preflight => (
                        *last,
                        steps.iter().copied().fold(whole, f64::min),
                        steps.iter().copied().fold(whole, f64::max),
                    ),
                    // A first look at a total that began before the deployment says nothing of now.
                    _ if first && self.stage != Stage::Preflight && *since < self.opened_at => {
                        return;
                    }
                    _ if *total > 0 => (whole, whole, whole),
                    _ => return,
                }
            }
            _ => return,
        };
        if self.stage == Stage::Preflight {
            let before = self.before.entry(metric.clone()).or_insert(value);
            *before = before.max(value);
            return;
        }
        if self.watch_since.is_none() {
            return;
        }
        let life = self.life();
        let sight = self
            .sights
            .entry((metric.clone(), scope.arm()))
            .or_insert(Sight {
                to: reading.window.to,
                value,
                worst,
                best,
            });
        let fresh = sight.to.after(life) >= at;
        sight.worst = if fresh { sight.worst.max(worst) } else { worst };
        sight.best = best;
        sight.to = sight.to.max(reading.window.to);
        sight.value = value;
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
                self.refused = false;
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
                    Some(Step::Bake { .. }) => self.watch_since.is_none(),
                    _ => false,
                };
                if begins {
                    self.begin_watch(at);
                }
            }
            Fact::StepDone { .. } => {
                let step = self.step.take().and_then(|running| {
                    let step = self.steps.get(running.index)?;
                    Some(matches!(step, Step::Bake { .. }))
                });
                self.baked |= step == Some(true);
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

    /// What takes the place of what runs is watched from its first traffic on.
    pub(super) fn look(&mut self, at: Timestamp, seen: &Observation) {
        let takes_over = self
            .step
            .as_ref()
            .and_then(|running| self.steps.get(running.index))
            .is_some_and(
                |step| matches!(step, Step::Converge { placement, .. } if placement.is_in_place()),
            );
        if takes_over
            && self.watch_since.is_none()
            && self.rollback.is_none()
            && !self.promoted
            && seen.weight(&self.candidate) > Weight::NONE
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

#[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
fn ratio(bad: u64, total: u64) -> f64 {
    bad as f64 / total.max(1) as f64
}
