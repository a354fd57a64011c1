//! The handle of a running controller.

use std::{fmt, sync::Arc};

use rollback_core::{
    engine::Status,
    entry::{Command, Deploy, Fact},
    model::{Actor, DeploymentId, Irreversible, Release, ReleaseId, Seq, ServiceId, Timestamp},
};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::AbortHandle,
};

use crate::{
    book::opened,
    builder::ControllerBuilder,
    deployment::Deployment,
    drive::Letter,
    error::{CommandError, DeployError, ExplainError, Stopped},
    event::Event,
    explain::{Account, Teller},
    setup::Setup,
    shared::Shared,
};

type Mailbox = mpsc::UnboundedSender<Box<Letter>>;

/// Guards one service. Clones are handles of the same controller; when the last one is dropped,
/// it stops where it stands: that is as safe as a crash, and the next controller with the same
/// journal goes on from there.
#[derive(Clone)]
pub struct Controller {
    inner: Arc<Inner>,
}

struct Inner {
    setup: Arc<Setup>,
    shared: Arc<Shared>,
    mailbox: Mailbox,
    task: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("service", &self.inner.setup.service)
            .finish_non_exhaustive()
    }
}

/// How a release is deployed.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct DeployOptions {
    actor: Option<Actor>,
    reason: String,
    override_rejection: bool,
    expedite: bool,
    irreversible: Option<Irreversible>,
}

impl DeployOptions {
    /// As `actor`, for this reason.
    pub fn by(actor: Actor, reason: impl Into<String>) -> Self {
        Self {
            actor: Some(actor),
            reason: reason.into(),
            override_rejection: false,
            expedite: false,
            irreversible: None,
        }
    }

    /// Also if the release was rejected before.
    pub const fn override_rejection(mut self) -> Self {
        self.override_rejection = true;
        self
    }

    /// Also if the service is frozen: a hotfix. Refused without a reason; the reason is kept.
    pub const fn expedite(mut self) -> Self {
        self.expedite = true;
        self
    }

    /// With something that cannot be taken back: then it is held instead of rolled back, and a
    /// person is told what would be lost.
    pub fn irreversible(mut self, irreversible: Irreversible) -> Self {
        self.irreversible = Some(irreversible);
        self
    }
}

impl Controller {
    /// A controller for the service of that name.
    pub fn builder(service: impl Into<String>) -> ControllerBuilder {
        ControllerBuilder::new(service.into())
    }

    pub(crate) fn new(
        setup: Arc<Setup>,
        shared: Arc<Shared>,
        mailbox: Mailbox,
        task: AbortHandle,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                setup,
                shared,
                mailbox,
                task,
            }),
        }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceId {
        &self.inner.setup.service
    }

    /// Moves the service to `release`: keeps its definition, then opens a deployment. A deployment
    /// that is under way is superseded.
    ///
    /// # Errors
    /// [`DeployError`]: refused, or not begun. Nothing was changed on the platform.
    pub async fn deploy(&self, release: Release) -> Result<Deployment, DeployError> {
        self.deploy_with(release, DeployOptions::default()).await
    }

    /// The same with an actor, a reason and an override.
    ///
    /// # Errors
    /// As [`deploy`](Self::deploy).
    pub async fn deploy_with(
        &self,
        release: Release,
        options: DeployOptions,
    ) -> Result<Deployment, DeployError> {
        let setup = &self.inner.setup;
        setup.releases.put(&setup.service, &release).await?;
        let command = Deploy::new(release.id, release.name)
            .overriding(options.override_rejection)
            .expedited(options.expedite)
            .irreversible(options.irreversible)
            .into();
        let actor = options.actor.unwrap_or_else(|| Actor::new(&setup.owner));
        let facts = self.command(actor, &options.reason, command).await;
        let facts = facts.map_err(|error| match error {
            CommandError::Refused(reason) => DeployError::Refused(reason),
            other => DeployError::Command(other),
        })?;
        match opened(&facts) {
            Some(id) => Ok(self.attach(id.clone())),
            // The engine answers a deploy command with one of the two.
            None => Err(DeployError::Command(CommandError::Faulted {
                why: "the command opened no deployment and was not refused".to_owned(),
            })),
        }
    }

    /// A handle on a deployment that is under way or ended lately.
    #[must_use]
    pub fn attach(&self, deployment: DeploymentId) -> Deployment {
        Deployment {
            controller: self.clone(),
            id: deployment,
        }
    }

    /// Stops advancing; the watch goes on, and so does a rollback.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn pause(&self, actor: Actor, reason: &str) -> Result<(), CommandError> {
        self.command(actor, reason, Command::Pause).await.map(drop)
    }

    /// Ends a hold that can end by resuming.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn resume(&self, actor: Actor, reason: &str) -> Result<(), CommandError> {
        self.command(actor, reason, Command::Resume).await.map(drop)
    }

    /// Opens the gate that the rollout waits at.
    ///
    /// # Errors
    /// [`CommandError`]: among others, it waits at no gate of this name.
    pub async fn approve(
        &self,
        actor: Actor,
        reason: &str,
        gate: &str,
    ) -> Result<(), CommandError> {
        let gate = Arc::from(gate);
        self.command(actor, reason, Command::Approve { gate })
            .await
            .map(drop)
    }

    /// Takes the candidate without further evidence.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn promote(&self, actor: Actor, reason: &str) -> Result<(), CommandError> {
        self.command(actor, reason, Command::Promote)
            .await
            .map(drop)
    }

    /// Ends the deployment where it stands; nothing is changed any more.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn abort(&self, actor: Actor, reason: &str) -> Result<(), CommandError> {
        self.command(actor, reason, Command::Abort).await.map(drop)
    }

    /// Returns to a proven release: `to`, or the newest one. While nothing is being deployed this
    /// opens a deployment of its own; the handle is of the deployment that rolls back.
    ///
    /// # Errors
    /// [`CommandError`]; a target that is not proven is refused, whoever asks.
    pub async fn roll_back(
        &self,
        actor: Actor,
        reason: &str,
        to: Option<ReleaseId>,
    ) -> Result<Deployment, CommandError> {
        let facts = self
            .command(actor, reason, Command::RollBack { to })
            .await?;
        let id = opened(&facts).or_else(|| facts.iter().find_map(Fact::deployment));
        match id {
            Some(id) => Ok(self.attach(id.clone())),
            // The engine answers it with an opening, a decision or a refusal.
            None => Err(CommandError::Faulted {
                why: "the command decided nothing and was not refused".to_owned(),
            }),
        }
    }

    /// Has the deployment that is under way watched by the newest policy.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn adopt_policy(&self, actor: Actor, reason: &str) -> Result<(), CommandError> {
        self.command(actor, reason, Command::AdoptPolicy)
            .await
            .map(drop)
    }

    /// Refuses deployments until `until`, or until somebody [unfreezes](Self::unfreeze) them. What
    /// is under way goes on, rollbacks are always allowed, and a hotfix can be
    /// [expedited](DeployOptions::expedite). It is in the journal, so it outlives this process.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn freeze(
        &self,
        actor: Actor,
        why: &str,
        until: Option<Timestamp>,
    ) -> Result<(), CommandError> {
        let command = Command::Freeze { until };
        self.command(actor, why, command).await.map(drop)
    }

    /// Deployments again.
    ///
    /// # Errors
    /// [`CommandError`]; refused if the service is not frozen.
    pub async fn unfreeze(&self, actor: Actor, why: &str) -> Result<(), CommandError> {
        self.command(actor, why, Command::Unfreeze).await.map(drop)
    }

    /// The kill switch. While it is on nothing that changes the world is sent: deployments and
    /// rollbacks of people are refused, what is under way is held, and what would have been decided
    /// is told. It is in the journal, so it outlives this process.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn kill_switch(&self, actor: Actor, why: &str, on: bool) -> Result<(), CommandError> {
        let command = Command::KillSwitch { on };
        self.command(actor, why, command).await.map(drop)
    }

    /// Where the service stands.
    ///
    /// # Errors
    /// [`CommandError`]: the journal cannot be written now, or the controller has stopped.
    pub async fn status(&self) -> Result<Status, CommandError> {
        self.ask(|reply| Letter::Status { reply }).await
    }

    /// What happens from now on, after it was journaled. A listener that lags misses events (and
    /// is told how many); nothing waits for it.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.inner.shared.events.listen()
    }

    /// Why a deployment ended as it did, or how far it is, from the journal.
    ///
    /// # Errors
    /// [`ExplainError`]: the journal cannot be read or does not know it.
    pub async fn explain(&self, deployment: &DeploymentId) -> Result<Account, ExplainError> {
        const PAGE: usize = 1_024;
        let setup = &self.inner.setup;
        let mut teller = Teller::default();
        let mut after = Seq::default();
        loop {
            let page = setup.journal.read(&setup.service, after, PAGE).await?;
            for entry in &page {
                teller.hear(entry, deployment);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.seq,
                _ => break,
            }
        }
        teller
            .account(&setup.service, deployment)
            .ok_or_else(|| ExplainError::NoSuchDeployment {
                service: setup.service.to_string(),
                deployment: deployment.to_string(),
            })
    }

    /// Hands over: waits for the answers to changes that are being sent, begins nothing new, and
    /// gives the lease back, so that the next controller need not wait for its end.
    pub async fn shutdown(self) {
        if self.inner.mailbox.send(Box::new(Letter::ShutDown)).is_ok() {
            self.inner.shared.ended().await;
        }
    }

    /// Returns when the controller stops, with the reason.
    pub async fn stopped(&self) -> Stopped {
        self.inner.shared.ended().await
    }

    /// Gives a command as it stands, for hosts that pass on what others ask for. The facts are what
    /// was decided on it.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn command(
        &self,
        actor: Actor,
        reason: &str,
        command: Command,
    ) -> Result<Vec<Fact>, CommandError> {
        let reason = Arc::from(reason);
        let facts = self
            .ask(|reply| Letter::Command {
                actor,
                reason,
                command,
                reply,
            })
            .await?;
        match facts.iter().find_map(refusal) {
            Some(refused) => Err(refused),
            None => Ok(facts),
        }
    }

    pub(crate) async fn ask<T>(
        &self,
        letter: impl FnOnce(oneshot::Sender<Result<T, CommandError>>) -> Letter,
    ) -> Result<T, CommandError> {
        let stopped = || CommandError::Stopped(self.inner.shared.why());
        let (reply, answer) = oneshot::channel();
        self.inner
            .mailbox
            .send(Box::new(letter(reply)))
            .map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

pub(crate) fn refusal(fact: &Fact) -> Option<CommandError> {
    match fact {
        Fact::Refused { reason, .. } => Some(CommandError::Refused(reason.clone())),
        _ => None,
    }
}
