//! Images from source: a release that is a git commit.
//!
//! | asked for | done |
//! |---|---|
//! | exactly the commit | its tree comes out of git's objects (`git archive`): nothing of the working tree, its index or its untracked files gets in |
//! | the same release again | the image that was built of this commit by this recipe is taken, while the engine has it |
//! | never another image under the name | what is deployed is the image's id, read from the build's own answer |
//! | to find it again | labels `io.rollback.commit`, `io.rollback.recipe`; a tag, so that it is not pruned as nobody's |
//!
//! As in every `git archive`, files that the repository marks `export-ignore` are left out, and
//! submodules are empty folders. Base images that a Dockerfile names by a tag are those that the
//! engine has; none is pulled anew.
//!
//! Rooms: `git` (the commit and its tree), `source` (the build).

mod git;
mod source;

pub use source::{BuildError, Built, Source};
