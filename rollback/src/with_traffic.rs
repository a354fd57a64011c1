//! A platform whose traffic is another system: one deployer of the two.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, ArmObservation, Change, ChangeError, ChangeId, ChangeRequest, Etag, Expectation,
        Instance, Observation, Placement, Release, ReleaseId, ServiceId, Share, Wanted, Weight,
    },
    ports::{Capabilities, Deployer, Traffic, TrafficShifter},
};

/// A deployer for capacity and a [`TrafficShifter`] for traffic, as one [`Deployer`].
///
/// | of the contract | here |
/// |---|---|
/// | `wanted` | releases of the deployer, their weights from the shifter |
/// | etag | both |
/// | weights | to the shifter, after it was told where the instances are |
/// | converge, retire | to the deployer; retire is refused while the shifter still sends traffic |
/// | tag of the last change | the later one of the two |
///
/// The deployer's own weights are ignored. Replacing in place is not supported: who takes the
/// traffic over could not be said in one change.
#[derive(Debug)]
pub struct WithTraffic<D, S> {
    deployer: D,
    shifter: S,
    tagged: bool,
    told: Mutex<BTreeMap<ServiceId, Told>>,
}

type Told = BTreeMap<ReleaseId, Vec<Instance>>;

impl<D: Deployer, S: TrafficShifter> WithTraffic<D, S> {
    /// The two as one.
    pub const fn new(deployer: D, shifter: S) -> Self {
        Self {
            deployer,
            shifter,
            tagged: false,
            told: Mutex::new(BTreeMap::new()),
        }
    }

    /// The shifter carries the tag of its last change too: the pair then tags its changes if the
    /// deployer does.
    #[must_use]
    pub const fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }

    /// Both, as they are now. The shifter is told of instances first, so that its mark is that of
    /// after.
    async fn look(&self, service: &ServiceId) -> Result<Seen, ChangeError> {
        let platform = self.deployer.observe(service).await?;
        // Not told now is told again at the next look, and before every shift.
        let _ = self.tell(service, &platform, false).await;
        let traffic = self.shifter.traffic(service).await?;
        Ok(Seen { platform, traffic })
    }

    /// Tells the shifter where the instances are: `again`, or if that changed since it was told.
    async fn tell(
        &self,
        service: &ServiceId,
        platform: &Observation,
        again: bool,
    ) -> Result<(), ChangeError> {
        let arms = platform.arms.iter();
        let instances: Told = arms
            .map(|arm| (arm.release.clone(), arm.instances.to_vec()))
            .collect();
        if !again && self.told().get(service) == Some(&instances) {
            return Ok(());
        }
        let told = self.shifter.instances(service, &instances).await;
        match told {
            Ok(()) => {
                self.told().insert(service.clone(), instances);
                Ok(())
            }
            Err(error) => {
                self.told().remove(service);
                Err(error)
            }
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceId, Told>> {
        // Nothing panics while the lock is held.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn shift(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
        shares: &[Share],
        seen: &Seen,
    ) -> Result<Accepted, ChangeError> {
        seen.admits(shares)?;
        seen.refuse_what_cannot_be(shares)?;
        let told = self.tell(service, &seen.platform, true).await;
        told.map_err(not_sent)?;
        let weights: BTreeMap<ReleaseId, Weight> = shares
            .iter()
            .map(|share| (share.release.clone(), share.weight))
            .collect();
        let expected = request.expect.etag.as_ref().map(Etags::of);
        let expected = expected.and_then(|both| both.traffic);
        let accepted = self
            .shifter
            .shift(service, &request.id, &weights, expected.as_ref())
            .await?;
        let both = Etags {
            platform: seen.platform.etag.clone(),
            traffic: accepted.etag,
        };
        Ok(Accepted::at(both.joined()))
    }
}

#[async_trait]
impl<D: Deployer, S: TrafficShifter> Deployer for WithTraffic<D, S> {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.deployer.capabilities().with_weights().never_in_place();
        capabilities.tags_changes &= self.tagged;
        capabilities
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        Ok(self.look(service).await?.merged())
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let seen = self.look(service).await.map_err(not_sent)?;
        let now = seen.merged();
        let marked = |etag: &Option<Etag>| etag.as_ref().map(Etags::of);
        let moved = marked(&request.expect.etag)
            .is_some_and(|expected| marked(&now.etag).is_some_and(|seen| !expected.allows(&seen)));
        if moved || now.wanted != request.expect.wanted {
            return Err(ChangeError::Conflict {
                now: Some(Box::new(now)),
            });
        }
        match &request.change {
            Change::Weights { shares } => self.shift(service, request, shares, &seen).await,
            Change::Converge {
                placement: Placement::InPlace(_),
                ..
            } => Err(ChangeError::unsupported(
                "replacing in place beside a traffic shifter; use a strategy that starts the candidate beside",
            )),
            Change::Retire { release } if seen.traffic_of(release) > Weight::NONE => {
                Err(ChangeError::refused(format_args!(
                    "{release} still gets {} of the traffic; shift it away first",
                    seen.traffic_of(release)
                )))
            }
            _ => {
                let expected = request.expect.etag.as_ref().map(Etags::of);
                let etag = expected.and_then(|both| both.platform);
                let mut own = request.clone();
                own.expect = Expectation {
                    // What was just seen to be what the engine expects, in the deployer's own words.
                    wanted: seen.platform.wanted.clone(),
                    etag: etag.or_else(|| seen.platform.etag.clone()),
                };
                let accepted = self.deployer.apply(service, &own).await;
                let accepted = accepted.map_err(|error| seen.in_our_words(error))?;
                let both = Etags {
                    platform: accepted.etag,
                    traffic: seen.traffic.etag.clone(),
                };
                Ok(Accepted::at(both.joined()))
            }
        }
    }

    async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        self.deployer.check(service, release).await
    }

    async fn last_words(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        lines: usize,
    ) -> Vec<String> {
        self.deployer.last_words(service, release, lines).await
    }

    async fn changed(&self, service: &ServiceId) {
        self.deployer.changed(service).await;
    }
}

/// A look or a word before a change: whatever went wrong, the change did not leave.
fn not_sent(error: ChangeError) -> ChangeError {
    match error {
        ChangeError::MaybeSent { why } => ChangeError::not_sent(why),
        other => other,
    }
}

struct Seen {
    platform: Observation,
    traffic: Traffic,
}

impl Seen {
    fn traffic_of(&self, release: &ReleaseId) -> Weight {
        let known = self.traffic.weights.get(release);
        known.copied().unwrap_or(Weight::NONE)
    }

    /// Whether traffic can be divided like this: into the whole, among what runs.
    fn admits(&self, shares: &[Share]) -> Result<(), ChangeError> {
        let sum: u32 = shares
            .iter()
            .map(|share| u32::from(share.weight.basis_points()))
            .sum();
        if sum != u32::from(Weight::ALL.basis_points()) {
            return Err(ChangeError::refused(format_args!(
                "the shares add up to {} %, not to 100 %",
                f64::from(sum) / 100.0
            )));
        }
        let runs = |share: &&Share| self.platform.wanted.runs(&share.release);
        match shares
            .iter()
            .find(|share| share.weight > Weight::NONE && !runs(share))
        {
            Some(share) => Err(ChangeError::refused(format_args!(
                "{} does not run; start it before it is sent traffic",
                share.release
            ))),
            None => Ok(()),
        }
    }

    fn refuse_what_cannot_be(&self, shares: &[Share]) -> Result<(), ChangeError> {
        let all: u32 = shares
            .iter()
            .map(|share| u32::from(share.weight.basis_points()))
            .sum();
        if all != u32::from(Weight::ALL.basis_points()) {
            let percent = f64::from(all) / 100.0;
            return Err(ChangeError::refused(format_args!(
                "the shares add up to {percent} %, not to 100 %"
            )));
        }
        let runs = |share: &&Share| self.platform.wanted.runs(&share.release);
        match shares.iter().find(|share| !runs(share)) {
            Some(share) if share.weight > Weight::NONE => Err(ChangeError::refused(format_args!(
                "{} does not run; start it before it gets traffic",
                share.release
            ))),
            _ => Ok(()),
        }
    }

    /// One observation of the two.
    fn merged(&self) -> Observation {
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
    fn in_our_words(&self, error: ChangeError) -> ChangeError {
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

/// The marks of both systems in one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Etags {
    platform: Option<Etag>,
    traffic: Option<Etag>,
}

impl Etags {
    fn of(joined: &Etag) -> Self {
        let neither = Self {
            platform: None,
            traffic: None,
        };
        let Some((length, rest)) = joined.as_str().split_once(':') else {
            return neither;
        };
        let Ok(length) = length.parse::<usize>() else {
            return neither;
        };
        let (Some(platform), Some(traffic)) = (rest.get(..length), rest.get(length..)) else {
            return neither;
        };
        Self {
            platform: Etag::new(platform).ok(),
            traffic: Etag::new(traffic).ok(),
        }
    }

    /// Whether a change that expects these marks may be sent while those are seen.
    fn allows(&self, seen: &Self) -> bool {
        let same = |expected: &Option<Etag>, seen: &Option<Etag>| match (expected, seen) {
            (Some(expected), Some(seen)) => expected == seen,
            // A system without marks is fenced by what is wanted alone.
            _ => true,
        };
        same(&self.platform, &seen.platform) && same(&self.traffic, &seen.traffic)
    }

    /// None if neither has one, or if both together are too long for one: then only the fence on
    /// what is wanted is left.
    fn joined(&self) -> Option<Etag> {
        if self.platform.is_none() && self.traffic.is_none() {
            return None;
        }
        Etag::new(self.to_string()).ok()
    }
}

impl fmt::Display for Etags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platform = self.platform.as_ref().map_or("", Etag::as_str);
        let traffic = self.traffic.as_ref().map_or("", Etag::as_str);
        write!(f, "{}:{platform}{traffic}", platform.len())
    }
}

#[cfg(test)]
mod tests {
    use rollback_core::model::DeploymentId;

    use super::*;

    fn etag(text: &str) -> Option<Etag> {
        Some(Etag::new(text).unwrap())
    }

    #[test]
    fn two_marks_survive_being_one() {
        for (platform, traffic) in [
            (etag("7"), etag("12")),
            (etag("a:b"), None),
            (None, etag("5:5:5")),
            (None, None),
        ] {
            let both = Etags { platform, traffic };
            match both.joined() {
                Some(joined) => assert_eq!(Etags::of(&joined), both),
                None => assert!(both.platform.is_none() && both.traffic.is_none()),
            }
        }
        let long = Etags {
            platform: etag(&"x".repeat(150)),
            traffic: etag(&"y".repeat(150)),
        };
        assert_eq!(long.joined(), None, "too long for one mark");
    }

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
