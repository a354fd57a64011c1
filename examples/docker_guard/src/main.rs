//! `docker_guard`: services of containers on a Docker Engine, guarded from the command line.
//!
//! | room | holds |
//! |---|---|
//! | `cli` | what can be asked for |
//! | `settings` | what is known of a service from one call to the next, and where it lies |
//! | `guarding` | the controller of a service: deployer, traffic, metrics, journal |
//! | `deploying` | an image becomes a release; a release is deployed, or left |
//! | `following` | a deployment is followed to its end, or left before, with a word on how it stands |
//! | `signals`, `lines` | what ends the program early; who reads what it prints may be gone |
//! | `telling` | status, history, why: the journal read |
//! | `demo` | a bad deployment's story on any running engine |
//! | `exit` | how the program ends |

mod cli;
mod demo;
mod deploying;
mod exit;
mod following;
mod guarding;
mod lines;
mod settings;
mod signals;
mod telling;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{Cli, Verb},
    exit::{Fallible, Trouble},
    settings::Place,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(obey(cli)),
        Err(error) => Err(Trouble::broke(error)),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(trouble) => {
            lines::progress(format_args!("Error: {trouble}"));
            trouble.exit_code()
        }
    }
}

async fn obey(cli: Cli) -> Fallible<u8> {
    if cli.demo {
        return demo::tell(cli.json).await;
    }
    let Some(verb) = &cli.verb else {
        return Err(Trouble::asked(
            "say what to do: `docker_guard deploy SERVICE IMAGE`, or `docker_guard --help`",
        ));
    };
    let place = Place::of(cli.state, cli.key)?;
    match verb {
        Verb::Deploy(args) => deploying::deploy(&place, args, cli.json).await,
        Verb::Resume(args) => deploying::resume(&place, args, cli.json).await,
        Verb::Rollback(args) => deploying::roll_back(&place, args, cli.json).await,
        Verb::Status(args) => telling::status(&place, args, cli.json).await,
        Verb::History(args) => telling::history(&place, args, cli.json).await,
        Verb::Why(args) => telling::why(&place, args, cli.json).await,
    }
}
