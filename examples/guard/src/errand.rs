//! One script, run by a process of its own that outlives its controller and writes down how it
//! ended: a controller that was killed meanwhile finds the answer.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use clap::Args;
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};
use serde::{Deserialize, Serialize};

/// The hidden command that runs a script and writes down how it ended.
#[derive(Debug, Args)]
pub(crate) struct ErrandArgs {
    /// Where the end is written
    #[arg(long)]
    record: PathBuf,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// How far a script is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Errand {
    Running,
    Ended(End),
    /// It was killed together with the process that would have written down its end.
    Lost,
}

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) success: bool,
    /// `exit code 3`, `signal 9`.
    pub(crate) how: String,
}

/// Runs a script to its end; its parent may be gone by then.
pub(crate) fn run(args: &ErrandArgs) -> io::Result<()> {
    let lock = File::options()
        .create(true)
        .append(true)
        .open(lock_of(&args.record))?;
    lock.lock()?;
    // Only now is it certain that whoever looks finds it running or ended.
    fs::write(begun_of(&args.record), std::process::id().to_string())?;
    let (program, rest) = args
        .command
        .split_first()
        .ok_or_else(|| io::Error::other("no command"))?;
    let ended = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .status();
    let end = match ended {
        Ok(status) => End {
            success: status.success(),
            how: how(status),
        },
        Err(why) => End {
            success: false,
            how: format!("`{program}` could not be started: {why}"),
        },
    };
    let partial = args.record.with_extension("partial");
    fs::write(&partial, serde_json::to_vec(&end)?)?;
    fs::rename(partial, &args.record)
}

/// What became of the script whose end is written to `record`.
pub(crate) fn look(record: &Path) -> io::Result<Errand> {
    // Twice, since it may end between the two questions.
    for _ in 0..2 {
        match fs::read(record) {
            Ok(text) => {
                return Ok(Errand::Ended(serde_json::from_slice(&text)?));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if !begun_of(record).exists() {
            return Ok(Errand::Running);
        }
        let lock = File::options()
            .create(true)
            .append(true)
            .open(lock_of(record))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Errand::Running),
            Err(TryLockError::Error(why)) => return Err(why),
        }
    }
    Ok(Errand::Lost)
}

/// Sends a signal to a script that runs and to all that it has started; it leads a process group.
pub(crate) fn signal(record: &Path, signal: Signal) -> io::Result<()> {
    // Its lock says that it lives, so the number is still its own.
    if look(record)? != Errand::Running {
        return Ok(());
    }
    let text = match fs::read_to_string(begun_of(record)) {
        Ok(text) => text,
        // It is only just starting.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match text.parse().ok().and_then(Pid::from_raw) {
        Some(leader) => match kill_process_group(leader, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        },
        None => Ok(()),
    }
}

fn lock_of(record: &Path) -> PathBuf {
    record.with_extension("lock")
}

fn begun_of(record: &Path) -> PathBuf {
    record.with_extension("begun")
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
