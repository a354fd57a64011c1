//! What would a policy have decided? Over recorded readings, or over the journal of a service.
//!
//! ```text
//! cargo run --release --example replay -- --policy examples/replay/policy.yml examples/replay/data
//! cargo run --release --example replay -- --policy new.yml --journal rollback.db --service checkout --explain
//! ```

mod cli;
mod files;
mod journal;
mod line;
mod readings;
mod report;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use std::{io, path::Path, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use rollback_core::{backtest::Circumstances, policy::Policy};

use crate::{cli::Cli, report::Report};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            // Nothing can be done about a terminal that is gone.
            let _ = error.print();
            return ExitCode::from(if asked { 0 } else { 2 });
        }
    };
    match run(&cli, &mut io::stdout()) {
        Ok(code) => ExitCode::from(code),
        Err((code, why)) => {
            eprintln!("{why}");
            ExitCode::from(code)
        }
    }
}

fn run(cli: &Cli, out: &mut dyn io::Write) -> Result<u8, (u8, String)> {
    if cli.policy.len() > 2 {
        return Err((
            2,
            "more than two policies; give `--policy` once or twice".to_owned(),
        ));
    }
    let policies = cli
        .policy
        .iter()
        .map(|file| policy(file))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| (2, why))?;
    let mut report = Report::new(out, cli.explain);
    if let Some(file) = &cli.journal {
        journal::replay(file, cli.service.as_deref(), &policies, &mut report)
            .map_err(|why| (1, why))?;
        return Ok(report.end());
    }
    let files = files::of(&cli.paths).map_err(|why| (2, why))?;
    let mut around = Circumstances::default();
    around.deploy_at = cli.deploy_at;
    around.poll = cli.poll;
    readings::replay(&files, &policies, &around, cli.threads, &mut report);
    Ok(report.end())
}

fn policy(file: &Path) -> Result<Policy, String> {
    let text = files::text(file)?;
    Policy::from_yaml(&text).map_err(|why| format!("policy {}: {why}", file.display()))
}
