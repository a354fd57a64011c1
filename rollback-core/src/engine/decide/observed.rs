//! `mode: observe`: the same decisions, told instead of done.

use std::sync::Arc;

use crate::{
    engine::{Engine, state::Active},
    entry::{Fact, Would},
    model::{Action, Cause, Outcome, Timestamp},
};

impl Engine {
    pub(super) fn decide_observed(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        let end = |would: &Would| Fact::Ended {
            deployment: active.id.clone(),
            outcome: Outcome::Observed {
                release: active.candidate.clone(),
                would: Box::new(would.clone()),
            },
        };
        if let Some(gone) = self.gone_again(active) {
            return Some(gone);
        }
        if let Some(told) = active.would.iter().find(|told| is_decision(active, told)) {
            return Some(end(told));
        }
        let told = |fact| match fact {
            Fact::RollbackDecided { target, cause, .. } => {
                Self::would_have(active, Would::RollBack { target, cause })
            }
            Fact::Held { reason, .. } => Self::would_have(active, Would::Wait { reason }),
            fact => Some(fact),
        };
        self.decide_to_roll_back(at, active)
            .and_then(told)
            .or_else(|| self.decide_hold(at, active).and_then(told))
            .or_else(|| match self.decide_step(at, active)? {
                // The bake came to its end, and a person would be asked.
                Fact::Held { reason, .. } => Some(end(&Would::Wait { reason })),
                fact => Some(fact),
            })
            .or_else(|| {
                let step = active.step.as_ref()?;
                let told = active.would.last()?;
                (at >= step.deadline).then(|| end(told))
            })
    }

    /// Whoever deployed it took it away again.
    fn gone_again(&self, active: &Active) -> Option<Fact> {
        let seen = self.state.seen_since(active.look_after)?;
        let was_there = active.step.as_ref()?.good_since.is_some() || active.adopted;
        (was_there && !seen.wanted.runs(&active.candidate)).then(|| Fact::Ended {
            deployment: active.id.clone(),
            outcome: Outcome::Superseded {
                by: None,
                why: Arc::from(format!("the platform wants {} now", seen.wanted)),
            },
        })
    }
}

/// A rollback that the engine would have begun; not what a rule that only observes would have done.
fn is_decision(active: &Active, told: &Would) -> bool {
    let Would::RollBack { cause, .. } = told else {
        return false;
    };
    let rule = match cause {
        Cause::Trigger { trigger, .. } => {
            active.watch.as_ref().and_then(|watch| watch.find(trigger))
        }
        _ => None,
    };
    rule.is_none_or(|rule| rule.action != Action::Observe)
}
