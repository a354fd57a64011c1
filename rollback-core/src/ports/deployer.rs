//! The platform that runs releases.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;

use crate::model::{
    Accepted, ChangeError, ChangeRequest, Observation, Release, ReleaseId, ServiceId,
};

/// What a platform can and cannot do. Conformance cases and the engine's caution follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// A change is refused by the platform itself if its state moved since it was seen.
    pub compare_and_set: bool,
    /// A change leaves a tag that an observation shows again.
    pub tags_changes: bool,
    /// Two releases can run beside each other.
    pub two_arms: bool,
    /// Traffic can be divided between them.
    pub weights: bool,
    /// A release can take the place of what runs.
    pub in_place: bool,
    /// It can do so instance by instance, with a bound on how many are missing or in excess.
    pub rolling: bool,
    /// It can do so after everything that runs was stopped.
    pub stops_first: bool,
    /// The platform moves a release out by itself; we only watch.
    pub drives_rollout: bool,
    /// The platform may roll back by itself.
    pub rolls_back_itself: bool,
    /// How long a change may take to show in an observation.
    pub settle: Duration,
}

impl Capabilities {
    /// A platform that can do nothing but replace, and shows changes after `settle`.
    #[must_use]
    pub const fn least(settle: Duration) -> Self {
        Self {
            compare_and_set: false,
            tags_changes: false,
            two_arms: false,
            weights: false,
            in_place: true,
            rolling: false,
            stops_first: false,
            drives_rollout: false,
            rolls_back_itself: false,
            settle,
        }
    }

    /// The same with compare-and-set.
    #[must_use]
    pub const fn with_compare_and_set(mut self) -> Self {
        self.compare_and_set = true;
        self
    }

    /// The same with tags.
    #[must_use]
    pub const fn with_tags(mut self) -> Self {
        self.tags_changes = true;
        self
    }

    /// The same with two arms.
    #[must_use]
    pub const fn with_two_arms(mut self) -> Self {
        self.two_arms = true;
        self
    }

    /// The same with weights.
    #[must_use]
    pub const fn with_weights(mut self) -> Self {
        self.weights = true;
        self
    }

    /// The same, replacing instance by instance.
    #[must_use]
    pub const fn with_rolling(mut self) -> Self {
        self.in_place = true;
        self.rolling = true;
        self
    }

    /// The same, stopping what runs first.
    #[must_use]
    pub const fn with_stop_first(mut self) -> Self {
        self.in_place = true;
        self.stops_first = true;
        self
    }

    /// The same where nothing can be replaced in its place, such as behind a traffic shifter.
    #[must_use]
    pub const fn never_in_place(mut self) -> Self {
        self.in_place = false;
        self.rolling = false;
        self.stops_first = false;
        self
    }

    /// The same on a platform that drives its own rollout.
    #[must_use]
    pub const fn driving_its_rollout(mut self) -> Self {
        self.drives_rollout = true;
        self
    }

    /// The same on a platform that rolls back by itself.
    #[must_use]
    pub const fn rolling_back_itself(mut self) -> Self {
        self.rolls_back_itself = true;
        self
    }
}

/// A platform. Implementations retry nothing beyond one request: the engine owns every wait.
#[async_trait]
pub trait Deployer: Debug + Send + Sync + 'static {
    /// What it can do; constant.
    fn capabilities(&self) -> Capabilities;

    /// Looks at the service: levels, as true as the platform can say them.
    ///
    /// # Errors
    /// Any [`ChangeError`]; a look that failed changed nothing.
    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError>;

    /// Asks for one change and returns when it is accepted, not when it is in. It must not be
    /// taken if the platform wants anything but `request.expect.wanted`.
    ///
    /// # Errors
    /// [`ChangeError`] keeps *not sent* apart from *maybe sent*.
    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError>;

    /// Whether the release could be run now: it is there, can be fetched, is allowed.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] if not, with the reason.
    async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError>;

    /// The last lines that the instances of a release wrote, oldest first, without secrets; for
    /// the explanation. Nothing by default.
    async fn last_words(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        lines: usize,
    ) -> Vec<String> {
        let _ = (service, release, lines);
        Vec::new()
    }

    /// Returns when it may be worth looking: a hint that carries no fact. Never, by default.
    async fn changed(&self, service: &ServiceId) {
        let _ = service;
        std::future::pending().await
    }
}
