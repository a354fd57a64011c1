//! Where a script runs when its releases are commits.

use std::path::PathBuf;

use rollback_core::model::{Change, ChangeError, ChangeRequest, ServiceId};

use super::{release::ScriptRelease, state::ScriptDir};
use crate::git::{GitError, GitReleases};

/// The clean tree of the release that is to be deployed; none if the change deploys none.
pub(super) async fn tree(
    git: &GitReleases,
    dir: &ScriptDir,
    service: &ServiceId,
    request: &ChangeRequest,
) -> Result<Option<PathBuf>, ChangeError> {
    let Change::Converge { release, .. } = &request.change else {
        return Ok(None);
    };
    let known = match &request.definition {
        Some(given) => Some(given.clone()),
        None => dir.definition(release)?,
    };
    let Some(definition) = known else {
        return Ok(None);
    };
    let definition = ScriptRelease::from_definition(&definition).map_err(ChangeError::refused)?;
    let tree = git.worktree(service, commit(&definition)?).await;
    tree.map(Some).map_err(no_tree)
}

/// Whether the release is a commit that is there.
pub(super) async fn tree_can_be_made(
    git: &GitReleases,
    definition: &ScriptRelease,
) -> Result<(), ChangeError> {
    let found = git.resolve(commit(definition)?).await;
    found.map(drop).map_err(no_tree)
}

fn commit(definition: &ScriptRelease) -> Result<&str, ChangeError> {
    definition.commit.as_deref().ok_or_else(|| {
        let why = "the release names no commit, and releases are deployed from git; make it with `GitReleases::definition`";
        ChangeError::refused(why)
    })
}

/// A commit that is not there is refused; what git could not do now may go another time.
fn no_tree(error: GitError) -> ChangeError {
    match error {
        GitError::NoSuchCommit { .. } => ChangeError::refused(error),
        other => ChangeError::not_sent(other),
    }
}
