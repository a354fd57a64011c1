//! What containers left behind: their last lines, how they ended, what their health check said.
//!
//! Rooms: `stream` (the engine's log as bytes of the program), `plain` (bytes as lines for
//! people), `secrets` (what must not be shown), `end` (how a container ended, in a sentence).

mod end;
mod plain;
mod secrets;
mod stream;

use rollback_core::model::Secret;
use serde_json::{Value, json};

use self::{end::facts, plain::Plain, secrets::Secrets};
use crate::{Engine, EngineError};

/// The last lines of containers, oldest first, and how each of them ended: exit code, want of
/// memory, the engine's own words if it could not be started, the health check that fails and what
/// it printed. At most `lines` in all; of several containers each line begins with its name.
///
/// Nothing that a person must not see is in them: control characters are taken out, long lines
/// cut, and these values replaced: `secrets`; of the container's environment those whose name or
/// form says that they are secret (`DB_PASSWORD`, `API_TOKEN`, passwords within URLs, long random
/// texts), which are shown as `${NAME}`. What a program prints of secrets that it read from files
/// is not known here: give such values as `secrets`.
///
/// A container that is gone has no last words; one whose log cannot be read says so.
pub async fn last_words(
    engine: &Engine,
    containers: &[String],
    lines: usize,
    secrets: &[Secret<String>],
) -> Vec<String> {
    let mut left = Vec::new();
    for container in containers {
        left.extend(words_of(engine, container, lines, secrets).await);
    }
    together(left, lines)
}

/// What one container left.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    name: String,
    log: Vec<String>,
    /// How it ended; kept before any line of the log.
    facts: Vec<String>,
}

async fn words_of(
    engine: &Engine,
    container: &str,
    lines: usize,
    secrets: &[Secret<String>],
) -> Option<Left> {
    if !crate::metrics::is_a_name(container) {
        return None;
    }
    let path = format!("/containers/{container}/json");
    let inspected = match engine.get(&path, &[]).await {
        Ok(inspected) => inspected,
        Err(error) if error.is_not_found() => return None,
        Err(error) => {
            return Some(Left {
                name: container.to_owned(),
                log: Vec::new(),
                facts: vec![format!("nothing is known of its end: {error}")],
            });
        }
    };
    let plain = Plain::new(Secrets::of(&inspected, secrets));
    let mut facts: Vec<String> = facts(&inspected)
        .iter()
        .map(|fact| plain.line(fact))
        .collect();
    let path = format!("/containers/{container}/logs");
    let log = match log(engine, &path, lines, &inspected).await {
        Ok(bytes) => plain.lines(&bytes, lines),
        Err(error) => {
            facts.insert(0, plain.line(&format!("its log cannot be read: {error}")));
            Vec::new()
        }
    };
    let name = inspected.pointer("/Name").and_then(Value::as_str);
    Some(Left {
        name: name
            .map_or(container, |name| name.trim_start_matches('/'))
            .to_owned(),
        log,
        facts,
    })
}

/// The last lines of a task of a swarm, from whichever node; of its container's specification the
/// environment says what must not be shown.
pub(crate) async fn of_task(
    engine: &Engine,
    task: &str,
    specification: &Value,
    lines: usize,
) -> Vec<String> {
    let of = |key: &str| specification.get(key).cloned().unwrap_or_default();
    let inspected = json!({"Config": {"Env": of("Env"), "Tty": of("TTY")}});
    let path = format!("/tasks/{task}/logs");
    match log(engine, &path, lines, &inspected).await {
        Ok(bytes) => Plain::new(Secrets::of(&inspected, &[])).lines(&bytes, lines),
        Err(_) => Vec::new(),
    }
}

/// The end of what was written to both outputs.
async fn log(
    engine: &Engine,
    path: &str,
    lines: usize,
    inspected: &Value,
) -> Result<Vec<u8>, EngineError> {
    let tail = lines.to_string();
    let query = [("stdout", "true"), ("stderr", "true"), ("tail", &tail)];
    let bytes = engine.get_bytes(path, &query).await?;
    // A terminal has one output, and the engine tells it as it is.
    let terminal = inspected.pointer("/Config/Tty").and_then(Value::as_bool);
    Ok(if terminal == Some(true) {
        bytes.to_vec()
    } else {
        stream::decoded(&bytes)
    })
}

/// Cuts logs to what fits beside the facts, the same share for each container.
fn together(left: Vec<Left>, lines: usize) -> Vec<String> {
    let several = left.len() > 1;
    let facts: usize = left.iter().map(|one| one.facts.len()).sum();
    let each = lines.saturating_sub(facts) / left.len().max(1);
    let mut words = Vec::new();
    for Left { name, log, facts } in left {
        let log = log.iter().skip(log.len().saturating_sub(each));
        for line in log.chain(&facts) {
            words.push(if several {
                format!("{name}: {line}")
            } else {
                line.clone()
            });
        }
    }
    words.split_off(words.len().saturating_sub(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(name: &str, log: &[&str], facts: &[&str]) -> Left {
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        Left {
            name: name.to_owned(),
            log: owned(log),
            facts: owned(facts),
        }
    }

    #[test]
    fn how_it_ended_outlives_what_it_said() {
        let one = || left("a", &["1", "2", "3"], &["ended"]);
        let other = || left("b", &["4"], &[]);
        for (all, lines, expected) in [
            (vec![one()], 9, vec!["1", "2", "3", "ended"]),
            (vec![one()], 2, vec!["3", "ended"]),
            (vec![one()], 1, vec!["ended"]),
            (vec![one()], 0, vec![]),
            (vec![], 5, vec![]),
            (vec![one(), other()], 4, vec!["a: 3", "a: ended", "b: 4"]),
        ] {
            assert_eq!(together(all, lines), expected, "{lines}");
        }
    }
}
