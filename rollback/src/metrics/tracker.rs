//! What one service's facts mean for the metrics.

use std::collections::BTreeMap;

use rollback_core::{
    entry::{Fact, PlanKind, Step},
    model::{Cause, PolicyDigest, ReleaseId, ServiceId, Timestamp, Verdict},
};

use super::{Change, OwnMetrics};

/// Follows the facts of one service. Small while the service is idle.
#[derive(Debug)]
pub(crate) struct Tracker {
    metrics: OwnMetrics,
    service: ServiceId,
    strategy: &'static str,
    policy: PolicyDigest,
    stable: Option<ReleaseId>,
    phase: &'static str,
    open: Option<Box<Open>>,
    told_info: Option<(String, String, String)>,
}

/// The deployment that is under way.
#[derive(Debug, Default)]
struct Open {
    at: Timestamp,
    candidate: String,
    steps: Vec<&'static str>,
    kind: Option<PlanKind>,
    /// What the phase was before a hold.
    held: Option<(Timestamp, &'static str)>,
    in_weights: bool,
    first_traffic: Option<Timestamp>,
    decided: Option<Timestamp>,
    verdicts: BTreeMap<String, (&'static str, Timestamp)>,
}

const IDLE: &str = "idle";
const PREFLIGHT: &str = "preflight";
const HELD: &str = "held";

impl Tracker {
    pub(crate) fn new(
        metrics: OwnMetrics,
        service: ServiceId,
        strategy: &'static str,
        policy: PolicyDigest,
    ) -> Self {
        Self {
            metrics,
            service,
            strategy,
            policy,
            stable: None,
            phase: "",
            open: None,
            told_info: None,
        }
    }

    /// Forgets the deployment; the journal is about to be read again.
    pub(crate) fn forget(&mut self) {
        self.open = None;
    }

    /// Follows one entry's facts. Those that are only read back count nothing twice: `fresh` is
    /// false for them.
    pub(crate) fn follow(&mut self, at: Timestamp, facts: &[Fact], fresh: bool) {
        for fact in facts {
            self.fact(at, fact, fresh);
        }
        if fresh {
            self.blind(at);
        }
    }

    /// Shows where the service stands.
    pub(crate) fn show(&mut self) {
        let phase = self.phase;
        self.phase = "";
        self.enter(if phase.is_empty() { IDLE } else { phase });
        self.info();
    }

    fn fact(&mut self, at: Timestamp, fact: &Fact, fresh: bool) {
        match fact {
            Fact::PolicyAdopted { digest } => {
                self.policy = digest.clone();
                self.info();
            }
            Fact::DeploymentOpened {
                candidate, name, ..
            } => {
                let candidate = if name.is_empty() {
                    candidate.to_string()
                } else {
                    name.to_string()
                };
                self.open = Some(Box::new(Open {
                    at,
                    candidate,
                    ..Open::default()
                }));
                self.enter(PREFLIGHT);
                self.info();
            }
            Fact::PlanMade {
                kind,
                stable,
                steps,
                ..
            } => {
                if *kind == PlanKind::Rollout {
                    self.stable.clone_from(stable);
                }
                if let Some(open) = &mut self.open {
                    open.steps = steps.iter().map(Step::word).collect();
                    open.kind = Some(*kind);
                }
                self.info();
            }
            Fact::StepEntered { index, .. } => {
                let Some(open) = &mut self.open else { return };
                let word = open.steps.get(usize::from(*index)).copied().unwrap_or(IDLE);
                open.in_weights = word == "weights";
                self.enter(word);
            }
            Fact::StepDone { .. } => self.step_done(at, fresh),
            Fact::Held { .. } => {
                if let Some(open) = &mut self.open {
                    open.held.get_or_insert((at, self.phase));
                }
                self.enter(HELD);
            }
            Fact::Released { .. } => self.released(at, fresh),
            Fact::RollbackDecided { cause, .. } => self.decided(at, cause, fresh),
            Fact::VerdictChanged {
                trigger, verdict, ..
            } => self.verdict(at, &trigger.name, verdict),
            Fact::Ended { outcome, .. } => {
                self.released(at, fresh);
                self.restored(at, fresh);
                if let Some(open) = self.open.take() {
                    if fresh {
                        self.metrics.changed(
                            &self.service,
                            &Change::Ended {
                                outcome,
                                strategy: self.strategy,
                                length: at.since(open.at),
                            },
                        );
                    }
                    for (trigger, (verdict, _)) in &open.verdicts {
                        let on = false;
                        self.metrics.changed(
                            &self.service,
                            &Change::Verdict {
                                trigger,
                                verdict,
                                on,
                            },
                        );
                    }
                }
                if let rollback_core::model::Outcome::Promoted { release } = outcome {
                    self.stable = Some(release.clone());
                }
                self.enter(IDLE);
                self.info();
            }
            _ => {}
        }
    }

    fn step_done(&mut self, at: Timestamp, fresh: bool) {
        let Some(open) = &mut self.open else { return };
        if !open.in_weights {
            return;
        }
        if open.kind == Some(PlanKind::Rollback) {
            self.restored(at, fresh);
        } else {
            open.first_traffic.get_or_insert(at);
        }
    }

    fn decided(&mut self, at: Timestamp, cause: &Cause, fresh: bool) {
        let Some(open) = &mut self.open else { return };
        if open.decided.is_some() {
            return;
        }
        open.decided = Some(at);
        if fresh {
            let trigger = match cause {
                Cause::Trigger { trigger, .. } => &trigger.name,
                Cause::Command { .. } => "command",
                _ => "platform",
            };
            let after = at.since(open.first_traffic.unwrap_or(open.at));
            self.metrics
                .changed(&self.service, &Change::Detected { trigger, after });
        }
    }

    fn restored(&mut self, at: Timestamp, fresh: bool) {
        let Some(open) = &mut self.open else { return };
        if let Some(decided) = open.decided.take()
            && fresh
        {
            let after = at.since(decided);
            self.metrics
                .changed(&self.service, &Change::Restored { after });
        }
    }

    fn released(&mut self, at: Timestamp, fresh: bool) {
        let Some(open) = &mut self.open else { return };
        if let Some((since, before)) = open.held.take() {
            if fresh {
                let length = at.since(since);
                self.metrics
                    .changed(&self.service, &Change::Held { length });
            }
            self.enter(before);
        }
    }

    fn verdict(&mut self, at: Timestamp, trigger: &str, verdict: &Verdict) {
        let Some(open) = &mut self.open else { return };
        let word = verdict.word();
        let before = open.verdicts.get(trigger).copied();
        let since = match before {
            Some((same, since)) if same == word => since,
            _ => at,
        };
        open.verdicts.insert(trigger.to_owned(), (word, since));
        for (verdict, on) in [(before.map_or("", |(old, _)| old), false), (word, true)] {
            if !verdict.is_empty() {
                self.metrics.changed(
                    &self.service,
                    &Change::Verdict {
                        trigger,
                        verdict,
                        on,
                    },
                );
            }
        }
    }

    fn blind(&self, at: Timestamp) {
        let blind = |open: &Open| {
            let unknown =
                |(word, since): &(&str, Timestamp)| (*word == "unknown").then_some(*since);
            open.verdicts.values().filter_map(unknown).min()
        };
        let since = self.open.as_ref().and_then(|open| blind(open));
        let length = since.map(|since| at.since(since)).unwrap_or_default();
        self.metrics
            .changed(&self.service, &Change::Blind { length });
    }

    fn enter(&mut self, phase: &'static str) {
        if phase == self.phase {
            return;
        }
        for (word, on) in [(self.phase, false), (phase, true)] {
            if !word.is_empty() {
                self.metrics
                    .changed(&self.service, &Change::Phase { word, on });
            }
        }
        self.phase = phase;
    }

    fn info(&mut self) {
        let now = (
            self.stable
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            self.open
                .as_ref()
                .map(|open| open.candidate.clone())
                .unwrap_or_default(),
            self.policy.to_string(),
        );
        if self.told_info.as_ref() == Some(&now) {
            return;
        }
        let before = self.told_info.replace(now);
        for (told, on) in [(&before, false), (&self.told_info, true)] {
            if let Some((stable, candidate, policy)) = told {
                self.metrics.changed(
                    &self.service,
                    &Change::Info {
                        strategy: self.strategy,
                        stable,
                        candidate,
                        policy,
                        on,
                    },
                );
            }
        }
    }
}
