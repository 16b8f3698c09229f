//! [`Failure`]: a failure of this program, as opposed to one of a guest.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::iter;
use std::process::ExitCode;

/// Exit status: this program failed, for instance by a wrong flag or a full disk.
pub(crate) const OWN: u8 = 125;
/// Exit status: the module was found but cannot be run.
pub(crate) const REFUSED: u8 = 126;
/// Exit status: there is no such module.
pub(crate) const NOT_FOUND: u8 = 127;
/// Exit status of a guest that trapped, as a shell shows `SIGABRT`.
pub(crate) const ABORTED: u8 = 134;
/// Exit status of a guest that was ended, by a limit or otherwise, as a shell shows `SIGKILL`.
pub(crate) const KILLED: u8 = 137;

/// A message for people, and the exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    pub(crate) fn new(status: u8, message: impl fmt::Display) -> Failure {
        Failure { status, message: message.to_string() }
    }

    /// A failure of this program during `attempt`.
    pub(crate) fn own(attempt: impl fmt::Display, error: impl Error) -> Failure {
        Failure::new(OWN, format_args!("{attempt}: {}", chain(&error)))
    }

    /// Prints the message to stderr. Returns the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "testbench: {}", self.message);
        ExitCode::from(self.status)
    }
}

/// An error with all that caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut last) = (error.to_string(), error.to_string());
    for cause in iter::successors(error.source(), |&error| error.source()) {
        let cause = cause.to_string();
        // A transparent error shows its source's text as its own.
        if !last.contains(&cause) {
            text += &format!(": {cause}");
        }
        last = cause;
    }
    text
}
