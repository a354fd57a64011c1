//! The evidence of a threshold: the last readings of both arms and from before the deployment, and
//! what the polls so far said.

use std::{sync::Arc, time::Duration};

use super::{
    attribution::{self, Apart},
    average::Averaged,
    held::{Counts, Held, believed},
    polls::{Poll, Polls, Said},
    streak::{Seen, Streak},
    subject::Subject,
    tally::Counted,
    threshold::{Read, Terms},
    wording,
};
use crate::{
    condition::{self, ConditionExplanation, Truth, UnknownReason as Gap, Value},
    model::{
        Arm, Explanation, InstanceId, MetricId, ReadError, Reading, Scope, Timestamp,
        UnknownReason, Verdict, Window,
    },
    policy::{PerScope, Shape},
    ports::{Evidence, WatchStart},
};

/// Whose values the condition is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    OnTrial,
    Stable,
    Before,
}

/// The evidence of one watch. Subjects stand in the order of the condition's slots.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) terms: Arc<Terms>,
    pub(super) on_trial: Arm,
    pub(super) poll: Duration,
    trial: Vec<Subject>,
    stable: Vec<Subject>,
    before: Vec<Subject>,
    /// The poll whose readings are coming in: it is evaluated when it is asked about, and folded
    /// when the next one begins, so once and as a whole.
    polled: Option<Timestamp>,
    /// Up to the poll before.
    polls: Polls,
    /// The same, where polls that were as bad elsewhere count as good.
    blamed: Polls,
    /// Events of the stretch in which it was bad, one for each value that the condition reads.
    sums: Vec<Counts>,
    /// How far beyond its bounds each arm was in the last polls that were bad.
    pub(super) apart: Apart,
    /// When the stable arm was last seen to be as bad.
    pub(super) stable_bad: Option<Timestamp>,
}

impl Watched {
    pub(super) fn new(terms: Arc<Terms>, watch: &WatchStart) -> Self {
        let before = terms
            .reads
            .iter()
            .map(|read| {
                let readings = watch
                    .baseline
                    .iter()
                    .filter(|(metric, _)| *metric == read.metric.id)
                    .map(|(_, reading)| reading);
                Subject {
                    whole: Held::before(readings, read.slot.unit),
                    instances: Vec::new(),
                }
            })
            .collect();
        let count = terms.reads.len();
        Self {
            on_trial: watch.on_trial,
            poll: watch.poll,
            trial: vec![Subject::default(); count],
            stable: vec![Subject::default(); count],
            before,
            polled: None,
            polls: Polls::default(),
            blamed: Polls::default(),
            sums: vec![Counts::default(); count],
            apart: Apart::default(),
            stable_bad: None,
            terms,
        }
    }

    /// What the view shows at a place of the condition.
    pub(super) fn subject(&self, view: View, slot: usize) -> Option<&Subject> {
        let read = self.terms.reads.get(slot)?;
        match (read.slot.subject, view) {
            (condition::Subject::Baseline, _) | (_, View::Before) => self.before.get(slot),
            (condition::Subject::Stable, _) => self.stable.get(slot),
            (_, View::OnTrial) => self.trial.get(slot),
            // A metric of the whole service does not tell the arms apart.
            (_, View::Stable) if read.metric.per == PerScope::Service => None,
            (_, View::Stable) => self.stable.get(slot),
        }
    }

    pub(super) fn held(&self, view: View, slot: usize, row: Option<&InstanceId>) -> Option<&Held> {
        let subject = self.subject(view, slot)?;
        let row = row.filter(|_| self.terms.reads.get(slot).is_some_and(Read::on_trial));
        Some(subject.held(row))
    }

    fn value(&self, view: View, slot: usize, row: Option<&InstanceId>, at: Timestamp) -> Value<'_> {
        self.held(view, slot, row)
            .map_or(Value::Missing(condition::Missing::NoData), |held| {
                held.value(at)
            })
    }

    /// The answer, and the instance that decided it, where instances answer one by one: the
    /// condition is true if it is true of any of them.
    fn decide(&self, view: View, at: Timestamp) -> (Truth, Option<&InstanceId>) {
        let truth = |row| {
            self.terms
                .condition
                .evaluate(|slot| self.value(view, slot, row, at))
        };
        let rows = (0..)
            .zip(&self.terms.reads)
            .filter(|(_, read)| read.on_trial())
            .filter_map(|(slot, _)| self.subject(view, slot))
            .find(|subject| !subject.instances.is_empty());
        let Some(rows) = rows else {
            return (truth(None), None);
        };
        let mut answer = (Truth::False, None);
        for row in rows.counted(at) {
            match (truth(Some(row)), answer.0) {
                (Truth::True, _) => return (Truth::True, Some(row)),
                (unknown @ Truth::Unknown(_), Truth::False) => answer = (unknown, Some(row)),
                (Truth::False, Truth::False) if answer.1.is_none() => answer.1 = Some(row),
                _ => {}
            }
        }
        answer
    }

    pub(super) fn explained(
        &self,
        view: View,
        at: Timestamp,
    ) -> (ConditionExplanation, Option<&InstanceId>) {
        let (_, row) = self.decide(view, at);
        let explanation = self
            .terms
            .condition
            .explain(|slot| self.value(view, slot, row, at));
        (explanation, row)
    }

    pub(super) fn truth(&self, view: View, at: Timestamp) -> Truth {
        self.decide(view, at).0
    }

    /// The last window of what is on trial.
    pub(super) fn window(&self) -> Option<Window> {
        self.trial
            .iter()
            .flat_map(Subject::all)
            .filter_map(|held| held.window)
            .max_by_key(|window| window.to)
    }

    /// The time that the averages are about.
    pub(super) fn span(&self) -> Option<Window> {
        let spans = self.trial.iter().flat_map(Subject::all);
        spans
            .filter_map(Held::span)
            .reduce(|one, other| Window::new(one.from.min(other.from), one.to.max(other.to)))
    }

    pub(super) fn believed(&self) -> Duration {
        believed(
            self.poll,
            self.window().map_or(Duration::ZERO, |w| w.length()),
        )
    }

    /// Of which averages the condition is asked, if of any.
    fn averaged(&self) -> Option<Averaged> {
        match self.terms.shape {
            Shape::Average { over, min_samples } => Some(Averaged {
                over,
                min_samples,
                early: self.verifies(),
            }),
            _ => None,
        }
    }

    fn verifies(&self) -> bool {
        self.on_trial == Arm::Stable
    }

    /// Whether an average is one of too few readings.
    fn has_few(&self, at: Timestamp) -> bool {
        let mut values = self.trial.iter().flat_map(Subject::all);
        values.any(|held| held.lacks(at).is_some())
    }

    fn begin_poll(&mut self, at: Timestamp) {
        if self.polled == Some(at) {
            return;
        }
        if let Some(before) = self.polled {
            let poll = self.poll_at(before);
            let streak = self.polls.streak_with(&poll);
            let blamed = Poll {
                seen: self.blamed_for(poll.seen, before),
                ..poll
            };
            if streak.window.is_none() {
                self.sums.fill(Counts::default());
            } else if !streak.is_paused() {
                for slot in 0..self.sums.len() {
                    let sum = self.sum(slot, &streak);
                    if let Some(known) = self.sums.get_mut(slot) {
                        *known = sum;
                    }
                }
            }
            self.polls.add(&poll);
            self.blamed.add(&blamed);
            match poll.seen {
                Seen::Bad if self.on_trial == Arm::Candidate => {
                    let distances = attribution::distances(self, before);
                    self.apart.add(distances);
                }
                Seen::Good => self.apart = Apart::default(),
                _ => {}
            }
            if self.on_trial == Arm::Candidate && self.truth(View::Stable, before) == Truth::True {
                self.stable_bad = Some(before);
            }
        }
        self.polled = Some(at);
    }

    /// What the poll whose readings are coming in says so far.
    pub(super) fn poll_at(&self, at: Timestamp) -> Poll {
        Poll {
            shape: self.terms.shape,
            seen: match self.truth(View::OnTrial, at) {
                Truth::True => Seen::Bad,
                Truth::False => Seen::Good,
                Truth::Unknown(_) => Seen::Nothing,
            },
            window: self.window(),
            believed: self.believed(),
            every: self.poll,
        }
    }

    /// What is as bad elsewhere is not bad for the candidate.
    fn blamed_for(&self, seen: Seen, at: Timestamp) -> Seen {
        if seen == Seen::Bad && attribution::is_as_bad_now(self, at) {
            Seen::Good
        } else {
            seen
        }
    }

    /// How many polls were bad, and how many of them the candidate is blamed for; and whether these
    /// alone are enough.
    pub(super) fn blame(&self, at: Timestamp) -> (Counted, Counted, bool) {
        let poll = self.poll_at(at);
        let blamed = Poll {
            seen: self.blamed_for(poll.seen, at),
            ..poll
        };
        (
            self.polls.counted_with(&poll),
            self.blamed.counted_with(&blamed),
            self.blamed.say(&blamed) == Said::Bad,
        )
    }

    /// The stretch with everything that was read so far.
    pub(super) fn streak_at(&self, at: Timestamp) -> Streak {
        self.polls.streak_with(&self.poll_at(at))
    }

    /// The polls with everything that was read so far.
    pub(super) fn counted_at(&self, at: Timestamp) -> Counted {
        self.polls.counted_with(&self.poll_at(at))
    }

    /// The events of the stretch at a place of the condition, those of the running poll included.
    pub(super) fn sum(&self, slot: usize, streak: &Streak) -> Counts {
        if self.averaged().is_some() {
            // An average has its events together already.
            let held = self.trial.get(slot).map(|subject| &subject.whole);
            return held.and_then(|held| held.counts).unwrap_or_default();
        }
        let before = self
            .sums
            .get(slot)
            .copied()
            .filter(|_| self.polls.streak.goes_on_in(streak))
            .unwrap_or_default();
        self.trial
            .get(slot)
            .into_iter()
            .flat_map(Subject::all)
            .filter(|held| held.received.is_some() && held.received == self.polled)
            .filter_map(|held| held.counts)
            .fold(before, Counts::plus)
    }

    /// Hands what was read to every place of the condition that it is about.
    fn hand(
        &mut self,
        at: Timestamp,
        metric: &MetricId,
        scope: &Scope,
        take: impl Fn(&mut Held, &Read, Duration),
    ) {
        self.begin_poll(at);
        let (arm, instance) = match scope {
            Scope::Service => (None, None),
            Scope::Arm(arm) => (Some(*arm), None),
            Scope::Instance { arm, instance } => (Some(*arm), Some(instance)),
        };
        let subjects = self.trial.iter_mut().zip(&mut self.stable);
        for (read, (trial, stable)) in self.terms.reads.iter().zip(subjects) {
            if read.metric.id != *metric {
                continue;
            }
            let whole_service = read.metric.per == PerScope::Service;
            if whole_service != arm.is_none() {
                continue;
            }
            if whole_service || arm == Some(self.on_trial) {
                take(trial.of(instance, at), read, self.poll);
            }
            if arm == Some(Arm::Stable) {
                take(stable.of(instance, at), read, self.poll);
            }
        }
    }

    /// Readings that are there and that an average needs, where these are too few.
    pub(super) fn lacks(&self, at: Timestamp) -> Option<(u32, u32)> {
        let Truth::Unknown(Gap::Missing { slot, .. }) = self.truth(View::OnTrial, at) else {
            return None;
        };
        let (_, row) = self.decide(View::OnTrial, at);
        self.held(View::OnTrial, slot, row)?.lacks(at)
    }

    fn unknown(&self, gap: Gap, at: Timestamp) -> UnknownReason {
        let slot = match gap {
            Gap::Missing { slot, .. } | Gap::NotFinite { slot } | Gap::WrongKind { slot } => slot,
            _ => 0,
        };
        let (_, row) = self.decide(View::OnTrial, at);
        let (Some(read), Some(held)) = (
            self.terms.reads.get(slot),
            self.held(View::OnTrial, slot, row),
        ) else {
            return UnknownReason::NothingYet;
        };
        if matches!(gap, Gap::Missing { .. }) {
            let other = (read.slot.subject == condition::Subject::Stable
                && self.on_trial == Arm::Candidate)
                .then_some(Arm::Stable);
            held.gap(&read.metric.id, other)
        } else {
            UnknownReason::Unreadable {
                metric: read.metric.id.clone(),
                error: ReadError::NotANumber,
            }
        }
    }
}

impl Evidence for Watched {
    fn observe(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, reading: &Reading) {
        let averaged = self.averaged();
        self.hand(at, metric, scope, |held, read, poll| {
            held.observe(at, reading, read.slot.unit, poll, averaged);
        });
    }

    fn unreadable(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, error: &ReadError) {
        self.hand(at, metric, scope, |held, _, poll| {
            held.unreadable(at, error, poll);
        });
    }

    fn verdict(&self, at: Timestamp) -> Verdict {
        let truth = self.truth(View::OnTrial, at);
        let pending = || Verdict::Inconclusive(Arc::clone(&self.terms.pending));
        match (truth, self.polls.say(&self.poll_at(at))) {
            (Truth::Unknown(_), _) if self.lacks(at).is_some() => pending(),
            (Truth::Unknown(gap), _) => Verdict::Unknown(self.unknown(gap, at)),
            (_, Said::Bad) if self.verifies() && self.has_few(at) => pending(),
            (_, Said::Bad) => Verdict::Fail,
            (_, Said::Good) => Verdict::Pass,
            // How long it has to be good is said by `verify.for`, not by the shape.
            (Truth::False, Said::NotYet) if self.verifies() => Verdict::Pass,
            (_, Said::NotYet) => pending(),
        }
    }

    /// When the first of the values will be too old to be believed.
    fn next_wake(&self, at: Timestamp) -> Option<Timestamp> {
        self.trial
            .iter()
            .flat_map(Subject::all)
            .filter_map(|held| held.ages(at))
            .min()
    }

    fn also_elsewhere(&self, at: Timestamp) -> Option<Arc<str>> {
        attribution::also_elsewhere(self, at)
    }

    fn explain(&self, at: Timestamp) -> Explanation {
        wording::explanation(self, at)
    }
}
