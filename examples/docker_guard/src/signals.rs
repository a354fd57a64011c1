//! What ends the program before its work is done: Ctrl-C, `kill`, a terminal that was closed.

use std::fs;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Fallible, Trouble};

/// Signals that are heard instead of killing the program where it stands.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on. A closed terminal is not heard where it is to be ignored (`nohup`).
    pub(crate) fn heard() -> Fallible<Self> {
        let of = |kind| signal(kind).map_err(Trouble::broke);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Ok(Self {
            hangup: if ignores_hangup(&status) {
                None
            } else {
                Some(of(SignalKind::hangup())?)
            },
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    /// What the next one was.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted (Ctrl-C)",
            _ = self.terminate.recv() => "told to end (SIGTERM)",
            _ = hangup => "the terminal was closed (SIGHUP)",
        }
    }

    /// Does what was not begun yet, unless a signal comes; then `what` holds.
    pub(crate) async fn unless<T>(
        &mut self,
        what: &str,
        work: impl Future<Output = Fallible<T>>,
    ) -> Fallible<T> {
        tokio::select! {
            done = work => done,
            why = self.next() => Err(Trouble::interrupted(format!("{why}: {what}"))),
        }
    }
}

/// Whether a process with this `/proc/PID/status` ignores SIGHUP, which is the first bit.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_respected() {
        for (status, ignored) in [
            ("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n", true),
            ("Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t1\n", false),
            ("", false),
        ] {
            assert_eq!(ignores_hangup(status), ignored, "{status}");
        }
    }
}
