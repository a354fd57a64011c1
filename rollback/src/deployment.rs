//! The handle of one deployment.

use rollback_core::model::{DeploymentId, Outcome, Settled};

use crate::{
    Controller,
    drive::Letter,
    error::{CommandError, ExplainError},
    explain::Account,
    waiters::Waiter,
};

/// A handle on one deployment.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub(crate) controller: Controller,
    pub(crate) id: DeploymentId,
}

impl Deployment {
    /// Its id; [`Controller::attach`] finds it again.
    #[must_use]
    pub const fn id(&self) -> &DeploymentId {
        &self.id
    }

    /// Waits until it ended or waits for a person. Held already is answered at once.
    ///
    /// # Errors
    /// [`CommandError`]: the controller stopped, or does not know the deployment.
    pub async fn settled(&self) -> Result<Settled, CommandError> {
        self.wait(false).await
    }

    /// Waits until it ended, through all holds.
    ///
    /// # Errors
    /// As [`settled`](Self::settled).
    pub async fn ended(&self) -> Result<Outcome, CommandError> {
        match self.wait(true).await? {
            Settled::Ended(outcome) => Ok(outcome),
            // Holds are not answered to this question.
            Settled::Held(hold) => Err(CommandError::Faulted {
                why: hold.to_string(),
            }),
        }
    }

    /// How it ended; none while it is under way.
    ///
    /// # Errors
    /// [`CommandError`]: the journal cannot be written now, or the controller has stopped.
    pub async fn outcome(&self) -> Result<Option<Outcome>, CommandError> {
        let deployment = self.id.clone();
        self.controller
            .ask(|reply| Letter::Outcome { deployment, reply })
            .await
    }

    /// Why it ended as it did, or how far it is.
    ///
    /// # Errors
    /// [`ExplainError`]: the journal cannot be read.
    pub async fn explain(&self) -> Result<Account, ExplainError> {
        self.controller.explain(&self.id).await
    }

    async fn wait(&self, ended_only: bool) -> Result<Settled, CommandError> {
        let deployment = self.id.clone();
        self.controller
            .ask(|reply| {
                Letter::Settled(Waiter {
                    deployment,
                    ended_only,
                    reply,
                })
            })
            .await
    }
}
