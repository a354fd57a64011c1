//! Starts the demo's programs as processes of their own: this same executable, with a hidden first argument.
//!
//! They stand in process groups of their own, so that neither Ctrl-C in the terminal nor the death of the controller
//! reaches them; the switch and the users end by themselves when nobody stops them.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

/// How long a program of the demo may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How long a program of the demo may take to end after it was told to.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// The one line that a program of the demo prints on stdout, once it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Its process, for whoever adopts it.
    pub(crate) pid: u32,
    /// Where it serves, or where it sends its requests.
    pub(crate) address: SocketAddr,
    /// Where it is steered, if it is.
    pub(crate) control: Option<SocketAddr>,
}

impl Ready {
    /// This process, ready.
    pub(crate) fn new(address: SocketAddr, control: Option<SocketAddr>) -> Self {
        Self {
            pid: std::process::id(),
            address,
            control,
        }
    }

    /// Prints the line. Nobody may be reading; that is no reason to end.
    pub(crate) fn announce(self) {
        if let Ok(line) = serde_json::to_string(&self) {
            let mut out = std::io::stdout();
            let _ = writeln!(out, "{line}");
            let _ = out.flush();
        }
    }
}

/// Why a program of the demo did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("cannot start the {program}: {source}")]
    Spawn {
        program: String,
        source: std::io::Error,
    },
    #[error("the {program} did not start: {said}")]
    Ended { program: String, said: String },
    #[error("the {program} said nothing within {} s", READY_WITHIN.as_secs())]
    Silent { program: String },
}

/// Starts `executable program args…` and waits until it is ready.
pub(crate) async fn start(
    executable: PathBuf,
    program: &str,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Ready, ChildError> {
    // As people know it, and not as the hidden argument.
    let named = || program.trim_start_matches("demo-").to_owned();
    let mut child = Command::new(executable)
        .arg(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| ChildError::Spawn {
            program: named(),
            source,
        })?;
    let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(ChildError::Silent { program: named() });
    };
    let mut line = String::new();
    let ready = async {
        let _ = BufReader::new(stdout).read_line(&mut line).await;
        serde_json::from_str::<Ready>(&line)
    };
    match tokio::time::timeout(READY_WITHIN, ready).await {
        Ok(Ok(ready)) => {
            // Reaped when it ends, so that no zombie keeps its number.
            tokio::spawn(async move { child.wait().await });
            Ok(ready)
        }
        Ok(Err(_)) => {
            let _ = child.start_kill();
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said).await;
            let said = String::from_utf8_lossy(&said);
            let said = said.trim().trim_start_matches("Error: ").to_owned();
            Err(ChildError::Ended {
                program: named(),
                said,
            })
        }
        Err(_) => {
            let _ = child.start_kill();
            Err(ChildError::Silent { program: named() })
        }
    }
}

/// Returns when the program has ended, or after a while if it does not.
pub(crate) async fn ended(ready: Ready) {
    // Its executable cannot be told any more: it is gone, or waits only to be reaped.
    let runs = || std::fs::read_link(format!("/proc/{}/exe", ready.pid)).is_ok();
    let deadline = Instant::now() + ENDED_WITHIN;
    while runs() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell plays the program: `-c` stands where the hidden argument does.
    async fn shell(script: &str) -> Result<Ready, ChildError> {
        start("/bin/sh".into(), "-c", [OsString::from(script)]).await
    }

    #[tokio::test]
    async fn a_program_is_ready_when_it_says_so() {
        let line = r#"{"pid":1,"address":"127.0.0.1:80","control":null}"#;
        let ready = shell(&format!("echo '{line}'; exec sleep 1"))
            .await
            .unwrap();
        assert_eq!(ready.address, SocketAddr::from(([127, 0, 0, 1], 80)));
        assert_eq!(ready.control, None);
    }

    #[tokio::test]
    async fn a_program_that_cannot_start_is_quoted() {
        let error = shell("echo 'Error: the port is in use' >&2; exit 1")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the -c did not start: the port is in use"
        );
        let absent = start("/nowhere/quickstart".into(), "demo-shop", [])
            .await
            .unwrap_err();
        assert!(
            absent.to_string().contains("cannot start the shop"),
            "{absent}"
        );
    }

    #[tokio::test]
    async fn an_end_is_waited_for() {
        let line = r#"echo "{\"pid\":$$,\"address\":\"127.0.0.1:80\",\"control\":null}""#;
        let ready = shell(&format!("{line}; exec sleep 0.1")).await.unwrap();
        ended(ready).await;
        assert!(std::fs::read_link(format!("/proc/{}/exe", ready.pid)).is_err());
    }
}
