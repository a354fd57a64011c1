//! Why a deployment ended as it did: made from the journal, in plain English with numbers.

use std::fmt;

use rollback_core::{
    entry::{Entry, Fact, Input},
    model::{
        Cause, DeploymentId, Explanation, Figure, Outcome, ReleaseId, ServiceId, Timestamp,
        TriggerId, duration_text,
    },
};
use serde::Serialize;

use crate::wording::Names;

/// The account of one deployment. Print it for people, serialise it for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Account {
    /// The service.
    pub service: ServiceId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// What people call the candidate.
    pub candidate: String,
    /// What people call the release that was, or would have been, returned to.
    pub stable: Option<String>,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
    /// The last word on it: the outcome, the hold, or how far it is.
    pub verdict: String,
    /// The evidence that decided, newest first: trigger and numbers.
    pub evidence: Vec<Evidence>,
    /// What happened, in order.
    pub timeline: Vec<Moment>,
    /// What the candidate last wrote.
    pub last_words: Vec<String>,
}

/// The numbers of one trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Evidence {
    /// When it was said.
    pub at: Timestamp,
    /// Which trigger.
    pub trigger: TriggerId,
    /// What it said.
    pub verdict: String,
    /// Its numbers.
    pub explanation: Explanation,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// Since the deployment was opened.
    pub after_ms: u64,
    /// What happened.
    pub what: String,
}

impl Account {
    /// The account of `deployment` from the entries of its service; none if they do not open it.
    #[must_use]
    pub fn from_entries(
        service: &ServiceId,
        deployment: &DeploymentId,
        entries: &[Entry],
    ) -> Option<Self> {
        let mut teller = Teller::default();
        for entry in entries {
            teller.hear(entry, deployment);
        }
        teller.account(service, deployment)
    }
}

/// Folds entries into an account.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    names: Names,
    opened: Option<(Timestamp, ReleaseId)>,
    stable: Option<ReleaseId>,
    outcome: Option<Outcome>,
    last: String,
    evidence: Vec<Evidence>,
    timeline: Vec<Moment>,
    last_words: Vec<String>,
}

impl Teller {
    /// Whether nothing that comes later can matter.
    pub(crate) fn is_done(&self) -> bool {
        self.outcome.is_some()
    }

    pub(crate) fn hear(&mut self, entry: &Entry, deployment: &DeploymentId) {
        for fact in &entry.facts {
            self.names.learn(fact);
            let about = fact.deployment();
            if let Fact::DeploymentOpened { candidate, .. } = fact
                && about == Some(deployment)
            {
                self.opened = Some((entry.at, candidate.clone()));
            }
            let ours = about == Some(deployment)
                || (about.is_none() && self.opened.is_some() && !self.is_done());
            if ours && !self.is_done() {
                self.hear_fact(entry.at, fact);
            }
        }
        if self.opened.is_none() {
            return;
        }
        match &entry.input {
            Input::LastWords { release, lines }
                if self.opened.as_ref().is_some_and(|(_, c)| c == release) =>
            {
                self.last_words.clone_from(lines);
            }
            Input::Started { owner, .. } if !self.is_done() => {
                self.moment(entry.at, format!("{owner} took the journal over"));
            }
            Input::Faulted { input, why } if !self.is_done() => {
                self.moment(
                    entry.at,
                    format!("the input {input} could not be handled: {why}"),
                );
            }
            _ => {}
        }
    }

    fn hear_fact(&mut self, at: Timestamp, fact: &Fact) {
        let sentence = self.names.sentence(fact);
        match fact {
            Fact::PlanMade { stable, .. } => self.stable.clone_from(stable),
            Fact::VerdictChanged {
                trigger,
                verdict,
                explanation: Some(numbers),
                ..
            } => self.evidence.push(Evidence {
                at,
                trigger: trigger.clone(),
                verdict: verdict.word().to_owned(),
                explanation: (**numbers).clone(),
            }),
            Fact::RollbackDecided {
                target,
                cause:
                    Cause::Trigger {
                        trigger,
                        explanation,
                    },
                ..
            } => {
                self.stable = Some(target.clone());
                self.evidence.push(Evidence {
                    at,
                    trigger: trigger.clone(),
                    verdict: "fail".to_owned(),
                    explanation: explanation.clone(),
                });
            }
            Fact::WouldHave { would, .. } => {
                if let Some(Cause::Trigger {
                    trigger,
                    explanation,
                }) = would.cause()
                {
                    self.evidence.push(Evidence {
                        at,
                        trigger: trigger.clone(),
                        verdict: "fail".to_owned(),
                        explanation: explanation.clone(),
                    });
                }
            }
            Fact::RollbackDecided { target, .. } => self.stable = Some(target.clone()),
            Fact::Ended { outcome, .. } => self.outcome = Some(outcome.clone()),
            // Every step shows by its change and by its end.
            Fact::StepEntered { .. } | Fact::Ignored { .. } => return,
            _ => {}
        }
        self.last.clone_from(&sentence);
        self.moment(at, sentence);
    }

    fn moment(&mut self, at: Timestamp, what: String) {
        let opened = self.opened.as_ref().map_or(at, |(opened, _)| *opened);
        let after_ms = u64::try_from(at.since(opened).as_millis()).unwrap_or(u64::MAX);
        self.timeline.push(Moment { at, after_ms, what });
    }

    pub(crate) fn account(
        mut self,
        service: &ServiceId,
        deployment: &DeploymentId,
    ) -> Option<Account> {
        let (_, candidate) = self.opened?;
        self.evidence.reverse();
        // The numbers of a decision repeat those of the verdict that led to it.
        self.evidence
            .dedup_by(|b, a| a.trigger == b.trigger && a.explanation == b.explanation);
        let verdict = match &self.outcome {
            Some(outcome) => self.names.in_text(&outcome.to_string()),
            None if self.last.is_empty() => "just opened".to_owned(),
            None => format!("under way: {}", self.last),
        };
        Some(Account {
            service: service.clone(),
            deployment: deployment.clone(),
            candidate: self.names.of(&candidate).to_owned(),
            stable: self.stable.map(|stable| self.names.of(&stable).to_owned()),
            outcome: self.outcome,
            verdict,
            evidence: self.evidence,
            timeline: self.timeline,
            last_words: self.last_words,
        })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: deployment {} of {}",
            self.service, self.deployment, self.candidate
        )?;
        writeln!(f, "{}.", self.verdict.trim_end_matches('.'))?;
        let decisive: Vec<&Evidence> = match self.decisive() {
            Some(one) => vec![one],
            None => self.newest_of_each(),
        };
        for evidence in decisive {
            writeln!(f)?;
            evidence.fmt(f)?;
        }
        if let (Some(Outcome::RolledBack { .. }), Some(stable)) = (&self.outcome, &self.stable) {
            writeln!(f, "\nReturned to: {stable}")?;
        }
        writeln!(f, "\nTimeline:")?;
        for moment in &self.timeline {
            let after = duration_text(std::time::Duration::from_millis(moment.after_ms));
            writeln!(f, "  {:>12}  {}", format!("+{after}"), moment.what)?;
        }
        if !self.last_words.is_empty() {
            writeln!(f, "\nLast lines of {}:", self.candidate)?;
            for line in &self.last_words {
                writeln!(f, "  | {line}")?;
            }
        }
        Ok(())
    }
}

impl Account {
    /// The evidence that led to the outcome.
    fn decisive(&self) -> Option<&Evidence> {
        let Some(
            Outcome::RolledBack {
                cause:
                    Cause::Trigger {
                        trigger,
                        explanation,
                    },
                ..
            }
            | Outcome::RollbackFailed {
                cause:
                    Cause::Trigger {
                        trigger,
                        explanation,
                    },
                ..
            },
        ) = &self.outcome
        else {
            return None;
        };
        // What the same trigger said of the restored release afterwards is not it.
        self.evidence
            .iter()
            .find(|e| e.trigger == *trigger && e.explanation == *explanation)
    }

    fn newest_of_each(&self) -> Vec<&Evidence> {
        let mut newest: Vec<&Evidence> = Vec::new();
        for evidence in &self.evidence {
            if newest.iter().all(|seen| seen.trigger != evidence.trigger) {
                newest.push(evidence);
            }
        }
        newest
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = &self.explanation;
        writeln!(f, "Trigger {}: {}", self.trigger.name, self.verdict)?;
        let mut line = |name: &str, text: &str| -> fmt::Result {
            if text.is_empty() {
                return Ok(());
            }
            writeln!(f, "  {name:<15} {text}")
        };
        line("", &numbers.sentence)?;
        line("rule", &numbers.rule)?;
        for query in &numbers.queries {
            line("query", query)?;
        }
        if let Some(window) = numbers.window {
            let length = duration_text(window.length());
            line(
                "window",
                &format!("{} to {} ({length})", window.from, window.to),
            )?;
        }
        for counts in &numbers.counts {
            let arm = counts
                .arm
                .map_or_else(|| "service".to_owned(), |arm| arm.to_string());
            line(
                "counted",
                &format!("{arm}: {} bad of {}", counts.bad, counts.total),
            )?;
        }
        for figure in &numbers.figures {
            line("measured", &figure_text(figure))?;
        }
        if let Some(threshold) = &numbers.threshold {
            line("threshold", &figure_text(threshold))?;
        }
        line(
            "would have passed",
            numbers.would_pass.as_deref().unwrap_or_default(),
        )
    }
}

fn figure_text(figure: &Figure) -> String {
    let value = (figure.value * 10_000.0).round() / 10_000.0;
    let space = if figure.unit.is_empty() { "" } else { " " };
    format!("{} {value}{space}{}", figure.name, figure.unit)
}

#[cfg(test)]
mod tests {
    use rollback_core::{
        entry::SCHEMA,
        model::{Action, Actor, Arm, ArmCounts, Epoch, PolicyDigest, Seq, Verdict},
    };

    use super::*;

    fn entry(seq: u64, at: i64, input: Input, facts: Vec<Fact>) -> Entry {
        Entry {
            seq: Seq::new(seq),
            epoch: Epoch::new(1),
            at: Timestamp::from_millis(at),
            schema: SCHEMA,
            input,
            facts,
        }
    }

    fn story() -> Vec<Entry> {
        let deployment = DeploymentId::new("d1").unwrap();
        let (v1, v2) = (
            ReleaseId::new("v1").unwrap(),
            ReleaseId::new("0123456789abcdef").unwrap(),
        );
        let trigger = TriggerId::new("errors", 1);
        let explanation = Explanation {
            rule: "errors > 5% for 2s".into(),
            queries: vec!["bad / total".into()],
            counts: vec![ArmCounts {
                arm: Some(Arm::Candidate),
                bad: 31,
                total: 100,
            }],
            threshold: Some(Figure::new("errors", 5.0, "%")),
            would_pass: Some("at most 5 bad of 100".into()),
            sentence: "31 % of the requests failed".into(),
            ..Explanation::default()
        };
        let cause = Cause::Trigger {
            trigger: trigger.clone(),
            explanation: explanation.clone(),
        };
        vec![
            entry(
                1,
                1_000,
                Input::Woke,
                vec![Fact::DeploymentOpened {
                    deployment: deployment.clone(),
                    candidate: v2.clone(),
                    name: "two".into(),
                    actor: Actor::new("alice"),
                    policy: PolicyDigest::of(""),
                    triggers: vec![],
                    engine: "0".into(),
                    supersedes: None,
                    way_back: None,
                    expedited: None,
                    irreversible: None,
                    adopted: false,
                }],
            ),
            entry(
                2,
                3_500,
                Input::Woke,
                vec![
                    Fact::VerdictChanged {
                        deployment: deployment.clone(),
                        trigger,
                        verdict: Verdict::Fail,
                        action: Action::RollBack,
                        delayed: false,
                        explanation: Some(Box::new(explanation)),
                    },
                    Fact::RollbackDecided {
                        deployment: deployment.clone(),
                        target: v1.clone(),
                        attempt: 1,
                        cause: cause.clone(),
                    },
                ],
            ),
            entry(
                3,
                4_000,
                Input::LastWords {
                    release: v2.clone(),
                    lines: vec!["no such table".into()],
                },
                vec![],
            ),
            entry(
                4,
                5_000,
                Input::Woke,
                vec![Fact::Ended {
                    deployment,
                    outcome: Outcome::RolledBack {
                        from: v2,
                        to: v1,
                        cause,
                    },
                }],
            ),
        ]
    }

    #[test]
    fn an_account_names_trigger_query_counts_threshold_and_what_would_have_passed() {
        let service = ServiceId::new("checkout").unwrap();
        let deployment = DeploymentId::new("d1").unwrap();
        let account = Account::from_entries(&service, &deployment, &story()).unwrap();
        let text = account.to_string();
        for part in [
            "checkout: deployment d1 of two\n",
            "rolled back from two to v1: errors: 31 % of the requests failed.\n",
            "rule            errors > 5% for 2s\n",
            "query           bad / total\n",
            "counted         candidate: 31 bad of 100\n",
            "threshold       errors 5 %\n",
            "would have passed at most 5 bad of 100\n",
            "Returned to: v1\n",
            "+2s 500ms  rolls back to v1: errors",
            "Last lines of two:\n  | no such table\n",
        ] {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
        assert_eq!(text.matches("Trigger errors").count(), 1, "{text}");
    }

    #[test]
    fn a_deployment_that_was_never_opened_has_no_account() {
        let service = ServiceId::new("checkout").unwrap();
        let other = DeploymentId::new("d9").unwrap();
        assert_eq!(Account::from_entries(&service, &other, &story()), None);
    }
}
