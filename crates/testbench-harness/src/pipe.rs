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
use testbench_wasi::{ReadEnd, WriteEnd};

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
            Ok((PipeEnd::real(reader), PipeEnd::real(writer)))
        }
        Lookup::Open(bench) => {
            let waiter = Waiter::new(&bench, &testbench_clock::current());
            let (reader, writer) = testbench_wasi::pipe();
            Ok((PipeEnd::new(reader, waiter.clone()), PipeEnd::new(writer, waiter)))
        }
        Lookup::Closed(_, ended) => Err(io::Error::other(ended)),
    }
}

/// The end of a [`pipe`] that is read from.
///
/// In a session, a read waits on the timeline; one that can never end is
/// [`io::ErrorKind::Deadlock`].
pub type PipeReader = PipeEnd<ReadEnd>;

/// The end of a [`pipe`] that is written to.
///
/// In a session, a write waits on the timeline; one that can never end is
/// [`io::ErrorKind::Deadlock`]. Without a reader it is [`io::ErrorKind::BrokenPipe`].
pub type PipeWriter = PipeEnd<WriteEnd>;

/// One end of a pipe: a [`PipeReader`] or a [`PipeWriter`].
pub struct PipeEnd<P>(pub(crate) End<P>);

pub(crate) enum End<P> {
    /// The system's.
    Real(std::fs::File),
    /// A session's.
    Timeline { pipe: P, waiter: Waiter },
}

impl<P> PipeEnd<P> {
    pub(crate) fn real(end: impl Into<sys::OwnedPipe>) -> PipeEnd<P> {
        PipeEnd(End::Real(sys::file_of(end)))
    }

    pub(crate) fn new(pipe: P, waiter: Waiter) -> PipeEnd<P> {
        PipeEnd(End::Timeline { pipe, waiter })
    }

    fn into_stdio(self, kind: impl FnOnce(P) -> StdioKind) -> Stdio {
        match self.0 {
            End::Real(file) => file.into(),
            End::Timeline { pipe, .. } => kind(pipe).into(),
        }
    }
}

impl<P: Clone> PipeEnd<P> {
    /// Returns a further end of the same pipe. Its readers find end-of-file when all writers are gone.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn try_clone(&self) -> io::Result<PipeEnd<P>> {
        match &self.0 {
            End::Real(file) => Ok(PipeEnd(End::Real(file.try_clone()?))),
            End::Timeline { pipe, waiter } => Ok(PipeEnd::new(pipe.clone(), waiter.clone())),
        }
    }
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
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
        match &mut self.0 {
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
        reader.into_stdio(StdioKind::Reader)
    }
}

/// Output into a pipe.
impl From<PipeWriter> for Stdio {
    fn from(writer: PipeWriter) -> Stdio {
        writer.into_stdio(StdioKind::Writer)
    }
}

impl<P: fmt::Debug> fmt::Debug for PipeEnd<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            End::Real(file) => f.debug_tuple("PipeEnd").field(file).finish(),
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
