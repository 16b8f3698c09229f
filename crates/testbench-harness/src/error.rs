//! [`SpawnError`]: why a spawn fails, as one typed error that travels inside [`io::Error`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;

use testbench_wasi::ModuleError;

use crate::files::CurrentDirError;
use crate::refusal::Refusal;

/// Why a spawn in a session did not start.
///
/// [`Command`](crate::Command) returns it inside an [`io::Error`] whose kind is that which a real
/// start would give; [`SpawnError::of`] gets it back.
///
/// ```
/// use testbench_harness::{Command, Refusal, SpawnError, Testbench};
///
/// let _session = Testbench::builder().build()?.enter();
/// let error = Command::new("git").output().unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
/// assert!(matches!(SpawnError::of(&error), Some(SpawnError::Refused(Refusal::NotFound(_)))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The route says that nothing is to be started.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The module of that name cannot be run.
    #[error("`{}` cannot be run: {source}", program.display())]
    Module {
        /// The program, as it was called.
        program: OsString,
        /// The defect of the module.
        source: ModuleError,
    },
    /// The working directory cannot be entered.
    #[error("`{}` was not started: {source}", program.display())]
    CurrentDir {
        /// The program, as it was called.
        program: OsString,
        /// The cause.
        source: CurrentDirError,
    },
    /// The host does not start the native program.
    #[error("`{}` could not be started as a native program: {source}", program.display())]
    Native {
        /// The program, as it was called.
        program: OsString,
        /// The host's error.
        source: io::Error,
    },
    /// Another step failed: its input is wrong, a stream, a mount or a copy of files cannot be had, its
    /// end cannot be waited for, its changes cannot be taken over, or its record cannot be played.
    #[error("{}", failed_text(program, what, source))]
    Failed {
        /// The program, as it was called.
        program: OsString,
        /// The step, such as `was not started: its stdin cannot be used`.
        what: String,
        /// The cause.
        source: io::Error,
    },
}

/// Input that cannot be passed to a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Text with a NUL byte in it.
    #[error("its {part} contains a NUL byte")]
    Nul {
        /// The text's place, such as `argument 1`.
        part: String,
    },
    /// An end of a session's pipe that an earlier start of the same command has taken.
    #[error(
        "its {stream} is an end of a pipe, which the first start of this command has taken; set \
         it anew before each start"
    )]
    UsedUp {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
    },
    /// An end of a session's pipe, for a program that the standard library starts.
    #[error(
        "its {stream} is an end of a session's pipe, and this thread has no session: enter the \
         session's `Context` here"
    )]
    ForeignPipe {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
    },
    /// A setting of the command that only a session understands, on a thread without one.
    #[error(
        "its `.{method}(…)` needs a session, and this thread has none: enter a `Testbench`, or the \
         session's `Context`, on this thread"
    )]
    NeedsSession {
        /// `limits`, `timeout` or `via`.
        method: &'static str,
    },
}

impl SpawnError {
    /// The typed error inside what [`Command`](crate::Command) returned, if it comes from a
    /// session.
    pub fn of(error: &io::Error) -> Option<&SpawnError> {
        let inner = error.get_ref()?;
        // An error that several waits may report is shared.
        inner.downcast_ref().or_else(|| inner.downcast_ref::<Arc<SpawnError>>().map(|e| &**e))
    }

    /// The error of a step that failed: `what` follows the program's name in the message.
    pub(crate) fn failed(
        program: &OsStr,
        what: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> SpawnError {
        let (program, what, source) = (program.to_owned(), what.into(), source.into());
        SpawnError::Failed { program, what, source }
    }

    /// The status with which a shell reports this: 127 when the program was not found, 126 when
    /// it was but cannot be run.
    pub fn shell_status(&self) -> i32 {
        match self.kind() {
            io::ErrorKind::NotFound => 127,
            _ => 126,
        }
    }

    /// The kind of the [`io::Error`] that carries it. A module that cannot be run is
    /// [`io::ErrorKind::InvalidData`]: std has no stable kind for `ENOEXEC`.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            SpawnError::Refused(refusal) => refusal.kind(),
            SpawnError::Module { source, .. } => module_kind(source),
            SpawnError::CurrentDir { source, .. } => match source {
                CurrentDirError::Enter { errno, .. } => io::Error::from(*errno).kind(),
                CurrentDirError::Outside { .. } | CurrentDirError::NoFiles { .. } => {
                    io::ErrorKind::PermissionDenied
                }
            },
            SpawnError::Native { source, .. } | SpawnError::Failed { source, .. } => source.kind(),
        }
    }
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

impl From<InputError> for io::Error {
    fn from(error: InputError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The message of a lost result names the program already.
fn failed_text(program: &OsStr, what: &str, source: &io::Error) -> String {
    match SpawnError::of(source) {
        Some(lost) => lost.to_string(),
        None => format!("`{}` {what}: {source}", program.display()),
    }
}

fn module_kind(error: &ModuleError) -> io::ErrorKind {
    match error {
        ModuleError::Missing { .. } => io::ErrorKind::NotFound,
        ModuleError::Unreadable { source, .. } => source.kind(),
        _ => io::ErrorKind::InvalidData,
    }
}
