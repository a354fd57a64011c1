//! Why a story was not told to its end: one error, one exit code.

use std::fmt;
use std::process::ExitCode;

/// One clear error.
#[derive(Debug)]
pub(crate) struct Trouble {
    code: u8,
    text: String,
}

impl Trouble {
    /// What was asked for cannot be: arguments, policy, journal, port. Exit code 2.
    pub(crate) fn asked(text: impl fmt::Display) -> Self {
        Self {
            code: 2,
            text: text.to_string(),
        }
    }

    /// Something broke. Exit code 1.
    pub(crate) fn broke(text: impl fmt::Display) -> Self {
        Self {
            code: 1,
            text: text.to_string(),
        }
    }

    /// A person pressed Ctrl-C. Exit code 130.
    pub(crate) fn interrupted() -> Self {
        Self {
            code: 130,
            text: "interrupted; everything that was started is stopped".to_owned(),
        }
    }

    /// With another exit code of the library's table.
    pub(crate) fn with_code(code: u8, text: impl fmt::Display) -> Self {
        Self {
            code,
            text: text.to_string(),
        }
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
