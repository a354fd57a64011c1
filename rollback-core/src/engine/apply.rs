//! Facts into the state. Everything that was decided is in the facts, so that a restored engine
//! knows it without deciding again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Engine,
    mutant::Mutant,
    notices,
    state::{Active, Carried, Crashes, PendingChange, PendingNotice, Permit, Rollback, Stage},
    tasks::{RunningTask, TaskPhase},
    watch::Delayed,
};
use crate::{
    entry::{DelayState, Fact, PlanKind, Standing, Step, Would},
    model::{Cause, Hold, HoldReason, NoticeKey, Outcome, Seq, Timestamp, Verdict, Wanted},
    triggers,
};

impl Engine {
    /// `told` counts the notices of the entry so far.
    pub(super) fn apply(&mut self, at: Timestamp, seq: Seq, fact: &Fact, told: &mut u16) {
        self.line_up_notices(at, seq, fact, told);
        if self.mutant(Mutant::FailedAttemptsAreFree)
            && matches!(fact, Fact::RollbackAttemptFailed { .. })
        {
            self.state.rollbacks.pop_back();
        }
        match fact {
            Fact::PolicyAdopted { digest } => self.state.adopted = Some(digest.clone()),
            Fact::LedgerChanged {
                release,
                name,
                standing,
                ..
            } => {
                self.state.ledger.set(at, release, name, *standing);
                let sealed = self.state.active.as_ref().and_then(|active| {
                    let irreversible = active.irreversible.as_ref()?;
                    (active.candidate == *release).then_some(irreversible)
                });
                if let (Standing::Proven, Some(irreversible)) = (standing, sealed) {
                    self.state.ledger.seal(release, &irreversible.why);
                }
            }
            Fact::DeploymentOpened { .. } => self.open(at, fact),
            Fact::Ended {
                deployment,
                outcome,
            } => {
                self.state.leave_task(at);
                let ended = self.state.active.take();
                if let Some(ended) = &ended {
                    self.state.leave(ended, outcome);
                }
                if let (Outcome::Superseded { by: Some(_), .. }, Some(ended)) = (outcome, ended) {
                    self.state.carried = ended.change.map(|change| Carried {
                        change,
                        expected: ended.expected,
                        before: ended.before,
                    });
                }
                self.in_flight.read = None;
                self.state.keep_outcome(deployment.clone(), outcome.clone());
            }
            Fact::RollbackDecided { .. } => {
                self.state.rollbacks.push_back(at);
                if self.state.rollbacks.len() > 100 {
                    self.state.rollbacks.pop_front();
                }
                self.state.leave_task(at);
                self.apply_to_active(at, fact);
            }
            Fact::Frozen { order } => self.state.frozen = Some(order.clone()),
            Fact::Unfrozen { .. } => self.state.frozen = None,
            Fact::Killed { order } => self.state.killed = Some(order.clone()),
            Fact::Revived { .. } => self.state.killed = None,
            Fact::Promoted { .. } | Fact::RollbackAttemptFailed { .. } => {
                self.state.leave_task(at);
                self.apply_to_active(at, fact);
            }
            Fact::TaskMoved { id, to, .. } => self.move_task(at, id, to),
            Fact::Refused { .. } | Fact::Ignored { .. } => {}
            Fact::NoticeGivenUp { key, .. } => {
                self.state
                    .notices
                    .retain(|pending, _| pending.to_string() != **key);
            }
            _ => self.apply_to_active(at, fact),
        }
    }

    fn open(&mut self, at: Timestamp, fact: &Fact) {
        let Fact::DeploymentOpened {
            deployment,
            candidate,
            name,
            actor,
            policy,
            way_back,
            adopted,
            irreversible,
            ..
        } = fact
        else {
            return;
        };
        // A policy is always journaled before a deployment that is pinned to it.
        let Some(policy) = self.state.policies.get(policy).cloned() else {
            return;
        };
        let rules = triggers::build(&policy, &self.config.host_triggers).unwrap_or_default();
        // What an older deployment asked for is not what this one asks for.
        self.in_flight.last_read = None;
        self.in_flight.check = None;
        self.in_flight.permit = None;
        self.in_flight.words = None;
        let (change, expected, before) = match self.state.carried.take() {
            Some(carried) => (Some(carried.change), carried.expected, carried.before),
            None => (None, Wanted::nothing(), None),
        };
        self.state.active = Some(Active {
            id: deployment.clone(),
            candidate: candidate.clone(),
            name: Arc::clone(name),
            actor: actor.clone(),
            way_back: way_back.clone(),
            adopted: *adopted,
            irreversible: irreversible.clone(),
            loss_accepted: false,
            asked: false,
            policy,
            rules,
            opened_at: at,
            stable: None,
            stage: Stage::Preflight,
            expected,
            before,
            look_after: at,
            resumed_at: at,
            check_after: at,
            steps: Vec::new(),
            index: 0,
            number: 0,
            step: None,
            change,
            late: None,
            hold: None,
            acknowledged: BTreeSet::new(),
            intake: super::intake::Intake::default(),
            watch: None,
            rollback: None,
            permit: None,
            candidate_check: None,
            target_checks: BTreeMap::new(),
            running: None,
            baseline: None,
            crashes: Crashes::default(),
            promoted_by: None,
            baked: false,
            last_words: None,
            would: Vec::new(),
            task: None,
            ended_tasks: BTreeMap::new(),
            passed: BTreeSet::new(),
        });
    }

    fn apply_to_active(&mut self, at: Timestamp, fact: &Fact) {
        let settle = self.config.capabilities.settle;
        let seen = self.state.seen.as_ref().map(|seen| &seen.observation);
        let Some(active) = &mut self.state.active else {
            return;
        };
        let fresh = self
            .state
            .seen
            .as_ref()
            .filter(|seen| seen.asked_at >= active.look_after)
            .map(|seen| &seen.observation);
        active.note_consent(fact);
        match fact {
            Fact::PlanMade {
                kind,
                stable,
                steps,
                ..
            } => {
                if active.stage == Stage::Preflight {
                    active.expected = seen.map_or_else(Wanted::nothing, |seen| seen.wanted.clone());
                    active.before = None;
                }
                active.stage = Stage::Planned(*kind);
                active.stable = stable.clone();
                active.steps.clone_from(steps);
                active.index = 0;
                active.step = None;
            }
            Fact::StepEntered {
                number,
                index,
                deadline,
                ..
            } => {
                active.enter(at, *number, usize::from(*index), *deadline);
                if let Some(seen) = fresh {
                    active.see(at, seen);
                }
            }
            Fact::StepDone { .. } => {
                if matches!(active.steps.get(active.index), Some(Step::Bake { .. })) {
                    active.baked = true;
                }
                active.index += 1;
                active.step = None;
                active.task = None;
            }
            Fact::GatePassed { gate, .. } => {
                active.passed.insert(Arc::clone(gate));
            }
            Fact::TaskIntended {
                id,
                task,
                not_after,
            } => {
                if let Some(step) = &mut active.step {
                    step.attempts = step.attempts.max(id.attempt);
                }
                active.task = Some(RunningTask {
                    id: id.clone(),
                    name: Arc::clone(task),
                    not_after: *not_after,
                    phase: TaskPhase::Starting,
                });
            }
            Fact::ChangeIntended {
                id,
                change,
                expect,
                not_after,
            } => {
                if let Some(step) = &mut active.step {
                    step.attempts = step.attempts.max(id.attempt);
                }
                active.change = Some(PendingChange {
                    id: id.clone(),
                    change: change.clone(),
                    expect: expect.clone(),
                    not_after: *not_after,
                    doubt: None,
                });
            }
            Fact::ChangeMoved { id, to } => active.move_change(at, id, to, settle),
            Fact::VerdictChanged {
                trigger, verdict, ..
            } => {
                if let Some(watch) = &mut active.watch
                    && let Some(rule) = watch.find_mut(trigger)
                {
                    rule.say(at, verdict.clone());
                }
            }
            Fact::DelayMoved { trigger, to, .. } => {
                if let Some(watch) = &mut active.watch
                    && let Some(rule) = watch.find_mut(trigger)
                {
                    rule.delayed = match to {
                        DelayState::Until { until, .. } => Some(Delayed {
                            until: *until,
                            paused: None,
                            over: false,
                        }),
                        DelayState::Over { .. } => rule.delayed.map(|delayed| Delayed {
                            over: true,
                            ..delayed
                        }),
                        DelayState::Cancelled { .. } => None,
                    };
                }
            }
            Fact::Held { reason, exits, .. } => {
                active.asked |= matches!(
                    reason,
                    HoldReason::Foreign { .. } | HoldReason::Quarantined { .. }
                );
                active.hold = Some(Hold {
                    reason: reason.clone(),
                    since: at,
                    exits: exits.clone(),
                });
            }
            Fact::Released { by, .. } => active.release(at, by.is_some()),
            Fact::PermitRequested { request, deadline } => {
                active.permit = Some(Permit {
                    attempt: request.attempt,
                    deadline: *deadline,
                    granted: false,
                    denied: None,
                });
            }
            Fact::PermitAnswered { denied, .. } => {
                if let Some(permit) = &mut active.permit {
                    permit.granted = denied.is_none();
                    permit.denied.clone_from(denied);
                }
            }
            Fact::RollbackDecided {
                target,
                attempt,
                cause,
                ..
            } => {
                let tried = active
                    .rollback
                    .take()
                    .map_or_else(BTreeSet::new, |rollback| rollback.tried);
                active.rollback = Some(Rollback {
                    cause: cause.clone(),
                    decided_at: at,
                    target: target.clone(),
                    attempt: *attempt,
                    tried,
                    failed: None,
                });
                // From here on counts what the platform wants now, whoever made it so.
                let others_moved_it = matches!(cause, Cause::Platform { .. })
                    || active
                        .hold
                        .as_ref()
                        .is_some_and(|hold| matches!(hold.reason, HoldReason::Contested { .. }));
                if active.stage == Stage::Preflight || others_moved_it {
                    active.expected = seen.map_or_else(Wanted::nothing, |seen| seen.wanted.clone());
                    active.before = None;
                }
                active.stable = Some(target.clone());
                active.hold = None;
                active.step = None;
                active.steps.clear();
                active.index = 0;
                active.watch = None;
                active.stage = Stage::Planned(PlanKind::Rollback);
            }
            Fact::WouldHave { would, .. } => active.would.push(would.clone()),
            Fact::RollbackAttemptFailed { target, why, .. } => {
                if let Some(rollback) = &mut active.rollback {
                    rollback.tried.insert(target.clone());
                    rollback.failed = Some(Arc::clone(why));
                }
                active.steps.clear();
                active.step = None;
                active.watch = None;
            }
            Fact::Promoted { by, .. } => {
                active.promoted_by = Some(by.clone());
                active.hold = None;
                active.watch = None;
            }
            Fact::PolicySwitched { policy, .. } => {
                if let Some(policy) = self.state.policies.get(policy) {
                    active.policy = Arc::clone(policy);
                    active.rules = triggers::build(&active.policy, &self.config.host_triggers)
                        .unwrap_or_default();
                    if active.watch.is_some() {
                        active.begin_watch(at);
                    }
                }
            }
            _ => {}
        }
    }

    fn line_up_notices(&mut self, at: Timestamp, seq: Seq, fact: &Fact, told: &mut u16) {
        let Some(mut notice) = notices::notice(at, &self.config.service, &self.state, fact) else {
            return;
        };
        if self.mutant(Mutant::ShowsSecrets) {
            notice.body.push_str(&format!("{:?}", self.config));
        }
        for channel in &self.config.channels {
            let key = NoticeKey {
                seq,
                index: *told,
                channel: channel.clone(),
            };
            self.state.notices.insert(
                key,
                PendingNotice {
                    notice: notice.clone(),
                    attempts: 0,
                    next_at: at,
                },
            );
        }
        if self.mutant(Mutant::TellsTwice) {
            for channel in &self.config.channels {
                let key = NoticeKey {
                    seq,
                    index: *told + 1,
                    channel: channel.clone(),
                };
                let notice = notice.clone();
                self.state.notices.entry(key).or_insert(PendingNotice {
                    notice,
                    attempts: 0,
                    next_at: at,
                });
            }
        }
        *told = told.saturating_add(1);
    }
}

/// Whether a verdict is worth its numbers.
pub(super) const fn matters(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Fail)
}

/// Whether an outcome is told loudly.
pub(super) fn is_success(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Promoted { .. } | Outcome::NoChange { .. } => true,
        Outcome::Observed { would, .. } => matches!(**would, Would::Promote { .. }),
        _ => false,
    }
}
