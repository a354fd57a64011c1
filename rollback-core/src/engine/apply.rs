//! Facts into the state. Everything that was decided is in the facts, so that a restored engine
//! knows it without deciding again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    Engine,
    mutant::Mutant,
    notices,
    state::{
        Active, Carried, Crashes, Doubt, PendingChange, PendingNotice, Permit, Rollback,
        RunningStep, Stage,
    },
    watch::Watch,
};
use crate::{
    entry::{Fact, PlanKind, SentState, Step},
    model::{Cause, Hold, HoldReason, NoticeKey, Outcome, Seq, Timestamp, Verdict, Wanted, Weight},
    ports::WatchStart,
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
            } => self.state.ledger.set(at, release, name, *standing),
            Fact::DeploymentOpened { .. } => self.open(at, fact),
            Fact::Ended {
                deployment,
                outcome,
            } => {
                let ended = self.state.active.take();
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
                self.apply_to_active(at, fact);
            }
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
            policy,
            rules,
            opened_at: at,
            stable: None,
            stage: Stage::Preflight,
            expected,
            before,
            look_after: at,
            check_after: at,
            steps: Vec::new(),
            index: 0,
            number: 0,
            step: None,
            change,
            hold: None,
            acknowledged: BTreeSet::new(),
            intake: super::intake::Intake::default(),
            watch: None,
            rollback: None,
            permit: None,
            candidate_check: None,
            baseline: None,
            crashes: Crashes::default(),
            promoted_by: None,
            baked: false,
            last_words: None,
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
                    if rule.verdict.word() != verdict.word() {
                        rule.since = at;
                    }
                    rule.verdict = verdict.clone();
                }
            }
            Fact::Held { reason, exits, .. } => {
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
                    active.change = None;
                }
                active.stable = Some(target.clone());
                active.hold = None;
                active.step = None;
                active.steps.clear();
                active.index = 0;
                active.watch = None;
                active.stage = Stage::Planned(PlanKind::Rollback);
            }
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

impl Active {
    fn enter(&mut self, at: Timestamp, number: u32, index: usize, deadline: Timestamp) {
        self.number = number;
        self.index = index;
        self.step = Some(RunningStep {
            number,
            entered: at,
            deadline,
            attempts: 0,
            retry_at: at,
            refused: None,
            good_since: None,
        });
        let watch = match self.steps.get(index) {
            Some(Step::Weights { shares }) => {
                self.rollback.is_none()
                    && self.promoted_by.is_none()
                    && self.watch.is_none()
                    && shares
                        .iter()
                        .any(|share| share.release == self.candidate && share.weight > Weight::NONE)
            }
            Some(Step::Verify { .. }) => true,
            _ => false,
        };
        if watch {
            self.begin_watch(at);
        }
    }

    fn begin_watch(&mut self, at: Timestamp) {
        let verifies = self.rollback.is_some();
        let planned = if verifies {
            self.policy.verify.within
        } else {
            self.policy.bake + self.policy.deadlines.shift.min(Duration::from_secs(60))
        };
        let stable = self.stable.as_ref().unwrap_or(&self.candidate);
        let start = WatchStart::new(
            at,
            self.id.clone(),
            stable.clone(),
            self.candidate.clone(),
            self.policy.poll,
            planned,
        )
        .with_baseline(self.baseline.clone().unwrap_or_default());
        let start = if verifies { start.verifying() } else { start };
        self.watch = Some(Watch::begin(&self.rules, &start, verifies));
    }

    fn move_change(
        &mut self,
        at: Timestamp,
        id: &crate::model::ChangeId,
        to: &SentState,
        settle: Duration,
    ) {
        let Some(pending) = self.change.take_if(|pending| pending.id == *id) else {
            return;
        };
        match to {
            SentState::Accepted | SentState::Found => {
                let after = pending.change.applied_to(&self.expected);
                let before = std::mem::replace(&mut self.expected, after);
                self.before = Some((before, at.after(settle)));
                self.look_after = just_after(at);
            }
            SentState::InDoubt { settles, until, .. } => {
                self.look_after = just_after(at);
                self.change = Some(PendingChange {
                    doubt: Some(Doubt {
                        since: just_after(at),
                        settles: *settles,
                        until: *until,
                    }),
                    ..pending
                });
            }
            SentState::NotTaken { retry_at, .. } => {
                self.look_after = just_after(at);
                if let Some(step) = &mut self.step {
                    step.retry_at = *retry_at;
                }
            }
            SentState::Refused { why } => {
                if let Some(step) = &mut self.step {
                    step.refused = Some(Arc::clone(why));
                }
            }
        }
    }

    fn release(&mut self, at: Timestamp, by_person: bool) {
        let Some(hold) = self.hold.take() else { return };
        if !by_person {
            // What could not be seen, or was sick, was not watched: the step's whole time begins anew.
            if !matches!(
                hold.reason,
                HoldReason::Contested { .. } | HoldReason::InDoubt { .. }
            ) {
                self.step = None;
            }
            return;
        }
        if let HoldReason::TriggerFailed { trigger, .. }
        | HoldReason::ExternalCause { trigger, .. } = &hold.reason
        {
            self.acknowledged.insert(Arc::clone(&trigger.name));
        }
        self.look_after = at;
        // The step begins anew, with its whole time.
        self.step = None;
        self.permit = None;
        if let Some(rollback) = &mut self.rollback {
            rollback.tried.clear();
            rollback.failed = None;
        }
    }
}

/// A look that was asked for in the very millisecond of a change may be older than the change.
fn just_after(at: Timestamp) -> Timestamp {
    at.after(Duration::from_millis(1))
}

/// Whether a verdict is worth its numbers.
pub(super) const fn matters(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Fail)
}

/// Whether an outcome is told loudly.
pub(super) const fn is_success(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Promoted { .. } | Outcome::NoChange { .. })
}
