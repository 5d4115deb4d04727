//! Standard output, for other programs.

use std::io::{self, ErrorKind, Write};

use crate::failure::{Failure, FailureKind, Retry};

/// Prints; that nobody reads to the end, as `head` does, is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            FailureKind::Local,
            Retry::Never,
            format!("standard output: {error}"),
        )),
        _ => Ok(()),
    }
}
