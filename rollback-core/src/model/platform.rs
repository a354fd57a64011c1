//! The platform as it was observed: levels, not events.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{ChangeId, Etag, InstanceId, ReleaseId, Timestamp, Weight};

/// What the platform was told to run: each release with its share of the traffic. The fence of
/// every change: a change is only sent while the platform still wants what it was decided for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wanted(BTreeMap<ReleaseId, Weight>);

impl Wanted {
    /// Nothing runs.
    #[must_use]
    pub const fn nothing() -> Self {
        Self(BTreeMap::new())
    }

    /// One release with all traffic.
    #[must_use]
    pub fn only(release: ReleaseId) -> Self {
        Self(BTreeMap::from([(release, Weight::ALL)]))
    }

    /// The same with `release` at `weight`.
    #[must_use]
    pub fn with(mut self, release: ReleaseId, weight: Weight) -> Self {
        self.0.insert(release, weight);
        self
    }

    /// The same without `release`.
    #[must_use]
    pub fn without(mut self, release: &ReleaseId) -> Self {
        self.0.remove(release);
        self
    }

    /// Whether `release` should run.
    #[must_use]
    pub fn runs(&self, release: &ReleaseId) -> bool {
        self.0.contains_key(release)
    }

    /// The share of `release`; none if it should not run.
    #[must_use]
    pub fn weight(&self, release: &ReleaseId) -> Weight {
        self.0.get(release).copied().unwrap_or(Weight::NONE)
    }

    /// Each release with its share, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&ReleaseId, Weight)> {
        self.0.iter().map(|(release, weight)| (release, *weight))
    }

    /// The release with the greatest share; the first of them by id.
    #[must_use]
    pub fn main(&self) -> Option<&ReleaseId> {
        let most = self.0.values().max()?;
        self.0.iter().find(|(_, w)| *w == most).map(|(r, _)| r)
    }

    /// Whether nothing should run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (i, (release, weight)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" + ")?;
            }
            write!(f, "{release} at {weight}")?;
        }
        Ok(())
    }
}

/// How far an arm is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ArmState {
    /// On the way to what is wanted.
    Converging,
    /// As wanted, and every instance ready.
    Ready,
    /// The platform says that it will not get there.
    Failing {
        /// The platform's words.
        why: Arc<str>,
    },
    /// Not wanted any more and no instance left.
    Gone,
    /// A state that this adapter does not know.
    Unknown {
        /// The platform's word.
        word: Arc<str>,
    },
}

/// How one instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InstanceState {
    /// Started, not ready.
    Starting,
    /// Ready for traffic.
    Ready,
    /// Runs, and its health check fails.
    Unhealthy,
    /// Ended by itself.
    Exited {
        /// How: `exit status 1`, `signal 9 (OOM)`.
        how: Arc<str>,
    },
    /// Being stopped as wanted.
    Stopping,
}

/// One running unit of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// The platform's name of it.
    pub id: InstanceId,
    /// Where it answers, for example `127.0.0.1:8080`.
    pub address: Option<Arc<str>>,
    /// When it was started.
    pub since: Timestamp,
    /// How it is.
    pub state: InstanceState,
    /// How often it was started again since it was created.
    pub restarts: u32,
}

impl Instance {
    /// An instance that has just been started.
    #[must_use]
    pub const fn new(id: InstanceId, since: Timestamp, state: InstanceState) -> Self {
        Self {
            id,
            address: None,
            since,
            state,
            restarts: 0,
        }
    }

    /// The same, answering at `address`.
    #[must_use]
    pub fn at(mut self, address: impl AsRef<str>) -> Self {
        self.address = Some(Arc::from(address.as_ref()));
        self
    }

    /// The same after `restarts` restarts.
    #[must_use]
    pub const fn restarted(mut self, restarts: u32) -> Self {
        self.restarts = restarts;
        self
    }
}

/// One release on the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ArmObservation {
    /// Which release.
    pub release: ReleaseId,
    /// How far it is.
    pub state: ArmState,
    /// The traffic it carries now (not: should carry).
    pub weight: Weight,
    /// Its instances.
    pub instances: Arc<[Instance]>,
}

impl ArmObservation {
    /// A release as it was seen.
    #[must_use]
    pub fn new(
        release: ReleaseId,
        state: ArmState,
        weight: Weight,
        instances: impl Into<Arc<[Instance]>>,
    ) -> Self {
        Self {
            release,
            state,
            weight,
            instances: instances.into(),
        }
    }
}

/// How far the platform's own rollback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlatformRollbackState {
    /// On its way.
    Started,
    /// Done.
    Completed,
    /// Given up.
    Paused,
}

/// The platform rolled back by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlatformRollback {
    /// The release it left.
    pub from: ReleaseId,
    /// The release it returns to.
    pub to: ReleaseId,
    /// How far it is.
    pub state: PlatformRollbackState,
    /// Its own words.
    pub why: Arc<str>,
}

impl PlatformRollback {
    /// A rollback of the platform's own.
    #[must_use]
    pub fn new(
        from: ReleaseId,
        to: ReleaseId,
        state: PlatformRollbackState,
        why: impl AsRef<str>,
    ) -> Self {
        Self {
            from,
            to,
            state,
            why: Arc::from(why.as_ref()),
        }
    }
}

/// One look at the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Observation {
    /// The version of the state that was seen, if the platform has such marks.
    pub etag: Option<Etag>,
    /// What the platform was told to run.
    pub wanted: Wanted,
    /// What runs.
    pub arms: Arc<[ArmObservation]>,
    /// The tag of the last change, where the platform can carry one.
    pub last_change: Option<ChangeId>,
    /// A rollback of the platform's own.
    pub platform_rollback: Option<PlatformRollback>,
}

impl Observation {
    /// A look at a platform that was told to run `wanted` and runs `arms`.
    #[must_use]
    pub fn new(wanted: Wanted, arms: impl Into<Arc<[ArmObservation]>>) -> Self {
        Self {
            etag: None,
            wanted,
            arms: arms.into(),
            last_change: None,
            platform_rollback: None,
        }
    }

    /// The arm of `release`.
    #[must_use]
    pub fn arm(&self, release: &ReleaseId) -> Option<&ArmObservation> {
        self.arms.iter().find(|arm| arm.release == *release)
    }

    /// Whether the arm of `release` is as wanted and ready.
    #[must_use]
    pub fn is_ready(&self, release: &ReleaseId) -> bool {
        self.arm(release)
            .is_some_and(|arm| arm.state == ArmState::Ready)
    }

    /// The traffic that `release` carries now.
    #[must_use]
    pub fn weight(&self, release: &ReleaseId) -> Weight {
        self.arm(release).map_or(Weight::NONE, |arm| arm.weight)
    }
}
