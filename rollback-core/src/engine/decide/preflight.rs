//! The pre-flight: looking before anything is changed, and the plan that comes of it.

use std::sync::Arc;

use crate::{
    engine::{Engine, plan, state::Active},
    entry::{Fact, LedgerReason, PlanKind, Standing},
    model::{Cause, ChangeError, Observation, Outcome, RefusedReason, ReleaseId, Timestamp},
    policy::Bootstrap,
};

impl Engine {
    pub(super) fn decide_preflight(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        let late = at >= active.opened_at.after(active.policy.deadlines.preflight);
        let refuse = |reason| {
            Some(Fact::Ended {
                deployment: active.id.clone(),
                outcome: Outcome::Refused { reason },
            })
        };
        let not_fit = |why: String| {
            refuse(RefusedReason::PreFlight {
                why: Arc::from(why),
            })
        };
        if active.change.is_some() {
            // The deployment before this one left a change under way: it is resolved first.
            return if late {
                not_fit("a change of the deployment before is still in doubt".to_owned())
            } else {
                None
            };
        }
        match &active.candidate_check {
            Some(Ok(())) => {}
            Some(Err(error @ (ChangeError::Refused { .. } | ChangeError::Unsupported { .. }))) => {
                return not_fit(format!("{} cannot be deployed: {error}", active.name));
            }
            Some(Err(error)) if late => {
                return not_fit(format!("{} could not be checked: {error}", active.name));
            }
            None if late => {
                return not_fit(format!("the check of {} did not end in time", active.name));
            }
            Some(Err(_)) | None => return None,
        }
        let Some(seen) = self.state.seen_since(active.look_after) else {
            return if late {
                not_fit("the platform did not answer; see that it is reachable".to_owned())
            } else {
                None
            };
        };
        if let Some(why) = plan::missing(&active.policy, self.config.capabilities) {
            return not_fit(why);
        }
        if self.state.ledger.stable().is_none() {
            return self
                .bootstrap(active, seen)
                .or_else(|| self.first_plan(active, seen));
        }
        if seen.wanted.main() == Some(&active.candidate)
            && self.state.ledger.standing(&active.candidate) == Standing::Proven
            && seen.wanted.iter().count() == 1
            && active.way_back.is_none()
        {
            return Some(Fact::Ended {
                deployment: active.id.clone(),
                outcome: Outcome::NoChange {
                    release: active.candidate.clone(),
                },
            });
        }
        if active.baseline.is_none() && !active.policy.metrics.is_empty() && !late {
            let half = active.policy.deadlines.preflight / 2;
            if at < active.opened_at.after(half) {
                return None;
            }
        }
        self.first_plan(active, seen)
    }

    /// A service without a ledger: what runs and is ready counts as proven, if the policy says so.
    fn bootstrap(&self, active: &Active, seen: &Observation) -> Option<Fact> {
        if active.policy.bootstrap == Bootstrap::Bake {
            return None;
        }
        let running = seen.wanted.main().filter(|running| seen.is_ready(running));
        Some(match running {
            Some(running) => Fact::LedgerChanged {
                release: running.clone(),
                name: Arc::from(self.state.ledger.name(running)),
                standing: Standing::Proven,
                because: LedgerReason::Adopted,
            },
            None => Fact::Ended {
                deployment: active.id.clone(),
                outcome: Outcome::Refused {
                    reason: RefusedReason::NoProvenRelease,
                },
            },
        })
    }

    fn first_plan(&self, active: &Active, seen: &Observation) -> Option<Fact> {
        if let Some(way_back) = &active.way_back {
            let target = match &way_back.to {
                Some(to) => Some(to.clone()),
                None => self.next_target(active).cloned(),
            };
            return Some(match target {
                Some(target) => Fact::RollbackDecided {
                    deployment: active.id.clone(),
                    target,
                    attempt: 1,
                    cause: Cause::Command {
                        by: active.actor.clone(),
                        reason: Arc::clone(&way_back.reason),
                    },
                },
                None => Fact::Ended {
                    deployment: active.id.clone(),
                    outcome: Outcome::Refused {
                        reason: RefusedReason::NoProvenRelease,
                    },
                },
            });
        }
        let stable = self.stable_for(active);
        Some(Fact::PlanMade {
            deployment: active.id.clone(),
            kind: PlanKind::Rollout,
            steps: plan::rollout(&active.policy, &seen.wanted, stable, &active.candidate),
            stable: stable.cloned(),
        })
    }

    /// The release that this deployment would return to.
    pub(super) fn stable_for(&self, active: &Active) -> Option<&ReleaseId> {
        self.state
            .ledger
            .proven()
            .find(|release| **release != active.candidate)
    }
}
