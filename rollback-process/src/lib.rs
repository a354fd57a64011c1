//! This machine as a platform of the rollback library: supervised child processes as a
//! [`Deployer`](rollback_core::ports::Deployer), or a deploy script of your own ([`ScriptDeployer`],
//! [`ScriptTask`]), with commits as releases ([`GitReleases`]). Linux only: it reads `/proc`.
//!
//! Of supervised processes:
//!
//! | promise | how |
//! |---|---|
//! | nothing is orphaned, nothing is started twice | an instance is written down before it is started and carries a marker in its environment; a later controller finds it by pid, start time and boot, or by the marker |
//! | no bystander is killed | signals go through pidfds, after the start time was compared |
//! | changes are compare-and-set | a revision in the state directory, under a file lock, also between controllers |
//! | one supervisor | a lock that the kernel takes back when its holder dies |
//! | a process outlives its controller | it prints to a file, has a process group of its own, and inherits nothing that belongs to the controller |
//! | output is bounded | the file is cut at a limit, lines are shown cut, secrets and control characters are left out |
//! | a crash is a fact | exit status or signal, number of restarts, back-off that doubles up to a bound |
//!
//! What the contract of a deployer becomes here:
//!
//! | of the contract | here |
//! |---|---|
//! | release | a [`ProcessDefinition`]: program, arguments, environment, port, health check; its id is a digest over the program file and the definition |
//! | instance | one process with its children, in its own process group |
//! | `wanted`, etag, tag | `wanted.json`, its revision, the last change's id |
//! | weights | not here: join with a traffic shifter |
//! | converge beside | started, nothing else is touched |
//! | converge in place, at once | started first; what it replaces stops when it is ready (stop first if both insist on one port) |
//! | converge in place, rolling | as many are started as may run in excess, as many stopped as may be missing, over and over |
//! | converge in place, stop first | everything is stopped, then it is started |
//! | retire | `SIGTERM`, the grace period, `SIGKILL`, to all its processes |
//!
//! What an instance starts belongs to it, also what detaches itself: it carries the marker, and is
//! stopped with it. While no controller runs, nothing cuts log files and nothing restarts a crashed process.
//!
//! Rooms: `definition` (what runs) and `validity` (whether it fits together), `program` (the file
//! behind it), `state` (the directory) on `files`, `identity` (which process is ours), `ports`,
//! `probe`, `log`, `launch` and `instance` (one process's life), `plan` (what next, pure),
//! `supervisor` (does it), `observation` and `change` (what is seen, what is asked), `deployer` (the
//! trait); `script` (commands of your own), `git` (commits as releases).

mod change;
mod definition;
mod deployer;
mod files;
mod git;
mod identity;
mod instance;
mod launch;
mod log;
mod observation;
mod plan;
mod ports;
mod probe;
mod program;
mod script;
mod state;
mod supervisor;
mod validity;

pub use definition::{
    EnvValue, HealthCheck, LogLimits, PortPlan, Probe, ProcessDefinition, ReleaseError, Restart,
};
pub use deployer::ProcessDeployer;
pub use files::StateError;
pub use git::{Commit, GitError, GitReleases, RollbackBranch, RollbackRecord};
pub use ports::PortError;
pub use program::ProgramError;
pub use script::{ScriptDeployer, ScriptError, ScriptRelease, ScriptTask};
pub use validity::DefinitionError;
