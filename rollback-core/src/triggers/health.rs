//! Health as a score: critical checks first, then by score alone.
//!
//! - Each check is a condition of its own; a check that cannot see counts neither as passing nor as
//!   failing. If the class would be too bad or good enough either way, that is said; else the verdict is
//!   `Unknown`.
//! - Its shape looks at whole polls: bad is one in which the class is too bad.
//! - A check that is as bad elsewhere counts as passing when the candidate is blamed.

use std::{sync::Arc, time::Duration};

use super::{
    health_wording,
    polls::{Poll, Polls, Said},
    shape_wording::pending,
    streak::Seen,
    threshold::{Terms, Threshold},
    watched::Watched,
};
use crate::{
    condition::ConditionError,
    model::{
        Explanation, MetricId, ReadError, Reading, Scope, Timestamp, TriggerId, UnknownReason,
        Verdict,
    },
    policy::{Health, Policy, Shape},
    ports::{ArmSide, Evidence, MetricNeed, Trigger, WatchStart},
};

/// The version of this rule's code.
const VERSION: u32 = 1;

/// What does not change.
#[derive(Debug)]
pub(super) struct Scored {
    pub(super) name: Arc<str>,
    pub(super) health: Health,
    pub(super) shape: Shape,
    pending: Arc<str>,
    checks: Vec<Arc<Terms>>,
}

/// `health:` with its checks and its shape.
#[derive(Debug)]
pub struct HealthScore(Arc<Scored>);

impl HealthScore {
    /// A rule over the metrics of a policy.
    ///
    /// # Errors
    /// The condition of a check is not one, or reads what is not among the metrics.
    pub fn new(
        name: Arc<str>,
        health: Health,
        shape: Shape,
        policy: &Policy,
    ) -> Result<Self, ConditionError> {
        let checks = health
            .checks
            .iter()
            .map(|check| {
                let name = Arc::clone(&check.name);
                let threshold = Threshold::new(name, &check.when, Shape::ONCE, policy)?;
                Ok(Arc::clone(threshold.terms()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Scored {
            name,
            health,
            shape,
            pending: pending(&shape),
            checks,
        })))
    }
}

impl Trigger for HealthScore {
    fn id(&self) -> TriggerId {
        TriggerId {
            name: Arc::clone(&self.0.name),
            version: VERSION,
        }
    }

    fn reads(&self) -> Vec<MetricNeed> {
        let mut needs: Vec<MetricNeed> = Vec::new();
        for need in self.0.checks.iter().flat_map(|terms| terms.needs()) {
            match needs.iter_mut().find(|known| known.metric == need.metric) {
                Some(known) if known.side != need.side => known.side = ArmSide::Both,
                Some(_) => {}
                None => needs.push(need),
            }
        }
        needs
    }

    fn begin(&self, watch: &WatchStart) -> Box<dyn Evidence> {
        let checks = self.0.checks.iter();
        Box::new(Checked {
            terms: Arc::clone(&self.0),
            verifies: watch.verifies(),
            every: watch.poll,
            checks: checks
                .map(|terms| Watched::new(Arc::clone(terms), watch))
                .collect(),
            polled: None,
            polls: Polls::default(),
            blamed: Polls::default(),
        })
    }
}

/// The evidence of one watch.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) terms: Arc<Scored>,
    verifies: bool,
    every: Duration,
    /// In the order of the policy.
    pub(super) checks: Vec<Watched>,
    /// The poll whose readings are coming in.
    polled: Option<Timestamp>,
    /// Up to the poll before.
    polls: Polls,
    /// The same, where checks that are as bad elsewhere pass.
    blamed: Polls,
}

/// What the checks say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passing: usize,
    pub(super) failing: usize,
    pub(super) unseen: Option<UnknownReason>,
    pub(super) unseen_checks: usize,
    critical_fails: bool,
    critical_unseen: bool,
}

impl Count {
    pub(super) fn seen(&self, health: &Health) -> Seen {
        let best = health.class(self.passing + self.unseen_checks, self.critical_fails);
        let worst = health.class(self.passing, self.critical_fails || self.critical_unseen);
        match (health.fails(best), health.fails(worst)) {
            (true, true) => Seen::Bad,
            (false, false) => Seen::Good,
            _ => Seen::Nothing,
        }
    }

    /// The class, where what cannot be seen passes.
    pub(super) fn class(&self, health: &Health) -> crate::policy::HealthClass {
        health.class(self.passing + self.unseen_checks, self.critical_fails)
    }
}

impl Checked {
    pub(super) fn count(&self, at: Timestamp, blaming: bool) -> Count {
        let mut count = Count::default();
        for (check, watched) in self.terms.health.checks.iter().zip(&self.checks) {
            match watched.verdict(at) {
                Verdict::Fail if !(blaming && watched.also_elsewhere(at).is_some()) => {
                    count.failing += 1;
                    count.critical_fails |= check.critical;
                }
                Verdict::Fail | Verdict::Pass => count.passing += 1,
                Verdict::Unknown(why) => {
                    count.unseen = count.unseen.or(Some(why));
                    count.unseen_checks += 1;
                    count.critical_unseen |= check.critical;
                }
                // One poll decides, so this is never said.
                Verdict::Inconclusive(_) => count.unseen_checks += 1,
            }
        }
        count
    }

    pub(super) fn poll_at(&self, at: Timestamp, blaming: bool) -> Poll {
        let windows = self.checks.iter().filter_map(Watched::window);
        Poll {
            shape: self.terms.shape,
            seen: self.count(at, blaming).seen(&self.terms.health),
            window: windows.max_by_key(|window| window.to),
            believed: self
                .checks
                .iter()
                .map(Watched::believed)
                .max()
                .unwrap_or(self.every),
            every: self.every,
        }
    }

    pub(super) fn polls(&self) -> &Polls {
        &self.polls
    }

    fn begin_poll(&mut self, at: Timestamp) {
        if self.polled == Some(at) {
            return;
        }
        if let Some(before) = self.polled {
            let poll = self.poll_at(before, false);
            let blamed = match poll.seen {
                Seen::Bad => self.poll_at(before, true),
                _ => poll,
            };
            self.polls.add(&poll);
            self.blamed.add(&blamed);
        }
        self.polled = Some(at);
    }
}

impl Evidence for Checked {
    fn observe(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, reading: &Reading) {
        self.begin_poll(at);
        for check in &mut self.checks {
            check.observe(at, metric, scope, reading);
        }
    }

    fn unreadable(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, error: &ReadError) {
        self.begin_poll(at);
        for check in &mut self.checks {
            check.unreadable(at, metric, scope, error);
        }
    }

    fn verdict(&self, at: Timestamp) -> Verdict {
        let count = self.count(at, false);
        let poll = self.poll_at(at, false);
        if poll.seen == Seen::Nothing {
            return Verdict::Unknown(count.unseen.unwrap_or(UnknownReason::NothingYet));
        }
        match self.polls.say(&poll) {
            Said::Bad => Verdict::Fail,
            Said::Good => Verdict::Pass,
            // How long it has to be good is said by `verify.for`, not by the shape.
            Said::NotYet if self.verifies && poll.seen == Seen::Good => Verdict::Pass,
            Said::NotYet => Verdict::Inconclusive(Arc::clone(&self.terms.pending)),
        }
    }

    fn next_wake(&self, at: Timestamp) -> Option<Timestamp> {
        let wakes = self.checks.iter().map(|check| check.next_wake(at));
        wakes.flatten().min()
    }

    fn also_elsewhere(&self, at: Timestamp) -> Option<Arc<str>> {
        let now = self.poll_at(at, false);
        if self.verifies || self.polls.say(&now) != Said::Bad {
            return None;
        }
        let blamed = match now.seen {
            Seen::Bad => self.poll_at(at, true),
            _ => now,
        };
        // `for` is asked about what is bad now; the others about polls, each for itself.
        let is_blamed = match self.terms.shape {
            Shape::Lasting(_) => blamed.seen == Seen::Bad,
            _ => self.blamed.say(&blamed) == Said::Bad,
        };
        (!is_blamed).then(|| {
            let checks = self.terms.health.checks.iter().zip(&self.checks);
            let excuses: Vec<String> = checks
                .filter_map(|(check, watched)| {
                    let why = watched.also_elsewhere(at)?;
                    Some(format!("{}: {why}", check.name))
                })
                .collect();
            if excuses.is_empty() {
                Arc::from("it was as bad elsewhere in too many of the bad polls")
            } else {
                excuses.join("; ").into()
            }
        })
    }

    fn explain(&self, at: Timestamp) -> Explanation {
        health_wording::explanation(self, at)
    }
}
