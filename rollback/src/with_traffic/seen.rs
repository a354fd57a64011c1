//! The platform and its traffic in one observation.

use rollback_core::{
    model::{ArmObservation, ChangeError, ChangeId, Observation, ReleaseId, Share, Wanted, Weight},
    ports::Traffic,
};

use super::etags::Etags;

/// Both, as they were seen.
pub(super) struct Seen {
    pub(super) platform: Observation,
    pub(super) traffic: Traffic,
}

impl Seen {
    pub(super) fn traffic_of(&self, release: &ReleaseId) -> Weight {
        let known = self.traffic.weights.get(release);
        known.copied().unwrap_or(Weight::NONE)
    }

    /// Refuses shares that are not the whole, or go to what does not run.
    pub(super) fn admits(&self, shares: &[Share]) -> Result<(), ChangeError> {
        let points = |share: &Share| u32::from(share.weight.basis_points());
        let sum: u32 = shares.iter().map(points).sum();
        if sum != u32::from(Weight::ALL.basis_points()) {
            return Err(ChangeError::refused(format_args!(
                "the shares add up to {} %, not to 100 %",
                f64::from(sum) / 100.0
            )));
        }
        let some = shares.iter().filter(|share| share.weight > Weight::NONE);
        for share in some {
            if !self.platform.wanted.runs(&share.release) {
                return Err(ChangeError::refused(format_args!(
                    "{} does not run; start it before it is sent traffic",
                    share.release
                )));
            }
        }
        Ok(())
    }

    /// One observation of the two.
    pub(super) fn merged(&self) -> Observation {
        let mut wanted = Wanted::nothing();
        for (release, _) in self.platform.wanted.iter() {
            wanted = wanted.with(release.clone(), self.traffic_of(release));
        }
        // Traffic to what should not run is not hidden.
        for (release, weight) in &self.traffic.weights {
            if *weight > Weight::NONE && !wanted.runs(release) {
                wanted = wanted.with(release.clone(), *weight);
            }
        }
        let arms: Vec<ArmObservation> = self
            .platform
            .arms
            .iter()
            .map(|arm| {
                let mut arm = arm.clone();
                arm.weight = self.traffic_of(&arm.release);
                arm
            })
            .collect();
        let mut merged = Observation::new(wanted, arms);
        merged.etag = Etags {
            platform: self.platform.etag.clone(),
            traffic: self.traffic.etag.clone(),
        }
        .joined();
        merged.last_change = later(
            self.platform.last_change.as_ref(),
            self.traffic.last_change.as_ref(),
        );
        merged
            .platform_rollback
            .clone_from(&self.platform.platform_rollback);
        merged
    }

    /// A conflict that the deployer saw, as we would have seen it.
    pub(super) fn in_our_words(&self, error: ChangeError) -> ChangeError {
        match error {
            ChangeError::Conflict { now: Some(now) } => {
                let seen = Self {
                    platform: *now,
                    traffic: self.traffic.clone(),
                };
                ChangeError::Conflict {
                    now: Some(Box::new(seen.merged())),
                }
            }
            other => other,
        }
    }
}

/// The later one of two changes of the same service.
fn later(a: Option<&ChangeId>, b: Option<&ChangeId>) -> Option<ChangeId> {
    /// Ids of deployments begin with the number of the entry that opened them.
    fn order(id: &ChangeId) -> (u64, u32, u32) {
        let text = id.deployment.as_str();
        let number = text
            .strip_prefix('d')
            .and_then(|rest| rest.split('-').next())
            .and_then(|number| number.parse().ok());
        (number.unwrap_or(0), id.step, id.attempt)
    }
    a.into_iter().chain(b).max_by_key(|id| order(id)).cloned()
}

#[cfg(test)]
mod tests {
    use rollback_core::model::DeploymentId;

    use super::*;

    #[test]
    fn the_later_change_is_that_of_the_later_deployment_and_step() {
        let id = |deployment: &str, step, attempt| ChangeId {
            deployment: DeploymentId::new(deployment).unwrap(),
            step,
            attempt,
        };
        for (a, b) in [
            (id("d9-ff", 5, 1), id("d10-01", 1, 1)),
            (id("d3-1", 1, 2), id("d3-1", 2, 1)),
            (id("d3-1", 2, 1), id("d3-1", 2, 2)),
        ] {
            assert_eq!(later(Some(&a), Some(&b)), Some(b.clone()));
            assert_eq!(later(Some(&b), Some(&a)), Some(b));
        }
        assert_eq!(later(None, None), None);
    }
}
