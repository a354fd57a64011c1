//! A question to a script: `status` and `check`. Short, its answer bounded, nothing kept of it.

use std::{
    ffi::OsString,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rollback_core::model::duration_text;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};

/// The longest answer that is read.
const MOST: u64 = 256 << 10;

/// What a script answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

/// Asks, and waits no longer than `patience`.
pub(crate) async fn ask(
    program: &Path,
    verb: &str,
    env: &[(OsString, OsString)],
    working_dir: &Path,
    patience: Duration,
) -> Result<Answer, String> {
    let mut child = Command::new(program)
        .arg(verb)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .current_dir(working_dir)
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{} {verb}` cannot be started: {error}", program.display()))?;
    let mut group = Group(child.id());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let answer = timeout(patience, async {
        let (status, out, err) = tokio::join!(child.wait(), all(out), all(err));
        status.map(|status| Answer { status, out, err })
    });
    match answer.await {
        Ok(Ok(answer)) => {
            group.0 = None;
            Ok(answer)
        }
        Ok(Err(error)) => Err(format!("`{verb}` cannot be waited for: {error}")),
        Err(_) => Err(format!(
            "`{} {verb}` did not answer within {}",
            program.display(),
            duration_text(patience)
        )),
    }
}

async fn all(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let _ = from.take(MOST).read_to_end(&mut bytes).await;
    }
    bytes
}

/// A question that is given up leaves nothing running. An answered one is not followed: its leader
/// was reaped, and the number may be another's by now.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|pid| i32::try_from(pid).ok());
        if let Some(group) = leader.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
