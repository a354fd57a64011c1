//! Whether the parts of a definition fit together: pure, nothing on the machine is looked at.

use crate::{
    definition::{EnvValue, PortPlan, Probe, ProcessDefinition},
    identity::{MARKER, RELEASE_MARKER},
};

/// What is wrong with a definition, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct DefinitionError {
    field: String,
    problem: String,
}

impl ProcessDefinition {
    /// Whether the parts fit together; nothing on the machine is looked at.
    ///
    /// # Errors
    /// The first part that does not, and what to write instead.
    pub fn validate(&self) -> Result<(), DefinitionError> {
        let program = self.program.to_string_lossy();
        if program.is_empty() {
            return Err(at(
                "program",
                "is empty; give an absolute path or a name in PATH",
            ));
        }
        if program.contains('/') && !self.program.is_absolute() {
            return Err(at(
                "program",
                format!("`{program}` is a relative path; give an absolute one"),
            ));
        }
        if let Some(dir) = self.working_dir.as_ref().filter(|dir| !dir.is_absolute()) {
            let problem = format!(
                "`{}` is a relative path; give an absolute one",
                dir.display()
            );
            return Err(at("working_dir", problem));
        }
        if self.instances == 0 {
            return Err(at(
                "instances",
                "is 0; at least one process must serve (to stop a release, retire its arm)",
            ));
        }
        self.validate_port()?;
        self.validate_texts()?;
        let spaced = |c: char| c.is_whitespace() || c.is_control();
        if let Probe::Http { path } = &self.health.probe
            && (!path.starts_with('/') || path.contains(spaced))
        {
            let problem = format!("`{path}` must begin with / and hold no spaces");
            return Err(at("health.probe.http.path", problem));
        }
        if self.health.every.is_zero() || self.health.timeout.is_zero() || self.health.failures == 0
        {
            return Err(at(
                "health",
                "`every`, `timeout` and `failures` must be more than zero",
            ));
        }
        if self.restart.first.is_zero() || self.restart.at_most < self.restart.first {
            return Err(at(
                "restart",
                "`first` must be more than zero and `at_most` no less than `first`",
            ));
        }
        if self.log.file_bytes < 4096 || self.log.line_bytes < 80 {
            return Err(at(
                "log",
                "`file_bytes` must be at least 4096 and `line_bytes` at least 80",
            ));
        }
        Ok(())
    }

    fn validate_port(&self) -> Result<(), DefinitionError> {
        match self.port {
            PortPlan::Fixed(0) | PortPlan::Range { first: 0, .. } => Err(at(
                "port",
                "is 0; for a port chosen by the kernel write `any`",
            )),
            PortPlan::Fixed(port) if self.instances > 1 => Err(at(
                "port",
                format!(
                    "{} instances cannot share port {port}; give a range",
                    self.instances
                ),
            )),
            PortPlan::Range { first, last } if last < first => {
                Err(at("port", format!("the range {first} to {last} is empty")))
            }
            PortPlan::Range { first, last } if last - first < self.instances - 1 => Err(at(
                "port",
                format!(
                    "the range {first} to {last} is too small for {} instances",
                    self.instances
                ),
            )),
            PortPlan::None if !matches!(self.health.probe, Probe::Alive { .. }) => Err(at(
                "health",
                "there is nothing to probe without a port; set `port`, or probe `alive`",
            )),
            _ => Ok(()),
        }
    }

    fn validate_texts(&self) -> Result<(), DefinitionError> {
        let plain = self.env.iter().filter_map(|(name, value)| match value {
            EnvValue::Plain(text) => Some((format!("env.{name}"), text)),
            EnvValue::Secret { .. } => None,
        });
        let args = self.args.iter().enumerate();
        let texts = args
            .map(|(n, text)| (format!("args[{n}]"), text))
            .chain(plain);
        for (field, text) in texts {
            if text.contains('\0') {
                return Err(at(field, "holds a NUL byte"));
            }
            if text.contains("{{port}}") && self.port == PortPlan::None {
                return Err(at(field, "uses {{port}}, but `port` is none"));
            }
        }
        for name in self.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(at("env", format!("`{name}` is not a variable's name")));
            }
            if [MARKER, RELEASE_MARKER].contains(&name.as_str()) {
                return Err(at(
                    "env",
                    format!("`{name}` is set by the supervisor itself"),
                ));
            }
        }
        Ok(())
    }
}

pub(crate) fn at(field: impl Into<String>, problem: impl Into<String>) -> DefinitionError {
    DefinitionError {
        field: field.into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::definition::{HealthCheck, LogLimits, Restart};

    fn server() -> ProcessDefinition {
        ProcessDefinition::new("/bin/server").port(PortPlan::Any)
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        let table = [
            (ProcessDefinition::new(""), "program"),
            (ProcessDefinition::new("bin/server"), "absolute"),
            (server().working_dir("here"), "working_dir"),
            (server().instances(0), "instances"),
            (
                server().port(PortPlan::Fixed(80)).instances(2),
                "give a range",
            ),
            (server().port(PortPlan::Fixed(0)), "write `any`"),
            (
                server().port(PortPlan::Range { first: 9, last: 8 }),
                "empty",
            ),
            (
                server()
                    .port(PortPlan::Range { first: 8, last: 9 })
                    .instances(3),
                "too small",
            ),
            (
                server().port(PortPlan::None).health(HealthCheck::tcp()),
                "nothing to probe",
            ),
            (server().port(PortPlan::None).arg("{{port}}"), "args[0]"),
            (server().port(PortPlan::None).env("A", "{{port}}"), "env.A"),
            (server().health(HealthCheck::http("health")), "begin with /"),
            (
                server().health(HealthCheck::tcp().timeout(Duration::ZERO)),
                "more than zero",
            ),
            (
                server().restart(Restart::new(Duration::from_secs(2), Duration::from_secs(1))),
                "restart",
            ),
            (server().log(LogLimits::new(10, 100)), "4096"),
            (server().env("ROLLBACK_INSTANCE", "x"), "supervisor itself"),
            (server().env("A=B", "x"), "not a variable"),
            (server().arg("a\0b"), "NUL"),
        ];
        for (definition, says) in table {
            let error = definition.validate().unwrap_err().to_string();
            assert!(error.contains(says), "{error} should say {says}");
        }
        server().validate().unwrap();
    }
}
