//! What should run: what a record on the engine says, and how a change moves it. Pure.

use std::collections::BTreeMap;

use rollback_core::model::{
    Change, ChangeError, ChangeId, ChangeRequest, Pace, Placement, ReleaseId, Wanted, Weight,
};
use serde::{Deserialize, Serialize};

use super::facts::Facts;

/// The form of a record; a newer one is not read.
pub(crate) const SCHEMA: u32 = 1;
/// How many releases that were wanted once are remembered in their order.
const REMEMBERED: usize = 50;

/// What should run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Desired {
    pub(crate) schema: u32,
    pub(crate) wanted: Wanted,
    pub(crate) last_change: Option<ChangeId>,
    /// Releases that stay until another one, that takes their place, is ready.
    #[serde(default)]
    pub(crate) replaced_by: BTreeMap<ReleaseId, ReleaseId>,
    /// How they make room for it; none: at once.
    #[serde(default)]
    pub(crate) pace: Option<Pace>,
    /// Containers that others made, by their ids: they cannot be labelled.
    #[serde(default)]
    pub(crate) adopted: BTreeMap<String, ReleaseId>,
    /// Releases in the order in which they were wanted last, the newest first.
    #[serde(default)]
    pub(crate) recent: Vec<ReleaseId>,
}

impl Desired {
    /// What a record says, with the running containers of the service that it does not know: those
    /// of somebody else's, and all of them if the records were removed.
    pub(crate) fn effective(recorded: Option<Self>, found: &[Facts]) -> Self {
        let known = recorded.is_some();
        let mut desired = recorded.unwrap_or_default();
        let mut running: Vec<&Facts> = found
            .iter()
            .filter(|one| one.is_up() && !desired.adopted.contains_key(&one.id))
            .filter(|one| !(known && one.ours))
            .collect();
        // What has run for longest serves.
        running.sort_by_key(|one| (one.started_at, one.index, one.id.clone()));
        for one in running {
            if !one.ours {
                desired.adopted.insert(one.id.clone(), one.release.clone());
            }
            if !desired.wanted.runs(&one.release) {
                let share = if desired.wanted.is_empty() {
                    Weight::ALL
                } else {
                    Weight::NONE
                };
                desired.wanted = desired.wanted.with(one.release.clone(), share);
            }
        }
        desired
    }

    /// The fence. Weights are not compared: dividing traffic is another system's.
    pub(crate) fn is_expected(&self, wanted: &Wanted) -> bool {
        let releases = |wanted: &Wanted| -> Vec<ReleaseId> {
            wanted.iter().map(|(release, _)| release.clone()).collect()
        };
        releases(&self.wanted) == releases(wanted)
    }

    /// What should run once the change is in.
    pub(crate) fn changed(mut self, request: &ChangeRequest) -> Result<Self, ChangeError> {
        let before = self.wanted.clone();
        self.wanted = request.change.applied_to(&before);
        match &request.change {
            Change::Converge { release, placement } => {
                self.replaced_by.remove(release);
                if let Placement::InPlace(pace) = placement {
                    if !matches!(pace, Pace::AtOnce | Pace::StopFirst | Pace::Rolling { .. }) {
                        return Err(ChangeError::unsupported(format!(
                            "containers cannot be replaced {pace}"
                        )));
                    }
                    self.pace = Some(*pace);
                    for (old, _) in before.iter().filter(|(old, _)| *old != release) {
                        self.replaced_by.insert(old.clone(), release.clone());
                    }
                    for new in self.replaced_by.values_mut() {
                        *new = release.clone();
                    }
                }
            }
            Change::Retire { release } if before.runs(release) && self.wanted.is_empty() => {
                let why = format!("{release} is all that serves; start another release first");
                return Err(ChangeError::refused(why));
            }
            Change::Retire { .. } => {}
            other => {
                let why = format!(
                    "containers cannot {other}; join the deployer with a traffic shifter (`WithTraffic`)"
                );
                return Err(ChangeError::unsupported(why));
            }
        }
        let wanted = &self.wanted;
        self.replaced_by.retain(|_, new| wanted.runs(new));
        self.last_change = Some(request.id.clone());
        self.remember();
        Ok(self)
    }

    /// Nothing is wanted.
    pub(crate) fn stopped(mut self) -> Self {
        self.wanted = Wanted::nothing();
        self.replaced_by.clear();
        self
    }

    fn remember(&mut self) {
        let wanted: Vec<ReleaseId> = self.wanted.iter().map(|(one, _)| one.clone()).collect();
        self.recent.retain(|one| !wanted.contains(one));
        self.recent.splice(0..0, wanted);
        self.recent.truncate(REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use rollback_core::model::{DeploymentId, Expectation, Timestamp};

    use super::*;

    fn release(name: &str) -> ReleaseId {
        ReleaseId::new(name).unwrap()
    }

    fn request(change: Change) -> ChangeRequest {
        let id = ChangeId {
            deployment: DeploymentId::new("d1").unwrap(),
            step: 1,
            attempt: 1,
        };
        let expect = Expectation {
            wanted: Wanted::nothing(),
            etag: None,
        };
        ChangeRequest::new(id, change, expect, Timestamp::from_millis(0))
    }

    fn facts(text: &str) -> Facts {
        Facts::sample(text)
    }

    #[test]
    fn without_a_record_what_runs_is_wanted() {
        let found = [
            facts("v2 running after 20"),
            facts("v1 running after 10"),
            facts("v0 exited after 5"),
        ];
        let derived = Desired::effective(None, &found);
        assert_eq!(derived.wanted.to_string(), "v1 at 100 % + v2 at 0 %");
        assert!(derived.adopted.is_empty());
        assert!(Desired::effective(None, &found[2..]).wanted.is_empty());
    }

    #[test]
    fn what_somebody_else_starts_is_seen_beside_what_is_recorded() {
        let recorded = Desired {
            wanted: Wanted::only(release("v1")),
            ..Desired::default()
        };
        let found = [
            facts("v1 running after 10"),
            facts("v9 running after 5 foreign"),
        ];
        let seen = Desired::effective(Some(recorded.clone()), &found);
        assert_eq!(seen.wanted.to_string(), "v1 at 100 % + v9 at 0 %");
        assert_eq!(seen.adopted.len(), 1);
        // An instance of ours that is not wanted is on its way out, and wanted by nobody.
        let ours = Desired::effective(Some(recorded.clone()), &[facts("v2 running after 20")]);
        assert_eq!(ours, recorded);
    }

    #[test]
    fn a_replacement_takes_over_what_was_to_be_replaced_before() {
        let start = |release_: &str, placement| {
            request(Change::Converge {
                release: release(release_),
                placement,
            })
        };
        let first = Desired::default();
        let first = first.changed(&start("v1", Placement::Beside)).unwrap();
        let at_once = Placement::InPlace(Pace::AtOnce);
        let second = first.changed(&start("v2", at_once)).unwrap();
        let third = second.changed(&start("v3", at_once)).unwrap();
        assert_eq!(third.wanted, Wanted::only(release("v3")));
        let new: Vec<&ReleaseId> = third.replaced_by.values().collect();
        assert_eq!(new, [&release("v3"), &release("v3")]);
        assert_eq!(third.recent, [release("v3"), release("v2"), release("v1")]);
        let back = third.changed(&start("v1", at_once)).unwrap();
        assert!(!back.replaced_by.contains_key(&release("v1")));
        let alone = back.changed(&request(Change::Retire {
            release: release("v1"),
        }));
        assert!(matches!(alone, Err(ChangeError::Refused { .. })));
    }
}
