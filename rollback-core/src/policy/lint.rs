//! What a policy promises and what it leaves open, with numbers.
//!
//! Mistakes are refused when a policy is read; what is found here can be meant. The bounds are for
//! the worst case of a candidate that is bad throughout, with sources that answer before the next
//! poll and queries that look back no further than one poll.

use std::{fmt, time::Duration};

use serde::Serialize;

pub use super::bounds::{detection_bound, restoration_bound};
use super::{
    OnInconclusive, OnTaskFailure, PerScope, Policy, Rule, Shape, TriggerRule,
    bounds::threshold_bound, trigger::shape_key,
};
use crate::{
    model::{Action, Weight, duration_text},
    statistics::{FalseRollbackRate, MinEffect, minimum_bad_events, smallest_detectable_ratio},
};

/// What is assumed of the service, for the numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Assumptions {
    /// Requests of the whole service per second, if known.
    pub requests_per_second: Option<f64>,
    /// The share of errors of a healthy release, 0 to 1.
    pub healthy_bad_share: f64,
    /// Instances of each arm.
    pub instances: u32,
    /// How long after its end a window of the slowest source is complete.
    pub settle: Duration,
}

impl Default for Assumptions {
    /// Unknown traffic, 0.5 % errors, one instance, sources of the present moment.
    fn default() -> Self {
        Self {
            requests_per_second: None,
            healthy_bad_share: 0.005,
            instances: 1,
            settle: Duration::ZERO,
        }
    }
}

impl Assumptions {
    /// The same with so many requests per second.
    #[must_use]
    pub const fn requests_per_second(mut self, requests: f64) -> Self {
        self.requests_per_second = Some(requests);
        self
    }

    /// The same with sources whose windows are complete only after `settle`.
    #[must_use]
    pub const fn settling(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A number to know.
    Note,
    /// Probably not what was meant.
    Warning,
}

/// Something worth knowing about a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How serious.
    pub level: Level,
    /// Which key, as in `triggers[0].for`.
    pub path: String,
    /// What follows from it, with numbers.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Note => "note",
            Level::Warning => "warning",
        };
        write!(f, "{level}, `{}`: {}", self.path, self.message)
    }
}

/// Everything worth knowing, warnings and notes, in the order of the policy.
#[must_use]
pub fn lint(policy: &Policy, assumed: &Assumptions) -> Vec<Finding> {
    let mut found = Findings::default();
    for (index, rule) in policy.triggers.iter().enumerate() {
        match &rule.rule {
            Rule::When { shape, .. } | Rule::Health { shape, .. } => {
                threshold(policy, assumed, index, rule, shape, &mut found)
            }
            Rule::Compare { .. } => comparison(policy, assumed, index, rule, &mut found),
            Rule::Alarm { .. } | Rule::Composite { .. } => {
                noticed(policy, assumed, index, rule, &mut found);
            }
            Rule::Task { task } => after_a_task(policy, index, rule, task, &mut found),
            Rule::Host => {}
        }
    }
    as_a_whole(policy, assumed, &mut found);
    found.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, path: impl Into<String>, message: String) {
        self.0.push(Finding {
            level,
            path: path.into(),
            message,
        });
    }

    fn warn(&mut self, path: impl Into<String>, message: String) {
        self.add(Level::Warning, path, message);
    }

    fn note(&mut self, path: impl Into<String>, message: String) {
        self.add(Level::Note, path, message);
    }
}

fn threshold(
    policy: &Policy,
    assumed: &Assumptions,
    index: usize,
    rule: &TriggerRule,
    shape: &Shape,
    found: &mut Findings,
) {
    noticed(policy, assumed, index, rule, found);
    let text = duration_text;
    // A delay of a poll or more asks for another reading.
    let once = shape.decides_at_once() && rule.delay < policy.poll;
    if once && rule.action == Action::RollBack {
        found.warn(
            format!("triggers[{index}].{}", shape_key(shape)),
            format!(
                "`{}` rolls back on a single reading of {}; `for: {}` would ask for a second one",
                rule.name,
                text(policy.poll),
                text(policy.poll)
            ),
        );
    } else if let Shape::Lasting(for_) = *shape
        && !for_.is_zero()
        && for_ < policy.poll
    {
        found.note(
            format!("triggers[{index}].for"),
            format!(
                "{} is shorter than a poll, so it takes two readings {} apart",
                text(for_),
                text(policy.poll)
            ),
        );
    }
}

/// A task that has a consequence of its own leaves none to its trigger.
fn after_a_task(
    policy: &Policy,
    index: usize,
    rule: &TriggerRule,
    name: &str,
    found: &mut Findings,
) {
    let own = match policy.tasks.iter().find(|task| *task.name == *name) {
        Some(task) if task.on_failure == OnTaskFailure::RollBack => "roll_back",
        Some(task) if task.on_failure == OnTaskFailure::Hold => "hold",
        _ => return,
    };
    found.note(
        format!("triggers[{index}].task"),
        format!(
            "`{name}` has `on_failure: {own}`, which follows without `{}`; with `go_on` the trigger \
             says what follows",
            rule.name
        ),
    );
}

/// How soon it is noticed.
fn noticed(
    policy: &Policy,
    assumed: &Assumptions,
    index: usize,
    rule: &TriggerRule,
    found: &mut Findings,
) {
    let text = duration_text;
    if rule.is_part {
        return;
    }
    if let Some(bound) = threshold_bound(policy, rule, assumed.settle) {
        let bound_text = text(bound);
        if bound > policy.bake {
            found.warn(
                format!("triggers[{index}]"),
                format!(
                    "`{}` is noticed within {bound_text} at worst, and the bake lasts {}: a bad \
                     candidate may be promoted before",
                    rule.name,
                    text(policy.bake)
                ),
            );
        } else {
            found.note(
                format!("triggers[{index}]"),
                format!("`{}` is noticed within {bound_text} at worst", rule.name),
            );
        }
    }
}

fn comparison(
    policy: &Policy,
    assumed: &Assumptions,
    index: usize,
    rule: &TriggerRule,
    found: &mut Findings,
) {
    let Rule::Compare {
        max_false_rollback_rate,
        min_effect,
        ..
    } = rule.rule
    else {
        return;
    };
    let (Ok(rate), Ok(effect)) = (
        FalseRollbackRate::new(max_false_rollback_rate),
        MinEffect::new(min_effect),
    ) else {
        return;
    };
    // The phase that decides whether it is promoted, or the last one in which both arms serve.
    let Some((share, length)) = compared_phase(policy) else {
        return;
    };
    let share = share.as_ratio();
    let path = format!("triggers[{index}]");
    match minimum_bad_events(share, effect, rate) {
        Some(events) => found.note(
            &path,
            format!(
                "`{}` takes at least {events} failed requests of the candidate, at {:.0} % of the \
                 traffic, whatever their share",
                rule.name,
                share * 100.0
            ),
        ),
        None => found.warn(
            &path,
            format!(
                "`{}` can never fire at {:.2} % of the traffic",
                rule.name,
                share * 100.0
            ),
        ),
    }
    let Some(requests) = assumed.requests_per_second else {
        return;
    };
    let total = requests.max(0.0) * length.as_secs_f64();
    let healthy = assumed.healthy_bad_share;
    let of = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of requests; saturates"
        )]
        let count = (total * share) as u64;
        count
    };
    let traffic = format!(
        "at {requests} requests/s, of which {} % fail on a healthy release, `{}`",
        healthy * 100.0,
        rule.name
    );
    match smallest_detectable_ratio(of(share), of(1.0 - share), healthy, effect, rate) {
        Some(ratio) => found.note(
            &path,
            format!(
                "{traffic} notices a candidate with {ratio:.1} times as many errors within {} at \
                 {:.0} % of the traffic in half of all cases",
                duration_text(length),
                share * 100.0
            ),
        ),
        None => found.warn(
            &path,
            format!(
                "{traffic} can notice nothing within {} at {:.0} % of the traffic; watch longer",
                duration_text(length),
                share * 100.0
            ),
        ),
    }
}

/// The last phase in which both arms have traffic: the candidate's share, and how long it lasts.
fn compared_phase(policy: &Policy) -> Option<(Weight, Duration)> {
    let phases = policy.strategy.watched();
    let compared = phases.iter().rev().find(|(share, _)| *share < Weight::ALL);
    compared.map(|(share, length)| (*share, length.unwrap_or(policy.bake)))
}

fn as_a_whole(policy: &Policy, assumed: &Assumptions, found: &mut Findings) {
    let text = duration_text;
    let acts = |least: Action| policy.triggers.iter().any(|rule| rule.action >= least);
    if !acts(Action::Hold) {
        found.warn(
            "triggers",
            "no trigger may hold or roll back: a bad candidate is only talked about".to_owned(),
        );
    } else if !acts(Action::RollBack) {
        found.warn(
            "triggers",
            "no trigger may roll back: every bad candidate waits for a person".to_owned(),
        );
    }
    let is_comparison = |rule: &&TriggerRule| policy.needs_two_arms(rule);
    let required = || policy.triggers.iter().filter(|rule| rule.required);
    if required().all(|rule| is_comparison(&rule)) && required().next().is_some() {
        let then = match policy.on_inconclusive {
            OnInconclusive::Promote => {
                "`on_inconclusive: promote` has nothing to rest on, so it holds"
            }
            OnInconclusive::Hold => "it then holds",
        };
        found.warn(
            "triggers",
            format!(
                "only comparisons are required; with little traffic they cannot tell, and {then}. \
                 Require a threshold too"
            ),
        );
    }
    let comparisons: Vec<f64> = policy
        .triggers
        .iter()
        .filter(|rule| rule.action == Action::RollBack)
        .filter_map(|rule| match rule.rule {
            Rule::Compare {
                max_false_rollback_rate,
                ..
            } => Some(max_false_rollback_rate),
            _ => None,
        })
        .collect();
    if !comparisons.is_empty() {
        let sum = comparisons.iter().sum::<f64>() * 100.0;
        found.note(
            "triggers",
            format!(
                "comparisons roll back a candidate that is not worse in at most {sum:.2} % of \
                 deployments; thresholds have no such bound"
            ),
        );
    }
    if policy.blindness.budget >= policy.bake {
        found.warn(
            "blind_budget",
            format!(
                "a required trigger may be blind for {}, and the bake lasts {}: `on_no_data` follows \
                 only after it",
                text(policy.blindness.budget),
                text(policy.bake)
            ),
        );
    } else if policy.blindness.budget < policy.poll.saturating_mul(3) {
        found.warn(
            "blind_budget",
            format!(
                "{} is less than three polls: one slow answer is taken for blindness",
                text(policy.blindness.budget)
            ),
        );
    }
    if policy.verify.hold_for < policy.poll.saturating_mul(2) {
        found.warn(
            "verify.for",
            format!(
                "a rollback is verified by {}, which is less than two polls",
                text(policy.verify.hold_for)
            ),
        );
    }
    if policy.verify.within < policy.verify.hold_for + policy.poll.saturating_mul(3) {
        found.warn(
            "verify.within",
            format!(
                "{} leaves less than three polls beside the {} of `verify.for`: one bad reading makes \
                 the rollback fail",
                text(policy.verify.within),
                text(policy.verify.hold_for)
            ),
        );
    }
    if policy.budget.rollbacks == 0 && acts(Action::RollBack) {
        found.warn(
            "budget.rollbacks",
            "0 rollbacks are allowed: every trigger that may roll back holds".to_owned(),
        );
    }
    found.note("poll", reads(policy, assumed));
    found.note(
        "bake",
        format!(
            "a bad candidate is decided on within {} at worst, and the rollback is verified within {} \
             of the decision",
            text(detection_bound(policy) + assumed.settle),
            text(restoration_bound(policy))
        ),
    );
}

/// How many answers are asked of sources in each poll of a watch.
pub(crate) fn reads_per_poll(policy: &Policy, assumed: &Assumptions) -> u32 {
    policy
        .metrics
        .iter()
        .map(|metric| match metric.per {
            PerScope::Service => 1,
            PerScope::Arm => 2,
            PerScope::Instance => assumed.instances.saturating_mul(2),
        })
        .fold(0, u32::saturating_add)
}

/// The same in a minute.
pub(crate) fn reads_per_minute(policy: &Policy, assumed: &Assumptions) -> f64 {
    60.0 / policy.poll.as_secs_f64() * f64::from(reads_per_poll(policy, assumed))
}

fn reads(policy: &Policy, assumed: &Assumptions) -> String {
    format!(
        "{} reads per poll, {:.0} a minute while a deployment is watched",
        reads_per_poll(policy, assumed),
        reads_per_minute(policy, assumed)
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{HIGH, SLOW, two_metrics as policy},
        *,
    };

    const AGAINST: &str = r#"{"name": "against", "compare": "errors"}"#;

    fn findings(policy: &Policy, level: Level) -> Vec<String> {
        let assumed = Assumptions::default().requests_per_second(100.0);
        lint(policy, &assumed)
            .into_iter()
            .filter(|finding| finding.level == level)
            .map(|finding| finding.to_string())
            .collect()
    }

    #[test]
    fn numbers_to_know() {
        let policy = policy(r#""holdback": "10%","#, &format!("{HIGH}, {AGAINST}"));
        let notes = findings(&policy, Level::Note).join("\n");
        for words in [
            "`high` is noticed within 1m 20s at worst",
            "failed requests of the candidate, at 90 % of the traffic",
            "at 100 requests/s, of which 0.5 % fail on a healthy release, `against` notices",
            "in at most 1.00 % of deployments",
            "4 reads per poll, 24 a minute",
            "decided on within 1m 20s at worst, and the rollback is verified within 23m",
        ] {
            assert!(notes.contains(words), "{words} in\n{notes}");
        }
        assert_eq!(findings(&policy, Level::Warning), Vec::<String>::new());
    }

    #[test]
    fn what_is_probably_not_meant() {
        let hold = HIGH.replace("25s\"", "25s\", \"action\": \"hold\", \"required\": true");
        let notify = HIGH.replace("25s\"", "25s\", \"action\": \"notify\", \"required\": true");
        let slowly = HIGH.replace("25s", "9m 30s");
        let delayed = |delay| SLOW.replace('}', &format!(r#", "delay": "{delay}"}}"#));
        let warnings = findings(&policy("", &delayed("10s")), Level::Warning);
        assert_eq!(warnings, Vec::<String>::new());
        for (rest, triggers, words) in [
            ("", SLOW.to_owned(), "rolls back on a single reading of 10s"),
            ("", delayed("5s"), "rolls back on a single reading of 10s"),
            ("", slowly, "may be promoted before"),
            ("", notify, "only talked about"),
            ("", hold, "waits for a person"),
            (
                r#""holdback": "10%","#,
                AGAINST.to_owned(),
                "nothing to rest on",
            ),
            (
                r#""blind_budget": "15m","#,
                HIGH.to_owned(),
                "follows only after it",
            ),
            (
                r#""blind_budget": "5s","#,
                HIGH.to_owned(),
                "less than three polls",
            ),
            (
                r#""verify": {"for": "5s"},"#,
                HIGH.to_owned(),
                "less than two polls",
            ),
            (
                r#""verify": {"for": "30s", "within": "31s"},"#,
                HIGH.to_owned(),
                "one bad reading makes the rollback fail",
            ),
            (
                r#""budget": {"rollbacks": 0},"#,
                HIGH.to_owned(),
                "0 rollbacks are allowed",
            ),
        ] {
            let warnings = findings(&policy(rest, &triggers), Level::Warning);
            assert_eq!(warnings.len(), 1, "{rest} {triggers}: {warnings:?}");
            assert!(warnings[0].contains(words), "{words} in {warnings:?}");
        }
    }
}
