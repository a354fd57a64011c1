//! Three in-memory platforms of different temper.
//!
//! Underneath is [`Model`]: pure and synchronous (state, `advance`, `apply`, `observe`), so that
//! the simulator needs no async runtime. [`InMemoryPlatform`] wraps it with a manual clock as a
//! `Deployer` and a `MetricSource`.
//!
//! [`InMemoryShifter`] is a traffic system beside a platform that knows no weights.
//!
//! | temper | like | compare-and-set | tags | a change shows | rolls back by itself |
//! |---|---|---|---|---|---|
//! | [`Temper::Strict`] | Swarm | yes | yes | at once | no |
//! | [`Temper::Eventual`] | ECS | no | no | after `settle` | no |
//! | [`Temper::SelfHealing`] | Swarm and ECS with automatic rollback | yes | yes | at once | yes |

mod behaviour;
mod deployer;
mod metrics;
mod model;
mod shifter;
mod traffic;

pub use behaviour::{Behaviour, RESTART_DELAY};
pub use deployer::InMemoryPlatform;
pub use model::{AppliedChange, Model, Temper};
pub use shifter::InMemoryShifter;
