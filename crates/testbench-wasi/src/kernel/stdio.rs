//! Where a guest's descriptors 0, 1 and 2 go.

use std::fmt;
use std::io::{IsTerminal, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use testbench_clock::Listener;
use testbench_overlay::Errno;

use super::fail::{Fail, Result};
use super::open::{CallOn, Open, OpenFile};
use super::pipe::{ReadEnd, Ready, WriteEnd};
use super::process::Process;
use super::real_stdin;

/// Where a guest's standard input comes from. Clones are the same source: bytes that one guest
/// has read from a file, a pipe or a reader do not reach another guest.
#[derive(Clone)]
#[non_exhaustive]
pub enum Stdin {
    /// Nowhere: it is at its end.
    Empty,
    /// These bytes, and then its end.
    Bytes(Arc<[u8]>),
    /// The standard input of this process. Waiting for it is a wait outside of the timeline:
    /// virtual time stands still meanwhile.
    Inherit,
    /// A file, from its position on.
    File(OpenFile),
    /// A pipe.
    Pipe(ReadEnd),
    /// A reader, called on the guest's thread when the guest reads. It may block, which
    /// is a wait outside of the timeline, and the guest cannot be killed meanwhile. See
    /// [`Stdin::reader`].
    Reader(Arc<Mutex<dyn Read + Send>>),
    /// The first, with an observer of the bytes that the guest reads; see [`Stdin::observed`].
    Observed(Box<Stdin>, Observer),
}

/// Where a guest's standard output, or its standard error, goes. Clones are the same place, but
/// for [`Stdout::Capture`], which is each guest's own.
#[derive(Clone)]
#[non_exhaustive]
pub enum Stdout {
    /// Nowhere.
    Null,
    /// Into [`Finished`](crate::Finished), all of it; more than
    /// [`Limits::output_bytes_max`](crate::Limits::output_bytes_max) ends the guest.
    Capture,
    /// To the same stream of this process.
    Inherit,
    /// Into a file, from its position on; give clones of one [`OpenFile`] to both streams to have
    /// them in one file, in order.
    File(OpenFile),
    /// Into a pipe.
    Pipe(WriteEnd),
    /// A writer, called on the guest's thread when the guest writes. See
    /// [`Stdout::writer`].
    Writer(Arc<Mutex<dyn Write + Send>>),
    /// The first, with an observer of the bytes that the guest writes; see [`Stdout::observed`].
    Observed(Box<Stdout>, Observer),
}

/// Called with the bytes that a guest reads or writes, on the guest's thread. It must not wait.
pub type Observer = Arc<dyn Fn(&[u8]) + Send + Sync>;

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stdin::Empty => f.write_str("Empty"),
            Stdin::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Stdin::Inherit => f.write_str("Inherit"),
            Stdin::File(file) => f.debug_tuple("File").field(file).finish(),
            Stdin::Pipe(pipe) => f.debug_tuple("Pipe").field(pipe).finish(),
            Stdin::Reader(_) => f.write_str("Reader"),
            Stdin::Observed(stdin, _) => f.debug_tuple("Observed").field(stdin).finish(),
        }
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stdout::Null => f.write_str("Null"),
            Stdout::Capture => f.write_str("Capture"),
            Stdout::Inherit => f.write_str("Inherit"),
            Stdout::File(file) => f.debug_tuple("File").field(file).finish(),
            Stdout::Pipe(pipe) => f.debug_tuple("Pipe").field(pipe).finish(),
            Stdout::Writer(_) => f.write_str("Writer"),
            Stdout::Observed(stdout, _) => f.debug_tuple("Observed").field(stdout).finish(),
        }
    }
}

macro_rules! from {
    ($($from:ty => $to:ident::$variant:ident,)*) => {$(
        impl From<$from> for $to {
            fn from(from: $from) -> Self {
                $to::$variant(from.into())
            }
        }
    )*};
}

from! {
    Vec<u8> => Stdin::Bytes,
    OpenFile => Stdin::File,
    ReadEnd => Stdin::Pipe,
    OpenFile => Stdout::File,
    WriteEnd => Stdout::Pipe,
}

impl Stdin {
    /// [`Stdin::Reader`] of `reader`.
    pub fn reader(reader: impl Read + Send + 'static) -> Self {
        Stdin::Reader(Arc::new(Mutex::new(reader)))
    }

    /// The same, with `observer` called for the bytes that the guest reads, in order, and with an
    /// empty slice at the end. It is never called for a [`Stdin::File`], which may have several users.
    pub fn observed(self, observer: Observer) -> Self {
        Stdin::Observed(Box::new(self), observer)
    }

    /// The open file that descriptor 0 refers to.
    pub(super) fn open(self) -> Arc<Open> {
        let (mut source, mut observers) = (self, Vec::new());
        while let Stdin::Observed(inner, observer) = source {
            observers.push(observer);
            source = *inner;
        }
        match source {
            Stdin::File(file) => file.open(),
            source => Stream::open(End::In(source, AtomicUsize::new(0)), observers),
        }
    }

    fn read(&self, call: &StreamCall<'_>, position: &AtomicUsize, buf: &mut [u8]) -> Result<usize> {
        match self {
            Stdin::Empty => Ok(0),
            Stdin::Bytes(bytes) => {
                let from = position.load(Ordering::Relaxed);
                let n = buf.len().min(bytes.len() - from);
                buf[..n].copy_from_slice(&bytes[from..from + n]);
                position.store(from + n, Ordering::Relaxed);
                Ok(n)
            }
            Stdin::Reader(reader) => {
                let _outside = call.process.external(&call.by.which_is("a closure"));
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                retry(|| reader.read(buf)).map(|n| n.min(buf.len()))
            }
            Stdin::Inherit => loop {
                let heard = real_stdin::listen();
                match real_stdin::try_read(buf) {
                    Err(Errno::Again) if call.wait => {
                        let what = call.by.which_is("the inherited standard input");
                        call.process.wait_outside(None, vec![heard], &what)?;
                    }
                    done => return Ok(done?),
                }
            },
            Stdin::Pipe(pipe) => call.on_pipe(|| pipe.listen(), || pipe.try_read(buf)),
            // They are opened as something else.
            Stdin::File(_) | Stdin::Observed(..) => Err(Errno::Badf.into()),
        }
    }
}

impl Stdout {
    /// [`Stdout::Writer`] of `writer`.
    pub fn writer(writer: impl Write + Send + 'static) -> Self {
        Stdout::Writer(Arc::new(Mutex::new(writer)))
    }

    /// The same, with `observer` called for the bytes that the guest has written, in order. It is never
    /// called for a [`Stdout::File`], which may have several users.
    pub fn observed(self, observer: Observer) -> Self {
        Stdout::Observed(Box::new(self), observer)
    }

    /// The open file that descriptor 1 or 2 refers to.
    pub(super) fn open(self, output: Output) -> Arc<Open> {
        let (mut sink, mut observers) = (self, Vec::new());
        while let Stdout::Observed(inner, observer) = sink {
            observers.push(observer);
            sink = *inner;
        }
        match sink {
            Stdout::File(file) => file.open(),
            sink => Stream::open(End::Out(sink, output), observers),
        }
    }

    fn write(&self, call: &StreamCall<'_>, output: Output, buf: &[u8]) -> Result<usize> {
        match self {
            Stdout::Null => Ok(buf.len()),
            Stdout::Capture => call.process.capture(output, buf).map(|()| buf.len()),
            Stdout::Inherit => match output {
                Output::Stdout => retry(|| write_through(&mut std::io::stdout().lock(), buf)),
                Output::Stderr => retry(|| write_through(&mut std::io::stderr().lock(), buf)),
            },
            Stdout::Writer(writer) => {
                let _outside = call.process.external(&call.by.which_is("a closure"));
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                retry(|| write_through(&mut *writer, buf)).map(|n| n.min(buf.len()))
            }
            Stdout::Pipe(pipe) => call.write_pipe(pipe, buf),
            // They are opened as something else.
            Stdout::File(_) | Stdout::Observed(..) => Err(Errno::Badf.into()),
        }
    }
}

/// One of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

/// A source or a sink of bytes that has no position which a guest could move.
pub(crate) struct Stream {
    end: End,
    /// The outermost first; the innermost is called first.
    observers: Vec<Observer>,
}

/// The inside of a stream, below all observers.
enum End {
    /// With the number of bytes that were read, for [`Stdin::Bytes`].
    In(Stdin, AtomicUsize),
    Out(Stdout, Output),
}

/// A call that moves bytes through a stream.
pub(super) struct StreamCall<'a> {
    pub(super) process: &'a Process,
    pub(super) by: CallOn,
    /// Whether it waits for what cannot be done at once.
    pub(super) wait: bool,
}

impl Stream {
    fn open(end: End, observers: Vec<Observer>) -> Arc<Open> {
        Open::stream(Stream { end, observers })
    }

    pub(super) fn is_input(&self) -> bool {
        matches!(self.end, End::In(..))
    }

    /// The output that this is, if its bytes are captured and nothing else.
    pub(super) fn only_captured(&self) -> Option<Output> {
        match self.end {
            End::Out(Stdout::Capture, output) if self.observers.is_empty() => Some(output),
            _ => None,
        }
    }

    /// Whether this is a terminal, which only an inherited stream can be.
    pub(crate) fn is_terminal(&self) -> bool {
        match self.end {
            End::In(Stdin::Inherit, _) => std::io::stdin().is_terminal(),
            End::Out(Stdout::Inherit, Output::Stdout) => std::io::stdout().is_terminal(),
            End::Out(Stdout::Inherit, Output::Stderr) => std::io::stderr().is_terminal(),
            _ => false,
        }
    }

    /// Reads the bytes that are there, waiting for the first if the call waits.
    pub(super) fn read(&self, call: &StreamCall<'_>, buf: &mut [u8]) -> Result<usize> {
        match &self.end {
            End::In(..) if buf.is_empty() => Ok(0),
            End::In(stdin, position) => {
                stdin.read(call, position, buf).inspect(|&n| self.observe(&buf[..n]))
            }
            End::Out(..) => Err(Errno::Badf.into()),
        }
    }

    /// Writes `buf`: all of it if the call waits, else as much as there is room for.
    pub(super) fn write(&self, call: &StreamCall<'_>, buf: &[u8]) -> Result<usize> {
        match &self.end {
            End::In(..) => Err(Errno::Badf.into()),
            End::Out(stdout, output) => {
                stdout.write(call, *output, buf).inspect(|&n| self.observe(&buf[..n]))
            }
        }
    }

    fn observe(&self, bytes: &[u8]) {
        self.observers.iter().rev().for_each(|observer| observer(bytes));
    }

    /// Whether a read (a write, for an output) would not wait. `None`: it would.
    pub(super) fn look(&self) -> Option<Ready> {
        match &self.end {
            End::In(Stdin::Empty, _) => Some(Ready { bytes: 0, hangup: true }),
            End::In(Stdin::Bytes(bytes), position) => {
                let left = bytes.len() - position.load(Ordering::Relaxed);
                Some(Ready { bytes: left as u64, hangup: left == 0 })
            }
            End::In(Stdin::Inherit, _) => real_stdin::look(),
            End::In(Stdin::Pipe(pipe), _) => pipe.look(),
            End::Out(Stdout::Pipe(pipe), _) => pipe.look(),
            // The room of the others is not known before a call.
            _ => Some(Ready { bytes: 1, hangup: false }),
        }
    }

    /// Listens for changes of [`Stream::look`]'s result; `None` if it never waits.
    pub(super) fn listen(&self) -> Option<Listener> {
        match &self.end {
            End::In(Stdin::Inherit, _) => Some(real_stdin::listen()),
            End::In(Stdin::Pipe(pipe), _) => Some(pipe.listen()),
            End::Out(Stdout::Pipe(pipe), _) => Some(pipe.listen()),
            _ => None,
        }
    }

    /// Whether waiting for this is a wait outside of the timeline.
    pub(super) fn is_outside(&self) -> bool {
        matches!(self.end, End::In(Stdin::Inherit, _))
    }
}

impl StreamCall<'_> {
    fn write_pipe(&self, pipe: &WriteEnd, buf: &[u8]) -> Result<usize> {
        let mut written = 0;
        loop {
            match self.on_pipe(|| pipe.listen(), || pipe.try_write(&buf[written..])) {
                Ok(n) => {
                    written += n;
                    if written == buf.len() || !self.wait {
                        return Ok(written);
                    }
                }
                // The bytes written so far count; the error comes again with the next call.
                Err(Fail::Errno(_)) if written > 0 => return Ok(written),
                failed => return failed,
            }
        }
    }

    /// Calls `attempt` until it succeeds, if the call waits; else once more after a turn of the others, or
    /// a loop of calls that fail with "again" would keep the other end from ever running.
    fn on_pipe(
        &self,
        listen: impl Fn() -> Listener,
        mut attempt: impl FnMut() -> Result<usize, Errno>,
    ) -> Result<usize> {
        let mut has_yielded = false;
        loop {
            let heard = listen();
            match attempt() {
                Err(Errno::Again) if self.wait => {
                    self.process.wait(None, &[heard], &self.by.which_is("a pipe"))?;
                }
                Err(Errno::Again) if !has_yielded => {
                    has_yielded = true;
                    self.process.yield_now()?;
                }
                done => return Ok(done?),
            }
        }
    }
}

fn write_through(writer: &mut dyn Write, buf: &[u8]) -> std::io::Result<usize> {
    let n = writer.write(buf)?;
    writer.flush()?;
    Ok(n)
}

fn retry(mut call: impl FnMut() -> std::io::Result<usize>) -> Result<usize> {
    loop {
        match call() {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done.map_err(|e| Fail::Errno(Errno::from(e))),
        }
    }
}
