//! What a script is told and what its exit status means: the contract, without any process.

use std::time::Duration;

use rollback_core::model::Weight;
use serde::{Deserialize, Serialize};

use super::run::{Ended, end_text};

/// What is asked of a script: its first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    /// Run this release.
    Deploy,
    /// Bring back the release that the running one replaced.
    Rollback,
    /// Divide the traffic: `update-traffic PERCENTAGE STAGE`.
    UpdateTraffic,
    /// Stop running this release.
    Retire,
    /// Print what runs, as JSON.
    Status,
    /// Whether this release could be run: it is there, can be fetched, is allowed.
    Check,
}

impl Verb {
    /// As the script is given it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::UpdateTraffic => "update-traffic",
            Self::Retire => "retire",
            Self::Status => "status",
            Self::Check => "check",
        }
    }
}

/// What the end of a run says about the change that it was to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Meaning {
    /// Made.
    Done,
    /// Not begun: a usage error, a missing program.
    Refused(String),
    /// Not begun, and worth another attempt.
    NotSent(String),
    /// The script compared marks and found another.
    Conflict,
    /// Begun, and not brought to its end.
    Failed(String),
    /// Nobody knows.
    InDoubt(String),
}

/// Reads an end by the table in the documentation of [`ScriptDeployer`](super::ScriptDeployer).
/// `last` is the last line that the script printed.
pub(crate) fn meaning(ended: &Ended, time_out: Option<Duration>, last: Option<&str>) -> Meaning {
    let said = last.map(|line| format!(": {line}")).unwrap_or_default();
    let why = format!("the script {}{said}", end_text(ended, time_out));
    match ended {
        Ended::Exit(0) => Meaning::Done,
        Ended::Exit(64 | 126 | 127) => Meaning::Refused(why),
        Ended::Exit(69) => Meaning::NotSent(why),
        Ended::Exit(76) => Meaning::Conflict,
        Ended::Exit(75) | Ended::Vanished | Ended::Cancelled => Meaning::InDoubt(why),
        Ended::Exit(_) | Ended::TimedOut => Meaning::Failed(why),
    }
}

/// A weight in percent, as short as it can be written: `10`, `12.5`, `0.25`.
pub(crate) fn percentage(weight: Weight) -> String {
    let (whole, rest) = (weight.basis_points() / 100, weight.basis_points() % 100);
    match (rest, rest % 10) {
        (0, _) => whole.to_string(),
        (_, 0) => format!("{whole}.{}", rest / 10),
        _ => format!("{whole}.{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_end_means() {
        let of = |ended: Ended| meaning(&ended, Some(Duration::from_secs(5)), Some("no disk"));
        assert_eq!(of(Ended::Exit(0)), Meaning::Done);
        assert_eq!(of(Ended::Exit(76)), Meaning::Conflict);
        for code in [64, 126, 127] {
            assert!(
                matches!(of(Ended::Exit(code)), Meaning::Refused(why) if why.ends_with("no disk"))
            );
        }
        assert!(matches!(of(Ended::Exit(69)), Meaning::NotSent(_)));
        for doubtful in [Ended::Exit(75), Ended::Vanished, Ended::Cancelled] {
            assert!(matches!(of(doubtful), Meaning::InDoubt(_)));
        }
        for failed in [Ended::Exit(1), Ended::Exit(137), Ended::TimedOut] {
            assert!(matches!(of(failed), Meaning::Failed(_)));
        }
        assert!(matches!(of(Ended::TimedOut), Meaning::Failed(why) if why.contains("within 5s")));
    }

    #[test]
    fn percentages_are_written_short() {
        for (points, text) in [
            (0, "0"),
            (1000, "10"),
            (1250, "12.5"),
            (25, "0.25"),
            (5, "0.05"),
            (10_000, "100"),
        ] {
            let weight = Weight::from_basis_points(points).unwrap();
            assert_eq!(percentage(weight), text);
        }
    }
}
