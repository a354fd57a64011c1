//! The answer of a check, and the three forms in which it is shown.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::Phase;
#[cfg(feature = "yaml")]
use crate::dialect::Translation;
use crate::{
    model::{Action, duration_text},
    policy::{
        Policy, PolicyError, Rule, data,
        lint::{Assumptions, Finding, Level, detection_bound, reads_per_minute, restoration_bound},
        property,
    },
};

/// What there is to say about a policy file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PolicyReport {
    /// The name of the file, if it has one.
    pub file: Option<String>,
    /// Why it was refused; empty if it is valid.
    pub errors: Vec<PolicyError>,
    /// Warnings and notes, in the order of the policy.
    pub findings: Vec<Finding>,
    /// What it promises; only of a valid policy.
    pub numbers: Option<Numbers>,
    /// The steps of a deployment, and what guards each.
    pub phases: Vec<Phase>,
    /// The policy, if it is valid.
    pub policy: Option<Policy>,
    /// What became of another system's configuration.
    #[cfg(feature = "yaml")]
    pub translation: Option<Translation>,
}

/// What a policy promises.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Numbers {
    /// The longest time until a candidate that is bad throughout is decided on.
    pub detection: Duration,
    /// The longest time from that decision to a verified rollback.
    pub restoration: Duration,
    /// How often at most comparisons roll back a candidate that is not worse, 0 to 1; none without
    /// comparisons.
    pub false_rollback_rate: Option<f64>,
    /// Triggers that roll back without such a bound: how often they are wrong depends on the service.
    pub without_bound: Vec<Arc<str>>,
    /// How many questions are asked of sources in a minute of a watch.
    pub reads_per_minute: f64,
}

impl Numbers {
    pub(super) fn of(policy: &Policy, assumed: &Assumptions) -> Self {
        let (mut rate, mut without_bound) = (None, Vec::new());
        let rolls_back = |action| action == Action::RollBack;
        for rule in policy
            .triggers
            .iter()
            .filter(|rule| rolls_back(rule.action))
        {
            match rule.rule {
                Rule::Compare {
                    max_false_rollback_rate,
                    ..
                } => rate = Some(rate.unwrap_or(0.0) + max_false_rollback_rate),
                _ => without_bound.push(Arc::clone(&rule.name)),
            }
        }
        Self {
            detection: detection_bound(policy) + assumed.settle,
            restoration: restoration_bound(policy),
            false_rollback_rate: rate,
            without_bound,
            reads_per_minute: reads_per_minute(policy, assumed),
        }
    }
}

impl PolicyReport {
    pub(super) fn refused(file: Option<String>, error: PolicyError) -> Self {
        Self {
            file,
            errors: vec![error],
            findings: Vec::new(),
            numbers: None,
            phases: Vec::new(),
            policy: None,
            #[cfg(feature = "yaml")]
            translation: None,
        }
    }

    /// Whether the policy can be used; warnings do not matter.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    /// The findings that are probably not meant.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.level == Level::Warning)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let name = self.name();
        let (errors, warnings) = (self.errors.len(), self.warnings().count());
        let mut text = match (errors, warnings) {
            (0, 0) => format!("{name}: valid\n"),
            (0, warnings) => format!("{name}: valid, {}\n", counted(warnings, "warning")),
            (errors, _) => format!("{name}: {}\n", counted(errors, "error")),
        };
        for error in &self.errors {
            push(&mut text, format_args!("\n{error}"));
        }
        #[cfg(feature = "yaml")]
        if let Some(translation) = &self.translation {
            let indented = |lines: &str, margin: &str| -> String {
                let lines = lines.lines().map(|line| format!("{margin}{line}"));
                lines.map(|line| format!("{}\n", line.trim_end())).collect()
            };
            text.push_str("\nWhat became of each key\n");
            text.push_str(&indented(&translation.report(), "  "));
            text.push_str("\nAs a native policy\n");
            text.push_str(&indented(&translation.yaml, "    "));
        }
        if let Some(numbers) = &self.numbers {
            text.push_str("\nWhat it promises\n");
            numbers.write(&mut text);
        }
        if !self.phases.is_empty() {
            text.push_str("\nWhat guards each phase\n");
            let width = self.phases.iter().map(|phase| phase.what.chars().count());
            let width = width.max().unwrap_or_default();
            for phase in &self.phases {
                let guards = phase.guarded_by.join(", ");
                push(&mut text, format_args!("  {:width$}  {guards}", phase.what));
            }
        }
        if !self.findings.is_empty() {
            text.push_str("\nWorth knowing\n");
            for level in [Level::Warning, Level::Note] {
                for finding in self
                    .findings
                    .iter()
                    .filter(|finding| finding.level == level)
                {
                    let word = if level == Level::Warning {
                        "warning"
                    } else {
                        "note"
                    };
                    let Finding { path, message, .. } = finding;
                    push(&mut text, format_args!("  {word}: `{path}`: {message}"));
                }
            }
        }
        text
    }

    /// For programs. Durations are in seconds, rates from 0 to 1.
    #[must_use]
    pub fn json(&self) -> Value {
        let of = |level| {
            self.findings
                .iter()
                .filter(move |finding| finding.level == level)
        };
        let numbers = self.numbers.as_ref().map(|numbers| {
            json!({
                "detection_s": numbers.detection.as_secs_f64(),
                "restoration_s": numbers.restoration.as_secs_f64(),
                "false_rollback_rate": numbers.false_rollback_rate,
                "without_bound": numbers.without_bound,
                "reads_per_minute": numbers.reads_per_minute,
            })
        });
        #[cfg_attr(
            not(feature = "yaml"),
            expect(unused_mut, reason = "only a translation adds to it")
        )]
        let mut report = json!({
            "file": self.file,
            "valid": self.is_valid(),
            "errors": self.errors,
            "warnings": of(Level::Warning).collect::<Vec<_>>(),
            "notes": of(Level::Note).collect::<Vec<_>>(),
            "numbers": numbers,
            "phases": self.phases,
        });
        #[cfg(feature = "yaml")]
        if let (Some(translation), Some(report)) = (&self.translation, report.as_object_mut()) {
            report.insert("dialect".to_owned(), json!(translation.dialect.name()));
            report.insert("keys".to_owned(), json!(translation.lines));
            report.insert("chosen".to_owned(), json!(translation.chosen));
            report.insert("native".to_owned(), json!(translation.yaml));
        }
        report
    }

    /// For a build log on GitHub: a line `::error …` or `::warning …` for each.
    #[must_use]
    pub fn annotations(&self) -> String {
        let name = self.name();
        let mut text = String::new();
        for error in &self.errors {
            push(&mut text, format_args!("{}", error.annotation(&name)));
        }
        for finding in self.warnings() {
            let (file, title) = (property(&name), property(&finding.path));
            let message = data(&finding.message);
            push(
                &mut text,
                format_args!("::warning file={file},title={title}::{message}"),
            );
        }
        text
    }

    fn name(&self) -> String {
        self.file.clone().unwrap_or_else(|| "policy".to_owned())
    }
}

impl Numbers {
    fn write(&self, text: &mut String) {
        let mut line = |words: &str, number: String| {
            push(text, format_args!("  {words:<45} {number}"));
        };
        line(
            "a bad candidate is decided on within",
            duration_text(self.detection),
        );
        line(
            "and the rollback is verified within",
            duration_text(self.restoration),
        );
        line(
            "sources are read",
            format!(
                "{:.0} times a minute while a deployment is watched",
                self.reads_per_minute
            ),
        );
        if let Some(rate) = self.false_rollback_rate {
            line(
                "a candidate that is not worse is rolled back",
                format!(
                    "by comparisons in at most {:.2} % of deployments",
                    rate * 100.0
                ),
            );
        }
        if !self.without_bound.is_empty() {
            line(
                "rolled back without such a bound by",
                self.without_bound.join(", "),
            );
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{line}");
}
