//! Automated rollback of deployments, embedded in your own program.
//!
//! You say *where metrics come from*, *what deploys*, *what must never be true* and *who is told*;
//! a [`Controller`] then watches each deployment, decides with evidence, rolls back, verifies, and
//! can prove afterwards why.
//!
//! ```no_run
//! use rollback::{Controller, model::{Outcome, Release, Settled}, policy::Policy, ports::*};
//! # use rollback::memory::MemoryJournal;
//! # async fn embed(policy: Policy, deployer: impl Deployer, metrics: impl MetricSource,
//! #     notifier: impl Notifier, release: Release) -> Result<(), Box<dyn std::error::Error>> {
//! let checkout = Controller::builder("checkout")
//!     .policy(policy)
//!     .deployer(deployer)
//!     .metrics(metrics)
//!     .notifier(notifier)
//!     .journal(MemoryJournal::new())
//!     .start().await?;
//!
//! match checkout.deploy(release).await?.settled().await? {
//!     Settled::Ended(Outcome::Promoted { .. }) => {}
//!     Settled::Ended(outcome) => {
//!         eprintln!("{outcome}");
//!         std::process::exit(outcome.exit_code().into())
//!     }
//!     Settled::Held(hold) => eprintln!("{hold}"), // waits for a person; the watch goes on
//! }
//! # Ok(()) }
//! ```
//!
//! # What holds
//!
//! - Every input and every decision is journaled before anything follows from it: the journal is
//!   recovery, replay and audit in one. If it cannot be written, nothing is done, and people are
//!   told by a notice that says that it is unjournaled.
//! - A controller may be killed at any moment. The next one with the same journal resolves what
//!   was under way by looking, not by doing it again.
//! - Two controllers never act for the same service: the journal's lease fences the older one.
//! - An adapter that hangs or panics is an answer, never a hang or a crash of the controller.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `yaml` (default) | policies in YAML, `Policy::from_yaml_file` |
//! | `schema` | the JSON Schema of policies, `policy::schema` |
//! | `sqlite` | journal and release store on SQLite |
//! | `docker` | Docker as a platform: containers, Swarm services, and what an engine knows of them |
//! | `haproxy` | HAProxy divides the traffic |
//! | `snapshot` | volumes and PostgreSQL databases kept and brought back, as tasks |
//! | `process` | this machine as a platform: supervised processes, a deploy script, git |
//! | `sources` | text-format scraping, HTTP health, JSON bodies |
//! | `prometheus-api` | the query API of Prometheus |
//! | `prometheus` | the controller's own metrics on your registry |
//!
//! # Rooms
//!
//! | room | holds |
//! |---|---|
//! | `builder`, `given` | putting a controller together |
//! | `controller` | the handles |
//! | `drive` | the loop: handle, append, perform, feed back, sleep |
//! | `waiters` | those who wait for a deployment |
//! | `recover` | taking a journal over; coming back after a failure |
//! | `perform` | effects, each once and within its time |
//! | `book` | what the driver itself remembers of the facts |
//! | `first_release` | what runs before anything is guarded |
//! | `fleet`, `appends`, `coalesce` | many services: permits, shared appends, shared reads |
//! | `members` | orders to every service of a fleet |
//! | `with_traffic` | a deployer and a traffic shifter as one |
//! | `event`, `explain`, `wording` | what people and programs are told |
//! | `metrics` | the controller's own |
//! | `release`, `policy_file`, `clock`, `caught`, `error` | one thing each |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod appends;
mod book;
mod builder;
mod caught;
mod clock;
mod coalesce;
mod controller;
mod deployment;
mod drive;
mod error;
mod event;
mod explain;
mod first_release;
mod fleet;
pub mod given;
mod members;
mod metrics;
mod perform;
#[cfg(feature = "yaml")]
mod policy_file;
mod recover;
mod release;
mod setup;
mod shared;
mod tasks;
mod waiters;
mod with_traffic;
mod wording;

pub use builder::ControllerBuilder;
pub use clock::{AnchoredClock, Clock};
pub use controller::{Controller, DeployOptions};
pub use deployment::Deployment;
pub use error::{CommandError, DeployError, ExplainError, StartError, Stopped};
pub use event::Event;
pub use explain::{Account, Evidence, Moment};
pub use first_release::{FirstReleaseError, start_first_release};
pub use fleet::{Fleet, FleetBuilder};
pub use members::Unreached;

pub use metrics::OwnMetrics;
#[cfg(feature = "yaml")]
pub use policy_file::{PolicyFile, PolicyFileError};
pub use release::ReleaseDraft;
pub use with_traffic::WithTraffic;

#[cfg(feature = "yaml")]
pub use rollback_core::dialect;
pub use rollback_core::{
    backtest, condition, engine, entry, inspect, ledger, memory, model, policy, ports,
};

#[cfg(feature = "docker")]
pub use rollback_docker as docker;
#[cfg(feature = "process")]
pub use rollback_process as process;
#[cfg(feature = "snapshot")]
pub use rollback_snapshot as snapshot;
#[cfg(feature = "sources")]
pub use rollback_sources as sources;
#[cfg(feature = "sqlite")]
pub use rollback_store as store;
#[cfg(feature = "haproxy")]
pub use rollback_traffic as traffic;

/// The README's program is compiled with every test run.
#[cfg(all(
    doctest,
    feature = "yaml",
    feature = "process",
    feature = "sources",
    feature = "sqlite"
))]
#[doc = include_str!("../../README.md")]
mod readme {}
