//! What the driver itself has to remember of the facts.

use std::collections::BTreeSet;

use rollback_core::{
    entry::Fact,
    model::{DeploymentId, PolicyDigest, Timestamp},
};

use crate::{metrics::Tracker, wording::Names};

/// Folded from the facts, as the engine's state is.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) names: Names,
    pub(crate) tracker: Tracker,
    /// The policy of the deployments to come.
    pub(crate) adopted: Option<PolicyDigest>,
    /// The deployment that is under way.
    pub(crate) open: Option<DeploymentId>,
    /// The deployments that the fleet permitted to roll back and that have not ended.
    pub(crate) permitted: BTreeSet<DeploymentId>,
}

impl Book {
    pub(crate) const fn new(tracker: Tracker, names: Names) -> Self {
        Self {
            names,
            tracker,
            adopted: None,
            open: None,
            permitted: BTreeSet::new(),
        }
    }

    /// Forgets all but what people call the releases: the journal is read again.
    pub(crate) fn forget(&mut self) {
        self.tracker.forget();
        self.adopted = None;
        self.open = None;
        self.permitted.clear();
    }

    /// Follows the facts of an entry; `fresh` if they were decided now, not read back.
    pub(crate) fn follow(&mut self, at: Timestamp, facts: &[Fact], fresh: bool) {
        for fact in facts {
            self.names.learn(fact);
            match fact {
                Fact::PolicyAdopted { digest } => self.adopted = Some(digest.clone()),
                Fact::DeploymentOpened { deployment, .. } => self.open = Some(deployment.clone()),
                Fact::PermitAnswered {
                    deployment,
                    denied: None,
                } => {
                    self.permitted.insert(deployment.clone());
                }
                Fact::Ended { deployment, .. } => {
                    self.permitted.remove(deployment);
                    if self.open.as_ref() == Some(deployment) {
                        self.open = None;
                    }
                }
                _ => {}
            }
        }
        self.tracker.follow(at, facts, fresh);
    }
}

/// The deployment that a command's facts opened.
pub(crate) fn opened(facts: &[Fact]) -> Option<&DeploymentId> {
    facts
        .iter()
        .find(|fact| matches!(fact, Fact::DeploymentOpened { .. }))
        .and_then(Fact::deployment)
}
