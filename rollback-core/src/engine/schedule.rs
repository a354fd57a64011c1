//! Effects that are due, and the time of the next look.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Engine,
    mutant::Mutant,
    state::{Active, Stage},
};
use crate::{
    entry::{Effect, Reads, Step},
    model::{
        Arm, ChangeRequest, Instance, ReadRequest, ReleaseId, Scope, Subject, Timestamp, Window,
    },
    policy::PerScope,
    ports::PermitRequest,
};

/// Lines that are collected of a release that failed.
const LAST_WORDS: usize = 20;

/// A notice that was not answered for so long is sent again.
const NOTICE_LOST: Duration = Duration::from_secs(60);

/// When the engine wants to be woken, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NextWake {
    /// The moment; it may be in the past.
    pub at: Timestamp,
    /// What is due then.
    pub reason: WakeReason,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WakeReason {
    /// A look at the platform.
    Look,
    /// A poll of the metrics.
    Poll,
    /// The end of a step's time, or of what it waits for.
    Step,
    /// A change that was not answered, is in doubt, or may be tried again.
    Change,
    /// A rule's `for`.
    Rule,
    /// A hold that time ends.
    Hold,
    /// The time budget for blindness.
    Blindness,
    /// The fleet's silence.
    Permit,
    /// The end of the pre-flight.
    PreFlight,
    /// A task that is to be asked about.
    Task,
    /// A notice to be sent again.
    Notice,
    /// The end of a freeze.
    Freeze,
}

impl fmt::Display for WakeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Look => "look at the platform",
            Self::Poll => "read the metrics",
            Self::Step => "the step's time",
            Self::Change => "the change that is under way",
            Self::Rule => "a rule's time",
            Self::Hold => "the hold's time",
            Self::Blindness => "the time budget for blindness",
            Self::Permit => "the fleet's answer",
            Self::PreFlight => "the end of the pre-flight",
            Self::Task => "a task",
            Self::Notice => "a notice",
            Self::Freeze => "the end of the freeze",
        })
    }
}

impl Engine {
    /// Lines up the effects that are due.
    pub(super) fn schedule(&mut self, at: Timestamp) {
        self.schedule_notices(at);
        self.schedule_tasks(at);
        let Some(active) = &self.state.active else {
            self.in_flight.observe = None;
            return;
        };
        // What is never answered is asked again.
        let lost = active.policy.deadlines.apply;
        let free = |asked: Option<Timestamp>| asked.is_none_or(|asked| at >= asked.after(lost));

        if let Some(pending) = &active.change
            && pending.doubt.is_none()
            && self.in_flight.apply.as_ref() != Some(&pending.id)
        {
            self.in_flight.apply = Some(pending.id.clone());
            if self.mutant(Mutant::SendsTwice) {
                self.effects
                    .push_back(Effect::Apply(Box::new(ChangeRequest::new(
                        pending.id.clone(),
                        pending.change.clone(),
                        pending.expect.clone(),
                        pending.not_after,
                    ))));
            }
            self.effects
                .push_back(Effect::Apply(Box::new(ChangeRequest::new(
                    pending.id.clone(),
                    pending.change.clone(),
                    pending.expect.clone(),
                    pending.not_after,
                ))));
        }
        if free(self.in_flight.observe)
            && at >= self.in_flight.observe_after
            && (self.in_flight.hinted || self.look_due(active).is_some_and(|due| at >= due))
        {
            self.in_flight.observe = Some(at);
            self.in_flight.hinted = false;
            self.effects.push_back(Effect::Observe { asked_at: at });
        }
        if free(self.in_flight.read) && self.poll_due(active).is_some_and(|due| at >= due) {
            let requests = self.read_requests(at, active);
            self.in_flight.last_read = Some(at);
            if !requests.is_empty() {
                self.in_flight.read = Some(at);
                self.effects.push_back(Effect::Read(Reads { requests }));
            }
        }
        if active.stage == Stage::Preflight
            && !matches!(active.candidate_check, Some(Ok(())))
            && free(self.in_flight.check)
            && at >= active.check_after
        {
            self.in_flight.check = Some(at);
            self.effects.push_back(Effect::Check {
                release: active.candidate.clone(),
            });
        }
        if let Some(permit) = &active.permit
            && !permit.granted
            && permit.denied.is_none()
            && self
                .in_flight
                .permit
                .is_none_or(|(attempt, _)| attempt != permit.attempt)
        {
            self.in_flight.permit = Some((permit.attempt, at));
            self.effects.push_back(Effect::RequestPermit(PermitRequest {
                service: self.config.service.clone(),
                deployment: active.id.clone(),
                attempt: permit.attempt,
            }));
        }
        if active.rolls_back() && active.last_words.is_none() && self.in_flight.words.is_none() {
            self.in_flight.words = Some(at);
            self.effects.push_back(Effect::CollectLastWords {
                release: active.candidate.clone(),
                lines: LAST_WORDS,
            });
        }
    }

    fn schedule_notices(&mut self, at: Timestamp) {
        for (key, pending) in &self.state.notices {
            let sent = self.in_flight.notices.get(key);
            if at < pending.next_at || sent.is_some_and(|sent| at < sent.after(NOTICE_LOST)) {
                continue;
            }
            self.effects.push_back(Effect::Notify {
                key: key.clone(),
                notice: pending.notice.clone(),
            });
            self.in_flight.notices.insert(key.clone(), at);
        }
    }

    /// When the platform is looked at next.
    fn look_due(&self, active: &Active) -> Option<Timestamp> {
        let seen = self.state.seen.as_ref().map(|seen| seen.asked_at);
        let look_after = active.look_after;
        Some(match seen {
            Some(seen) if seen >= look_after => {
                let waits_for_change = active
                    .step
                    .as_ref()
                    .is_some_and(|_| active.steps.get(active.index).is_some_and(asks_for_change));
                // A change that was just accepted is looked for at once, then at the usual pace.
                let poll = if waits_for_change {
                    active.policy.poll.min(Duration::from_secs(1))
                } else {
                    active.policy.poll
                };
                seen.after(poll)
            }
            _ => look_after,
        })
    }

    /// When the metrics are read next; none while nobody watches.
    fn poll_due(&self, active: &Active) -> Option<Timestamp> {
        if active.policy.metrics.is_empty() {
            return None;
        }
        if active.stage == Stage::Preflight {
            let seen = self.state.seen_since(active.look_after).is_some();
            let again = self
                .in_flight
                .last_read
                .map(|last| last.after(active.policy.poll));
            let due = active.look_after.max(again.unwrap_or(active.look_after));
            return (active.baseline.is_none() && seen).then_some(due);
        }
        active.watch.as_ref()?;
        Some(match self.in_flight.last_read {
            Some(last) => last.after(active.policy.poll),
            None => Timestamp::from_millis(i64::MIN),
        })
    }

    fn read_requests(&self, at: Timestamp, active: &Active) -> Vec<ReadRequest> {
        let Some(seen) = &self.state.seen else {
            return Vec::new();
        };
        let mut requests = Vec::new();
        let mut arms: Vec<(Arm, ReleaseId, Arc<[Instance]>)> = Vec::new();
        let stable = match active.stage {
            Stage::Preflight => seen.observation.wanted.main(),
            Stage::Planned(_) => active.stable.as_ref(),
        };
        let candidate = (active.stage != Stage::Preflight).then_some(&active.candidate);
        for (arm, release) in [(Arm::Stable, stable), (Arm::Candidate, candidate)] {
            let Some(release) = release else { continue };
            // What is being retired as wanted has nothing to say any more.
            if active.stage != Stage::Preflight && !active.expected.runs(release) {
                continue;
            }
            if let Some(observed) = seen.observation.arm(release) {
                arms.push((arm, release.clone(), Arc::clone(&observed.instances)));
            }
        }
        for metric in &active.policy.metrics {
            let settle = self.config.source(metric.source.as_ref()).settle;
            let mut ask = |scope: Scope, subject: Subject| {
                let to = at.before(settle);
                let from = active
                    .intake
                    .mark(&metric.id, &scope)
                    .unwrap_or_else(|| to.before(active.policy.poll));
                if from >= to {
                    return;
                }
                let mut request = ReadRequest::new(
                    self.config.service.clone(),
                    metric.id.clone(),
                    metric.query.clone(),
                    scope,
                    subject,
                    Window::new(from, to),
                );
                request.source.clone_from(&metric.source);
                requests.push(request);
            };
            match metric.per {
                PerScope::Service => ask(Scope::Service, Subject::new(None, [])),
                PerScope::Arm => {
                    for (arm, release, instances) in &arms {
                        let subject = Subject::new(Some(release.clone()), Arc::clone(instances));
                        ask(Scope::Arm(*arm), subject);
                    }
                }
                PerScope::Instance => {
                    for (arm, release, instances) in &arms {
                        for instance in instances.iter() {
                            let scope = Scope::Instance {
                                arm: *arm,
                                instance: instance.id.clone(),
                            };
                            let subject = Subject::new(Some(release.clone()), [instance.clone()]);
                            ask(scope, subject);
                        }
                    }
                }
            }
        }
        requests
    }

    /// When the engine wants `Input::Woke`, and why; none when only something new can change
    /// anything.
    #[must_use]
    pub fn next_wake(&self) -> Option<NextWake> {
        if self.mutant(Mutant::ForgetsToWake) {
            let active = self.state.active.as_ref()?;
            active.watch.as_ref()?;
        }
        let mut next: Option<NextWake> = None;
        let mut at = |at: Option<Timestamp>, reason| {
            if let Some(at) = at
                && next.is_none_or(|next| at < next.at)
            {
                next = Some(NextWake { at, reason });
            }
        };
        for (key, pending) in &self.state.notices {
            let due = match self.in_flight.notices.get(key) {
                Some(sent) => Some(sent.after(NOTICE_LOST)),
                None => Some(pending.next_at),
            };
            at(due, WakeReason::Notice);
        }
        if let Some(order) = &self.state.frozen {
            at(order.until, WakeReason::Freeze);
        }
        self.wake_for_tasks(&mut at);
        if let Some(active) = &self.state.active {
            let lost = active.policy.deadlines.apply;
            let asked = |asked: Option<Timestamp>, due: Option<Timestamp>| {
                // What is not wanted any more is not waited for, and not before it is due.
                asked.map_or(due, |asked| due.map(|due| due.max(asked.after(lost))))
            };
            at(
                asked(
                    self.in_flight.observe,
                    self.look_due(active)
                        .map(|due| due.max(self.in_flight.observe_after)),
                ),
                WakeReason::Look,
            );
            at(
                asked(self.in_flight.read, self.poll_due(active)),
                WakeReason::Poll,
            );
            if active.stage == Stage::Preflight {
                let deadline = active.policy.deadlines.preflight;
                at(
                    self.after_now(active.opened_at.after(deadline / 2)),
                    WakeReason::PreFlight,
                );
                at(
                    self.after_now(active.opened_at.after(deadline)),
                    WakeReason::PreFlight,
                );
                if !matches!(active.candidate_check, Some(Ok(()))) {
                    let due = asked(self.in_flight.check, Some(active.check_after));
                    at(due, WakeReason::PreFlight);
                }
            }
            if let Some(rollback) = &active.rollback
                && active.steps.is_empty()
            {
                let late = rollback.decided_at.after(active.policy.deadlines.converge);
                at(self.after_now(late), WakeReason::Step);
            }
            self.wake_for_step(active, &mut at);
            if let Some(pending) = &active.change {
                match pending.doubt {
                    None => at(Some(pending.not_after.after(lost)), WakeReason::Change),
                    Some(doubt) => {
                        at(self.after_now(doubt.settles), WakeReason::Change);
                        at(self.after_now(doubt.until), WakeReason::Change);
                    }
                }
            }
            if let Some(watch) = &active.watch {
                at(
                    watch
                        .next_wake(self.now)
                        .and_then(|due| self.after_now(due)),
                    WakeReason::Rule,
                );
                for blind in watch.blind() {
                    let until = active.blind_until(blind);
                    at(self.after_now(until), WakeReason::Blindness);
                }
            }
            if let Some(hold) = &active.hold {
                match hold.reason {
                    crate::model::HoldReason::Cooldown { until } => {
                        at(self.after_now(until), WakeReason::Hold);
                    }
                    crate::model::HoldReason::NotPermitted { .. } => {
                        let again = self.asks_fleet_again(active);
                        at(
                            again.and_then(|again| self.after_now(again)),
                            WakeReason::Hold,
                        );
                    }
                    _ => {}
                }
            }
            if let Some(permit) = &active.permit
                && !permit.granted
                && permit.denied.is_none()
            {
                at(self.after_now(permit.deadline), WakeReason::Permit);
            }
        }
        next
    }

    fn wake_for_step(&self, active: &Active, at: &mut impl FnMut(Option<Timestamp>, WakeReason)) {
        let Some(step) = &active.step else { return };
        at(self.after_now(step.deadline), WakeReason::Step);
        at(self.after_now(step.retry_at), WakeReason::Change);
        let good = step.good_since;
        let due = match active.steps.get(active.index) {
            Some(Step::Check { hold_for }) => good.map(|good| good.after(*hold_for)),
            Some(Step::Verify { hold_for }) => good
                .zip(
                    active
                        .watch
                        .as_ref()
                        .and_then(super::watch::Watch::good_since),
                )
                .map(|(one, other)| one.max(other).after(*hold_for)),
            Some(Step::Wait { length } | Step::Bake { length }) => {
                Some(step.entered.after(*length))
            }
            _ => None,
        };
        at(due.and_then(|due| self.after_now(due)), WakeReason::Step);
    }

    /// A moment that has passed was looked at already.
    fn after_now(&self, at: Timestamp) -> Option<Timestamp> {
        (at > self.now).then_some(at)
    }
}

const fn asks_for_change(step: &Step) -> bool {
    matches!(
        step,
        Step::Converge { .. } | Step::Weights { .. } | Step::Retire { .. }
    )
}
