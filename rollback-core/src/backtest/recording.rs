//! Readings of one deployment as somebody kept them: series of rows, each ordered by time.
//!
//! A row at 12:00:10 tells what happened up to 12:00:10: counts since the row before, a value at
//! that moment.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    model::{Arm, InstanceId, MetricId, Query, Timestamp},
    policy::Metric,
};

/// Whose rows a series holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    pub(super) metric: MetricId,
    /// None: of the service as a whole.
    pub(super) arm: Option<Arm>,
    pub(super) instance: Option<InstanceId>,
}

/// What a row tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) at: Timestamp,
    /// Bad events and all events since the row before.
    pub(super) counts: Option<(u64, u64)>,
    pub(super) value: Option<Value>,
}

/// A value at the moment of its row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Word(Arc<str>),
}

/// The rows about one subject.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) subject: Subject,
    rows: Vec<Row>,
    pace: Duration,
}

impl Series {
    /// The rows after `from` up to `to`.
    pub(super) fn within(&self, from: Timestamp, to: Timestamp) -> &[Row] {
        let begin = self.rows.partition_point(|row| row.at <= from);
        let end = self.rows.partition_point(|row| row.at <= to);
        self.rows.get(begin..end).unwrap_or_default()
    }

    /// When its next row comes, if after `now` it merely is not due yet; none if the row that was
    /// due is missing, or nothing comes any more.
    pub(super) fn due_after(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.rows.partition_point(|row| row.at <= now);
        let last = self.rows.get(next.checked_sub(1)?)?;
        // Half an interval late is not yet missing.
        let due = last.at.after(self.pace + self.pace / 2);
        (now < due).then(|| self.rows.get(next).map_or(due, |row| row.at.min(due)))
    }
}

/// Readings of one deployment, read with [`Recording::from_csv`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recording {
    series: Vec<Series>,
}

impl Recording {
    pub(super) fn new(rows: BTreeMap<Subject, Vec<Row>>) -> Self {
        let series = rows.into_iter().map(|(subject, mut rows)| {
            rows.sort_by_key(|row| row.at);
            let pace = pace(&rows);
            Series {
                subject,
                rows,
                pace,
            }
        });
        Self {
            series: series.collect(),
        }
    }

    /// The names of its metrics, in their order.
    #[must_use]
    pub fn metrics(&self) -> Vec<&MetricId> {
        let mut names: Vec<_> = self.series.iter().map(|s| &s.subject.metric).collect();
        names.dedup();
        names
    }

    /// When the candidate was first heard of.
    #[must_use]
    pub fn first_of_candidate(&self) -> Option<Timestamp> {
        let candidate = |series: &&Series| series.subject.arm == Some(Arm::Candidate);
        let series = self.series.iter().filter(candidate);
        series
            .filter_map(|s| s.rows.first())
            .map(|row| row.at)
            .min()
    }

    /// The time of its last row.
    #[must_use]
    pub fn last(&self) -> Option<Timestamp> {
        let last = self.series.iter().filter_map(|s| s.rows.last());
        last.map(|row| row.at).max()
    }

    /// How far its rows lie apart: the usual distance within the series that has the most rows,
    /// one of the candidate if there is any. None if no series has two rows.
    #[must_use]
    pub fn pace(&self) -> Option<Duration> {
        let longest = self
            .series
            .iter()
            .filter(|series| !series.pace.is_zero())
            .max_by_key(|s| (s.subject.arm == Some(Arm::Candidate), s.rows.len()))?;
        Some(longest.pace)
    }

    /// The series about `metric` that `belongs` takes.
    pub(super) fn about<'a>(
        &'a self,
        metric: &'a MetricId,
        belongs: impl Fn(&Subject) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Series> {
        self.series
            .iter()
            .filter(move |s| s.subject.metric == *metric && belongs(&s.subject))
    }

    /// Whether it ever answers what the policy asks of an arm.
    pub(super) fn answers(&self, metric: &Metric, arm: Option<Arm>) -> bool {
        let asked = |row: &Row| match metric.query {
            Query::Counts { .. } => row.counts.is_some(),
            Query::Value(_) => row.value.is_some(),
        };
        self.about(&metric.id, |subject| arm.is_none() || subject.arm == arm)
            .any(|series| series.rows.iter().any(asked))
    }

    /// The instances of an arm, by name.
    pub(super) fn instances(&self, arm: Arm) -> Vec<InstanceId> {
        let of_arm = |series: &&Series| series.subject.arm == Some(arm);
        let named = self.series.iter().filter(of_arm);
        let mut names: Vec<_> = named.filter_map(|s| s.subject.instance.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The usual distance between rows: the mean of those that are about the median. Zero for a single
/// row.
fn pace(rows: &[Row]) -> Duration {
    let pairs = rows.iter().zip(rows.iter().skip(1));
    let mut distances: Vec<_> = pairs.map(|(one, next)| next.at.since(one.at)).collect();
    distances.sort_unstable();
    let Some(median) = distances.get(distances.len() / 2).copied() else {
        return Duration::ZERO;
    };
    let usual = |distance: &&Duration| (median / 2..=median * 3 / 2).contains(*distance);
    let (sum, count) = distances
        .iter()
        .filter(usual)
        .fold((Duration::ZERO, 0_u32), |(sum, count), distance| {
            (sum + *distance, count + 1)
        });
    let millis = (sum / count.max(1)).as_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn recording(times: &[i64]) -> Recording {
        let subject = Subject {
            metric: MetricId::new("errors").unwrap(),
            arm: Some(Arm::Candidate),
            instance: None,
        };
        let rows = times.iter().map(|seconds| Row {
            at: at(*seconds),
            counts: Some((0, 1)),
            value: None,
        });
        Recording::new(BTreeMap::from([(subject, rows.collect())]))
    }

    #[test]
    fn rows_are_put_in_order_and_their_pace_is_the_usual_one() {
        let recording = recording(&[30, 0, 10, 20, 90, 100]);
        assert_eq!(recording.pace(), Some(Duration::from_secs(10)));
        assert_eq!(recording.first_of_candidate(), Some(at(0)));
        assert_eq!(recording.last(), Some(at(100)));
    }

    #[test]
    fn a_row_counts_for_the_time_up_to_it() {
        let recording = recording(&[0, 10, 20]);
        let times = |from, to| -> Vec<i64> {
            let rows = recording.series[0].within(at(from), at(to));
            rows.iter().map(|row| row.at.as_millis() / 1_000).collect()
        };
        assert_eq!(times(0, 10), [10]);
        assert_eq!(times(-1, 20), [0, 10, 20]);
        assert!(times(10, 19).is_empty());
    }

    #[test]
    fn a_row_that_is_not_due_yet_is_told_from_one_that_is_missing() {
        let recording = recording(&[0, 10, 20, 60, 70]);
        let due = |seconds| recording.series[0].due_after(at(seconds));
        assert_eq!(due(-1), None, "before the first");
        assert_eq!(due(12), Some(at(20)));
        assert_eq!(due(34), Some(at(35)), "late");
        assert_eq!(due(40), None, "missing");
        assert_eq!(due(90), None, "over");
    }
}
