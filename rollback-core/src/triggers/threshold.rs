//! A condition that must not be true for too long, or too often.
//!
//! - How long or how often, its shape says: `for`, `times`, `consecutive`, `share`; or it is asked of
//!   the `average` of its metrics.
//! - The readings of one poll carry the same time and are judged together.
//! - `for` is measured by the ends of the windows that were seen to be bad, so it takes at least two
//!   bad readings to fill it: a single one never becomes a failure by waiting. While it fills, the
//!   verdict is `Inconclusive`. Polls are never quite on time: a tenth of a poll (or of `for`, where
//!   that is less) may be missing.
//! - A poll that could not see makes the verdict `Unknown`; it counts neither as bad nor as good. Only
//!   blindness for longer than a reading is believed (three polls, or two windows) makes `for`,
//!   `times` and `consecutive` start again.
//! - Too few polls, or too few readings for an average, are `Inconclusive`, never `Pass`.
//! - While a rollback is verified, the arm on trial is the stable one: `metric` and
//!   `candidate(metric)` then mean the restored release. It passes with its first good poll, since
//!   `verify.for` says how long it has to be good; while there are too few readings for an average
//!   the last one speaks.

use std::sync::Arc;

use super::{shape_wording::pending, watched::Watched};
use crate::{
    condition::{self, Condition, ConditionError},
    model::TriggerId,
    policy::{Metric, Policy, Shape},
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
    pub(super) shape: Shape,
    /// What is said while it is neither bad enough nor good.
    pub(super) pending: Arc<str>,
}

/// `when: CONDITION` with its shape.
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
        shape: Shape,
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
        Ok(Self(Arc::new(Terms {
            name,
            condition,
            reads,
            shape,
            pending: pending(&shape),
        })))
    }
}

impl Threshold {
    pub(super) const fn terms(&self) -> &Arc<Terms> {
        &self.0
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
        self.0.needs()
    }

    fn begin(&self, watch: &WatchStart) -> Box<dyn Evidence> {
        Box::new(Watched::new(Arc::clone(&self.0), watch))
    }
}

impl Terms {
    pub(super) fn needs(&self) -> Vec<MetricNeed> {
        let mut needs: Vec<MetricNeed> = Vec::new();
        for read in &self.reads {
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
}
