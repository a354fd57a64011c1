//! Many services in one process: permits between them, shared reads, shared appends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollback_core::{
    model::{DeploymentId, ServiceId, Timestamp, duration_text},
    ports::{Journal, MetricSource, PermitDecision, PermitRequest},
};
use tokio::sync::{Semaphore, broadcast};

use crate::{
    appends::Appends,
    coalesce::Coalesced,
    event::{Event, Events},
    members::{Mailbox, Standing},
};

/// How many services of a fleet are restored at the same time.
const RESTORING: usize = 64;

/// What the services of one process share. Clones are the same fleet.
///
/// It keeps a storm of rollbacks away from the platform (at most so many at the same time, so
/// far apart), can freeze deployments and can stop everything that acts by itself. A service asks
/// before it rolls back, the answer is an input and stands in its journal; so do a freeze and the
/// kill switch, which are commands to each service.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
/// use rollback::{Fleet, model::Actor};
/// let fleet = Fleet::builder().max_rollbacks(3).spacing(Duration::from_secs(30)).build();
/// let unreached = fleet.freeze(&Actor::new("alice"), "Black Friday", None).await;
/// assert!(unreached.0.is_empty());
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Fleet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: FleetBuilder,
    state: Mutex<State>,
    sources: Mutex<BTreeMap<usize, Arc<Coalesced>>>,
    journals: Mutex<BTreeMap<usize, Appends>>,
    events: Events,
    restoring: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<(ServiceId, DeploymentId), Timestamp>,
    last_granted: Option<Timestamp>,
    members: BTreeMap<ServiceId, Mailbox>,
    standing: Standing,
}

/// The limits of a fleet.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct FleetBuilder {
    max_rollbacks: usize,
    spacing: Duration,
    lease: Duration,
}

impl Default for FleetBuilder {
    fn default() -> Self {
        Self {
            max_rollbacks: 5,
            spacing: Duration::ZERO,
            lease: Duration::from_secs(600),
        }
    }
}

impl FleetBuilder {
    /// At most so many rollbacks at the same time; 5 by default. A person's own rollback counts,
    /// and is asked for like the others.
    pub const fn max_rollbacks(mut self, count: usize) -> Self {
        self.max_rollbacks = count;
        self
    }

    /// At least so long between the beginnings of two rollbacks; none by default.
    pub const fn spacing(mut self, spacing: Duration) -> Self {
        self.spacing = spacing;
        self
    }

    /// How long the lease of each service lasts without being renewed; ten minutes by default,
    /// so that ten thousand idle services renew about fifty leases a second.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The fleet.
    #[must_use]
    pub fn build(self) -> Fleet {
        Fleet {
            shared: Arc::new(Shared {
                limits: self,
                state: Mutex::default(),
                sources: Mutex::default(),
                journals: Mutex::default(),
                events: Events::default(),
                restoring: Semaphore::new(RESTORING),
            }),
        }
    }
}

impl Default for Fleet {
    fn default() -> Self {
        FleetBuilder::default().build()
    }
}

impl Fleet {
    /// A fleet in the making.
    pub fn builder() -> FleetBuilder {
        FleetBuilder::default()
    }

    /// The rollbacks that are running by permit.
    #[must_use]
    pub fn rollbacks(&self) -> Vec<(ServiceId, DeploymentId)> {
        self.state().running.keys().cloned().collect()
    }

    /// What happens in every service of the fleet. A listener that lags misses events; nothing
    /// waits for it.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.events.listen()
    }

    pub(crate) fn heard(&self) -> bool {
        self.shared.events.heard()
    }

    pub(crate) fn tell(&self, event: &Arc<Event>) {
        self.shared.events.tell(event);
    }

    pub(crate) fn lease(&self) -> Duration {
        self.shared.limits.lease
    }

    /// May this service roll back?
    pub(crate) fn permit(&self, now: Timestamp, request: &PermitRequest) -> PermitDecision {
        let key = (request.service.clone(), request.deployment.clone());
        let limits = self.shared.limits;
        let mut state = self.state();
        if state.running.contains_key(&key) {
            return PermitDecision::Granted;
        }
        if state.running.len() >= limits.max_rollbacks {
            let names: Vec<&str> = state.running.keys().map(|(s, _)| s.as_str()).collect();
            return denied(format!(
                "{} rollbacks are running already ({}), {} are allowed at the same time; resume when one has ended",
                state.running.len(),
                names.join(", "),
                limits.max_rollbacks
            ));
        }
        if let Some(last) = state.last_granted
            && now.since(last) < limits.spacing
        {
            return denied(format!(
                "the last rollback began at {last}, and {} must lie between two; resume then",
                duration_text(limits.spacing)
            ));
        }
        state.last_granted = Some(now);
        state.running.insert(key, now);
        PermitDecision::Granted
    }

    /// A service's journal says that it was granted and has not ended.
    pub(crate) fn resumed(&self, service: &ServiceId, deployment: &DeploymentId, at: Timestamp) {
        let key = (service.clone(), deployment.clone());
        self.state().running.entry(key).or_insert(at);
    }

    /// The deployment ended.
    pub(crate) fn ended(&self, service: &ServiceId, deployment: &DeploymentId) {
        let key = (service.clone(), deployment.clone());
        self.state().running.remove(&key);
    }

    /// The controller of the service is gone.
    pub(crate) fn gone(&self, service: &ServiceId) {
        self.state().running.retain(|(s, _), _| s != service);
    }

    /// Keeps an order for the members that come later.
    pub(crate) fn stand(&self, order: impl FnOnce(&mut Standing)) {
        order(&mut self.state().standing);
    }

    /// The orders that stand, for a member that joins.
    pub(crate) fn joined(&self, service: &ServiceId, mailbox: Mailbox) -> Standing {
        let mut state = self.state();
        state.members.retain(|_, known| known.strong_count() > 0);
        state.members.insert(service.clone(), mailbox);
        state.standing.clone()
    }

    pub(crate) fn members(&self) -> Vec<(ServiceId, Mailbox)> {
        let members = &self.state().members;
        let member =
            |(service, mailbox): (&ServiceId, &Mailbox)| (service.clone(), mailbox.clone());
        members.iter().map(member).collect()
    }

    /// The source, with the reads of all services put together.
    pub(crate) fn source(&self, source: &Arc<dyn MetricSource>) -> Arc<Coalesced> {
        let key = Arc::as_ptr(source).cast::<()>() as usize;
        let mut sources = lock(&self.shared.sources);
        let known = sources
            .entry(key)
            .or_insert_with(|| Coalesced::new(Arc::clone(source)));
        Arc::clone(known)
    }

    /// The journal, with the appends of all services put together.
    pub(crate) fn appends(&self, journal: &Arc<dyn Journal>) -> Appends {
        let key = Arc::as_ptr(journal).cast::<()>() as usize;
        let mut journals = lock(&self.shared.journals);
        let known = journals
            .entry(key)
            .or_insert_with(|| Appends::grouped(Arc::clone(journal)));
        known.clone()
    }

    /// Not all services are restored at the same time.
    pub(crate) fn restoring(&self) -> &Semaphore {
        &self.shared.restoring
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

fn denied(why: String) -> PermitDecision {
    PermitDecision::Denied { why: why.into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these locks is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(service: &str) -> PermitRequest {
        PermitRequest {
            service: ServiceId::new(service).unwrap(),
            deployment: DeploymentId::new("d1").unwrap(),
            attempt: 1,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn why(decision: &PermitDecision) -> &str {
        match decision {
            PermitDecision::Granted => "",
            PermitDecision::Denied { why } => why,
        }
    }

    #[test]
    fn a_storm_of_rollbacks_is_kept_to_its_limit() {
        let fleet = Fleet::builder().max_rollbacks(2).build();
        assert_eq!(fleet.permit(at(0), &request("a")), PermitDecision::Granted);
        assert_eq!(fleet.permit(at(0), &request("b")), PermitDecision::Granted);
        assert_eq!(fleet.permit(at(0), &request("b")), PermitDecision::Granted);
        let third = fleet.permit(at(0), &request("c"));
        assert!(why(&third).contains("2 rollbacks are running already (a, b)"));
        fleet.ended(&request("a").service, &request("a").deployment);
        assert_eq!(fleet.permit(at(0), &request("c")), PermitDecision::Granted);
        fleet.gone(&request("b").service);
        assert_eq!(fleet.rollbacks().len(), 1);
    }

    #[test]
    fn rollbacks_keep_their_distance() {
        let fleet = Fleet::builder().spacing(Duration::from_secs(30)).build();
        assert_eq!(fleet.permit(at(0), &request("a")), PermitDecision::Granted);
        assert!(why(&fleet.permit(at(29), &request("b"))).contains("30s must lie between"));
        assert_eq!(fleet.permit(at(30), &request("b")), PermitDecision::Granted);
    }
}
