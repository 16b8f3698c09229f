//! [`SpawnError`]: why a spawn fails, as one typed error that travels inside [`io::Error`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use testbench_wasi::{ModuleError, StartError};

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
    /// The module is sound, yet the guest could not be set up.
    #[error("`{}` could not be started: {source}", program.display())]
    Start {
        /// The program, as it was called.
        program: OsString,
        /// The cause.
        source: StartError,
    },
    /// The working directory cannot be entered.
    #[error("`{}` was not started: {source}", program.display())]
    CurrentDir {
        /// The program, as it was called.
        program: OsString,
        /// The cause.
        source: CurrentDirError,
    },
    /// A name, a directory or a stream that cannot be passed to any program.
    #[error("`{}` was not started: {source}", program.display())]
    Input {
        /// The program, as it was called.
        program: OsString,
        /// The input, and its defect.
        source: InputError,
    },
    /// One of the things that it needs cannot be had: a standard stream, a directory, a copy of files.
    #[error("`{}` was not started: {what}: {source}", program.display())]
    SetUp {
        /// The program, as it was called.
        program: OsString,
        /// The part that failed, such as `its stdin cannot be used`.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// It was started, but the wait for its end failed.
    #[error("{}", not_waited(program, source))]
    Wait {
        /// The program, as it was called.
        program: OsString,
        /// The clock's error.
        source: io::Error,
    },
    /// The changes of a native program cannot be absorbed into the overlay, or only a part of them.
    #[error("`{}` has ended, but the session's files do not have its changes: {source}", program.display())]
    AbsorbFiles {
        /// The program, as it was called.
        program: OsString,
        /// The cause.
        source: io::Error,
    },
    /// The tape's record cannot be played.
    #[error("`{}` was replayed, but {source}", program.display())]
    Replay {
        /// The program, as it was called.
        program: OsString,
        /// The cause.
        source: io::Error,
    },
    /// The host does not start the native program.
    #[error("`{}` could not be started as a native program: {source}", program.display())]
    Native {
        /// The program, as it was called.
        program: OsString,
        /// The host's error.
        source: io::Error,
    },
}

/// Input that cannot be passed to a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// No program can be called by a name with a NUL byte in it.
    #[error("its name contains a NUL byte")]
    NulInProgram,
    /// No program can be given an argument with a NUL byte in it.
    #[error("its argument {index} contains a NUL byte")]
    NulInArgument {
        /// The argument's number, from 1.
        index: usize,
    },
    /// A NUL byte in `current_dir`.
    #[error("its current_dir {dir:?} contains a NUL byte")]
    NulInCurrentDir {
        /// As it was given.
        dir: PathBuf,
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
            SpawnError::Start { source, .. } => match source {
                StartError::NulInArgument { .. } | StartError::Environment { .. } => {
                    io::ErrorKind::InvalidInput
                }
                _ => io::ErrorKind::Other,
            },
            SpawnError::CurrentDir { source, .. } => match source {
                CurrentDirError::Enter { errno, .. } => io::Error::from(*errno).kind(),
                CurrentDirError::Outside { .. } | CurrentDirError::NoFiles { .. } => {
                    io::ErrorKind::PermissionDenied
                }
            },
            SpawnError::Input { .. } => io::ErrorKind::InvalidInput,
            SpawnError::Replay { source, .. }
            | SpawnError::Native { source, .. }
            | SpawnError::SetUp { source, .. }
            | SpawnError::AbsorbFiles { source, .. }
            | SpawnError::Wait { source, .. } => source.kind(),
        }
    }
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

/// The message of a lost result names the program already.
fn not_waited(program: &OsStr, source: &io::Error) -> String {
    match SpawnError::of(source) {
        Some(lost) => lost.to_string(),
        None => {
            let program = program.display();
            format!("`{program}` was started, but it cannot be waited for: {source}")
        }
    }
}

fn module_kind(error: &ModuleError) -> io::ErrorKind {
    match error {
        ModuleError::Missing { .. } => io::ErrorKind::NotFound,
        ModuleError::Unreadable { source, .. } => source.kind(),
        _ => io::ErrorKind::InvalidData,
    }
}
