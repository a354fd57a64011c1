//! Git as a source of releases: a release is a commit. History is never rewritten: going back is
//! going forward to an old commit, in a folder of its own.
//!
//! | asked for | done | never done |
//! |---|---|---|
//! | the commit behind a name | `rev-parse` | |
//! | a clean tree of a commit | `worktree add --detach` beside the repository | `checkout`, `reset`, `stash` |
//! | a rollback on record | a commit object and a new branch | a branch that is there already is not moved |
//! | others to see it | `push` of that one branch, if asked to | a forced push |
//!
//! The repository's branches, its `HEAD`, its index and the files that people work on stay as they
//! are. Its hooks are not run, except by a push. Submodules are not fetched.
//!
//! Rooms: `command` (one bounded call of `git`), `releases` (commits and worktrees), `branch` (the
//! rollback on record).

mod branch;
mod command;
mod releases;

pub use branch::{RollbackBranch, RollbackRecord};
pub use command::GitError;
pub use releases::{Commit, GitReleases};
