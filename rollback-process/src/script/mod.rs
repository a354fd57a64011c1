//! Commands of your own: a deploy script as a [`Deployer`](rollback_core::ports::Deployer), and a
//! command as a [`Task`](rollback_core::ports::Task).
//!
//! | of the contract of a deployer | here |
//! |---|---|
//! | release | a [`ScriptRelease`]: an artefact's name and variables; its id is a digest over it |
//! | instance | one for each release, at the address that its definition or `status` names |
//! | `wanted`, etag, tag | what `status` says; without it, what was asked and done, in the state directory |
//! | compare-and-set | only if the script compares the mark of its `status` itself |
//! | two arms, weights | only if it understands `update-traffic` |
//! | maybe sent | exit status 75; a script that was killed from outside |
//!
//! Rooms: `contract` (verbs, exit statuses), `release`, `run` (a process group that outlives its
//! controller), `state` (the folder) and `course` (how it moves, pure), `settings`, `ask` and
//! `status` (questions to the script), `observation`, `change` (what is asked), `tree`
//! (where, if releases are commits), `adoption` (what ran before), `deployer`, `task`.

mod adoption;
mod ask;
mod change;
mod contract;
mod course;
mod deployer;
mod observation;
mod release;
mod run;
mod settings;
mod state;
mod status;
mod task;
mod tree;

pub use deployer::{ScriptDeployer, ScriptError};
pub use release::ScriptRelease;
pub use task::ScriptTask;
