//! What a person asks of a policy file before anything is deployed: is it right, what does it
//! promise, what does it leave open?
//!
//! [`check_policy`] reads a text and answers with a [`PolicyReport`], for people
//! ([`PolicyReport::text`]), for programs ([`PolicyReport::json`]) and for build logs
//! ([`PolicyReport::annotations`]). [`policy_docs`] tells every key, [`SCHEMA`] is for editors. It asks no network and needs no credentials.

mod docs;
mod phases;
mod report;

pub use docs::{SCHEMA, policy_docs, policy_sections};
pub use phases::{Phase, phases};
pub use report::{Numbers, PolicyReport};

#[cfg(feature = "yaml")]
use crate::dialect::{Dialect, TranslateOptions};
use crate::policy::{
    Policy,
    lint::{Assumptions, lint},
};

/// What is known beside the text.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CheckOptions {
    /// The name of the file, for messages.
    pub file: Option<String>,
    /// What is assumed of the service, for the numbers.
    pub assumed: Assumptions,
    /// The text is another system's configuration.
    #[cfg(feature = "yaml")]
    pub dialect: Option<Dialect>,
    /// What such a source does not say.
    #[cfg(feature = "yaml")]
    pub translate: TranslateOptions,
}

impl CheckOptions {
    /// The text stands in this file.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>) -> Self {
        self.file = Some(name.into());
        self
    }

    /// The text is another system's configuration; it is translated, and the translation checked.
    #[cfg(feature = "yaml")]
    #[must_use]
    pub const fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// With this beside the other system's configuration.
    #[cfg(feature = "yaml")]
    #[must_use]
    pub fn translated_with(mut self, options: TranslateOptions) -> Self {
        self.translate = options;
        self
    }

    /// The service is like this.
    #[must_use]
    pub const fn assuming(mut self, assumed: Assumptions) -> Self {
        self.assumed = assumed;
        self
    }
}

/// Reads a policy, and says all that can be said of it without asking anybody. The text is YAML, or
/// JSON; without the feature `yaml`, JSON.
///
/// ```
/// # #[cfg(feature = "yaml")] {
/// use rollback_core::inspect::{CheckOptions, check_policy};
///
/// let text = "
/// metrics: { errors: { unit: ratio, bad: failed, total: all } }
/// triggers: [ { name: too_many_errors, when: 'errors > 5%', for: 30s } ]
/// bake: 10m
/// ";
/// let report = check_policy(text, &CheckOptions::default().file("rollback.yml"));
/// assert!(report.is_valid());
/// assert_eq!(report.numbers.as_ref().unwrap().detection.as_secs(), 60);
///
/// let report = check_policy(&text.replace("5%", "5ms"), &CheckOptions::default());
/// assert_eq!(report.errors[0].path(), "triggers[0].when");
/// # }
/// ```
#[must_use]
pub fn check_policy(text: &str, options: &CheckOptions) -> PolicyReport {
    #[cfg(feature = "yaml")]
    if let Some(dialect) = options.dialect {
        return match dialect.translate(text, &options.translate) {
            Ok(translation) => PolicyReport {
                translation: Some(translation.clone()),
                ..about(translation.policy, options)
            },
            Err(error) => PolicyReport::refused(options.file.clone(), error),
        };
    }
    #[cfg(feature = "yaml")]
    let read = Policy::from_yaml(text);
    #[cfg(not(feature = "yaml"))]
    let read = Policy::from_json(text);
    match read {
        Ok(policy) => about(policy, options),
        Err(error) => PolicyReport::refused(options.file.clone(), error),
    }
}

fn about(policy: Policy, options: &CheckOptions) -> PolicyReport {
    PolicyReport {
        file: options.file.clone(),
        errors: Vec::new(),
        findings: lint(&policy, &options.assumed),
        numbers: Some(Numbers::of(&policy, &options.assumed)),
        phases: phases(&policy),
        policy: Some(policy),
        #[cfg(feature = "yaml")]
        translation: None,
    }
}

#[cfg(all(test, feature = "yaml"))]
mod tests {
    use super::*;

    const GOOD: &str = "
holdback: 10%
metrics:
  errors: { unit: ratio, bad: failed, total: all }
triggers:
  - { name: against, compare: errors, max_false_rollback_rate: 2% }
  - { name: high, when: 'errors > 5%' }
bake: 10m
";

    #[test]
    fn a_good_policy_with_its_numbers() {
        let report = check_policy(GOOD, &CheckOptions::default().file("rollback.yml"));
        assert!(report.is_valid());
        let numbers = report.numbers.as_ref().unwrap();
        assert_eq!(numbers.detection.as_secs(), 30);
        assert_eq!(numbers.false_rollback_rate, Some(0.02));
        assert_eq!(numbers.without_bound, ["high"].map(Into::into));
        assert_eq!(numbers.reads_per_minute, 12.0);
        let text = report.text();
        for words in [
            "rollback.yml: valid, 1 warning",
            "a bad candidate is decided on within          30s",
            "sources are read                              12 times a minute",
            "by comparisons in at most 2.00 % of deployments",
            "rolled back without such a bound by           high",
            "warning: `triggers[1].for`: `high` rolls back on a single reading",
            "start the candidate beside what runs                    deployment_failed\n",
            "bake for 10m                                            against, high, deployment_failed\n",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
        let json = report.json();
        assert_eq!(json["valid"], true);
        assert_eq!(json["numbers"]["detection_s"], 30.0);
        assert_eq!(json["warnings"][0]["path"], "triggers[1].for");
        assert_eq!(
            report.annotations(),
            "::warning file=rollback.yml,title=triggers[1].for::`high` rolls back on a single \
             reading of 10s; `for: 10s` would ask for a second one\n"
        );
    }

    #[test]
    fn another_systems_configuration_is_translated_first() {
        let options = CheckOptions::default().dialect(Dialect::Environment);
        let report = check_policy("MONITORING_DURATION=600\n", &options);
        assert!(report.is_valid());
        let text = report.text();
        assert!(
            text.contains(
                "What became of each key\n  MONITORING_DURATION  applied as  `bake: 10m`\n"
            ),
            "{text}"
        );
        assert!(text.contains("    bake: 10m\n"), "{text}");
        let json = report.json();
        assert_eq!(json["keys"][0]["applied_as"]["native"], "`bake: 10m`");
        let report = check_policy("MONITORING_DURATON=600\n", &options);
        assert_eq!(
            report.errors[0].fix(),
            "did you mean `MONITORING_DURATION`?"
        );
    }

    #[test]
    fn a_bad_policy_with_place_and_fix() {
        let text = GOOD.replace("failed", "'{{relaese}}'");
        let report = check_policy(&text, &CheckOptions::default().file("rollback.yml"));
        assert!(!report.is_valid());
        assert!(report.numbers.is_none());
        let text = report.text();
        assert!(text.starts_with("rollback.yml: 1 error\n"), "{text}");
        assert!(text.contains("did you mean `release`?"), "{text}");
        let json = report.json();
        assert_eq!(json["errors"][0]["line"], 4);
        assert_eq!(json["errors"][0]["path"], "metrics.errors.bad");
        let line = report.annotations();
        assert!(
            line.starts_with("::error file=rollback.yml,line=4,col=32,title=metrics.errors.bad::"),
            "{line}"
        );
    }
}
