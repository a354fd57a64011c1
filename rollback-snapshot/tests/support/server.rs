//! A real PostgreSQL server, made for one test and thrown away.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "this is test code"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rollback_core::model::Secret;
use rollback_snapshot::{Postgres, SnapshotTask, Snapshots};

pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// Where Debian, Red Hat and the rest put them.
pub(crate) fn programs() -> PathBuf {
    let versions = (13..30).rev();
    let folders = versions.flat_map(|version| {
        [
            PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")),
            PathBuf::from(format!("/usr/pgsql-{version}/bin")),
        ]
    });
    folders
        .chain(["/usr/bin".into(), "/usr/local/bin".into()])
        .find(|folder| folder.join("initdb").exists())
        .expect("PostgreSQL's programs: initdb, postgres, psql, pg_dump, pg_restore")
}

/// A server that listens on a socket in its own folder.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("pg")
            .tempdir_in("/tmp")
            .unwrap();
        if rustix::process::geteuid().is_root() {
            let chown = Command::new("chown")
                .arg("postgres:")
                .arg(dir.path())
                .status();
            assert!(chown.unwrap().success());
        }
        let data = dir.path().join("data");
        let initdb = as_postgres("initdb")
            .args([
                "--auth=trust",
                "--username=postgres",
                "--no-sync",
                "--encoding=UTF8",
            ])
            .args(["--locale=C", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(initdb.unwrap().success());
        let rules = "local all postgres trust\nlocal all all scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        let child = as_postgres("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "shared_buffers=16MB",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, dir };
        while server.psql("postgres", "SELECT 1").is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        server.sql(
            "postgres",
            &format!(
                "CREATE ROLE deployer LOGIN CREATEDB PASSWORD '{PASSWORD}'; CREATE ROLE reader;
                 GRANT pg_signal_backend TO deployer;"
            ),
        );
        server.sql("postgres", "CREATE DATABASE shop OWNER deployer");
        server
    }

    pub(crate) fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(programs().join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-h",
            ])
            .arg(self.dir.path())
            .args(["-d", database, "-c", sql])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        self.psql(database, sql).unwrap()
    }

    pub(crate) fn databases(&self) -> Vec<String> {
        let sql = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY datname";
        let text = self.sql("postgres", sql);
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn work_dir(&self) -> PathBuf {
        let dir = self.dir.path().join("work");
        fs::create_dir_all(&dir).unwrap();
        dir
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = as_postgres("pg_ctl")
            .args(["stop", "-m", "immediate", "-D"])
            .arg(self.dir.path().join("data"))
            .stdout(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

/// PostgreSQL does not run as root.
fn as_postgres(program: &str) -> Command {
    let program = programs().join(program);
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

/// The tasks, as whoever may do no more than is needed.
pub(crate) fn tasks(socket: &Path) -> (SnapshotTask, SnapshotTask) {
    let snapshots = Snapshots::open(socket.join("work/snapshots")).unwrap();
    let database = Postgres::new("shop")
        .host(socket.to_string_lossy())
        .user("deployer")
        .password(Secret::new(PASSWORD.to_owned()))
        .programs(programs());
    (
        snapshots.snapshot_of(database.clone()),
        snapshots.restore_of(database),
    )
}

/// What a shop has: some of everything that a dump must bring back.
pub(crate) const SHOP: &str = r#"
CREATE TABLE orders (id serial PRIMARY KEY, price numeric NOT NULL CHECK (price > 0));
INSERT INTO orders (price) SELECT n FROM generate_series(1, 5000) n;
CREATE SCHEMA "odd Name";
CREATE TABLE "odd Name"."it's ""odd""" (x bytea);
INSERT INTO "odd Name"."it's ""odd""" VALUES ('\x00ff');
CREATE TABLE events (day date, what text) PARTITION BY RANGE (day);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO events VALUES ('2026-05-05', 'sold');
CREATE MATERIALIZED VIEW dear AS SELECT * FROM orders WHERE price > 4000;
GRANT SELECT ON orders TO reader;
"#;

/// What a release does that cannot be taken back.
pub(crate) const MIGRATION: &str = "ALTER TABLE orders DROP COLUMN price CASCADE; INSERT INTO orders SELECT FROM \
     generate_series(1, 7); DROP TABLE \"odd Name\".\"it's \"\"odd\"\"\"; CREATE TABLE extra ()";

pub(crate) fn set_up(server: &Server) {
    server.work_dir();
    server.sql("shop", &format!("SET ROLE deployer; {SHOP}"));
}

pub(crate) fn assert_is_old_shop(server: &Server) {
    let ask = |sql: &str| server.sql("shop", sql);
    assert_eq!(
        ask("SELECT count(*), sum(price) FROM orders"),
        "5000|12502500"
    );
    assert_eq!(
        ask("SELECT x FROM \"odd Name\".\"it's \"\"odd\"\"\""),
        r"\x00ff"
    );
    assert_eq!(ask("SELECT what FROM events_2026"), "sold");
    assert_eq!(ask("SELECT count(*) FROM dear"), "1000");
    assert_eq!(ask("SELECT to_regclass('extra') IS NULL"), "t");
    assert_eq!(
        ask("SELECT has_table_privilege('reader', 'orders', 'select')"),
        "t"
    );
    assert_eq!(ask("SELECT nextval('orders_id_seq')"), "5001");
}
