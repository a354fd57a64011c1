//! `swarm_controller`: guards every update of Swarm services that anyone makes.
//!
//! | room | holds |
//! |---|---|
//! | `cli` | what can be asked for |
//! | `guarding` | the controller of one service: deployer, metrics, policy, journal |
//! | `watching` | which services there are; one controller for each |
//! | `telling` | notices: to stderr, to a webhook |
//! | `demo` | a good update and three bad ones, on any running engine |

mod cli;
mod demo;
mod guarding;
mod telling;
mod watching;

use std::{error::Error, process::ExitCode};

use clap::Parser;
use rollback_docker::Engine;

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
            eprintln!("Error: {trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn obey(cli: Cli) -> Fallible<()> {
    let engine = Engine::from_env()?;
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
        asked = tokio::signal::ctrl_c() => asked?,
    }
    watching.end().await;
    Ok(())
}
