//! Data that a rollback brings back: by which tasks, what that loses, and who accepted it.

use std::fmt::Write as _;

use super::state::{Active, State};
use crate::{
    entry::Fact,
    model::{Cause, HoldReason},
    policy::{Consent, TaskRule, TaskWhen},
};

impl State {
    /// The tasks that bring back the data from before this deployment, where that is called for and
    /// was not done yet: it declared a change that cannot be taken back, and that began.
    pub(super) fn restores<'a>(&self, active: &'a Active) -> Vec<&'a TaskRule> {
        // What was kept before this deployment is of no use if one before it, which is not through
        // either, had changed the data already.
        if active.is_irreversible().is_none() || self.scar.is_some() {
            return Vec::new();
        }
        let rules = active.policy.tasks.iter();
        rules
            .filter(|task| task.when == Some(TaskWhen::Restore))
            .filter(|task| !matches!(active.ended_tasks.get(&task.name), Some(Ok(()))))
            .collect()
    }

    /// What bringing the data back loses, in a sentence's part.
    pub(super) fn loss(&self, active: &Active) -> Option<String> {
        let mut text = String::new();
        for task in self.restores(active) {
            let lost = task.loss.as_ref().map_or("", |loss| &*loss.what);
            let and = if text.is_empty() { "" } else { ", and " };
            let _ = write!(text, "{and}task {} loses {lost}", task.name);
        }
        let since = active.opened_at;
        (!text.is_empty()).then(|| format!("{text} (the deployment began at {since})"))
    }
}

impl Active {
    /// Whether somebody accepted what these tasks lose.
    pub(super) fn accepts(&self, restores: &[&TaskRule]) -> bool {
        let mut losses = restores.iter().filter_map(|task| task.loss.as_ref());
        self.loss_accepted || losses.all(|loss| loss.consent == Consent::Given)
    }

    /// Notes consent: a person who had been told what would be lost said to go on.
    pub(super) fn note_consent(&mut self, fact: &Fact) {
        let Some(hold) = &self.hold else { return };
        let told = matches!(
            hold.reason,
            HoldReason::Irreversible { .. } | HoldReason::LosesData { .. }
        );
        let says = match fact {
            Fact::RollbackDecided { cause, .. } => matches!(cause, Cause::Command { .. }),
            Fact::Released { by, .. } => {
                by.is_some() && matches!(hold.reason, HoldReason::LosesData { .. })
            }
            _ => false,
        };
        self.loss_accepted |= told && says;
    }
}
