//! What the journal says, folded a second time and without the engine's code: the checks look at
//! this, never at the engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rollback_core::{
    entry::{Command, Entry, Fact, Input, PlanKind, SentState, Standing, Step},
    model::{
        Arm, Cause, Change, ChangeId, DeploymentId, Epoch, Expectation, HoldReason, MetricId,
        Notice, NoticeKey, Observation, Outcome, PolicyDigest, ReleaseId, Sample, Scope, Seq,
        Timestamp, Verdict, Weight,
    },
    policy::{Policy, Rule},
};

#[derive(Debug, Default)]
pub(super) struct Chronicle {
    pub(super) policies: BTreeMap<PolicyDigest, Arc<Policy>>,
    pub(super) adopted: Option<PolicyDigest>,
    pub(super) ledger: Vec<(ReleaseId, Standing)>,
    pub(super) rollbacks: Vec<Timestamp>,
    pub(super) open: Option<Open>,
    /// A change of a superseded deployment that the next one has to resolve.
    carried: Option<ChangeId>,
    pub(super) ended: BTreeMap<DeploymentId, Outcome>,
    pub(super) last_ended: Option<DeploymentId>,
    pub(super) intents: BTreeMap<ChangeId, Intent>,
    /// The newest look at the platform that succeeded: when it was asked for, what it showed.
    pub(super) seen: Option<(Timestamp, Observation)>,
    pub(super) told: BTreeMap<Seq, u16>,
    pub(super) notices: BTreeMap<NoticeKey, Notice>,
    pub(super) delivered: BTreeSet<NoticeKey>,
    pub(super) last: Option<(Seq, Epoch, Timestamp)>,
}

/// The deployment that is under way.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: DeploymentId,
    pub(super) candidate: ReleaseId,
    pub(super) policy: Arc<Policy>,
    pub(super) opened_at: Timestamp,
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
    pub(super) sights: BTreeMap<(MetricId, Option<Arm>), Sight>,
    pub(super) before: BTreeMap<MetricId, f64>,
    totals: BTreeMap<(MetricId, Scope), Vec<(Timestamp, u64, u64)>>,
    pub(super) refused: bool,
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
}

#[derive(Debug, Clone)]
pub(super) struct Rollback {
    pub(super) target: ReleaseId,
    pub(super) attempt: u32,
    pub(super) failed: bool,
    pub(super) tried: BTreeSet<ReleaseId>,
}

#[derive(Debug)]
pub(super) struct Intent {
    pub(super) change: Change,
    pub(super) expect: Expectation,
    pub(super) not_after: Timestamp,
    pub(super) epoch: Epoch,
    pub(super) sent: u32,
    pub(super) over: bool,
}

/// The newest valid reading of a metric about an arm since the watch began, and the worst one
/// that is still fresh.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) to: Timestamp,
    pub(super) value: f64,
    pub(super) worst: f64,
    pub(super) best: f64,
}

impl Chronicle {
    pub(super) fn standing(&self, release: &ReleaseId) -> Standing {
        self.ledger
            .iter()
            .find(|(id, _)| id == release)
            .map_or(Standing::Unknown, |(_, standing)| *standing)
    }

    pub(super) fn proven(&self) -> impl Iterator<Item = &ReleaseId> {
        self.ledger
            .iter()
            .rev()
            .filter(|(_, standing)| *standing == Standing::Proven)
            .map(|(release, _)| release)
    }

    /// One word for how far the deployment is that is under way.
    pub(super) fn phase(&self) -> &'static str {
        let Some(open) = &self.open else {
            return "idle";
        };
        if open.hold.is_some() {
            return match open.stage {
                Stage::Rollback => "rollback:held",
                Stage::Preflight | Stage::Rollout => "rollout:held",
            };
        }
        let doubt = open.pending.is_some();
        let step = open
            .step
            .as_ref()
            .and_then(|running| open.steps.get(running.index));
        match (open.stage, step) {
            (Stage::Preflight, _) => "preflight",
            (Stage::Rollout, None) => "rollout:between",
            (Stage::Rollback, None) => "rollback:between",
            (Stage::Rollout, Some(step)) => match step {
                Step::Converge { .. } if doubt => "rollout:converging",
                Step::Converge { .. } => "rollout:converge",
                Step::Check { .. } => "rollout:check",
                Step::Weights { .. } if doubt => "rollout:shifting",
                Step::Weights { .. } => "rollout:weights",
                Step::Bake { .. } => "rollout:bake",
                Step::Retire { .. } => "rollout:retire",
                _ => "rollout:other",
            },
            (Stage::Rollback, Some(step)) => match step {
                Step::Converge { .. } => "rollback:converge",
                Step::Weights { .. } if doubt => "rollback:shifting",
                Step::Weights { .. } => "rollback:weights",
                Step::Verify { .. } => "rollback:verify",
                Step::Retire { .. } => "rollback:retire",
                _ => "rollback:other",
            },
        }
    }

    /// Takes the input of an entry, before its facts.
    pub(super) fn take_input(&mut self, entry: &Entry) {
        self.last = Some((entry.seq, entry.epoch, entry.at));
        match &entry.input {
            Input::PolicyOffered { digest, policy } => {
                self.policies.insert(digest.clone(), Arc::clone(policy));
            }
            Input::Observed {
                asked_at,
                result: Ok(seen),
            } if self.seen.as_ref().is_none_or(|(at, _)| at < asked_at) => {
                self.seen = Some((*asked_at, seen.clone()));
            }
            Input::Readings { answers } => {
                if let Some(open) = &mut self.open {
                    for answer in answers {
                        if let Ok(reading) = &answer.result {
                            open.see(&answer.metric, &answer.scope, reading, entry.at);
                        }
                    }
                }
            }
            Input::Command { command, .. } => {
                if let Some(open) = &mut self.open
                    && !matches!(command, Command::Deploy { .. })
                {
                    open.person_acts += 1;
                }
            }
            Input::Notified {
                key, result: Ok(_), ..
            } => {
                self.delivered.insert(key.clone());
            }
            _ => {}
        }
    }

    /// Takes a fact, after it was checked.
    pub(super) fn take_fact(&mut self, entry: &Entry, fact: &Fact) {
        let at = entry.at;
        match fact {
            Fact::PolicyAdopted { digest } => self.adopted = Some(digest.clone()),
            Fact::LedgerChanged {
                release, standing, ..
            } => {
                self.ledger.retain(|(id, _)| id != release);
                self.ledger.push((release.clone(), *standing));
            }
            Fact::DeploymentOpened {
                deployment,
                candidate,
                policy,
                ..
            } => {
                let Some(policy) = self.policies.get(policy) else {
                    return;
                };
                let mut open = Open::new(
                    deployment.clone(),
                    candidate.clone(),
                    Arc::clone(policy),
                    at,
                );
                open.pending = self.carried.take();
                self.open = Some(open);
            }
            Fact::Ended {
                deployment,
                outcome,
            } => {
                self.ended.insert(deployment.clone(), outcome.clone());
                self.last_ended = Some(deployment.clone());
                let ended = self.open.take();
                self.carried = match outcome {
                    Outcome::Superseded { by: Some(_), .. } => ended.and_then(|open| open.pending),
                    _ => None,
                };
            }
            Fact::ChangeIntended {
                id,
                change,
                expect,
                not_after,
            } => {
                self.intents.insert(
                    id.clone(),
                    Intent {
                        change: change.clone(),
                        expect: expect.clone(),
                        not_after: *not_after,
                        epoch: entry.epoch,
                        sent: 0,
                        over: false,
                    },
                );
                if let Some(open) = &mut self.open {
                    open.pending = Some(id.clone());
                    open.changes += 1;
                }
            }
            Fact::ChangeMoved { id, to } => {
                let over = !matches!(to, SentState::InDoubt { .. });
                if let Some(intent) = self.intents.get_mut(id) {
                    intent.over = over;
                }
                if let Some(open) = &mut self.open {
                    if over && open.pending.as_ref() == Some(id) {
                        open.pending = None;
                    }
                    open.refused |= matches!(to, SentState::Refused { .. });
                }
            }
            Fact::RollbackDecided { .. } => {
                self.rollbacks.push(at);
                if let Some(open) = &mut self.open {
                    open.take(at, fact, &self.policies);
                }
            }
            _ => {
                if let Some(open) = &mut self.open {
                    open.take(at, fact, &self.policies);
                }
            }
        }
        if is_told(fact) {
            *self.told.entry(entry.seq).or_default() += 1;
        }
    }
}

impl Open {
    const fn new(
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
            sights: BTreeMap::new(),
            before: BTreeMap::new(),
            totals: BTreeMap::new(),
            refused: false,
        }
    }

    /// The metrics that a rule reads.
    pub(super) fn reads(&self, trigger: &str) -> Vec<MetricId> {
        let rule = self.policy.triggers.iter().find(|t| *t.name == *trigger);
        let Some(rule) = rule else { return Vec::new() };
        self.policy
            .metrics
            .iter()
            .filter(|metric| match &rule.rule {
                Rule::When { condition, .. } => condition.contains(metric.id.as_str()),
                Rule::Compare { metric: of, .. } => *of == metric.id,
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

    /// After this long a reading is not fresh any more.
    pub(super) fn life(&self) -> std::time::Duration {
        self.policy.poll * 3 + std::time::Duration::from_secs(5)
    }

    fn see(
        &mut self,
        metric: &MetricId,
        scope: &Scope,
        reading: &rollback_core::model::Reading,
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

    fn take(&mut self, at: Timestamp, fact: &Fact, policies: &BTreeMap<PolicyDigest, Arc<Policy>>) {
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
                });
                self.refused = false;
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
            Fact::VerdictChanged {
                trigger, verdict, ..
            } => {
                let since = match self.verdicts.get(&trigger.name) {
                    Some((before, since)) if before.word() == verdict.word() => *since,
                    _ => at,
                };
                self.verdicts
                    .insert(Arc::clone(&trigger.name), (verdict.clone(), since));
            }
            Fact::Held { reason, .. } => self.hold = Some((reason.clone(), at)),
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
                if by.is_some()
                    && let Some(rollback) = &mut self.rollback
                {
                    rollback.tried.clear();
                    rollback.failed = false;
                }
                self.hold = None;
            }
            Fact::RollbackDecided {
                target,
                attempt,
                cause,
                ..
            } => {
                // Somebody else moved the platform: what was under way does not count any more.
                let moved = matches!(cause, Cause::Platform { .. })
                    || matches!(self.hold, Some((HoldReason::Contested { .. }, _)));
                if moved {
                    self.pending = None;
                }
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

    fn begin_watch(&mut self, at: Timestamp) {
        self.watch_since = Some(at);
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

/// Whether a fact is told to people.
pub(super) fn is_told(fact: &Fact) -> bool {
    match fact {
        Fact::DeploymentOpened { .. }
        | Fact::Refused { .. }
        | Fact::Held { .. }
        | Fact::Released { .. }
        | Fact::RollbackDecided { .. }
        | Fact::RollbackAttemptFailed { .. }
        | Fact::Ended { .. } => true,
        Fact::VerdictChanged {
            verdict, action, ..
        } => *verdict == Verdict::Fail && *action == rollback_core::model::Action::Notify,
        _ => false,
    }
}
