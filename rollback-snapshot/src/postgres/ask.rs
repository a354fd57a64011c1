//! Questions by `psql`: the answer is one JSON text a line.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout},
};

use serde::de::DeserializeOwned;

use super::settings::Postgres;
use crate::{
    job::Stop,
    tool::{collect, joined},
};

const ARGS: [&str; 8] = ["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-f"];
/// Printed behind an answer of a session.
const END: &str = "--rollback-end--";

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
pub(super) fn literal(text: &str) -> String {
    // Backslashes are plain characters in it, whatever the server's settings.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn args() -> Vec<&'static str> {
    ARGS.into_iter().chain(["-"]).collect()
}

/// Asks in a session of its own.
pub(super) fn ask<T: DeserializeOwned>(
    server: &Postgres,
    database: &str,
    sql: &str,
    go_on: &dyn Fn() -> Result<(), Stop>,
) -> Result<Vec<T>, Stop> {
    let mut call = server.call("psql", database, &args());
    call.input = format!("{sql}\n");
    let text = call.run(go_on)?;
    parsed(String::from_utf8_lossy(&text).lines())
}

/// Asks for exactly one row.
pub(super) fn ask_one<T: DeserializeOwned>(
    server: &Postgres,
    database: &str,
    sql: &str,
    go_on: &dyn Fn() -> Result<(), Stop>,
) -> Result<T, Stop> {
    let mut rows = ask(server, database, sql, go_on)?;
    match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => Ok(row),
        _ => Err(Stop::Failed(format!("no single answer to `{sql}`"))),
    }
}

fn parsed<'a, T: DeserializeOwned>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<T>, Stop> {
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| {
            serde_json::from_str(line).map_err(|error| {
                Stop::Failed(format!(
                    "psql gave an answer that is none ({error}): {line}"
                ))
            })
        })
        .collect()
}

/// A session that stays open: what it sees stays as it is.
pub(super) struct Session {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    words: Option<std::thread::JoinHandle<Vec<u8>>>,
    call: crate::tool::Call,
}

impl Session {
    pub(super) fn open(server: &Postgres, database: &str) -> Result<Self, Stop> {
        let call = server.call("psql", database, &args());
        let mut child = call.spawn()?;
        let words = collect(child.stderr.take(), 64 << 10);
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Self {
                child,
                to,
                from: BufReader::new(from).lines(),
                words,
                call,
            }),
            _ => Err(Stop::Failed("psql has no input and output".to_owned())),
        }
    }

    pub(super) fn ask<T: DeserializeOwned>(&mut self, sql: &str) -> Result<Vec<T>, Stop> {
        let sent = writeln!(self.to, "{sql}\n\\echo {END}").and_then(|()| self.to.flush());
        let mut lines = Vec::new();
        while sent.is_ok() {
            match self.from.next() {
                Some(Ok(line)) if line == END => {
                    return parsed(lines.iter().map(String::as_str));
                }
                Some(Ok(line)) => lines.push(line),
                Some(Err(_)) | None => break,
            }
        }
        // It ended in the middle: what it said is why.
        let _ = self.child.kill();
        let words = joined(self.words.take());
        Err(Stop::Failed(format!(
            "`psql` failed: {}",
            self.call.told(&words)
        )))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_end_where_they_end() {
        assert_eq!(quoted(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal(r"it's \ so"), r"E'it''s \\ so'");
    }
}
