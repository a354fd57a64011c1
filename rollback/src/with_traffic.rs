//! A platform whose traffic is another system: one deployer of the two.

mod etags;
mod seen;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, Change, ChangeError, ChangeRequest, Etag, Expectation, Instance, Observation,
        Placement, Release, ReleaseId, ServiceId, Share, Weight,
    },
    ports::{Capabilities, Deployer, TrafficShifter},
};
use tokio::time::Instant;

use etags::Etags;
use seen::Seen;

/// A deployer for capacity and a [`TrafficShifter`] for traffic, as one [`Deployer`].
///
/// | of the contract | here |
/// |---|---|
/// | `wanted` | releases of the deployer, their weights from the shifter |
/// | etag | both |
/// | weights | to the shifter, after it was told where the instances are |
/// | converge, retire | to the deployer; retire is refused while the shifter still sends traffic, and waits while requests of before are still answered |
/// | tag of the last change | the later one of the two |
///
/// The deployer's own weights are ignored. Replacing in place is not supported: who takes the
/// traffic over could not be said in one change.
#[derive(Debug)]
pub struct WithTraffic<D, S> {
    deployer: D,
    shifter: S,
    tagged: bool,
    drain: Duration,
    known: Mutex<BTreeMap<ServiceId, Known>>,
}

type Instances = BTreeMap<ReleaseId, Vec<Instance>>;

/// What we know of a service since we began.
#[derive(Debug, Default)]
struct Known {
    /// What the shifter was told last, if it took it.
    told: Option<Instances>,
    /// The shifter's mark as it was seen last, or as we left it.
    mark: Option<Etag>,
    /// Since when each release should be retired and still answers.
    drains: BTreeMap<ReleaseId, Instant>,
}

impl<D: Deployer, S: TrafficShifter> WithTraffic<D, S> {
    /// The two as one.
    pub const fn new(deployer: D, shifter: S) -> Self {
        Self {
            deployer,
            shifter,
            tagged: false,
            drain: Duration::from_secs(30),
            known: Mutex::new(BTreeMap::new()),
        }
    }

    /// The deployer of the two, for what it alone can tell. A change goes through the pair.
    #[must_use]
    pub const fn deployer(&self) -> &D {
        &self.deployer
    }

    /// The shifter carries the tag of its last change too: the pair then tags its changes if the
    /// deployer does.
    #[must_use]
    pub const fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }

    /// How long a release that has no share any more may go on answering what it was asked before,
    /// when it should be retired; 30 s at first. What still runs then is cut. Only where the
    /// shifter knows what is open.
    #[must_use]
    pub const fn drain_at_most(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Both, as they are now. The shifter is told of instances first, so that its mark is that of
    /// after.
    async fn look(&self, service: &ServiceId) -> Result<Seen, ChangeError> {
        let platform = self.deployer.observe(service).await?;
        // Not told now is told again at the next look, and before every shift.
        let _ = self.tell(service, &platform, false).await;
        let mut traffic = self.shifter.traffic(service).await?;
        let left_at = self.known(service, |known| known.mark.clone());
        if left_at.is_some() && left_at != traffic.etag {
            // Somebody else divided it, or the system was started anew and has forgotten.
            let _ = self.tell(service, &platform, true).await;
            traffic = self.shifter.traffic(service).await?;
        }
        self.known(service, |known| known.mark.clone_from(&traffic.etag));
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
        let instances: Instances = arms
            .map(|arm| (arm.release.clone(), arm.instances.to_vec()))
            .collect();
        if !again && self.known(service, |known| known.told.as_ref() == Some(&instances)) {
            return Ok(());
        }
        let told = self.shifter.instances(service, &instances).await;
        let taken = told.is_ok().then_some(instances);
        self.known(service, |known| known.told = taken);
        told
    }

    fn known<T>(&self, service: &ServiceId, with: impl FnOnce(&mut Known) -> T) -> T {
        // Nothing panics while the lock is held.
        let mut all: MutexGuard<'_, BTreeMap<ServiceId, Known>> =
            self.known.lock().unwrap_or_else(PoisonError::into_inner);
        with(all.entry(service.clone()).or_default())
    }

    /// Whether a release may be stopped: it answers nothing any more, or was given its time.
    fn drained(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        seen: &Seen,
    ) -> Result<(), ChangeError> {
        let open = seen.traffic.open.get(release).copied().unwrap_or(0);
        self.known(service, |known| {
            if open == 0 {
                known.drains.remove(release);
                return Ok(());
            }
            let since = *known
                .drains
                .entry(release.clone())
                .or_insert_with(Instant::now);
            if since.elapsed() >= self.drain {
                known.drains.remove(release);
                return Ok(());
            }
            let s = if open == 1 { "" } else { "s" };
            Err(ChangeError::NotSent {
                why: format!("{release} still answers {open} request{s}"),
                retry_after_ms: Some(LOOK_AGAIN_MS),
            })
        })
    }

    async fn shift(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
        shares: &[Share],
        seen: &Seen,
    ) -> Result<Accepted, ChangeError> {
        seen.admits(shares)?;
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
        self.known(service, |known| known.mark.clone_from(&accepted.etag));
        let both = Etags {
            platform: seen.platform.etag.clone(),
            traffic: accepted.etag,
        };
        Ok(Accepted::at(both.joined()))
    }
}

/// How soon a release that still answers is looked at again.
const LOOK_AGAIN_MS: u64 = 1_000;

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
            change => {
                if let Change::Retire { release } = change {
                    self.drained(service, release, &seen)?;
                }
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
