//! What can be asked for.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use rollback::model::{DeploymentId, ReleaseId, ServiceId};

use crate::{exit::TABLE, settings::Haproxy};

/// Guards services of containers on a Docker Engine: deploys an image, watches it, rolls back if
/// it is bad, and says why.
#[derive(Debug, Parser)]
#[command(name = "docker_guard", after_help = TABLE)]
pub(crate) struct Cli {
    /// Tells a bad deployment's story on the engine that runs, then leaves it as it was.
    #[arg(long, conflicts_with_all = ["state", "key"])]
    pub(crate) demo: bool,
    /// One event a line, or one document, in JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Where journal and settings lie [default: $XDG_STATE_HOME/docker_guard].
    #[arg(long, global = true, env = "DOCKER_GUARD_STATE", value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
    /// What containers are started with is kept sealed under the key in this file; it is made if it
    /// is not there yet [default: guard.key in the folder of --state].
    #[arg(long, global = true, env = "DOCKER_GUARD_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Moves a service to an image.
    Deploy(Box<DeployArgs>),
    /// Goes on with what was interrupted.
    Resume(WaitArgs),
    /// Returns to a proven release: the one before, or --to.
    Rollback(RollbackArgs),
    /// What runs, and how far a deployment is.
    Status(OfService),
    /// Every deployment, newest first.
    History(OfService),
    /// Why a deployment ended as it did.
    Why(WhyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// The service.
    pub(crate) service: ServiceId,
    /// The image: a name, a digest or an id that the engine has.
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) guarded: GuardedArgs,
    #[command(flatten)]
    pub(crate) first: FirstArgs,
    /// Also if this very release was rejected before.
    #[arg(long)]
    pub(crate) again: bool,
    /// Why; kept in the journal.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// How long to wait for the end.
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub(crate) timeout: Option<Duration>,
}

/// How the service is guarded; kept for the calls to come.
#[derive(Debug, Args)]
pub(crate) struct GuardedArgs {
    /// What is watched, what must not be true, and what follows.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Traffic is divided by this HAProxy: its `stats socket` (a path or host:port), and the backend.
    #[arg(long, value_name = "SOCKET/BACKEND")]
    pub(crate) haproxy: Option<Haproxy>,
    /// Takes over the containers of a service of a Compose project.
    #[arg(long, value_name = "PROJECT/SERVICE", conflicts_with = "container")]
    pub(crate) compose: Option<String>,
    /// Takes over a container that was started by hand.
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// The port inside the containers that serves [default: the only one that the image exposes].
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Where the instances tell their numbers, in the Prometheus text format, for metrics with
    /// `source: metrics`.
    #[arg(long, value_name = "PATH", default_value = "/metrics")]
    pub(crate) metrics: String,
}

/// What containers are like; what is not said is as in the release that serves now. Of a service's
/// first containers a port and a network may be said too.
#[derive(Debug, Args)]
pub(crate) struct FirstArgs {
    /// How many containers.
    #[arg(long)]
    pub(crate) replicas: Option<u16>,
    /// A variable, as NAME=VALUE, or NAME alone for the value that it has here; may be repeated. The
    /// others stay.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) variables: Vec<String>,
    /// A port of the host, as HOST:CONTAINER; for the first containers.
    #[arg(long, value_name = "HOST:CONTAINER")]
    pub(crate) publish: Option<String>,
    /// A network; for the first containers.
    #[arg(long)]
    pub(crate) network: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The service.
    pub(crate) service: ServiceId,
    /// How long to wait for the end.
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The service.
    pub(crate) service: ServiceId,
    /// The release to return to; it must be proven.
    #[arg(long, value_name = "RELEASE")]
    pub(crate) to: Option<ReleaseId>,
    /// Why; kept in the journal.
    #[arg(long)]
    pub(crate) reason: String,
    /// How long to wait for the end.
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct OfService {
    /// The service.
    pub(crate) service: ServiceId,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The service.
    pub(crate) service: ServiceId,
    /// The deployment [default: the newest].
    pub(crate) deployment: Option<DeploymentId>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: u64 = text.parse().map_err(|_| "give whole seconds".to_owned())?;
    Ok(Duration::from_secs(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let cli = Cli::parse_from([
            "docker_guard",
            "deploy",
            "shop",
            "shop:2",
            "--haproxy",
            "/run/haproxy/admin.sock/shop",
            "--json",
        ]);
        assert!(cli.json);
        let Some(Verb::Deploy(args)) = cli.verb else {
            panic!("{cli:?}")
        };
        assert_eq!(
            args.guarded.haproxy.map(|h| h.backend),
            Some("shop".to_owned())
        );
    }
}
