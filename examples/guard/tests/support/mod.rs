//! A service that is a file: the deploy script writes who serves, a health URL answers for it.
#![allow(dead_code, reason = "each test uses some of it")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use tempfile::TempDir;

pub(crate) struct Stage {
    folder: TempDir,
    pub(crate) health: String,
}

impl Drop for Stage {
    /// Whatever controller is left is ended.
    fn drop(&mut self) {
        let _ = self.guard(&["stop", "--service", "shop"]).output();
    }
}

impl Stage {
    /// The service runs `v1` and is well.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("current");
        fs::write(&current, "v1").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let health = format!("http://{}/health", listener.local_addr().unwrap());
        thread::spawn(move || answer(&listener, &current));
        Self { folder, health }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the service runs now.
    pub(crate) fn current(&self) -> String {
        fs::read_to_string(self.path("current"))
            .unwrap()
            .trim()
            .to_owned()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The program as a new user has it: nothing of this machine's environment.
    pub(crate) fn guard(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("ROLLBACK_JOURNAL", self.path("guard.db"))
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `guard run` with a watch of `seconds`, before the `--`.
    pub(crate) fn run(&self, release: &str, seconds: &str) -> Command {
        let back = "echo back to $GUARD_RELEASE; echo $GUARD_RELEASE > current";
        self.run_and_back(release, seconds, back)
    }

    /// The same with a rollback command.
    pub(crate) fn run_and_back(&self, release: &str, seconds: &str, back: &str) -> Command {
        self.guard(&[
            "run",
            "--service",
            "shop",
            "--health-url",
            &self.health,
            "--monitor",
            seconds,
            "--every",
            "200ms",
            "--settle",
            "0",
            "--release",
            release,
            "--rollback-command",
            back,
        ])
    }

    /// A whole run: `script` is the deploy command for `sh -c`.
    pub(crate) fn deploy(&self, release: &str, seconds: &str, script: &str) -> Told {
        let mut command = self.run(release, seconds);
        told(command.args(["--", "sh", "-c", script]))
    }

    /// A command of `guard` to its end.
    pub(crate) fn ask(&self, args: &[&str]) -> Told {
        told(&mut self.guard(args))
    }

    /// Another page of the same service.
    pub(crate) fn page(&self, path: &str) -> String {
        self.health.replace("/health", path)
    }

    /// A program, also found by its name: the stage's folder is the first of its `PATH`.
    pub(crate) fn program(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// As whom we are known to the kernel.
    pub(crate) fn uid(&self) -> String {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(self.folder.path()).unwrap().uid().to_string()
    }

    /// The process of the controller that runs.
    pub(crate) fn controller(&self) -> String {
        fs::read_to_string(self.path("guard.db.guard/shop/controller.lock")).unwrap()
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    /// With this exit code, and this in what it said.
    #[track_caller]
    pub(crate) fn ended(&self, code: i32, text: &str) -> &Self {
        assert_eq!(self.code, code, "{self}");
        let said = self.out.contains(text) || self.err.contains(text);
        assert!(said, "`{text}` was not said:\n{self}");
        self
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit code {}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.out, self.err
        )
    }
}

pub(crate) fn told(command: &mut Command) -> Told {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Told {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// A run that is followed line by line.
pub(crate) struct Following {
    pub(crate) child: Child,
    said: BufReader<Box<dyn Read>>,
}

impl Following {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let said: Box<dyn Read> = Box::new(child.stderr.take().unwrap());
        let said = BufReader::new(said);
        Self { child, said }
    }

    /// Reads stdout instead.
    pub(crate) fn start_reading_out(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let said: Box<dyn Read> = Box::new(child.stdout.take().unwrap());
        let said = BufReader::new(said);
        Self { child, said }
    }

    /// Ends it by Ctrl-C.
    pub(crate) fn stop(mut self) {
        signal("-INT", &self.child.id().to_string());
        assert_eq!(self.child.wait().unwrap().code(), Some(130));
    }

    /// Reads what it says until it says `text`.
    pub(crate) fn until(&mut self, text: &str) {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let read = self.said.read_line(&mut line).unwrap();
            assert!(read > 0, "ended without saying `{text}`:\n{all}");
            all.push_str(&line);
            if line.contains(text) {
                return;
            }
        }
    }

    pub(crate) fn end(mut self) -> Told {
        let mut err = String::new();
        self.said.read_to_string(&mut err).unwrap();
        let Output { status, stdout, .. } = self.child.wait_with_output().unwrap();
        Told {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).unwrap(),
            err,
        }
    }
}

/// Sends a signal to a process by its id.
pub(crate) fn signal(name: &str, pid: &str) {
    let sent = Command::new("kill").args([name, pid]).status().unwrap();
    assert!(sent.success(), "kill {name} {pid}");
}

/// A web service with document 003's health body, a page of metrics and a Prometheus beside it. What
/// runs is well, unless its name says something else: `bad` fails its checks, `flaky` every third of
/// them, `sick` answers and tells of errors.
fn answer(listener: &TcpListener, current: &Path) {
    for (count, stream) in listener.incoming().enumerate() {
        let Ok(mut stream) = stream else { return };
        let mut asked = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut wanted) = (String::new(), String::new());
        while asked.read_line(&mut line).is_ok_and(|read| read > 2) {
            if wanted.is_empty() {
                wanted.clone_from(&line);
            }
            line.clear();
        }
        let runs = fs::read_to_string(current).unwrap_or_default();
        let sick = runs.contains("sick");
        let down = runs.contains("bad") || runs.contains("flaky") && count % 3 == 0;
        let errors = if sick { 0.2 } else { 0.001 };
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let (mut status, body) = (
            "200 OK",
            match wanted.split(' ').nth(1).unwrap_or_default() {
                "/metrics" => format!("error_rate {errors}\ncpu_usage 0.3\n"),
                // When the last sample was taken is asked too.
                path if path.starts_with("/api/v1/query") => {
                    let value = if path.contains("timestamp") {
                        now
                    } else {
                        errors
                    };
                    format!(
                        r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{now},"{value}"]}}]}}}}"#
                    )
                }
                "/metrics.json" => format!(r#"{{"error_rate":{errors},"cpu_usage":0.3}}"#),
                _ => {
                    let (word, percent) = if sick {
                        ("degraded", 20.0)
                    } else {
                        ("healthy", 0.1)
                    };
                    format!(
                        r#"{{"status":"{word}","error_rate":{percent},"availability":99.9,"response_time":120,"timestamp":{now}}}"#
                    )
                }
            },
        );
        if down {
            status = "500 Internal Server Error";
        }
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }
}
