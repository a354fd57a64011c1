//! What can be asked for.

use std::path::PathBuf;

use clap::Parser;

/// Guards the services of a Docker Swarm: whoever updates one of them, a bad update is undone, and
/// why is told.
///
/// It needs the socket of a manager (`DOCKER_HOST`, or the usual one). It can be killed at any
/// time: it goes on from its journal.
#[derive(Debug, Parser)]
#[command(name = "swarm_controller", version)]
pub(crate) struct Cli {
    /// Services with this label are guarded.
    #[arg(
        long,
        default_value = "io.rollback.guard=true",
        value_name = "KEY=VALUE"
    )]
    pub(crate) label: String,
    /// The policy that they are guarded by. Without it: Swarm's own word, crashes, memory.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// A folder of policies: a service with the label `io.rollback.policy=NAME` is guarded by
    /// NAME.yml in it.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) policies: Option<PathBuf>,
    /// The journal: what was seen, decided and done, with the definitions of releases.
    #[arg(long, default_value = "swarm_controller.db", value_name = "FILE")]
    pub(crate) state: PathBuf,
    /// Definitions hold the services' environments; they are kept sealed under the key in this
    /// file, which is made if it is not there yet [default: as --state, ending in .key].
    #[arg(long, env = "SWARM_CONTROLLER_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Decide and tell, and change nothing.
    #[arg(long)]
    pub(crate) observe: bool,
    /// Notices are posted here as JSON, besides being written to stderr.
    #[arg(long, env = "SWARM_CONTROLLER_WEBHOOK", value_name = "URL")]
    pub(crate) webhook: Option<String>,
    /// Where instances show their metrics, for policies with `source: metrics`.
    #[arg(long, default_value = "/metrics", value_name = "PATH")]
    pub(crate) metrics: String,
    /// Tell the story of a good update and of several bad ones, on services of its own, and leave
    /// the engine as it was.
    #[arg(long)]
    pub(crate) demo: bool,
}
