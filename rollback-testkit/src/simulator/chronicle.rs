//! What the journal says, folded a second time and without the engine's code: the checks look at
//! this, never at the engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rollback_core::{
    entry::{Command, DelayState, Entry, Fact, Input, SentState, Standing, Step, TaskState, Would},
    model::{
        Action, Change, ChangeId, DeploymentId, Epoch, Expectation, Notice, NoticeKey, Observation,
        Order, Outcome, PolicyDigest, ReleaseId, Seq, Timestamp, Verdict,
    },
    policy::Policy,
};

use super::open::{Open, Stage};

#[derive(Debug, Default)]
pub(super) struct Chronicle {
    pub(super) policies: BTreeMap<PolicyDigest, Arc<Policy>>,
    pub(super) adopted: Option<PolicyDigest>,
    pub(super) ledger: Vec<(ReleaseId, Standing)>,
    pub(super) rollbacks: Vec<Timestamp>,
    pub(super) open: Option<Open>,
    /// A change of a superseded deployment that the next one has to resolve.
    carried: Option<ChangeId>,
    pub(super) ended: BTreeMap<DeploymentId, Outcome>,
    pub(super) last_ended: Option<DeploymentId>,
    pub(super) intents: BTreeMap<ChangeId, Intent>,
    /// The newest look at the platform that succeeded: when it was asked for, what it showed.
    pub(super) seen: Option<(Timestamp, Observation)>,
    pub(super) told: BTreeMap<Seq, u16>,
    pub(super) notices: BTreeMap<NoticeKey, Notice>,
    pub(super) delivered: BTreeSet<NoticeKey>,
    pub(super) last: Option<(Seq, Epoch, Timestamp)>,
    pub(super) frozen: Option<Order>,
    pub(super) killed: bool,
    pub(super) tasks: BTreeMap<ChangeId, TaskIntent>,
    /// People were told that these could not be stopped.
    pub(super) left_running: BTreeSet<ChangeId>,
    /// Something that cannot be taken back was ever deployed.
    pub(super) irreversible: bool,
}

#[derive(Debug)]
pub(super) struct Intent {
    pub(super) change: Change,
    pub(super) expect: Expectation,
    pub(super) not_after: Timestamp,
    pub(super) epoch: Epoch,
    pub(super) sent: u32,
    pub(super) over: bool,
}

/// A task that was to be started.
#[derive(Debug)]
pub(super) struct TaskIntent {
    pub(super) not_after: Timestamp,
    pub(super) epoch: Epoch,
    pub(super) started: u32,
}

impl Chronicle {
    pub(super) fn standing(&self, release: &ReleaseId) -> Standing {
        self.ledger
            .iter()
            .find(|(id, _)| id == release)
            .map_or(Standing::Unknown, |(_, standing)| *standing)
    }

    pub(super) fn proven(&self) -> impl Iterator<Item = &ReleaseId> {
        self.ledger
            .iter()
            .rev()
            .filter(|(_, standing)| *standing == Standing::Proven)
            .map(|(release, _)| release)
    }

    /// One word for how far the deployment is that is under way.
    pub(super) fn phase(&self) -> &'static str {
        let Some(open) = &self.open else {
            return "idle";
        };
        if open.hold.is_some() {
            return match open.stage {
                Stage::Rollback => "rollback:held",
                Stage::Preflight | Stage::Rollout => "rollout:held",
            };
        }
        let doubt = open.pending.is_some();
        let step = open.running();
        match (open.stage, step) {
            (Stage::Preflight, _) => "preflight",
            (Stage::Rollout, None) => "rollout:between",
            (Stage::Rollback, None) => "rollback:between",
            (Stage::Rollout, Some(step)) => match step {
                Step::Converge { .. } if doubt => "rollout:converging",
                Step::Converge { .. } => "rollout:converge",
                Step::Check { .. } => "rollout:check",
                Step::Weights { .. } if doubt => "rollout:shifting",
                Step::Weights { .. } => "rollout:weights",
                Step::Bake { .. } => "rollout:bake",
                Step::Retire { .. } => "rollout:retire",
                Step::Gate { .. } => "rollout:gate",
                Step::Task { .. } => "rollout:task",
                Step::Wait { .. } => "rollout:wait",
                _ => "rollout:other",
            },
            (Stage::Rollback, Some(step)) => match step {
                Step::Converge { .. } => "rollback:converge",
                Step::Weights { .. } if doubt => "rollback:shifting",
                Step::Weights { .. } => "rollback:weights",
                Step::Verify { .. } => "rollback:verify",
                Step::Retire { .. } => "rollback:retire",
                _ => "rollback:other",
            },
        }
    }

    /// Takes the input of an entry, before its facts.
    pub(super) fn take_input(&mut self, entry: &Entry) {
        self.last = Some((entry.seq, entry.epoch, entry.at));
        match &entry.input {
            Input::Started { .. } => {
                if let Some(open) = &mut self.open {
                    open.reads_since = entry.at;
                }
            }
            Input::PolicyOffered { digest, policy } => {
                self.policies.insert(digest.clone(), Arc::clone(policy));
            }
            Input::Observed {
                asked_at,
                result: Ok(seen),
            } if self.seen.as_ref().is_none_or(|(at, _)| at < asked_at) => {
                self.seen = Some((*asked_at, seen.clone()));
                if let Some(open) = &mut self.open {
                    open.look(entry.at, seen);
                }
            }
            Input::Readings { answers } => {
                if let Some(open) = &mut self.open {
                    for answer in answers {
                        if let Ok(reading) = &answer.result {
                            open.see(&answer.metric, &answer.scope, reading, entry.at);
                        }
                    }
                }
            }
            Input::Command { command, .. } => {
                if let Some(open) = &mut self.open
                    && !matches!(command, Command::Deploy(_))
                {
                    open.person_acts += 1;
                    open.loss_accepted |= open.loss_told
                        && matches!(command, Command::RollBack { .. } | Command::Resume);
                }
            }
            Input::Notified {
                key, result: Ok(_), ..
            } => {
                self.delivered.insert(key.clone());
            }
            _ => {}
        }
    }

    /// Takes a fact, after it was checked.
    pub(super) fn take_fact(&mut self, entry: &Entry, fact: &Fact) {
        let at = entry.at;
        match fact {
            Fact::PolicyAdopted { digest } => self.adopted = Some(digest.clone()),
            Fact::LedgerChanged {
                release, standing, ..
            } => {
                self.ledger.retain(|(id, _)| id != release);
                self.ledger.push((release.clone(), *standing));
            }
            Fact::DeploymentOpened {
                deployment,
                candidate,
                policy,
                adopted,
                irreversible,
                ..
            } => {
                self.irreversible |= irreversible.is_some();
                let Some(policy) = self.policies.get(policy) else {
                    return;
                };
                let mut open = Open::new(
                    deployment.clone(),
                    candidate.clone(),
                    Arc::clone(policy),
                    at,
                );
                open.pending = self.carried.take();
                open.adopted = *adopted;
                open.irreversible = irreversible.is_some();
                self.open = Some(open);
            }
            Fact::Ended {
                deployment,
                outcome,
            } => {
                self.ended.insert(deployment.clone(), outcome.clone());
                self.last_ended = Some(deployment.clone());
                let ended = self.open.take();
                self.carried = match outcome {
                    Outcome::Superseded { by: Some(_), .. } => ended.and_then(|open| open.pending),
                    _ => None,
                };
            }
            Fact::ChangeIntended {
                id,
                change,
                expect,
                not_after,
            } => {
                self.intents.insert(
                    id.clone(),
                    Intent {
                        change: change.clone(),
                        expect: expect.clone(),
                        not_after: *not_after,
                        epoch: entry.epoch,
                        sent: 0,
                        over: false,
                    },
                );
                if let Some(open) = &mut self.open {
                    open.pending = Some(id.clone());
                    open.changes += 1;
                }
            }
            Fact::ChangeMoved { id, to } => {
                let over = !matches!(to, SentState::InDoubt { .. });
                if let Some(intent) = self.intents.get_mut(id) {
                    intent.over = over;
                }
                if let Some(open) = &mut self.open {
                    if over && open.pending.as_ref() == Some(id) {
                        open.pending = None;
                    }
                    open.not_taken =
                        matches!(to, SentState::Refused { .. } | SentState::NotTaken { .. });
                }
            }
            Fact::TaskIntended { id, not_after, .. } => {
                self.tasks.insert(
                    id.clone(),
                    TaskIntent {
                        not_after: *not_after,
                        epoch: entry.epoch,
                        started: 0,
                    },
                );
            }
            Fact::TaskMoved {
                id,
                to: TaskState::LeftRunning { .. },
                ..
            } => {
                self.left_running.insert(id.clone());
            }
            Fact::Frozen { order } => self.frozen = Some(order.clone()),
            Fact::Unfrozen { .. } => self.frozen = None,
            Fact::Killed { .. } => self.killed = true,
            Fact::Revived { .. } => self.killed = false,
            Fact::RollbackDecided { .. } => {
                self.rollbacks.push(at);
                if let Some(open) = &mut self.open {
                    open.take(at, fact, &self.policies);
                }
            }
            _ => {
                if let Some(open) = &mut self.open {
                    open.take(at, fact, &self.policies);
                }
            }
        }
        if is_told(fact) {
            *self.told.entry(entry.seq).or_default() += 1;
        }
    }
}

/// Whether a fact is told to people.
pub(super) fn is_told(fact: &Fact) -> bool {
    match fact {
        Fact::DeploymentOpened { .. }
        | Fact::Refused { .. }
        | Fact::Held { .. }
        | Fact::Released { .. }
        | Fact::RollbackDecided { .. }
        | Fact::RollbackAttemptFailed { .. }
        | Fact::Frozen { .. }
        | Fact::Unfrozen { .. }
        | Fact::Killed { .. }
        | Fact::Revived { .. }
        | Fact::WouldHave { .. } => true,
        Fact::Ended {
            outcome: Outcome::Observed { would, .. },
            ..
        } => !matches!(**would, Would::RollBack { .. }),
        Fact::Ended { .. } => true,
        Fact::VerdictChanged {
            verdict,
            action,
            delayed,
            ..
        } => *verdict == Verdict::Fail && *action == Action::Notify && !delayed,
        Fact::DelayMoved { action, to, .. } => match to {
            DelayState::Over { .. } => *action == Action::Notify,
            _ => *action >= Action::Hold,
        },
        _ => false,
    }
}
