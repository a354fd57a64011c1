//! A deployer of capacity alone and a balancer, as one deployer: held to the conformance suite,
//! and through a whole deployment.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail loudly")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback::{WithTraffic, model::*, ports::*};
use rollback_testkit::{
    ManualClock,
    conformance::{self, DeployerHarness, Ground, ReleaseKind},
    platform::InMemoryShifter,
};

#[derive(Debug, Clone, Default)]
struct Runs {
    revision: u64,
    wanted: Vec<ReleaseId>,
    since: BTreeMap<ReleaseId, Timestamp>,
    last: Option<ChangeId>,
}

/// Starts and stops releases and knows nothing of traffic.
#[derive(Debug, Clone)]
struct Capacity {
    services: Arc<Mutex<BTreeMap<ServiceId, Runs>>>,
    clock: ManualClock,
}

impl Capacity {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Runs>> {
        self.services.lock().unwrap()
    }

    fn arm(&self, release: &ReleaseId, since: Timestamp) -> ArmObservation {
        let name = release.as_str();
        let lived = self.clock.now().since(since) >= Duration::from_secs(1);
        let (state, instance, restarts) = if name.contains("never") {
            (ArmState::Converging, InstanceState::Starting, 0)
        } else if name.contains("exits") {
            let how = "exit status 1".into();
            (ArmState::Converging, InstanceState::Exited { how }, 1)
        } else if lived {
            (ArmState::Ready, InstanceState::Ready, 0)
        } else {
            (ArmState::Converging, InstanceState::Starting, 0)
        };
        let id = InstanceId::new(format!("{name}-1")).unwrap();
        let instance = Instance::new(id, since, instance)
            .at("127.0.0.1:1")
            .restarted(restarts);
        // Its idea of weights is of no use.
        ArmObservation::new(release.clone(), state, Weight::NONE, [instance])
    }

    fn look(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        let runs = self.runs();
        let known = runs
            .get(service)
            .ok_or_else(|| ChangeError::refused("no such service"))?;
        let wanted = known.wanted.iter().fold(Wanted::nothing(), |all, release| {
            all.with(release.clone(), Weight::NONE)
        });
        let arms: Vec<_> = known.since.iter().map(|(r, s)| self.arm(r, *s)).collect();
        let mut seen = Observation::new(wanted, arms);
        seen.etag = Some(Etag::new(known.revision.to_string()).unwrap());
        seen.last_change.clone_from(&known.last);
        Ok(seen)
    }
}

#[async_trait]
impl Deployer for Capacity {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Duration::ZERO)
            .with_compare_and_set()
            .with_two_arms()
            .with_tags()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        self.look(service)
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let now = self.look(service)?;
        let moved = request.expect.etag.is_some() && request.expect.etag != now.etag;
        if moved || request.expect.wanted != now.wanted {
            let now = Some(Box::new(now));
            return Err(ChangeError::Conflict { now });
        }
        let mut runs = self.runs();
        let known = runs.get_mut(service).unwrap();
        match &request.change {
            Change::Converge { release, .. } => {
                known.wanted.push(release.clone());
                known.since.insert(release.clone(), self.clock.now());
            }
            Change::Retire { release } => {
                known.wanted.retain(|one| one != release);
                known.since.remove(release);
            }
            other => return Err(ChangeError::unsupported(other)),
        }
        known.revision += 1;
        known.last = Some(request.id.clone());
        Ok(Accepted::at(Etag::new(known.revision.to_string()).ok()))
    }

    async fn check(&self, _: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        if release.id.as_str().contains("missing") {
            return Err(ChangeError::refused("it was never built"));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Default)]
struct Divided {
    revision: u64,
    weights: BTreeMap<ReleaseId, Weight>,
    last: Option<ChangeId>,
    told: BTreeMap<ReleaseId, Vec<Instance>>,
}

/// Divides traffic and knows nothing of releases but where they answer.
#[derive(Debug, Clone, Default)]
struct Balancer {
    services: Arc<Mutex<BTreeMap<ServiceId, Divided>>>,
    deaf: Arc<AtomicBool>,
}

#[async_trait]
impl TrafficShifter for Balancer {
    async fn traffic(&self, service: &ServiceId) -> Result<Traffic, ChangeError> {
        let services = self.services.lock().unwrap();
        let known = services.get(service).cloned().unwrap_or_default();
        let etag = Etag::new(format!("t{}", known.revision)).ok();
        let mut traffic = Traffic::new(etag, known.weights);
        traffic.last_change = known.last;
        Ok(traffic)
    }

    async fn shift(
        &self,
        service: &ServiceId,
        id: &ChangeId,
        weights: &BTreeMap<ReleaseId, Weight>,
        expect: Option<&Etag>,
    ) -> Result<Accepted, ChangeError> {
        let mut services = self.services.lock().unwrap();
        let known = services.entry(service.clone()).or_default();
        let etag = Etag::new(format!("t{}", known.revision)).unwrap();
        if expect.is_some_and(|expected| *expected != etag) {
            return Err(ChangeError::Conflict { now: None });
        }
        for (release, weight) in weights {
            if *weight > Weight::NONE && !known.told.contains_key(release) {
                return Err(ChangeError::refused("nobody said where it answers"));
            }
        }
        known.weights.clone_from(weights);
        known.revision += 1;
        known.last = Some(id.clone());
        Ok(Accepted::at(Etag::new(format!("t{}", known.revision)).ok()))
    }

    async fn instances(
        &self,
        service: &ServiceId,
        instances: &BTreeMap<ReleaseId, Vec<Instance>>,
    ) -> Result<(), ChangeError> {
        if self.deaf.load(Ordering::SeqCst) {
            return Err(ChangeError::maybe_sent("no answer"));
        }
        let mut services = self.services.lock().unwrap();
        let known = services.entry(service.clone()).or_default();
        known.told.clone_from(instances);
        Ok(())
    }
}

#[derive(Debug)]
struct Both {
    capacity: Capacity,
    balancer: Balancer,
    pair: Arc<WithTraffic<Capacity, Balancer>>,
    next: AtomicU64,
}

impl Both {
    fn new() -> Self {
        let capacity = Capacity {
            services: Arc::default(),
            clock: ManualClock::default(),
        };
        let balancer = Balancer::default();
        let pair = WithTraffic::new(capacity.clone(), balancer.clone()).tagged();
        Self {
            capacity,
            balancer,
            pair: Arc::new(pair),
            next: AtomicU64::new(1),
        }
    }

    fn next(&self, kind: &str) -> Release {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let id = ReleaseId::new(format!("{kind}-{number}")).unwrap();
        Release::new(id, kind, Definition::default())
    }
}

#[async_trait]
impl DeployerHarness for Both {
    fn deployer(&self) -> Arc<dyn Deployer> {
        Arc::<WithTraffic<Capacity, Balancer>>::clone(&self.pair)
    }

    async fn begin(&self, name: &str) -> Ground {
        let (service, stable) = (ServiceId::new(name).unwrap(), self.next("good"));
        let since = self.now().before(Duration::from_secs(60));
        self.capacity.runs().insert(
            service.clone(),
            Runs {
                wanted: vec![stable.id.clone()],
                since: BTreeMap::from([(stable.id.clone(), since)]),
                ..Runs::default()
            },
        );
        self.balancer.services.lock().unwrap().insert(
            service.clone(),
            Divided {
                weights: BTreeMap::from([(stable.id.clone(), Weight::ALL)]),
                ..Divided::default()
            },
        );
        Ground { service, stable }
    }

    async fn release(&self, _: &Ground, kind: ReleaseKind) -> Release {
        self.next(match kind {
            ReleaseKind::NeverReady => "never",
            ReleaseKind::Exits => "exits",
            ReleaseKind::Missing => "missing",
            _ => "good",
        })
    }

    async fn pass(&self, time: Duration) {
        self.capacity.clock.advance(time);
    }

    fn now(&self) -> Timestamp {
        self.capacity.clock.now()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

#[tokio::test]
async fn the_pair_is_a_deployer_like_any_other() {
    let both = Both::new();
    conformance::deployer(&both).await.assert_passed();
}

#[tokio::test]
async fn the_shifter_is_told_where_instances_are_before_it_shifts() {
    let both = Both::new();
    let ground = both.begin("checkout").await;
    let candidate = both.next("good");
    let id = |step| ChangeId {
        deployment: DeploymentId::new("d1-1").unwrap(),
        step,
        attempt: 1,
    };
    let request = |step, change, seen: &Observation| {
        let expect = Expectation {
            wanted: seen.wanted.clone(),
            etag: seen.etag.clone(),
        };
        ChangeRequest::new(id(step), change, expect, both.now())
    };
    let seen = both.pair.observe(&ground.service).await.unwrap();
    let beside = Change::Converge {
        release: candidate.id.clone(),
        placement: Placement::Beside,
    };
    let start = request(1, beside, &seen);
    both.pair.apply(&ground.service, &start).await.unwrap();
    both.pass(Duration::from_secs(2)).await;
    let shift = Change::Weights {
        shares: vec![Share {
            release: candidate.id.clone(),
            weight: Weight::ALL,
        }],
    };
    both.balancer.deaf.store(true, Ordering::SeqCst);
    let seen = both.pair.observe(&ground.service).await.unwrap();
    let request = request(2, shift, &seen);
    let refused = both.pair.apply(&ground.service, &request).await;
    assert!(
        matches!(refused, Err(ChangeError::NotSent { .. })),
        "to tell is not to shift: {refused:?}"
    );
    both.balancer.deaf.store(false, Ordering::SeqCst);
    both.pair.apply(&ground.service, &request).await.unwrap();
    let seen = both.pair.observe(&ground.service).await.unwrap();
    assert_eq!(seen.weight(&candidate.id), Weight::ALL);
    assert_eq!(seen.last_change, Some(id(2)));
    let told = both.balancer.services.lock().unwrap()[&ground.service]
        .told
        .clone();
    assert!(told.contains_key(&candidate.id));
}

/// Capacity and a shifter that can be looked into, with `v1` at everything and `v2` at nothing.
struct Looked {
    pair: WithTraffic<Capacity, InMemoryShifter>,
    shifter: InMemoryShifter,
    service: ServiceId,
    v1: ReleaseId,
    v2: ReleaseId,
    both: Both,
}

impl Looked {
    async fn set() -> Self {
        let both = Both::new();
        let service = ServiceId::new("checkout").unwrap();
        let release = |text: &str| ReleaseId::new(text).unwrap();
        let (v1, v2) = (release("good-1"), release("good-2"));
        let since = both.now().before(Duration::from_secs(60));
        both.capacity.runs().insert(
            service.clone(),
            Runs {
                wanted: vec![v1.clone(), v2.clone()],
                since: BTreeMap::from([(v1.clone(), since), (v2.clone(), since)]),
                ..Runs::default()
            },
        );
        let shifter = InMemoryShifter::default();
        shifter.foreign_change(&service, BTreeMap::from([(v1.clone(), Weight::ALL)]));
        let pair = WithTraffic::new(both.capacity.clone(), shifter.clone())
            .drain_at_most(Duration::from_secs(5));
        pair.observe(&service).await.unwrap();
        Self {
            pair,
            shifter,
            service,
            v1,
            v2,
            both,
        }
    }

    async fn retire(&self, step: u32) -> Result<Accepted, ChangeError> {
        let seen = self.pair.observe(&self.service).await?;
        let id = ChangeId::try_from(format!("d1-1.s{step}.a1")).unwrap();
        let change = Change::Retire {
            release: self.v2.clone(),
        };
        let expect = Expectation {
            wanted: seen.wanted,
            etag: seen.etag,
        };
        let request = ChangeRequest::new(id, change, expect, self.both.now());
        self.pair.apply(&self.service, &request).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_is_retired_when_it_answers_nothing_any_more() {
    let looked = Looked::set().await;
    looked.shifter.keep_open(&looked.service, &looked.v2, 2);
    let told = looked.retire(1).await.unwrap_err();
    assert_eq!(
        told.to_string(),
        "not sent: good-2 still answers 2 requests"
    );
    looked.shifter.keep_open(&looked.service, &looked.v2, 0);
    looked.retire(2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_release_that_never_stops_answering_is_retired_after_its_time() {
    let looked = Looked::set().await;
    looked.shifter.keep_open(&looked.service, &looked.v2, 1);
    for step in 1..=5 {
        assert!(looked.retire(step).await.is_err(), "after {step} s");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    looked.retire(6).await.unwrap();
}

#[tokio::test]
async fn a_shifter_whose_mark_moved_is_told_again() {
    let looked = Looked::set().await;
    let everything = looked.shifter.told(&looked.service);
    assert_eq!(everything.len(), 2);
    // It was started anew: who answers where is forgotten, and the mark is another one.
    looked
        .shifter
        .instances(&looked.service, &BTreeMap::new())
        .await
        .unwrap();
    looked.pair.observe(&looked.service).await.unwrap();
    assert_eq!(
        looked.shifter.told(&looked.service).len(),
        0,
        "the mark did not move"
    );
    looked.shifter.foreign_change(
        &looked.service,
        BTreeMap::from([(looked.v1.clone(), Weight::ALL)]),
    );
    looked.pair.observe(&looked.service).await.unwrap();
    assert_eq!(looked.shifter.told(&looked.service), everything);
}
