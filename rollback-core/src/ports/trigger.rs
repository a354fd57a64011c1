//! Rules that watch a deployment. Hosts write their own.

use std::{fmt::Debug, sync::Arc, time::Duration};

use crate::model::{
    Arm, DeploymentId, Explanation, MetricId, ReadError, Reading, ReleaseId, Scope, Timestamp,
    TriggerId, Verdict,
};

/// Which side of a comparison a rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArmSide {
    /// The arm on trial: the candidate during a rollout, the restored release while a rollback is
    /// verified.
    OnTrial,
    /// Both arms at the same time.
    Both,
    /// The stable arm only.
    Stable,
}

/// A metric that a rule reads. Readings of the other arm are delivered as well where there are any:
/// a rule needs them to tell what is not the candidate's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricNeed {
    /// Which.
    pub metric: MetricId,
    /// Of whom.
    pub side: ArmSide,
}

/// The circumstances a watch begins in.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WatchStart {
    /// When.
    pub at: Timestamp,
    /// For which deployment.
    pub deployment: DeploymentId,
    /// The arm on trial: the candidate, or the stable arm while a rollback is verified.
    pub on_trial: Arm,
    /// The proven release.
    pub stable: ReleaseId,
    /// The release on trial.
    pub candidate: ReleaseId,
    /// How often metrics are read.
    pub poll: Duration,
    /// How long the watch is planned to last.
    pub planned: Duration,
    /// What the metrics read before the deployment began, where they could be read.
    pub baseline: Arc<[(MetricId, Reading)]>,
}

impl WatchStart {
    /// The circumstances of a rollout's watch without a baseline.
    #[must_use]
    pub fn new(
        at: Timestamp,
        deployment: DeploymentId,
        stable: ReleaseId,
        candidate: ReleaseId,
        poll: Duration,
        planned: Duration,
    ) -> Self {
        Self {
            at,
            deployment,
            on_trial: Arm::Candidate,
            stable,
            candidate,
            poll,
            planned,
            baseline: Arc::from([]),
        }
    }

    /// The same with what was read before.
    #[must_use]
    pub fn with_baseline(mut self, baseline: impl Into<Arc<[(MetricId, Reading)]>>) -> Self {
        self.baseline = baseline.into();
        self
    }

    /// The same, with the stable arm on trial: a rollback is verified.
    #[must_use]
    pub const fn verifying(mut self) -> Self {
        self.on_trial = Arm::Stable;
        self
    }

    /// Whether a rollback is verified.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.on_trial == Arm::Stable
    }

    /// The arm that the rule compares with.
    #[must_use]
    pub const fn other(&self) -> Arm {
        self.on_trial.other()
    }
}

/// An immutable rule.
///
/// ```
/// use rollback_core::{model::*, ports::*};
///
/// /// Fails once the service says `sick`.
/// #[derive(Debug)]
/// struct SaysSick { metric: MetricId }
///
/// #[derive(Debug, Default)]
/// struct Seen { sick: bool, any: bool }
///
/// impl Trigger for SaysSick {
///     fn id(&self) -> TriggerId { TriggerId::new("says_sick", 1) }
///     fn reads(&self) -> Vec<MetricNeed> {
///         vec![MetricNeed { metric: self.metric.clone(), side: ArmSide::OnTrial }]
///     }
///     fn begin(&self, _: &WatchStart) -> Box<dyn Evidence> { Box::new(Seen::default()) }
/// }
///
/// impl Evidence for Seen {
///     fn observe(&mut self, _: Timestamp, _: &MetricId, _: &Scope, reading: &Reading) {
///         self.any = true;
///         self.sick |= reading.sample == Sample::State("sick".into());
///     }
///     fn verdict(&self, _: Timestamp) -> Verdict {
///         if self.sick { Verdict::Fail } else if self.any { Verdict::Pass }
///         else { Verdict::Unknown(UnknownReason::NothingYet) }
///     }
///     fn next_wake(&self, _: Timestamp) -> Option<Timestamp> { None }
///     fn explain(&self, _: Timestamp) -> Explanation { Explanation::default() }
/// }
/// ```
pub trait Trigger: Debug + Send + Sync + 'static {
    /// Name and version; a deployment is pinned to both.
    fn id(&self) -> TriggerId;

    /// What it reads.
    fn reads(&self) -> Vec<MetricNeed>;

    /// Whether it says anything of a release that a rollback restored. There is one arm only then, so
    /// by default a rule that needs both takes no part.
    fn judges_restored(&self) -> bool {
        self.reads().iter().all(|need| need.side != ArmSide::Both)
    }

    /// Fresh evidence for one watch.
    fn begin(&self, watch: &WatchStart) -> Box<dyn Evidence>;
}

/// All state of a rule in one watch: born with it, rebuilt only by folding, O(1) per reading.
pub trait Evidence: Debug + Send {
    /// Folds one reading: counts are increments, each counted once, summed over the instances of
    /// an arm; values and states of a metric read `per: instance` come for each instance. All
    /// readings of one poll come with the same time.
    fn observe(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, reading: &Reading);

    /// A metric could not be read. Ignored by default: the engine knows what is stale.
    fn unreadable(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, error: &ReadError) {
        let _ = (at, metric, scope, error);
    }

    /// A task of the plan ended: good, or bad with its last words. What ended before the watch began
    /// is told when it begins. Ignored by default.
    fn task_ended(&mut self, at: Timestamp, task: &str, result: Result<(), &str>) {
        let _ = (at, task, result);
    }

    /// What follows from the evidence so far.
    fn verdict(&self, at: Timestamp) -> Verdict;

    /// When the verdict may change without a new reading (`for`, warm-up).
    fn next_wake(&self, at: Timestamp) -> Option<Timestamp>;

    /// Whether what is bad is as bad where the candidate cannot be the cause: on the stable arm at
    /// the same time, or before the deployment began; the reason in words. The candidate is not
    /// blamed for it. By default nothing is known of elsewhere.
    fn also_elsewhere(&self, at: Timestamp) -> Option<Arc<str>> {
        let _ = at;
        None
    }

    /// The numbers.
    fn explain(&self, at: Timestamp) -> Explanation;
}
