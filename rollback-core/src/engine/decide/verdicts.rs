//! What the rules say, journaled when its kind changes; actions that wait for their `delay`; and what
//! rules that only observe would have done.

use std::sync::Arc;

use crate::{
    engine::{Engine, apply::matters, mutant::Mutant, state::Active, watch::Watched},
    entry::{DelayState, Fact, Would},
    model::{Action, Cause, HoldReason, Timestamp, Verdict},
};

impl Engine {
    pub(super) fn decide_verdict(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        let watch = active.watch.as_ref()?;
        for rule in &watch.rules {
            let verdict = match rule.judge(at) {
                Verdict::Unknown(_) if rule.is_whole && self.mutant(Mutant::GuessesThePart) => {
                    Verdict::Fail
                }
                judged => judged,
            };
            if verdict.word() != rule.verdict.word() {
                let explanation = matters(&verdict).then(|| Box::new(rule.explain(at)));
                return Some(Fact::VerdictChanged {
                    deployment: active.id.clone(),
                    trigger: rule.id.clone(),
                    verdict,
                    action: rule.action,
                    delayed: !rule.delay.is_zero(),
                    explanation,
                });
            }
        }
        if watch.verifies {
            return None;
        }
        watch
            .rules
            .iter()
            .find_map(|rule| delay(at, active, rule))
            .or_else(|| self.decide_would_have(at, active))
    }

    /// Whether a rule's action follows now.
    pub(super) fn acts(&self, rule: &Watched) -> bool {
        rule.acts() || (self.mutant(Mutant::IgnoresTheDelay) && rule.verdict == Verdict::Fail)
    }

    /// What a failing rule that only observes would have done.
    fn decide_would_have(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        let watch = active.watch.as_ref()?;
        if active.rolls_back() {
            return None;
        }
        watch
            .rules
            .iter()
            .filter(|rule| rule.action == Action::Observe && !rule.is_part && self.acts(rule))
            .find_map(|rule| Self::would_have(active, self.would(at, active, rule)))
    }

    fn would(&self, at: Timestamp, active: &Active, rule: &Watched) -> Would {
        let cause = Cause::Trigger {
            trigger: rule.id.clone(),
            explanation: rule.explain(at),
        };
        let reason = match (rule.also_elsewhere(at), self.next_target(active)) {
            (Some(why), _) => HoldReason::ExternalCause {
                trigger: rule.id.clone(),
                metric: None,
                seen: None,
                why,
            },
            (None, None) => HoldReason::NoTarget {
                why: Arc::from("the ledger has no other proven release than the candidate"),
            },
            (None, Some(target)) => match self.over_budget(at, active) {
                Some((reason, _)) => reason,
                None => {
                    return Would::RollBack {
                        target: target.clone(),
                        cause,
                    };
                }
            },
        };
        Would::Hold { reason, cause }
    }
}

/// The action of a failing rule waits, follows, or is cancelled. What cannot be seen is no time in
/// which it failed, and no end of it.
fn delay(at: Timestamp, active: &Active, rule: &Watched) -> Option<Fact> {
    if rule.delay.is_zero() {
        return None;
    }
    let to = match (&rule.verdict, rule.delayed) {
        (Verdict::Fail, None) => DelayState::Until {
            until: rule.since.after(rule.delay),
            why: rule.explain(at).sentence.into(),
        },
        (Verdict::Fail, Some(delayed)) if delayed.over => return None,
        (Verdict::Fail, Some(delayed)) => match delayed.paused {
            Some(since) => DelayState::Until {
                until: delayed.until.after(at.since(since)),
                why: rule.explain(at).sentence.into(),
            },
            None if at >= delayed.until => DelayState::Over {
                why: rule.explain(at).sentence.into(),
            },
            None => return None,
        },
        (Verdict::Pass, Some(delayed)) if !delayed.over => DelayState::Cancelled {
            until: delayed.until,
        },
        _ => return None,
    };
    Some(Fact::DelayMoved {
        deployment: active.id.clone(),
        trigger: rule.id.clone(),
        action: rule.action,
        to,
    })
}
