//! One instance: started, watched, started again after a crash, stopped.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rollback_core::model::{Secret, Timestamp, duration_text};
use rustix::process::Signal;
use tokio::{
    process::Child,
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    definition::{Probe, ProcessDefinition},
    identity::{self, Members, ProcessIdentity},
    launch::{command, exit_text},
    log::Log,
    ports::PortBook,
    probe::probe,
    program,
    state::{InstanceRecord, Phase, ServiceDir},
};

/// The pace while an instance is not ready yet, and of looking at its log.
const BRISK: Duration = Duration::from_millis(100);

/// What all instances of a service share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: ServiceDir,
    pub(crate) ports: Arc<PortBook>,
    pub(crate) secrets: Arc<BTreeMap<String, Secret<String>>>,
    /// Wakes the supervisor.
    pub(crate) nudge: Notify,
    /// Wakes whoever waits for news of the service.
    pub(crate) news: Notify,
}

/// Runs one instance until it is told to stop, then leaves nothing of it but its log. It holds the
/// supervisor's lock: while an instance may still be started, nobody else supervises.
pub(crate) async fn run(
    shared: Arc<Shared>,
    lock: Arc<File>,
    definition: Arc<ProcessDefinition>,
    record: InstanceRecord,
    phase: watch::Sender<Phase>,
    mut stop: watch::Receiver<bool>,
) {
    let path = shared.dir.log_path(&record.release, &record.id);
    let mut instance = Instance {
        _lock: lock,
        log: Log::new(path, definition.log),
        shared,
        definition,
        record,
        phase,
    };
    let mut running = instance.found();
    loop {
        if *stop.borrow_and_update() {
            break;
        }
        let mut process = match running.take() {
            Some(process) => process,
            None => match instance.start().await {
                Ok(process) => process,
                Err(why) => {
                    instance.failed(Phase::CannotStart { why });
                    instance.pause(&mut stop).await;
                    continue;
                }
            },
        };
        tokio::select! {
            how = process.ended() => {
                instance.clear_away(&mut None, Duration::ZERO).await;
                instance.failed(Phase::Crashed { how });
                instance.pause(&mut stop).await;
            }
            () = told_to_stop(&mut stop) => {
                running = Some(process);
                break;
            }
            () = instance.watch() => {}
        }
    }
    instance.enter(Phase::Stopping);
    let grace = instance.definition.stop_grace;
    instance.clear_away(&mut running, grace).await;
    instance.gone();
}

/// Returns when the supervisor says so. A supervisor that is gone says nothing any more: its
/// instances are for the next one.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Stops whatever carries the marker of an instance of which nothing else is known.
pub(crate) async fn clear_away_marked(marker: &str) {
    let mut members = Members::of(marker, None);
    let mut wait = Duration::from_millis(10);
    while members.signal(Signal::KILL) {
        sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(1));
    }
}

struct Instance {
    _lock: Arc<File>,
    shared: Arc<Shared>,
    definition: Arc<ProcessDefinition>,
    record: InstanceRecord,
    phase: watch::Sender<Phase>,
    log: Log,
}

/// The leading process of an instance.
struct Running {
    identity: ProcessIdentity,
    /// None for one that an earlier controller started.
    child: Option<Child>,
}

impl Running {
    /// Returns how it ended, when it has.
    async fn ended(&mut self) -> String {
        match &mut self.child {
            Some(child) => match child.wait().await {
                Ok(status) => exit_text(status),
                Err(error) => format!("ended, exit status unknown ({error})"),
            },
            None => {
                self.identity.ended().await;
                "ended, exit status unknown (an earlier controller had started it)".to_owned()
            }
        }
    }
}

impl Instance {
    /// The process that an earlier controller started for this instance, if it still runs.
    fn found(&mut self) -> Option<Running> {
        let identity = match self.record.process.clone() {
            Some(identity) if identity.is_running() => Some(identity),
            Some(_) => {
                if !matches!(
                    self.record.phase,
                    Phase::Crashed { .. } | Phase::CannotStart { .. }
                ) {
                    let how = "ended while no controller watched it";
                    self.log.note(how);
                    self.record.last_exit = Some(how.to_owned());
                }
                None
            }
            // The controller died between the intent and the pid.
            None => identity::find_leader(&self.record.id),
        }?;
        self.shared.ports.hold(self.record.port);
        self.record.process = Some(identity.clone());
        self.log
            .note(&format!("found running (pid {})", identity.pid));
        self.write();
        Some(Running {
            identity,
            child: None,
        })
    }

    /// Starts the process: writes down the intent, starts it with the marker in its environment,
    /// writes down its identity. There is no await between the three.
    async fn start(&mut self) -> Result<Running, String> {
        if self.record.process.is_some() {
            // What is left of the process before: children that outlived it.
            self.clear_away(&mut None, Duration::ZERO).await;
            self.record.restarts = self.record.restarts.saturating_add(1);
        }
        let definition = Arc::clone(&self.definition);
        let program = tokio::task::spawn_blocking(move || {
            let dir = definition.working_dir.as_deref();
            program::check(&definition.program, &definition.program_sha256, dir)
        });
        let program = program
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;

        self.shared.ports.release(self.record.port);
        let port = self
            .shared
            .ports
            .give(self.definition.port, self.record.port);
        self.record.port = port.map_err(|error| error.to_string())?;
        let output = |error: std::io::Error| format!("the log file cannot be opened: {error}");
        let stdout = self.log.for_process().map_err(output)?;
        let stderr = stdout.try_clone().map_err(output)?;

        let mut command = command(
            &program,
            &self.definition,
            &self.record,
            &self.shared.secrets,
        )?;
        command.stdout(stdout).stderr(stderr);

        self.record.process = None;
        self.record.started_at = now();
        self.record.phase = Phase::Starting;
        self.shared
            .dir
            .write_instance(&self.record)
            .map_err(|error| error.to_string())?;
        let child = command
            .spawn()
            .map_err(|error| format!("`{}` cannot be started: {error}", program.display()))?;
        // A child that was not waited for keeps its entry in /proc, also when it has ended.
        let identity = child
            .id()
            .ok_or_else(|| std::io::Error::other("no pid"))
            .and_then(|pid| ProcessIdentity::of(pid.cast_signed()))
            .map_err(|error| format!("the process that was started cannot be seen: {error}"))?;
        self.log.note(&format!("started (pid {})", identity.pid));
        self.record.process = Some(identity.clone());
        self.enter(Phase::Starting);
        Ok(Running {
            identity,
            child: Some(child),
        })
    }

    /// Probes it and keeps its log within bounds, for as long as it is polled.
    async fn watch(&mut self) {
        let began = Instant::now();
        let health = self.definition.health.clone();
        let mut failures = 0;
        let mut due = began;
        loop {
            let _ = self.log.cut();
            if self.record.failures > 0 && began.elapsed() > self.definition.restart.steady() {
                self.record.failures = 0;
                self.write();
            }
            if Instant::now() >= due {
                let result = match health.probe {
                    Probe::Alive { for_at_least } => {
                        let was_ready = self.record.phase == Phase::Ready;
                        (was_ready || began.elapsed() >= for_at_least)
                            .then_some(())
                            .ok_or_else(|| "has only just started".to_owned())
                    }
                    _ => probe(&health.probe, self.record.port, health.timeout).await,
                };
                match (result, &self.record.phase) {
                    (Ok(()), _) => {
                        failures = 0;
                        self.enter(Phase::Ready);
                    }
                    (Err(why), Phase::Ready) => {
                        failures += 1;
                        if failures >= health.failures {
                            self.enter(Phase::Unhealthy { why });
                        }
                    }
                    (Err(why), Phase::Unhealthy { .. }) => self.enter(Phase::Unhealthy { why }),
                    (Err(_), _) => {}
                }
                let brisk = self.record.phase == Phase::Starting;
                due = Instant::now()
                    + if brisk {
                        health.every.min(BRISK)
                    } else {
                        health.every
                    };
            }
            let wait = due.saturating_duration_since(Instant::now());
            sleep(wait.min(Duration::from_millis(500))).await;
        }
    }

    /// Notes a crash or a start that failed.
    fn failed(&mut self, phase: Phase) {
        self.record.failures = self.record.failures.saturating_add(1);
        let text = match &phase {
            Phase::Crashed { how } => how.clone(),
            Phase::CannotStart { why } => format!("cannot be started: {why}"),
            _ => String::new(),
        };
        let pause = duration_text(self.definition.restart.pause(self.record.failures));
        self.log.note(&format!("{text}; starts again in {pause}"));
        self.record.last_exit = Some(text);
        self.enter(phase);
    }

    /// Waits as the back-off says, or until it is told to stop.
    async fn pause(&self, stop: &mut watch::Receiver<bool>) {
        let pause = self.definition.restart.pause(self.record.failures);
        let _ = timeout(pause, told_to_stop(stop)).await;
    }

    /// Ends every process of the instance: `SIGTERM`, `grace`, then `SIGKILL` until none is left.
    async fn clear_away(&mut self, running: &mut Option<Running>, grace: Duration) {
        let marker = self.record.id.clone();
        let leader = self.record.process.clone();
        let mut members = Members::of(&marker, leader.as_ref());
        if !grace.is_zero() && members.signal(Signal::TERM) {
            let ends = async {
                if let Some(running) = running.as_mut() {
                    running.ended().await;
                }
                // Looking at all processes costs; children that stay longer are looked at less.
                let mut wait = Duration::from_millis(10);
                while !members.running().is_empty() {
                    sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_millis(500));
                }
            };
            if timeout(grace, ends).await.is_err() {
                let grace = duration_text(grace);
                self.log
                    .note(&format!("still there {grace} after SIGTERM: killed"));
            }
        }
        let mut wait = Duration::from_millis(5);
        while members.signal(Signal::KILL) {
            sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
        if let Some(mut running) = running.take() {
            running.ended().await;
        }
    }

    fn gone(&mut self) {
        self.log.note("stopped");
        self.shared.ports.release(self.record.port);
        if let Err(error) = self.shared.dir.remove_instance(&self.record.id) {
            tracing::warn!(instance = %self.record.id, %error, "the record of a stopped instance stays");
        }
        self.shared.news.notify_one();
        self.shared.nudge.notify_one();
    }

    fn enter(&mut self, phase: Phase) {
        if self.record.phase != phase || self.record.process.is_some() && phase == Phase::Starting {
            tracing::debug!(instance = %self.record.id, release = %self.record.release, ?phase, "instance");
            self.record.phase = phase.clone();
            self.write();
        }
        self.phase.send_if_modified(|before| {
            let changed = *before != phase;
            *before = phase;
            changed
        });
    }

    /// What cannot be written is told again with the next change; the intent is on the disk.
    fn write(&self) {
        if let Err(error) = self.shared.dir.write_instance(&self.record) {
            tracing::warn!(instance = %self.record.id, %error, "the state of an instance was not written");
        }
        self.shared.news.notify_one();
        self.shared.nudge.notify_one();
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
