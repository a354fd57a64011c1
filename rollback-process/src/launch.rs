//! How a process of a release is launched, and how its end is told.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
};

use rollback_core::model::Secret;
use tokio::process::Command;

use crate::{
    definition::{EnvValue, PortPlan, ProcessDefinition},
    identity::{MARKER, RELEASE_MARKER},
    program,
    state::InstanceRecord,
};

/// What the processes inherit of the controller's environment.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER"];

/// The command of an instance, with the port that its record holds: a process group of its own, no
/// input, and an environment of its own that carries the marker.
pub(crate) fn command(
    program: &Path,
    definition: &ProcessDefinition,
    record: &InstanceRecord,
    secrets: &BTreeMap<String, Secret<String>>,
) -> Result<Command, String> {
    let mut command = Command::new(program);
    command
        .args(definition.args.iter().map(|arg| filled_in(arg, record)))
        .env_clear()
        .envs(
            INHERITED
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .env(MARKER, &record.id)
        .env(RELEASE_MARKER, record.release.as_str())
        .envs(record.port.map(|port| ("PORT", port.to_string())))
        .current_dir(
            definition
                .working_dir
                .as_deref()
                .unwrap_or_else(|| "/".as_ref()),
        )
        .process_group(0)
        .stdin(Stdio::null());
    for (name, value) in &definition.env {
        match value {
            EnvValue::Plain(text) => command.env(name, filled_in(text, record)),
            EnvValue::Secret { secret } => match secrets.get(secret) {
                Some(value) => command.env(name, value.expose()),
                None => return Err(missing_secret(secret)),
            },
        };
    }
    Ok(command)
}

/// Whether an instance of `definition` could be started now.
pub(crate) fn can_start(
    definition: &ProcessDefinition,
    secrets: &BTreeMap<String, Secret<String>>,
) -> Result<(), String> {
    let dir = definition.working_dir.as_deref();
    program::check(&definition.program, &definition.program_sha256, dir)
        .map_err(|error| error.to_string())?;
    definition.env.values().try_for_each(|value| match value {
        EnvValue::Secret { secret } if !secrets.contains_key(secret) => Err(missing_secret(secret)),
        _ => Ok(()),
    })
}

/// The one port that a definition insists on.
pub(crate) const fn fixed_port(definition: &ProcessDefinition) -> Option<u16> {
    match definition.port {
        PortPlan::Fixed(port) => Some(port),
        _ => None,
    }
}

fn filled_in(text: &str, record: &InstanceRecord) -> String {
    let port = record.port.map(|port| port.to_string()).unwrap_or_default();
    text.replace("{{port}}", &port)
        .replace("{{instance}}", &record.id)
}

fn missing_secret(name: &str) -> String {
    format!(
        "the secret `{name}` was not given to this deployer; give it with `.secret(\"{name}\", …)` where the deployer is opened"
    )
}

/// How a process ended, in words.
pub(crate) fn exit_text(status: ExitStatus) -> String {
    let signal_name = |signal: i32| match signal {
        6 => " (SIGABRT)",
        9 => " (SIGKILL: killed by somebody, or out of memory)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}{}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_in_words() {
        assert_eq!(exit_text(ExitStatus::from_raw(3 << 8)), "exit status 3");
        assert!(exit_text(ExitStatus::from_raw(9)).contains("SIGKILL"));
        assert_eq!(exit_text(ExitStatus::from_raw(1)), "signal 1");
    }
}
