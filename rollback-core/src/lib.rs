//! The pure heart of the rollback library.
//!
//! Everything here is a function of its arguments: no clock, no randomness, no file, no socket, no
//! async runtime. A driver (the `rollback` crate) feeds an engine with inputs, journals the entry
//! that comes back, and only then runs the effects that the engine asks for.
//!
//! | room | holds |
//! |---|---|
//! | [`model`] | the words: ids, readings, verdicts, changes, outcomes |
//! | [`ports`] | the traits that adapters implement |
//! | [`condition`] | the condition language of policies |
//! | [`statistics`] | is the candidate worse, with a bounded rate of false rollbacks |
//! | [`memory`] | a journal and a release store that live as long as the process |
//! | [`triggers`] | the rules that a policy names, as evidence of one watch |
//! | [`entry`] | inputs, facts and effects; what the journal keeps |
//! | [`policy`] | what is watched, what must not be true, what follows |
//! | `dialect` | other systems' configurations as native policies (feature `yaml`) |
//! | [`inspect`] | what a policy file promises and leaves open, for people |
//! | [`ledger`] | the standing of each release |
//! | [`engine`] | from what happened to what follows |
//! | [`backtest`] | what another policy would have done |

pub mod backtest;
pub mod condition;
#[cfg(feature = "yaml")]
pub mod dialect;
pub mod engine;
pub mod entry;
pub mod inspect;
pub mod ledger;
pub mod memory;
pub mod model;
pub mod policy;
pub mod ports;
mod snippet;
pub mod statistics;
pub mod triggers;
