//! Controllers that come and go: they start from the journal, handle, append, run effects, sleep,
//! and die at any point.

use std::{sync::Arc, time::Duration};

use rollback_core::{
    engine::{Engine, EngineConfig},
    entry::{Effect, Input, Keep},
    model::{Epoch, Timestamp},
    ports::Trigger,
};

use super::{
    coverage::effect_word,
    invariants::Invariant,
    scenario::{OwnRule, SECRET},
    world::{Event, LEASE, MOST_WAKES, World},
};

/// One process that guards the service.
pub(super) struct Controller {
    pub(super) id: u32,
    pub(super) engine: Engine,
    pub(super) epoch: Epoch,
    pub(super) offset: i64,
    pub(super) paused_until: Option<Timestamp>,
    pub(super) mailbox: Vec<Input>,
    pub(super) undrained: Vec<Effect>,
    pub(super) wakes: u32,
    pub(super) woken_at: Timestamp,
    pub(super) next_wake: Option<Timestamp>,
}

/// Where a controller dies while it handles an input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    BeforeAppend,
    AfterAppend,
    AfterEffect(u64),
}

impl World<'_> {
    pub(super) fn start_controller(&mut self) {
        self.epoch = self.epoch.next();
        self.lease_until = self.now.after(LEASE);
        self.next_controller += 1;
        let id = self.next_controller;
        let mut engine = (self.make)(self.config());
        for entry in &self.journal {
            engine.restore(entry);
        }
        let offset = if self.faults > 0 && self.random.chance(300) {
            self.coverage.fault("clock_step");
            i64::try_from(self.random.below(4_000)).unwrap_or(0) - 2_000
        } else {
            0
        };
        self.controllers.push(Controller {
            id,
            engine,
            epoch: self.epoch,
            offset,
            paused_until: None,
            mailbox: Vec::new(),
            undrained: Vec::new(),
            wakes: 0,
            woken_at: self.now,
            next_wake: None,
        });
        let started = Input::Started {
            epoch: self.epoch,
            owner: Arc::from(format!("controller-{id}")),
            engine: Arc::from(rollback_core::engine::VERSION),
        };
        self.handle(id, started);
        if self.known.adopted.is_none() {
            self.offer_policy(0);
        }
    }

    pub(super) fn offer_policy(&mut self, index: usize) {
        self.happen(Event::OfferPolicy(index));
    }

    pub(super) fn config(&self) -> EngineConfig {
        let own: Arc<dyn Trigger> = Arc::new(OwnRule {
            token: SECRET,
            panics_after: (self.scenario.intensity == 8).then_some(7),
        });
        let config = EngineConfig::new(self.scenario.service.clone(), self.model.capabilities())
            .with_channels(self.scenario.channels.clone())
            .with_host_trigger(own);
        if self.scenario.permits {
            config.with_permits()
        } else {
            config
        }
    }

    pub(super) fn index(&self, id: u32) -> Option<usize> {
        self.controllers.iter().position(|c| c.id == id)
    }

    pub(super) fn controller(&mut self, id: u32) -> Option<&mut Controller> {
        self.controllers.iter_mut().find(|c| c.id == id)
    }

    /// The newest controller that is not paused, with its engine.
    pub(super) fn in_charge(&self) -> Option<&Engine> {
        let awake = self.controllers.iter().rev();
        awake
            .filter(|c| c.epoch == self.epoch)
            .map(|c| &c.engine)
            .next()
    }

    pub(super) fn tell_the_one_in_charge(&mut self, input: Input) {
        if let Some(id) = self.controllers.last().map(|c| c.id) {
            self.arrive(id, input);
        }
    }

    pub(super) fn deliver(&mut self, to: u32, travels: Duration, input: Input) {
        let input = Box::new(input);
        self.after(travels, Event::Arrive { to, input });
    }

    pub(super) fn arrive(&mut self, to: u32, input: Input) {
        match self.controller(to) {
            Some(controller) if controller.paused_until.is_some() => {
                controller.mailbox.push(input);
            }
            Some(_) => self.handle(to, input),
            // Its process has ended.
            None => {}
        }
    }

    pub(super) fn resume(&mut self, id: u32) {
        let Some(controller) = self.controller(id) else {
            return;
        };
        if controller.paused_until.take().is_none() {
            return;
        }
        // What it was about to send when it was paused, it sends first.
        let effects = std::mem::take(&mut controller.undrained);
        let mailbox = std::mem::take(&mut controller.mailbox);
        for effect in effects {
            self.execute(id, effect);
        }
        for input in mailbox {
            self.arrive(id, input);
        }
    }

    pub(super) fn wake(&mut self, id: u32) {
        let now = self.now;
        if let Some(controller) = self.controller(id) {
            if controller.woken_at == now {
                controller.wakes += 1;
            } else {
                controller.woken_at = now;
                controller.wakes = 0;
            }
            if controller.wakes > MOST_WAKES {
                let next = controller.engine.next_wake();
                self.violate(
                    Invariant::Termination,
                    format!("it wants to be woken again and again: {next:?}"),
                );
                return;
            }
        }
        self.handle(id, Input::Woke);
    }

    pub(super) fn end_controller(&mut self, id: u32) {
        if let Some(index) = self.index(id) {
            self.controllers.remove(index);
        }
    }

    pub(super) fn crash(&mut self, id: u32, effect: &'static str, point: &'static str) {
        self.coverage.crash(effect, point);
        self.end_controller(id);
        let down = self.random.millis(10, 20_000);
        self.after(down, Event::Restart);
    }

    /// One input through one controller: handle, append, then the effects.
    pub(super) fn handle(&mut self, id: u32, input: Input) {
        if self.violation.is_some() {
            return;
        }
        self.inputs += 1;
        self.coverage.input(self.known.phase(), input.word());
        let crash = self.choose_crash();
        let backwards = if self.faults > 0 && self.random.chance(5) {
            self.coverage.fault("clock_back");
            5_000
        } else {
            0
        };
        let (now, valid) = (self.now, self.epoch);
        let Some(controller) = self.controller(id) else {
            return;
        };
        let at = Timestamp::from_millis(now.as_millis() + controller.offset - backwards);
        let entry = controller.engine.handle(at, input);
        let epoch = controller.epoch;
        if crash == Some(Crash::BeforeAppend) {
            return self.crash(id, "-", "before_append");
        }
        if entry.keep() != Keep::No {
            if epoch != valid {
                // Refused by the journal: somebody else took over. It stops.
                self.coverage.fault("fenced");
                self.end_controller(id);
                return;
            }
            if self.faults > 0 && self.random.chance(2) {
                // The disk is full: what was decided never happened.
                self.coverage.fault("append_failed");
                self.end_controller(id);
                self.after(Duration::from_secs(1), Event::Restart);
                return;
            }
            self.lease_until = self.now.after(LEASE);
            if !self.append(entry, epoch) {
                return;
            }
        }
        if crash == Some(Crash::AfterAppend) {
            if self.restores_the_same(id) {
                self.crash(id, "-", "after_append");
            }
            return;
        }
        self.drain(id, crash);
        self.after_handling(id);
    }

    pub(super) fn drain(&mut self, id: u32, crash: Option<Crash>) {
        let pause = self.faults > 0 && self.random.chance(3 * self.faults);
        if pause && let Some(controller) = self.controller(id) {
            // Stopped between the append and the effects: the machine sleeps.
            while let Some(effect) = controller.engine.poll() {
                controller.undrained.push(effect);
            }
            self.pause(id);
            return;
        }
        let mut count = 0;
        loop {
            let Some(effect) = self.controller(id).and_then(|c| c.engine.poll()) else {
                return;
            };
            let word = effect_word(&effect);
            self.execute(id, effect);
            if crash == Some(Crash::AfterEffect(count)) {
                self.crash(id, word, "after_effect");
                return;
            }
            count += 1;
        }
    }

    pub(super) fn pause(&mut self, id: u32) {
        self.coverage.fault("paused");
        let asleep = self.random.millis(1_000, 60_000);
        let until = self.now.after(asleep);
        if let Some(controller) = self.controller(id) {
            controller.paused_until = Some(until);
        }
        self.after(asleep, Event::Resume(id));
        if self.random.chance(700) {
            let wait = LEASE + self.random.millis(1, 10_000);
            self.after(wait, Event::TakeOver);
        }
    }

    pub(super) fn after_handling(&mut self, id: u32) {
        let Some(controller) = self.controller(id) else {
            return;
        };
        let next = controller.engine.next_wake();
        let offset = controller.offset;
        controller.next_wake =
            next.map(|next| Timestamp::from_millis(next.at.as_millis() - offset));
        let held = controller.engine.hold().is_some();
        let valid = controller.epoch;
        if valid == self.epoch && self.known.open.is_some() && !held && next.is_none() {
            self.violate(
                Invariant::Termination,
                "a deployment is under way and nothing wakes the engine".to_owned(),
            );
        }
        if self.known.open.is_some() != (self.known.phase() != "idle") {
            self.violate(Invariant::Monotone, "the phase is wrong".to_owned());
        }
        self.outcome_stands(id);
        if self.inputs.is_multiple_of(16) {
            self.bystander_is_untouched();
        }
    }

    pub(super) fn choose_crash(&mut self) -> Option<Crash> {
        if self.faults == 0 || !self.random.chance(2 * self.faults) {
            return None;
        }
        Some(match self.random.below(4) {
            0 => Crash::BeforeAppend,
            1 => Crash::AfterAppend,
            _ => Crash::AfterEffect(self.random.below(3)),
        })
    }
}
