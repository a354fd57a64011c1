//! Taking a journal over, and coming back after something failed.

use std::{sync::Arc, time::Duration};

use rollback_core::{
    engine::{Engine, VERSION},
    entry::Input,
    model::{Notice, Seq, Severity, Timestamp, duration_text},
    ports::{JournalError, Lease},
};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    caught::{caught, caught_now},
    clock::FUTURE_TOLERANCE,
    drive::{Done, Drive, Fed, State},
    error::{CommandError, StartError, Stopped},
    setup::Setup,
};

/// How many entries are read at once.
const PAGE: usize = 2_048;

/// How long a call of the journal may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// After so many panics in a short time the controller stops instead of going in circles.
const FAULTS: u32 = 5;
const FAULTS_WITHIN: Duration = Duration::from_secs(600);

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// The journal cannot be written: there is no engine, since nothing that it would decide counts.
#[derive(Debug)]
pub(crate) struct Down {
    pub(crate) why: String,
    /// When the journal is tried again.
    pub(crate) next: Timestamp,
    delay: Duration,
    /// What the engine is told once it is back.
    then: Option<Input>,
}

impl Down {
    pub(crate) fn not_started(now: Timestamp) -> Self {
        Self {
            why: "not started yet".to_owned(),
            next: now,
            delay: FIRST_DELAY,
            then: None,
        }
    }
}

/// Why an input could not be dealt with as usual.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Somebody else writes now.
    TakenOver(JournalError),
    /// The journal failed.
    Journal(JournalError),
    /// Our clock is behind the journal's.
    ClockBehind { last: Timestamp, now: Timestamp },
    /// The engine panicked, or a trigger where the engine does not expect it.
    Panicked { input: &'static str, why: String },
}

impl Trouble {
    pub(crate) fn of_journal(error: JournalError) -> Self {
        match error {
            JournalError::Fenced { .. } | JournalError::Leased { .. } => Self::TakenOver(error),
            other => Self::Journal(other),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::TakenOver(error) | Self::Journal(error) => error.to_string(),
            Self::ClockBehind { last, now } => StartError::ClockBehind {
                last: *last,
                now: *now,
            }
            .to_string(),
            Self::Panicked { why, .. } => why.clone(),
        }
    }
}

impl From<Trouble> for StartError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::TakenOver(error) | Trouble::Journal(error) => Self::Journal(error),
            Trouble::ClockBehind { last, now } => Self::ClockBehind { last, now },
            Trouble::Panicked { why, .. } => Self::Faulted { why },
        }
    }
}

impl Drive {
    /// Takes the lease, restores the engine, tells it that it starts, offers the policy.
    pub(crate) async fn recover(&mut self) -> Result<(), Trouble> {
        // Nothing that an engine before this one began reaches this one.
        self.effects = JoinSet::new();
        self.sending = 0;
        let fleet = self.setup.fleet.clone();
        let _turn = match &fleet {
            // The semaphore is never closed.
            Some(fleet) => fleet.restoring().acquire().await.ok(),
            None => None,
        };
        let asked = self.setup.clock.now();
        let lease = acquire(&self.setup, self.setup.lease.ttl)
            .await
            .map_err(Trouble::of_journal)?;
        self.setup.lease.given(asked);
        self.renew_at = asked.after(self.setup.lease.ttl / 3);
        let engine = self.restore(&lease).await?;
        self.state = State::Up(Box::new(engine));
        self.step(Input::Started {
            epoch: lease.epoch,
            owner: Arc::clone(&self.setup.owner),
            engine: Arc::from(VERSION),
        })
        .await?;
        let digest = self.setup.policy.digest();
        if self.book.adopted.as_ref() != Some(&digest) {
            let policy = Arc::clone(&self.setup.policy);
            self.step(Input::PolicyOffered { digest, policy }).await?;
        }
        if let Some(fleet) = &fleet {
            for deployment in &self.book.permitted {
                fleet.resumed(&self.setup.service, deployment, asked);
            }
        }
        self.book.tracker.show();
        self.answer_waiters();
        Ok(())
    }

    async fn restore(&mut self, lease: &Lease) -> Result<Engine, Trouble> {
        self.book.forget();
        let config = self.setup.engine_config();
        let panicked = |why| Trouble::Panicked {
            input: "restore",
            why,
        };
        let mut engine = caught_now(|| Engine::new(config)).map_err(&panicked)?;
        let mut last = Seq::new(0);
        let mut last_at = None;
        loop {
            let page = page(&self.setup, last).await.map_err(Trouble::of_journal)?;
            let Some(newest) = page.last() else { break };
            last = newest.seq;
            last_at = Some(newest.at);
            let full = page.len() == PAGE;
            for entry in &page {
                caught_now(|| engine.restore(entry)).map_err(&panicked)?;
                self.book.follow(entry.at, &entry.facts, false);
            }
            if !full {
                break;
            }
        }
        if last != lease.last {
            let why = format!(
                "it was read up to entry {last}, and its last entry is {}",
                lease.last
            );
            return Err(Trouble::Journal(JournalError::Damaged { why }));
        }
        let now = self.setup.clock.now();
        match last_at {
            Some(last) if last.since(now) > FUTURE_TOLERANCE => {
                Err(Trouble::ClockBehind { last, now })
            }
            _ => Ok(engine),
        }
    }

    /// What follows from trouble with an input.
    pub(crate) async fn suffer(&mut self, trouble: Trouble) -> Result<Fed, Stopped> {
        match trouble {
            Trouble::TakenOver(error) => Err(Stopped::TakenOver(error)),
            Trouble::Journal(error) => {
                let why = error.to_string();
                self.fall(&error, None);
                Ok(Err(CommandError::Unjournaled { why }))
            }
            trouble @ Trouble::ClockBehind { .. } => {
                let why = trouble.words();
                self.fall(&JournalError::Unwritable { why: why.clone() }, None);
                Ok(Err(CommandError::Unjournaled { why }))
            }
            Trouble::Panicked { input, why } => self.after_panic(input, why).await,
        }
    }

    async fn after_panic(&mut self, input: &'static str, why: String) -> Result<Fed, Stopped> {
        tracing::error!(service = %self.setup.service, input, %why, "the engine panicked");
        let now = self.setup.clock.now();
        if now.since(self.faulted_at) > FAULTS_WITHIN {
            self.faults = 0;
        }
        self.faults += 1;
        self.faulted_at = now;
        let stop = |why: String| Stopped::Faulted { why };
        if self.faults > FAULTS {
            let why = format!(
                "{FAULTS} inputs could not be handled within a short time; the last: {why}"
            );
            self.tell_people("stopped", &why);
            return Err(stop(why));
        }
        let told = Input::Faulted {
            input: Arc::from(input),
            why: Arc::from(why.as_str()),
        };
        match self.recover().await {
            Ok(()) => {}
            Err(Trouble::TakenOver(error)) => return Err(Stopped::TakenOver(error)),
            Err(Trouble::Panicked { why, .. }) => {
                self.tell_people("stopped", &why);
                return Err(stop(format!("the engine could not be restored: {why}")));
            }
            Err(trouble) => {
                let why = trouble.words();
                self.fall(&JournalError::Unwritable { why }, Some(told));
                return Ok(Err(CommandError::Faulted {
                    why: trouble.words(),
                }));
            }
        }
        match self.step(told).await {
            Ok(_) => Ok(Err(CommandError::Faulted { why })),
            Err(Trouble::TakenOver(error)) => Err(Stopped::TakenOver(error)),
            Err(Trouble::Panicked { why, .. }) => {
                self.tell_people("stopped", &why);
                Err(stop(why))
            }
            Err(trouble) => {
                let error = JournalError::Unwritable {
                    why: trouble.words(),
                };
                self.fall(&error, None);
                Ok(Err(CommandError::Faulted { why }))
            }
        }
    }

    /// The journal cannot be written: the engine is dropped with all that it decided and began.
    pub(crate) fn fall(&mut self, error: &JournalError, then: Option<Input>) {
        let why = error.to_string();
        tracing::error!(service = %self.setup.service, %why, "held: nothing is done that is not journaled");
        self.effects = JoinSet::new();
        self.sending = 0;
        self.setup.lease.lost();
        self.tell_people("held", &why);
        self.state = State::Down(Box::new(Down {
            why,
            next: self.setup.clock.now().after(FIRST_DELAY),
            delay: FIRST_DELAY,
            then,
        }));
    }

    /// Tries the journal again.
    pub(crate) async fn rise(&mut self, now: Timestamp) -> Result<(), Stopped> {
        let (delay, then) = match &mut self.state {
            State::Down(down) => (down.delay, down.then.take()),
            State::Up(_) => return Ok(()),
        };
        match self.recover().await {
            Ok(()) => {
                tracing::info!(service = %self.setup.service, "the journal can be written again");
                self.tell_people("goes on", "the journal can be written again");
                if let Some(input) = then {
                    // Nobody waits for what comes of it. Not `feed`: a panic in it must not come
                    // back here.
                    if let Err(trouble) = self.step(input).await {
                        return self.end_of(trouble);
                    }
                }
                Ok(())
            }
            Err(Trouble::TakenOver(error)) => Err(Stopped::TakenOver(error)),
            Err(Trouble::Panicked { why, .. }) => {
                self.tell_people("stopped", &why);
                Err(Stopped::Faulted { why })
            }
            Err(trouble) => {
                let delay = (delay * 2).min(LONGEST_DELAY);
                self.effects = JoinSet::new();
                self.sending = 0;
                self.setup.lease.lost();
                self.state = State::Down(Box::new(Down {
                    why: trouble.words(),
                    next: now.after(delay),
                    delay,
                    then,
                }));
                Ok(())
            }
        }
    }

    fn end_of(&mut self, trouble: Trouble) -> Result<(), Stopped> {
        match trouble {
            Trouble::TakenOver(error) => Err(Stopped::TakenOver(error)),
            Trouble::Panicked { why, .. } => Err(Stopped::Faulted { why }),
            other => {
                let why = other.words();
                self.fall(&JournalError::Unwritable { why }, None);
                Ok(())
            }
        }
    }

    /// A direct notice, for what cannot be journaled. Nothing waits for it.
    fn tell_people(&self, state: &str, why: &str) {
        let seq = match &self.state {
            State::Up(engine) => engine.seq(),
            State::Down(_) => Seq::new(0),
        };
        let service = &self.setup.service;
        let notice = Notice {
            at: self.setup.clock.now(),
            severity: if state == "goes on" {
                Severity::Info
            } else {
                Severity::Page
            },
            deployment: self.book.open.clone(),
            subject: format!("{service}: the controller {state} (this notice is unjournaled)"),
            body: format!(
                "{why}\nNothing is changed that is not journaled first: what runs keeps running, and nobody rolls it back until the controller goes on. The journal is tried again at least every {}.",
                duration_text(LONGEST_DELAY)
            ),
        };
        let setup = Arc::clone(&self.setup);
        tokio::spawn(async move { setup.tell_directly(seq, &notice).await });
    }

    /// Renews the lease in the background.
    pub(crate) fn renew(&mut self, now: Timestamp) {
        // If this is not answered before, it is asked again.
        self.renew_at = now.after(self.setup.lease.ttl / 6);
        let setup = Arc::clone(&self.setup);
        self.effects.spawn(async move {
            let result = acquire(&setup, setup.lease.ttl).await;
            Done::Renewed { asked: now, result }
        });
    }

    pub(crate) fn renewed(
        &mut self,
        asked: Timestamp,
        result: Result<Lease, JournalError>,
    ) -> Result<(), Stopped> {
        let State::Up(engine) = &self.state else {
            return Ok(());
        };
        match result.map_err(Trouble::of_journal) {
            Ok(lease) if lease.epoch == engine.epoch() => {
                self.setup.lease.given(asked);
                self.renew_at = asked.after(self.setup.lease.ttl / 3);
                Ok(())
            }
            Ok(_) => {
                // It had ended; the new one has another epoch, which the engine must know.
                let why = "the lease had ended and was taken anew".to_owned();
                self.fall(&JournalError::Unwritable { why }, None);
                Ok(())
            }
            Err(Trouble::TakenOver(error)) => Err(Stopped::TakenOver(error)),
            Err(trouble) => {
                let why = trouble.words();
                tracing::warn!(service = %self.setup.service, %why, "the lease could not be renewed yet");
                Ok(())
            }
        }
    }

    /// Ends the lease, so that another controller need not wait for its end.
    pub(crate) async fn hand_over(&mut self) {
        if matches!(self.state, State::Up(_))
            && let Err(why) = acquire(&self.setup, Duration::ZERO).await
        {
            tracing::warn!(service = %self.setup.service, %why, "the lease was not handed back; it ends by itself");
        }
    }
}

async fn acquire(setup: &Setup, ttl: Duration) -> Result<Lease, JournalError> {
    let asked = setup.journal.acquire(&setup.service, &setup.owner, ttl);
    answered(timeout(PATIENCE, caught(asked)).await)
}

async fn page(setup: &Setup, after: Seq) -> Result<Vec<rollback_core::entry::Entry>, JournalError> {
    let asked = setup.journal.read(&setup.service, after, PAGE);
    answered(timeout(PATIENCE, caught(asked)).await)
}

fn answered<T, E>(
    answer: Result<Result<Result<T, JournalError>, String>, E>,
) -> Result<T, JournalError> {
    match answer {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(JournalError::Unwritable {
            why: format!("its code failed: {panic}"),
        }),
        Err(_) => Err(JournalError::Unwritable {
            why: "no answer within 30 s; look at the disk it is on".to_owned(),
        }),
    }
}
