//! The line that comes out, for programs. `schema.json` beside it says the same as JSON Schema.

use rollback_core::{
    backtest::{Backtested, Comparison, Course, Line as Recorded, Missing},
    model::{Cause, Explanation, MetricId, Timestamp, TriggerId},
};
use serde::Serialize;

/// What one policy decided.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Decision {
    /// One word: `promoted`, `rolled_back`, `held` …
    pub(crate) outcome: &'static str,
    /// Seconds from the deployment's start to the decision.
    pub(crate) decided_after_s: Option<f64>,
    /// The rule that decided.
    pub(crate) trigger: Option<String>,
    /// The numbers behind it; `sentence` is always there.
    pub(crate) evidence: Explanation,
    /// What a rule reads and the recording does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<Missing>,
    /// Metrics of the file that the policy does not read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_read: Vec<MetricId>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) file: &'a str,
    /// Only of a journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deployment: Option<&'a str>,
    /// Only of a journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidate: Option<&'a str>,
    #[serde(flatten)]
    pub(crate) decision: &'a Decision,
    /// Only of a journal: against what was recorded.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<&'a Comparison>,
    /// Only of a journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recorded: Option<&'a Decision>,
    /// Only with a second policy: its decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) second: Option<Second<'a>>,
}

/// What the second policy decided.
#[derive(Debug, Serialize)]
pub(crate) struct Second<'a> {
    #[serde(flatten)]
    pub(crate) decision: &'a Decision,
    /// Only of a journal: against what was recorded.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<&'a Comparison>,
    /// So many seconds before the first policy; negative: after it. None unless both act.
    pub(crate) earlier_by_s: Option<f64>,
}

/// A file that could not be replayed.
#[derive(Debug, Serialize)]
pub(crate) struct Failed<'a> {
    pub(crate) file: &'a str,
    /// Always `error`.
    pub(crate) outcome: &'static str,
    pub(crate) error: &'a str,
}

impl Decision {
    pub(crate) fn of(course: Course) -> Self {
        Self {
            outcome: course.end.word(),
            decided_after_s: course.decided_after().map(|after| after.as_secs_f64()),
            trigger: course.trigger.map(name),
            evidence: course.evidence,
            missing: course.missing,
            not_read: course.not_read,
        }
    }

    /// What the policy decides over a journal: as far as that is known.
    pub(crate) fn over(answer: &Backtested) -> Self {
        let recorded = Self::recorded(&answer.recorded, answer.opened_at);
        let mut decision = match &answer.comparison {
            Comparison::Same => recorded,
            Comparison::NotComparable { trigger, missing } => Self {
                trigger: trigger.clone().map(name),
                missing: missing.clone(),
                ..Self::without("not_comparable")
            },
            Comparison::ActsEarlier { at, .. } => match answer.other.rollback() {
                Some((at, cause)) => Self::rolled_back(at, cause, answer.opened_at),
                None => Self {
                    decided_after_s: Some(after(*at, answer.opened_at)),
                    ..Self::without("goes_on")
                }
                .held(&answer.other, answer.opened_at),
            },
            _ => Self::without("undecided").held(&answer.other, answer.opened_at),
        };
        if decision.evidence.sentence.is_empty() {
            decision.evidence.sentence.clone_from(&answer.sentence);
        }
        decision
    }

    /// What was decided.
    pub(crate) fn recorded(line: &Recorded, opened_at: Timestamp) -> Self {
        let end = line.turns.last().map(|(at, _)| after(*at, opened_at));
        match (line.rollback(), line.outcome()) {
            (Some((at, cause)), outcome) => Self {
                outcome: outcome.map_or("rolled_back", |outcome| outcome.word()),
                ..Self::rolled_back(at, cause, opened_at)
            },
            (None, Some(outcome)) => Self {
                decided_after_s: end,
                evidence: sentence(outcome.to_string()),
                ..Self::without(outcome.word())
            },
            (None, None) => Self::without("undecided").held(line, opened_at),
        }
    }

    fn without(outcome: &'static str) -> Self {
        Self {
            outcome,
            decided_after_s: None,
            trigger: None,
            evidence: Explanation::default(),
            missing: Vec::new(),
            not_read: Vec::new(),
        }
    }

    fn rolled_back(at: Timestamp, cause: &Cause, opened_at: Timestamp) -> Self {
        let (trigger, evidence) = match cause {
            Cause::Trigger {
                trigger,
                explanation,
            } => (Some(name(trigger.clone())), explanation.clone()),
            other => (None, sentence(other.to_string())),
        };
        Self {
            decided_after_s: Some(after(at, opened_at)),
            trigger,
            evidence,
            ..Self::without("rolled_back")
        }
    }

    /// The same, if it does not wait for a person.
    fn held(self, line: &Recorded, opened_at: Timestamp) -> Self {
        match line.holds.last() {
            Some(held) if held.until.is_none() => Self {
                decided_after_s: Some(after(held.since, opened_at)),
                trigger: held.trigger().cloned().map(name),
                evidence: sentence(held.reason.to_string()),
                ..Self::without("held")
            },
            _ => self,
        }
    }
}

fn sentence(sentence: String) -> Explanation {
    Explanation {
        sentence,
        ..Explanation::default()
    }
}

fn name(trigger: TriggerId) -> String {
    trigger.name.to_string()
}

/// Seconds, to the tenth: as of readings.
fn after(at: Timestamp, opened_at: Timestamp) -> f64 {
    let tenths = at.since(opened_at).as_millis() / 100;
    u32::try_from(tenths).map_or_else(|_| f64::from(u32::MAX), f64::from) / 10.0
}
