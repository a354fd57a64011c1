//! A condition that must not be true for longer than `for`.
//!
//! - The readings of one poll carry the same time and are judged together.
//! - `for` is measured by the ends of the windows that were seen to be bad, so it takes at least two
//!   bad readings to fill it: a single one never becomes a failure by waiting. While it fills, the
//!   verdict is `Inconclusive`. Polls are never quite on time: a tenth of a poll (or of `for`, where
//!   that is less) may be missing.
//! - A poll that could not see makes the verdict `Unknown`; it neither counts nor starts `for` again,
//!   unless it lasts longer than a reading is believed (three polls, or two windows).
//! - While a rollback is verified, the arm on trial is the stable one: `metric` and
//!   `candidate(metric)` then mean the restored release.

use std::{sync::Arc, time::Duration};

use super::{
    held::{Counts, Held, Subject, believed},
    streak::{Seen, Streak},
    wording,
};
use crate::{
    condition::{
        self, Condition, ConditionError, ConditionExplanation, Truth, UnknownReason as Gap, Value,
    },
    model::{
        Arm, Explanation, InstanceId, MetricId, ReadError, Reading, Scope, Timestamp, TriggerId,
        UnknownReason, Verdict, Window, duration_text,
    },
    policy::{Metric, PerScope, Policy},
    ports::{ArmSide, Evidence, MetricNeed, Trigger, WatchStart},
};

/// The version of this rule's code.
const VERSION: u32 = 1;

/// What the rule reads at one place of the condition.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) metric: Metric,
    pub(super) slot: condition::Slot,
}

impl Read {
    /// Whether it follows the arm on trial, or the service where the metric has no arms.
    pub(super) fn on_trial(&self) -> bool {
        matches!(
            self.slot.subject,
            condition::Subject::OnTrial | condition::Subject::Candidate
        )
    }
}

/// What does not change: shared by the rule and its evidence.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) name: Arc<str>,
    pub(super) condition: Condition,
    pub(super) reads: Vec<Read>,
    pub(super) for_: Duration,
    pending: Arc<str>,
}

/// `when: CONDITION, for: DURATION`.
#[derive(Debug)]
pub struct Threshold(Arc<Terms>);

impl Threshold {
    /// A rule over the metrics of a policy.
    ///
    /// # Errors
    /// The condition is not one, or reads what is not among the metrics.
    pub fn new(
        name: Arc<str>,
        condition: &str,
        for_: Duration,
        policy: &Policy,
    ) -> Result<Self, ConditionError> {
        let condition = Condition::compile(condition, &policy.catalogue())?;
        let reads = condition
            .slots()
            .iter()
            .filter_map(|slot| {
                // Always found: the condition was compiled against these metrics.
                let metric = policy
                    .metrics
                    .iter()
                    .find(|m| m.id.as_str() == slot.metric)?;
                Some(Read {
                    metric: metric.clone(),
                    slot: slot.clone(),
                })
            })
            .collect();
        let pending = format!("true, and not yet for {}", duration_text(for_));
        Ok(Self(Arc::new(Terms {
            name,
            condition,
            reads,
            for_,
            pending: pending.into(),
        })))
    }
}

impl Trigger for Threshold {
    fn id(&self) -> TriggerId {
        TriggerId {
            name: Arc::clone(&self.0.name),
            version: VERSION,
        }
    }

    fn reads(&self) -> Vec<MetricNeed> {
        let mut needs: Vec<MetricNeed> = Vec::new();
        for read in &self.0.reads {
            let side = match read.slot.subject {
                condition::Subject::Stable => ArmSide::Stable,
                _ => ArmSide::OnTrial,
            };
            match needs.iter_mut().find(|need| need.metric == read.metric.id) {
                Some(need) if need.side != side => need.side = ArmSide::Both,
                Some(_) => {}
                None => needs.push(MetricNeed {
                    metric: read.metric.id.clone(),
                    side,
                }),
            }
        }
        needs
    }

    fn begin(&self, watch: &WatchStart) -> Box<dyn Evidence> {
        Box::new(Watched::new(Arc::clone(&self.0), watch))
    }
}

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
    poll: Duration,
    trial: Vec<Subject>,
    stable: Vec<Subject>,
    before: Vec<Subject>,
    /// The poll whose readings are coming in: it is evaluated when it is asked about, and folded
    /// when the next one begins, so once and as a whole.
    polled: Option<Timestamp>,
    /// Up to the poll before.
    streak: Streak,
    /// Events of that stretch, one for each value that the condition reads.
    sums: Vec<Counts>,
    /// When the stable arm was last seen to be as bad.
    pub(super) stable_bad: Option<Timestamp>,
}

impl Watched {
    fn new(terms: Arc<Terms>, watch: &WatchStart) -> Self {
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
            streak: Streak::default(),
            sums: vec![Counts::default(); count],
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

    pub(super) fn believed(&self) -> Duration {
        believed(
            self.poll,
            self.window().map_or(Duration::ZERO, |w| w.length()),
        )
    }

    fn begin_poll(&mut self, at: Timestamp) {
        if self.polled == Some(at) {
            return;
        }
        if let Some(before) = self.polled {
            let streak = self.streak_at(before);
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
            self.streak = streak;
            if self.on_trial == Arm::Candidate && self.truth(View::Stable, before) == Truth::True {
                self.stable_bad = Some(before);
            }
        }
        self.polled = Some(at);
    }

    /// The stretch with everything that was read so far.
    pub(super) fn streak_at(&self, at: Timestamp) -> Streak {
        let seen = match self.truth(View::OnTrial, at) {
            Truth::True => Seen::Bad,
            Truth::False => Seen::Good,
            Truth::Unknown(_) => Seen::Nothing,
        };
        self.streak.after(seen, self.window(), self.believed())
    }

    /// The events of the stretch at a place of the condition, those of the running poll included.
    pub(super) fn sum(&self, slot: usize, streak: &Streak) -> Counts {
        let before = self
            .sums
            .get(slot)
            .copied()
            .filter(|_| self.streak.goes_on_in(streak))
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

    /// Whether the condition, which is true now, has been so for long enough.
    fn has_lasted(&self) -> bool {
        let streak = self.streak.after(Seen::Bad, self.window(), self.believed());
        let tolerance = (self.poll / 10).min(self.terms.for_ / 10);
        streak.window.is_some() && streak.held + tolerance >= self.terms.for_
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
        self.hand(at, metric, scope, |held, read, poll| {
            held.observe(at, reading, read.slot.unit, poll);
        });
    }

    fn unreadable(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, error: &ReadError) {
        self.hand(at, metric, scope, |held, _, poll| {
            held.unreadable(at, error, poll);
        });
    }

    fn verdict(&self, at: Timestamp) -> Verdict {
        match self.truth(View::OnTrial, at) {
            Truth::False => Verdict::Pass,
            Truth::True if self.has_lasted() => Verdict::Fail,
            Truth::True => Verdict::Inconclusive(Arc::clone(&self.terms.pending)),
            Truth::Unknown(gap) => Verdict::Unknown(self.unknown(gap, at)),
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
        super::attribution::also_elsewhere(self, at)
    }

    fn explain(&self, at: Timestamp) -> Explanation {
        wording::explanation(self, at)
    }
}
