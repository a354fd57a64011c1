//! What was read of the deployment that is under way, as far as it is fresh and can be true.

use std::time::Duration;

use rollback_core::model::{Arm, MetricId, Reading, Sample, Scope, Timestamp};

use super::open::{Open, Stage};

/// A running total as it was read: since when it counts, bad and all events.
pub(super) type Total = (Timestamp, u64, u64);

/// The newest valid reading of a metric about an arm since the watch began, and the worst one
/// that is still fresh.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) to: Timestamp,
    pub(super) value: f64,
    pub(super) worst: f64,
    pub(super) best: f64,
}

impl Open {
    /// What was seen of a metric on the arm on trial, or of the service.
    pub(super) fn sight(&self, metric: &MetricId) -> Option<Sight> {
        let arm = match self.stage {
            Stage::Rollback => Arm::Stable,
            Stage::Preflight | Stage::Rollout => Arm::Candidate,
        };
        self.sights
            .get(&(metric.clone(), Some(arm)))
            .or_else(|| self.sights.get(&(metric.clone(), None)))
            .copied()
    }

    /// After this long a reading is not fresh any more.
    pub(super) fn life(&self) -> Duration {
        self.policy.poll * 3 + Duration::from_secs(5)
    }

    pub(super) fn see(
        &mut self,
        metric: &MetricId,
        scope: &Scope,
        reading: &Reading,
        at: Timestamp,
    ) {
        if reading.window.to.after(self.life()) < at {
            return;
        }
        let (value, best, worst) = match &reading.sample {
            Sample::Gauge(value) if value.is_finite() => (*value, *value, *value),
            Sample::Counts { bad, total } if *total > 0 => {
                let value = ratio(*bad, *total);
                (value, value, value)
            }
            Sample::Cumulative { since, bad, total } => {
                // Which of the last totals the next one is compared with depends on which of them
                // came in order: all are possible here.
                let whole = ratio(*bad, *total);
                let before = self
                    .totals
                    .entry((metric.clone(), scope.clone()))
                    .or_default();
                let steps: Vec<f64> = before
                    .iter()
                    .filter(|(s, b, t)| s == since && b <= bad && t < total)
                    .map(|(_, b, t)| ratio(bad - b, total - t))
                    .collect();
                let first = before.is_empty();
                before.push((*since, *bad, *total));
                if before.len() > 12 {
                    before.remove(0);
                }
                match steps.last() {
                    Some(last) if self.stage != Stage::Preflight => (
                        *last,
                        steps.iter().copied().fold(whole, f64::min),
                        steps.iter().copied().fold(whole, f64::max),
                    ),
                    // A first look at a total that began before the deployment says nothing of now.
                    _ if first && self.stage != Stage::Preflight && *since < self.opened_at => {
                        return;
                    }
                    _ if *total > 0 => (whole, whole, whole),
                    _ => return,
                }
            }
            _ => return,
        };
        if self.stage == Stage::Preflight {
            let before = self.before.entry(metric.clone()).or_insert(value);
            *before = before.max(value);
            return;
        }
        if self.watch_since.is_none() {
            return;
        }
        let life = self.life();
        let sight = self
            .sights
            .entry((metric.clone(), scope.arm()))
            .or_insert(Sight {
                to: reading.window.to,
                value,
                worst,
                best,
            });
        let fresh = sight.to.after(life) >= at;
        sight.worst = if fresh { sight.worst.max(worst) } else { worst };
        sight.best = best;
        sight.to = sight.to.max(reading.window.to);
        sight.value = value;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
fn ratio(bad: u64, total: u64) -> f64 {
    bad as f64 / total.max(1) as f64
}
