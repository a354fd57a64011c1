//! How a container ended, in sentences.

use serde_json::Value;

/// What the engine knows: the cause before the consequence.
pub(super) fn facts(inspected: &Value) -> Vec<String> {
    let text = |at: &str| {
        let text = inspected.pointer(at).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let number = |at: &str| inspected.pointer(at).and_then(Value::as_i64);
    let mut facts: Vec<String> = health(inspected).into_iter().collect();
    if let Some(error) = text("/State/Error") {
        facts.push(format!("the engine says: {error}"));
    }
    let oom = inspected
        .pointer("/State/OOMKilled")
        .and_then(Value::as_bool)
        == Some(true);
    let restarts = number("/RestartCount").filter(|count| *count > 0);
    let again = restarts.map_or_else(String::new, |count| {
        format!(
            ", started again {count} time{}",
            if count == 1 { "" } else { "s" }
        )
    });
    match (text("/State/Status"), number("/State/ExitCode")) {
        (Some("exited" | "dead" | "restarting"), Some(code)) => {
            facts.push(format!("ended with {}{again}", cause(code, oom)));
        }
        (Some("created"), Some(code)) if code != 0 => {
            facts.push(format!("could not be started ({code})"));
        }
        (Some(status), _) if oom || restarts.is_some() => {
            let oom = if oom {
                ", was killed for want of memory"
            } else {
                ""
            };
            facts.push(format!("{status}{oom}{again}"));
        }
        _ => {}
    }
    facts
}

/// `exit code 137 (out of memory)`. A shell's convention: 128 and the number of the signal.
fn cause(code: i64, oom: bool) -> String {
    let signal = match code {
        _ if oom => "out of memory",
        129 => "SIGHUP",
        130 => "SIGINT",
        131 => "SIGQUIT",
        132 => "SIGILL",
        134 => "SIGABRT",
        135 => "SIGBUS",
        136 => "SIGFPE",
        137 => "SIGKILL",
        139 => "SIGSEGV",
        143 => "SIGTERM",
        _ => return format!("exit code {code}"),
    };
    format!("exit code {code} ({signal})")
}

/// A health check that fails, how often, and what it printed last.
fn health(inspected: &Value) -> Option<String> {
    let health = inspected.pointer("/State/Health")?;
    let streak = health.get("FailingStreak")?.as_i64()?;
    if streak <= 0 {
        return None;
    }
    let times = if streak == 1 {
        "once"
    } else {
        "times in a row"
    };
    let count = if streak == 1 {
        String::new()
    } else {
        format!("{streak} ")
    };
    let last = health.get("Log").and_then(Value::as_array)?.last();
    let last = last.map_or_else(String::new, |last| {
        let code = last.get("ExitCode").and_then(Value::as_i64);
        let said = last
            .get("Output")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let code = code.map_or_else(String::new, |code| format!(" with {code}"));
        let said = match said.trim() {
            "" => String::new(),
            said => format!(": {said}"),
        };
        format!(", last{code}{said}")
    });
    Some(format!("its health check failed {count}{times}{last}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_end_is_told_with_its_cause() {
        for (state, restarts, told) in [
            (json!({"Status": "running", "ExitCode": 0}), 0, vec![]),
            (
                json!({"Status": "exited", "ExitCode": 0}),
                0,
                vec!["ended with exit code 0"],
            ),
            (
                json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true}),
                3,
                vec!["ended with exit code 137 (out of memory), started again 3 times"],
            ),
            (
                json!({"Status": "restarting", "ExitCode": 143, "OOMKilled": false}),
                1,
                vec!["ended with exit code 143 (SIGTERM), started again 1 time"],
            ),
            (
                json!({"Status": "running", "ExitCode": 0, "OOMKilled": true}),
                2,
                vec!["running, was killed for want of memory, started again 2 times"],
            ),
            (
                json!({"Status": "created", "ExitCode": 127, "Error": "exec: \"/nope\": no such file"}),
                0,
                vec![
                    "the engine says: exec: \"/nope\": no such file",
                    "could not be started (127)",
                ],
            ),
            (json!({"Status": "created", "ExitCode": 0}), 0, vec![]),
            (json!({}), 0, vec![]),
        ] {
            let inspected = json!({"State": state, "RestartCount": restarts});
            assert_eq!(facts(&inspected), told, "{state}");
        }
    }

    #[test]
    fn a_failing_health_check_tells_what_it_printed() {
        let log = json!([
            {"ExitCode": 0, "Output": "good"},
            {"ExitCode": 1, "Output": "not healthy\n"}
        ]);
        for (health, told) in [
            (
                json!({"Status": "healthy", "FailingStreak": 0, "Log": log}),
                None,
            ),
            (
                json!({"Status": "unhealthy", "FailingStreak": 4, "Log": log}),
                Some("its health check failed 4 times in a row, last with 1: not healthy"),
            ),
            (
                json!({"Status": "starting", "FailingStreak": 1, "Log": []}),
                Some("its health check failed once"),
            ),
            (json!(null), None),
        ] {
            let inspected = json!({"State": {"Status": "running", "Health": health}});
            let expected: Vec<&str> = told.into_iter().collect();
            assert_eq!(facts(&inspected), expected, "{health}");
        }
    }
}
