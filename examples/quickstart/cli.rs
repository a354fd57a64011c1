//! What can be asked for on the command line.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo::database::DatabaseArgs;
use crate::demo::load::LoadArgs;
use crate::demo::shop::ShopArgs;
use crate::demo::switch::SwitchArgs;
use crate::scenario::Scenario;

/// A bad release takes traffic, is noticed, rolled back, verified and explained; then its fix is promoted.
///
/// Everything is real and on this machine: a small shop as supervised processes, a weight switch in front of it, users
/// who send 100 requests a second and count what they see, and the library, which reads the shop's metrics and decides.
///
/// Exit code: 0 the story ended as this scenario should, 2 bad arguments or policy, 130 interrupted; else the outcome's
/// own (10 rolled back, 11 held, 12 rollback failed, 13 refused), or 1.
#[derive(Debug, Parser)]
#[command(name = "quickstart", args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) story: StoryArgs,
    #[command(subcommand)]
    pub(crate) program: Option<Program>,
}

/// How the story is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoryArgs {
    /// Ask nothing between the acts
    #[arg(long)]
    pub(crate) auto: bool,
    /// One JSON event a line on stdout, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// What is wrong with version 2: one scenario, several with commas between them, or all [default: error-rate]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    scenario: Vec<Chosen>,
    /// Name the scenarios, with what is wrong and how each must end
    #[arg(long)]
    pub(crate) list: bool,
    /// Judge by this policy instead of the scenario's own
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Keep the journal here instead of in a temporary folder
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Go on with the story of this journal, whose controller was killed
    #[arg(long, requires = "journal")]
    pub(crate) resume: bool,
    /// The port on 127.0.0.1 where users come in; 0 takes any free one
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
}

/// A scenario, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    One(Scenario),
    All,
}

impl ValueEnum for Chosen {
    fn value_variants<'a>() -> &'a [Self] {
        static VARIANTS: LazyLock<Vec<Chosen>> = LazyLock::new(|| {
            let each = Scenario::value_variants().iter().copied();
            each.map(Chosen::One).chain([Chosen::All]).collect()
        });
        &VARIANTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::One(scenario) => scenario.to_possible_value(),
            Self::All => Some(PossibleValue::new("all").help("All of them, one after another")),
        }
    }
}

impl StoryArgs {
    /// What was asked for, each once, in the order in which it was.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        let mut scenarios = Vec::new();
        for chosen in &self.scenario {
            let more = match chosen {
                Chosen::One(scenario) => std::slice::from_ref(scenario),
                Chosen::All => Scenario::value_variants(),
            };
            for scenario in more {
                if !scenarios.contains(scenario) {
                    scenarios.push(*scenario);
                }
            }
        }
        scenarios
    }
}

/// The story's own programs: this executable started again, in a process of its own.
#[derive(Debug, Subcommand)]
pub(crate) enum Program {
    #[command(name = "demo-shop", hide = true)]
    Shop(ShopArgs),
    #[command(name = "demo-database", hide = true)]
    Database(DatabaseArgs),
    #[command(name = "demo-switch", hide = true)]
    Switch(SwitchArgs),
    #[command(name = "demo-load", hide = true)]
    Load(LoadArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound_and_hides_the_demo_programs() {
        Cli::command().debug_assert();
        let help = Cli::command().render_help().to_string();
        assert!(
            help.contains("--scenario") && !help.contains("demo-"),
            "{help}"
        );
    }

    #[test]
    fn stories_and_programs_are_told_apart() {
        let story = parse("quickstart --auto --scenario import-error").unwrap();
        assert_eq!(story.story.scenarios(), [Scenario::ImportError]);
        let several = parse("quickstart --scenario slow,hang --scenario slow").unwrap();
        assert_eq!(several.story.scenarios(), [Scenario::Slow, Scenario::Hang]);
        let all = parse("quickstart --scenario all").unwrap();
        assert_eq!(all.story.scenarios(), Scenario::value_variants());
        let shop =
            parse("quickstart demo-shop --version v2 --port 1234 --fault error-rate:0.3").unwrap();
        assert!(matches!(shop.program, Some(Program::Shop(args)) if args.port == 1234));
    }

    #[test]
    fn nonsense_is_refused() {
        for (line, kind) in [
            ("quickstart --scenario rain", ErrorKind::InvalidValue),
            ("quickstart --resume", ErrorKind::MissingRequiredArgument),
            ("quickstart --port 70000", ErrorKind::ValueValidation),
            (
                "quickstart demo-shop --version v2 --fault rain",
                ErrorKind::ValueValidation,
            ),
            ("quickstart --auto demo-switch", ErrorKind::ArgumentConflict),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(
                (error.kind(), error.exit_code()),
                (kind, 2),
                "{line}: {error}"
            );
        }
    }
}
