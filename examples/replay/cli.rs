//! What can be asked for on the command line.

use std::path::PathBuf;

use clap::Parser;
use rollback_core::{backtest::parse_time, model::Timestamp, policy::parse_duration};

/// What would this policy have decided? Over recorded readings (CSV), or over the journal of a service.
///
/// A file of readings has the header `time,metric,arm,bad,total` and/or `value`, and `instance` if there is one; it is
/// one deployment, which starts at the first `candidate` row. Of a folder every `*.csv` in it is taken, in the order of
/// their names. One JSON object a line comes out on stdout for each file, or for each deployment of the journal;
/// everything for people goes to stderr. With two policies each line has both answers, and stderr a table of them.
///
/// Exit code: 0 every file was answered, 1 something could not be read, 2 bad arguments, policy or rows.
#[derive(Debug, Parser)]
#[command(name = "replay")]
pub(crate) struct Cli {
    /// The policy; give it twice to see two side by side
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) policy: Vec<PathBuf>,
    /// Say on stderr why: the rules, the numbers, what would have passed
    #[arg(long)]
    pub(crate) explain: bool,
    /// When the deployment started (RFC 3339, or seconds or milliseconds since 1970) [default: the first candidate row]
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "journal")]
    pub(crate) deploy_at: Option<Timestamp>,
    /// How often metrics are read [default: as the policy says, and not more often than rows were kept]
    #[arg(long, value_name = "DURATION", value_parser = poll, conflicts_with = "journal")]
    pub(crate) poll: Option<std::time::Duration>,
    /// Replay a journal (SQLite) instead of files of readings
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    pub(crate) journal: Option<PathBuf>,
    /// The service in the journal [default: the only one there is]
    #[arg(long, value_name = "NAME", requires = "journal")]
    pub(crate) service: Option<String>,
    /// How many files are read at the same time [default: one for each processor]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<std::num::NonZeroUsize>,
    /// Files of readings, or folders of them
    #[arg(value_name = "FILES|FOLDERS", required_unless_present = "journal")]
    pub(crate) paths: Vec<PathBuf>,
}

fn poll(text: &str) -> Result<std::time::Duration, String> {
    match parse_duration(text) {
        Ok(zero) if zero.is_zero() => Err("a poll takes some time, such as 10s".to_owned()),
        other => other,
    }
}
