//! What people ask for. A command is an edge: it is decided once, and either followed or refused.

use std::sync::Arc;

use crate::{
    engine::{
        Engine, VERSION,
        mutant::Mutant,
        plan,
        state::{Active, Stage},
    },
    entry::{Command, Deploy, Fact, LedgerReason, PlanKind, Standing, WayBack},
    model::{
        Actor, Cause, DeploymentId, HoldExit, HoldReason, Outcome, RefusedReason, ReleaseId,
        Timestamp,
    },
    policy::Mode,
    triggers,
};

impl Engine {
    pub(super) fn decide_command(
        &self,
        at: Timestamp,
        actor: &Actor,
        reason: &Arc<str>,
        command: &Command,
    ) -> Vec<Fact> {
        let refused = |release: Option<&ReleaseId>, reason| {
            vec![Fact::Refused {
                actor: actor.clone(),
                release: release.cloned(),
                reason,
            }]
        };
        let not_now = |why: &str| {
            refused(
                None,
                RefusedReason::NotNow {
                    why: Arc::from(why),
                },
            )
        };
        let active = self.state.active.as_ref();
        match (command, active) {
            (Command::Deploy(deploy), _) => match self.may_deploy(at, deploy, reason) {
                Ok(()) => self.opening(at, actor, reason, deploy, None),
                Err(reason) => refused(Some(&deploy.release), reason),
            },
            (Command::Freeze { until }, _) => match self.freeze(at, actor, reason, *until) {
                Ok(fact) => fact.into_iter().collect(),
                Err(reason) => refused(None, reason),
            },
            (Command::Unfreeze, _) => match self.frozen(at) {
                Some(_) => vec![Fact::Unfrozen {
                    by: Some(actor.clone()),
                }],
                None => not_now("it is not frozen"),
            },
            (Command::KillSwitch { on }, _) => self
                .kill_switch(at, actor, reason, *on)
                .into_iter()
                .collect(),
            (Command::RollBack { .. } | Command::Promote | Command::Pause, _)
                if self.observes() =>
            {
                refused(None, RefusedReason::Observing)
            }
            (Command::RollBack { .. } | Command::Promote, _) if self.state.killed.is_some() => {
                let killed = self.state.killed.clone();
                killed.map_or_else(Vec::new, |order| {
                    refused(None, RefusedReason::Killed { order })
                })
            }
            (Command::RollBack { to }, None) => match self.way_back(to.as_ref()) {
                Ok(serving) => {
                    let name = self.state.ledger.name(&serving);
                    let deploy = Deploy::new(serving.clone(), name);
                    let way_back = WayBack {
                        to: to.clone(),
                        reason: Arc::clone(reason),
                    };
                    self.opening(at, actor, reason, &deploy, Some(way_back))
                }
                Err(reason) => refused(to.as_ref(), reason),
            },
            (_, None) => not_now("nothing is being deployed"),
            (Command::Pause, Some(active)) => match &active.hold {
                Some(hold) => not_now(&format!("it is held already: {}", hold.reason)),
                None if active.stage == Stage::Preflight || active.rolls_back() => {
                    not_now("only a rollout can be paused; a rollback goes on")
                }
                None => vec![Fact::Held {
                    deployment: active.id.clone(),
                    reason: HoldReason::Paused { by: actor.clone() },
                    exits: vec![
                        HoldExit::Resume,
                        HoldExit::Promote,
                        HoldExit::RollBack,
                        HoldExit::Abort,
                    ],
                }],
            },
            (Command::Resume, Some(active)) => match &active.hold {
                None => not_now("it is not held"),
                Some(hold) if !hold.exits.contains(&HoldExit::Resume) => not_now(&format!(
                    "this hold does not end by resuming: {}",
                    hold.reason
                )),
                Some(hold) => {
                    let mut facts = Vec::new();
                    if let HoldReason::Quarantined { release } = &hold.reason {
                        facts.push(Fact::LedgerChanged {
                            release: release.clone(),
                            name: Arc::clone(&active.name),
                            standing: Standing::Unknown,
                            because: LedgerReason::OverriddenBy(actor.clone()),
                        });
                    }
                    facts.push(Fact::Released {
                        deployment: active.id.clone(),
                        exit: HoldExit::Resume,
                        by: Some(actor.clone()),
                    });
                    facts
                }
            },
            (Command::Promote, Some(active)) => {
                if active.stage != Stage::Planned(PlanKind::Rollout) {
                    return not_now("only a rollout can be promoted");
                }
                vec![
                    Fact::Promoted {
                        deployment: active.id.clone(),
                        by: actor.clone(),
                    },
                    Fact::PlanMade {
                        deployment: active.id.clone(),
                        kind: PlanKind::Rollout,
                        stable: active.stable.clone(),
                        steps: plan::promotion(&active.policy, &active.expected, &active.candidate),
                    },
                ]
            }
            (Command::Approve { gate }, Some(active)) => self.approve(active, actor, gate),
            (Command::Abort, Some(active)) => vec![Fact::Ended {
                deployment: active.id.clone(),
                outcome: match &active.rollback {
                    Some(rollback) => Outcome::RollbackFailed {
                        from: active.candidate.clone(),
                        cause: rollback.cause.clone(),
                        why: Arc::from(format!("given up by {actor}: {reason}")),
                    },
                    None => Outcome::Aborted {
                        by: actor.clone(),
                        reason: Arc::clone(reason),
                    },
                },
            }],
            (Command::RollBack { to }, Some(active)) => {
                match self.target_for(active, to.as_ref()) {
                    Ok(target) => vec![Fact::RollbackDecided {
                        deployment: active.id.clone(),
                        target,
                        attempt: active
                            .rollback
                            .as_ref()
                            .map_or(1, |rollback| rollback.attempt + 1),
                        cause: Cause::Command {
                            by: actor.clone(),
                            reason: Arc::clone(reason),
                        },
                    }],
                    Err(reason) => refused(to.as_ref(), reason),
                }
            }
            (Command::AdoptPolicy, Some(active)) => match &self.state.adopted {
                Some(digest) if active.stage != Stage::Preflight => match self.can_run() {
                    Ok(()) => vec![Fact::PolicySwitched {
                        deployment: active.id.clone(),
                        policy: digest.clone(),
                    }],
                    Err(reason) => refused(None, reason),
                },
                _ => not_now("the deployment has not begun; it takes the newest policy anyway"),
            },
        }
    }

    /// Whether what is under way, or would be, is only watched.
    fn observes(&self) -> bool {
        let policy = match &self.state.active {
            Some(active) => Some(&active.policy),
            None => self.state.policy(),
        };
        policy.is_some_and(|policy| policy.mode == Mode::Observe)
    }

    fn may_deploy(
        &self,
        at: Timestamp,
        deploy: &Deploy,
        reason: &Arc<str>,
    ) -> Result<(), RefusedReason> {
        let Deploy {
            release,
            override_rejection,
            expedite,
            ..
        } = deploy;
        self.can_run()?;
        let acts = self
            .state
            .policy()
            .is_some_and(|policy| policy.mode == Mode::Act);
        if let Some(order) = self.state.killed.as_ref().filter(|_| acts) {
            return Err(RefusedReason::Killed {
                order: order.clone(),
            });
        }
        if *expedite && reason.trim().is_empty() {
            return Err(RefusedReason::NoReason {
                what: Arc::from("expediting a deployment"),
            });
        }
        if let Some(order) = self.frozen(at).filter(|_| !expedite)
            && !self.mutant(Mutant::DeploysWhileFrozen)
        {
            return Err(RefusedReason::Frozen {
                order: order.clone(),
            });
        }
        if self.state.active.as_ref().is_some_and(Active::rolls_back) {
            return Err(RefusedReason::RollingBack);
        }
        if self
            .state
            .active
            .as_ref()
            .is_some_and(|active| active.candidate == *release)
        {
            return Err(RefusedReason::NotNow {
                why: Arc::from("this release is being deployed already"),
            });
        }
        if self.state.ledger.standing(release) == Standing::Rejected && !override_rejection {
            return Err(RefusedReason::Rejected {
                release: release.clone(),
            });
        }
        Ok(())
    }

    /// Whether every rule of the newest policy can be run here.
    fn can_run(&self) -> Result<(), RefusedReason> {
        let policy = self.state.policy().ok_or(RefusedReason::NoPolicy)?;
        match triggers::build(policy, &self.config.host_triggers) {
            Ok(_) => Ok(()),
            Err(why) => Err(RefusedReason::PreFlight {
                why: Arc::from(why.to_string()),
            }),
        }
    }

    /// The facts that open a deployment, ending the one that is under way.
    fn opening(
        &self,
        at: Timestamp,
        actor: &Actor,
        reason: &Arc<str>,
        deploy: &Deploy,
        way_back: Option<WayBack>,
    ) -> Vec<Fact> {
        let Deploy {
            release,
            name,
            override_rejection,
            expedite,
            irreversible,
            ..
        } = deploy;
        let deployment = DeploymentId::structural(self.seq.next(), at);
        let mut facts = Vec::new();
        let supersedes = self.state.active.as_ref().map(|active| active.id.clone());
        if let Some(old) = &supersedes
            && !self.mutant(Mutant::SupersedesSilently)
        {
            facts.push(Fact::Ended {
                deployment: old.clone(),
                outcome: Outcome::Superseded {
                    by: Some(deployment.clone()),
                    why: Arc::from(format!("{name} was deployed")),
                },
            });
        }
        if *override_rejection && self.state.ledger.standing(release) == Standing::Rejected {
            facts.push(Fact::LedgerChanged {
                release: release.clone(),
                name: Arc::clone(name),
                standing: Standing::Unknown,
                because: LedgerReason::OverriddenBy(actor.clone()),
            });
        }
        let (Some(policy), Some(rules)) = (&self.state.adopted, self.state.policy()) else {
            return facts;
        };
        let triggers = triggers::build(rules, &self.config.host_triggers)
            .unwrap_or_default()
            .into_iter()
            .map(|armed| armed.trigger.id())
            .collect();
        facts.push(Fact::DeploymentOpened {
            deployment,
            candidate: release.clone(),
            name: Arc::clone(name),
            actor: actor.clone(),
            policy: policy.clone(),
            triggers,
            engine: Arc::from(VERSION),
            supersedes,
            way_back,
            expedited: expedite.then(|| Arc::clone(reason)),
            irreversible: irreversible.clone().or_else(|| self.scar()),
            adopted: false,
        });
        facts
    }

    /// The release that a person leaves when nothing is being deployed.
    fn way_back(&self, to: Option<&ReleaseId>) -> Result<ReleaseId, RefusedReason> {
        if self.state.policy().is_none() {
            return Err(RefusedReason::NoPolicy);
        }
        let serving = self
            .state
            .ledger
            .stable()
            .ok_or(RefusedReason::NoProvenRelease)?;
        self.proven_target(serving, to)?;
        Ok(serving.clone())
    }

    fn target_for(
        &self,
        active: &Active,
        to: Option<&ReleaseId>,
    ) -> Result<ReleaseId, RefusedReason> {
        if active.stage == Stage::Preflight {
            return Err(RefusedReason::NotNow {
                why: Arc::from("nothing was changed yet; abort the deployment instead"),
            });
        }
        let waits = matches!(
            active.hold.as_ref().map(|hold| &hold.reason),
            Some(
                HoldReason::RollbackFailed { .. }
                    | HoldReason::StepFailed { .. }
                    | HoldReason::Contested { .. }
                    | HoldReason::Faulted { .. }
                    | HoldReason::PlatformUnreachable { .. }
                    | HoldReason::Blind { .. }
            )
        );
        if active.rolls_back() && !waits {
            return Err(RefusedReason::RollingBack);
        }
        match to {
            Some(_) => self.proven_target(&active.candidate, to),
            None => self
                .next_target(active)
                .cloned()
                .ok_or(RefusedReason::NoProvenRelease),
        }
    }

    /// The check that no command can skip: the target is proven and is not what is left.
    fn proven_target(
        &self,
        leaving: &ReleaseId,
        to: Option<&ReleaseId>,
    ) -> Result<ReleaseId, RefusedReason> {
        let Some(to) = to else {
            let ledger = &self.state.ledger;
            let others = || ledger.proven().filter(|release| *release != leaving);
            let reachable = others().find(|release| ledger.behind(release).is_none());
            return reachable.cloned().ok_or_else(|| match others().next() {
                Some(behind) => RefusedReason::NotNow {
                    why: Arc::from(format!(
                        "returning to {behind} cannot be taken back: {}; name it to return to it \
                         all the same",
                        ledger.behind(behind).map_or("", |why| why)
                    )),
                },
                None => RefusedReason::NoProvenRelease,
            });
        };
        if to == leaving {
            return Err(RefusedReason::NotNow {
                why: Arc::from(format!("{to} is the release that would be left")),
            });
        }
        match self.state.ledger.standing(to) {
            Standing::Proven => Ok(to.clone()),
            standing => Err(RefusedReason::NotNow {
                why: Arc::from(format!(
                    "{to} is {standing}, and only a proven release can be returned to"
                )),
            }),
        }
    }
}
