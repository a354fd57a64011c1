//! Hints that there may be something to see: events of the engine, and time while a task is on its
//! way, of which no event tells.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use bollard::models::EventMessage;
use rollback_core::model::ServiceId;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::SwarmDeployer;
use crate::Engine;

/// What matters of services and containers. Events of health checks are left out, but for what
/// came of them: there is one every few moments.
const KINDS: [&str; 9] = [
    "update",
    "create",
    "remove",
    "die",
    "start",
    "stop",
    "oom",
    "destroy",
    "health_status",
];

/// Containers of a service carry it.
const SERVICE_NAME: &str = "com.docker.swarm.service.name";

/// The ear for one service.
#[derive(Debug)]
pub(super) struct Hints {
    news: Arc<Notify>,
    /// How soon to look again, if nothing happens before.
    again: watch::Sender<Option<Duration>>,
    ear: JoinHandle<()>,
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.ear.abort();
    }
}

impl Hints {
    fn of(engine: Engine, service: &ServiceId) -> Self {
        let news = Arc::new(Notify::new());
        Self {
            ear: tokio::spawn(hear(engine, service.clone(), Arc::clone(&news))),
            news,
            again: watch::Sender::new(None),
        }
    }
}

impl SwarmDeployer {
    /// Returns when something happened, or may have.
    pub(super) async fn listen(&self, service: &ServiceId) {
        let (news, mut again) = self.hints(service, |hints| {
            (Arc::clone(&hints.news), hints.again.subscribe())
        });
        loop {
            let soon = *again.borrow_and_update();
            let news = async {
                match soon {
                    // The one or the other.
                    Some(soon) => drop(timeout(soon, news.notified()).await),
                    None => news.notified().await,
                }
            };
            tokio::select! {
                () = news => return,
                changed = again.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// Says how soon to look again.
    pub(super) fn look_again(&self, service: &ServiceId, soon: Option<Duration>) {
        self.hints(service, |hints| {
            hints.again.send_if_modified(|before| {
                let changed = *before != soon;
                *before = soon;
                changed
            });
        });
    }

    fn hints<T>(&self, service: &ServiceId, with: impl FnOnce(&Hints) -> T) -> T {
        let mut all = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        let hints = all
            .entry(service.clone())
            .or_insert_with(|| Hints::of(self.engine.clone(), service));
        with(hints)
    }
}

/// Listens until it is dropped.
async fn hear(engine: Engine, service: ServiceId, news: Arc<Notify>) {
    let filters: [(&str, &[&str]); 2] = [("type", &["service", "container"]), ("event", &KINDS)];
    loop {
        let heard = engine.hear(&filters, |event| {
            if is_of(event, &service) {
                news.notify_one();
            }
            false
        });
        let _ = heard.await;
        // What happened while nobody listened is not told again.
        sleep(Duration::from_secs(1)).await;
        news.notify_one();
    }
}

fn is_of(event: &EventMessage, service: &ServiceId) -> bool {
    let actor = event.actor.as_ref();
    let attributes = actor.and_then(|actor| actor.attributes.as_ref());
    let says = |name: &str| {
        let said = attributes.and_then(|attributes| attributes.get(name));
        said.is_some_and(|said| said == service.as_str())
    };
    // A service may be called by its id.
    says(SERVICE_NAME)
        || says("name")
        || says("com.docker.swarm.service.id")
        || actor.is_some_and(|actor| actor.id.as_deref() == Some(service.as_str()))
}
