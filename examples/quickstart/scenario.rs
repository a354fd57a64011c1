//! The stories: what is wrong with version 2, under which policy it is judged, and how it must end.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::demo::fault::Fault;
use crate::demo::release::Content;
use crate::ends::{End, Kind};

/// What is wrong with version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// Nothing: it is promoted
    Healthy,
    /// 30 % of its answers are errors; its health check says that it is well
    ErrorRate,
    /// It dies again and again once it has users
    CrashLoop,
    /// It stops answering once it has users, its health check too
    Hang,
    /// It answers after one to three seconds
    Slow,
    /// It imports a module that nobody packed
    ImportError,
    /// A parenthesis in its program is not closed
    SyntaxError,
    /// It divides by zero
    RuntimeError,
    /// It requires versions of modules that do not exist
    DependencyError,
    /// It needs a variable of the environment that nobody set
    MissingEnv,
    /// Its configuration names a database host that does not exist
    DatabaseDown,
    /// It keeps what it should throw away, and grows with every request
    MemoryLeak,
    /// It fails for a second, recovers for two, and fails again
    Flapping,
    /// Nothing is wrong with it, but the database that it shares with version 1 is sick for a while
    BrownOut,
    /// Hardly anybody comes, and each of its processes answers one of the first requests badly
    LowTraffic,
}

/// One story.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// What version 2 consists of.
    pub(crate) content: Content,
    /// What is wrong with it once it runs.
    fault: &'static str,
    /// The database in its configuration; none is the one that all share.
    pub(crate) database: Option<&'static str>,
    /// Requests of the users a second.
    pub(crate) rate: u32,
    /// The policy that judges it, as it is checked in.
    pub(crate) policy: PolicyFile,
    /// How it must end.
    pub(crate) end: End,
    /// What must stand among the last words of version 2: the failure is this one and not another.
    pub(crate) last_words: &'static str,
}

/// A policy that is checked in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PolicyFile {
    /// What it says.
    pub(crate) text: &'static str,
}

const POLICY: PolicyFile = PolicyFile {
    text: include_str!("policy.yml"),
};

const LOW_TRAFFIC: PolicyFile = PolicyFile {
    text: include_str!("policies/low-traffic.yml"),
};

const FLAPPING: PolicyFile = PolicyFile {
    text: include_str!("policies/flapping.yml"),
};

const HEALTHY: Setting = Setting {
    content: Content::Good,
    fault: "healthy",
    database: None,
    rate: 100,
    policy: POLICY,
    end: End::Promoted,
    last_words: "",
};

const fn at_start(content: Content, last_words: &'static str) -> Setting {
    Setting {
        content,
        end: End::RolledBack(&[Kind::Deployment]),
        last_words,
        ..HEALTHY
    }
}

const fn once_it_runs(fault: &'static str, noticed_by: &'static [Kind]) -> Setting {
    Setting {
        fault,
        end: End::RolledBack(noticed_by),
        ..HEALTHY
    }
}

impl Scenario {
    /// The story.
    pub(crate) fn setting(self) -> Setting {
        match self {
            Self::Healthy => HEALTHY,
            Self::ErrorRate => once_it_runs("error-rate:0.3", &[Kind::Errors]),
            // After some requests and not after some time: the fault needs users to show.
            Self::CrashLoop => once_it_runs("crash-loop:40", &[Kind::Deployment]),
            // Silence is a failed health check, and what the platform sees of it.
            Self::Hang => once_it_runs("hang:40", &[Kind::Health, Kind::Deployment]),
            Self::Slow => once_it_runs("slow:1s-3s", &[Kind::Latency]),
            Self::ImportError => at_start(Content::ImportError, "ImportError"),
            Self::SyntaxError => at_start(Content::SyntaxError, "SyntaxError"),
            Self::RuntimeError => at_start(Content::RuntimeError, "division by zero"),
            Self::DependencyError => at_start(Content::DependencyError, "DependencyError"),
            Self::MissingEnv => at_start(Content::NeedsSecret, "EnvironmentError"),
            Self::DatabaseDown => Setting {
                // A name that no resolver may ever know (RFC 6761).
                database: Some("nonexistent.invalid:27017"),
                ..at_start(Content::Good, "cannot reach the database")
            },
            Self::MemoryLeak => once_it_runs("memory-leak:768", &[Kind::Memory]),
            Self::Flapping => Setting {
                policy: FLAPPING,
                ..once_it_runs("flapping:1s/3s", &[Kind::Errors])
            },
            Self::BrownOut => Setting {
                end: End::WaitedOut,
                ..HEALTHY
            },
            Self::LowTraffic => Setting {
                fault: "once:2",
                rate: 2,
                policy: LOW_TRAFFIC,
                end: End::LeftToAPerson,
                ..HEALTHY
            },
        }
    }

    /// One line for people.
    pub(crate) fn about(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }
}

impl Setting {
    /// The fault of version 2 once it runs.
    pub(crate) fn fault(&self) -> Fault {
        self.fault.parse().unwrap_or(Fault::Healthy)
    }

    /// Whether version 2 was called back, so that a version 3 has something to fix.
    pub(crate) fn needs_a_fix(&self) -> bool {
        matches!(self.end, End::RolledBack(_))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => f.write_str("a scenario without a name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollback_core::policy::Policy;

    #[test]
    fn every_scenario_is_named_told_and_reads_as_written() {
        for scenario in Scenario::value_variants() {
            let setting = scenario.setting();
            assert_eq!(setting.fault().to_string(), setting.fault, "{scenario}");
            assert!(scenario.about().len() > 15, "{scenario}");
            let policy = Policy::from_yaml(setting.policy.text);
            assert!(policy.is_ok(), "{scenario}: {policy:?}");
            let stored = serde_json::to_value(scenario).unwrap();
            assert_eq!(stored, scenario.to_string());
        }
        assert_eq!(Scenario::MissingEnv.to_string(), "missing-env");
    }
}
