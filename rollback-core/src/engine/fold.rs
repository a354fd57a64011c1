//! Inputs into the state: what was seen, read and answered, before anything is decided on it.

use std::{sync::Arc, time::Duration};

use super::{
    Engine,
    intake::Circumstances,
    state::{Active, PendingNotice, Seen, Stage},
};
use crate::{
    entry::{Input, Step},
    model::{
        Answer, ArmState, ChangeError, InstanceState, MetricId, Observation, Reading, Sample,
        Timestamp, Weight,
    },
    ports::NotifyError,
};

impl Engine {
    pub(super) fn fold(&mut self, at: Timestamp, input: &Input) {
        match input {
            Input::Started { epoch, .. } => {
                self.epoch = *epoch;
                if self.mutant(super::mutant::Mutant::ForgetsTheBudget) {
                    self.state.rollbacks.clear();
                }
                self.in_flight = super::InFlight::default();
                for notice in self.state.notices.values_mut() {
                    notice.next_at = notice.next_at.min(at);
                }
                if let Some(active) = &mut self.state.active {
                    active.look_after = at;
                    // While no controller read, nobody was blind.
                    active.resumed_at = at;
                    // While no controller looked, nobody can say how long a step took.
                    if let (Some(step), Some(seen)) = (&mut active.step, &self.state.seen) {
                        let unseen = at.since(seen.asked_at.max(step.entered));
                        step.deadline = step.deadline.after(unseen);
                    }
                }
            }
            Input::PolicyOffered { digest, policy } => {
                self.state
                    .policies
                    .insert(digest.clone(), Arc::clone(policy));
            }
            Input::Hinted => self.in_flight.hinted = true,
            Input::Readings { answers } => {
                self.in_flight.read = None;
                self.fold_readings(at, answers);
            }
            Input::Observed { asked_at, result } => {
                if self.in_flight.observe == Some(*asked_at) {
                    self.in_flight.observe = None;
                }
                self.state.unseen = result.as_ref().err().map(why_nothing_was_seen);
                match result {
                    Ok(observation) => self.fold_observation(at, *asked_at, observation),
                    Err(_) => self.in_flight.observe_after = at.after(Duration::from_secs(1)),
                }
            }
            Input::Checked { release, result } => {
                self.in_flight.check = None;
                if let Some(active) = &mut self.state.active
                    && active.candidate == *release
                {
                    active.candidate_check = Some(result.clone());
                    active.check_after = at.after(Duration::from_secs(1));
                } else if let Some(active) = &mut self.state.active {
                    active.target_checks.insert(release.clone(), result.clone());
                }
            }
            Input::Reported(report) => {
                if self.in_flight.apply.as_ref() == Some(&report.id) {
                    self.in_flight.apply = None;
                }
            }
            Input::TaskReported(report) => self.fold_task(at, report),
            Input::Permit { .. } => self.in_flight.permit = None,
            Input::LastWords { release, lines } => {
                if let Some(active) = &mut self.state.active
                    && active.candidate == *release
                {
                    active.last_words = Some(lines.clone());
                }
            }
            Input::Notified { key, result } => {
                self.in_flight.notices.remove(key);
                match result {
                    Ok(_) => {
                        self.state.notices.remove(key);
                    }
                    Err(error) => {
                        if let Some(notice) = self.state.notices.get_mut(key) {
                            notice.postpone(at, error);
                        }
                    }
                }
            }
            Input::TriggerFaulted { trigger } => {
                if let Some(active) = &mut self.state.active
                    && let Some(watch) = &mut active.watch
                    && let Some(rule) = watch.find_mut(trigger)
                {
                    rule.fault();
                }
            }
            Input::Command { .. } | Input::Woke | Input::Faulted { .. } => {}
        }
    }

    fn fold_readings(&mut self, at: Timestamp, answers: &[Answer]) {
        let nothing_proven = self.state.ledger.stable().is_none();
        let Some(active) = &mut self.state.active else {
            return;
        };
        let policy = Arc::clone(&active.policy);
        let stale_after = stale_after(active);
        if active.stage == Stage::Preflight {
            active.baseline.get_or_insert_with(Vec::new);
        }
        if let (Stage::Preflight, Some(baseline)) = (active.stage, &mut active.baseline) {
            baseline.extend(answers.iter().filter_map(before_the_deployment));
        }
        let traffic_since = active
            .watch
            .as_ref()
            .filter(|watch| !watch.verifies)
            .map(|watch| watch.began);
        let sums = active.intake.take(
            &policy,
            answers,
            at,
            &Circumstances {
                stale_after,
                counts_from: active.opened_at,
                traffic_since,
            },
        );
        if active.stage == Stage::Preflight && nothing_proven {
            active
                .running
                .get_or_insert_default()
                .extend_from_slice(sums);
        }
        if let Some(watch) = &mut active.watch {
            watch.observe(at, sums);
        }
    }

    fn fold_observation(&mut self, at: Timestamp, asked_at: Timestamp, observation: &Observation) {
        if self
            .state
            .seen
            .as_ref()
            .is_some_and(|seen| seen.asked_at >= asked_at)
        {
            return;
        }
        if let Some(active) = &mut self.state.active {
            active.count_crashes(observation);
            active.see(at, observation);
            active.watch_what_arrives(at, observation);
        }
        self.state.seen = Some(Seen {
            asked_at,
            observation: observation.clone(),
        });
    }
}

impl Active {
    /// Ends of candidate instances: restarts, and an end that was not followed by one.
    fn count_crashes(&mut self, observation: &Observation) {
        let Some(arm) = observation.arm(&self.candidate) else {
            return;
        };
        let seen = arm
            .instances
            .iter()
            .map(|instance| {
                let ended = matches!(instance.state, InstanceState::Exited { .. });
                instance.restarts.saturating_add(u32::from(ended))
            })
            .fold(0, u32::saturating_add);
        if self.stage == Stage::Preflight {
            self.crashes.before = seen;
        }
        self.crashes.now = self.crashes.now.max(seen);
    }

    /// A candidate that takes the place of what runs is watched from its first traffic on, while
    /// it is still taking over; one that others bring, from when it is there.
    fn watch_what_arrives(&mut self, at: Timestamp, observation: &Observation) {
        let takes_over = matches!(
            self.steps.get(self.index),
            Some(Step::Converge { placement, .. }) if placement.is_in_place()
        ) && observation.weight(&self.candidate) > Weight::NONE;
        // What was announced is watched when it is there: before, others answer.
        let is_there = self.is_announced()
            && matches!(self.steps.get(self.index), Some(Step::Bake { .. }))
            && self
                .step
                .as_ref()
                .is_some_and(|step| step.good_since.is_some());
        if (takes_over || is_there)
            && self.step.is_some()
            && self.watch.is_none()
            && self.rollback.is_none()
            && self.promoted_by.is_none()
        {
            self.begin_watch(at);
        }
    }

    /// Since when the platform shows what the running step waits for.
    pub(super) fn see(&mut self, at: Timestamp, observation: &Observation) {
        let Some(release) = self.steps.get(self.index).and_then(|step| match step {
            Step::Check { .. } | Step::Gate { .. } | Step::Wait { .. } | Step::Bake { .. } => {
                Some(&self.candidate)
            }
            Step::Verify { .. } => self.stable.as_ref(),
            _ => None,
        }) else {
            return;
        };
        let carries_all = || observation.weight(release) == Weight::ALL;
        let good = observation
            .arm(release)
            .is_some_and(|arm| arm.state == ArmState::Ready)
            && (self.rollback.is_none() || carries_all())
            // What others bring is there when its traffic is.
            && (!self.is_led_by_others()
                || observation.weight(release) > Weight::NONE
                || observation.wanted.weight(release) == Weight::NONE);
        if let Some(step) = &mut self.step {
            step.good_since = if good {
                step.good_since.or(Some(at))
            } else {
                None
            };
        }
    }
}

impl PendingNotice {
    fn postpone(&mut self, at: Timestamp, error: &NotifyError) {
        self.attempts = self.attempts.saturating_add(1);
        self.next_at = match error {
            NotifyError::Temporary {
                retry_after_ms: Some(millis),
                ..
            } => at.after(Duration::from_millis(*millis)),
            _ => at.after(back_off(self.attempts)),
        };
    }
}

/// 1, 2, 4 … seconds, at most a minute.
pub(super) fn back_off(attempts: u32) -> Duration {
    Duration::from_secs(1_u64 << attempts.saturating_sub(1).min(6)).min(Duration::from_secs(60))
}

/// A reading whose window ended longer ago than this is not fresh.
pub(super) fn stale_after(active: &Active) -> Duration {
    active.policy.poll.saturating_mul(3) + Duration::from_secs(5)
}

/// What a metric read before anything was changed. A running total stands for its whole life.
fn before_the_deployment(answer: &Answer) -> Option<(MetricId, Reading)> {
    let reading = answer.result.as_ref().ok()?;
    let mut reading = reading.clone();
    if let Sample::Cumulative { since, bad, total } = reading.sample {
        reading.window.from = since.min(reading.window.to);
        reading.sample = Sample::Counts {
            bad,
            total: total.max(bad),
        };
    }
    Some((answer.metric.clone(), reading))
}

/// A look sends nothing, so whether it was sent is not said.
fn why_nothing_was_seen(error: &ChangeError) -> Arc<str> {
    match error {
        ChangeError::NotSent { why, .. }
        | ChangeError::MaybeSent { why }
        | ChangeError::Refused { why }
        | ChangeError::Unsupported { why } => Arc::from(why.as_str()),
        ChangeError::Conflict { .. } => Arc::from(error.to_string()),
    }
}
