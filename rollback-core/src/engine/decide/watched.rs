//! Steps in which nothing is changed and somebody is watched: a wait, the bake, the verification of
//! a rollback.

use std::{sync::Arc, time::Duration};

use super::steps::done;
use crate::{
    engine::{
        Engine,
        mutant::Mutant,
        state::{Active, RunningStep},
    },
    entry::Fact,
    model::{HoldExit, HoldReason, Timestamp, Verdict},
    policy::OnInconclusive,
};

impl Engine {
    /// A wait is over when its time has passed and every required rule was able to see: what is
    /// given more traffic was looked at. On the way back it only gives time.
    pub(super) fn decide_wait(
        &self,
        at: Timestamp,
        active: &Active,
        running: &RunningStep,
        length: Duration,
    ) -> Option<Fact> {
        if at < running.entered.after(length) && !self.mutant(Mutant::WaitsForNothing) {
            return None;
        }
        if active.rollback.is_some() {
            return Some(done(active, running));
        }
        let seen = active.watch.as_ref().is_none_or(|watch| {
            let mut required = watch.rules.iter().filter(|rule| rule.required);
            required.all(|rule| {
                active.acknowledged.contains(&rule.id.name)
                    || matches!(rule.verdict, Verdict::Pass | Verdict::Inconclusive(_))
            })
        });
        if seen && running.good_since.is_some() {
            return Some(done(active, running));
        }
        self.without_end(at, active, running, "wait")
    }

    pub(super) fn decide_bake(
        &self,
        at: Timestamp,
        active: &Active,
        running: &RunningStep,
        length: Duration,
    ) -> Option<Fact> {
        if at < active.bakes_from(running)?.after(length) || self.mutant(Mutant::NeverPromotes) {
            return None;
        }
        if self.mutant(Mutant::BakesOnNothing) {
            return Some(done(active, running));
        }
        running.good_since?;
        let watch = active.watch.as_ref()?;
        let required: Vec<_> = watch
            .rules
            .iter()
            .filter(|rule| rule.required && !active.acknowledged.contains(&rule.id.name))
            .collect();
        let undecided = required
            .iter()
            .find(|rule| matches!(rule.verdict, Verdict::Inconclusive(_)));
        let others_pass = required
            .iter()
            .filter(|rule| !matches!(rule.verdict, Verdict::Inconclusive(_)))
            .all(|rule| rule.verdict == Verdict::Pass);
        let any_passes = required.iter().any(|rule| rule.verdict == Verdict::Pass);
        // A rule of one arm that cannot tell yet, such as one whose `for` is filling, soon can.
        let soon = required.iter().any(|rule| {
            matches!(rule.verdict, Verdict::Inconclusive(_))
                && !rule.two_arm
                && at < rule.since.after(active.policy.blindness.budget)
        });
        if !others_pass || soon {
            return self.without_end(at, active, running, "bake");
        }
        if let Some(rule) = undecided {
            let one_arm_passes = any_passes
                && required
                    .iter()
                    .all(|rule| rule.two_arm || rule.verdict == Verdict::Pass);
            if active.policy.on_inconclusive == OnInconclusive::Hold || !one_arm_passes {
                // In the rule's words of now: those that were journaled when it began to say so are old.
                let ((Verdict::Inconclusive(why), _) | (_, Verdict::Inconclusive(why))) =
                    (rule.judge(at), rule.verdict.clone())
                else {
                    return None;
                };
                return Some(Fact::Held {
                    deployment: active.id.clone(),
                    reason: HoldReason::Inconclusive {
                        trigger: rule.id.clone(),
                        why,
                    },
                    exits: vec![
                        HoldExit::DataReturns,
                        HoldExit::Resume,
                        HoldExit::Promote,
                        HoldExit::RollBack,
                        HoldExit::Abort,
                    ],
                });
            }
        }
        // A bake never passes on nothing, unless a person said which rules to leave out.
        if any_passes || (required.is_empty() && !active.acknowledged.is_empty()) {
            Some(done(active, running))
        } else {
            self.without_end(at, active, running, "bake")
        }
    }

    /// What is watched by rules that neither pass nor say why not goes to a person in the end.
    fn without_end(
        &self,
        at: Timestamp,
        active: &Active,
        running: &RunningStep,
        word: &str,
    ) -> Option<Fact> {
        (at >= running.deadline && self.sees_platform(at, active)).then(|| Fact::Held {
            deployment: active.id.clone(),
            reason: HoldReason::StepFailed {
                why: Arc::from(format!(
                    "the {word} came to no end: not every required trigger passed"
                )),
            },
            exits: vec![
                HoldExit::Resume,
                HoldExit::Promote,
                HoldExit::RollBack,
                HoldExit::Abort,
            ],
        })
    }

    pub(super) fn decide_verify(
        &self,
        at: Timestamp,
        active: &Active,
        running: &RunningStep,
        hold_for: Duration,
    ) -> Option<Fact> {
        if self.mutant(Mutant::VerifiesAtOnce) {
            return Some(done(active, running));
        }
        let watch = active.watch.as_ref()?;
        let good = running
            .good_since
            .zip(watch.good_since())
            .map(|(platform, rules)| platform.max(rules));
        if good.is_some_and(|since| at >= since.after(hold_for)) {
            return Some(done(active, running));
        }
        if at < running.deadline || !self.sees_platform(at, active) {
            return None;
        }
        let rollback = active.rollback.as_ref()?;
        let failed = |why: String| {
            Some(Fact::RollbackAttemptFailed {
                deployment: active.id.clone(),
                target: rollback.target.clone(),
                why: Arc::from(why),
            })
        };
        if let Some(rule) = watch
            .rules
            .iter()
            .find(|rule| rule.required && rule.verdict == Verdict::Fail)
        {
            return failed(format!(
                "{} is no better: {}",
                rollback.target,
                rule.explain(at).sentence
            ));
        }
        if let (Some(_), Some(rule)) = (
            running.good_since,
            watch.blind().min_by_key(|rule| rule.since),
        ) {
            return Some(Fact::Held {
                deployment: active.id.clone(),
                reason: HoldReason::Blind {
                    trigger: rule.id.clone(),
                    why: Arc::from(format!(
                        "the rollback is done, and cannot be verified: {}",
                        rule.verdict
                    )),
                },
                exits: vec![HoldExit::DataReturns, HoldExit::Resume, HoldExit::Abort],
            });
        }
        failed(format!(
            "{} was not good for {} without a break",
            rollback.target,
            crate::model::duration_text(hold_for)
        ))
    }
}
