//! The snapshot: what is dumped and what is counted is the same state of the database.

use std::path::Path;

use serde_json::Value;

use super::{
    ask::Session,
    facts::{About, IDENTITY, Identity, LSN, ROWS, Rows, by_table},
    settings::Postgres,
};
use crate::{
    files::has_room,
    job::{Stop, Worker},
};

pub(super) fn take(server: &Postgres, worker: &Worker, to: &Path) -> Result<Value, Stop> {
    let go_on = || worker.go_on();
    let mut session = Session::open(server, server.database())?;
    let frozen: Vec<String> = session.ask(
        "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0;\n\
         BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n\
         SELECT to_json(pg_catalog.pg_export_snapshot());",
    )?;
    let lsn: Vec<Option<String>> = session.ask(LSN)?;
    let identity: Vec<Identity> = session.ask(IDENTITY)?;
    let (Some(frozen), Some(identity)) = (frozen.first(), identity.into_iter().next()) else {
        return Err(Stop::Failed(format!(
            "the database `{}` does not say what it is",
            server.database()
        )));
    };
    // A dump is compressed; that it could be as large as the database is the worst case.
    has_room(to, identity.bytes, "the dump")?;
    let rows: Vec<Rows> = session.ask(ROWS)?;
    worker.go_on()?;

    let data = to.join("data");
    let file = format!("--file={}", data.display());
    let state = format!("--snapshot={frozen}");
    let args = ["--format=custom", "--no-password", &file, &state];
    server
        .call("pg_dump", server.database(), &args)
        .run(&go_on)?;
    drop(session);

    // Reads it from its first byte to its last, as a restore would.
    let whole = data.display().to_string();
    let args = ["--file=/dev/null", &whole];
    server
        .call("pg_restore", server.database(), &args)
        .run(&go_on)?;
    let args = ["--list", &whole];
    let list = server
        .call("pg_restore", server.database(), &args)
        .run(&go_on)?;
    let list = String::from_utf8_lossy(&list).into_owned();
    let entries = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(';'))
        .count();
    let about = About {
        identity,
        lsn: lsn.into_iter().next().flatten(),
        rows: by_table(rows),
        entries,
    };
    serde_json::to_value(about).map_err(|error| Stop::Failed(error.to_string()))
}
