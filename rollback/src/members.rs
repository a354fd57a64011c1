//! Orders to every service of a fleet: a freeze and the kill switch, as commands in each journal.

use std::{collections::BTreeMap, sync::Arc};

use rollback_core::{
    entry::{Command, Fact},
    model::{Actor, ServiceId, Timestamp},
};
use tokio::sync::{mpsc::WeakUnboundedSender, oneshot};

use crate::{Fleet, drive::Letter, error::CommandError};

/// Where the commands of a member go; does not keep its controller alive.
pub(crate) type Mailbox = WeakUnboundedSender<Box<Letter>>;

/// The orders that hold for every member, also for those that come later.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) frozen: Option<Given>,
    pub(crate) killed: Option<Given>,
}

/// An order as it was given to the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    by: Actor,
    why: Arc<str>,
    command: Command,
}

impl Given {
    fn new(by: &Actor, why: &str, command: Command) -> Self {
        Self {
            by: by.clone(),
            why: Arc::from(why),
            command,
        }
    }
}

/// The members that did not take an order, each with the reason; all others have it in their
/// journals. A member whose controller is not running here gets it when it joins.
#[must_use = "a member that did not take the order goes on as before"]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unreached(pub BTreeMap<ServiceId, CommandError>);

impl Fleet {
    /// Refuses deployments in every service from now on, until `until` or until
    /// [`unfreeze`](Self::unfreeze). What is under way is watched on, and rolls back if it must.
    pub async fn freeze(&self, by: &Actor, why: &str, until: Option<Timestamp>) -> Unreached {
        let order = Given::new(by, why, Command::Freeze { until });
        self.stand(|standing| standing.frozen = Some(order.clone()));
        self.tell_all(&order).await
    }

    /// Deployments again, in every service that is frozen.
    pub async fn unfreeze(&self, by: &Actor, why: &str) -> Unreached {
        self.stand(|standing| standing.frozen = None);
        self.tell_all(&Given::new(by, why, Command::Unfreeze)).await
    }

    /// The kill switch of every service: while it is on nothing that changes the world is sent.
    /// Everything is still watched; what would have been decided is told.
    pub async fn kill_switch(&self, by: &Actor, why: &str, on: bool) -> Unreached {
        let order = Given::new(by, why, Command::KillSwitch { on });
        self.stand(|standing| standing.killed = on.then(|| order.clone()));
        self.tell_all(&order).await
    }

    /// A controller joins; it takes the orders that stand.
    pub(crate) async fn join(
        &self,
        service: &ServiceId,
        mailbox: Mailbox,
    ) -> Result<(), CommandError> {
        let Standing { frozen, killed } = self.joined(service, mailbox.clone());
        for order in [frozen, killed].into_iter().flatten() {
            ask(&mailbox, &order).answer(&order).await?;
        }
        Ok(())
    }

    async fn tell_all(&self, order: &Given) -> Unreached {
        let asked: Vec<_> = self
            .members()
            .into_iter()
            .map(|(service, mailbox)| (service, ask(&mailbox, order)))
            .collect();
        let mut unreached = BTreeMap::new();
        for (service, asked) in asked {
            if let Err(error) = asked.answer(order).await {
                unreached.insert(service, error);
            }
        }
        Unreached(unreached)
    }
}

struct Asked(Option<oneshot::Receiver<Result<Vec<Fact>, CommandError>>>);

fn ask(mailbox: &Mailbox, order: &Given) -> Asked {
    let (reply, answer) = oneshot::channel();
    let letter = Letter::Command {
        actor: order.by.clone(),
        reason: Arc::clone(&order.why),
        command: order.command.clone(),
        reply,
    };
    let sent = mailbox
        .upgrade()
        .is_some_and(|mailbox| mailbox.send(Box::new(letter)).is_ok());
    Asked(sent.then_some(answer))
}

impl Asked {
    /// A member whose controller is gone needs nothing; one that is not frozen needs no unfreezing.
    async fn answer(self, order: &Given) -> Result<(), CommandError> {
        let Some(answer) = self.0 else { return Ok(()) };
        let Ok(answer) = answer.await else {
            return Ok(());
        };
        let refused = answer?.iter().find_map(crate::controller::refusal);
        match refused {
            Some(refused) if order.command != Command::Unfreeze => Err(refused),
            _ => Ok(()),
        }
    }
}
