//! What a snapshot is known by, and what is found again: server, database, tables with their rows.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::{
    ask::{ask, ask_one},
    settings::Postgres,
};
use crate::{job::Stop, kept::Kept};

/// What stands in the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    #[serde(flatten)]
    pub(super) identity: Identity,
    /// What is written later than this is not in it.
    pub(super) lsn: Option<String>,
    /// Rows by table; of a partitioned one, by partition.
    pub(super) rows: BTreeMap<String, u64>,
    /// Entries in the dump's table of contents.
    pub(super) entries: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Of the data directory; the same on a standby.
    pub(super) system: String,
    pub(super) database: String,
    pub(super) version: u32,
    pub(super) owner: String,
    pub(super) encoding: String,
    pub(super) collate: String,
    pub(super) ctype: String,
    /// Its size on the server.
    pub(super) bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rows {
    table: String,
    rows: u64,
}

pub(super) const IDENTITY: &str = "
SELECT json_build_object(
    'system', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
    'database', datname,
    'version', current_setting('server_version_num')::int,
    'owner', pg_catalog.pg_get_userbyid(datdba),
    'encoding', pg_catalog.pg_encoding_to_char(encoding),
    'collate', datcollate,
    'ctype', datctype,
    'bytes', pg_catalog.pg_database_size(oid))
FROM pg_catalog.pg_database WHERE datname = current_database();";

/// A standby has no position of its own.
pub(super) const LSN: &str = "
SELECT to_json(CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
    ELSE pg_catalog.pg_current_wal_lsn()::text END);";

/// Counts the rows of each table that a dump holds: not those of extensions, of other sessions or of
/// the server itself.
pub(super) const ROWS: &str = r"
SELECT format('SELECT json_build_object(''table'', %L, ''rows'', count(*)) FROM ONLY %I.%I',
    n.nspname || '.' || c.relname, n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid
        AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
\gexec";

pub(super) fn by_table(rows: Vec<Rows>) -> BTreeMap<String, u64> {
    rows.into_iter().map(|row| (row.table, row.rows)).collect()
}

pub(super) fn about(kept: &Kept) -> Result<About, Stop> {
    serde_json::from_value(kept.manifest.about.clone()).map_err(|error| {
        Stop::Failed(format!(
            "the manifest in `{}` is not that of a database: {error}",
            kept.dir.display()
        ))
    })
}

/// Whether the snapshot may be brought back there.
pub(super) fn fits(kept: &Identity, now: &Identity) -> Result<(), String> {
    if kept.system != now.system {
        return Err(format!(
            "the snapshot is of a database of another server (system {}, here {}); nothing was \
             touched",
            kept.system, now.system
        ));
    }
    if kept.version / 10_000 > now.version / 10_000 {
        return Err(format!(
            "the snapshot was made on a newer server ({}, here {}); nothing was touched",
            kept.version, now.version
        ));
    }
    Ok(())
}

/// What differs between what was kept and what was found, in words.
pub(super) fn difference(
    kept: &BTreeMap<String, u64>,
    found: &BTreeMap<String, u64>,
) -> Option<String> {
    let mut words = Vec::new();
    for (table, rows) in kept {
        match found.get(table) {
            None => words.push(format!("table {table} is not there")),
            Some(now) if now != rows => words.push(format!("{table}: {rows} rows, now {now}")),
            Some(_) => {}
        }
    }
    for table in found.keys().filter(|table| !kept.contains_key(*table)) {
        words.push(format!("table {table} is new"));
    }
    let more = words.len().saturating_sub(8);
    words.truncate(8);
    let mut text = words.join(", ");
    if more > 0 {
        let _ = write!(text, ", and {more} more");
    }
    (!text.is_empty()).then_some(text)
}

/// What was written since the snapshot, as far as it can be said from outside.
pub(super) fn loss(server: &Postgres, kept: &Kept) -> Result<String, Stop> {
    let go_on = || Ok(());
    let was = about(kept)?;
    let now: Identity = ask_one(server, server.database(), IDENTITY, &go_on)?;
    fits(&was.identity, &now)?;
    let rows = by_table(ask(server, server.database(), ROWS, &go_on)?);
    let mut text = format!("what was written since {}", kept.manifest.taken_at);
    if let Some(lsn) = &was.lsn {
        let sql = format!(
            "SELECT to_json(CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE \
             pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), {})::bigint END);",
            super::ask::literal(lsn)
        );
        if let Some(bytes) = ask_one::<Option<i64>>(server, server.database(), &sql, &go_on)? {
            let _ = write!(text, "; the whole server has logged {bytes} bytes since");
        }
    }
    match difference(&was.rows, &rows) {
        Some(difference) => {
            let _ = write!(text, "; of this database: {difference}");
        }
        None => text.push_str("; no table has more or fewer rows than then"),
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> BTreeMap<String, u64> {
        let pairs = text.split_whitespace().filter_map(|pair| {
            let (table, count) = pair.split_once('=')?;
            Some((table.to_owned(), count.parse().ok()?))
        });
        pairs.collect()
    }

    #[test]
    fn every_difference_is_told() {
        for (kept, found, told) in [
            ("a=1 b=2", "a=1 b=2", None),
            ("a=1", "a=3", Some("a: 1 rows, now 3")),
            ("a=1 b=0", "a=1", Some("table b is not there")),
            ("", "c=0", Some("table c is new")),
        ] {
            assert_eq!(difference(&rows(kept), &rows(found)).as_deref(), told);
        }
        let many: String = (0..10).fold(String::new(), |text, n| text + &format!("t{n}=1 "));
        let told = difference(&rows(&many), &rows("")).unwrap_or_default();
        assert!(told.ends_with("and 2 more"), "{told}");
    }

    #[test]
    fn a_snapshot_goes_back_to_its_own_server_only() {
        let identity = |system: &str, version| Identity {
            system: system.to_owned(),
            database: "shop".to_owned(),
            version,
            owner: String::new(),
            encoding: String::new(),
            collate: String::new(),
            ctype: String::new(),
            bytes: 0,
        };
        assert_eq!(
            fits(&identity("1", 150_002), &identity("1", 150_001)),
            Ok(())
        );
        assert_eq!(
            fits(&identity("1", 150_002), &identity("1", 160_000)),
            Ok(())
        );
        assert!(fits(&identity("1", 160_000), &identity("1", 150_002)).is_err());
        assert!(fits(&identity("1", 150_002), &identity("2", 150_002)).is_err());
    }
}
