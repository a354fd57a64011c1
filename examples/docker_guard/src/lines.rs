//! Lines to stdout and stderr. Whoever reads them may be gone, with a closed terminal or the end of
//! a pipe: that stops no deployment.

use std::{fmt, io::Write as _};

/// Data, to stdout.
pub(crate) fn data(text: impl fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Progress, to stderr.
pub(crate) fn progress(text: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
