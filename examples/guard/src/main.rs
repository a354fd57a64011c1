//! `guard`: deployments guarded from the command line.
//!
//! | room | holds |
//! |---|---|
//! | `cli` | what can be asked for |
//! | `run`, `observing`, `preflight`, `follow` | a deploy command, wrapped: begun, waited for, told |
//! | `orders`, `telling` | what people ask of a controller, and of a journal |
//! | `host`, `settings` | the controller, in the background or to stay |
//! | `wire`, `server`, `client` | the socket between the two |
//! | `looking`, `doctor` | a policy, a journal and the surroundings looked at |
//! | `tables`, `readings`, `github` | document 003's tables; what GitHub wants to know |
//! | `guarded`, `watching`, `rehearsal` | what is guarded and how; a policy from a few settings, or faster |
//! | `scripts`, `sources`, `notices` | what deploys, where metrics come from, who is told |
//! | `which`, `place` | which service; where things lie |
//! | `archive`, `picture`, `course` | a journal read; a service as people are shown it; how far a deployment is |
//! | `exit` | how the program ends |

mod archive;
mod cli;
mod client;
mod course;
mod doctor;
mod exit;
mod follow;
mod github;
mod guarded;
mod host;
mod looking;
mod notices;
mod observing;
mod orders;
mod picture;
mod place;
mod preflight;
mod readings;
mod rehearsal;
mod run;
mod scripts;
mod server;
mod settings;
mod sources;
mod tables;
mod telling;
mod watching;
mod which;
mod wire;

use std::{io::Write, process::ExitCode, time::Duration};

use clap::Parser;
use rollback::entry::Command;

use crate::{
    cli::{AttachArgs, Cli, JournalVerb, PolicyVerb, ServeArgs, Switch, Verb},
    exit::{Fallible, Trouble},
    follow::Patience,
    settings::Settings,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(obey(cli.verb));
            // What is open is closed in order, the journal above all.
            runtime.shutdown_timeout(Duration::from_secs(2));
            ended
        }
        Err(error) => Err(Trouble::broke(error)),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(trouble) => end(trouble),
    }
}

fn end(trouble: Trouble) -> ExitCode {
    github::annotate(trouble.code, &trouble);
    let _ = writeln!(std::io::stderr(), "Error: {trouble}");
    trouble.exit_code()
}

async fn obey(verb: Verb) -> Fallible<u8> {
    match verb {
        Verb::Run(args) => run::run(&args).await,
        Verb::Attach(args) => attach(&args, true).await,
        Verb::Wait(args) => attach(&args, false).await,
        Verb::Serve(args) => serve(&args).await,
        Verb::Stop(at) => orders::stop(&at).await,
        Verb::Status(args) => telling::status(&args).await,
        Verb::Watch(args) => telling::watch(&args).await,
        Verb::Why(args) => telling::why(&args).await,
        Verb::History(args) => telling::history(&args).await,
        Verb::Stats(args) => telling::stats(&args).await,
        Verb::Promote(args) => orders::order(&args, Command::Promote, "promoting").await,
        Verb::Hold(args) => orders::order(&args, Command::Pause, "held").await,
        Verb::Resume(args) => orders::order(&args, Command::Resume, "resumed").await,
        Verb::Abort(args) => orders::order(&args, Command::Abort, "aborted").await,
        Verb::Rollback(args) => orders::roll_back(&args).await,
        Verb::Approve(args) => {
            let gate = args.gate.as_str().into();
            orders::order(&args.order, Command::Approve { gate }, "approved").await
        }
        Verb::Freeze(args) => {
            let order = Command::Freeze { until: args.until };
            orders::standing(&args.order, order, "deployments are frozen").await
        }
        Verb::Unfreeze(args) => {
            orders::standing(&args, Command::Unfreeze, "deployments are allowed again").await
        }
        Verb::KillSwitch(args) => {
            let on = args.switch == Switch::On;
            let done = if on {
                "the kill switch is on: nothing is changed any more"
            } else {
                "the kill switch is off"
            };
            orders::standing(&args.order, Command::KillSwitch { on }, done).await
        }
        Verb::Policy(PolicyVerb::Check(args)) => looking::check_policy(&args),
        Verb::Policy(PolicyVerb::Docs { section }) => looking::policy_docs(section.as_deref()),
        Verb::Policy(PolicyVerb::Schema) => looking::policy_schema(),
        Verb::Journal(JournalVerb::Verify(args)) => looking::verify(&args.at),
        Verb::Journal(JournalVerb::Export(args)) => looking::export(&args.at),
        Verb::Doctor(args) => doctor::look(&args).await,
        Verb::Resolve(args) => orders::resolve(&args).await,
    }
}

async fn attach(args: &AttachArgs, start: bool) -> Fallible<u8> {
    let place = args.at.known()?;
    let patience = Patience {
        timeout: args.waiting.timeout,
        until_ended: args.waiting.until_ended,
        json: args.waiting.json,
        way_back: false,
    };
    run::attach(&place, args.deployment.as_ref(), patience, start).await
}

/// In the background the settings are those that `guard run` has kept.
async fn serve(args: &ServeArgs) -> Fallible<u8> {
    if args.guarded.is_given() && !args.until_idle {
        let (place, settings) = args.guarded.settings(&args.at, false)?;
        settings.keep(&place)?;
        return host::serve(&place, &settings, false).await;
    }
    let place = args.at.known()?;
    let settings = Settings::load(&place)?;
    host::serve(&place, &settings, args.until_idle).await
}
