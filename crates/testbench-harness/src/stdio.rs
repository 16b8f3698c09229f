//! [`Stdio`]: where a standard stream comes from or goes to.

use std::fmt;
use std::io;
use std::sync::Arc;

use testbench_wasi::{ReadEnd, WriteEnd};

use crate::error::InputError;
use crate::sys;

/// Where a standard stream comes from or goes to; see [`std::process::Stdio`].
///
/// Made by the functions below, or from a file, from another child's output, or from an end of a
/// [`pipe`](crate::pipe()). For bytes there is [`Command::stdin_bytes`](crate::Command::stdin_bytes).
///
/// ```
/// use testbench_harness::{Command, Stdio, Testbench, Toolchain};
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// let mut numbers = Command::new("seq").arg("20").stdout(Stdio::piped()).spawn()?;
/// let found = Command::new("grep").arg("5").stdin(numbers.stdout.take().unwrap()).output()?;
/// assert!(numbers.wait()?.success());
/// assert_eq!(found.stdout, b"5\n15\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Stdio {
    /// `None` once a start has taken an end of a session's pipe.
    stream: Option<StdioKind>,
}

/// One standard stream, from the command to the guest, the native child or the replay.
pub(crate) enum StdioKind {
    Null,
    Inherit,
    /// A new pipe to the parent; after the start, what [`Command::output`](crate::Command::output)
    /// captures.
    Piped,
    /// Only for stdin.
    Bytes(Arc<[u8]>),
    /// A descriptor of this process: a real file, pipe, socket or terminal.
    Real(std::fs::File),
    /// A file of the overlay, or a real one.
    File(testbench_overlay::fs::File),
    /// The end of a session's pipe that is read from.
    Reader(ReadEnd),
    /// The end of a session's pipe that is written to.
    Writer(WriteEnd),
}

impl Stdio {
    /// The stream of this process.
    pub fn inherit() -> Stdio {
        StdioKind::Inherit.into()
    }

    /// No input; output is thrown away.
    pub fn null() -> Stdio {
        StdioKind::Null.into()
    }

    /// A new pipe, whose other end is in the [`Child`](crate::Child).
    /// [`Command::output`](crate::Command::output) collects the output; a piped input is empty
    /// there, since that call does not return before the child has ended.
    pub fn piped() -> Stdio {
        StdioKind::Piped.into()
    }

    /// The stream; `None` for an end of a pipe that a start has taken.
    pub(crate) fn stream(&self) -> Option<&StdioKind> {
        self.stream.as_ref()
    }

    /// The stream for one start. The ends of a session's pipes go with the first start: as long as
    /// a command keeps one, its readers find no end-of-file.
    pub(crate) fn take(&mut self, name: &'static str) -> io::Result<StdioKind> {
        Ok(match &self.stream {
            Some(StdioKind::Inherit) => StdioKind::Inherit,
            Some(StdioKind::Null) => StdioKind::Null,
            Some(StdioKind::Piped) => StdioKind::Piped,
            Some(StdioKind::Bytes(bytes)) => StdioKind::Bytes(Arc::clone(bytes)),
            Some(StdioKind::Real(file)) => StdioKind::Real(file.try_clone()?),
            Some(StdioKind::File(file)) => StdioKind::File(file.try_clone()?),
            Some(StdioKind::Reader(_) | StdioKind::Writer(_)) | None => {
                self.stream.take().ok_or(InputError::UsedUp { stream: name })?
            }
        })
    }
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stream {
            Some(StdioKind::Inherit) => f.write_str("Stdio(inherit)"),
            Some(StdioKind::Null) => f.write_str("Stdio(null)"),
            Some(StdioKind::Piped) => f.write_str("Stdio(piped)"),
            Some(StdioKind::Bytes(bytes)) => write!(f, "Stdio({} bytes)", bytes.len()),
            Some(StdioKind::Real(_) | StdioKind::File(_)) => f.write_str("Stdio(file)"),
            Some(StdioKind::Reader(_) | StdioKind::Writer(_)) => f.write_str("Stdio(pipe)"),
            None => f.write_str("Stdio(taken)"),
        }
    }
}

impl From<StdioKind> for Stdio {
    fn from(stream: StdioKind) -> Stdio {
        Stdio { stream: Some(stream) }
    }
}

/// A real file. A guest reads and writes it as a stream, which holds virtual time still meanwhile.
impl From<std::fs::File> for Stdio {
    fn from(file: std::fs::File) -> Stdio {
        StdioKind::Real(file).into()
    }
}

/// A file of the session's overlay, from its position on.
impl From<testbench_overlay::fs::File> for Stdio {
    fn from(file: testbench_overlay::fs::File) -> Stdio {
        StdioKind::File(file).into()
    }
}

/// Defines `From` for ends of the system's pipes, which [`std::process::Stdio`] takes as well.
macro_rules! from_descriptors {
    ($($(#[$attribute:meta])* $descriptor:ty),* $(,)?) => {$(
        /// As [`std::process::Stdio`] does.
        $(#[$attribute])*
        impl From<$descriptor> for Stdio {
            fn from(descriptor: $descriptor) -> Stdio {
                sys::file_of(descriptor).into()
            }
        }
    )*};
}

from_descriptors! {
    std::process::ChildStdin,
    std::process::ChildStdout,
    std::process::ChildStderr,
    io::PipeReader,
    io::PipeWriter,
    #[cfg(unix)]
    std::os::fd::OwnedFd,
}

/// This process's own stdout.
impl From<io::Stdout> for Stdio {
    fn from(_: io::Stdout) -> Stdio {
        Stdio::inherit()
    }
}
