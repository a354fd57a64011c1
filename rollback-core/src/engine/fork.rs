//! An engine that goes on from where another one stands, under another policy: for backtests.

use std::{collections::BTreeMap, sync::Arc};

use super::{Engine, EngineConfig, state::State};
use crate::policy::Policy;

impl Engine {
    /// What is known of the service, between two deployments. Whoever is told, and what was not
    /// told yet, stays behind.
    pub(crate) fn fork(&self, config: EngineConfig, policy: &Arc<Policy>) -> Self {
        let digest = policy.digest();
        let mut fork = Self::new(config);
        fork.now = self.now;
        fork.seq = self.seq;
        fork.epoch = self.epoch;
        fork.state = State {
            policies: BTreeMap::from([(digest.clone(), Arc::clone(policy))]),
            adopted: Some(digest),
            ledger: self.state.ledger.clone(),
            rollbacks: self.state.rollbacks.clone(),
            active: None,
            outcomes: self.state.outcomes.clone(),
            seen: self.state.seen.clone(),
            unseen: self.state.unseen.clone(),
            notices: BTreeMap::new(),
            carried: self.state.carried.clone(),
            left_tasks: BTreeMap::new(),
            // A recording is played to see what would be decided: no order of a person stops it.
            scar: self.state.scar.clone(),
            left: self.state.left.clone(),
            frozen: None,
            killed: None,
        };
        fork
    }
}
