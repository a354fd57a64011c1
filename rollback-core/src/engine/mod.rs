//! The engine: a pure function from what happened to what follows.
//!
//! ```text
//!  Input ──▶ fold ──▶ decide ⇄ apply ──▶ schedule ──▶ Effect
//!              │         │ facts
//!              └─ state ◀┘            Entry { input, facts } ──▶ journal
//! ```
//!
//! * [`Engine::handle`] folds an input into the state, decides (each decision is a [`Fact`] that is
//!   applied at once), and lines up effects. The caller appends the entry, and only then drains
//!   [`Engine::poll`].
//! * [`Engine::restore`] folds a recorded input and applies the recorded facts without deciding
//!   again: recovery and audit.
//! * Calling `handle` over recorded inputs gives the recorded facts again: replay.
//!
//! Decisions look at levels (what is seen, what is expected), never at events, so that a lost,
//! doubled or late input changes nothing but the time of the next look.

mod apply;
mod config;
mod data;
mod decide;
mod fold;
mod fork;
mod intake;
mod moves;
mod mutant;
mod notices;
mod plan;
mod replay;
mod schedule;
mod state;
mod status;
mod tasks;
mod wake;
mod watch;

pub use config::EngineConfig;
#[cfg(feature = "__mutants")]
#[doc(hidden)]
pub use mutant::Mutant;
#[cfg(not(feature = "__mutants"))]
use mutant::Mutant;
pub(crate) use plan::foreseen;
pub use replay::{Difference, replay};
pub use status::{ActiveStatus, Status, TriggerStatus};
pub use wake::{NextWake, WakeReason};

use std::collections::VecDeque;

use self::state::{InFlight, State};
use crate::{
    entry::{Effect, Entry, Fact, Input, SCHEMA},
    model::{
        Answer, DeploymentId, Epoch, Hold, Outcome, ReadError, Sample, Seq, ServiceId, Timestamp,
    },
};

/// The engine's version, to which deployments are pinned.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// More decisions than this on one input mean that the engine goes in a circle.
const MOST_FACTS: usize = 64;

/// Guards one service.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    now: Timestamp,
    seq: Seq,
    epoch: Epoch,
    state: State,
    in_flight: InFlight,
    effects: VecDeque<Effect>,
    #[cfg(feature = "__mutants")]
    mutant: Option<Mutant>,
}

impl Engine {
    /// An engine that has seen nothing yet.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            now: Timestamp::from_millis(0),
            seq: Seq::default(),
            epoch: Epoch::default(),
            state: State::default(),
            in_flight: InFlight::default(),
            effects: VecDeque::new(),
            #[cfg(feature = "__mutants")]
            mutant: None,
        }
    }

    /// Folds the input into the state, decides, and lines up effects. Pure: the same calls give
    /// the same entries and effects. Time never goes back: an `at` before the last one counts as
    /// the last one.
    ///
    /// Afterwards: append the entry as [`Entry::keep`] says, then drain [`Engine::poll`].
    #[must_use = "the entry must be journaled before the effects are taken"]
    pub fn handle(&mut self, at: Timestamp, mut input: Input) -> Entry {
        let at = at.max(self.now);
        self.now = at;
        only_finite(&mut input);
        let seq = self.seq.next();
        let mut facts = Vec::new();
        if self.is_old_news(&input) {
            self.in_flight.observe = None;
            self.in_flight.idle_look = Some(at);
            input = Input::Woke;
        }
        self.fold(at, &input);
        self.decide_on(at, seq, &input, &mut facts);
        while facts.len() < MOST_FACTS {
            let Some(fact) = self.decide(at) else { break };
            self.take(at, seq, fact, &mut facts);
        }
        let entry = Entry {
            seq,
            epoch: self.epoch,
            at,
            schema: SCHEMA,
            input,
            facts,
        };
        if entry.keep() != crate::entry::Keep::No {
            self.seq = seq;
        }
        self.schedule(at);
        entry
    }

    /// Folds and applies a recorded entry without deciding again and without effects.
    pub fn restore(&mut self, entry: &Entry) {
        self.now = entry.at.max(self.now);
        self.fold(entry.at, &entry.input);
        let mut told = 0;
        for fact in &entry.facts {
            if matches!(fact, Fact::LedgerChanged { .. }) && self.mutant(Mutant::RestoresHalf) {
                continue;
            }
            self.apply(entry.at, entry.seq, fact, &mut told);
        }
        self.seq = entry.seq;
        self.epoch = entry.epoch;
    }

    /// The next thing to do, in order; none when everything was taken.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The service it guards.
    #[must_use]
    pub const fn service(&self) -> &ServiceId {
        &self.config.service
    }

    /// The number of the last journaled entry.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// The lease under which it decides.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How a deployment ended, if it is one of the last few.
    #[must_use]
    pub fn outcome(&self, deployment: &DeploymentId) -> Option<&Outcome> {
        self.state
            .outcomes
            .iter()
            .rev()
            .find(|(id, _)| id == deployment)
            .map(|(_, outcome)| outcome)
    }

    /// The hold of the deployment that is under way.
    #[must_use]
    pub fn hold(&self) -> Option<&Hold> {
        self.state.active.as_ref()?.hold.as_ref()
    }

    /// Applies a decision and keeps it.
    fn take(&mut self, at: Timestamp, seq: Seq, fact: Fact, facts: &mut Vec<Fact>) {
        let mut told = facts.iter().map(notices::told_by).sum();
        self.apply(at, seq, &fact, &mut told);
        if let Fact::Ended { deployment, .. } | Fact::Held { deployment, .. } = &fact {
            self.effects.push_back(Effect::Settled {
                deployment: deployment.clone(),
            });
        }
        facts.push(fact);
    }
}

/// A number that is not finite cannot be journaled, and says nothing.
fn only_finite(input: &mut Input) {
    let Input::Readings { answers } = input else {
        return;
    };
    for answer in answers {
        if let Answer {
            result: Ok(reading),
            ..
        } = answer
        {
            let finite = match &reading.sample {
                Sample::Gauge(value) => value.is_finite(),
                Sample::Exceedances { cuts, .. } => cuts.iter().all(|cut| cut.is_finite()),
                _ => true,
            };
            if !finite {
                answer.result = Err(ReadError::NotANumber);
            }
        }
    }
}
