//! A real Prometheus that evaluates alert rules over series that it scrapes from this program.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::process::Process;

/// Seconds from scrape to scrape, and from evaluation to evaluation.
const INTERVAL: u32 = 1;
/// An evaluation that never comes is waited for so long.
const PATIENCE: Duration = Duration::from_secs(180);

/// A Prometheus that ends with this value.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    web: String,
    conditions: u32,
    rules: bool,
    _data: tempfile::TempDir,
}

/// What it used in some evaluations.
#[derive(Debug, Clone)]
pub struct Used {
    /// How long each evaluation of all rules took, by its own figure.
    pub rounds: Vec<Duration>,
    /// Processor time of the whole process for each interval: a scrape, an evaluation, the rest.
    pub processor: Duration,
    /// Bytes of memory at the end.
    pub memory: u64,
}

impl Used {
    /// What is more than another one used.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            rounds: Vec::new(),
            processor: self.processor.saturating_sub(other.processor),
            memory: self.memory.saturating_sub(other.memory),
        }
    }
}

impl Prometheus {
    /// Starts one that scrapes so many series, and asks `m > 0.05` for 30 s of each of them, or asks nothing.
    ///
    /// # Errors
    /// It is not installed, or cannot be started.
    pub fn start(conditions: u32, rules: bool) -> Result<Self, Box<dyn Error>> {
        let data = tempfile::tempdir()?;
        let target = TcpListener::bind("127.0.0.1:0")?;
        let address = target.local_addr()?.to_string();
        thread::spawn(move || serve(&target, conditions));
        configure(data.path(), &address, if rules { conditions } else { 0 })?;
        let web = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let file = |name: &str| data.path().join(name).display().to_string();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", file("data")))
            .arg(format!("--web.listen-address={web}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|why| {
                format!("prometheus: {why}; install it (Debian: apt-get install prometheus)")
            })?;
        Ok(Self {
            child,
            web,
            conditions,
            rules,
            _data: data,
        })
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn version(&self) -> Result<String, Box<dyn Error>> {
        let told: serde_json::Value = serde_json::from_str(&self.get("/api/v1/status/buildinfo")?)?;
        let version = told
            .pointer("/data/version")
            .and_then(|version| version.as_str());
        Ok(version.unwrap_or("of unknown version").to_owned())
    }

    /// Waits until it has seen the series a few times, then watches so many intervals.
    ///
    /// # Errors
    /// It does not evaluate, or a rule fails.
    pub fn watch(&self, rounds: usize) -> Result<Used, Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0.0;
        while seen < f64::from(5 * self.conditions) {
            if Instant::now() > deadline {
                return Err("prometheus did not read the series within 3 minutes".into());
            }
            thread::sleep(Duration::from_millis(200));
            seen = self
                .figure("prometheus_tsdb_head_samples_appended_total")
                .unwrap_or(0.0);
        }
        let process = Process::Other(self.child.id());
        let (began, before) = (Instant::now(), process.processor_time()?);
        let mut took = Vec::new();
        let (mut last, mut intervals) = (None, 0);
        while intervals < rounds {
            if Instant::now() > deadline {
                return Err("prometheus did not evaluate its rules within 3 minutes".into());
            }
            thread::sleep(Duration::from_millis(if self.rules { 250 } else { 1_000 }));
            if !self.rules {
                intervals += 1;
                continue;
            }
            let at = self.figure("prometheus_rule_group_last_evaluation_timestamp_seconds");
            let long = self.figure("prometheus_rule_group_last_duration_seconds");
            if let (Some(at), Some(long)) = (at, long)
                && Some(at) != last
            {
                took.push(Duration::from_secs_f64(long));
                last = Some(at);
                intervals += 1;
            }
        }
        let used = process.processor_time()?.saturating_sub(before);
        if self
            .figure("prometheus_rule_evaluation_failures_total")
            .is_some_and(|failures| failures > 0.0)
        {
            return Err("prometheus could not evaluate a rule".into());
        }
        Ok(Used {
            rounds: took,
            processor: used.div_f64(began.elapsed().as_secs_f64() / f64::from(INTERVAL)),
            memory: process.resident()?,
        })
    }

    /// One of its own metrics; none until it answers.
    fn figure(&self, name: &str) -> Option<f64> {
        let told = self.get("/metrics").ok()?;
        let line = told.lines().find(|line| {
            let after = line.strip_prefix(name);
            after.is_some_and(|after| after.starts_with(['{', ' ']))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn get(&self, path: &str) -> Result<String, std::io::Error> {
        let mut stream = TcpStream::connect(&self.web)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.web)?;
        let mut told = String::new();
        stream.read_to_string(&mut told)?;
        let body = told.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        Ok(body.unwrap_or(told))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(folder: &Path, target: &str, rules: u32) -> Result<(), Box<dyn Error>> {
    let mut text = "groups:\n- name: all\n  rules:\n".to_owned();
    for number in 0..rules {
        writeln!(
            text,
            "  - alert: high_{number}\n    expr: m{{n=\"{number}\"}} > 0.05\n    for: 30s"
        )?;
    }
    let rule_files = if rules > 0 {
        fs::write(folder.join("rules.yml"), text)?;
        "rule_files: [rules.yml]\n"
    } else {
        ""
    };
    let config = format!(
        "global: {{ scrape_interval: {INTERVAL}s, evaluation_interval: {INTERVAL}s }}\n{rule_files}\
         scrape_configs:\n- job_name: here\n  static_configs:\n  - targets: ['{target}']\n"
    );
    fs::write(folder.join("prometheus.yml"), config)?;
    Ok(())
}

/// Answers every request with healthy values.
fn serve(target: &TcpListener, series: u32) {
    let body: String = (0..series)
        .map(|number| format!("m{{n=\"{number}\"}} 0.01\n"))
        .collect();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    for mut stream in target.incoming().flatten() {
        let mut asked = [0; 4096];
        // Whoever hangs up is asked no more.
        let _ = stream
            .read(&mut asked)
            .and_then(|_| stream.write_all(answer.as_bytes()));
    }
}
