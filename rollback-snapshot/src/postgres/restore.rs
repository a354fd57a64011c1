//! The restore: into a new database beside, compared with the manifest, then the names are
//! exchanged in one transaction. The old database stays under another name.
//!
//! | died while | then |
//! |---|---|
//! | filling the new database | it is dropped and filled anew |
//! | it was found whole, before the exchange | the exchange is done |
//! | after the exchange | there is nothing left to do |
//!
//! A worker that is killed leaves programs behind that go on for a while. Each beginning therefore
//! fills a database of a name of its own, and what is made and dropped is so under one lock.
//!
//! From the moment when sessions are shut out until the exchange is done, a few milliseconds, nobody
//! can connect; what gives up in between lets them in again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ask::{ask, ask_one, literal, quoted},
    facts::{About, IDENTITY, Identity, ROWS, Rows, about, by_table, difference, fits, loss},
    settings::Postgres,
};
use crate::{
    files::hex,
    job::{Stop, Worker},
    kept::Kept,
};

/// Longest wait for sessions to end.
const SESSIONS_END: u32 = 100;
/// Longest name of a database, in bytes.
const LONGEST_NAME: usize = 63;

/// How far a restore is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// A new database is being filled.
    Filling,
    /// It was found whole; the names are to be exchanged.
    Exchanging { new: String },
}

/// The names beside the database's own.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    /// Of the new database until it takes the old one's place.
    new: String,
    /// Of those that earlier beginnings filled.
    earlier: Vec<String>,
    /// Of the old one from then on.
    old: String,
}

impl Names {
    /// The same for the same beginning of a job.
    fn of(database: &str, job: &str, beginning: u32) -> Self {
        use sha2::Digest as _;
        let digest = hex(&sha2::Sha256::digest(job));
        let tag = digest.get(..10).unwrap_or_default();
        let named = |word: &str| {
            let end = format!("_{word}_{tag}");
            let mut room = LONGEST_NAME.saturating_sub(end.len()).min(database.len());
            while !database.is_char_boundary(room) {
                room -= 1;
            }
            format!("{}{end}", database.get(..room).unwrap_or_default())
        };
        let new = |beginning| named(&format!("restored{beginning}"));
        Self {
            new: new(beginning),
            earlier: (1..beginning).map(new).collect(),
            old: named("before"),
        }
    }
}

pub(super) fn bring_back(server: &Postgres, worker: &mut Worker, kept: &Kept) -> Result<(), Stop> {
    let was = about(kept)?;
    let record = &worker.record;
    let mut names = Names::of(server.database(), &record.id.to_string(), record.beginnings);
    if is_exchanged(server, &names)? {
        return tidy(server, &names);
    }
    let found_whole = match worker.progress() {
        Some(Step::Exchanging { new }) if names.earlier.contains(&new) => {
            names.earlier.retain(|name| *name != new);
            names.new = new;
            databases(server, &names)?.contains(&names.new)
        }
        _ => false,
    };
    if !found_whole {
        worker.note(&Step::Filling)?;
        if let Err(stop) = fill(server, worker, kept, &was, &names) {
            // What is half filled has no use, and a name that nobody takes for whole.
            if let Err(Stop::Failed(why)) = drop_new(server, &names) {
                tracing::warn!(why, database = names.new, "what was half restored is left");
            }
            return Err(stop);
        }
        worker.note(&Step::Exchanging {
            new: names.new.clone(),
        })?;
    }
    if let Err(stop) = worker.go_on() {
        // An earlier worker may have died while nobody was let in.
        let_in(server, &names)?;
        return Err(stop);
    }
    match loss(server, kept) {
        Ok(lost) => tracing::warn!(
            database = server.database(),
            kept_as = names.old,
            lost,
            "a database is brought back"
        ),
        // Sessions may be shut out by an earlier worker.
        Err(stop) => tracing::warn!(?stop, kept_as = names.old, "a database is brought back"),
    }
    exchange(server, &names)?;
    tidy(server, &names)
}

/// After workers that died: everybody is let in again, if the names were not exchanged.
pub(super) fn give_up(server: &Postgres, worker: &Worker) -> Result<(), Stop> {
    let record = &worker.record;
    let id = record.id.to_string();
    // As if it had been begun once more, so that all that was filled is an earlier one's.
    let names = Names::of(server.database(), &id, record.beginnings + 1);
    if is_exchanged(server, &names)? {
        return tidy(server, &names);
    }
    let_in(server, &names)
}

fn is_exchanged(server: &Postgres, names: &Names) -> Result<bool, Stop> {
    let there = databases(server, names)?;
    Ok([server.database(), &names.old]
        .iter()
        .all(|name| there.iter().any(|known| known == name)))
}

/// Removes what earlier beginnings filled. What cannot be removed is no reason to fail.
fn tidy(server: &Postgres, names: &Names) -> Result<(), Stop> {
    if let Err(Stop::Failed(why)) = drop_all(server, names, &names.earlier) {
        tracing::warn!(why, "a database that was half restored is left");
    }
    Ok(())
}

/// Those of the three names that are databases now.
fn databases(server: &Postgres, names: &Names) -> Result<Vec<String>, Stop> {
    let sql = format!(
        "SELECT to_json(datname) FROM pg_catalog.pg_database WHERE datname IN ({}, {}, {});",
        literal(server.database()),
        literal(&names.new),
        literal(&names.old)
    );
    ask(server, server.maintenance(), &sql, &|| Ok(()))
}

fn drop_new(server: &Postgres, names: &Names) -> Result<(), Stop> {
    let all = names.earlier.iter().chain([&names.new]).cloned();
    drop_all(server, names, &all.collect::<Vec<_>>())
}

fn drop_all(server: &Postgres, names: &Names, which: &[String]) -> Result<(), Stop> {
    let drops = which
        .iter()
        .map(|name| format!("DROP DATABASE IF EXISTS {} WITH (FORCE);\n", quoted(name)));
    let sql: String = [lock(names)].into_iter().chain(drops).collect();
    ask::<()>(server, server.maintenance(), &sql, &|| Ok(())).map(drop)
}

/// One session after the other, until it ends: also after one of a worker that was killed.
fn lock(names: &Names) -> String {
    let key = literal(&names.old);
    format!(
        "SET client_min_messages = warning;\nSELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtext({key}));\n"
    )
}

/// Fills a new database and compares it with the manifest.
fn fill(
    server: &Postgres,
    worker: &Worker,
    kept: &Kept,
    was: &About,
    names: &Names,
) -> Result<(), Stop> {
    let go_on = || worker.go_on();
    let now: Identity = ask_one(server, server.database(), IDENTITY, &go_on)?;
    fits(&was.identity, &now)?;
    drop_new(server, names)?;
    let sql = format!(
        "{}CREATE DATABASE {} WITH TEMPLATE template0 OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {};\n{}",
        lock(names),
        quoted(&names.new),
        quoted(&now.owner),
        literal(&was.identity.encoding),
        literal(&was.identity.collate),
        literal(&was.identity.ctype),
        like(server.database(), &names.new),
    );
    ask::<()>(server, server.maintenance(), &sql, &go_on)?;
    let data = kept.data().display().to_string();
    let into = format!("--dbname={}", dbname(&names.new));
    let args = ["--exit-on-error", "--no-password", &into, &data];
    server.call("pg_restore", &names.new, &args).run(&go_on)?;
    let rows: Vec<Rows> = ask(server, &names.new, ROWS, &go_on)?;
    if let Some(difference) = difference(&was.rows, &by_table(rows)) {
        return Err(Stop::Failed(format!(
            "what was restored is not what was kept ({difference}); it is dropped, and the database \
             `{}` is as it was",
            server.database()
        )));
    }
    let sql = "ANALYZE;";
    // Only so that it is fast from the beginning.
    if let Err(Stop::Failed(why)) = ask::<()>(server, &names.new, sql, &go_on) {
        tracing::debug!(why, "a restored database was not analysed");
    }
    Ok(())
}

/// A name in a connection string.
fn dbname(name: &str) -> String {
    format!(
        "dbname='{}'",
        name.replace('\\', "\\\\").replace('\'', "\\'")
    )
}

/// Gives a database the settings and the rights that another one has; a dump holds neither.
fn like(model: &str, new: &str) -> String {
    let (model, new) = (literal(model), literal(new));
    format!(
        r"SELECT format('ALTER %s SET %I = %s',
    CASE WHEN s.setrole = 0 THEN format('DATABASE %I', {new})
        ELSE format('ROLE %I IN DATABASE %I', pg_catalog.pg_get_userbyid(s.setrole), {new}) END,
    split_part(e.entry, '=', 1),
    CASE WHEN split_part(e.entry, '=', 1) IN ('search_path', 'temp_tablespaces',
            'local_preload_libraries', 'session_preload_libraries')
        THEN coalesce(nullif(substr(e.entry, strpos(e.entry, '=') + 1), ''), '''''')
        ELSE quote_literal(substr(e.entry, strpos(e.entry, '=') + 1)) END)
FROM pg_catalog.pg_db_role_setting s
    JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase AND d.datname = {model},
    unnest(s.setconfig) AS e(entry)
\gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', {new})
FROM pg_catalog.pg_database WHERE datname = {model} AND datacl IS NOT NULL
\gexec
SELECT format('GRANT %s ON DATABASE %I TO %s%s', a.privilege_type, {new},
    CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_catalog.pg_database d, aclexplode(d.datacl) a WHERE d.datname = {model}
\gexec"
    )
}

/// Shuts everybody out, then exchanges the names in one transaction.
fn exchange(server: &Postgres, names: &Names) -> Result<(), Stop> {
    let run = |sql: &str| ask::<()>(server, server.maintenance(), sql, &|| Ok(())).map(drop);
    let swapped = allow(server, false).and_then(|()| {
        end_sessions(server, names)?;
        run(&format!(
            "BEGIN;\nALTER DATABASE {live} RENAME TO {old};\nALTER DATABASE {new} RENAME TO {live};\n\
             COMMIT;",
            live = quoted(server.database()),
            old = quoted(&names.old),
            new = quoted(&names.new),
        ))
    });
    match swapped {
        Ok(()) => Ok(()),
        Err(stop) => {
            // Whether the answer or the transaction was lost is seen by the names.
            if is_exchanged(server, names)? {
                return Ok(());
            }
            let_in(server, names)?;
            let Stop::Failed(why) = stop else {
                return Err(stop);
            };
            Err(Stop::Failed(format!(
                "{why}; the database `{}` is as it was",
                server.database()
            )))
        }
    }
}

fn allow(server: &Postgres, allowed: bool) -> Result<(), Stop> {
    let database = quoted(server.database());
    let sql = format!("ALTER DATABASE {database} WITH ALLOW_CONNECTIONS {allowed};");
    ask::<()>(server, server.maintenance(), &sql, &|| Ok(())).map(drop)
}

/// Gives the restore up: the database is as it was, and nothing is left beside it.
fn let_in(server: &Postgres, names: &Names) -> Result<(), Stop> {
    allow(server, true)?;
    drop_new(server, names)
}

/// Ends the sessions of both databases, and waits until they are gone.
fn end_sessions(server: &Postgres, names: &Names) -> Result<(), Stop> {
    let both = format!("({}, {})", literal(server.database()), literal(&names.new));
    let end = format!(
        "SELECT to_json(count(pg_catalog.pg_terminate_backend(pid))) \
         FROM pg_catalog.pg_stat_activity WHERE datname IN {both} AND pid <> pg_backend_pid();"
    );
    let mut left = 0;
    for _ in 0..SESSIONS_END {
        left = ask_one::<u64>(server, server.maintenance(), &end, &|| Ok(()))?;
        if left == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Stop::Failed(format!(
        "{left} sessions of `{}` do not end",
        server.database()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_jobs_own_and_fit() {
        let one = Names::of("shop", "d1.s1.a1", 1);
        assert_eq!(one, Names::of("shop", "d1.s1.a1", 1));
        assert_ne!(one, Names::of("shop", "d1.s1.a2", 1));
        let again = Names::of("shop", "d1.s1.a1", 2);
        assert_eq!(
            (&again.earlier, &again.old),
            (&vec![one.new.clone()], &one.old)
        );
        assert_ne!(again.new, one.new);
        assert!(one.new.starts_with("shop_restored1_"), "{}", one.new);
        assert!(one.old.starts_with("shop_before_"), "{}", one.old);
        let long = Names::of(&"ä".repeat(31), "d1.s1.a1", 1);
        assert!(
            long.new.len() <= LONGEST_NAME && long.new.len() > 60,
            "{}",
            long.new
        );
    }

    #[test]
    fn a_database_is_named_in_a_connection_string() {
        assert_eq!(dbname(r"it's \"), r"dbname='it\'s \\'");
    }
}
