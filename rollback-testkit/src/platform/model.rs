//! The platform underneath: pure, synchronous, a function of what was asked of it and when.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use rollback_core::{
    model::{
        Accepted, ArmObservation, ArmState, Change, ChangeError, ChangeId, ChangeRequest, Etag,
        Instance, InstanceId, InstanceState, Observation, Pace, Placement, PlatformRollback,
        PlatformRollbackState, ReleaseId, ServiceId, Timestamp, Wanted, Weight, Window,
    },
    ports::Capabilities,
};

use super::{
    Behaviour,
    traffic::{SegmentShare, TrafficLog},
};

/// What kind of platform it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// Compare-and-set by a version index, tags; changes show at once.
    Strict,
    /// No compare-and-set, no tags; a change shows only after `settle`.
    Eventual,
    /// Like strict, and rolls back by itself when a release fails.
    SelfHealing,
}

/// A change as the platform took it, for checks.
#[derive(Debug, Clone, PartialEq)]
pub struct AppliedChange {
    /// When.
    pub at: Timestamp,
    /// Of which service.
    pub service: ServiceId,
    /// The request's id; none if somebody else did it, or the platform itself.
    pub id: Option<ChangeId>,
    /// What was asked; none if it was not asked by a request.
    pub change: Option<Change>,
    /// What was wanted before.
    pub before: Wanted,
    /// What was wanted after.
    pub after: Wanted,
}

/// Services and releases on a platform that exists in memory only.
///
/// ```
/// use rollback_core::model::*;
/// use rollback_testkit::{NOON, platform::{Behaviour, Model, Temper}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (service, v1) = (ServiceId::new("checkout")?, ReleaseId::new("v1")?);
/// let mut model = Model::new(Temper::Strict, NOON);
/// model.add_release(v1.clone(), Behaviour::good());
/// model.start_service(&service, &v1);
/// assert!(model.observe(&service)?.is_ready(&v1));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Model {
    temper: Temper,
    settle: Duration,
    replicas: u32,
    gives_up_after: Duration,
    requests_per_second: f64,
    now: Timestamp,
    scripts: BTreeMap<ReleaseId, Behaviour>,
    services: BTreeMap<ServiceId, Service>,
    applied: Vec<AppliedChange>,
    next_instance: u64,
}

#[derive(Debug, Clone)]
struct Service {
    levels: Levels,
    /// What could be seen since when; the last one that has settled is what is seen.
    shown: VecDeque<(Timestamp, Levels)>,
    traffic: TrafficLog,
}

/// What an observation is made of.
#[derive(Debug, Clone, PartialEq)]
struct Levels {
    version: u64,
    wanted: Wanted,
    carried: Wanted,
    arms: BTreeMap<ReleaseId, Arm>,
    last_change: Option<ChangeId>,
    platform_rollback: Option<PlatformRollback>,
    /// What a platform that rolls back by itself returns to: one step of memory.
    previous: Option<Wanted>,
}

#[derive(Debug, Clone, PartialEq)]
struct Arm {
    since: Timestamp,
    instances: Vec<InstanceId>,
    stopping: Option<Timestamp>,
    takes_over: bool,
}

/// How long an instance takes to stop.
const STOPPING: Duration = Duration::from_secs(1);

impl Model {
    /// An empty platform at `now`: two replicas of every release, 100 requests a second.
    #[must_use]
    pub fn new(temper: Temper, now: Timestamp) -> Self {
        Self {
            temper,
            settle: match temper {
                Temper::Eventual => Duration::from_secs(3),
                Temper::Strict | Temper::SelfHealing => Duration::ZERO,
            },
            replicas: 2,
            gives_up_after: Duration::from_secs(20),
            requests_per_second: 100.0,
            now,
            scripts: BTreeMap::new(),
            services: BTreeMap::new(),
            applied: Vec::new(),
            next_instance: 1,
        }
    }

    /// The same with so many instances of each release.
    #[must_use]
    pub const fn with_replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// The same with so many requests a second to each service.
    #[must_use]
    pub const fn with_load(mut self, requests_per_second: f64) -> Self {
        self.requests_per_second = requests_per_second;
        self
    }

    /// The same, showing changes after `settle`.
    #[must_use]
    pub const fn with_settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// The same, giving a release up that is not ready after so long.
    #[must_use]
    pub const fn giving_up_after(mut self, after: Duration) -> Self {
        self.gives_up_after = after;
        self
    }

    /// How many instances each release has.
    #[must_use]
    pub const fn replicas(&self) -> u32 {
        self.replicas
    }

    /// What the platform can do.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        let both = Capabilities::least(self.settle)
            .with_two_arms()
            .with_weights()
            .with_stop_first();
        match self.temper {
            Temper::Eventual => both,
            Temper::Strict => both.with_compare_and_set().with_tags(),
            Temper::SelfHealing => both
                .with_compare_and_set()
                .with_tags()
                .rolling_back_itself(),
        }
    }

    /// Makes a release known, with its script.
    pub fn add_release(&mut self, release: ReleaseId, behaviour: Behaviour) {
        self.scripts.insert(release, behaviour);
    }

    /// The script of a release.
    #[must_use]
    pub fn behaviour(&self, release: &ReleaseId) -> Option<&Behaviour> {
        self.scripts.get(release)
    }

    /// A service that has been running `release` with all traffic for an hour.
    pub fn start_service(&mut self, service: &ServiceId, release: &ReleaseId) {
        let since = self.now.before(Duration::from_secs(3_600));
        let arm = self.new_arm(release, since, false);
        let levels = Levels {
            version: 1,
            wanted: Wanted::only(release.clone()),
            carried: Wanted::only(release.clone()),
            arms: BTreeMap::from([(release.clone(), arm)]),
            last_change: None,
            platform_rollback: None,
            previous: None,
        };
        let mut started = Service {
            shown: VecDeque::from([(since, levels.clone())]),
            levels,
            traffic: TrafficLog::default(),
        };
        started.divide_traffic(since);
        self.services.insert(service.clone(), started);
    }

    /// The time on the platform.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass up to `now`; an earlier moment changes nothing.
    pub fn advance(&mut self, now: Timestamp) {
        if now <= self.now {
            return;
        }
        self.now = now;
        let Self {
            scripts,
            services,
            applied,
            ..
        } = self;
        for (id, service) in services {
            let mut after = None;
            service.levels.stop_what_was_stopping(now, &mut after);
            service.levels.hand_over(scripts, now, &mut after);
            if self.temper == Temper::SelfHealing {
                let before = service.levels.wanted.clone();
                service
                    .levels
                    .heal(scripts, now, self.gives_up_after, &mut after);
                if service.levels.wanted != before {
                    applied.push(AppliedChange {
                        at: now,
                        service: id.clone(),
                        id: None,
                        change: None,
                        before,
                        after: service.levels.wanted.clone(),
                    });
                }
            }
            if after.is_some() {
                service.divide_traffic(now);
                service.show(now);
            }
            service.forget_before(now.before(self.settle));
        }
    }

    /// Looks at a service.
    ///
    /// # Errors
    /// The service is not there.
    pub fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        Ok(self.observation(self.seen(self.service(service)?)))
    }

    /// Looks at a service as it is, settled or not; for checks.
    ///
    /// # Errors
    /// The service is not there.
    pub fn truth(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        Ok(self.observation(&self.service(service)?.levels))
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// As a `Deployer` has to: a conflict or a refusal changes nothing.
    pub fn apply(
        &mut self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let known = self.service(service)?;
        let compares = self.capabilities().compare_and_set;
        if self.capabilities().tags_changes
            && known.levels.last_change.as_ref() == Some(&request.id)
        {
            return Ok(Accepted::at(self.etag(&known.levels)));
        }
        let seen = if compares {
            &known.levels
        } else {
            self.seen(known)
        };
        let etag_moved = compares
            && request.expect.etag.is_some()
            && request.expect.etag != self.etag(&known.levels);
        if seen.wanted != request.expect.wanted || etag_moved {
            return Err(ChangeError::Conflict {
                now: Some(Box::new(self.observation(seen))),
            });
        }
        self.refuse_what_cannot_be(known, &request.change)?;
        let before = known.levels.wanted.clone();
        let after = request.change.applied_to(&before);
        let tag = self.capabilities().tags_changes.then(|| request.id.clone());
        self.want(service, after, tag, placement(&request.change));
        let after = self.service(service)?.levels.wanted.clone();
        self.applied.push(AppliedChange {
            at: self.now,
            service: service.clone(),
            id: Some(request.id.clone()),
            change: Some(request.change.clone()),
            before,
            after,
        });
        Ok(Accepted::at(self.etag(&self.service(service)?.levels)))
    }

    /// Somebody else tells the platform what to run.
    pub fn foreign_change(&mut self, service: &ServiceId, wanted: Wanted) {
        let Ok(known) = self.service(service) else {
            return;
        };
        let before = known.levels.wanted.clone();
        self.want(
            service,
            wanted.clone(),
            None,
            Placement::InPlace(Pace::AtOnce),
        );
        self.applied.push(AppliedChange {
            at: self.now,
            service: service.clone(),
            id: None,
            change: None,
            before,
            after: wanted,
        });
    }

    /// Whether the release could be run.
    ///
    /// # Errors
    /// It is unknown, or its script says that it is not allowed.
    pub fn check(&self, service: &ServiceId, release: &ReleaseId) -> Result<(), ChangeError> {
        self.service(service)?;
        match self.scripts.get(release) {
            None => Err(ChangeError::refused(format_args!(
                "release {release} is not known here; build and push it first"
            ))),
            Some(Behaviour {
                refused: Some(why), ..
            }) => Err(ChangeError::refused(why)),
            Some(_) => Ok(()),
        }
    }

    /// Everything that changed what is wanted, in order.
    #[must_use]
    pub fn applied(&self) -> &[AppliedChange] {
        &self.applied
    }

    /// Bad and all answers of one release within a window; none if it had no traffic in it.
    #[must_use]
    pub fn counts(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        window: Window,
    ) -> Option<(u64, u64)> {
        let traffic = &self.services.get(service)?.traffic;
        let counts = traffic.counts(&self.scripts, release, window, self.requests_per_second);
        let idle = counts.1 == 0
            && traffic.ratio(release, window.from) == 0.0
            && traffic.ratio(release, window.to) == 0.0;
        (!idle).then_some(counts)
    }

    /// Bad and all answers of one release since the service began.
    #[must_use]
    pub fn totals(&self, service: &ServiceId, release: &ReleaseId, until: Timestamp) -> (u64, u64) {
        self.services.get(service).map_or((0, 0), |known| {
            known.traffic.since_the_beginning(
                &self.scripts,
                release,
                until,
                self.requests_per_second,
            )
        })
    }

    /// Every release that ever carried traffic of the service.
    #[must_use]
    pub fn releases_with_traffic(&self, service: &ServiceId) -> Vec<ReleaseId> {
        let mut releases: Vec<_> = self
            .services
            .get(service)
            .map(|known| known.traffic.releases().cloned().collect())
            .unwrap_or_default();
        releases.sort();
        releases.dedup();
        releases
    }

    fn service(&self, service: &ServiceId) -> Result<&Service, ChangeError> {
        self.services.get(service).ok_or_else(|| {
            ChangeError::refused(format_args!("service {service} is not on this platform"))
        })
    }

    fn seen<'a>(&self, service: &'a Service) -> &'a Levels {
        let settled = self.now.before(self.settle);
        service
            .shown
            .iter()
            .rev()
            .find(|(at, _)| *at <= settled)
            .map_or(&service.levels, |(_, levels)| levels)
    }

    fn etag(&self, levels: &Levels) -> Option<Etag> {
        self.capabilities()
            .compare_and_set
            .then(|| Etag::new(levels.version.to_string()).ok())
            .flatten()
    }

    fn observation(&self, levels: &Levels) -> Observation {
        let arms: Vec<_> = levels
            .arms
            .iter()
            .map(|(release, arm)| {
                let instances = arm.observe(self.scripts.get(release), self.now);
                let state = arm.state(&instances, self.now, self.gives_up_after);
                ArmObservation::new(
                    release.clone(),
                    state,
                    levels.carried.weight(release),
                    instances,
                )
            })
            .collect();
        let mut observation = Observation::new(levels.wanted.clone(), arms);
        observation.etag = self.etag(levels);
        observation.last_change.clone_from(&levels.last_change);
        observation
            .platform_rollback
            .clone_from(&levels.platform_rollback);
        observation
    }

    fn refuse_what_cannot_be(&self, known: &Service, change: &Change) -> Result<(), ChangeError> {
        let wanted = &known.levels.wanted;
        match change {
            Change::Converge { release, .. } => {
                if !self.scripts.contains_key(release) {
                    return Err(ChangeError::refused(format_args!(
                        "release {release} is not known here; build and push it first"
                    )));
                }
            }
            Change::Weights { shares } => {
                let sum: u32 = shares
                    .iter()
                    .map(|share| u32::from(share.weight.basis_points()))
                    .sum();
                if sum != u32::from(Weight::ALL.basis_points()) {
                    return Err(ChangeError::refused("the shares do not add up to 100 %"));
                }
                if let Some(share) = shares.iter().find(|share| !wanted.runs(&share.release)) {
                    return Err(ChangeError::refused(format_args!(
                        "release {} does not run and cannot take traffic",
                        share.release
                    )));
                }
            }
            Change::Retire { release } => {
                if wanted.weight(release) > Weight::NONE
                    || known.levels.carried.weight(release) > Weight::NONE
                {
                    return Err(ChangeError::refused(format_args!(
                        "release {release} carries traffic; move it first"
                    )));
                }
            }
            _ => {
                return Err(ChangeError::unsupported(
                    "this platform has no rollout of its own to stop",
                ));
            }
        }
        Ok(())
    }

    fn want(
        &mut self,
        service: &ServiceId,
        wanted: Wanted,
        tag: Option<ChangeId>,
        placement: Placement,
    ) {
        let now = self.now;
        let missing: Vec<ReleaseId> = match self.services.get(service) {
            Some(known) => wanted
                .iter()
                .map(|(release, _)| release)
                .filter(|release| {
                    known
                        .levels
                        .arms
                        .get(*release)
                        .is_none_or(|arm| arm.stopping.is_some())
                })
                .cloned()
                .collect(),
            None => return,
        };
        let mut arms: Vec<(ReleaseId, Arm)> = Vec::new();
        for release in missing {
            let arm = self.new_arm(&release, now, placement.is_in_place());
            arms.push((release, arm));
        }
        let Some(known) = self.services.get_mut(service) else {
            return;
        };
        let levels = &mut known.levels;
        if levels.wanted != wanted {
            levels.platform_rollback = None;
        }
        if !arms.is_empty() {
            levels.previous = Some(levels.wanted.clone());
        }
        if placement == Placement::InPlace(Pace::StopFirst) && !arms.is_empty() {
            for (release, arm) in &mut levels.arms {
                if !wanted.runs(release) && arm.stopping.is_none() {
                    arm.stopping = Some(now);
                }
            }
            levels.carried = Wanted::nothing();
        }
        levels.arms.extend(arms);
        levels.version += 1;
        levels.last_change = tag;
        levels.wanted = wanted;
        levels.follow(&self.scripts, now);
        known.divide_traffic(now);
        known.show(now);
    }

    fn new_arm(&mut self, release: &ReleaseId, since: Timestamp, takes_over: bool) -> Arm {
        let first = self.next_instance;
        self.next_instance += u64::from(self.replicas);
        Arm {
            since,
            instances: (first..self.next_instance)
                .filter_map(|number| InstanceId::new(format!("{release}-{number}")).ok())
                .collect(),
            stopping: None,
            takes_over,
        }
    }
}

impl fmt::Display for Temper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Strict => "strict",
            Self::Eventual => "eventual",
            Self::SelfHealing => "self_healing",
        })
    }
}

impl Service {
    fn show(&mut self, now: Timestamp) {
        self.shown.push_back((now, self.levels.clone()));
    }

    fn forget_before(&mut self, settled: Timestamp) {
        while self.shown.get(1).is_some_and(|(at, _)| *at <= settled) {
            self.shown.pop_front();
        }
    }

    fn divide_traffic(&mut self, now: Timestamp) {
        let levels = &self.levels;
        let shares = levels
            .carried
            .iter()
            .filter(|(_, weight)| *weight > Weight::NONE)
            .map(|(release, weight)| SegmentShare {
                release: release.clone(),
                ratio: weight.as_ratio(),
                since: levels.arms.get(release).map_or(now, |arm| arm.since),
            })
            .collect();
        self.traffic.divide(now, shares);
    }
}

impl Levels {
    /// Brings traffic and arms to what is wanted, as far as it can be done at once.
    fn follow(&mut self, scripts: &BTreeMap<ReleaseId, Behaviour>, now: Timestamp) {
        let waiting = self.arms.iter().any(|(release, arm)| {
            arm.takes_over && self.wanted.runs(release) && !arm.is_ready(scripts.get(release), now)
        });
        if waiting {
            return;
        }
        for arm in self.arms.values_mut() {
            arm.takes_over = false;
        }
        self.carried = self.wanted.clone();
        for (release, arm) in &mut self.arms {
            if !self.wanted.runs(release) && arm.stopping.is_none() {
                arm.stopping = Some(now);
            }
        }
    }

    fn stop_what_was_stopping(&mut self, now: Timestamp, changed: &mut Option<()>) {
        let before = self.arms.len();
        self.arms
            .retain(|_, arm| arm.stopping.is_none_or(|since| now.since(since) < STOPPING));
        if self.arms.len() != before {
            *changed = Some(());
        }
    }

    fn hand_over(
        &mut self,
        scripts: &BTreeMap<ReleaseId, Behaviour>,
        now: Timestamp,
        changed: &mut Option<()>,
    ) {
        if self.arms.values().any(|arm| arm.takes_over) {
            let before = self.carried.clone();
            self.follow(scripts, now);
            if self.carried != before {
                *changed = Some(());
            }
        }
    }

    /// The platform's own rollback: one step back, once, and only where it has a memory of one.
    fn heal(
        &mut self,
        scripts: &BTreeMap<ReleaseId, Behaviour>,
        now: Timestamp,
        gives_up_after: Duration,
        changed: &mut Option<()>,
    ) {
        if let Some(rollback) = &mut self.platform_rollback {
            if rollback.state == PlatformRollbackState::Started {
                rollback.state = PlatformRollbackState::Completed;
                *changed = Some(());
            }
            return;
        }
        let Some(previous) = self.previous.clone() else {
            return;
        };
        let failed = self
            .wanted
            .iter()
            .map(|(release, _)| release)
            .find(|release| {
                !previous.runs(release)
                    && self.arms.get(*release).is_some_and(|arm| {
                        let instances = arm.observe(scripts.get(*release), now);
                        matches!(
                            arm.state(&instances, now, gives_up_after),
                            ArmState::Failing { .. }
                        )
                    })
            });
        // It returns only to what still runs.
        let (Some(from), Some(to)) = (failed.cloned(), previous.main().cloned()) else {
            return;
        };
        if previous.iter().any(|(release, _)| {
            self.arms
                .get(release)
                .is_none_or(|arm| arm.stopping.is_some())
        }) {
            return;
        }
        self.platform_rollback = Some(PlatformRollback::new(
            from,
            to,
            PlatformRollbackState::Started,
            "the release did not become ready",
        ));
        self.previous = None;
        self.wanted = previous;
        self.version += 1;
        self.last_change = None;
        for arm in self.arms.values_mut() {
            arm.takes_over = false;
        }
        self.follow(scripts, now);
        *changed = Some(());
    }
}

impl Arm {
    fn observe(&self, script: Option<&Behaviour>, now: Timestamp) -> Arc<[Instance]> {
        self.instances
            .iter()
            .enumerate()
            .map(|(number, id)| {
                let (state, restarts) = match script {
                    _ if self.stopping.is_some() => (InstanceState::Stopping, 0),
                    Some(script) => script.instance(self.since, now),
                    None => (InstanceState::Ready, 0),
                };
                Instance::new(id.clone(), self.since, state)
                    .restarted(restarts)
                    .at(format!("{id}.internal:{}", 8_000 + number))
            })
            .collect()
    }

    fn is_ready(&self, script: Option<&Behaviour>, now: Timestamp) -> bool {
        self.stopping.is_none()
            && script.is_none_or(|script| {
                matches!(script.instance(self.since, now).0, InstanceState::Ready)
            })
    }

    fn state(&self, instances: &[Instance], now: Timestamp, gives_up_after: Duration) -> ArmState {
        if self.stopping.is_some() {
            return ArmState::Converging;
        }
        if instances
            .iter()
            .all(|instance| instance.state == InstanceState::Ready)
        {
            return ArmState::Ready;
        }
        let restarts = instances.iter().map(|i| i.restarts).max().unwrap_or(0);
        if now.since(self.since) >= gives_up_after
            && (restarts == 0 || restarts >= CRASHES_BEFORE_GIVING_UP)
        {
            return ArmState::Failing {
                why: Arc::from(format!(
                    "not ready {} s after its start, {restarts} restarts",
                    now.since(self.since).as_secs()
                )),
            };
        }
        ArmState::Converging
    }
}

const CRASHES_BEFORE_GIVING_UP: u32 = 3;

const fn placement(change: &Change) -> Placement {
    match change {
        Change::Converge { placement, .. } => *placement,
        _ => Placement::Beside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NOON;

    fn release(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    fn model(temper: Temper) -> (Model, ServiceId) {
        let service = ServiceId::new("checkout").unwrap();
        let mut model = Model::new(temper, NOON);
        model.add_release(release("v1"), Behaviour::good());
        model.add_release(release("v2"), Behaviour::good().with_errors(0.25));
        model.add_release(release("stuck"), Behaviour::never_ready());
        model.start_service(&service, &release("v1"));
        (model, service)
    }

    #[test]
    fn an_eventual_platform_shows_a_change_after_its_settle_time() {
        let (mut model, service) = model(Temper::Eventual);
        let wanted = Wanted::only(release("v2"));
        model.foreign_change(&service, wanted.clone());
        assert_ne!(model.observe(&service).unwrap().wanted, wanted);
        model.advance(NOON.after(Duration::from_millis(2_999)));
        assert_ne!(model.observe(&service).unwrap().wanted, wanted);
        model.advance(NOON.after(Duration::from_secs(3)));
        assert_eq!(model.observe(&service).unwrap().wanted, wanted);
    }

    #[test]
    fn a_replacement_takes_the_traffic_when_it_is_ready() {
        let (mut model, service) = model(Temper::Strict);
        model.foreign_change(&service, Wanted::only(release("v2")));
        assert_eq!(
            model.observe(&service).unwrap().weight(&release("v1")),
            Weight::ALL
        );
        model.advance(NOON.after(Duration::from_secs(1)));
        assert_eq!(
            model.observe(&service).unwrap().weight(&release("v2")),
            Weight::ALL
        );
        model.advance(NOON.after(Duration::from_secs(2)));
        assert!(
            model
                .observe(&service)
                .unwrap()
                .arm(&release("v1"))
                .is_none()
        );
    }

    #[test]
    fn a_self_healing_platform_goes_one_step_back() {
        let (mut model, service) = model(Temper::SelfHealing);
        let both = Wanted::only(release("v1")).with(release("stuck"), Weight::NONE);
        model.want(&service, both, None, Placement::Beside);
        model.advance(NOON.after(Duration::from_secs(20)));
        model.advance(NOON.after(Duration::from_secs(21)));
        let seen = model.observe(&service).unwrap();
        assert_eq!(seen.wanted, Wanted::only(release("v1")));
        let rollback = seen.platform_rollback.unwrap();
        assert_eq!(
            (rollback.from, rollback.to),
            (release("stuck"), release("v1"))
        );
        assert_eq!(rollback.state, PlatformRollbackState::Completed);
    }

    #[test]
    fn counts_of_adjoining_windows_add_up() {
        let (mut model, service) = model(Temper::Strict);
        model.foreign_change(&service, Wanted::only(release("v2")));
        model.advance(NOON.after(Duration::from_secs(1)));
        model.advance(NOON.after(Duration::from_secs(60)));
        let at = |millis: u64| NOON.after(Duration::from_millis(millis));
        let counts = |from, to| {
            model
                .counts(&service, &release("v2"), Window::new(at(from), at(to)))
                .unwrap()
        };
        let (first, second, both) = (counts(0, 7_313), counts(7_313, 31_000), counts(0, 31_000));
        assert_eq!((first.0 + second.0, first.1 + second.1), both);
        assert_eq!(both, (750, 3_000));
        assert!(
            model
                .counts(&service, &release("stuck"), Window::new(at(0), at(9)))
                .is_none()
        );
    }
}
