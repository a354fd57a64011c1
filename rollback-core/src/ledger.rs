//! The ledger: the standing of each release of a service.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    entry::Standing,
    model::{ReleaseId, Timestamp},
};

/// One release's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which release.
    pub release: ReleaseId,
    /// What people call it.
    pub name: Arc<str>,
    /// Its standing.
    pub standing: Standing,
    /// Since when.
    pub since: Timestamp,
    /// What would be lost by returning to it, if a newer release did what cannot be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Arc<str>>,
}

/// Every release that was ever judged, in the order of their last change of standing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    records: Vec<Record>,
}

impl Ledger {
    pub(crate) fn set(
        &mut self,
        at: Timestamp,
        release: &ReleaseId,
        name: &Arc<str>,
        standing: Standing,
    ) {
        self.records.retain(|record| record.release != *release);
        self.records.push(Record {
            release: release.clone(),
            name: Arc::clone(name),
            standing,
            since: at,
            behind: None,
        });
    }

    /// A release that cannot be taken back is proven: whatever is older is behind it.
    pub(crate) fn seal(&mut self, newest: &ReleaseId, why: &Arc<str>) {
        for record in &mut self.records {
            if record.release != *newest {
                record.behind.get_or_insert_with(|| Arc::clone(why));
            }
        }
    }

    /// What would be lost by returning to a release.
    #[must_use]
    pub fn behind(&self, release: &ReleaseId) -> Option<&Arc<str>> {
        self.record(release)?.behind.as_ref()
    }

    /// The standing of a release.
    #[must_use]
    pub fn standing(&self, release: &ReleaseId) -> Standing {
        self.record(release)
            .map_or(Standing::Unknown, |record| record.standing)
    }

    /// What people call a release; its id if nobody said.
    #[must_use]
    pub fn name<'a>(&'a self, release: &'a ReleaseId) -> &'a str {
        self.record(release)
            .map_or(release.as_str(), |record| &record.name)
    }

    /// The proven releases, newest first.
    pub fn proven(&self) -> impl Iterator<Item = &ReleaseId> {
        self.records
            .iter()
            .rev()
            .filter(|record| record.standing == Standing::Proven)
            .map(|record| &record.release)
    }

    /// The newest proven release.
    #[must_use]
    pub fn stable(&self) -> Option<&ReleaseId> {
        self.proven().next()
    }

    /// All records, the last changed one last.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    fn record(&self, release: &ReleaseId) -> Option<&Record> {
        self.records
            .iter()
            .find(|record| record.release == *release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_proven_release_is_stable_and_a_rejected_one_never_is() {
        let mut ledger = Ledger::default();
        let id = |text: &str| ReleaseId::new(text).unwrap();
        let mut set = |text: &str, standing| {
            ledger.set(Timestamp::default(), &id(text), &Arc::from(text), standing);
        };
        set("v1", Standing::Proven);
        set("v2", Standing::Proven);
        set("v3", Standing::Rejected);
        assert_eq!(ledger.stable(), Some(&id("v2")));
        ledger.set(
            Timestamp::default(),
            &id("v2"),
            &Arc::from("v2"),
            Standing::Rejected,
        );
        assert_eq!(ledger.stable(), Some(&id("v1")));
        assert_eq!(ledger.standing(&id("v9")), Standing::Unknown);
    }
}
