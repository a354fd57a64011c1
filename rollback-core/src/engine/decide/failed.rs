//! What the platform says against the candidate, and what it does not take.

use std::sync::Arc;

use crate::{
    engine::{
        Engine,
        state::{Active, RunningStep},
    },
    entry::Step,
    model::{
        ArmState, Cause, Explanation, Figure, HoldReason, Timestamp, TriggerId, duration_text,
    },
};

/// The rule that every deployment has: the platform says that the candidate failed, or a step is
/// stuck past its deadline.
const DEPLOYMENT_FAILED: &str = "deployment_failed";

impl Engine {
    /// The platform's evidence against the candidate, as numbers; or its words about a step that it
    /// did not take.
    pub(super) fn deployment_failed(&self, at: Timestamp, active: &Active) -> Option<Cause> {
        let name = &active.name;
        let explain = |rule: &str, pass: String, value: Figure, threshold: Figure, sentence| {
            let explanation = Explanation {
                rule: rule.to_owned(),
                queries: vec!["the platform's own word".to_owned()],
                would_pass: Some(pass),
                figures: vec![value],
                threshold: Some(threshold),
                sentence,
                ..Explanation::default()
            };
            let trigger = TriggerId::new(DEPLOYMENT_FAILED, 1);
            Some(Cause::Trigger {
                trigger,
                explanation,
            })
        };
        let crashes = active.crashes.count();
        if let Some(limit) = active.policy.crash_limit
            && crashes >= limit
        {
            return explain(
                "candidate instances that end by themselves",
                format!("fewer than {limit} crashes"),
                Figure::new("crashes", f64::from(crashes), ""),
                Figure::new("crash_limit", f64::from(limit), ""),
                format!("{name} crashed {crashes} times (limit {limit})"),
            );
        }
        if let Some(arm) = self
            .state
            .seen_since(active.opened_at)
            .and_then(|seen| seen.arm(&active.candidate))
            && let ArmState::Failing { why } = &arm.state
        {
            return explain(
                "the platform gives the candidate up",
                format!("{name} running"),
                Figure::new("failing", 1.0, ""),
                Figure::new("failing", 1.0, ""),
                format!("{name} cannot run: {why}"),
            );
        }
        let step = active.step.as_ref()?;
        let word = active.steps.get(active.index).map(Step::word)?;
        let guilty = !active.baked && word != "retire";
        let not_taken = |why| {
            let step = Arc::from(word);
            Some(Cause::NotTaken { step, why })
        };
        if let (Some(why), true) = (&step.refused, guilty) {
            return not_taken(Arc::clone(why));
        }
        let waits_for_platform = matches!(word, "converge" | "check" | "weights")
            || (matches!(word, "wait" | "bake") && step.good_since.is_none());
        if guilty
            && at >= step.deadline
            && waits_for_platform
            && self.sees_platform(at, active)
            && !is_out_of_sight(active)
            && (!active.is_stopped_by_a_person() || self.is_stuck(active, step))
        {
            let allowed = step.deadline.since(step.entered);
            if let Some(why) = &step.not_taken {
                let within = duration_text(allowed);
                return not_taken(format!("{why} (tried for {within})").into());
            }
            let allowed = allowed.as_secs_f64();
            let taken = at.since(step.entered).as_secs_f64();
            return explain(
                "a step must not take longer than its deadline",
                format!("{name} ready within {allowed} s"),
                Figure::new("taken", taken, "s"),
                Figure::new("deadline", allowed, "s"),
                format!("{name} was not ready: step `{word}` took longer than {allowed} s"),
            );
        }
        None
    }

    /// While a person keeps a step from going on, the candidate is only late if the platform is.
    fn is_stuck(&self, active: &Active, step: &RunningStep) -> bool {
        match active.steps.get(active.index).and_then(Step::change) {
            Some(change) => {
                let asked = change.applied_to(&active.expected) == active.expected;
                asked && !self.is_in(active, &change)
            }
            None => step.good_since.is_none(),
        }
    }
}

/// What could not be looked at is not late: when it can, the step begins anew.
fn is_out_of_sight(active: &Active) -> bool {
    let hold = active.hold.as_ref();
    hold.is_some_and(|hold| matches!(hold.reason, HoldReason::PlatformUnreachable { .. }))
}
