//! One program that is run to its end: bounded output, its environment and nothing else, killed
//! when somebody asks to stop.

use std::{
    io::{self, Read, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use rollback_core::model::Secret;

use crate::job::Stop;

/// So much of what a program answers is read.
const MOST_OUTPUT: u64 = 64 << 20;
/// So much of what it complains about.
const MOST_WORDS: u64 = 64 << 10;
/// The longest pause between two looks at a program that runs.
const LOOK: Duration = Duration::from_millis(100);

/// A call of a program.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) secrets: Vec<(String, Secret<String>)>,
    /// Given to it as its input.
    pub(crate) input: String,
}

impl Call {
    pub(crate) fn spawn(&self) -> Result<Child, Stop> {
        let secrets = self.secrets.iter();
        Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .envs(secrets.map(|(name, value)| (name, value.expose())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Stop::Failed(format!(
                    "`{}` cannot be started: {error}; name the folder of PostgreSQL's programs",
                    self.program.display()
                ))
            })
    }

    /// What it prints, if it ends well; asks meanwhile whether to go on.
    pub(crate) fn run(&self, go_on: &dyn Fn() -> Result<(), Stop>) -> Result<Vec<u8>, Stop> {
        let mut child = self.spawn()?;
        let out = collect(child.stdout.take(), MOST_OUTPUT);
        let words = collect(child.stderr.take(), MOST_WORDS);
        if let Some(mut to) = child.stdin.take() {
            // One that ends before it has read everything says why.
            let _ = to.write_all(self.input.as_bytes());
        }
        let ended = wait(&mut child, go_on);
        let (out, words) = (joined(out), joined(words));
        let name = self.program.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        match ended {
            Ok(status) if status.success() => Ok(out),
            Ok(status) => Err(Stop::Failed(format!(
                "`{name}` failed ({status}): {}",
                self.told(&words)
            ))),
            Err(Ended::Stop(stop)) => Err(stop),
            Err(Ended::Lost(error)) => Err(Stop::Failed(format!("`{name}` is lost: {error}"))),
        }
    }

    /// Its last words, without secrets.
    pub(crate) fn told(&self, words: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(words).into_owned();
        for (_, secret) in &self.secrets {
            if !secret.expose().is_empty() {
                text = text.replace(secret.expose().as_str(), "***");
            }
        }
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let last = lines.len().saturating_sub(4);
        lines.get(last..).unwrap_or_default().join("; ")
    }
}

enum Ended {
    Stop(Stop),
    Lost(io::Error),
}

fn wait(
    child: &mut Child,
    go_on: &dyn Fn() -> Result<(), Stop>,
) -> Result<std::process::ExitStatus, Ended> {
    let mut pause = Duration::from_millis(2);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => return Err(Ended::Lost(error)),
        }
        if let Err(stop) = go_on() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Ended::Stop(stop));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOK);
    }
}

type Collected = Option<JoinHandle<Vec<u8>>>;

/// Reads all of it, so that the program never waits, and keeps its last part.
pub(crate) fn collect(from: Option<impl Read + Send + 'static>, most: u64) -> Collected {
    let mut from = from?;
    let read = move || {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut kept = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
            if kept.len() > most.saturating_mul(2) {
                kept.drain(..kept.len() - most);
            }
        }
        kept
    };
    std::thread::Builder::new().spawn(read).ok()
}

pub(crate) fn joined(collected: Collected) -> Vec<u8> {
    collected
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "this is test code")]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn shell(script: &str, input: &str) -> Call {
        Call {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: Vec::new(),
            secrets: vec![("TOKEN".to_owned(), Secret::new("hunter2".to_owned()))],
            input: input.to_owned(),
        }
    }

    #[test]
    fn what_it_says_is_told_without_secrets() {
        let go_on = || Ok(());
        let said = shell("cat; printf \" $TOKEN\"", "hello")
            .run(&go_on)
            .unwrap();
        assert_eq!(said, b"hello hunter2");
        let stop = shell("echo no: $TOKEN >&2; exit 3", "")
            .run(&go_on)
            .unwrap_err();
        let Stop::Failed(why) = stop else {
            unreachable!("nobody asked to stop")
        };
        assert_eq!(why, "`sh` failed (exit status: 3): no: ***");
    }

    #[test]
    fn it_is_killed_when_somebody_asks_to_stop() {
        let asked = Cell::new(0);
        let go_on = || {
            asked.set(asked.get() + 1);
            if asked.get() > 2 {
                Err(Stop::Cancelled)
            } else {
                Ok(())
            }
        };
        let stop = shell("exec sleep 1000", "").run(&go_on).unwrap_err();
        assert_eq!(stop, Stop::Cancelled);
    }
}
