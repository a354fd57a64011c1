//! The quickstart: a bad release takes traffic, is noticed, rolled back, verified and explained; its fix is promoted.
//!
//! | room | holds |
//! |---|---|
//! | `story` | the three acts: this is where the library is used |
//! | `telling` | a running controller, and everybody who follows it |
//! | `series` | several stories one after another, and their table |
//! | `scenario`, `ends` | what is wrong with version 2; how the story must end |
//! | `stage`, `world` | what runs: the shop's releases, the switch, the users; and its end |
//! | `place` | where the journal lies, and what `--resume` needs besides |
//! | `chronicle`, `figures` | what happened, from the journal's facts; what it comes to, beside what users saw |
//! | `screen`, `ending` | what people see meanwhile and at the end |
//! | `demo` | the shop, the switch and the users themselves |

mod chronicle;
mod cli;
mod demo;
mod ending;
mod ends;
mod figures;
mod place;
#[cfg(test)]
mod sample;
mod scenario;
mod screen;
mod series;
mod stage;
mod story;
mod telling;
mod trouble;
mod world;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Program};
use crate::demo::shop::{CRASH_CODE, Ended};
use crate::demo::{database, load, shop, switch};
use crate::scenario::Scenario;
use crate::trouble::Trouble;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(async {
                match cli.program {
                    Some(program) => run(program).await,
                    None if cli.story.list => {
                        let all = Scenario::value_variants();
                        let list = if cli.story.json {
                            series::list_as_events(all)
                        } else {
                            series::list(all)
                        };
                        let _ = writeln!(std::io::stdout(), "{list}");
                        Ok(ExitCode::SUCCESS)
                    }
                    None => series::tell(cli.story).await,
                }
            });
            // A crash does not wait for what is still open.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Trouble::broke(format!("cannot start: {error}"))),
    };
    ended.unwrap_or_else(|trouble| {
        let _ = writeln!(std::io::stderr(), "Error: {trouble}");
        trouble.exit_code()
    })
}

/// One of the story's own programs.
async fn run(program: Program) -> Result<ExitCode, Trouble> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Trouble::broke)?;
    let stop = async move {
        let _ = terminate.recv().await;
    };
    match program {
        Program::Shop(args) => {
            let ended = shop::run(args, stop).await.map_err(Trouble::broke)?;
            return Ok(match ended {
                Ended::Stopped => ExitCode::SUCCESS,
                Ended::Crashed => ExitCode::from(CRASH_CODE),
            });
        }
        Program::Database(args) => database::run(args, stop).await.map_err(Trouble::broke)?,
        Program::Switch(args) => switch::run(args, stop).await.map_err(Trouble::asked)?,
        Program::Load(args) => drop(load::run(args, stop).await.map_err(Trouble::asked)?),
    }
    Ok(ExitCode::SUCCESS)
}
