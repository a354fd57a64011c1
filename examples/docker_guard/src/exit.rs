//! How the program ends: one error, one exit code, of one table.

use std::{fmt, process::ExitCode};

use rollback::{
    CommandError, DeployError, StartError, Stopped,
    model::{ChangeError, RefusedReason},
};
use rollback_docker::EngineError;

/// What was asked for is done.
pub(crate) const FINE: u8 = 0;
const BROKE: u8 = 1;
const USAGE: u8 = 2;
/// Waited out; what was begun can be resumed.
pub(crate) const WAITED_OUT: u8 = 16;
/// Told to end by Ctrl-C or another signal; what was begun can be resumed.
pub(crate) const INTERRUPTED: u8 = 130;

/// The table, as the help text ends with it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    promoted, or the asked-for rollback is done and verified
  1    something broke
  2    wrong arguments or policy
  10   rolled back
  11   held: waits for a person
  12   the rollback failed
  13   refused: nothing was changed
  14   superseded by another deployment
  16   waited out (--timeout): go on with `docker_guard resume SERVICE`
  130  interrupted (Ctrl-C, SIGTERM, a closed terminal): go on with `docker_guard resume SERVICE`";

/// One clear error with the exit code that belongs to it.
#[derive(Debug)]
pub(crate) struct Trouble {
    code: u8,
    text: String,
}

pub(crate) type Fallible<T> = Result<T, Trouble>;

impl Trouble {
    /// What was asked for cannot be.
    pub(crate) fn asked(text: impl fmt::Display) -> Self {
        Self::with_code(USAGE, text)
    }

    /// Told to end before the work was done.
    pub(crate) fn interrupted(text: impl fmt::Display) -> Self {
        Self::with_code(INTERRUPTED, text)
    }

    /// Something broke.
    pub(crate) fn broke(text: impl fmt::Display) -> Self {
        Self::with_code(BROKE, text)
    }

    fn with_code(code: u8, text: impl fmt::Display) -> Self {
        Self {
            code,
            text: text.to_string(),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<CommandError> for Trouble {
    fn from(error: CommandError) -> Self {
        let how = match &error {
            CommandError::Stopped(Stopped::TakenOver { .. }) => {
                "; another docker_guard goes on with the service, and `docker_guard status SERVICE` tells how"
            }
            _ => "",
        };
        Self::with_code(error.exit_code(), format!("{error}{how}"))
    }
}

impl From<DeployError> for Trouble {
    fn from(error: DeployError) -> Self {
        let how = match &error {
            DeployError::Refused(RefusedReason::Rejected { .. }) => {
                " (`deploy --again --reason '…'`; `docker_guard why SERVICE` tells what was wrong with it)"
            }
            _ => "",
        };
        Self::with_code(error.exit_code(), format!("{error}{how}"))
    }
}

impl From<StartError> for Trouble {
    fn from(error: StartError) -> Self {
        Self::with_code(error.exit_code(), error)
    }
}

impl From<ChangeError> for Trouble {
    fn from(error: ChangeError) -> Self {
        match error {
            // Of a look: nothing was to be sent.
            ChangeError::NotSent { why, .. } => Self::broke(why),
            other => Self::broke(other),
        }
    }
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self::broke(error)
    }
}
