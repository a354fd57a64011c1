//! Host triggers in a wrapper that remembers whose code was running, should it panic.

use std::sync::{Arc, Mutex, PoisonError};

use rollback_core::{
    model::{Explanation, MetricId, ReadError, Reading, Scope, Timestamp, TriggerId, Verdict},
    ports::{Evidence, MetricNeed, Trigger, WatchStart},
};

/// The trigger whose code runs at this moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Option<TriggerId>>>);

impl Running {
    /// Whose code was running when a panic was caught; nobody's from now on.
    pub(crate) fn take(&self) -> Option<TriggerId> {
        self.lock().take()
    }

    fn run<T>(&self, id: &TriggerId, work: impl FnOnce() -> T) -> T {
        *self.lock() = Some(id.clone());
        let result = work();
        *self.lock() = None;
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TriggerId>> {
        // Host code never runs while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host's trigger.
#[derive(Debug, Clone)]
pub(crate) struct Marked {
    trigger: Arc<dyn Trigger>,
    id: TriggerId,
    running: Running,
}

impl Marked {
    pub(crate) fn new(trigger: Arc<dyn Trigger>, running: Running) -> Self {
        let id = trigger.id();
        Self {
            trigger,
            id,
            running,
        }
    }
}

impl Trigger for Marked {
    fn id(&self) -> TriggerId {
        self.id.clone()
    }

    fn reads(&self) -> Vec<MetricNeed> {
        self.running.run(&self.id, || self.trigger.reads())
    }

    fn begin(&self, watch: &WatchStart) -> Box<dyn Evidence> {
        let evidence = self.running.run(&self.id, || self.trigger.begin(watch));
        Box::new(MarkedEvidence {
            evidence,
            id: self.id.clone(),
            running: self.running.clone(),
        })
    }
}

#[derive(Debug)]
struct MarkedEvidence {
    evidence: Box<dyn Evidence>,
    id: TriggerId,
    running: Running,
}

impl Evidence for MarkedEvidence {
    fn observe(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, reading: &Reading) {
        let evidence = &mut self.evidence;
        self.running
            .run(&self.id, || evidence.observe(at, metric, scope, reading));
    }

    fn unreadable(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, error: &ReadError) {
        let evidence = &mut self.evidence;
        self.running
            .run(&self.id, || evidence.unreadable(at, metric, scope, error));
    }

    fn verdict(&self, at: Timestamp) -> Verdict {
        self.running.run(&self.id, || self.evidence.verdict(at))
    }

    fn also_elsewhere(&self, at: Timestamp) -> Option<Arc<str>> {
        self.running
            .run(&self.id, || self.evidence.also_elsewhere(at))
    }

    fn next_wake(&self, at: Timestamp) -> Option<Timestamp> {
        self.running.run(&self.id, || self.evidence.next_wake(at))
    }

    fn explain(&self, at: Timestamp) -> Explanation {
        self.running.run(&self.id, || self.evidence.explain(at))
    }
}
