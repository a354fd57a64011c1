//! A policy for whoever has none: the settings of document 002.

use std::time::Duration;

use clap::Args;
use rollback::{model::duration_text, policy::Policy};
use serde_json::json;

use crate::exit::{Fallible, Trouble};

/// How a release is watched without a policy; document 002's variables work too.
#[derive(Debug, Clone, Args)]
pub(crate) struct Watching {
    /// The URL that says whether the service is well (any answer 2xx); HEALTH_ENDPOINT too
    #[arg(long, value_name = "URL", env = "HEALTH_URL")]
    health_url: Option<String>,
    /// How long the release is watched, in seconds or like 10m
    #[arg(long, value_name = "TIME", env = "MONITORING_DURATION", default_value = "600", value_parser = time)]
    pub(crate) monitor: Duration,
    /// How often it is checked
    #[arg(long, value_name = "TIME", env = "HEALTH_CHECK_INTERVAL", default_value = "10", value_parser = time)]
    pub(crate) every: Duration,
    /// So many failed checks in a row roll back
    #[arg(long, value_name = "N", env = "HEALTH_CHECK_FAILURES_THRESHOLD", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) failures: u32,
    /// Roll back when more than this share of the checks fail: 0.10 or 10%
    #[arg(long, value_name = "SHARE", env = "ERROR_THRESHOLD", default_value = "0.10", value_parser = share)]
    pub(crate) error_threshold: f64,
    /// How long the service may take before its first check counts
    #[arg(long, value_name = "TIME", env = "STABILIZATION_TIME", default_value = "30", value_parser = time)]
    pub(crate) settle: Duration,
    /// The command that verifies the release once it is deployed, for `sh -c`; if it fails, back
    #[arg(long, value_name = "COMMAND", env = "VERIFY_COMMAND")]
    pub(crate) verify_command: Option<String>,
    /// How long the deploy command may take
    #[arg(long, value_name = "TIME", env = "DEPLOY_TIMEOUT", default_value = "30m", value_parser = time)]
    pub(crate) deploy_timeout: Duration,
}

/// A share of fewer checks says nothing.
const FEWEST: u128 = 10;

/// The task of document 002's verification script.
pub(crate) const VERIFY: &str = "verify";

impl Watching {
    /// Document 003 has another name for it.
    pub(crate) fn health_url(&self) -> Option<String> {
        let named = || std::env::var("HEALTH_ENDPOINT").ok();
        self.health_url.clone().or_else(named)
    }

    /// The policy that these settings mean.
    pub(crate) fn policy(&self, service: &str) -> Fallible<Policy> {
        let Some(url) = self.health_url() else {
            return Err(Trouble::asked(
                "nothing says whether the release is good: give --health-url URL, or --policy FILE",
            ));
        };
        let text = |duration: Duration| duration_text(duration);
        // No rule looks back further than so many polls.
        let over = self.monitor.clamp(self.every, self.every * 1_000);
        // Of those that count after the settling, one may be missed.
        let counts = over.min(self.monitor.saturating_sub(self.settle));
        let polls = counts.as_millis() / self.every.as_millis().max(1);
        let enough = polls.saturating_sub(1).clamp(1, FEWEST);
        let verification = json!({ VERIFY: { "when": "ready", "on_failure": "roll_back" } });
        let verifies = self.verify_command.is_some();
        let document = json!({
            "service": service,
            "strategy": "recreate",
            "poll": text(self.every),
            "bake": text(self.monitor),
            "tasks": if verifies { verification } else { json!({}) },
            "metrics": {
                "health": {
                    "unit": "state",
                    "per": "service",
                    "query": url,
                    "source": "health",
                    "warmup": text(self.settle),
                },
            },
            "triggers": [
                { "name": "consecutive_failures", "when": "health == 'down'", "consecutive": self.failures },
                {
                    "name": "error_rate",
                    "when": "health == 'down'",
                    "share": format!("{:.2}%", self.error_threshold * 100.0),
                    "over": text(over),
                    "min_samples": enough,
                },
            ],
            "verify": { "for": text(self.every * 2), "within": text(self.every * 20 + self.settle) },
            "deadlines": { "converge": text(self.deploy_timeout) },
        });
        // The policy was written here: its places would say nothing to whoever gave the options.
        Policy::from_json(&document.to_string()).map_err(|why| {
            Trouble::asked(format!(
                "these times do not go together: {}; {} (`bake` is --monitor, `poll` is --every, \
                 `warmup` is --settle)",
                why.message(),
                why.fix()
            ))
        })
    }
}

/// A number of seconds, or a time like `10m`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string());
    }
    rollback::policy::parse_duration(text)
}

/// A share between 0 and 1, also as a percentage.
fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text.trim(), 1.0),
    };
    let share = number.parse::<f64>().map(|number| number / whole);
    match share {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err("write a share below 1 like 0.10, or 10%".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fractions_or_percentages() {
        assert_eq!(share("0.10"), Ok(0.1));
        assert_eq!(share("10%"), Ok(0.1));
        for wrong in ["10", "-0.1", "1", "some"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    /// A short watch has fewer checks, and every rule can still fire in it.
    #[test]
    fn short_watches_are_watches() {
        use clap::{Args, FromArgMatches};
        let policy = |monitor: &str, every: &str, settle: &str| {
            let command = Watching::augment_args(clap::Command::new("guard"));
            let url = ["guard", "--health-url", "http://h/"];
            let times = ["--monitor", monitor, "--every", every, "--settle", settle];
            let given = command.get_matches_from(url.iter().chain(&times));
            Watching::from_arg_matches(&given).unwrap().policy("shop")
        };
        for (monitor, every, settle) in [("6", "1", "1"), ("5m", "10", "30"), ("60", "10", "30")] {
            assert!(
                policy(monitor, every, settle).is_ok(),
                "{monitor} {every} {settle}"
            );
        }
        let why = policy("8", "10", "0").unwrap_err().to_string();
        assert!(why.contains("`poll` is --every"), "{why}");
    }

    /// Document 002's defaults, literally.
    #[test]
    fn the_defaults_are_those_of_document_002() {
        use clap::{Args, FromArgMatches};
        let command = Watching::augment_args(clap::Command::new("x"));
        let given = command.get_matches_from(["x", "--health-url", "http://localhost:3001/health"]);
        let policy = Watching::from_arg_matches(&given)
            .unwrap()
            .policy("backend")
            .unwrap();
        assert_eq!(policy.bake, Duration::from_secs(600));
        assert_eq!(policy.poll, Duration::from_secs(10));
        let written = serde_json::to_value(&policy).unwrap();
        assert_eq!(written["triggers"][0]["consecutive"], 3);
        assert_eq!(written["triggers"][1]["share"], "10%");
        assert_eq!(written["triggers"][1]["over"], "10m");
        assert_eq!(written["metrics"]["health"]["warmup"], "30s");
    }

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        assert_eq!(time("600"), Ok(Duration::from_secs(600)));
        assert_eq!(time("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(time("10m"), Ok(Duration::from_secs(600)));
        assert!(time("soon").is_err());
        assert!(time("-1").is_err());
    }
}
