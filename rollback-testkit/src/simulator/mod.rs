//! The simulator: whole deployments against the pure engine, on a virtual clock, with everything
//! going wrong that can, and sixteen invariants after every step.
//!
//! One seed is one world: a policy, releases that are good or bad in some way, a platform of one
//! of the three tempers, people who pause, promote, abort, roll back and deploy, somebody else who
//! deploys as well, lost, late, doubled and reordered results, blind and lying metrics, crashes
//! before the append, after it, and after each effect, a second controller that takes over from a
//! sleeping one. Then everything heals and all must end; and a last deployment on the healed world
//! must end as its release deserves. The same seed always gives the same report.
//!
//! ```
//! let report = rollback_testkit::simulator::simulate(7);
//! assert!(report.violation.is_none(), "{report}");
//! ```

mod audit;
mod chronicle;
mod controller;
mod coverage;
mod effects;
mod invariants;
mod kinds;
mod last_trial;
mod metrics;
mod open;
mod people;
mod plans;
mod random;
mod report;
mod scenario;
mod sights;
mod story;
mod tasks;
mod world;

pub use coverage::Coverage;
pub use invariants::{Invariant, Violation};
pub use report::Report;

use rollback_core::engine::{Engine, EngineConfig};

/// Makes the engines of a simulation.
pub type MakeEngine<'a> = &'a (dyn Fn(EngineConfig) -> Engine + Sync);

/// Simulates the world of one seed with the engine as it is.
pub fn simulate(seed: u64) -> Report {
    simulate_with(seed, &Engine::new)
}

/// Simulates the world of one seed with engines of the caller's making.
pub fn simulate_with(seed: u64, make: MakeEngine<'_>) -> Report {
    story::tell(seed, make)
}
