//! The simulated world: one virtual clock, one platform, one journal, controllers that come and go.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollback_core::{
    engine::{Engine, EngineConfig},
    entry::{ChangeReport, Command, Effect, Entry, Fact, Input, Keep},
    model::{
        Actor, ChangeError, ChangeRequest, Epoch, HoldExit, HoldReason, Observation, Outcome,
        ReadRequest, ReleaseId, Timestamp, Wanted,
    },
    policy::Policy,
    ports::{Delivered, NotifyError, PermitDecision, Trigger},
};

use super::{
    MakeEngine,
    chronicle::Chronicle,
    coverage::{Coverage, effect_word},
    invariants::{self, Invariant, Sightline, Violation, What},
    metrics::Metrics,
    random::Random,
    scenario::{OwnRule, SECRET, Scenario},
};
use crate::{NOON, platform::Model};

/// How long a controller's lease lasts after its last sign of life: longer than any of its
/// changes may wait to be sent.
const LEASE: Duration = Duration::from_secs(15);
/// More wakes than this at one moment mean that the engine spins.
const MOST_WAKES: u32 = 30;
/// A simulation that goes on for longer does not end.
const MOST_INPUTS: u64 = 40_000;

/// Everything there is.
pub(super) struct World<'a> {
    make: MakeEngine<'a>,
    pub(super) scenario: Scenario,
    pub(super) random: Random,
    pub(super) now: Timestamp,
    pub(super) model: Model,
    metrics: Metrics,
    events: BTreeMap<(Timestamp, u64), Event>,
    next_event: u64,
    pub(super) journal: Vec<Entry>,
    epoch: Epoch,
    lease_until: Timestamp,
    controllers: Vec<Controller>,
    next_controller: u32,
    pub(super) known: Chronicle,
    pub(super) coverage: Coverage,
    pub(super) inputs: u64,
    pub(super) faults: u64,
    pub(super) violation: Option<Violation>,
    bystander: Observation,
}

/// One process that guards the service.
struct Controller {
    id: u32,
    engine: Engine,
    epoch: Epoch,
    offset: i64,
    paused_until: Option<Timestamp>,
    mailbox: Vec<Input>,
    undrained: Vec<Effect>,
    wakes: u32,
    woken_at: Timestamp,
    next_wake: Option<Timestamp>,
}

enum Event {
    Arrive {
        to: u32,
        input: Box<Input>,
    },
    Land {
        request: Box<ChangeRequest>,
        answer: Option<(u32, Duration, bool)>,
    },
    Look {
        to: u32,
        asked_at: Timestamp,
        travels: Duration,
        twice: bool,
    },
    Read {
        to: u32,
        requests: Vec<ReadRequest>,
        travels: Duration,
        twice: bool,
    },
    Resume(u32),
    Restart,
    TakeOver,
    Command(Command),
    OfferPolicy(usize),
    Foreign(ReleaseId),
}

/// Where a controller dies while it handles an input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crash {
    BeforeAppend,
    AfterAppend,
    AfterEffect(u64),
}

impl<'a> World<'a> {
    pub(super) fn new(make: MakeEngine<'a>, scenario: Scenario, mut random: Random) -> Self {
        let mut model = Model::new(scenario.temper, NOON).with_load(100.0);
        for (release, kind, behaviour) in &scenario.releases {
            if *kind != super::scenario::Kind::Missing {
                model.add_release(release.clone(), behaviour.clone());
            }
        }
        let first = super::scenario::release_id(1);
        model.start_service(&scenario.service, &first);
        model.start_service(&scenario.bystander, &first);
        let bystander = model
            .truth(&scenario.bystander)
            .unwrap_or_else(|_| Observation::new(Wanted::nothing(), []));
        let faults = scenario.intensity;
        let metrics = Metrics::new(scenario.cumulative, random.next());
        let mut world = Self {
            make,
            scenario,
            random,
            now: NOON,
            model,
            metrics,
            events: BTreeMap::new(),
            next_event: 0,
            journal: Vec::new(),
            epoch: Epoch::default(),
            lease_until: NOON,
            controllers: Vec::new(),
            next_controller: 0,
            known: Chronicle::default(),
            coverage: Coverage::default(),
            inputs: 0,
            faults,
            violation: None,
            bystander,
        };
        world.start_controller();
        world
    }

    // Time.

    /// Lets everything happen up to `until`.
    pub(super) fn run(&mut self, until: Timestamp) {
        while self.violation.is_none() {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let wake = self
                .controllers
                .iter()
                .filter(|controller| controller.paused_until.is_none())
                .filter_map(|controller| Some((controller.next_wake?, controller.id)))
                .min();
            let next = match (event, wake) {
                (Some(event), Some((wake, _))) => event.min(wake.max(self.now)),
                (Some(event), None) => event,
                (None, Some((wake, _))) => wake.max(self.now),
                (None, None) => until.after(Duration::from_millis(1)),
            };
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            self.model.advance(self.now);
            if event == Some(next)
                && let Some((_, event)) = self.events.pop_first()
            {
                self.happen(event);
            } else if let Some((_, id)) = wake {
                self.wake(id);
            }
            if self.inputs > MOST_INPUTS {
                self.violate(
                    Invariant::Termination,
                    format!("{MOST_INPUTS} inputs, and no end"),
                );
            }
        }
        self.now = self.now.max(until);
        self.model.advance(self.now);
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.next_event += 1;
        let key = (self.now.after(delay), self.next_event);
        self.events.insert(key, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { to, input } => self.arrive(to, *input),
            Event::Land { request, answer } => {
                let result = self.model.apply(&self.scenario.service, &request);
                if let Some((to, travels, lost)) = answer {
                    let result = if lost {
                        Err(ChangeError::maybe_sent("no answer"))
                    } else {
                        result
                    };
                    let report = ChangeReport {
                        id: request.id.clone(),
                        result,
                    };
                    self.deliver(to, travels, Input::Reported(report));
                }
            }
            Event::Look {
                to,
                asked_at,
                travels,
                twice,
            } => {
                let result = self.model.observe(&self.scenario.service);
                let input = Input::Observed { asked_at, result };
                if twice {
                    let late = travels + self.random.millis(1, 8_000);
                    self.deliver(to, late, input.clone());
                }
                self.deliver(to, travels, input);
            }
            Event::Read {
                to,
                requests,
                travels,
                twice,
            } => {
                let faults = self.faults;
                let answers = self.metrics.read(&self.model, &requests, faults);
                let input = Input::Readings { answers };
                if twice {
                    let late = travels + self.random.millis(1, 6_000);
                    self.deliver(to, late, input.clone());
                }
                self.deliver(to, travels, input);
            }
            Event::Resume(id) => self.resume(id),
            Event::Restart => {
                if self.controllers.is_empty() {
                    self.start_controller();
                }
            }
            Event::TakeOver => {
                if self.now >= self.lease_until || self.controllers.is_empty() {
                    self.coverage.fault("take_over");
                    self.start_controller();
                } else {
                    let wait = self.lease_until.since(self.now);
                    self.after(wait, Event::TakeOver);
                }
            }
            Event::Command(command) => {
                let input = Input::Command {
                    actor: Actor::new("somebody"),
                    reason: Arc::from("the simulation wants it"),
                    command,
                };
                self.to_the_one_in_charge(input);
            }
            Event::OfferPolicy(index) => {
                if let Some(policy) = self.scenario.policies.get(index).cloned() {
                    let input = Input::PolicyOffered {
                        digest: policy.digest(),
                        policy,
                    };
                    self.to_the_one_in_charge(input);
                }
            }
            Event::Foreign(release) => {
                self.coverage.fault("somebody_else");
                let service = self.scenario.service.clone();
                self.model.foreign_change(&service, Wanted::only(release));
            }
        }
    }

    // Controllers.

    fn start_controller(&mut self) {
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

    fn index(&self, id: u32) -> Option<usize> {
        self.controllers.iter().position(|c| c.id == id)
    }

    fn controller(&mut self, id: u32) -> Option<&mut Controller> {
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

    fn to_the_one_in_charge(&mut self, input: Input) {
        if let Some(id) = self.controllers.last().map(|c| c.id) {
            self.arrive(id, input);
        }
    }

    fn deliver(&mut self, to: u32, travels: Duration, input: Input) {
        let input = Box::new(input);
        self.after(travels, Event::Arrive { to, input });
    }

    fn arrive(&mut self, to: u32, input: Input) {
        match self.controller(to) {
            Some(controller) if controller.paused_until.is_some() => {
                controller.mailbox.push(input);
            }
            Some(_) => self.handle(to, input),
            // Its process has ended.
            None => {}
        }
    }

    fn resume(&mut self, id: u32) {
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

    fn wake(&mut self, id: u32) {
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

    fn end_controller(&mut self, id: u32) {
        if let Some(index) = self.index(id) {
            self.controllers.remove(index);
        }
    }

    fn crash(&mut self, id: u32, effect: &'static str, point: &'static str) {
        self.coverage.crash(effect, point);
        self.end_controller(id);
        let down = self.random.millis(10, 20_000);
        self.after(down, Event::Restart);
    }

    /// One input through one controller: handle, append, then the effects.
    fn handle(&mut self, id: u32, input: Input) {
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

    fn append(&mut self, entry: Entry, epoch: Epoch) -> bool {
        if entry.epoch != epoch {
            self.violate(
                Invariant::Fenced,
                format!(
                    "entry {} says epoch {} under {epoch}",
                    entry.seq, entry.epoch
                ),
            );
            return false;
        }
        let next = self.journal.last().map_or(1, |last| last.seq.get() + 1);
        if entry.seq.get() != next {
            self.violate(
                Invariant::Determinism,
                format!("entry {} is number {next} of the journal", entry.seq),
            );
            return false;
        }
        let last = self.known.last.map(|(_, _, at)| at).unwrap_or_default();
        if entry.at < last {
            self.violate(
                Invariant::Determinism,
                format!("time went back to {}", entry.at),
            );
            return false;
        }
        self.known.take_input(&entry);
        for fact in &entry.facts {
            let sight = Sightline {
                known: &self.known,
                entry: Some(&entry),
                epoch: self.epoch,
                scenario: &self.scenario,
                what: What::Fact(fact),
            };
            if let Err(violation) = invariants::check(&sight) {
                self.violation.get_or_insert(violation);
                break;
            }
            match fact {
                Fact::Ended { outcome, .. } => self.coverage.outcome(outcome),
                Fact::Held { reason, .. } => self.coverage.hold(hold_word(reason)),
                _ => {}
            }
            self.known.take_fact(&entry, fact);
        }
        self.check(Some(&entry), What::Entry);
        self.journal.push(entry);
        self.violation.is_none()
    }

    fn check(&mut self, entry: Option<&Entry>, what: What<'_>) {
        let sight = Sightline {
            known: &self.known,
            entry,
            epoch: self.epoch,
            scenario: &self.scenario,
            what,
        };
        if let Err(violation) = invariants::check(&sight) {
            self.violation.get_or_insert(violation);
        }
    }

    fn drain(&mut self, id: u32, crash: Option<Crash>) {
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

    fn pause(&mut self, id: u32) {
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

    fn after_handling(&mut self, id: u32) {
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

    fn outcome_stands(&mut self, id: u32) {
        let Some(last) = self.known.last_ended.clone() else {
            return;
        };
        let said = self
            .index(id)
            .and_then(|index| self.controllers.get(index))
            .filter(|controller| controller.epoch == self.epoch)
            .map(|controller| controller.engine.outcome(&last).cloned());
        if let Some(said) = said
            && said.as_ref() != self.known.ended.get(&last)
        {
            let what = format!("{last} ended otherwise before: now {said:?}");
            self.violate(Invariant::Monotone, what);
        }
    }

    fn bystander_is_untouched(&mut self) {
        let Ok(seen) = self.model.truth(&self.scenario.bystander) else {
            return;
        };
        if seen.wanted != self.bystander.wanted || seen.etag != self.bystander.etag {
            self.violate(
                Invariant::Bystander,
                format!("another service became {}", seen.wanted),
            );
        }
    }

    /// A value that is restored from the journal says the same as the one that dies.
    fn restores_the_same(&mut self, id: u32) -> bool {
        let Some(index) = self.index(id) else {
            return true;
        };
        let mut restored = (self.make)(self.config());
        for entry in &self.journal {
            restored.restore(entry);
        }
        let Some(controller) = self.controllers.get(index) else {
            return true;
        };
        let (live, restored) = (controller.engine.status(), restored.status());
        if live.at == restored.at && live != restored {
            let text = |status| serde_json::to_string(status).unwrap_or_default();
            let what = format!(
                "restored otherwise:\n    live     {}\n    restored {}",
                text(&live),
                text(&restored)
            );
            self.violate(Invariant::Determinism, what);
            return false;
        }
        true
    }

    fn choose_crash(&mut self) -> Option<Crash> {
        if self.faults == 0 || !self.random.chance(2 * self.faults) {
            return None;
        }
        Some(match self.random.below(4) {
            0 => Crash::BeforeAppend,
            1 => Crash::AfterAppend,
            _ => Crash::AfterEffect(self.random.below(3)),
        })
    }

    pub(super) fn violate(&mut self, invariant: Invariant, what: String) {
        self.violation
            .get_or_insert_with(|| Violation::new(invariant, what));
    }

    // Effects.

    fn fault(&mut self, in_thousand: u64, name: &'static str) -> bool {
        let hit = self.faults > 0 && self.random.chance(in_thousand * self.faults);
        if hit {
            self.coverage.fault(name);
        }
        hit
    }

    fn latency(&mut self) -> Duration {
        if self.fault(15, "late") {
            return self.random.millis(1_000, 30_000);
        }
        self.random.millis(5, 120)
    }

    fn execute(&mut self, id: u32, effect: Effect) {
        match effect {
            Effect::Apply(request) => self.send(id, *request),
            Effect::Observe { asked_at } => {
                if self.fault(10, "look_lost") {
                    return;
                }
                let travels = self.latency();
                if self.fault(20, "look_failed") {
                    let result = Err(ChangeError::not_sent("connection refused"));
                    self.deliver(id, travels, Input::Observed { asked_at, result });
                    return;
                }
                let twice = self.fault(10, "look_doubled");
                let there = self.random.millis(1, 50);
                let event = Event::Look {
                    to: id,
                    asked_at,
                    travels,
                    twice,
                };
                self.after(there, event);
            }
            Effect::Read(reads) => {
                if self.fault(10, "read_lost") {
                    return;
                }
                let twice = self.fault(10, "read_doubled");
                let (there, travels) = (self.random.millis(1, 50), self.latency());
                let event = Event::Read {
                    to: id,
                    requests: reads.requests,
                    travels,
                    twice,
                };
                self.after(there, event);
            }
            Effect::Check { release } => {
                if self.fault(20, "check_lost") {
                    return;
                }
                let result = if self.fault(40, "check_failed") {
                    Err(ChangeError::not_sent("connection refused"))
                } else {
                    self.model.check(&self.scenario.service, &release)
                };
                let travels = self.latency();
                self.deliver(id, travels, Input::Checked { release, result });
            }
            Effect::RequestPermit(request) => {
                if self.fault(40, "permit_lost") {
                    return;
                }
                let decision = if self.fault(60, "permit_denied") {
                    PermitDecision::Denied {
                        why: Arc::from("too many services roll back at once"),
                    }
                } else {
                    PermitDecision::Granted
                };
                let travels = self.latency();
                let input = Input::Permit {
                    deployment: request.deployment,
                    attempt: request.attempt,
                    decision,
                };
                if self.fault(20, "permit_doubled") {
                    self.deliver(id, travels * 2, input.clone());
                }
                self.deliver(id, travels, input);
            }
            Effect::CollectLastWords { release, .. } => {
                if self.fault(40, "words_lost") {
                    return;
                }
                let lines = vec![format!("{release}: fatal")];
                let travels = self.latency();
                self.deliver(id, travels, Input::LastWords { release, lines });
            }
            Effect::Notify { key, notice } => {
                let epoch = self.controller(id).map(|c| c.epoch).unwrap_or_default();
                self.check(
                    None,
                    What::Notify {
                        epoch,
                        key: &key,
                        notice: &notice,
                    },
                );
                self.known.notices.insert(key.clone(), notice);
                if self.fault(20, "notice_lost") {
                    return;
                }
                let result = if self.fault(40, "notice_failed") {
                    Err(NotifyError::Temporary {
                        why: "timed out".to_owned(),
                        retry_after_ms: None,
                    })
                } else if self.fault(5, "notice_refused") {
                    Err(NotifyError::Permanent {
                        why: "no such channel".to_owned(),
                    })
                } else {
                    Ok(Delivered::default())
                };
                let travels = self.latency();
                self.deliver(id, travels, Input::Notified { key, result });
            }
            _ => {}
        }
    }

    fn send(&mut self, id: u32, request: ChangeRequest) {
        let now = self.now;
        let Some(controller) = self.controller(id) else {
            return;
        };
        let (epoch, offset) = (controller.epoch, controller.offset);
        let at = Timestamp::from_millis(now.as_millis() + offset);
        let late = at > request.not_after;
        self.check(
            None,
            What::Send {
                request: &request,
                epoch,
                at,
                late,
            },
        );
        if let Some(intent) = self.known.intents.get_mut(&request.id) {
            intent.sent += 1;
        }
        let travels = self.latency();
        let report = |result| {
            let id = request.id.clone();
            Input::Reported(ChangeReport { id, result })
        };
        if late {
            self.coverage.fault("too_late_to_send");
            let late = report(Err(ChangeError::not_sent("too late")));
            return self.deliver(id, travels, late);
        }
        if self.fault(20, "not_sent") {
            let error = ChangeError::NotSent {
                why: "connection refused".to_owned(),
                retry_after_ms: self.random.chance(500).then_some(1_500),
            };
            return self.deliver(id, travels, report(Err(error)));
        }
        if self.fault(4, "refused") {
            let refused = report(Err(ChangeError::refused("quota exceeded")));
            return self.deliver(id, travels, refused);
        }
        if self.fault(20, "request_lost") {
            if self.random.chance(600) {
                let lost = report(Err(ChangeError::maybe_sent("timed out")));
                self.deliver(id, travels, lost);
            }
            return;
        }
        // A request that is under way for longer than the driver waits has been given up.
        let there = if self.fault(20, "landed_late") {
            self.random.millis(500, 9_000)
        } else {
            self.random.millis(2, 60)
        };
        if self.fault(15, "landed_twice") {
            let event = Event::Land {
                request: Box::new(request.clone()),
                answer: None,
            };
            self.after(there + Duration::from_millis(30), event);
        }
        let answer = if self.fault(20, "answer_lost") {
            self.random.chance(600).then_some((id, travels, true))
        } else {
            Some((id, travels, false))
        };
        if let Some((to, travels, lost)) = answer
            && self.fault(15, "report_doubled")
        {
            let again = Input::Reported(ChangeReport {
                id: request.id.clone(),
                result: if lost {
                    Err(ChangeError::maybe_sent("no answer"))
                } else {
                    Ok(rollback_core::model::Accepted::default())
                },
            });
            let late = there + travels + self.random.millis(1, 20_000);
            self.deliver(to, late, again);
        }
        let request = Box::new(request);
        self.after(there, Event::Land { request, answer });
    }

    // The people around it.

    /// Something that somebody does, now or later.
    pub(super) fn command_after(&mut self, delay: Duration, command: Command) {
        self.after(delay, Event::Command(command));
    }

    pub(super) fn policy_after(&mut self, delay: Duration, index: usize) {
        self.after(delay, Event::OfferPolicy(index));
    }

    pub(super) fn foreign_after(&mut self, delay: Duration, release: ReleaseId) {
        self.after(delay, Event::Foreign(release));
    }

    pub(super) fn blind_between(&mut self, from: Timestamp, to: Timestamp) {
        self.metrics.blind_between(from, to);
    }

    pub(super) fn policy(&self) -> Option<&Arc<Policy>> {
        self.known.policies.get(self.known.adopted.as_ref()?)
    }

    /// From now on nothing goes wrong any more, and somebody is in charge.
    pub(super) fn heal(&mut self) {
        self.faults = 0;
        self.metrics.heal();
        self.events.retain(|_, event| {
            !matches!(
                event,
                Event::Command(_) | Event::Foreign(_) | Event::OfferPolicy(_) | Event::TakeOver
            )
        });
        let paused: Vec<_> = self
            .controllers
            .iter()
            .filter(|c| c.paused_until.is_some())
            .map(|c| c.id)
            .collect();
        for id in paused {
            self.resume(id);
        }
        if self.in_charge().is_none() && self.violation.is_none() {
            self.controllers.clear();
            self.start_controller();
        }
    }

    /// A person looks at the hold, if there is one, and ends it by one of its exits.
    pub(super) fn resolve_hold(&mut self, tries: u32) {
        let Some(hold) = self.in_charge().and_then(|engine| engine.hold().cloned()) else {
            return;
        };
        let wishes = [
            HoldExit::Resume,
            HoldExit::Promote,
            HoldExit::RollBack,
            HoldExit::Abort,
        ];
        let mut exits = wishes.iter().filter(|exit| hold.exits.contains(exit));
        // The same exit once; what does not help is not done again.
        let Some(exit) = exits
            .nth(usize::try_from(tries).unwrap_or(usize::MAX))
            .or_else(|| wishes.iter().rfind(|exit| hold.exits.contains(exit)))
        else {
            return self.violate(
                Invariant::Termination,
                format!("no person can end this: {hold}"),
            );
        };
        let command = match exit {
            HoldExit::Resume => Command::Resume,
            HoldExit::Promote => Command::Promote,
            HoldExit::RollBack => Command::RollBack { to: None },
            _ => Command::Abort,
        };
        self.happen(Event::Command(command));
    }

    pub(super) fn outcome_of_last(&self) -> Option<&Outcome> {
        self.known.ended.get(self.known.last_ended.as_ref()?)
    }
}

/// One word for the reason of a hold.
const fn hold_word(reason: &HoldReason) -> &'static str {
    match reason {
        HoldReason::Paused { .. } => "paused",
        HoldReason::TriggerFailed { .. } => "trigger_failed",
        HoldReason::Inconclusive { .. } => "inconclusive",
        HoldReason::Blind { .. } => "blind",
        HoldReason::ExternalCause { .. } => "external_cause",
        HoldReason::NoTarget { .. } => "no_target",
        HoldReason::Cooldown { .. } => "cooldown",
        HoldReason::BudgetExhausted { .. } => "budget_exhausted",
        HoldReason::NotPermitted { .. } => "not_permitted",
        HoldReason::InDoubt { .. } => "in_doubt",
        HoldReason::StepFailed { .. } => "step_failed",
        HoldReason::Contested { .. } => "contested",
        HoldReason::RollbackFailed { .. } => "rollback_failed",
        HoldReason::Faulted { .. } => "faulted",
        _ => "other",
    }
}
