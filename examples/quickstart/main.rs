//! The quickstart: a bad release takes traffic, is noticed, rolled back, verified and explained.

mod demo;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use demo::child::{self, ChildError};
use demo::fault::Fault;
use demo::load::{self, LoadArgs};
use demo::remote::{LoadHandle, SwitchHandle};
use demo::routes::SetWeights;
use demo::shop::{self, CRASH_CODE, Ended, ShopArgs};
use demo::switch::{self, SwitchArgs};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
struct Cli {
    /// What is wrong with version 2.
    #[arg(long, default_value = "error-rate")]
    scenario: Fault,
    #[command(subcommand)]
    program: Option<Program>,
}

/// The story's own programs: this executable started again, in a process of its own.
#[derive(Debug, Subcommand)]
enum Program {
    #[command(name = "demo-shop", hide = true)]
    Shop(ShopArgs),
    #[command(name = "demo-switch", hide = true)]
    Switch(SwitchArgs),
    #[command(name = "demo-load", hide = true)]
    Load(LoadArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match cli.program {
            Some(program) => run(program).await,
            None => rehearse(cli.scenario).await.map_err(Into::into),
        }
    });
    // A crash does not wait for what is still open.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "Error: {error}");
        ExitCode::FAILURE
    })
}

async fn run(program: Program) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        let _ = terminate.recv().await;
    };
    match program {
        Program::Shop(args) => {
            return Ok(match shop::run(args, stop).await? {
                Ended::Stopped => ExitCode::SUCCESS,
                Ended::Crashed => ExitCode::from(CRASH_CODE),
            });
        }
        Program::Switch(args) => switch::run(args, stop).await?,
        Program::Load(args) => drop(load::run(args, stop).await?),
    }
    Ok(ExitCode::SUCCESS)
}

/// The shop's programs at work, with the weights moved by hand and nobody watching.
async fn rehearse(fault: Fault) -> Result<ExitCode, ChildError> {
    let me = std::env::current_exe().unwrap_or_default();
    let start = |program, args: Vec<String>| {
        child::start(me.clone(), program, args.into_iter().map(Into::into))
    };
    let shop = |version: &str, fault: Fault| {
        start(
            "demo-shop",
            vec![
                "--version".into(),
                version.into(),
                "--fault".into(),
                fault.to_string(),
            ],
        )
    };
    let switch = start("demo-switch", vec![]).await?;
    let v1 = shop("v1", Fault::Healthy).await?;
    let v2 = shop("v2", fault).await?;
    let handle = SwitchHandle::new(switch.control.unwrap_or(switch.address));
    let users = start(
        "demo-load",
        vec!["--target".into(), switch.address.to_string()],
    )
    .await?;
    let users = LoadHandle::new(users.control.unwrap_or(users.address));
    let instances = [
        ("v1".to_owned(), vec![v1.address]),
        ("v2".to_owned(), vec![v2.address]),
    ];
    println!("{:?}", handle.place(&instances.into()).await);
    for (one, two) in [(1, 0), (0, 1), (1, 0)] {
        let weights = [("v1".to_owned(), one), ("v2".to_owned(), two)].into();
        let set = SetWeights {
            if_revision: None,
            change: None,
            weights,
        };
        println!("{:?}", handle.set(&set).await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!("{:#?}", users.seen(0).await);
    }
    println!("{:?}", handle.counts().await);
    println!("{:?} {:?}", users.stop().await, handle.stop().await);
    Ok(ExitCode::SUCCESS)
}
