//! The simulated world: one virtual clock, one platform, one journal, and what happens when.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollback_core::{
    entry::{ChangeReport, Command, Entry, Input},
    model::{
        Actor, ChangeError, ChangeId, ChangeRequest, Epoch, Observation, ReadRequest, ReleaseId,
        Timestamp, Wanted,
    },
};

use super::{
    MakeEngine,
    chronicle::Chronicle,
    controller::Controller,
    coverage::Coverage,
    invariants::{Invariant, Violation},
    metrics::Metrics,
    random::Random,
    scenario::Scenario,
    tasks::{Runner, TaskCall},
};
use crate::{NOON, platform::Model};

/// How long a controller's lease lasts after its last sign of life: longer than any of its
/// changes may wait to be sent.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// More wakes than this at one moment mean that the engine spins.
pub(super) const MOST_WAKES: u32 = 30;
/// A simulation that goes on for longer does not end.
const MOST_INPUTS: u64 = 40_000;

/// Everything there is.
pub(super) struct World<'a> {
    pub(super) make: MakeEngine<'a>,
    pub(super) scenario: Scenario,
    pub(super) random: Random,
    pub(super) now: Timestamp,
    pub(super) model: Model,
    pub(super) metrics: Metrics,
    pub(super) runner: Runner,
    pub(super) events: BTreeMap<(Timestamp, u64), Event>,
    pub(super) next_event: u64,
    pub(super) journal: Vec<Entry>,
    pub(super) epoch: Epoch,
    pub(super) lease_until: Timestamp,
    pub(super) controllers: Vec<Controller>,
    pub(super) next_controller: u32,
    pub(super) known: Chronicle,
    pub(super) coverage: Coverage,
    pub(super) inputs: u64,
    pub(super) faults: u64,
    pub(super) violation: Option<Violation>,
    pub(super) bystander: Observation,
}

pub(super) enum Event {
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
    Task {
        to: u32,
        id: ChangeId,
        task: Arc<str>,
        call: TaskCall,
    },
    Resume(u32),
    Restart,
    TakeOver,
    Command(Command),
    /// Somebody opens the gate that the rollout waits at.
    Approve,
    OfferPolicy(usize),
    Foreign(ReleaseId),
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
            runner: Runner::default(),
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

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.next_event += 1;
        let key = (self.now.after(delay), self.next_event);
        self.events.insert(key, event);
    }

    pub(super) fn happen(&mut self, event: Event) {
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
            Event::Task { to, id, task, call } => self.task_called(to, id, task, call),
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
                self.tell_the_one_in_charge(input);
            }
            Event::Approve => self.approve(),
            Event::OfferPolicy(index) => {
                if let Some(policy) = self.scenario.policies.get(index).cloned() {
                    let input = Input::PolicyOffered {
                        digest: policy.digest(),
                        policy,
                    };
                    self.tell_the_one_in_charge(input);
                }
            }
            Event::Foreign(release) => {
                self.coverage.fault("somebody_else");
                let service = self.scenario.service.clone();
                self.model.foreign_change(&service, Wanted::only(release));
            }
        }
    }
}
