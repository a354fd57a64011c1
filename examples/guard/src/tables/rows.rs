//! The rows of document 003's tables, folded from the journal's facts and readings.

use std::{collections::BTreeMap, sync::Arc};

use rollback::{
    entry::{Entry, Fact, Input, LedgerReason, PlanKind, Standing, Step},
    model::{Answer, DeploymentId, Outcome, PolicyDigest, ReleaseId, Timestamp, Weight},
    policy::{Policy, Rule},
};
use serde_json::{Map, Value, json};

use super::Table;
use crate::readings::{self, Numbers};

pub(super) type Row = Map<String, Value>;

/// The four tables, folded from the journal.
pub(super) struct View {
    environment: String,
    names: BTreeMap<ReleaseId, Arc<str>>,
    policies: BTreeMap<PolicyDigest, Arc<Policy>>,
    open: Option<Open>,
    checks: Vec<Row>,
    deployments: Vec<Row>,
    stages: Vec<Row>,
    stable: Option<(ReleaseId, Timestamp)>,
}

/// The deployment that is under way.
struct Open {
    id: DeploymentId,
    candidate: ReleaseId,
    policy: Option<Arc<Policy>>,
    verdicts: BTreeMap<Arc<str>, &'static str>,
    steps: Vec<Step>,
    rollout: bool,
    stages: i64,
    /// Where its row and that of its stage stand.
    row: usize,
    stage: Option<usize>,
    numbers: Numbers,
}

impl View {
    pub(super) fn new(environment: &str) -> Self {
        Self {
            environment: environment.to_owned(),
            names: BTreeMap::new(),
            policies: BTreeMap::new(),
            open: None,
            checks: Vec::new(),
            deployments: Vec::new(),
            stages: Vec::new(),
            stable: None,
        }
    }

    pub(super) fn rows(self, table: Table) -> Vec<Row> {
        match table {
            Table::HealthChecks => self.checks,
            Table::Deployments => self.deployments,
            Table::ProgressiveDeployments => self.stages,
            Table::VersionMarkers => {
                let marker = |(release, at): (ReleaseId, Timestamp)| {
                    row(json!({
                        "marker_name": "last_stable_version",
                        "commit_sha": name_of(&self.names, &release),
                        "updated_at": at.to_string(),
                    }))
                };
                self.stable.map(marker).into_iter().collect()
            }
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry) {
        if let Input::PolicyOffered { digest, policy } = &entry.input {
            self.policies.insert(digest.clone(), Arc::clone(policy));
        }
        for fact in &entry.facts {
            self.fact(entry.at, fact);
        }
        if let Input::Readings { answers } = &entry.input {
            self.check(entry.at, answers);
        }
    }

    fn fact(&mut self, at: Timestamp, fact: &Fact) {
        match fact {
            Fact::LedgerChanged {
                release,
                name,
                standing,
                because,
            } => {
                self.learn(release, name);
                if *standing == Standing::Proven
                    && !matches!(because, LedgerReason::OverriddenBy(_))
                {
                    self.stable = Some((release.clone(), at));
                }
            }
            Fact::DeploymentOpened {
                deployment,
                candidate,
                name,
                policy,
                way_back,
                ..
            } => {
                self.learn(candidate, name);
                let kind = if way_back.is_some() {
                    "rollback"
                } else {
                    "standard"
                };
                self.deployments.push(row(json!({
                    "id": self.deployments.len() + 1,
                    "deployment_id": deployment,
                    "commit_sha": name_of(&self.names, candidate),
                    "status": "in_progress",
                    "deployment_type": kind,
                    "environment": self.environment,
                    "timestamp": at.to_string(),
                })));
                self.open = Some(Open {
                    id: deployment.clone(),
                    candidate: candidate.clone(),
                    policy: self.policies.get(policy).cloned(),
                    verdicts: BTreeMap::new(),
                    steps: Vec::new(),
                    rollout: false,
                    stages: 0,
                    row: self.deployments.len() - 1,
                    stage: None,
                    numbers: Numbers::default(),
                });
            }
            other if other.deployment().is_some() => self.of_open(at, other),
            _ => {}
        }
    }

    fn learn(&mut self, release: &ReleaseId, name: &Arc<str>) {
        if !name.is_empty() {
            self.names.insert(release.clone(), Arc::clone(name));
        }
    }

    fn of_open(&mut self, at: Timestamp, fact: &Fact) {
        let Some(open) = self.open.as_mut() else {
            return;
        };
        if fact.deployment() != Some(&open.id) {
            return;
        }
        let Some(deployment) = self.deployments.get_mut(open.row) else {
            return;
        };
        match fact {
            Fact::PlanMade {
                kind,
                stable,
                steps,
                ..
            } => {
                open.rollout = *kind == PlanKind::Rollout;
                open.steps.clone_from(steps);
                let shares = steps
                    .iter()
                    .filter_map(|step| traffic(step, &open.candidate));
                if open.rollout && shares.count() > 1 {
                    deployment.insert("deployment_type".into(), json!("progressive"));
                }
                if let (true, Some(stable)) = (open.rollout, stable) {
                    let name = name_of(&self.names, stable);
                    deployment.insert("previous_commit".into(), json!(name));
                }
            }
            Fact::StepEntered { index, .. } if open.rollout => {
                let step = open.steps.get(usize::from(*index));
                if let Some(share) = step.and_then(|step| traffic(step, &open.candidate)) {
                    end_stage(&mut self.stages, open, at, "completed", None);
                    open.stages += 1;
                    open.numbers = Numbers::default();
                    self.stages.push(row(json!({
                        "id": self.stages.len() + 1,
                        "deployment_id": open.id,
                        "commit_sha": name_of(&self.names, &open.candidate),
                        "stage": open.stages,
                        "traffic_percentage": share,
                        "status": "in_progress",
                        "started_at": at.to_string(),
                        "rollback_triggered": false,
                    })));
                    open.stage = Some(self.stages.len() - 1);
                }
            }
            Fact::VerdictChanged {
                trigger, verdict, ..
            } => {
                open.verdicts
                    .insert(Arc::clone(&trigger.name), verdict.word());
            }
            Fact::RollbackDecided { target, cause, .. } => {
                let why = named(&self.names, &cause.to_string());
                end_stage(&mut self.stages, open, at, "rolled_back", Some(&why));
                let from = name_of(&self.names, &open.candidate);
                deployment.insert("rollback_from_commit".into(), json!(from));
                deployment.insert(
                    "previous_commit".into(),
                    json!(name_of(&self.names, target)),
                );
                deployment.insert("rollback_reason".into(), json!(why));
                deployment.insert("status".into(), json!("rolling_back"));
            }
            Fact::Held { .. } => drop(deployment.insert("status".into(), json!("held"))),
            Fact::Released { .. } => drop(deployment.insert("status".into(), json!("in_progress"))),
            Fact::Ended { outcome, .. } => {
                deployment.insert("status".into(), json!(outcome.word()));
                let word = match outcome {
                    Outcome::Promoted { .. } => "completed",
                    other => other.word(),
                };
                end_stage(&mut self.stages, open, at, word, None);
                self.open = None;
            }
            _ => {}
        }
    }

    /// One poll of the metrics is one health check.
    fn check(&mut self, at: Timestamp, answers: &[Answer]) {
        let Some(open) = self.open.as_mut() else {
            return;
        };
        let numbers = Numbers::of(answers, open.policy.as_deref());
        let of = |word: &str| -> Vec<&Arc<str>> {
            let said = open.verdicts.iter().filter(|(_, said)| **said == word);
            said.map(|(name, _)| name).collect()
        };
        let (passed, failed) = (of("pass"), of("fail"));
        let status = match (numbers.well, failed.is_empty(), passed.is_empty()) {
            (Some(false), ..) => "unhealthy",
            (_, false, _) => "unhealthy",
            (Some(true), ..) | (None, true, false) => "healthy",
            (None, true, true) => "unknown",
        };
        let limit = |names: &[&str]| open.policy.as_deref().and_then(|p| threshold(p, names));
        self.checks.push(row(json!({
            "id": self.checks.len() + 1,
            "deployment_id": open.id,
            "commit_sha": name_of(&self.names, &open.candidate),
            "health_status": status,
            "response_time_ms": numbers.response_time_ms,
            "error_rate": numbers.error_rate,
            "availability": numbers.availability,
            "endpoint": numbers.endpoint,
            "threshold_error_rate": limit(&["error"]),
            "threshold_response_time": limit(&["response", "latency", "p95", "p99"]),
            "threshold_availability": limit(&["availab"]),
            "checks_passed": passed,
            "checks_failed": failed,
            "timestamp": at.to_string(),
        })));
        open.numbers = numbers;
    }
}

/// A stage is over, with what was read last in it.
fn end_stage(
    stages: &mut [Row],
    open: &mut Open,
    at: Timestamp,
    status: &str,
    rollback: Option<&str>,
) {
    let Some(stage) = open.stage.take().and_then(|index| stages.get_mut(index)) else {
        return;
    };
    stage.insert("status".into(), json!(status));
    stage.insert("completed_at".into(), json!(at.to_string()));
    stage.insert("error_rate".into(), json!(open.numbers.error_rate));
    stage.insert("availability".into(), json!(open.numbers.availability));
    stage.insert(
        "response_time_ms".into(),
        json!(open.numbers.response_time_ms),
    );
    if let Some(why) = rollback {
        stage.insert("rollback_triggered".into(), json!(true));
        stage.insert("rollback_reason".into(), json!(why));
    }
}

/// The share of the traffic, in percent, that a step gives to the candidate.
fn traffic(step: &Step, candidate: &ReleaseId) -> Option<u32> {
    match step {
        Step::Weights { shares } => {
            let share = shares.iter().find(|share| share.release == *candidate);
            let weight = share.map_or(Weight::NONE, |share| share.weight);
            Some(u32::from(weight.basis_points()) / 100)
        }
        Step::Converge { release, placement } if release == candidate => {
            placement.is_in_place().then_some(100)
        }
        _ => None,
    }
}

/// What a plain condition such as `error_rate > 5%` compares with, in the column's unit.
fn threshold(policy: &Policy, names: &[&str]) -> Option<f64> {
    policy.triggers.iter().find_map(|rule| {
        let Rule::When { condition, .. } = &rule.rule else {
            return None;
        };
        let mut words = condition.split_whitespace();
        let (metric, _, value) = (words.next()?, words.next()?, words.next()?);
        let fits = names.iter().any(|name| metric.contains(name));
        (fits && words.next().is_none())
            .then(|| readings::in_columns_unit(metric, value, policy))
            .flatten()
    })
}

fn row(value: Value) -> Row {
    match value {
        Value::Object(fields) => fields,
        _ => Row::new(),
    }
}

fn name_of<'a>(names: &'a BTreeMap<ReleaseId, Arc<str>>, release: &'a ReleaseId) -> &'a str {
    names.get(release).map_or(release.as_str(), |name| name)
}

fn named(names: &BTreeMap<ReleaseId, Arc<str>>, text: &str) -> String {
    names.iter().fold(text.to_owned(), |text, (release, name)| {
        if release.as_str().len() < 12 {
            return text;
        }
        text.replace(release.as_str(), name)
    })
}
