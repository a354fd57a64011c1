//! A service as people are shown it: the engine's status with the names that people gave.

use std::{fmt, sync::Arc, time::Duration};

use rollback::{
    engine::Status,
    entry::{Standing, Step},
    ledger::Record,
    model::{DeploymentId, Hold, Order, Outcome, ReleaseId, ServiceId, Timestamp, duration_text},
};
use serde::{Deserialize, Serialize};

/// How a service stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Picture {
    pub(crate) service: ServiceId,
    /// As of when.
    pub(crate) at: Timestamp,
    /// Whether a controller runs; else it is what the journal says.
    pub(crate) controller: bool,
    /// The newest proven release.
    pub(crate) stable: Option<ReleaseId>,
    /// Every release that was judged.
    pub(crate) ledger: Vec<Record>,
    /// The deployment that is under way.
    pub(crate) active: Option<Active>,
    /// The last deployment that ended.
    pub(crate) last: Option<(DeploymentId, Outcome)>,
    /// Notices that are not delivered yet.
    pub(crate) pending_notices: usize,
    /// Who froze deployments and why.
    pub(crate) frozen: Option<Order>,
    /// Who switched the kill switch on and why.
    pub(crate) killed: Option<Order>,
}

/// A deployment that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Active {
    pub(crate) deployment: DeploymentId,
    pub(crate) candidate: ReleaseId,
    pub(crate) name: Arc<str>,
    pub(crate) opened_at: Timestamp,
    /// `preflight`, `rollout` or `rollback`.
    pub(crate) phase: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) step: usize,
    /// Since when the step runs; none between steps.
    pub(crate) since: Option<Timestamp>,
    /// When the step is stuck.
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) hold: Option<Hold>,
    /// What led to the rollback.
    pub(crate) cause: Option<String>,
    pub(crate) in_doubt: bool,
    /// The gate that the rollout waits at.
    pub(crate) gate: Option<Arc<str>>,
    /// The task that runs.
    pub(crate) task: Option<Arc<str>>,
    pub(crate) triggers: Vec<Trigger>,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) name: Arc<str>,
    /// `pass`, `fail`, `inconclusive` or `unknown`.
    pub(crate) verdict: String,
    /// The verdict with its reason.
    pub(crate) text: String,
    pub(crate) since: Timestamp,
    pub(crate) action: String,
    /// Its numbers in one sentence.
    pub(crate) sentence: String,
}

impl Picture {
    /// Of an engine; `controller` if it is a running one's.
    pub(crate) fn of(status: Status, controller: bool) -> Self {
        let active = status.active.map(|active| Active {
            deployment: active.deployment,
            candidate: active.candidate,
            name: active.name,
            opened_at: active.opened_at,
            phase: active.phase.to_owned(),
            steps: active.steps,
            step: active.step,
            since: active.step_since,
            deadline: active.deadline,
            hold: active.hold,
            cause: active.cause.map(|cause| cause.to_string()),
            in_doubt: active.in_doubt,
            gate: active.gate,
            task: active.task,
            triggers: active
                .triggers
                .into_iter()
                .map(|rule| Trigger {
                    name: rule.trigger.name,
                    verdict: rule.verdict.word().to_owned(),
                    text: rule.verdict.to_string(),
                    since: rule.since,
                    action: rule.action.to_string(),
                    sentence: rule.explanation.sentence,
                })
                .collect(),
        });
        Self {
            service: status.service,
            at: status.at,
            controller,
            stable: status.stable,
            ledger: status.ledger,
            active,
            last: status.outcomes.last().cloned(),
            pending_notices: status.pending_notices,
            frozen: status.frozen,
            killed: status.killed,
        }
    }

    /// What people call a release.
    pub(crate) fn name<'a>(&'a self, release: &'a ReleaseId) -> &'a str {
        let judged = self.ledger.iter().find(|record| record.release == *release);
        if let Some(record) = judged.filter(|record| !record.name.is_empty()) {
            return &record.name;
        }
        match &self.active {
            Some(active) if active.candidate == *release && !active.name.is_empty() => &active.name,
            _ => release.as_str(),
        }
    }

    /// `text` with names instead of ids.
    pub(crate) fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let judged = self.ledger.iter().map(|record| &record.release);
        let candidate = self.active.as_ref().map(|active| &active.candidate);
        for release in judged.chain(candidate) {
            // A short id could be part of another word.
            if release.as_str().len() >= 12 {
                text = text.replace(release.as_str(), self.name(release));
            }
        }
        text
    }

    /// The release that a person means by a name or an id.
    pub(crate) fn find(&self, text: &str) -> Option<ReleaseId> {
        let known = || self.ledger.iter().rev();
        known()
            .find(|record| record.release.as_str() == text)
            .or_else(|| known().find(|record| *record.name == *text))
            .map(|record| record.release.clone())
    }

    /// The proven releases by name, newest first.
    pub(crate) fn proven(&self) -> Vec<&str> {
        let proven = self.ledger.iter().rev();
        proven
            .filter(|record| record.standing == Standing::Proven)
            .map(|record| self.name(&record.release))
            .collect()
    }

    /// A step in words, with names.
    fn step(&self, step: &Step) -> String {
        let text = match (step, step.change()) {
            (_, Some(change)) => change.to_string(),
            (Step::Check { hold_for }, _) => format!("check for {}", duration_text(*hold_for)),
            (Step::Bake { length }, _) => format!("bake for {}", duration_text(*length)),
            (Step::Wait { length }, _) => format!("watch for {}", duration_text(*length)),
            (Step::Task { name, .. }, _) => format!("run the task {name}"),
            (Step::Gate { name, .. }, _) => format!("wait for approval of {name}"),
            (Step::Verify { hold_for }, _) => format!("verify for {}", duration_text(*hold_for)),
            _ => step.word().to_owned(),
        };
        self.named(&text)
    }

    /// What happens next, and when.
    pub(crate) fn next(&self) -> Option<String> {
        let active = self.active.as_ref()?;
        if let Some(hold) = &active.hold {
            let exits: Vec<String> = hold.exits.iter().map(ToString::to_string).collect();
            return Some(format!("waits: {}", exits.join(", ")));
        }
        if active.phase == "preflight" {
            return Some("the pre-flight ends with a plan, or refuses".to_owned());
        }
        if let Some(gate) = &active.gate {
            let until = active.deadline.map_or_else(String::new, |deadline| {
                let left = duration_text(whole_seconds(deadline.since(self.at)));
                format!(", within {left}")
            });
            return Some(format!("waits for `guard approve {gate}`{until}"));
        }
        let after = match active.steps.get(active.step + 1) {
            Some(step) => self.step(step),
            None if active.phase == "rollback" => "the rollback is done".to_owned(),
            None => format!("{} is promoted", active.name),
        };
        let length = active.steps.get(active.step).and_then(watched);
        Some(match (length, active.since, active.deadline) {
            (Some(length), Some(since), _) => {
                let at = since.after(length);
                let left = duration_text(whole_seconds(at.since(self.at)));
                format!("{after}, in {left} if all is well")
            }
            (None, _, Some(deadline)) if active.task.is_some() => {
                let left = duration_text(whole_seconds(deadline.since(self.at)));
                format!("{after}, when the task is done; it fails in {left}")
            }
            (None, _, Some(deadline)) => {
                let left = duration_text(whole_seconds(deadline.since(self.at)));
                format!("{after}, when the platform is ready; stuck in {left}")
            }
            _ => after,
        })
    }
}

/// How long a step watches, if it does.
pub(crate) fn watched(step: &Step) -> Option<Duration> {
    match step {
        Step::Check { hold_for } | Step::Verify { hold_for } => Some(*hold_for),
        Step::Bake { length } | Step::Wait { length } => Some(*length),
        _ => None,
    }
}

pub(crate) fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

impl fmt::Display for Picture {
    /// One screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stable = self.stable.as_ref();
        let stable = stable.map_or("nothing proven yet", |stable| self.name(stable));
        let controller = if self.controller {
            ""
        } else {
            " (no controller runs)"
        };
        writeln!(f, "{}{controller}", self.service)?;
        writeln!(f, "  stable      {stable}")?;
        if let Some(order) = &self.killed {
            writeln!(f, "  KILLED      the kill switch is on ({order})")?;
        }
        if let Some(order) = &self.frozen {
            writeln!(f, "  FROZEN      no deployments ({order})")?;
        }
        let Some(active) = &self.active else {
            writeln!(f, "  under way   nothing")?;
            if let Some((deployment, outcome)) = &self.last {
                let text = self.named(&outcome.to_string());
                writeln!(f, "  last        {deployment}: {text}")?;
            }
            return Ok(());
        };
        let age = duration_text(whole_seconds(self.at.since(active.opened_at)));
        writeln!(
            f,
            "  under way   {} of {}, {} for {age}",
            active.deployment, active.name, active.phase
        )?;
        if let Some(cause) = &active.cause {
            writeln!(f, "  because     {}", self.named(cause))?;
        }
        if let Some(hold) = &active.hold {
            writeln!(f, "  HELD        {}", self.named(&hold.reason.to_string()))?;
        }
        if active.in_doubt {
            writeln!(
                f,
                "  in doubt    whether the platform took the last change; if it cannot say, `guard resolve` does"
            )?;
        }
        for (index, step) in active.steps.iter().enumerate() {
            let (mark, time) = match index.cmp(&active.step) {
                std::cmp::Ordering::Less => ("done", String::new()),
                std::cmp::Ordering::Equal => ("now ", self.elapsed(active, step)),
                std::cmp::Ordering::Greater => ("    ", String::new()),
            };
            writeln!(f, "  {mark}        {}{time}", self.step(step))?;
        }
        if let Some(next) = self.next() {
            writeln!(f, "  next        {next}")?;
        }
        if !active.triggers.is_empty() {
            writeln!(f)?;
        }
        for trigger in &active.triggers {
            let since = duration_text(whole_seconds(self.at.since(trigger.since)));
            let said = if trigger.sentence.is_empty() {
                &trigger.text
            } else {
                &trigger.sentence
            };
            writeln!(
                f,
                "  {:<13}{:<24} for {since:<8} {} ({})",
                trigger.verdict,
                trigger.name,
                self.named(said),
                trigger.action,
            )?;
        }
        Ok(())
    }
}

impl Picture {
    fn elapsed(&self, active: &Active, step: &Step) -> String {
        let Some(since) = active.since else {
            return String::new();
        };
        let elapsed = duration_text(whole_seconds(self.at.since(since)));
        match watched(step) {
            Some(length) if !length.is_zero() => {
                format!(", {elapsed} of {}", duration_text(length))
            }
            _ => format!(", since {elapsed}"),
        }
    }
}
