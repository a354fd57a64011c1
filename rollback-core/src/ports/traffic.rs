//! Traffic that is another system than the platform: a proxy, a load balancer, a mesh.

use std::{collections::BTreeMap, fmt::Debug};

use async_trait::async_trait;

use crate::model::{Accepted, ChangeError, ChangeId, Etag, Instance, ReleaseId, ServiceId, Weight};

/// How traffic is divided now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// The mark of this state, if there are such marks.
    pub etag: Option<Etag>,
    /// Each release with its share.
    pub weights: BTreeMap<ReleaseId, Weight>,
    /// The tag of the last change, where the system can carry one.
    pub last_change: Option<ChangeId>,
    /// How much each release is still answering (requests, or connections that stay), where the
    /// system knows: an instance is not stopped while it answers.
    pub open: BTreeMap<ReleaseId, u64>,
}

impl Traffic {
    /// Traffic divided like this.
    #[must_use]
    pub const fn new(etag: Option<Etag>, weights: BTreeMap<ReleaseId, Weight>) -> Self {
        Self {
            etag,
            weights,
            last_change: None,
            open: BTreeMap::new(),
        }
    }
}

/// Divides traffic between releases. `WithTraffic` in `rollback` joins it with a deployer.
#[async_trait]
pub trait TrafficShifter: Debug + Send + Sync + 'static {
    /// How traffic is divided now.
    ///
    /// # Errors
    /// Any [`ChangeError`].
    async fn traffic(&self, service: &ServiceId) -> Result<Traffic, ChangeError>;

    /// Divides traffic by `weights`, if it is still at `expect`. Releases not named get none.
    ///
    /// # Errors
    /// [`ChangeError`] keeps *not sent* apart from *maybe sent*.
    async fn shift(
        &self,
        service: &ServiceId,
        id: &ChangeId,
        weights: &BTreeMap<ReleaseId, Weight>,
        expect: Option<&Etag>,
    ) -> Result<Accepted, ChangeError>;

    /// Tells where the instances of each release answer. Called whenever they changed, when the
    /// system's mark is another than the last one seen, and before each shift; must be idempotent.
    /// A system that was started anew and has forgotten how traffic was divided is told here.
    ///
    /// # Errors
    /// Any [`ChangeError`].
    async fn instances(
        &self,
        service: &ServiceId,
        instances: &BTreeMap<ReleaseId, Vec<Instance>>,
    ) -> Result<(), ChangeError>;
}
