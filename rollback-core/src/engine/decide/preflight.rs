//! The pre-flight: looking before anything is changed, and the plan that comes of it.

use std::sync::Arc;

use crate::{
    engine::{
        Engine, plan,
        state::{Active, Stage},
        watch::Watch,
    },
    entry::{Fact, LedgerReason, PlanKind, Standing},
    model::{
        Cause, ChangeError, Observation, Outcome, RefusedReason, ReleaseId, Timestamp, Verdict,
    },
    policy::Bootstrap,
    ports::WatchStart,
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
        if !active.is_led_by_others() {
            match &active.candidate_check {
                Some(Ok(())) => {}
                Some(Err(
                    error @ (ChangeError::Refused { .. } | ChangeError::Unsupported { .. }),
                )) => {
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
        }
        let Some(seen) = self.state.seen_since(active.look_after) else {
            return if late {
                not_fit("the platform did not answer; see that it is reachable".to_owned())
            } else {
                None
            };
        };
        if !active.observes()
            && let Some(why) = plan::missing(&active.policy, self.config.capabilities)
        {
            return not_fit(why);
        }
        if self.state.ledger.stable().is_none() {
            if active.policy.bootstrap == Bootstrap::TrustRunning
                && self.state.comes_up(seen)
                && !late
            {
                return None;
            }
            let half = active.policy.deadlines.preflight / 2;
            let unread = active.running.is_none()
                && active.policy.bootstrap == Bootstrap::TrustRunning
                && seen.wanted.main().is_some()
                && !active.policy.metrics.is_empty();
            if unread && at < active.opened_at.after(half) {
                return None;
            }
            return self
                .bootstrap(at, active, seen)
                .or_else(|| self.first_plan(at, active, seen));
        }
        if seen.wanted.main() == Some(&active.candidate)
            && self.state.ledger.stable() == Some(&active.candidate)
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
        let before = active.baseline.is_some() || active.is_led_by_others();
        if !before && !active.policy.metrics.is_empty() && !late {
            let half = active.policy.deadlines.preflight / 2;
            if at < active.opened_at.after(half) {
                return None;
            }
        }
        self.first_plan(at, active, seen)
    }

    /// A service without a ledger: what runs, is ready, and fails no required rule that can be read
    /// counts as proven, if the policy says so.
    fn bootstrap(&self, at: Timestamp, active: &Active, seen: &Observation) -> Option<Fact> {
        if active.policy.bootstrap == Bootstrap::Bake {
            return None;
        }
        let running = seen.wanted.main().filter(|running| seen.is_ready(running));
        if let Some(running) = running
            && let Some(why) = Self::is_failing(at, active, running)
        {
            return Some(Fact::Ended {
                deployment: active.id.clone(),
                outcome: Outcome::Refused {
                    reason: RefusedReason::PreFlight {
                        why: Arc::from(format!(
                            "{running} runs and cannot be trusted: {why}; repair it, or set \
                             `bootstrap: bake`"
                        )),
                    },
                },
            });
        }
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
                    reason: match seen.wanted.main() {
                        Some(running) => RefusedReason::PreFlight {
                            why: Arc::from(format!(
                                "{running} runs and is not ready, so there is nothing to return to; \
                                 repair it, or set `bootstrap: bake`"
                            )),
                        },
                        None => RefusedReason::NoProvenRelease,
                    },
                },
            },
        })
    }

    /// What a required rule that needs one arm says against the release that runs, by what was read
    /// of it.
    fn is_failing(at: Timestamp, active: &Active, running: &ReleaseId) -> Option<String> {
        let start = WatchStart::new(
            at,
            active.id.clone(),
            running.clone(),
            running.clone(),
            active.policy.poll,
            active.policy.bake,
        );
        let required: Vec<_> = active
            .rules
            .iter()
            .filter(|rule| rule.rule.required)
            .cloned()
            .collect();
        let mut watch = Watch::begin(&required, &start.verifying(), true);
        watch.observe(at, active.running.as_deref()?);
        let mut rules = watch.rules.iter();
        let failing = rules.find(|rule| rule.judge(at) == Verdict::Fail)?;
        let sentence = failing.explain(at).sentence;
        Some(format!("{}: {sentence}", failing.id.name))
    }

    fn first_plan(&self, at: Timestamp, active: &Active, seen: &Observation) -> Option<Fact> {
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
        if self.unchecked_target(active).is_some()
            && at < active.opened_at.after(active.policy.deadlines.preflight)
        {
            return None;
        }
        if !active.is_led_by_others()
            && let Some(why) = self.all_gone(active)
        {
            return Some(Fact::Ended {
                deployment: active.id.clone(),
                outcome: Outcome::Refused {
                    reason: RefusedReason::PreFlight {
                        why: Arc::from(why),
                    },
                },
            });
        }
        if active.is_led_by_others() {
            return Some(self.watch_from_here(active, seen));
        }
        let stable = self.stable_for(active);
        Some(Fact::PlanMade {
            deployment: active.id.clone(),
            kind: PlanKind::Rollout,
            steps: plan::rollout(
                &active.policy,
                &seen.wanted,
                // Past what cannot be taken back no traffic returns to what was before it.
                stable.filter(|_| self.state.scar.is_none()),
                &active.candidate,
            ),
            stable: stable.cloned(),
        })
    }

    /// The release that would be returned to, if nobody has looked yet whether it could be started
    /// again. It is looked for after the candidate, and only while something is proven.
    pub(in crate::engine) fn unchecked_target<'a>(
        &'a self,
        active: &Active,
    ) -> Option<&'a ReleaseId> {
        let in_turn = active.stage == Stage::Preflight
            && (active.is_led_by_others() || matches!(active.candidate_check, Some(Ok(()))))
            && active.way_back.is_none();
        let target = self.stable_for(active).filter(|_| in_turn)?;
        (!active.target_checks.contains_key(target)).then_some(target)
    }

    /// Why no proven release could be returned to, where there are some and all are gone.
    fn all_gone(&self, active: &Active) -> Option<String> {
        if active.target_checks.is_empty() || self.stable_for(active).is_some() {
            return None;
        }
        let gone: Vec<String> = active
            .target_checks
            .iter()
            .filter_map(|(release, check)| {
                let why = check.as_ref().err()?;
                Some(format!("{} ({why})", self.state.ledger.name(release)))
            })
            .collect();
        Some(format!(
            "nothing could be returned to: {}; bring its definition back, or begin anew with \
             `bootstrap`",
            gone.join(", ")
        ))
    }

    /// The release that this deployment would return to.
    pub(super) fn stable_for(&self, active: &Active) -> Option<&ReleaseId> {
        self.state
            .ledger
            .proven()
            .filter(|release| {
                self.state.ledger.behind(release).is_none() && !active.is_gone(release)
            })
            .find(|release| **release != active.candidate)
    }
}
