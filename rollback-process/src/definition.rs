//! What a release's process is: the adapter's own form of a release's definition.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use rollback_core::model::{Definition, Release, ReleaseId};
use serde::{Deserialize, Serialize};

use crate::{
    program::{self, ProgramError},
    validity::{DefinitionError, at},
};

/// How the processes of one release are started, watched and stopped.
///
/// It holds the *names* of secrets, never their values: a definition is kept in the journal. The
/// values are given to the deployer ([`ProcessDeployer::secret`](crate::ProcessDeployer::secret)).
///
/// A process inherits nothing of the controller's environment but `PATH`, `HOME`, `LANG`, `TZ`,
/// `TMPDIR` and `USER`: the controller's own credentials stay with the controller.
///
/// ```
/// use rollback_process::{HealthCheck, PortPlan, ProcessDefinition};
///
/// let definition = ProcessDefinition::new("/opt/shop/checkout")
///     .args(["--listen", "127.0.0.1:{{port}}"])
///     .env("LOG_LEVEL", "info")
///     .secret_env("DATABASE_URL", "checkout-database")
///     .instances(2)
///     .port(PortPlan::Range { first: 8100, last: 8199 })
///     .health(HealthCheck::http("/health"));
/// assert!(definition.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProcessDefinition {
    /// An absolute path, or a bare name that is looked up in `PATH`.
    pub program: PathBuf,
    /// SHA-256 of the program file when the release was made; empty: not checked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_sha256: String,
    /// Arguments; `{{port}}` and `{{instance}}` are filled in.
    #[serde(default)]
    pub args: Vec<String>,
    /// The environment; in plain values `{{port}}` and `{{instance}}` are filled in.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Where it runs; none: the root folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
    /// How many processes serve the release.
    #[serde(default = "one")]
    pub instances: u16,
    /// Which port an instance is told to listen on.
    #[serde(default)]
    pub port: PortPlan,
    /// When an instance counts as ready.
    #[serde(default)]
    pub health: HealthCheck,
    /// Time between the friendly signal (`SIGTERM`) and `SIGKILL`.
    #[serde(default = "ten_seconds")]
    pub stop_grace: Duration,
    /// How soon a crashed instance is started again.
    #[serde(default)]
    pub restart: Restart,
    /// How much of what it prints is kept.
    #[serde(default)]
    pub log: LogLimits,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum EnvValue {
    /// As it stands.
    Plain(String),
    /// The name of a secret that the deployer was given.
    Secret {
        /// Its name.
        secret: String,
    },
}

/// Which port an instance listens on. The process learns it from the variable `PORT` and wherever
/// `{{port}}` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum PortPlan {
    /// It listens on none.
    #[default]
    None,
    /// Always this one; two releases cannot run beside each other.
    Fixed(u16),
    /// The first free one of a range.
    Range {
        /// The lowest.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// Any free one that the kernel gives.
    Any,
}

/// When an instance is ready to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// Time between two probes.
    pub every: Duration,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// This many failed probes in a row make a ready instance unhealthy.
    pub failures: u32,
}

/// How an instance is probed, always on 127.0.0.1 and the instance's own port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Probe {
    /// Ready when it has stayed alive for this long.
    Alive {
        /// How long.
        #[serde(rename = "for")]
        for_at_least: Duration,
    },
    /// Ready when it accepts a connection.
    Tcp,
    /// Ready when a `GET` of this path answers 200 to 299.
    Http {
        /// Path and query, beginning with `/`.
        path: String,
    },
}

/// The back-off between the crash of an instance and its next start: it doubles with each crash
/// and begins anew after an instance has run for twice `at_most`, and for ten seconds at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Restart {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub at_most: Duration,
}

/// How much of an instance's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LogLimits {
    /// When the file grows beyond this it is cut; the last half is kept beside it.
    pub file_bytes: u64,
    /// A longer line is shown cut.
    pub line_bytes: usize,
}

/// Why a definition cannot become a release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The definition contradicts itself.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The program cannot be run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It has no form in JSON.
    #[error("the definition cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl ProcessDefinition {
    /// One instance of `program` without a port, ready when it has stayed alive for a second.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            program_sha256: String::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            working_dir: None,
            instances: one(),
            port: PortPlan::default(),
            health: HealthCheck::default(),
            stop_grace: ten_seconds(),
            restart: Restart::default(),
            log: LogLimits::default(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), EnvValue::Plain(value.into()));
        self
    }

    /// Sets a variable to the secret that the deployer knows as `secret`.
    #[must_use]
    pub fn secret_env(mut self, name: impl Into<String>, secret: impl Into<String>) -> Self {
        let secret = EnvValue::Secret {
            secret: secret.into(),
        };
        self.env.insert(name.into(), secret);
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn working_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.working_dir = Some(dir.into());
        self
    }

    /// How many processes.
    #[must_use]
    pub const fn instances(mut self, count: u16) -> Self {
        self.instances = count;
        self
    }

    /// Which port.
    #[must_use]
    pub const fn port(mut self, plan: PortPlan) -> Self {
        self.port = plan;
        self
    }

    /// When it is ready.
    #[must_use]
    pub fn health(mut self, check: HealthCheck) -> Self {
        self.health = check;
        self
    }

    /// Time between `SIGTERM` and `SIGKILL`.
    #[must_use]
    pub const fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// How soon a crashed instance is started again.
    #[must_use]
    pub const fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How much output is kept.
    #[must_use]
    pub const fn log(mut self, limits: LogLimits) -> Self {
        self.log = limits;
        self
    }

    /// The release of this definition: its id is a digest over the program file and the
    /// definition, so a changed argument or a rebuilt program is another release.
    ///
    /// # Errors
    /// The definition contradicts itself, or its program cannot be run.
    pub fn release(mut self, name: impl AsRef<str>) -> Result<Release, ReleaseError> {
        self.validate()?;
        let path = program::find(&self.program)?;
        self.program_sha256 = program::sha256(&path)?;
        let value = serde_json::to_value(&self)?;
        let digest = program::sha256_of(value.to_string().as_bytes());
        let short = digest.get(..24).unwrap_or(&digest);
        let id = ReleaseId::new(short).map_err(|error| at("release", error.to_string()))?;
        Ok(Release::new(id, name, Definition::new(value)))
    }

    /// The definition inside a release.
    ///
    /// # Errors
    /// It is not of this adapter's form, or contradicts itself.
    pub fn from_release(release: &Release) -> Result<Self, DefinitionError> {
        let definition: Self = Self::deserialize(release.definition.value())
            .map_err(|error| at("definition", error.to_string()))?;
        definition.validate()?;
        Ok(definition)
    }
}

impl HealthCheck {
    /// A `GET` of `path` each second.
    #[must_use]
    pub fn http(path: impl Into<String>) -> Self {
        Self::of(Probe::Http { path: path.into() })
    }

    /// A connection each second.
    #[must_use]
    pub const fn tcp() -> Self {
        Self::of(Probe::Tcp)
    }

    /// Ready when it has lived for this long.
    #[must_use]
    pub const fn alive(for_at_least: Duration) -> Self {
        Self::of(Probe::Alive { for_at_least })
    }

    /// The same check at another pace.
    #[must_use]
    pub const fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// The same check with another patience for one answer.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    const fn of(probe: Probe) -> Self {
        Self {
            probe,
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failures: 3,
        }
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self::alive(Duration::from_secs(1))
    }
}

impl Restart {
    /// The first pause and the longest.
    #[must_use]
    pub const fn new(first: Duration, at_most: Duration) -> Self {
        Self { first, at_most }
    }

    /// How long an instance must have run for its crashes to be over.
    pub(crate) fn steady(&self) -> Duration {
        self.at_most.saturating_mul(2).max(Duration::from_secs(10))
    }

    /// The pause after the `crashes`th crash in a row.
    pub(crate) fn pause(&self, crashes: u32) -> Duration {
        let doublings = crashes.saturating_sub(1).min(20);
        self.first.saturating_mul(1 << doublings).min(self.at_most)
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

impl LogLimits {
    /// Bytes of the file, bytes of a line.
    #[must_use]
    pub const fn new(file_bytes: u64, line_bytes: usize) -> Self {
        Self {
            file_bytes,
            line_bytes,
        }
    }
}

impl Default for LogLimits {
    fn default() -> Self {
        Self::new(4 << 20, 2048)
    }
}

impl fmt::Display for PortPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no port"),
            Self::Fixed(port) => write!(f, "port {port}"),
            Self::Range { first, last } => write!(f, "a port from {first} to {last}"),
            Self::Any => f.write_str("any port"),
        }
    }
}

const fn one() -> u16 {
    1
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_argument_is_another_release_and_the_form_survives_the_journal() {
        let one = ProcessDefinition::new("sh").arg("a").release("v1").unwrap();
        let same = ProcessDefinition::new("sh").arg("a").release("v1").unwrap();
        let other = ProcessDefinition::new("sh").arg("b").release("v1").unwrap();
        assert_eq!(one.id, same.id);
        assert_ne!(one.id, other.id);
        let text = serde_json::to_string(&one).unwrap();
        let back: Release = serde_json::from_str(&text).unwrap();
        let definition = ProcessDefinition::from_release(&back).unwrap();
        assert_eq!(definition.args, ["a"]);
        assert_eq!(definition.program_sha256.len(), 64);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let value = serde_json::json!({"program": "/bin/sh", "instnaces": 2});
        let release = Release::new(ReleaseId::new("r").unwrap(), "v", Definition::new(value));
        let error = ProcessDefinition::from_release(&release)
            .unwrap_err()
            .to_string();
        assert!(error.contains("instnaces"), "{error}");
    }

    #[test]
    fn back_off_doubles_up_to_its_bound() {
        let restart = Restart::new(Duration::from_secs(1), Duration::from_secs(5));
        let pauses: Vec<u64> = (1..6).map(|n| restart.pause(n).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        assert_eq!(restart.pause(u32::MAX).as_secs(), 5);
    }
}
