//! Brings what runs to what is wanted, for one service, on behalf of whichever controller holds
//! the supervisor's lock. Dropping it leaves every process running: the next one adopts them.

use std::{collections::BTreeMap, fs::File, sync::Arc, time::Duration};

use rollback_core::model::{Definition, Release, ReleaseId};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    definition::{LogLimits, ProcessDefinition},
    files::StateError,
    identity::{self, RELEASE_MARKER},
    instance::{self, Shared, now},
    launch::fixed_port,
    log::Log,
    plan::{Seen, Size, Step, plan},
    state::{InstanceRecord, Phase, ServiceDir},
};

/// How often it looks for a change that another controller made, or for a lock that became free.
const PACE: Duration = Duration::from_millis(200);

/// Logs of instances that are gone, kept per service.
const KEPT_LOGS: usize = 20;

/// Supervises until it is dropped.
pub(crate) async fn supervise(shared: Arc<Shared>) {
    let lock = loop {
        match shared.dir.try_supervise() {
            Ok(Some(lock)) => break lock,
            Ok(None) => sleep(PACE).await,
            Err(error) => {
                tracing::error!(%error, "cannot supervise");
                sleep(Duration::from_secs(1)).await;
            }
        }
    };
    let mut supervisor = Supervisor {
        shared,
        lock: Arc::new(lock),
        slots: BTreeMap::new(),
        tasks: JoinSet::new(),
        definitions: BTreeMap::new(),
    };
    supervisor.adopt().await;
    loop {
        if let Err(error) = supervisor.step() {
            tracing::error!(%error, "nothing is started or stopped until this is mended");
        }
        tokio::select! {
            _ = timeout(PACE, supervisor.shared.nudge.notified()) => {}
            Some(done) = supervisor.tasks.join_next() => {
                supervisor.slots.retain(|_, slot| !slot.phase.is_closed());
                if done.is_err() {
                    // Its processes may still run.
                    supervisor.adopt().await;
                }
            }
        }
    }
}

/// The definition of a release, as the service's directory keeps it.
pub(crate) fn definition(
    dir: &ServiceDir,
    release: &ReleaseId,
) -> Result<Option<ProcessDefinition>, StateError> {
    let Some(kept) = dir.release(release)? else {
        return Ok(None);
    };
    Ok(parse(release, kept))
}

struct Supervisor {
    shared: Arc<Shared>,
    lock: Arc<File>,
    slots: BTreeMap<String, Slot>,
    tasks: JoinSet<()>,
    /// A release is immutable: its definition is read once.
    definitions: BTreeMap<ReleaseId, Arc<ProcessDefinition>>,
}

struct Slot {
    release: ReleaseId,
    stop: watch::Sender<bool>,
    /// Closed when the instance is gone.
    phase: ClosablePhase,
}

struct ClosablePhase(watch::Receiver<Phase>);

impl ClosablePhase {
    fn is_closed(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

impl Supervisor {
    /// Takes over what earlier controllers started: instances whose process still runs are watched
    /// on, intents without a pid are looked for by their marker, records that cannot be read are
    /// rebuilt from their process's environment.
    async fn adopt(&mut self) {
        let (records, damaged) = match self.shared.dir.instances() {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "running instances cannot be found");
                return;
            }
        };
        for record in records {
            if !self.slots.contains_key(&record.id) {
                self.take_over(record).await;
            }
        }
        for id in damaged {
            match rebuilt(&id) {
                Some(record) => self.take_over(record).await,
                None => self.forget(&id).await,
            }
        }
    }

    async fn take_over(&mut self, record: InstanceRecord) {
        // What is wanted is not known: nothing is stopped on a guess.
        let unwanted = self.shared.dir.wanted().is_ok_and(|state| {
            let release = &record.release;
            !state.wanted.runs(release) && !state.replaced_by.contains_key(release)
        });
        match self.definition(&record.release) {
            // One that is on its way out, and may be gone, is not started again to be stopped.
            Some(definition) => self.open_slot(definition, record, unwanted),
            // Without its definition nobody can say how it is stopped or started again, but a
            // release that is wanted goes on serving.
            None => {
                tracing::error!(release = %record.release, instance = %record.id, "its definition is lost");
                if unwanted {
                    self.forget(&record.id).await;
                }
            }
        }
    }

    async fn forget(&self, id: &str) {
        instance::clear_away_marked(id).await;
        if let Err(error) = self.shared.dir.remove_instance(id) {
            tracing::warn!(%error, "a record stays");
        }
    }

    /// Starts and stops what the plan says.
    fn step(&mut self) -> Result<(), StateError> {
        let state = self.shared.dir.wanted()?;
        let releases: Vec<ReleaseId> = state.wanted.iter().map(|(id, _)| id.clone()).collect();
        for release in releases {
            let _ = self.definition(&release);
        }
        let seen: Vec<Seen> = self
            .slots
            .iter()
            .map(|(id, slot)| Seen {
                id: id.clone(),
                release: slot.release.clone(),
                ready: *slot.phase.0.borrow() == Phase::Ready,
                stopping: *slot.stop.borrow(),
            })
            .collect();
        let size = |release: &ReleaseId| {
            self.definitions.get(release).map(|definition| Size {
                instances: definition.instances.into(),
                fixed_port: fixed_port(definition),
            })
        };
        for step in plan(&state, size, &seen) {
            match step {
                Step::Stop(id) => {
                    if let Some(slot) = self.slots.get(&id) {
                        slot.stop.send_replace(true);
                    }
                }
                Step::Start(release) => self.start(release),
            }
        }
        Ok(())
    }

    fn start(&mut self, release: ReleaseId) {
        let Some(definition) = self.definition(&release) else {
            return;
        };
        match identity::fresh_name() {
            Ok(id) => {
                self.prune_logs();
                let record = InstanceRecord::intent(id, release, now());
                self.open_slot(definition, record, false);
            }
            Err(error) => tracing::error!(%error, "the kernel gave no name for an instance"),
        }
    }

    fn open_slot(
        &mut self,
        definition: Arc<ProcessDefinition>,
        record: InstanceRecord,
        stop: bool,
    ) {
        let (stop, stopped) = watch::channel(stop);
        let (phase, phases) = watch::channel(record.phase.clone());
        let slot = Slot {
            release: record.release.clone(),
            stop,
            phase: ClosablePhase(phases),
        };
        self.slots.insert(record.id.clone(), slot);
        let (shared, lock) = (Arc::clone(&self.shared), Arc::clone(&self.lock));
        self.tasks.spawn(instance::run(
            shared, lock, definition, record, phase, stopped,
        ));
    }

    fn definition(&mut self, release: &ReleaseId) -> Option<Arc<ProcessDefinition>> {
        if let Some(known) = self.definitions.get(release) {
            return Some(Arc::clone(known));
        }
        let read = definition(&self.shared.dir, release)
            .map_err(|error| tracing::error!(%error, "a definition cannot be read"))
            .ok()??;
        let read = Arc::new(read);
        self.definitions.insert(release.clone(), Arc::clone(&read));
        Some(read)
    }

    fn prune_logs(&self) {
        let logs = self.shared.dir.logs(None);
        let gone = logs.iter().filter(|path| {
            let name = path.file_stem().and_then(|name| name.to_str());
            let id = name
                .and_then(|name| name.rsplit_once('~'))
                .map(|(_, id)| id);
            id.is_some_and(|id| !self.slots.contains_key(id))
        });
        let gone: Vec<_> = gone.collect();
        for path in gone.iter().take(gone.len().saturating_sub(KEPT_LOGS)) {
            Log::new((*path).clone(), LogLimits::default()).remove();
        }
    }
}

fn parse(release: &ReleaseId, kept: Definition) -> Option<ProcessDefinition> {
    ProcessDefinition::from_release(&Release::new(release.clone(), "", kept))
        .map_err(|error| tracing::error!(%release, %error, "a kept definition cannot be used"))
        .ok()
}

/// The record of an instance whose file is damaged, from the environment of its process.
fn rebuilt(id: &str) -> Option<InstanceRecord> {
    let process = identity::find_leader(id)?;
    let release = identity::variable(process.pid, RELEASE_MARKER)?;
    let mut record = InstanceRecord::intent(id.to_owned(), ReleaseId::new(release).ok()?, now());
    record.port = identity::variable(process.pid, "PORT").and_then(|port| port.parse().ok());
    record.process = Some(process);
    Some(record)
}
