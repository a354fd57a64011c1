//! `swarm_controller`: guards every update of Swarm services that anyone makes.
//!
//! | room | holds |
//! |---|---|
//! | `cli` | what can be asked for |
//! | `guarding` | the controller of one service: deployer, metrics, policy, journal |
//! | `watching` | which services there are; one controller for each |
//! | `telling` | notices: to stderr, to a webhook |
//! | `demo` | a good update and three bad ones, on any running engine |

/// A line to stdout. Whoever reads it may be gone: that stops nothing.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout().lock(), $($text)*);
    }};
}

/// The same to stderr.
macro_rules! warn {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($text)*);
    }};
}

mod cli;
mod demo;
mod guarding;
mod telling;
mod watching;

use std::{error::Error, process::ExitCode};

use clap::Parser;
use rollback_docker::{Engine, Registries};
use tokio::signal::unix::{SignalKind, signal};

use crate::{cli::Cli, guarding::Settings, watching::Watching};

/// Whatever stops this program, in words.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(obey(cli)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            warn!("Error: {trouble}");
            ExitCode::FAILURE
        }
    }
}

/// Returns when it is told to end, with how.
async fn told_to_end() -> Fallible<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => Ok(asked.map(|()| "interrupted")?),
        _ = terminate.recv() => Ok("told to end (SIGTERM)"),
    }
}

async fn obey(cli: Cli) -> Fallible<()> {
    let engine = Engine::from_env()?.registries(Registries::of_docker()?);
    if cli.demo {
        return demo::tell(engine).await;
    }
    let key = cli.key.unwrap_or_else(|| cli.state.with_extension("key"));
    let settings = Settings {
        policy: cli.policy,
        policies: cli.policies,
        observe: cli.observe,
        webhook: cli.webhook,
        metrics: cli.metrics,
    };
    let mut watching = Watching::open(engine, &cli.label, &cli.state, &key, settings)?;
    tokio::select! {
        never = watching.stay() => never?,
        why = told_to_end() => warn!("{}: nobody watches until it runs again", why?),
    }
    watching.end().await;
    Ok(())
}
