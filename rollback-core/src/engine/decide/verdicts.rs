//! What the rules say, journaled when its kind changes.

use crate::{
    engine::{Engine, apply::matters, state::Active},
    entry::Fact,
    model::Timestamp,
};

impl Engine {
    pub(super) fn decide_verdict(&self, at: Timestamp, active: &Active) -> Option<Fact> {
        let watch = active.watch.as_ref()?;
        for rule in &watch.rules {
            let verdict = rule.judge(at);
            if verdict.word() != rule.verdict.word() {
                let explanation = matters(&verdict).then(|| Box::new(rule.explain(at)));
                return Some(Fact::VerdictChanged {
                    deployment: active.id.clone(),
                    trigger: rule.id.clone(),
                    verdict,
                    action: rule.action,
                    explanation,
                });
            }
        }
        None
    }
}
