//! Those who wait for a deployment to come to rest.

use rollback_core::{
    entry::Fact,
    model::{DeploymentId, Settled},
};
use tokio::sync::oneshot;

use crate::{
    drive::{Drive, State},
    error::CommandError,
};

/// Somebody who waits for a deployment.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) deployment: DeploymentId,
    /// A hold is not enough.
    pub(crate) ended_only: bool,
    pub(crate) reply: oneshot::Sender<Result<Settled, CommandError>>,
}

impl Drive {
    /// Follows from the facts of an entry that was appended.
    pub(crate) fn settle(&mut self, facts: &[Fact]) {
        let mut rests = false;
        for fact in facts {
            match fact {
                Fact::Ended { deployment, .. } => {
                    rests = true;
                    if let Some(fleet) = &self.setup.fleet {
                        fleet.ended(&self.setup.service, deployment);
                    }
                }
                Fact::Held { .. } => rests = true,
                _ => {}
            }
        }
        if rests {
            self.answer_waiters();
        }
    }

    /// Answers whoever waits for a deployment that came to rest.
    pub(crate) fn answer_waiters(&mut self) {
        let State::Up(engine) = &self.state else {
            return;
        };
        let open = self.book.open.as_ref();
        let waiting = std::mem::take(&mut self.waiters);
        for waiter in waiting {
            let is_open = open == Some(&waiter.deployment);
            let answer = match engine.outcome(&waiter.deployment) {
                Some(outcome) => Some(Ok(Settled::Ended(outcome.clone()))),
                None if !is_open => Some(Err(CommandError::NoSuchDeployment {
                    deployment: waiter.deployment.to_string(),
                })),
                None if waiter.ended_only => None,
                None => engine.hold().map(|hold| Ok(Settled::Held(hold.clone()))),
            };
            match answer {
                // Whoever waits may be gone.
                Some(answer) => drop(waiter.reply.send(answer)),
                None if !waiter.reply.is_closed() => self.waiters.push(waiter),
                None => {}
            }
        }
    }
}
