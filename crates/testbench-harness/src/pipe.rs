//! Pipes between this process and its children: on the session's timeline, or the system's.
//!
//! In a session every pipe is a pipe of the guests' kernel, whether its ends belong to this process,
//! a guest, or a native child (which has a thread that copies). So waiting for a pipe is
//! always a wait on the timeline, and one that can never end is a reported deadlock.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use testbench_clock::{Clock, Lookup, Role};
use testbench_overlay::Errno;

use crate::bench::{self, Bench};
use crate::stdio::{Stdio, StdioKind};
use crate::sys;

/// Makes a pipe, as [`std::io::pipe`] does; in a session, one on the session's timeline.
///
/// For two commands that write into one pipe, or for `2>&1`:
///
/// ```
/// use std::io::Read;
/// use testbench_harness::{Command, Testbench, Toolchain};
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// let (mut reader, writer) = testbench_harness::pipe()?;
/// let mut child = Command::new("cat")
///     .args(["-", "missing"])
///     .stdin_bytes("there\n")
///     .stdout(writer.try_clone()?)
///     .stderr(writer) // the last copy of this end: another one would keep end-of-file away
///     .spawn()?;
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert!(text.starts_with("there\ncat: missing: "));
/// assert_eq!(child.wait()?.code(), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When the system has no descriptors left, and when the session of this thread has ended.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    match bench::current() {
        Lookup::Absent => {
            let (reader, writer) = io::pipe()?;
            Ok((PipeReader::real(reader), PipeWriter::real(writer)))
        }
        Lookup::Open(bench) => {
            let waiter = Waiter::new(&bench, &testbench_clock::current());
            let (reader, writer) = testbench_wasi::pipe();
            let reader = PipeReader { end: End::Timeline { pipe: reader, waiter: waiter.clone() } };
            Ok((reader, PipeWriter { end: End::Timeline { pipe: writer, waiter } }))
        }
        Lookup::Closed(_, ended) => Err(io::Error::other(ended)),
    }
}

/// One end of a pipe.
pub(crate) enum End<P> {
    /// The system's.
    Real(std::fs::File),
    /// A session's.
    Timeline { pipe: P, waiter: Waiter },
}

/// The end of a [`pipe`] that is read from.
///
/// In a session, a read waits on the timeline; one that can never end is
/// [`io::ErrorKind::Deadlock`].
pub struct PipeReader {
    end: End<testbench_wasi::ReadEnd>,
}

/// The end of a [`pipe`] that is written to.
///
/// In a session, a write waits on the timeline; one that can never end is
/// [`io::ErrorKind::Deadlock`]. Without a reader it is [`io::ErrorKind::BrokenPipe`].
pub struct PipeWriter {
    end: End<testbench_wasi::WriteEnd>,
}

impl PipeReader {
    pub(crate) fn real(reader: impl Into<sys::OwnedPipe>) -> PipeReader {
        PipeReader { end: End::Real(sys::file_of(reader)) }
    }

    pub(crate) fn new(pipe: testbench_wasi::ReadEnd, waiter: Waiter) -> PipeReader {
        PipeReader { end: End::Timeline { pipe, waiter } }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn into_end(self) -> End<testbench_wasi::ReadEnd> {
        self.end
    }

    pub(crate) fn end(&self) -> &End<testbench_wasi::ReadEnd> {
        &self.end
    }

    /// Returns a further end of the same pipe.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn try_clone(&self) -> io::Result<PipeReader> {
        Ok(PipeReader { end: self.end.try_clone()? })
    }
}

impl PipeWriter {
    pub(crate) fn real(writer: impl Into<sys::OwnedPipe>) -> PipeWriter {
        PipeWriter { end: End::Real(sys::file_of(writer)) }
    }

    pub(crate) fn new(pipe: testbench_wasi::WriteEnd, waiter: Waiter) -> PipeWriter {
        PipeWriter { end: End::Timeline { pipe, waiter } }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn into_end(self) -> End<testbench_wasi::WriteEnd> {
        self.end
    }

    /// Returns a further end of the same pipe. Its readers find end-of-file when all are gone.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn try_clone(&self) -> io::Result<PipeWriter> {
        Ok(PipeWriter { end: self.end.try_clone()? })
    }
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.end {
            End::Real(file) => file.read(buf),
            End::Timeline { pipe, waiter } => match pipe.try_read(buf) {
                Err(Errno::Again) => waiter.wait(|clock| pipe.read(clock, buf)),
                done => Ok(done?),
            },
        }
    }
}

impl Write for PipeWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.end {
            End::Real(file) => file.write(buf),
            End::Timeline { pipe, waiter } => match pipe.try_write(buf) {
                Err(Errno::Again) => {
                    waiter.wait(|clock| pipe.write_all(clock, buf)).map(|()| buf.len())
                }
                done => Ok(done?),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Input from a pipe.
impl From<PipeReader> for Stdio {
    fn from(reader: PipeReader) -> Stdio {
        match reader.end {
            End::Real(file) => file.into(),
            End::Timeline { pipe, .. } => StdioKind::Reader(pipe).into(),
        }
    }
}

/// Output into a pipe.
impl From<PipeWriter> for Stdio {
    fn from(writer: PipeWriter) -> Stdio {
        match writer.end {
            End::Real(file) => file.into(),
            End::Timeline { pipe, .. } => StdioKind::Writer(pipe).into(),
        }
    }
}

impl<P: Clone> End<P> {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            End::Real(file) => End::Real(file.try_clone()?),
            End::Timeline { pipe, waiter } => {
                End::Timeline { pipe: pipe.clone(), waiter: waiter.clone() }
            }
        })
    }
}

impl fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::Real(file) => f.debug_tuple("PipeReader").field(file).finish(),
            End::Timeline { pipe, .. } => pipe.fmt(f),
        }
    }
}

impl fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::Real(file) => f.debug_tuple("PipeWriter").field(file).finish(),
            End::Timeline { pipe, .. } => pipe.fmt(f),
        }
    }
}

/// Finds the participant as which a thread waits for something of a session.
///
/// Pipes and children can move to other threads, and be used where another session is installed, so
/// each wait asks anew.
#[derive(Clone)]
pub(crate) struct Waiter {
    bench: Arc<Bench>,
    /// The participant of the thread that made this.
    clock: Arc<dyn Clock>,
    made_on: ThreadId,
}

impl Waiter {
    pub(crate) fn new(bench: &Arc<Bench>, clock: &Arc<dyn Clock>) -> Waiter {
        let (bench, clock) = (Arc::clone(bench), Arc::clone(clock));
        Waiter { bench, clock, made_on: thread::current().id() }
    }

    /// The session's clock.
    #[cfg(feature = "tokio")]
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The session's name.
    #[cfg(feature = "tokio")]
    pub(crate) fn session(&self) -> &str {
        self.bench.name()
    }

    /// Waits, as a participant of the session's timeline.
    pub(crate) fn wait<R>(&self, f: impl FnOnce(&dyn Clock) -> io::Result<R>) -> io::Result<R> {
        let here = thread::current();
        match bench::current() {
            Lookup::Open(bench) if Arc::ptr_eq(&bench, &self.bench) => {
                f(&*testbench_clock::current())
            }
            _ if here.id() == self.made_on => f(&*self.clock),
            _ => {
                // A thread without the session's context: a participant for this one wait, since
                // the timeline cannot see it otherwise and would go on without it.
                let clock = self.clock.join(here.name().unwrap_or("a thread"), Role::Host);
                let result =
                    clock.participant().begin().map_err(io::Error::from).and_then(|()| f(&*clock));
                clock.participant().leave();
                result
            }
        }
    }
}
