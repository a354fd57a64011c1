//! Holds that the evidence gives, and those that end by themselves.

use std::sync::Arc;

use crate::{
    engine::{Engine, fold::stale_after, mutant::Mutant, state::Active},
    entry::Fact,
    model::{Action, HoldExit, HoldReason, Timestamp, Verdict},
};

impl Engine {
    pub(super) fn decide_hold(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        if active.hold.is_some() {
            return self.ends_by_itself(at, active).map(|exit| Fact::Released {
                deployment: active.id.clone(),
                exit,
                by: None,
            });
        }
        let people = [
            HoldExit::Resume,
            HoldExit::Promote,
            HoldExit::RollBack,
            HoldExit::Abort,
        ];
        let held = |reason, exits: &[HoldExit]| {
            Some(Fact::Held {
                deployment: active.id.clone(),
                reason,
                exits: if self.mutant(Mutant::HoldsWithoutExit) {
                    Vec::new()
                } else {
                    exits.to_vec()
                },
            })
        };
        if let Some(pending) = &active.change
            && let Some(doubt) = pending.doubt
            && at >= doubt.until
        {
            let reason = HoldReason::InDoubt {
                change: pending.id.clone(),
                why: Arc::from(format!(
                    "the platform did not show in time whether it took `{}`",
                    pending.change
                )),
            };
            return held(reason, &[HoldExit::DataReturns, HoldExit::Abort]);
        }
        if let Some(step) = &active.step
            && at >= step.deadline
            && !self.sees_platform(at, active)
        {
            let since = self
                .state
                .seen
                .as_ref()
                .map_or(active.opened_at, |seen| seen.asked_at);
            let why = self.state.unseen.clone();
            return held(
                HoldReason::PlatformUnreachable { since, why },
                &[HoldExit::DataReturns, HoldExit::RollBack, HoldExit::Abort],
            );
        }
        let watch = active.watch.as_ref()?;
        if !active.rolls_back() && active.promoted_by.is_none() {
            let asks = watch.rules.iter().find(|rule| {
                rule.action == Action::Hold
                    && self.acts(rule)
                    && !active.acknowledged.contains(&rule.id.name)
            });
            if let Some(rule) = asks {
                let reason = HoldReason::TriggerFailed {
                    trigger: rule.id.clone(),
                    why: Arc::from(rule.explain(at).sentence),
                };
                let mut exits = vec![HoldExit::DataReturns];
                exits.extend(people);
                return held(reason, &exits);
            }
            if active.policy.blindness.then == crate::policy::OnNoData::Hold
                && let Some(rule) = self.blind_for_too_long(at, active)
            {
                let reason = HoldReason::Blind {
                    trigger: rule.id.clone(),
                    // Why it cannot see now: the verdict that was told may be of an earlier reason.
                    why: Arc::from(rule.judge(at).to_string()),
                };
                let mut exits = vec![HoldExit::DataReturns];
                exits.extend(people);
                return held(reason, &exits);
            }
        }
        None
    }

    /// The exit by which a hold ends without a person.
    fn ends_by_itself(&self, at: Timestamp, active: &Active) -> Option<HoldExit> {
        let hold = active.hold.as_ref()?;
        if let HoldReason::Killed { .. } = hold.reason {
            return self
                .state
                .killed
                .is_none()
                .then_some(HoldExit::KillSwitchOff);
        }
        let verdict_of = |trigger| {
            active
                .watch
                .as_ref()
                .and_then(|watch| watch.find(trigger))
                .map(|rule| &rule.verdict)
        };
        let over = match &hold.reason {
            HoldReason::TriggerFailed { trigger, .. } => {
                !matches!(verdict_of(trigger), Some(Verdict::Fail))
            }
            HoldReason::Blind { trigger, .. } => {
                !matches!(verdict_of(trigger), Some(Verdict::Unknown(_)) | None)
            }
            HoldReason::Inconclusive { trigger, .. } => {
                matches!(verdict_of(trigger), Some(Verdict::Pass))
            }
            HoldReason::PlatformUnreachable { .. } => self.sees_platform(at, active),
            HoldReason::InDoubt { change, .. } => active
                .change
                .as_ref()
                .is_none_or(|pending| pending.id != *change),
            HoldReason::Contested { .. } => self.state.seen.as_ref().is_some_and(|seen| {
                Self::is_expected(active, &seen.observation.wanted, seen.asked_at)
            }),
            _ => false,
        };
        over.then_some(HoldExit::DataReturns)
    }

    /// A required rule that has been without sight for longer than the policy allows.
    pub(super) fn blind_for_too_long<'a>(
        &self,
        at: Timestamp,
        active: &'a Active,
    ) -> Option<&'a crate::engine::watch::Watched> {
        if self.mutant(Mutant::BlindForEver) {
            return None;
        }
        let watch = active.watch.as_ref().filter(|watch| !watch.verifies)?;
        watch
            .rules
            .iter()
            .filter(|rule| rule.required && matches!(rule.verdict, Verdict::Unknown(_)))
            .filter(|rule| !active.acknowledged.contains(&rule.id.name))
            .find(|rule| at >= active.blind_until(rule))
    }

    /// Whether the newest look at the platform is fresh: nothing is concluded from an old one.
    pub(super) fn sees_platform(&self, at: Timestamp, active: &Active) -> bool {
        self.state
            .seen
            .as_ref()
            .is_some_and(|seen| at <= seen.asked_at.after(stale_after(active)))
    }

    /// The engine panicked on an input: a person looks before anything else happens.
    pub(super) fn hold_for_fault(&self, why: &Arc<str>) -> Option<Fact> {
        let active = self.state.active.as_ref()?;
        Some(Fact::Held {
            deployment: active.id.clone(),
            reason: HoldReason::Faulted {
                why: Arc::clone(why),
            },
            exits: vec![HoldExit::Resume, HoldExit::RollBack, HoldExit::Abort],
        })
    }
}
