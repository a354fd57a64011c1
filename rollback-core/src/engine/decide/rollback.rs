//! Whether to go back, where to, and what stands in the way.

use std::sync::Arc;

use crate::{
    engine::{Engine, mutant::Mutant, plan, state::Active},
    entry::{Fact, LedgerReason, PlanKind, Standing, Would},
    model::{Action, Cause, Explanation, HoldExit, HoldReason, Outcome, ReleaseId, Timestamp},
    policy::{OnNoData, TaskWhen},
    ports::PermitRequest,
};

impl Engine {
    /// In a rollout: does anything call for a rollback, and may it be?
    pub(super) fn decide_to_roll_back(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        if active.promoted_by.is_some() || self.mutant(Mutant::NeverRollsBack) {
            return None;
        }
        let Some(cause) = self.cause(at, active) else {
            return self.withdraw_hold(active);
        };
        if let Some(elsewhere) = self.external_cause(at, active, &cause) {
            return elsewhere;
        }
        let held = |reason: HoldReason, exits: &[HoldExit]| -> Option<Fact> {
            let same = active
                .hold
                .as_ref()
                .is_some_and(|hold| same_kind(&hold.reason, &reason));
            (!same).then(|| Fact::Held {
                deployment: active.id.clone(),
                reason,
                exits: exits.to_vec(),
            })
        };
        let people = [HoldExit::RollBack, HoldExit::Promote, HoldExit::Abort];
        if self.state.killed.is_some()
            && !active.observes()
            && !self.mutant(Mutant::ActsWhileKilled)
        {
            let target = self.next_target(active)?.clone();
            return Self::would_have(active, Would::RollBack { target, cause });
        }
        let Some(target) = self.next_target(active) else {
            let reason = HoldReason::NoTarget {
                why: Arc::from(format!("{cause}; {}", self.why_no_target(active))),
            };
            return held(reason, &people);
        };
        let restores = self.state.restores(active);
        if let Some(irreversible) = active.is_irreversible()
            && (restores.is_empty() || !active.accepts(&restores))
            && !self.mutant(Mutant::RollsBackTheIrreversible)
        {
            let reason = HoldReason::Irreversible {
                cause: Arc::from(cause.to_string()),
                why: match self.state.loss(active) {
                    Some(loss) => Arc::from(format!(
                        "{}; a rollback brings the data back: {loss}",
                        irreversible.why
                    )),
                    None => Arc::clone(&irreversible.why),
                },
            };
            return held(
                reason,
                &[
                    HoldExit::DataReturns,
                    HoldExit::RollBack,
                    HoldExit::Promote,
                    HoldExit::Abort,
                ],
            );
        }
        if let Some((reason, exits)) = self.over_budget(at, active) {
            return held(reason, exits);
        }
        if self.config.permits && !active.observes() {
            match &active.permit {
                None => return Some(self.ask_for_permit(at, active, 1)),
                Some(permit) if permit.granted => {}
                Some(permit) => {
                    if let Some(why) = &permit.denied {
                        if self
                            .asks_fleet_again(active)
                            .is_some_and(|again| at >= again)
                        {
                            return Some(self.ask_for_permit(at, active, permit.attempt + 1));
                        }
                        let reason = HoldReason::NotPermitted {
                            why: Arc::clone(why),
                        };
                        let exits = [
                            HoldExit::TimePasses,
                            HoldExit::RollBack,
                            HoldExit::Promote,
                            HoldExit::Abort,
                        ];
                        return held(reason, &exits);
                    }
                    return (at >= permit.deadline).then(|| Fact::PermitAnswered {
                        deployment: active.id.clone(),
                        denied: Some(Arc::from("the fleet did not answer in time")),
                    });
                }
            }
        }
        Some(Fact::RollbackDecided {
            deployment: active.id.clone(),
            target: target.clone(),
            attempt: 1,
            cause,
        })
    }

    /// On the way back: the ledger, the plan, and what follows when a target did not work.
    pub(super) fn decide_way_back(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        let rollback = active.rollback.as_ref()?;
        if active.hold.is_some() {
            return None;
        }
        if let Some(fact) = self.condemn(active, &rollback.cause) {
            return Some(fact);
        }
        if let Some(why) = &rollback.failed {
            let held = |reason| {
                Some(Fact::Held {
                    deployment: active.id.clone(),
                    reason,
                    exits: vec![HoldExit::Resume, HoldExit::RollBack, HoldExit::Abort],
                })
            };
            let Some(next) = self.next_target(active) else {
                return held(HoldReason::RollbackFailed {
                    why: Arc::clone(why),
                });
            };
            if let Some((HoldReason::BudgetExhausted { rollbacks }, _)) =
                self.over_budget(at, active)
            {
                return held(HoldReason::RollbackFailed {
                    why: Arc::from(format!(
                        "{why}; {next} was not tried, since all {rollbacks} rollbacks of the \
                         period are used up"
                    )),
                });
            }
            return Some(Fact::RollbackDecided {
                deployment: active.id.clone(),
                target: next.clone(),
                attempt: rollback.attempt + 1,
                cause: rollback.cause.clone(),
            });
        }
        if !active.steps.is_empty() || active.change.is_some() {
            return None;
        }
        if self.platform_rolls_back(active) {
            let late = rollback.decided_at.after(active.policy.deadlines.converge);
            return (at >= late).then(|| Fact::RollbackAttemptFailed {
                deployment: active.id.clone(),
                target: rollback.target.clone(),
                why: Arc::from("the platform's own rollback does not end"),
            });
        }
        let restores = self.state.restores(active);
        if !active.accepts(&restores) && !self.mutant(Mutant::RestoresWithoutConsent) {
            let loss = self.state.loss(active).unwrap_or_default();
            return Some(Fact::Held {
                deployment: active.id.clone(),
                reason: HoldReason::LosesData {
                    why: Arc::from(format!(
                        "going back to {} brings the data back: {loss}",
                        rollback.target
                    )),
                },
                exits: vec![HoldExit::Resume, HoldExit::Abort],
            });
        }
        Some(Fact::PlanMade {
            deployment: active.id.clone(),
            kind: PlanKind::Rollback,
            stable: Some(rollback.target.clone()),
            steps: plan::rollback(
                &active.policy,
                &restores,
                &active.expected,
                self.state.seen_since(active.opened_at),
                &rollback.target,
            ),
        })
    }

    /// The newest proven release that is neither the candidate nor was tried in vain.
    pub(super) fn next_target(&self, active: &Active) -> Option<&ReleaseId> {
        let may = |release: &&ReleaseId| {
            (**release != active.candidate || self.mutant(Mutant::ReturnsToTheCandidate))
                && (self.mutant(Mutant::TriesTheSameAgain)
                    || !active
                        .rollback
                        .as_ref()
                        .is_some_and(|rollback| rollback.tried.contains(*release)))
        };
        if self.mutant(Mutant::TakesAnyTarget) {
            let records = self.state.ledger.records().iter().rev();
            return records.map(|record| &record.release).find(may);
        }
        let ledger = &self.state.ledger;
        let reachable =
            |release: &&ReleaseId| ledger.behind(release).is_none() && !active.is_gone(release);
        self.state.ledger.proven().filter(reachable).find(may)
    }

    fn why_no_target(&self, active: &Active) -> String {
        let ledger = &self.state.ledger;
        let others = ledger
            .proven()
            .filter(|release| **release != active.candidate);
        let mut lost = others.filter_map(|release| Some((release, ledger.behind(release)?)));
        match lost.next() {
            Some((release, why)) => format!(
                "returning to {release} cannot be taken back: {why}; name it to roll back all the \
                 same"
            ),
            None => "the ledger has no other proven release than the candidate".to_owned(),
        }
    }

    /// What calls for a rollback: the platform first, then the rules in the policy's order.
    fn cause(&self, at: Timestamp, active: &Active) -> Option<Cause> {
        if let Some(cause) = self
            .deployment_failed(at, active)
            .or_else(|| self.task_cause(active))
            .or_else(|| self.gate_cause(at, active))
        {
            return Some(cause);
        }
        let watch = active.watch.as_ref()?;
        let failing = || {
            let rules = watch.rules.iter();
            rules.filter(|rule| rule.action == Action::RollBack && self.acts(rule))
        };
        // A rule that blames somebody else does not hide one that blames the candidate.
        failing()
            .find(|rule| rule.also_elsewhere(at).is_none())
            .or_else(|| failing().next())
            .or_else(|| {
                // Only where the policy says so in words.
                (active.policy.blindness.then == OnNoData::RollBack
                    || self.mutant(Mutant::RollsBackBlind))
                .then(|| self.blind_for_too_long(at, active))
                .flatten()
            })
            .map(|rule| Cause::Trigger {
                trigger: rule.id.clone(),
                explanation: if self.mutant(Mutant::DoesNotExplain) {
                    Explanation::default()
                } else {
                    rule.explain(at)
                },
            })
    }

    /// The candidate is as bad elsewhere: hold instead.
    fn external_cause(
        &self,
        at: Timestamp,
        active: &Active,
        cause: &Cause,
    ) -> Option<Option<Fact>> {
        let Cause::Trigger {
            trigger,
            explanation,
        } = cause
        else {
            return None;
        };
        let rule = active.watch.as_ref()?.find(trigger)?;
        let why = rule
            .also_elsewhere(at)
            .filter(|_| !self.mutant(Mutant::BlamesAnyway))?;
        if active.acknowledged.contains(&trigger.name) || active.hold.is_some() {
            return Some(None);
        }
        Some(Some(Fact::Held {
            deployment: active.id.clone(),
            reason: HoldReason::ExternalCause {
                trigger: trigger.clone(),
                metric: None,
                seen: Some(explanation.sentence.as_str().into()),
                why,
            },
            exits: vec![
                HoldExit::DataReturns,
                HoldExit::Resume,
                HoldExit::Promote,
                HoldExit::RollBack,
                HoldExit::Abort,
            ],
        }))
    }

    /// A hold that only a wanted rollback gave, when nothing wants it any more.
    fn withdraw_hold(&self, active: &Active) -> Option<Fact> {
        let hold = active.hold.as_ref()?;
        matches!(
            hold.reason,
            HoldReason::Cooldown { .. }
                | HoldReason::ExternalCause { .. }
                | HoldReason::NotPermitted { .. }
                | HoldReason::Irreversible { .. }
        )
        .then(|| Fact::Released {
            deployment: active.id.clone(),
            exit: HoldExit::DataReturns,
            by: None,
        })
    }

    pub(super) fn over_budget(
        &self,
        at: Timestamp,
        active: &Active,
    ) -> Option<(HoldReason, &'static [HoldExit])> {
        let budget = active.policy.budget;
        let within = self
            .state
            .rollbacks
            .iter()
            .filter(|decided| at.since(**decided) < budget.per)
            .count();
        if u32::try_from(within).unwrap_or(u32::MAX) >= budget.rollbacks {
            return Some((
                HoldReason::BudgetExhausted {
                    rollbacks: budget.rollbacks,
                },
                &[HoldExit::RollBack, HoldExit::Promote, HoldExit::Abort],
            ));
        }
        let until = self.state.rollbacks.back()?.after(budget.cooldown);
        (at < until && !self.mutant(Mutant::NoCooldown)).then_some((
            HoldReason::Cooldown { until },
            &[
                HoldExit::TimePasses,
                HoldExit::DataReturns,
                HoldExit::RollBack,
                HoldExit::Promote,
                HoldExit::Abort,
            ] as &[HoldExit],
        ))
    }

    /// When a fleet that said no is asked again: as long after the last question as silence would
    /// have been waited for, however soon the answer came.
    pub(in crate::engine) fn asks_fleet_again(&self, active: &Active) -> Option<Timestamp> {
        let held = active.hold.as_ref()?.since;
        let asked_until = active.permit.as_ref()?.deadline;
        Some(held.after(active.policy.deadlines.permit).max(asked_until))
    }

    fn ask_for_permit(&self, at: Timestamp, active: &Active, attempt: u32) -> Fact {
        Fact::PermitRequested {
            request: PermitRequest {
                service: self.config.service.clone(),
                deployment: active.id.clone(),
                attempt,
            },
            deadline: at.after(active.policy.deadlines.permit),
        }
    }

    /// The candidate's standing follows from why it was left.
    fn condemn(&self, active: &Active, cause: &Cause) -> Option<Fact> {
        let (standing, because) = match cause {
            Cause::Trigger { trigger, .. } => {
                (Standing::Rejected, LedgerReason::Failed(trigger.clone()))
            }
            Cause::Task { task, .. } if judges_candidate(active, task) => (
                Standing::Rejected,
                LedgerReason::TaskFailed(Arc::clone(task)),
            ),
            Cause::Command { .. }
            | Cause::Platform { .. }
            | Cause::Task { .. }
            | Cause::NotTaken { .. }
            | Cause::NotApproved { .. } => (Standing::Withdrawn, LedgerReason::RolledBack),
        };
        let now = self.state.ledger.standing(&active.candidate);
        // What its own evidence says is not taken back by a person who rolls back.
        let stays = now == standing || now == Standing::Rejected;
        (!stays).then(|| Fact::LedgerChanged {
            release: active.candidate.clone(),
            name: Arc::clone(&active.name),
            standing,
            because,
        })
    }

    /// The end of a plan.
    pub(super) fn outcome_of(active: &Active) -> Outcome {
        match &active.rollback {
            Some(rollback) => Outcome::RolledBack {
                from: active.candidate.clone(),
                to: rollback.target.clone(),
                cause: rollback.cause.clone(),
            },
            None if active.observes() => Outcome::Observed {
                release: active.candidate.clone(),
                would: Box::new(Would::Promote {
                    release: active.candidate.clone(),
                }),
            },
            None => Outcome::Promoted {
                release: active.candidate.clone(),
            },
        }
    }
}

/// What fails before the candidate is even started is not the candidate's fault.
fn judges_candidate(active: &Active, task: &str) -> bool {
    let mut tasks = active.policy.tasks.iter();
    tasks.any(|rule| *rule.name == *task && rule.when != Some(TaskWhen::Before))
}

/// The same reason, whatever its words and numbers.
pub(super) fn same_kind(one: &HoldReason, other: &HoldReason) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}
