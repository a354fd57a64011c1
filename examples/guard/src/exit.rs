//! How the program ends: one error, one exit code, of one table.

use std::{fmt, process::ExitCode};

use rollback::{CommandError, DeployError, StartError};

/// What was asked for is done.
pub(crate) const FINE: u8 = 0;
/// Something broke.
pub(crate) const BROKE: u8 = 1;
/// The arguments or the policy are wrong.
pub(crate) const USAGE: u8 = 2;
/// Rolled back.
pub(crate) const ROLLED_BACK: u8 = 10;
/// As 0 or 10, but a notice went undelivered.
pub(crate) const UNTOLD: u8 = 15;
/// Refused: nothing was changed.
pub(crate) const REFUSED: u8 = 13;
/// Waited out; the deployment goes on.
pub(crate) const WAITED_OUT: u8 = 16;
/// Ctrl-C; the controller goes on.
pub(crate) const INTERRUPTED: u8 = 130;

/// The table, as every help text ends with it.
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
  15   as 0 or 10, but somebody could not be told
  16   waited out (--timeout): the deployment goes on
  130  interrupted: the deployment goes on";

/// One clear error with the exit code that belongs to it.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) code: u8,
    text: String,
}

pub(crate) type Fallible<T> = Result<T, Trouble>;

impl Trouble {
    pub(crate) fn with_code(code: u8, text: impl fmt::Display) -> Self {
        Self {
            code,
            text: text.to_string(),
        }
    }

    /// What was asked for cannot be.
    pub(crate) fn asked(text: impl fmt::Display) -> Self {
        Self::with_code(USAGE, text)
    }

    /// Something broke.
    pub(crate) fn broke(text: impl fmt::Display) -> Self {
        Self::with_code(BROKE, text)
    }

    /// Nothing was changed.
    pub(crate) fn refused(text: impl fmt::Display) -> Self {
        Self::with_code(REFUSED, text)
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
        Self::with_code(error.exit_code(), error)
    }
}

impl From<DeployError> for Trouble {
    fn from(error: DeployError) -> Self {
        Self::with_code(error.exit_code(), error)
    }
}

impl From<StartError> for Trouble {
    fn from(error: StartError) -> Self {
        Self::with_code(error.exit_code(), error)
    }
}
