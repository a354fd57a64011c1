//! Effects that are due.

use std::{sync::Arc, time::Duration};

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

/// A look at an idle platform that was not answered for so long is asked for again.
pub(super) const IDLE_LOOK_LOST: Duration = Duration::from_secs(60);

/// A notice that was not answered for so long is sent again.
pub(super) const NOTICE_LOST: Duration = Duration::from_secs(60);

impl Engine {
    /// Lines up the effects that are due.
    pub(super) fn schedule(&mut self, at: Timestamp) {
        self.schedule_notices(at);
        self.schedule_tasks(at);
        let Some(active) = &self.state.active else {
            let lost = |asked: Timestamp| at >= asked.after(IDLE_LOOK_LOST);
            let due = self.idle_look_due();
            let hinted = due.is_some() && self.in_flight.hinted;
            if (hinted || due.is_some_and(|due| at >= due))
                && self.in_flight.observe.is_none_or(lost)
            {
                self.in_flight.observe = Some(at);
                self.in_flight.hinted = false;
                self.effects.push_back(Effect::Observe { asked_at: at });
            } else if due.is_none() {
                self.in_flight.observe = None;
            }
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
            let request = ChangeRequest::new(
                pending.id.clone(),
                pending.change.clone(),
                pending.expect.clone(),
                pending.not_after,
            )
            .rolling_back(active.rollback.is_some());
            if self.mutant(Mutant::SendsTwice) {
                self.effects
                    .push_back(Effect::Apply(Box::new(request.clone())));
            }
            self.effects.push_back(Effect::Apply(Box::new(request)));
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
            && !active.is_led_by_others()
            && !matches!(active.candidate_check, Some(Ok(())))
            && free(self.in_flight.check)
            && at >= active.check_after
        {
            self.in_flight.check = Some(at);
            self.effects.push_back(Effect::Check {
                release: active.candidate.clone(),
            });
        }
        if let Some(target) = self.unchecked_target(active)
            && free(self.in_flight.check)
        {
            let release = target.clone();
            self.in_flight.check = Some(at);
            self.effects.push_back(Effect::Check { release });
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
    pub(super) fn look_due(&self, active: &Active) -> Option<Timestamp> {
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
    pub(super) fn poll_due(&self, active: &Active) -> Option<Timestamp> {
        if active.policy.metrics.is_empty() {
            return None;
        }
        if active.stage == Stage::Preflight {
            let seen = self.state.seen_since(active.look_after);
            // What is coming up has nothing to say yet of how it is.
            let seen = seen.is_some_and(|seen| !self.state.comes_up(seen));
            let again = self
                .in_flight
                .last_read
                .map(|last| last.after(active.policy.poll));
            let due = active.look_after.max(again.unwrap_or(active.look_after));
            // Somebody else began: what is read now is not the time before.
            let before = !active.is_led_by_others() || self.state.ledger.stable().is_none();
            return (before && active.baseline.is_none() && seen).then_some(due);
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
            let runs = if active.observes() {
                seen.observation.wanted.runs(release)
            } else {
                active.expected.runs(release)
            };
            if active.stage != Stage::Preflight && !runs {
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
}

const fn asks_for_change(step: &Step) -> bool {
    matches!(
        step,
        Step::Converge { .. } | Step::Weights { .. } | Step::Retire { .. }
    )
}
