//! What can be asked for on the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use rollback::{
    dialect::Dialect,
    model::{DeploymentId, ServiceId, Timestamp},
};

use crate::{
    exit::TABLE,
    guarded::Guarded,
    place,
    tables::{Format, Table},
    watching::time,
};

const EXAMPLES: &str = "\
Examples:
  guard run --health-url http://localhost:3001/health --rollback-command ./rollback.sh -- ./deploy.sh
        deploy, watch for ten minutes, go back if three checks in a row fail
  guard status          how the service stands now
  guard why             why the last deployment ended as it did
  guard rollback --to v41 --reason 'checkout loses carts'";

/// Guards deployments: runs your deploy command, watches the release, rolls back if it is bad, and
/// says why.
#[derive(Debug, Parser)]
#[command(name = "guard", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{TABLE}"), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Deploy with a command, watch, and go back if it is bad
    Run(Box<RunArgs>),
    /// Go on with the deployment that is under way, and wait for it
    Attach(AttachArgs),
    /// Wait for a deployment that a controller watches
    Wait(AttachArgs),
    /// Keep a controller running for this service
    Serve(Box<ServeArgs>),
    /// End the controller that runs; a deployment that is under way waits for the next one
    Stop(At),
    /// How the service stands
    Status(StatusArgs),
    /// Show how the service stands until you have seen enough (Ctrl-C)
    Watch(StatusArgs),
    /// Why a deployment ended as it did, or how far it is
    Why(WhyArgs),
    /// Deployments, newest first
    History(HistoryArgs),
    /// How many deployments, how they ended, how long it took
    Stats(StatusArgs),
    /// Open the gate that the rollout waits at
    Approve(ApproveArgs),
    /// Take the candidate now, without further evidence
    Promote(OrderArgs),
    /// Stop advancing; the watch goes on
    Hold(OrderArgs),
    /// End a hold
    Resume(OrderArgs),
    /// End the deployment where it stands; nothing is changed any more
    Abort(OrderArgs),
    /// Return to a proven release, now
    Rollback(RollbackArgs),
    /// Refuse deployments from now on; what is under way goes on, and rollbacks are allowed
    Freeze(FreezeArgs),
    /// Allow deployments again
    Unfreeze(OrderArgs),
    /// Send nothing any more that changes the world, or do again
    KillSwitch(KillSwitchArgs),
    /// Ask what a policy promises, before anything is deployed
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Say whether a change was made of which the deploy script did not know (exit status 75)
    Resolve(ResolveArgs),
    /// Look at the journal itself
    #[command(subcommand)]
    Journal(JournalVerb),
    /// Look whether everything is in order: clock, journal, sources, scripts, socket
    Doctor(Box<DoctorArgs>),
}

/// Which service, and where its journal is.
#[derive(Debug, Clone, Args)]
pub(crate) struct At {
    /// The journal
    #[arg(long, value_name = "FILE", env = "ROLLBACK_JOURNAL", default_value_os_t = place::default_journal(), hide_default_value = true)]
    pub(crate) journal: PathBuf,
    /// The service [default: the policy's, or the only one of the journal]
    #[arg(long, value_name = "NAME", env = "ROLLBACK_SERVICE", value_parser = service)]
    pub(crate) service: Option<ServiceId>,
}

/// How long to wait, and in which form to tell.
#[derive(Debug, Clone, Args)]
pub(crate) struct Waiting {
    /// Wait no longer than this: exit code 16, and the deployment goes on
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    /// Wait through holds too
    #[arg(long)]
    pub(crate) until_ended: bool,
    /// One JSON event a line on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(override_usage = "guard run [OPTIONS] -- <COMMAND>...\n       guard run [OPTIONS] --script <FILE>", after_long_help = format!("{RUN_EXAMPLES}\n\n{TABLE}"))]
pub(crate) struct RunArgs {
    /// The deploy command; `{{release}}` in it is the release's name
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// The command that goes back, for `sh -c`; GUARD_RELEASE is where to
    #[arg(long, value_name = "COMMAND", env = "ROLLBACK_COMMAND")]
    pub(crate) rollback_command: Option<String>,
    /// What the release is called [default: the commit]
    #[arg(long, value_name = "NAME", env = "RELEASE")]
    pub(crate) release: Option<String>,
    /// What a --script deploys, its ARTEFACT: an image, a file [default: the release's name]
    #[arg(long, value_name = "NAME", env = "ARTEFACT")]
    pub(crate) artefact: Option<String>,
    /// A variable of this release, kept with it: also when it is deployed again later
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) variables: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) guarded: Guarded,
    #[command(flatten)]
    pub(crate) at: At,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// Wait until the deployment has come to rest (the default)
    #[arg(long, overrides_with = "no_wait")]
    pub(crate) wait: bool,
    /// Return as soon as it has begun
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Say what would be done, after looking whether it could be; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Deploy it although it was rejected before; needs --reason
    #[arg(long, requires = "reason")]
    pub(crate) override_rejection: bool,
    /// Deploy it although deployments are frozen: a hotfix; needs --reason
    #[arg(long, requires = "reason")]
    pub(crate) expedite: bool,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Append `name=value` lines here, as GitHub wants outputs of a step
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) outputs: Option<PathBuf>,
    /// Append a summary in Markdown here
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) summary: Option<PathBuf>,
    /// Write the whole account here, in Markdown
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) report: Option<PathBuf>,
}

const RUN_EXAMPLES: &str = "\
The deploy command runs in this folder and in the background: it and the watch go on when you press
Ctrl-C, and `guard attach` finds them again. It is told GUARD_RELEASE, GUARD_RELEASE_BEFORE and
GUARD_DEPLOYMENT. If it fails, or the release does, the rollback command runs.

Examples:
  guard run --health-url http://localhost:3001/health --rollback-command ./rollback.sh -- ./deploy.sh
  MONITORING_DURATION=300 guard run --health-url http://localhost:3001/health -- ./deploy.sh {{release}}
  guard run --policy rollback.yml --release v42 --timeout 20m -- ./deploy.sh v42
  guard run --policy rollback.yml --dry-run -- ./deploy.sh
  guard run --policy deployment-policy.yaml --health-url http://localhost:3001/health \\
        --script ./deploy.sh --artefact registry.example/shop:42 --release v42";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) guarded: Guarded,
    #[command(flatten)]
    pub(crate) at: At,
    /// End when nothing is being deployed any more
    #[arg(long, hide = true)]
    pub(crate) until_idle: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Which deployment [default: the one that is under way, or the newest]
    #[arg(value_parser = deployment)]
    pub(crate) deployment: Option<DeploymentId>,
    #[command(flatten)]
    pub(crate) at: At,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) at: At,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// Which deployment [default: the newest]
    #[arg(value_parser = deployment)]
    pub(crate) deployment: Option<DeploymentId>,
    #[command(flatten)]
    pub(crate) at: At,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) at: At,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// As JSON, one a line
    #[arg(long)]
    pub(crate) json: bool,
    /// One of document 003's tables instead, all of it
    #[arg(long, value_enum, value_name = "TABLE")]
    pub(crate) table: Option<Table>,
    /// The form of the table
    #[arg(long, value_enum, default_value = "csv", requires = "table")]
    pub(crate) format: Format,
    /// What the environment is called, in the table `deployments`
    #[arg(
        long,
        value_name = "NAME",
        default_value = "production",
        requires = "table"
    )]
    pub(crate) environment: String,
}

#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    pub(crate) at: At,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Where to: a proven release, by name or id [default: the newest other one]
    #[arg(long, value_name = "RELEASE")]
    pub(crate) to: Option<String>,
    /// Why, for the journal and for whoever is told
    #[arg(long, value_name = "TEXT", required = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) reason: String,
    /// Ask nothing; ROLLBACK_CONFIRM=yes means the same
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) at: At,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// Return as soon as it has begun
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// Which gate; `guard status` names it
    pub(crate) gate: String,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FreezeArgs {
    #[command(flatten)]
    pub(crate) order: OrderArgs,
    /// Until then (2026-12-24T18:00:00Z), or for so long (3d) [default: until `guard unfreeze`]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct KillSwitchArgs {
    #[command(flatten)]
    pub(crate) order: OrderArgs,
    /// On: nothing that changes the world is sent
    #[arg(value_enum)]
    pub(crate) switch: Switch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// What you found when you looked
    #[arg(value_enum)]
    pub(crate) found: Found,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Found {
    /// The change was made
    Made,
    /// It was not
    NotMade,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Whether a policy is right, what it promises, and what it leaves open; asks no network
    Check(PolicyCheckArgs),
    /// Every key that can be written, with unit and default
    Docs {
        /// Of one part only, such as `triggers`
        section: Option<String>,
    },
    /// The JSON Schema of policies, for editors
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArgs {
    /// The policy, YAML or JSON, or in another dialect
    pub(crate) file: PathBuf,
    /// In which form it is written [default: by its name, else the native one]
    #[arg(long, value_name = "DIALECT", value_parser = dialect)]
    pub(crate) dialect: Option<Dialect>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalVerb {
    /// Whether every entry is there and intact; exit code 1 if not
    Verify(JournalArgs),
    /// Every entry as one line of JSON
    Export(JournalArgs),
}

#[derive(Debug, Args)]
pub(crate) struct JournalArgs {
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) guarded: Guarded,
    #[command(flatten)]
    pub(crate) at: At,
}

/// A moment, or a time from now.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(at.as_millisecond()));
    }
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    time(text)
        .map(|length| now.after(length))
        .map_err(|_| "write a moment like 2026-12-24T18:00:00Z, or a time like 3d".to_owned())
}

fn service(text: &str) -> Result<ServiceId, String> {
    ServiceId::new(text).map_err(|why| why.to_string())
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as IMAGE=registry.example/shop:42".to_owned()),
    }
}

pub(crate) fn task(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, command)) if !name.is_empty() && !command.is_empty() => {
            Ok((name.to_owned(), command.to_owned()))
        }
        _ => Err("write NAME=COMMAND, such as smoke=./smoke-test.sh".to_owned()),
    }
}

pub(crate) fn dialect(text: &str) -> Result<Dialect, String> {
    Dialect::named(text).ok_or_else(|| {
        let names: Vec<&str> = Dialect::ALL.into_iter().map(Dialect::name).collect();
        format!("there are: {}", names.join(", "))
    })
}

fn deployment(text: &str) -> Result<DeploymentId, String> {
    DeploymentId::new(text).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_manual_rollback_needs_a_reason() {
        for line in ["guard rollback --to v1", "guard rollback --reason="] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains("--reason"), "{error}");
        }
    }
}
