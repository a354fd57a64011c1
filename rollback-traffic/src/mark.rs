//! What was decided about a backend's traffic, kept in HAProxy itself: a server that never serves.
//!
//! HAProxy has no place for notes that two writers could share safely: its maps need a file in the
//! configuration, and neither maps nor variables know compare-and-set. But two servers of a backend
//! never have the same number. So the note is a server in maintenance (`127.0.0.1:1`, weight 0),
//! whose *number* is the revision and whose *name* is the note: who adds the next number first
//! has won, and the other one is told `custom id … already used`.

use std::collections::BTreeMap;

use rollback_core::model::{ChangeId, Etag, ReleaseId, Weight};

use crate::name::{escaped, unescaped};

const MARK: &str = "rb-mark:";
/// The numbers of marks begin here, far from those that HAProxy gives by itself.
const FIRST_NUMBER: u32 = 1_500_000_000;

/// The note: how the traffic is to be divided, by which change, and the how-manieth note it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When the first note of this HAProxy process was made, in milliseconds: revisions of before
    /// a restart are not mistaken for those after it.
    pub(crate) born: u64,
    /// Raised by one with each division.
    pub(crate) revision: u32,
    /// The change that asked for it.
    pub(crate) change: Option<ChangeId>,
    /// The shares as they were asked for, none of them nothing.
    pub(crate) shares: BTreeMap<ReleaseId, Weight>,
}

impl Mark {
    /// The note that comes after this one.
    pub(crate) fn next(
        &self,
        change: Option<ChangeId>,
        shares: BTreeMap<ReleaseId, Weight>,
    ) -> Self {
        Self {
            born: self.born,
            revision: self.revision.saturating_add(1),
            change,
            shares,
        }
    }

    /// The mark of the state that this note describes.
    pub(crate) fn etag(&self) -> Option<Etag> {
        Etag::new(format!("{:x}.{}", self.born, self.revision)).ok()
    }

    /// The number that only one note can have.
    pub(crate) const fn number(&self) -> u32 {
        FIRST_NUMBER.saturating_add(self.revision)
    }

    pub(crate) fn name(&self) -> String {
        let change = self.change.as_ref().map(ToString::to_string);
        let change = escaped(change.as_deref().unwrap_or_default());
        let mut name = format!("{MARK}{:x}:{}:{change}", self.born, self.revision);
        for (release, share) in &self.shares {
            let release = escaped(release.as_str());
            name.push_str(&format!(":{}-{release}", share.basis_points()));
        }
        name
    }

    /// Whether a name is that of a note, readable or not.
    pub(crate) fn is_one(name: &str) -> bool {
        name.starts_with(MARK)
    }

    /// The note that a name is; none if it is no note, or one that we cannot read.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(MARK)?.split(':');
        let born = u64::from_str_radix(parts.next()?, 16).ok()?;
        let revision = parts.next()?.parse().ok()?;
        let change = unescaped(parts.next()?)?;
        let change = match change.as_str() {
            "" => None,
            text => Some(ChangeId::try_from(text.to_owned()).ok()?),
        };
        let mut shares = BTreeMap::new();
        for part in parts {
            let (points, release) = part.split_once('-')?;
            let share = Weight::from_basis_points(points.parse().ok()?).ok()?;
            shares.insert(ReleaseId::new(unescaped(release)?).ok()?, share);
        }
        Some(Self {
            born,
            revision,
            change,
            shares,
        })
    }
}

#[cfg(test)]
mod tests {
    use rollback_core::model::DeploymentId;

    use super::*;

    fn mark(change: Option<&str>, shares: &[(&str, u16)]) -> Mark {
        let share = |(release, points): &(&str, u16)| {
            let share = Weight::from_basis_points(*points).unwrap();
            (ReleaseId::new(release).unwrap(), share)
        };
        Mark {
            born: 0x019a,
            revision: 7,
            change: change.map(|deployment| ChangeId {
                deployment: DeploymentId::new(deployment).unwrap(),
                step: 3,
                attempt: 1,
            }),
            shares: shares.iter().map(share).collect(),
        }
    }

    #[test]
    fn a_note_survives_being_a_name() {
        for (note, name) in [
            (mark(None, &[]), "rb-mark:19a:7:"),
            (
                mark(Some("d17-19a"), &[("v1", 9_000), ("sha256:0-a", 1_000)]),
                "rb-mark:19a:7:d17-19a.s3.a1:1000-sha256_3a0-a:9000-v1",
            ),
            (
                mark(Some("a:b_c"), &[("x", 10_000)]),
                "rb-mark:19a:7:a_3ab_5fc.s3.a1:10000-x",
            ),
        ] {
            assert_eq!(note.name(), name);
            assert_eq!(Mark::of(name), Some(note));
        }
    }

    #[test]
    fn what_is_no_note_is_not_read() {
        for name in [
            "web1",
            "rb:v1:i1",
            "rb-mark:",
            "rb-mark:1:x:",
            "rb-mark:1:1:who",
            "rb-mark:1:1::10001-v1",
            "rb-mark:1:1::v1",
        ] {
            assert_eq!(Mark::of(name), None, "{name}");
        }
        assert!(Mark::is_one("rb-mark:1:1:who"));
    }

    #[test]
    fn each_note_has_a_number_and_an_etag_of_its_own() {
        let first = mark(None, &[]);
        let second = first.next(None, BTreeMap::new());
        assert_eq!(second.number(), first.number() + 1);
        assert_ne!(second.etag(), first.etag());
        let other_process = Mark {
            born: 1,
            ..first.clone()
        };
        assert_ne!(other_process.etag(), first.etag());
    }
}
