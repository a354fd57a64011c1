//! What was last answered about one subject, and how long it may be believed.

use std::{sync::Arc, time::Duration};

use super::average::{Averaged, Recent};
use crate::{
    condition::{Missing, Unit, Value},
    model::{Arm, MetricId, ReadError, Reading, Sample, Timestamp, UnknownReason, Window},
};

/// A ratio that a source rounded may lie this much beside its range.
const ROUNDING: f64 = 1e-6;

/// Bad events and all events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) bad: u64,
    pub(super) total: u64,
}

impl Counts {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            bad: self.bad.saturating_add(other.bad),
            total: self.total.saturating_add(other.total),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "shares of events; 53 bits are plenty"
    )]
    pub(super) fn ratio(self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            self.bad as f64 / self.total as f64
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Nothing,
    Number(f64),
    Text(Arc<str>),
    TooFew,
    Unreadable(ReadError),
}

/// The last answer about one subject.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    content: Content,
    /// The last window that was told, empty ones included.
    seen_to: Option<Timestamp>,
    /// The window that the value is about.
    pub(super) window: Option<Window>,
    pub(super) counts: Option<Counts>,
    fresh_until: Timestamp,
    /// When the value came.
    pub(super) received: Option<Timestamp>,
    /// What the value is the average of; empty where it is the last reading.
    recent: Recent,
    /// The readings that are there and those that an average needs, while they are too few.
    lacks: Option<(u32, u32)>,
    /// Whether there is no value while they are too few.
    waits: bool,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            content: Content::Nothing,
            seen_to: None,
            window: None,
            counts: None,
            fresh_until: Timestamp::from_millis(i64::MAX),
            received: None,
            recent: Recent::default(),
            lacks: None,
            waits: false,
        }
    }
}

/// How long a reading is believed: three polls, or two windows where those are longer.
pub(super) fn believed(poll: Duration, window: Duration) -> Duration {
    poll.saturating_mul(3).max(window.saturating_mul(2))
}

impl Held {
    /// What was read before the deployment, which never grows old: counts are added up, values
    /// averaged, and of words the first stands.
    pub(super) fn before<'r>(readings: impl Iterator<Item = &'r Reading>, unit: Unit) -> Self {
        let mut all = Self::default();
        let mut values = 0.0;
        for reading in readings {
            let mut one = Self::default();
            one.observe(reading.window.to, reading, unit, Duration::ZERO, None);
            let counts = match (all.counts, one.counts) {
                (Some(all), Some(one)) => Some(all.plus(one)),
                (all, one) => all.or(one),
            };
            values += 1.0;
            all.content = match (all.content, one.content) {
                (Content::Number(_), Content::Number(_)) if counts.is_some() => {
                    counts.map_or(Content::Nothing, |counts| of_counts(counts, unit))
                }
                (Content::Number(mean), Content::Number(value)) => {
                    Content::Number(mean + (value - mean) / values)
                }
                (known @ (Content::Number(_) | Content::Text(_)), _) => known,
                (_, new) => new,
            };
            all.counts = counts;
        }
        all
    }

    /// Takes a reading; one that is not newer than the last is ignored.
    pub(super) fn observe(
        &mut self,
        at: Timestamp,
        reading: &Reading,
        unit: Unit,
        poll: Duration,
        averaged: Option<Averaged>,
    ) {
        if self.seen_to.is_some_and(|seen| reading.window.to <= seen) {
            return;
        }
        self.seen_to = Some(reading.window.to);
        let content = content(&reading.sample, unit);
        if content == Content::TooFew && matches!(self.content, Content::Number(_)) {
            // No event, no news: what was seen before stands until it is too old.
            return;
        }
        if let (Content::Text(old), Content::Text(new)) = (&self.content, &content)
            && old == new
        {
            // The same word again: nothing to replace.
        } else {
            self.content = content;
        }
        self.counts = match &reading.sample {
            Sample::Counts { bad, total } => Some(Counts {
                bad: *bad,
                total: *total,
            }),
            _ => None,
        };
        self.window = Some(reading.window);
        self.received = Some(at);
        self.fresh_until = at.after(believed(poll, reading.window.length()));
        if let (Some(averaged), Content::Number(value)) = (averaged, &self.content) {
            self.recent
                .add(averaged, reading.window, *value, self.counts);
            self.average(averaged, unit);
        }
    }

    /// Puts the average in the place of the last reading.
    fn average(&mut self, averaged: Averaged, unit: Unit) {
        let have = self.recent.len();
        self.lacks = (have < averaged.min_samples).then_some((have, averaged.min_samples));
        self.waits = self.lacks.is_some() && !averaged.early;
        if self.lacks.is_some() && averaged.early {
            return;
        }
        self.counts = self.recent.counts();
        self.content = match (self.counts, unit) {
            (Some(counts), Unit::Ratio | Unit::Percent) => of_counts(counts, unit),
            _ => Content::Number(self.recent.mean()),
        };
    }

    /// Readings that are there and that are needed, while an average has too few of them.
    pub(super) fn lacks(&self, at: Timestamp) -> Option<(u32, u32)> {
        self.lacks
            .filter(|_| matches!(self.content, Content::Number(_)) && self.is_fresh(at))
    }

    /// The time that the value is about.
    pub(super) fn span(&self) -> Option<Window> {
        self.recent.span().or(self.window)
    }

    /// Takes an error in place of a reading.
    pub(super) fn unreadable(&mut self, at: Timestamp, error: &ReadError, poll: Duration) {
        // A window that is not complete yet says nothing about the one before it.
        if matches!(error, ReadError::NotYet { .. }) {
            return;
        }
        if !matches!(&self.content, Content::Unreadable(known) if known == error) {
            self.content = Content::Unreadable(error.clone());
            self.counts = None;
        }
        self.fresh_until = at.after(believed(poll, Duration::ZERO));
    }

    pub(super) fn is_fresh(&self, at: Timestamp) -> bool {
        at <= self.fresh_until
    }

    /// When the value will be too old, if that lies ahead.
    pub(super) fn ages(&self, at: Timestamp) -> Option<Timestamp> {
        let too_old = self.fresh_until.after(Duration::from_millis(1));
        (matches!(self.content, Content::Number(_) | Content::Text(_))
            && self.fresh_until != Timestamp::from_millis(i64::MAX)
            && too_old > at)
            .then_some(too_old)
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self.content {
            Content::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn word(&self) -> Option<&str> {
        match &self.content {
            Content::Text(word) => Some(word),
            _ => None,
        }
    }

    /// What a condition is given.
    pub(super) fn value(&self, at: Timestamp) -> Value<'_> {
        match &self.content {
            Content::Number(_) | Content::Text(_) if !self.is_fresh(at) => {
                Value::Missing(Missing::Stale)
            }
            Content::Number(_) if self.waits => Value::Missing(Missing::NoData),
            Content::Number(number) => Value::Number(*number),
            Content::Text(text) => Value::Text(text),
            Content::Nothing | Content::TooFew => Value::Missing(Missing::NoData),
            Content::Unreadable(error) => Value::Missing(match error {
                ReadError::NoData => Missing::NoData,
                ReadError::NotANumber => Missing::NotANumber,
                ReadError::NotYet { .. } => Missing::NotYet,
                ReadError::Ambiguous { .. } => Missing::Ambiguous,
                ReadError::Unreachable { .. } => Missing::Unreachable,
                ReadError::BadQuery { .. } => Missing::BadQuery,
                ReadError::NotRecorded => Missing::NotRecorded,
            }),
        }
    }

    /// Why there is no value.
    pub(super) fn gap(&self, metric: &MetricId, other_arm: Option<Arm>) -> UnknownReason {
        match &self.content {
            Content::Nothing => other_arm.map_or(UnknownReason::NothingYet, UnknownReason::NoArm),
            Content::TooFew => UnknownReason::TooFew,
            Content::Number(_) if self.waits => UnknownReason::TooFew,
            Content::Unreadable(error) => UnknownReason::Unreadable {
                metric: metric.clone(),
                error: error.clone(),
            },
            Content::Number(_) | Content::Text(_) => UnknownReason::Stale {
                metric: metric.clone(),
            },
        }
    }
}

fn content(sample: &Sample, unit: Unit) -> Content {
    let within = |value: f64, largest: f64| {
        if value.is_finite() && (-ROUNDING..=largest * (1.0 + ROUNDING)).contains(&value) {
            Content::Number(value.clamp(0.0, largest))
        } else {
            Content::Unreadable(ReadError::NotANumber)
        }
    };
    match (sample, unit) {
        (Sample::State(word), _) => Content::Text(Arc::clone(word)),
        (Sample::Gauge(value), Unit::Ratio) => within(*value, 1.0),
        (Sample::Gauge(value), Unit::Percent) => within(*value, 100.0),
        (Sample::Gauge(value), _) if value.is_finite() => Content::Number(*value),
        (Sample::Counts { bad, total }, _) if bad > total => {
            Content::Unreadable(ReadError::NotANumber)
        }
        (Sample::Counts { total: 0, .. }, Unit::Ratio | Unit::Percent) => Content::TooFew,
        (Sample::Counts { bad, total }, Unit::Ratio | Unit::Percent | Unit::Count) => {
            let counts = Counts {
                bad: *bad,
                total: *total,
            };
            of_counts(counts, unit)
        }
        _ => Content::Unreadable(ReadError::NotANumber),
    }
}

fn of_counts(counts: Counts, unit: Unit) -> Content {
    Content::Number(match unit {
        Unit::Ratio => counts.ratio(),
        Unit::Percent => counts.ratio() * 100.0,
        #[expect(clippy::cast_precision_loss, reason = "a count of events in one poll")]
        _ => counts.bad as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn reading(to: i64, sample: Sample) -> Reading {
        Reading::new(Window::new(at(to - 1), at(to)), sample)
    }

    fn after(sample: Sample, unit: Unit) -> Held {
        let mut held = Held::default();
        held.observe(at(1), &reading(1, sample), unit, POLL, None);
        held
    }

    #[test]
    fn counts_become_what_the_unit_says() {
        let counts = Sample::Counts { bad: 1, total: 4 };
        for (unit, value) in [
            (Unit::Ratio, Value::Number(0.25)),
            (Unit::Percent, Value::Number(25.0)),
            (Unit::Count, Value::Number(1.0)),
            (Unit::Milliseconds, Value::Missing(Missing::NotANumber)),
        ] {
            assert_eq!(after(counts.clone(), unit).value(at(1)), value, "{unit}");
        }
    }

    #[test]
    fn impossible_numbers_are_not_values() {
        for (sample, unit) in [
            (Sample::Gauge(f64::NAN), Unit::Seconds),
            (Sample::Gauge(f64::INFINITY), Unit::Count),
            (Sample::Gauge(31.0), Unit::Ratio),
            (Sample::Gauge(-0.5), Unit::Percent),
            (Sample::Counts { bad: 5, total: 4 }, Unit::Ratio),
        ] {
            let held = after(sample.clone(), unit);
            assert_eq!(
                held.value(at(1)),
                Value::Missing(Missing::NotANumber),
                "{sample:?}"
            );
        }
        let rounded = after(Sample::Gauge(1.000_000_1), Unit::Ratio);
        assert_eq!(rounded.value(at(1)), Value::Number(1.0));
    }

    #[test]
    fn no_event_is_no_news() {
        let mut held = after(Sample::Counts { bad: 0, total: 0 }, Unit::Ratio);
        let metric = MetricId::new("errors").unwrap();
        assert_eq!(held.gap(&metric, None), UnknownReason::TooFew);
        held.observe(
            at(2),
            &reading(2, Sample::Counts { bad: 1, total: 2 }),
            Unit::Ratio,
            POLL,
            None,
        );
        held.observe(
            at(3),
            &reading(3, Sample::Counts { bad: 0, total: 0 }),
            Unit::Ratio,
            POLL,
            None,
        );
        assert_eq!(held.value(at(5)), Value::Number(0.5));
        assert_eq!(held.value(at(6)), Value::Missing(Missing::Stale));
    }

    #[test]
    fn an_old_window_changes_nothing() {
        let mut held = after(Sample::Gauge(0.5), Unit::Ratio);
        held.observe(
            at(9),
            &reading(1, Sample::Gauge(0.9)),
            Unit::Ratio,
            POLL,
            None,
        );
        assert_eq!(held.value(at(2)), Value::Number(0.5));
        assert!(!held.is_fresh(at(9)));
    }

    #[test]
    fn an_error_takes_the_place_of_the_value_unless_it_is_only_early() {
        let mut held = after(Sample::Gauge(0.5), Unit::Ratio);
        held.unreadable(at(2), &ReadError::NotYet { retry_at: at(2) }, POLL);
        assert_eq!(held.value(at(2)), Value::Number(0.5));
        held.unreadable(at(2), &ReadError::NoData, POLL);
        assert_eq!(held.value(at(2)), Value::Missing(Missing::NoData));
    }

    #[test]
    fn instances_before_the_deployment_are_put_together() {
        let before = |samples: &[Sample], unit| {
            let readings: Vec<Reading> = samples.iter().map(|s| reading(1, s.clone())).collect();
            Held::before(readings.iter(), unit)
        };
        let counts = |bad, total| Sample::Counts { bad, total };
        for (samples, unit, value) in [
            (vec![], Unit::Ratio, Value::Missing(Missing::NoData)),
            (
                vec![counts(1, 10), counts(5, 10)],
                Unit::Ratio,
                Value::Number(0.3),
            ),
            (
                vec![counts(0, 0), counts(5, 10)],
                Unit::Percent,
                Value::Number(50.0),
            ),
            (
                vec![Sample::Gauge(1.0), Sample::Gauge(2.0), Sample::Gauge(6.0)],
                Unit::Seconds,
                Value::Number(3.0),
            ),
            (
                vec![Sample::Gauge(f64::NAN), Sample::Gauge(2.0)],
                Unit::Seconds,
                Value::Number(2.0),
            ),
        ] {
            assert_eq!(before(&samples, unit).value(at(99)), value, "{samples:?}");
        }
    }
}
