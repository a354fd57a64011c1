//! The loop of one service: one mailbox, and the order of appends is the order of events.
//!
//! Handle an input; append the entry; only then take the effects and run them; feed the results
//! back; sleep until the engine wants to be woken.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use rollback_core::{
    engine::{Engine, Status},
    entry::{Command, Effect, Entry, Fact, Input, Keep},
    model::{Actor, DeploymentId, Outcome, Timestamp},
    policy::Foreign,
    ports::{Batch, JournalError, Lease},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

use crate::{
    book::Book,
    caught::caught_now,
    error::{CommandError, Stopped},
    event::Event,
    metrics::Tracker,
    perform::perform,
    recover::{Down, Trouble},
    setup::Setup,
    shared::Shared,
    waiters::Waiter,
    wording::Names,
};

/// A hint of the platform makes us look, and not more often than this.
const BETWEEN_HINTS: Duration = Duration::from_millis(100);

/// An engine that wants to be woken at once, again and again, is not obeyed faster than this.
const BETWEEN_WAKES: Duration = Duration::from_millis(1);

/// What the host asks of the loop.
#[derive(Debug)]
pub(crate) enum Letter {
    Command {
        actor: Actor,
        reason: Arc<str>,
        command: Command,
        reply: oneshot::Sender<Result<Vec<Fact>, CommandError>>,
    },
    Status {
        reply: oneshot::Sender<Result<Status, CommandError>>,
    },
    Outcome {
        deployment: DeploymentId,
        reply: oneshot::Sender<Result<Option<Outcome>, CommandError>>,
    },
    Settled(Waiter),
    ShutDown,
}

/// What came of something that ran beside the loop.
pub(crate) enum Done {
    Performed {
        input: Option<Input>,
        sent: bool,
    },
    Renewed {
        asked: Timestamp,
        result: Result<Lease, JournalError>,
    },
}

pub(crate) enum State {
    Up(Box<Engine>),
    Down(Box<Down>),
}

type Hint = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Drive {
    pub(crate) setup: Arc<Setup>,
    pub(crate) shared: Arc<Shared>,
    mailbox: mpsc::UnboundedReceiver<Box<Letter>>,
    pub(crate) effects: JoinSet<Done>,
    /// How many changes are being sent.
    pub(crate) sending: usize,
    pub(crate) state: State,
    pub(crate) book: Book,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) renew_at: Timestamp,
    woke: Timestamp,
    hint: Option<Hint>,
    /// Inputs that caught the engine in a panic, lately.
    pub(crate) faults: u32,
    pub(crate) faulted_at: Timestamp,
    closing: bool,
}

/// What came of an input, for whoever gave it.
pub(crate) type Fed = Result<Vec<Fact>, CommandError>;

enum Next {
    Letter(Option<Box<Letter>>),
    Done(Done),
    Time,
    Look,
}

impl Drive {
    pub(crate) fn new(
        setup: Arc<Setup>,
        shared: Arc<Shared>,
        mailbox: mpsc::UnboundedReceiver<Box<Letter>>,
    ) -> Self {
        let tracker = Tracker::new(
            setup.metrics.clone(),
            setup.service.clone(),
            setup.policy.strategy.name(),
            setup.policy.digest(),
        );
        let now = setup.clock.now();
        Self {
            state: State::Down(Box::new(Down::not_started(now))),
            book: Book::new(tracker, Names::default()),
            setup,
            shared,
            mailbox,
            effects: JoinSet::new(),
            sending: 0,
            waiters: Vec::new(),
            renew_at: now,
            woke: Timestamp::from_millis(i64::MIN),
            hint: None,
            faults: 0,
            faulted_at: now,
            closing: false,
        }
    }

    /// Runs until the host shuts it down or somebody else takes over.
    pub(crate) async fn run(mut self) {
        let stopped = loop {
            if let Err(stopped) = self.turn().await {
                break stopped;
            }
        };
        // From here on nothing is sent: what was under way is in doubt for whoever comes next.
        self.setup.lease.lost();
        self.effects = JoinSet::new();
        if stopped == Stopped::ShutDown {
            tracing::info!(service = %self.setup.service, "shut down");
        } else {
            tracing::error!(service = %self.setup.service, "{stopped}");
        }
        self.shared.stopped(stopped);
    }

    async fn turn(&mut self) -> Result<(), Stopped> {
        match self.next().await {
            Next::Letter(None) => Err(Stopped::Dropped),
            Next::Letter(Some(letter)) => self.read(*letter).await,
            Next::Done(done) => self.done(done).await,
            Next::Look => {
                self.hint = None;
                // Nobody waits for what comes of it.
                let _ = self.feed(Input::Hinted).await?;
                Ok(())
            }
            Next::Time => self.time().await,
        }
    }

    async fn next(&mut self) -> Next {
        let at = match &self.state {
            State::Up(engine) => {
                let wake = engine.next_wake();
                let wake = wake.map(|wake| wake.at.max(self.woke.after(BETWEEN_WAKES)));
                wake.map_or(self.renew_at, |wake| wake.min(self.renew_at))
            }
            State::Down(down) => down.next,
        };
        self.listen();
        let Self {
            mailbox,
            effects,
            hint,
            setup,
            ..
        } = self;
        tokio::select! {
            biased;
            letter = mailbox.recv() => Next::Letter(letter),
            Some(done) = effects.join_next(), if !effects.is_empty() => match done {
                Ok(done) => Next::Done(done),
                // Adapters' panics are caught where they are called, and nothing is aborted singly.
                Err(error) => {
                    tracing::error!(service = %setup.service, %error, "an effect was lost");
                    Next::Done(Done::Performed { input: None, sent: false })
                }
            },
            () = setup.clock.reached(at) => Next::Time,
            () = hinted(hint) => Next::Look,
        }
    }

    /// Listens to the platform's hints while a deployment is under way, or what others deploy is
    /// taken into care.
    fn listen(&mut self) {
        let matters = self.book.open.is_some() || self.setup.policy.foreign != Foreign::Ignore;
        let wanted = matters && matches!(self.state, State::Up(_));
        if !wanted {
            self.hint = None;
        } else if self.hint.is_none() {
            let setup = Arc::clone(&self.setup);
            let not_before = setup.clock.now().after(BETWEEN_HINTS);
            self.hint = Some(Box::pin(async move {
                let changed = crate::caught::caught(setup.deployer.changed(&setup.service)).await;
                if changed.is_err() {
                    // A hint that panics is no hint; polling goes on.
                    std::future::pending::<()>().await;
                }
                setup.clock.reached(not_before).await;
            }));
        }
    }

    async fn time(&mut self) -> Result<(), Stopped> {
        let now = self.setup.clock.now();
        if let State::Down(_) = self.state {
            return self.rise(now).await;
        }
        if now >= self.renew_at {
            if !self.setup.lease.is_ours(now) {
                let why = "the lease ended before it could be renewed".to_owned();
                self.fall(&JournalError::Unwritable { why }, None);
                return Ok(());
            }
            self.renew(now);
        }
        if let State::Up(engine) = &self.state
            && engine.next_wake().is_some_and(|wake| wake.at <= now)
        {
            self.woke = now;
            // Nobody waits for what comes of it.
            let _ = self.feed(Input::Woke).await?;
        }
        Ok(())
    }

    async fn done(&mut self, done: Done) -> Result<(), Stopped> {
        match done {
            Done::Performed { input, sent } => {
                self.sending = self.sending.saturating_sub(usize::from(sent));
                if let Some(input) = input {
                    // Nobody waits for what comes of it.
                    let _ = self.feed(input).await?;
                }
                Ok(())
            }
            Done::Renewed { asked, result } => self.renewed(asked, result),
        }
    }

    async fn read(&mut self, letter: Letter) -> Result<(), Stopped> {
        match letter {
            Letter::Command {
                actor,
                reason,
                command,
                reply,
            } => {
                let input = Input::Command {
                    actor,
                    reason,
                    command,
                };
                let fed = self.feed(input).await;
                // Whoever asked may be gone.
                let _ = reply.send(match &fed {
                    Ok(fed) => fed.clone(),
                    Err(stopped) => Err(CommandError::Stopped(stopped.clone())),
                });
                fed.map(|_| ())
            }
            Letter::Status { reply } => {
                let _ = reply.send(self.up().map(Engine::status));
                Ok(())
            }
            Letter::Outcome { deployment, reply } => {
                let outcome = self.up().map(|engine| engine.outcome(&deployment).cloned());
                let _ = reply.send(outcome);
                Ok(())
            }
            Letter::Settled(waiter) => {
                self.waiters.push(waiter);
                self.answer_waiters();
                Ok(())
            }
            Letter::ShutDown => self.shut_down().await,
        }
    }

    fn up(&self) -> Result<&Engine, CommandError> {
        match &self.state {
            State::Up(engine) => Ok(engine),
            State::Down(down) => Err(CommandError::Unjournaled {
                why: down.why.clone(),
            }),
        }
    }

    /// Hands the input to the engine, whatever it takes: a panic or a journal that fails is dealt
    /// with here.
    pub(crate) async fn feed(&mut self, input: Input) -> Result<Fed, Stopped> {
        if let Err(down) = self.up() {
            return Ok(Err(down));
        }
        match self.step(input).await {
            Ok(facts) => Ok(Ok(facts)),
            Err(trouble) => self.suffer(trouble).await,
        }
    }

    /// The five things a driver does with one input, but the waiting.
    pub(crate) async fn step(&mut self, input: Input) -> Result<Vec<Fact>, Trouble> {
        let at = self.setup.clock.now();
        let word = input.word();
        let State::Up(engine) = &mut self.state else {
            return Ok(Vec::new());
        };
        let handled = caught_now(|| engine.handle(at, input));
        let entry = handled.map_err(|why| Trouble::Panicked { input: word, why })?;
        let facts = self.keep(entry).await?;
        let State::Up(engine) = &mut self.state else {
            return Ok(facts);
        };
        let mut effects = Vec::new();
        while let Some(effect) = engine.poll() {
            effects.push(effect);
        }
        for effect in effects {
            self.spawn(effect);
        }
        Ok(facts)
    }

    /// Appends the entry; afterwards its facts hold, and are told.
    async fn keep(&mut self, entry: Entry) -> Result<Vec<Fact>, Trouble> {
        let Keep::Append(durability) = entry.keep() else {
            return Ok(entry.facts);
        };
        let heard = self.shared.events.heard()
            || self.setup.fleet.as_ref().is_some_and(crate::Fleet::heard);
        let (at, facts, told) = (entry.at, entry.facts.clone(), heard.then(|| entry.clone()));
        let batch = Batch {
            service: self.setup.service.clone(),
            epoch: entry.epoch,
            entries: vec![entry],
        };
        let began = Instant::now();
        let appended = self.setup.appends.append(batch, durability).await;
        self.setup
            .metrics
            .appended(began.elapsed(), appended.is_ok());
        appended.map_err(Trouble::of_journal)?;
        self.book.follow(at, &facts, true);
        if let Some(entry) = told {
            self.tell(&entry);
        }
        self.settle(&facts);
        Ok(facts)
    }

    fn tell(&self, entry: &Entry) {
        let open = self.book.open.as_ref();
        for event in Event::of(entry, &self.setup.service, open, &self.book.names) {
            let event = Arc::new(event);
            self.shared.events.tell(&event);
            if let Some(fleet) = &self.setup.fleet {
                fleet.tell(&event);
            }
        }
    }

    fn spawn(&mut self, effect: Effect) {
        if self.closing || matches!(effect, Effect::Settled { .. }) {
            return;
        }
        let sent = effect.changes_the_world();
        self.sending += usize::from(sent);
        let setup = Arc::clone(&self.setup);
        self.effects.spawn(async move {
            let input = perform(setup, effect).await;
            Done::Performed { input, sent }
        });
    }

    /// Waits for the answers to changes that are being sent, then hands the lease back.
    async fn shut_down(&mut self) -> Result<(), Stopped> {
        self.closing = true;
        let patience = self.setup.patience();
        let until = Instant::now() + patience;
        while self.sending > 0 && matches!(self.state, State::Up(_)) {
            match tokio::time::timeout_at(until, self.effects.join_next()).await {
                Ok(Some(Ok(done @ Done::Performed { sent: true, .. }))) => self.done(done).await?,
                // Looks and reads matter to nobody any more.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.hand_over().await;
        Err(Stopped::ShutDown)
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.setup.lease.lost();
        // The first reason stands, if there is one.
        self.shared.stopped(Stopped::Dropped);
        if let Some(fleet) = &self.setup.fleet {
            fleet.gone(&self.setup.service);
        }
    }
}

async fn hinted(hint: &mut Option<Hint>) {
    match hint {
        Some(hint) => hint.await,
        None => std::future::pending().await,
    }
}
