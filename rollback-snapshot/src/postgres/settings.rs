//! How a database is reached. Passwords go through the environment of the programs, never through
//! their arguments.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rollback_core::model::Secret;

use crate::tool::Call;

/// A database of a PostgreSQL server, reached by the programs of PostgreSQL: `psql`, `pg_dump` and
/// `pg_restore`, which must be of the server's version or a newer one.
///
/// For a snapshot the user must be able to read everything. For a restore it must own the database
/// (or be a superuser), and be able to create databases and to end the sessions of others (be a
/// member of `pg_signal_backend`); where roles have settings of their own in the database, it must be
/// able to alter those roles. Where it may not, the restore fails and the database is as it was.
#[derive(Clone)]
pub struct Postgres {
    database: String,
    maintenance: String,
    programs: Option<PathBuf>,
    env: Vec<(String, String)>,
    secrets: Vec<(String, Secret<String>)>,
}

impl Postgres {
    /// A database by its name, on the server that the programs reach without being told more.
    #[must_use]
    pub fn new(database: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            maintenance: "postgres".to_owned(),
            programs: None,
            env: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// The server's host, or the folder of its socket.
    #[must_use]
    pub fn host(self, host: impl Into<String>) -> Self {
        self.env("PGHOST", host)
    }

    /// The server's port; 5432.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.env("PGPORT", port.to_string())
    }

    /// As whom.
    #[must_use]
    pub fn user(self, user: impl Into<String>) -> Self {
        self.env("PGUSER", user)
    }

    /// With this password.
    #[must_use]
    pub fn password(mut self, password: Secret<String>) -> Self {
        self.secrets.push(("PGPASSWORD".to_owned(), password));
        self
    }

    /// With the password that stands in this file, in PostgreSQL's own form.
    #[must_use]
    pub fn password_file(self, path: impl AsRef<Path>) -> Self {
        self.env("PGPASSFILE", path.as_ref().to_string_lossy())
    }

    /// Another variable for the programs, such as `PGSSLMODE`.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value));
        self
    }

    /// The folder of the programs; else they are looked up in `PATH`.
    #[must_use]
    pub fn programs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.programs = Some(folder.into());
        self
    }

    /// The database from which others are created and renamed; `postgres`.
    #[must_use]
    pub fn maintenance_database(mut self, name: impl Into<String>) -> Self {
        self.maintenance = name.into();
        self
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    pub(super) fn maintenance(&self) -> &str {
        &self.maintenance
    }

    /// A call of one of the programs, with this database.
    pub(super) fn call(&self, program: &str, database: &str, args: &[&str]) -> Call {
        let mut env = vec![
            ("LC_ALL".to_owned(), "C".to_owned()),
            ("PGAPPNAME".to_owned(), "rollback-snapshot".to_owned()),
            ("PGCONNECT_TIMEOUT".to_owned(), "10".to_owned()),
        ];
        for inherited in ["PATH", "HOME"] {
            if let Ok(value) = std::env::var(inherited) {
                env.push((inherited.to_owned(), value));
            }
        }
        env.extend(self.env.iter().cloned());
        env.push(("PGDATABASE".to_owned(), database.to_owned()));
        Call {
            program: match &self.programs {
                Some(folder) => folder.join(program),
                None => program.into(),
            },
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env,
            secrets: self.secrets.clone(),
            input: String::new(),
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
