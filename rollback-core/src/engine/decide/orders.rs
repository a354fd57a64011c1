//! Standing orders of people: the freeze, the kill switch, and what is only told under them.

use std::sync::Arc;

use crate::{
    engine::{
        Engine,
        mutant::Mutant,
        state::{Active, Stage},
    },
    entry::{Fact, Would},
    model::{Actor, HoldExit, HoldReason, Order, RefusedReason, Timestamp},
};

impl Engine {
    pub(super) fn freeze(
        &self,
        at: Timestamp,
        actor: &Actor,
        why: &Arc<str>,
        until: Option<Timestamp>,
    ) -> Result<Option<Fact>, RefusedReason> {
        let order = Order::new(actor.clone(), why, at).until(until);
        if !order.holds(at) {
            return Err(RefusedReason::NotNow {
                why: Arc::from("the freeze would have ended before it begins"),
            });
        }
        let again = self
            .frozen(at)
            .is_some_and(|frozen| frozen.is_again(&order));
        Ok((!again).then_some(Fact::Frozen { order }))
    }

    pub(super) fn kill_switch(
        &self,
        at: Timestamp,
        actor: &Actor,
        why: &Arc<str>,
        on: bool,
    ) -> Option<Fact> {
        let order = Order::new(actor.clone(), why, at);
        match &self.state.killed {
            None if on => Some(Fact::Killed { order }),
            Some(killed) if on && !killed.is_again(&order) => Some(Fact::Killed { order }),
            Some(_) if !on => Some(Fact::Revived { by: actor.clone() }),
            _ => None,
        }
    }

    /// The freeze, if one holds.
    pub(super) fn frozen(&self, at: Timestamp) -> Option<&Order> {
        self.state.frozen.as_ref().filter(|order| order.holds(at))
    }

    /// A freeze whose time has come ends by itself.
    pub(super) fn decide_orders(&self, at: Timestamp) -> Option<Fact> {
        let over = self
            .state
            .frozen
            .as_ref()
            .is_some_and(|order| !order.holds(at));
        over.then_some(Fact::Unfrozen { by: None })
    }

    /// Under the kill switch nothing advances.
    pub(super) fn decide_killed(&self, active: &Active) -> Option<Fact> {
        let order = self.state.killed.as_ref()?;
        if self.mutant(Mutant::ActsWhileKilled) {
            return None;
        }
        if active.stage == Stage::Preflight || active.hold.is_some() || active.observes() {
            return None;
        }
        Some(Fact::Held {
            deployment: active.id.clone(),
            reason: HoldReason::Killed {
                order: order.clone(),
            },
            exits: vec![HoldExit::KillSwitchOff, HoldExit::Abort],
        })
    }

    /// A decision that is told instead of done; once.
    pub(super) fn would_have(active: &Active, would: Would) -> Option<Fact> {
        let again = active.would.iter().any(|told| told.is_again(&would));
        (!again).then(|| Fact::WouldHave {
            deployment: active.id.clone(),
            would,
        })
    }
}
