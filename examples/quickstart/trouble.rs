//! Why a story was not told to its end: one error, one exit code.

use std::fmt;
use std::process::ExitCode;

use rollback::{CommandError, Stopped};

/// One clear error.
#[derive(Debug)]
pub(crate) struct Trouble {
    code: u8,
    text: String,
    taken_over: bool,
}

impl Trouble {
    /// What was asked for cannot be: arguments, policy, journal, port. Exit code 2.
    pub(crate) fn asked(text: impl fmt::Display) -> Self {
        Self {
            taken_over: false,
            code: 2,
            text: text.to_string(),
        }
    }

    /// Something broke. Exit code 1.
    pub(crate) fn broke(text: impl fmt::Display) -> Self {
        Self {
            taken_over: false,
            code: 1,
            text: text.to_string(),
        }
    }

    /// A person pressed Ctrl-C. Exit code 130.
    pub(crate) fn interrupted() -> Self {
        Self {
            taken_over: false,
            code: 130,
            text: "interrupted; everything that was started is stopped".to_owned(),
        }
    }

    /// The controller stopped, or does not answer.
    pub(crate) fn of_controller(error: CommandError) -> Self {
        let taken_over = matches!(error, CommandError::Stopped(Stopped::TakenOver(_)));
        Self {
            taken_over,
            ..Self::broke(error)
        }
    }

    /// With another exit code of the library's table.
    pub(crate) fn with_code(code: u8, text: impl fmt::Display) -> Self {
        Self {
            taken_over: false,
            code,
            text: text.to_string(),
        }
    }

    /// Whether another controller has the service now.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.taken_over
    }

    /// Whether the story never began, for what was asked.
    pub(crate) fn is_of_the_asking(&self) -> bool {
        self.code == 2
    }

    /// What the process answers its caller.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
