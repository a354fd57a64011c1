//! An alarm of somebody else's: a metric that says `OK`, `ALARM` or `INSUFFICIENT_DATA`.
//!
//! - `ALARM` is bad. It has its own periods, so it fails at once; `delay` gives it time to clear.
//! - `INSUFFICIENT_DATA`, another word and an alarm that is not there are no sight: `Unknown`.
//! - One that was in `ALARM` before the deployment is not blamed on the candidate, as ECS leaves such
//!   an alarm out for the whole deployment.

use std::sync::Arc;

use super::{
    threshold::{Terms, Threshold},
    watched::Watched,
};
use crate::{
    condition::ConditionError,
    model::{
        Explanation, MetricId, ReadError, Reading, Sample, Scope, Timestamp, TriggerId, Verdict,
    },
    policy::{Policy, Shape},
    ports::{Evidence, MetricNeed, Trigger, WatchStart},
};

/// `alarm: METRIC`.
#[derive(Debug)]
pub struct Alarm(Threshold);

impl Alarm {
    /// A rule over a metric of states.
    ///
    /// # Errors
    /// The policy has no such metric, or it has numbers.
    pub fn new(name: Arc<str>, metric: &MetricId, policy: &Policy) -> Result<Self, ConditionError> {
        let condition = format!("{metric} == 'ALARM'");
        Threshold::new(name, &condition, Shape::ONCE, policy).map(Self)
    }
}

impl Trigger for Alarm {
    fn id(&self) -> TriggerId {
        self.0.id()
    }

    fn reads(&self) -> Vec<MetricNeed> {
        self.0.reads()
    }

    fn begin(&self, watch: &WatchStart) -> Box<dyn Evidence> {
        let terms: Arc<Terms> = Arc::clone(self.0.terms());
        Box::new(Heard(Watched::new(terms, watch)))
    }
}

/// The evidence of one watch.
#[derive(Debug)]
struct Heard(Watched);

impl Evidence for Heard {
    fn observe(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, reading: &Reading) {
        let unheard = match &reading.sample {
            Sample::State(word) => match &**word {
                "OK" | "ALARM" => None,
                "INSUFFICIENT_DATA" => Some(ReadError::NoData),
                other => Some(ReadError::BadQuery {
                    why: format!("an alarm says OK, ALARM or INSUFFICIENT_DATA, and not `{other}`"),
                }),
            },
            _ => None,
        };
        match unheard {
            Some(error) => self.0.unreadable(at, metric, scope, &error),
            None => self.0.observe(at, metric, scope, reading),
        }
    }

    fn unreadable(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, error: &ReadError) {
        self.0.unreadable(at, metric, scope, error);
    }

    fn verdict(&self, at: Timestamp) -> Verdict {
        self.0.verdict(at)
    }

    fn next_wake(&self, at: Timestamp) -> Option<Timestamp> {
        self.0.next_wake(at)
    }

    fn also_elsewhere(&self, at: Timestamp) -> Option<Arc<str>> {
        self.0.also_elsewhere(at)
    }

    fn explain(&self, at: Timestamp) -> Explanation {
        self.0.explain(at)
    }
}
