//! [`Stdio`]: where a standard stream comes from or goes to.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::InputError;
use crate::pipe::{End, PipeReader, PipeWriter};
use crate::sys;

/// Where a standard stream comes from or goes to; see [`std::process::Stdio`].
///
/// Made by the functions below, or from a file, from bytes, from another child's output, or from
/// an end of a [`pipe`](crate::pipe()).
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
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Inherit,
    Null,
    Piped,
    Bytes(Arc<[u8]>),
    /// A descriptor of this process: a real file, pipe, socket or terminal.
    Real(std::fs::File),
    /// A file of the overlay, or a real one.
    File(testbench_overlay::fs::File),
    /// An end of a session's pipe, until a start takes it.
    Read(Option<testbench_wasi::PipeReader>),
    /// The same for what goes out.
    Write(Option<testbench_wasi::PipeWriter>),
}

impl Stdio {
    fn new(kind: Kind) -> Stdio {
        Stdio { kind }
    }

    /// The stream of this process.
    pub fn inherit() -> Stdio {
        Stdio::new(Kind::Inherit)
    }

    /// Nothing comes in; what goes out is thrown away.
    pub fn null() -> Stdio {
        Stdio::new(Kind::Null)
    }

    /// A new pipe, whose other end is in the [`Child`](crate::Child).
    /// [`Command::output`](crate::Command::output) collects what comes out of it; as its input it
    /// is empty, since that call does not return before the child has ended.
    pub fn piped() -> Stdio {
        Stdio::new(Kind::Piped)
    }

    /// These bytes, then end-of-file. Only for stdin: a stream that goes out and is given bytes is
    /// [`io::ErrorKind::InvalidInput`] at the start.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Stdio {
        Stdio::new(Kind::Bytes(bytes.into()))
    }

    /// This stream once more, for a command that is started again. Ends of a session's pipes are
    /// taken by the first start: as long as a command keeps one, its readers find no end of file.
    pub(crate) fn take(&mut self, stream: &'static str) -> io::Result<Stdio> {
        let used_up = || io::Error::new(io::ErrorKind::InvalidInput, InputError::UsedUp { stream });
        Ok(Stdio::new(match &mut self.kind {
            Kind::Inherit => Kind::Inherit,
            Kind::Null => Kind::Null,
            Kind::Piped => Kind::Piped,
            Kind::Bytes(bytes) => Kind::Bytes(Arc::clone(bytes)),
            Kind::Real(file) => Kind::Real(file.try_clone()?),
            Kind::File(file) => Kind::File(file.try_clone()?),
            Kind::Read(end) => Kind::Read(Some(end.take().ok_or_else(used_up)?)),
            Kind::Write(end) => Kind::Write(Some(end.take().ok_or_else(used_up)?)),
        }))
    }

    pub(crate) fn is_bytes(&self) -> bool {
        matches!(self.kind, Kind::Bytes(_))
    }
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Inherit => f.write_str("Stdio(inherit)"),
            Kind::Null => f.write_str("Stdio(null)"),
            Kind::Piped => f.write_str("Stdio(piped)"),
            Kind::Bytes(bytes) => write!(f, "Stdio({} bytes)", bytes.len()),
            Kind::Real(_) | Kind::File(_) => f.write_str("Stdio(file)"),
            Kind::Read(_) | Kind::Write(_) => f.write_str("Stdio(pipe)"),
        }
    }
}

impl From<&str> for Stdio {
    fn from(text: &str) -> Stdio {
        Stdio::bytes(text.as_bytes())
    }
}

impl From<String> for Stdio {
    fn from(text: String) -> Stdio {
        Stdio::bytes(text.into_bytes())
    }
}

impl From<&[u8]> for Stdio {
    fn from(bytes: &[u8]) -> Stdio {
        Stdio::bytes(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Stdio {
    fn from(bytes: &[u8; N]) -> Stdio {
        Stdio::bytes(bytes.as_slice())
    }
}

impl From<Vec<u8>> for Stdio {
    fn from(bytes: Vec<u8>) -> Stdio {
        Stdio::bytes(bytes)
    }
}

/// A real file. A guest reads and writes it as a stream, which holds virtual time still meanwhile.
impl From<std::fs::File> for Stdio {
    fn from(file: std::fs::File) -> Stdio {
        Stdio::new(Kind::Real(file))
    }
}

/// A file of the session's overlay, from its position on.
impl From<testbench_overlay::fs::File> for Stdio {
    fn from(file: testbench_overlay::fs::File) -> Stdio {
        Stdio::new(Kind::File(file))
    }
}

/// Input from a pipe.
impl From<PipeReader> for Stdio {
    fn from(reader: PipeReader) -> Stdio {
        Stdio::new(match reader.into_end() {
            End::Real(file) => Kind::Real(file),
            End::Timeline { pipe, .. } => Kind::Read(Some(pipe)),
        })
    }
}

/// Output into a pipe.
impl From<PipeWriter> for Stdio {
    fn from(writer: PipeWriter) -> Stdio {
        Stdio::new(match writer.into_end() {
            End::Real(file) => Kind::Real(file),
            End::Timeline { pipe, .. } => Kind::Write(Some(pipe)),
        })
    }
}

/// Input from what another child writes to its stdout.
impl From<crate::ChildStdout> for Stdio {
    fn from(output: crate::ChildStdout) -> Stdio {
        output.into_pipe().into()
    }
}

/// Input from what another child writes to its stderr.
impl From<crate::ChildStderr> for Stdio {
    fn from(output: crate::ChildStderr) -> Stdio {
        output.into_pipe().into()
    }
}

/// Output into what another child reads as its stdin.
impl From<crate::ChildStdin> for Stdio {
    fn from(input: crate::ChildStdin) -> Stdio {
        input.into_pipe().into()
    }
}

/// As by [`std::process::Stdio::from`].
impl From<std::process::ChildStdout> for Stdio {
    fn from(output: std::process::ChildStdout) -> Stdio {
        sys::file_of(output).into()
    }
}

/// As by [`std::process::Stdio::from`].
impl From<std::process::ChildStderr> for Stdio {
    fn from(output: std::process::ChildStderr) -> Stdio {
        sys::file_of(output).into()
    }
}

/// As by [`std::process::Stdio::from`].
impl From<std::process::ChildStdin> for Stdio {
    fn from(input: std::process::ChildStdin) -> Stdio {
        sys::file_of(input).into()
    }
}

/// As by [`std::process::Stdio::from`].
impl From<io::PipeReader> for Stdio {
    fn from(reader: io::PipeReader) -> Stdio {
        sys::file_of(reader).into()
    }
}

/// As by [`std::process::Stdio::from`].
impl From<io::PipeWriter> for Stdio {
    fn from(writer: io::PipeWriter) -> Stdio {
        sys::file_of(writer).into()
    }
}

/// As by [`std::process::Stdio::from`].
#[cfg(unix)]
impl From<std::os::fd::OwnedFd> for Stdio {
    fn from(fd: std::os::fd::OwnedFd) -> Stdio {
        sys::file_of(fd).into()
    }
}

/// This process's own stdout.
impl From<io::Stdout> for Stdio {
    fn from(_: io::Stdout) -> Stdio {
        Stdio::new(Kind::Inherit)
    }
}
