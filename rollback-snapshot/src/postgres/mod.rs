//! A PostgreSQL database: taken by `pg_dump`, brought back by `pg_restore` into a new database that
//! takes the old one's name when it was found whole.
//!
//! Rooms: `settings` (how it is reached), `ask` (one question by `psql`), `take`, `restore`,
//! `facts` (what is compared).

mod ask;
mod facts;
mod restore;
mod settings;
mod take;

pub use settings::Postgres;

use std::{path::Path, sync::Arc};

use serde_json::Value;

use crate::{
    job::{Stop, Worker},
    kept::Kept,
    task::{Data, sealed},
};

impl Data for Postgres {
    fn name(&self) -> String {
        format!("postgres-{}", self.database())
    }

    fn take(&self, worker: &Worker, to: &Path) -> Result<Value, Stop> {
        take::take(self, worker, to)
    }

    fn bring_back(&self, worker: &mut Worker, kept: &Kept) -> Result<(), Stop> {
        restore::bring_back(self, worker, kept)
    }

    fn give_up(&self, worker: &Worker) -> Result<(), Stop> {
        restore::give_up(self, worker)
    }

    fn loss(&self, kept: &Kept) -> Result<String, String> {
        facts::loss(self, kept).map_err(|stop| match stop {
            Stop::Failed(why) => why,
            Stop::Cancelled => "it was asked to stop".to_owned(),
        })
    }
}

#[allow(private_interfaces, reason = "a sealed trait")]
impl sealed::Restorable for Postgres {
    fn data(self) -> Arc<dyn Data> {
        Arc::new(self)
    }
}
