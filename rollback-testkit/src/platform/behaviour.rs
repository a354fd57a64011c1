//! How a release behaves once it runs: a function of the time since its start.

use std::{sync::Arc, time::Duration};

use rollback_core::model::{InstanceState, Timestamp};

/// The script of one release. The default is a good one: ready after a second, no errors.
///
/// ```
/// use std::time::Duration;
/// use rollback_testkit::platform::Behaviour;
/// let bad = Behaviour::good().with_errors(0.3).exiting_after(Duration::from_secs(20));
/// assert_eq!(bad.error_rate, 0.3);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Behaviour {
    /// How long an instance takes to become ready; none is never.
    pub ready_after: Option<Duration>,
    /// How long after each start an instance ends by itself; none is never.
    pub exits_after: Option<Duration>,
    /// The part of its answers that are bad, 0 to 1.
    pub error_rate: f64,
    /// From how long after its start on the other error rate holds.
    pub turns: Option<(Duration, f64)>,
    /// How long an answer takes, in milliseconds.
    pub latency_ms: f64,
    /// Why the platform would not run it, if it would not.
    pub refused: Option<Arc<str>>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::good()
    }
}

impl Behaviour {
    /// Ready after a second, no errors, fast.
    #[must_use]
    pub const fn good() -> Self {
        Self {
            ready_after: Some(Duration::from_secs(1)),
            exits_after: None,
            error_rate: 0.0,
            turns: None,
            latency_ms: 20.0,
            refused: None,
        }
    }

    /// Starts and never becomes ready.
    #[must_use]
    pub const fn never_ready() -> Self {
        let mut behaviour = Self::good();
        behaviour.ready_after = None;
        behaviour
    }

    /// The same, ready so long after its start.
    #[must_use]
    pub const fn ready_after(mut self, after: Duration) -> Self {
        self.ready_after = Some(after);
        self
    }

    /// The same, ending by itself so long after each start.
    #[must_use]
    pub const fn exiting_after(mut self, after: Duration) -> Self {
        self.exits_after = Some(after);
        self
    }

    /// The same, with this part of its answers bad.
    #[must_use]
    pub const fn with_errors(mut self, rate: f64) -> Self {
        self.error_rate = rate;
        self
    }

    /// The same, with another error rate from `after` its start on.
    #[must_use]
    pub const fn turning(mut self, after: Duration, rate: f64) -> Self {
        self.turns = Some((after, rate));
        self
    }

    /// The same, answering in so many milliseconds.
    #[must_use]
    pub const fn with_latency(mut self, millis: f64) -> Self {
        self.latency_ms = millis;
        self
    }

    /// A release that the platform will not run.
    #[must_use]
    pub fn refused(why: impl AsRef<str>) -> Self {
        let mut behaviour = Self::good();
        behaviour.refused = Some(Arc::from(why.as_ref()));
        behaviour
    }

    /// The state at `now` of an instance created at `since`, and how often it was started again.
    #[must_use]
    pub fn instance(&self, since: Timestamp, now: Timestamp) -> (InstanceState, u32) {
        let lived = now.since(since);
        let (lived, restarts) = match self.exits_after {
            Some(exits_after) => {
                let round = exits_after + RESTART_DELAY;
                let rounds = lived.as_millis() / round.as_millis().max(1);
                let restarts = u32::try_from(rounds).unwrap_or(u32::MAX);
                let lived = lived.saturating_sub(round.saturating_mul(restarts));
                if lived >= exits_after {
                    return (
                        InstanceState::Exited {
                            how: Arc::from("exit status 1"),
                        },
                        restarts,
                    );
                }
                (lived, restarts)
            }
            None => (lived, 0),
        };
        match self.ready_after {
            Some(after) if lived >= after => (InstanceState::Ready, restarts),
            _ => (InstanceState::Starting, restarts),
        }
    }

    /// How many bad answers there are per answer, integrated over `from..to` of the life of a
    /// release that was started at `since`; in answer-milliseconds.
    #[must_use]
    pub fn bad_millis(&self, since: Timestamp, from: Timestamp, to: Timestamp) -> f64 {
        let millis = |from: Timestamp, to: Timestamp| to.since(from).as_secs_f64() * 1_000.0;
        let Some((after, rate)) = self.turns else {
            return millis(from, to) * self.error_rate;
        };
        let turn = since.after(after).clamp(from, to.max(from));
        millis(from, turn) * self.error_rate + millis(turn, to) * rate
    }
}

/// How long the platform takes to start an instance again that ended by itself.
pub const RESTART_DELAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_exits_is_started_again() {
        let behaviour = Behaviour::good().exiting_after(Duration::from_secs(5));
        let since = Timestamp::from_millis(0);
        let at = |seconds: i64| behaviour.instance(since, Timestamp::from_millis(seconds * 1_000));
        assert_eq!(at(0), (InstanceState::Starting, 0));
        assert_eq!(at(2), (InstanceState::Ready, 0));
        assert!(matches!(at(5), (InstanceState::Exited { .. }, 0)));
        assert_eq!(at(6), (InstanceState::Starting, 1));
        assert_eq!(at(8), (InstanceState::Ready, 1));
    }

    #[test]
    fn a_release_that_turns_bad_counts_from_then_on() {
        let behaviour = Behaviour::good().turning(Duration::from_secs(10), 0.5);
        let since = Timestamp::from_millis(0);
        let bad = |from: i64, to: i64| {
            behaviour.bad_millis(
                since,
                Timestamp::from_millis(from),
                Timestamp::from_millis(to),
            )
        };
        assert_eq!(bad(0, 10_000), 0.0);
        assert_eq!(bad(8_000, 12_000), 1_000.0);
        assert_eq!(bad(20_000, 21_000), 500.0);
    }
}
