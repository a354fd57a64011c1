//! One run of a command: a process group of its own, its output in a file, its end in another, so
//! that a controller that starts anew finds out what became of it.
//!
//! ```text
//! <run>/
//!   run.json    marker, start, and the leader's identity once it is known
//!   log         what it prints
//!   exit        its exit status, written by the shell that waits for it
//!   killed      why it was killed, if it was killed by us: `timed-out`, `cancelled`
//! ```

use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use rollback_core::model::{Secret, Timestamp, duration_text};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::{
    definition::LogLimits,
    files::{Durable, SCHEMA, StateError, failed, read, replace},
    identity::{self, MARKER, Members, ProcessIdentity},
    instance::now,
    log::Log,
};

/// How often a running command's log is looked at; the longest pause while a group is killed.
const LOOK: Duration = Duration::from_millis(500);

/// Waits for the command and writes down how it ended, whether or not the controller still lives.
const SHELL: &str =
    r#""$@"; code=$?; printf %s "$code" >"$0.new" && mv -f "$0.new" "$0"; exit "$code""#;

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// The whole environment; nothing is inherited beside it.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) working_dir: PathBuf,
    pub(crate) time_out: Duration,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this status; above 128 usually by a signal.
    Exit(i32),
    /// Killed, with everything that it had started, because its time was over.
    TimedOut,
    /// Killed because somebody asked for that.
    Cancelled,
    /// It is gone, and nobody knows how: killed from outside, or the machine went down.
    Vanished,
}

/// Why we killed a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    TimedOut,
    Cancelled,
}

impl Killed {
    const fn text(self) -> &'static str {
        match self {
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<Killed> for Ended {
    fn from(why: Killed) -> Self {
        match why {
            Killed::TimedOut => Self::TimedOut,
            Killed::Cancelled => Self::Cancelled,
        }
    }
}

/// How far a command is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was ever run here.
    NotStarted,
    Running {
        since: Timestamp,
    },
    Ended(Ended),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    schema: u32,
    /// In the environment of the command and of all that it starts.
    marker: String,
    started_at: Timestamp,
    time_out: Duration,
    /// None: about to be started, or the controller died before it could write the pid.
    process: Option<ProcessIdentity>,
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    dir: PathBuf,
}

impl Run {
    pub(crate) const fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Starts the command: writes down the intent, starts it, writes down its identity. `ended` is
    /// called once, on a thread of its own, after the end was written down.
    ///
    /// # Errors
    /// It was certainly not started.
    pub(crate) fn start(
        &self,
        order: &Order,
        ended: impl FnOnce(Ended) + Send + 'static,
    ) -> Result<(), RunError> {
        self.make()?;
        let marker = identity::fresh_name().map_err(RunError::Name)?;
        let mut record = Record {
            schema: SCHEMA,
            marker: marker.clone(),
            started_at: now(),
            time_out: order.time_out,
            process: None,
        };
        let log = self.log();
        let stdout = log.for_process().map_err(RunError::Log)?;
        let stderr = stdout.try_clone().map_err(RunError::Log)?;
        self.write(&record)?;
        let spawned = Command::new("/bin/sh")
            .args(["-c", SHELL])
            .arg(self.exit_path())
            .arg(&order.program)
            .args(&order.args)
            .env_clear()
            .envs(order.env.iter().map(|(name, value)| (name, value)))
            .env(MARKER, &marker)
            .current_dir(&order.working_dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(source) => {
                let _ = fs::remove_file(self.record_path());
                let program = order.program.clone();
                return Err(RunError::Spawn { program, source });
            }
        };
        // A child that was not waited for keeps its entry in /proc, also when it has ended.
        record.process = i32::try_from(child.id())
            .ok()
            .and_then(|pid| ProcessIdentity::of(pid).ok());
        if let Err(error) = self.write(&record) {
            // The marker finds it.
            tracing::warn!(%error, "the identity of a script could not be written down");
        }
        let (run, time_out) = (self.clone(), order.time_out);
        let thread = std::thread::Builder::new().name("rollback-script".to_owned());
        let watched = thread.spawn(move || ended(run.watch(child, time_out)));
        if let Err(error) = watched {
            // It runs, and whoever asks for its progress sees to its time-out.
            tracing::warn!(%error, "no thread waits for a script");
        }
        Ok(())
    }

    /// How far it is. Kills what is over its time, and what somebody began to kill, also if an
    /// earlier controller had started it: it has ended when nothing of it is left.
    pub(crate) fn progress(&self) -> Result<Progress, StateError> {
        let Some(record) = self.record()? else {
            return Ok(Progress::NotStarted);
        };
        if let Some(code) = self.exit_status() {
            return Ok(Progress::Ended(Ended::Exit(code)));
        }
        if let Some(leader) = record.leader() {
            let why = match self.killed() {
                Some(why) => why,
                None if now() > record.started_at.after(record.time_out) => Killed::TimedOut,
                None => {
                    return Ok(Progress::Running {
                        since: record.started_at,
                    });
                }
            };
            self.kill(&record, &leader, why);
            let killed = || Ended::from(why);
            return Ok(Progress::Ended(
                self.exit_status().map_or_else(killed, Ended::Exit),
            ));
        }
        // The end is written before the shell is gone; it may be there by now.
        Ok(Progress::Ended(self.written_end()))
    }

    /// Kills what runs, with everything that it started.
    pub(crate) fn cancel(&self) -> Result<(), StateError> {
        if self.exit_status().is_none()
            && let Some(record) = self.record()?
            && let Some(leader) = record.leader()
        {
            self.kill(&record, &leader, Killed::Cancelled);
        }
        Ok(())
    }

    /// Its last lines, without `secrets`.
    pub(crate) fn tail(&self, lines: usize, secrets: &[Secret<String>]) -> Vec<String> {
        self.log().tail(lines, secrets)
    }

    pub(crate) fn time_out(&self) -> Result<Option<Duration>, StateError> {
        Ok(self.record()?.map(|record| record.time_out))
    }

    /// Waits for the child, cuts its log, and kills it when its time is over.
    fn watch(&self, mut child: Child, time_out: Duration) -> Ended {
        let deadline = Instant::now() + time_out;
        let (sender, exited) = mpsc::channel();
        let leader = i32::try_from(child.id())
            .ok()
            .and_then(|pid| ProcessIdentity::of(pid).ok());
        let waiter = std::thread::Builder::new().name("rollback-script-wait".to_owned());
        let waits = waiter.spawn(move || {
            let _ = child.wait();
            let _ = sender.send(());
        });
        if let Err(error) = waits {
            tracing::warn!(%error, "no thread waits for the end of a script");
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match exited.recv_timeout(left.min(LOOK)) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    if let (Some(leader), Ok(Some(record))) = (&leader, self.record()) {
                        self.kill(&record, leader, Killed::TimedOut);
                    }
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.log().cut();
                }
            }
        }
        let _ = self.log().cut();
        self.written_end()
    }

    /// Writes down why, unless a reason stands there already, and kills.
    fn kill(&self, record: &Record, leader: &ProcessIdentity, why: Killed) {
        if self.killed().is_none() {
            let path = self.killed_path();
            if let Err(error) = fs::write(&path, why.text()) {
                tracing::warn!(%error, path = %path.display(), "why a script was killed is not written down");
            }
            let limit = duration_text(record.time_out);
            self.log()
                .note(&format!("killed: {} (its limit was {limit})", why.text()));
        }
        kill_group(&record.marker, leader);
    }

    /// The end of what is not there any more: an exit status is the truth, also if it came at the
    /// last moment.
    fn written_end(&self) -> Ended {
        match (self.exit_status(), self.killed()) {
            (Some(code), _) => Ended::Exit(code),
            (None, Some(why)) => why.into(),
            (None, None) => Ended::Vanished,
        }
    }

    fn exit_status(&self) -> Option<i32> {
        fs::read_to_string(self.exit_path())
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Why somebody began to kill it. Written before the first signal, so what is killed may still
    /// run.
    fn killed(&self) -> Option<Killed> {
        let text = fs::read_to_string(self.killed_path()).ok()?;
        [Killed::TimedOut, Killed::Cancelled]
            .into_iter()
            .find(|why| why.text() == text)
    }

    fn make(&self) -> Result<(), StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(failed("create the folder", &self.dir))
    }

    fn record(&self) -> Result<Option<Record>, StateError> {
        read(&self.record_path())
    }

    fn write(&self, record: &Record) -> Result<(), StateError> {
        replace(&self.record_path(), record, Durable::Yes)
    }

    fn log(&self) -> Log {
        Log::new(self.dir.join("log"), LogLimits::default())
    }

    fn record_path(&self) -> PathBuf {
        self.dir.join("run.json")
    }

    fn exit_path(&self) -> PathBuf {
        self.dir.join("exit")
    }

    fn killed_path(&self) -> PathBuf {
        self.dir.join("killed")
    }
}

impl Record {
    /// The shell that waits for the command, while it runs.
    fn leader(&self) -> Option<ProcessIdentity> {
        match &self.process {
            Some(process) => process.is_running().then(|| process.clone()),
            None => identity::find_leader(&self.marker),
        }
    }
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the kernel gave no name for the run: {0}")]
    Name(io::Error),
    #[error("its output cannot be kept: {0}")]
    Log(io::Error),
    #[error("`{}` cannot be started: {source}", .program.display())]
    Spawn { program: PathBuf, source: io::Error },
}

/// How an end reads.
pub(crate) fn end_text(ended: &Ended, time_out: Option<Duration>) -> String {
    match (ended, time_out) {
        (Ended::Exit(code), _) if *code > 128 => {
            format!("ended by signal {} (status {code})", code - 128)
        }
        (Ended::Exit(code), _) => format!("ended with exit status {code}"),
        (Ended::TimedOut, Some(time)) => {
            format!("was killed: not done within {}", duration_text(time))
        }
        (Ended::TimedOut, None) => "was killed: its time was over".to_owned(),
        (Ended::Cancelled, _) => "was killed because that was asked for".to_owned(),
        (Ended::Vanished, _) => {
            "is gone without an exit status: it was killed, or the machine went down".to_owned()
        }
    }
}

/// The runs in a folder, those started last at the end.
pub(crate) fn runs(dir: &Path) -> Vec<Run> {
    let mut found: Vec<(Timestamp, Run)> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let run = Run::at(entry.ok()?.path());
            let record = run.record().ok()??;
            Some((record.started_at, run))
        })
        .collect();
    found.sort_by(|a, b| (a.0, &a.1.dir).cmp(&(b.0, &b.1.dir)));
    found.into_iter().map(|(_, run)| run).collect()
}

/// Removes all but the last `kept` runs of a folder that have ended.
pub(crate) fn prune(dir: &Path, kept: usize) {
    let ended: Vec<Run> = runs(dir)
        .into_iter()
        .filter(|run| matches!(run.progress(), Ok(Progress::Ended(_))))
        .collect();
    for run in ended.iter().take(ended.len().saturating_sub(kept)) {
        let _ = fs::remove_dir_all(&run.dir);
    }
}

/// Kills the leader's group and whatever carries the marker, until nothing of it is left. The
/// leader is the shell that would write down an exit status: it is held first and killed last, since
/// while it is there it vouches for the group's number.
fn kill_group(marker: &str, leader: &ProcessIdentity) {
    identity::signal(leader, Signal::STOP);
    let until = Instant::now() + Duration::from_secs(5);
    let mut members = Members::of(marker, Some(leader));
    let mut wait = Duration::from_millis(5);
    while Instant::now() < until {
        let others: Vec<_> = members
            .running()
            .iter()
            .filter(|one| *one != leader)
            .collect();
        for member in &others {
            identity::signal(member, Signal::KILL);
        }
        if others.is_empty() {
            break;
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LOOK);
    }
    identity::signal(leader, Signal::KILL);
    while leader.is_running() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}
