//! Measurements of the rollback library. Each is a program that prints what was to be reached and
//! what was measured:
//!
//! ```text
//! cargo run --release -p rollback-benches --bin engine     # one engine, one reading at a time
//! cargo run --release -p rollback-benches --bin recovery   # a million entries, a fleet killed
//! cargo run --release -p rollback-benches --bin fleet      # ten thousand services
//! cargo run --release -p rollback-benches --bin alerts     # a thousand conditions, here and in Prometheus
//! cargo run --release -p rollback-benches --bin conditions # conditions, here and in CEL
//! ```
//!
//! Give them an idle machine and a local disk: the journal is in the temporary directory
//! (`TMPDIR`). What they print names the number of processors.
//!
//! | room | holds |
//! |---|---|
//! | [`stage`] | one engine in a healthy world, without a driver |
//! | [`platform`] | a platform and a metric source that cost nothing, for thousands of services |
//! | [`figures`] | the table that is printed |
//! | [`process`] | processor time and memory |
//! | [`prometheus`] | a real Prometheus that evaluates rules over series of this program |

pub mod figures;
pub mod platform;
pub mod process;
pub mod prometheus;
pub mod stage;
