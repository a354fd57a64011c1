//! Forgetting old releases: their definitions, and with them their images.

use std::collections::BTreeSet;

use rollback_core::model::{ChangeError, ReleaseId};

use super::{
    change::not_looked,
    look::{Shared, locked, look},
    record::{before_the_change, discard},
};

/// Which old releases stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Keep {
    /// So many releases that do not run any more, those that were wanted last.
    pub releases: usize,
    /// Releases that stay whatever their age: those that a rollback may go to.
    pub protected: BTreeSet<ReleaseId>,
    /// Images of releases that go are removed as well, if nothing else uses them.
    pub remove_images: bool,
}

impl Keep {
    /// Keeps the last `count` that do not run any more; no image is removed.
    #[must_use]
    pub fn last(count: usize) -> Self {
        Self {
            releases: count,
            ..Self::default()
        }
    }

    /// Keeps these as well, such as every release that the ledger calls proven.
    #[must_use]
    pub fn protect(mut self, releases: impl IntoIterator<Item = ReleaseId>) -> Self {
        self.protected.extend(releases);
        self
    }

    /// Removes the images of what goes.
    #[must_use]
    pub const fn remove_images(mut self) -> Self {
        self.remove_images = true;
        self
    }
}

/// What went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// Releases that can be run again only with their definition.
    pub releases: Vec<ReleaseId>,
    /// Images that were removed, by their ids.
    pub images: Vec<String>,
}

/// Forgets what `keep` does not name.
pub(crate) async fn prune(shared: &Shared, keep: &Keep) -> Result<Pruned, ChangeError> {
    let sight = look(shared).await.map_err(not_looked)?;
    let desired = &sight.desired;
    let used = |release: &ReleaseId| {
        desired.wanted.runs(release) || sight.facts.iter().any(|one| one.release == *release)
    };
    let going = going(&sight.kept, &desired.recent, keep, used);
    let mut pruned = Pruned::default();
    for release in going {
        let Some((id, _)) = sight.kept.get(&release) else {
            continue;
        };
        discard(shared, id).await.map_err(before_the_change)?;
        let known = locked(&shared.definitions).remove(&release);
        if let Some(definition) = known.filter(|_| keep.remove_images) {
            // The engine refuses while a container uses it or it has several names.
            let path = format!("/images/{}", definition.image);
            if shared.engine.delete(&path, &[]).await.is_ok() {
                pruned.images.push(definition.image.clone());
            }
        }
        pruned.releases.push(release);
    }
    Ok(pruned)
}

/// The releases that go, the oldest first.
fn going(
    kept: &std::collections::BTreeMap<ReleaseId, (String, i64)>,
    recent: &[ReleaseId],
    keep: &Keep,
    used: impl Fn(&ReleaseId) -> bool,
) -> Vec<ReleaseId> {
    let age = |release: &ReleaseId| recent.iter().position(|one| one == release);
    let mut old: Vec<(usize, i64, &ReleaseId)> = kept
        .iter()
        .filter(|(release, _)| !used(release) && !keep.protected.contains(*release))
        .map(|(release, (_, created))| (age(release).unwrap_or(usize::MAX), -created, release))
        .collect();
    // Wanted last, then made last.
    old.sort();
    let mut going: Vec<ReleaseId> = old
        .into_iter()
        .skip(keep.releases)
        .map(|(.., release)| release.clone())
        .collect();
    going.reverse();
    going
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wanted_last_is_kept_and_what_is_protected() {
        let release = |name: &str| ReleaseId::new(name).unwrap();
        let all = ["v1", "v2", "v3", "v4", "never"];
        let kept = all
            .iter()
            .zip(1..)
            .map(|(name, n)| (release(name), ((*name).to_owned(), n)));
        let kept = kept.collect();
        let recent = ["v4", "v1", "v3", "v2"].map(release);
        let names = |keep: &Keep| -> Vec<String> {
            let going = going(&kept, &recent, keep, |one| one.as_str() == "v4");
            going.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&Keep::last(0)), ["never", "v2", "v3", "v1"]);
        assert_eq!(names(&Keep::last(2)), ["never", "v2"]);
        assert_eq!(
            names(&Keep::last(1).protect([release("v2")])),
            ["never", "v3"]
        );
        assert!(names(&Keep::last(9)).is_empty());
    }
}
