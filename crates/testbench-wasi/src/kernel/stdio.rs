//! Where a guest's descriptors 0, 1 and 2 go.

use std::fmt;
use std::io::{IsTerminal, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use testbench_clock::Listener;
use testbench_overlay::Errno;

use super::fail::{Fail, Result};
use super::open::{CallOn, Kind, Open, OpenFile};
use super::pipe::{Look, PipeReader, PipeWriter};
use super::process::Process;
use super::real_stdin;
use super::rights::FdFlags;

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
    Pipe(PipeReader),
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
    Pipe(PipeWriter),
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
    PipeReader => Stdin::Pipe,
    OpenFile => Stdout::File,
    PipeWriter => Stdout::Pipe,
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
        open(self.stream(), true)
    }

    fn stream(self) -> std::result::Result<Stream, OpenFile> {
        Ok(match self {
            Stdin::Empty => Stream::bytes(Arc::default()),
            Stdin::Bytes(bytes) => Stream::bytes(bytes),
            Stdin::Inherit => Stream::RealInput,
            Stdin::File(file) => return Err(file),
            Stdin::Pipe(reader) => Stream::PipeReader(reader),
            Stdin::Reader(reader) => Stream::Reader(reader),
            Stdin::Observed(stdin, observer) => {
                Stream::Observed(Box::new(stdin.stream()?), observer)
            }
        })
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
        open(self.stream(output), false)
    }

    fn stream(self, output: Output) -> std::result::Result<Stream, OpenFile> {
        Ok(match self {
            Stdout::Null => Stream::Null,
            Stdout::Capture => Stream::Capture(output),
            Stdout::Inherit => Stream::RealOutput(output),
            Stdout::File(file) => return Err(file),
            Stdout::Pipe(writer) => Stream::PipeWriter(writer),
            Stdout::Writer(writer) => Stream::Writer(writer),
            Stdout::Observed(stdout, observer) => {
                Stream::Observed(Box::new(stdout.stream(output)?), observer)
            }
        })
    }
}

/// The open file of a standard stream, which is an input or an output.
fn open(stream: std::result::Result<Stream, OpenFile>, is_input: bool) -> Arc<Open> {
    match stream {
        Ok(stream) => {
            let kind = Kind::Stream(stream);
            Arc::new(Open::new(kind, is_input, !is_input, FdFlags::default()))
        }
        Err(file) => file.into_open(),
    }
}

/// One of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

/// A source or a sink of bytes that has no position.
pub(crate) enum Stream {
    Bytes { bytes: Arc<[u8]>, position: AtomicUsize },
    RealInput,
    Reader(Arc<Mutex<dyn Read + Send>>),
    PipeReader(PipeReader),
    Null,
    Capture(Output),
    RealOutput(Output),
    Writer(Arc<Mutex<dyn Write + Send>>),
    PipeWriter(PipeWriter),
    Observed(Box<Stream>, Observer),
}

impl Stream {
    fn bytes(bytes: Arc<[u8]>) -> Stream {
        Stream::Bytes { bytes, position: AtomicUsize::new(0) }
    }

    /// Whether this is a terminal, which only an inherited stream can be.
    pub(crate) fn is_terminal(&self) -> bool {
        match self {
            Stream::RealInput => std::io::stdin().is_terminal(),
            Stream::RealOutput(Output::Stdout) => std::io::stdout().is_terminal(),
            Stream::RealOutput(Output::Stderr) => std::io::stderr().is_terminal(),
            Stream::Observed(stream, _) => stream.is_terminal(),
            _ => false,
        }
    }

    /// Reads the bytes that are there, waiting for the first if `wait` is set.
    pub(super) fn read(
        &self,
        process: &Process,
        by: CallOn,
        buf: &mut [u8],
        wait: bool,
    ) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        match self {
            Stream::Observed(stream, observer) => {
                let n = stream.read(process, by, buf, wait)?;
                observer(&buf[..n]);
                Ok(n)
            }
            Stream::Bytes { bytes, position } => {
                let from = position.load(Ordering::Relaxed);
                let n = buf.len().min(bytes.len() - from);
                buf[..n].copy_from_slice(&bytes[from..from + n]);
                position.store(from + n, Ordering::Relaxed);
                Ok(n)
            }
            Stream::Reader(reader) => {
                let _outside = process.clock.participant().external(&by.which_is("a closure"));
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                retry(|| reader.read(buf)).map(|n| n.min(buf.len()))
            }
            Stream::RealInput => loop {
                let heard = real_stdin::listen();
                match real_stdin::try_read(buf) {
                    Err(Errno::Again) if wait => {
                        let what = by.which_is("the inherited standard input");
                        process.wait_outside(None, vec![heard], &what)?;
                    }
                    done => return Ok(done?),
                }
            },
            Stream::PipeReader(pipe) => {
                on_pipe(process, by, wait, || pipe.listen(), || pipe.try_read(buf))
            }
            _ => Err(Errno::Badf.into()),
        }
    }

    /// Writes `buf`: all of it if `wait` is set, else as much as there is room for.
    pub(super) fn write(
        &self,
        process: &Process,
        by: CallOn,
        buf: &[u8],
        wait: bool,
    ) -> Result<usize> {
        match self {
            Stream::Observed(stream, observer) => {
                let n = stream.write(process, by, buf, wait)?;
                observer(&buf[..n]);
                Ok(n)
            }
            Stream::Null => Ok(buf.len()),
            Stream::Capture(output) => process.capture(*output, buf).map(|()| buf.len()),
            Stream::RealOutput(Output::Stdout) => {
                retry(|| write_through(&mut std::io::stdout().lock(), buf))
            }
            Stream::RealOutput(Output::Stderr) => {
                retry(|| write_through(&mut std::io::stderr().lock(), buf))
            }
            Stream::Writer(writer) => {
                let _outside = process.clock.participant().external(&by.which_is("a closure"));
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                retry(|| write_through(&mut *writer, buf)).map(|n| n.min(buf.len()))
            }
            Stream::PipeWriter(pipe) => write_pipe(process, by, pipe, buf, wait),
            _ => Err(Errno::Badf.into()),
        }
    }

    /// Whether a read (a write, for an output) would wait. `None`: it would.
    pub(super) fn look(&self) -> Option<(u64, bool)> {
        let of_pipe = |look| match look {
            Look::Ready { bytes, hangup } => Some((bytes as u64, hangup)),
            Look::Waiting => None,
        };
        match self {
            Stream::Observed(stream, _) => stream.look(),
            Stream::Bytes { bytes, position } => {
                let left = bytes.len() - position.load(Ordering::Relaxed);
                Some((left as u64, left == 0))
            }
            Stream::RealInput => real_stdin::look(),
            Stream::PipeReader(pipe) => of_pipe(pipe.look()),
            Stream::PipeWriter(pipe) => of_pipe(pipe.look()),
            // The room that they have is not known before a call.
            Stream::Reader(_)
            | Stream::Null
            | Stream::Capture(_)
            | Stream::RealOutput(_)
            | Stream::Writer(_) => Some((1, false)),
        }
    }

    /// Listens for changes of [`Stream::look`]'s result; `None` if it never waits.
    pub(super) fn listen(&self) -> Option<Listener> {
        match self {
            Stream::RealInput => Some(real_stdin::listen()),
            Stream::PipeReader(pipe) => Some(pipe.listen()),
            Stream::PipeWriter(pipe) => Some(pipe.listen()),
            Stream::Observed(stream, _) => stream.listen(),
            _ => None,
        }
    }

    /// Whether waiting for this is a wait outside of the timeline.
    pub(super) fn is_outside(&self) -> bool {
        match self {
            Stream::RealInput => true,
            Stream::Observed(stream, _) => stream.is_outside(),
            _ => false,
        }
    }
}

fn write_pipe(
    process: &Process,
    by: CallOn,
    pipe: &PipeWriter,
    buf: &[u8],
    wait: bool,
) -> Result<usize> {
    let mut written = 0;
    loop {
        let listen = || pipe.listen();
        match on_pipe(process, by, wait, listen, || pipe.try_write(&buf[written..])) {
            Ok(n) => {
                written += n;
                if written == buf.len() || !wait {
                    return Ok(written);
                }
            }
            // The bytes written so far count; the error comes again with the next call.
            Err(Fail::Errno(_)) if written > 0 => return Ok(written),
            failed => return failed,
        }
    }
}

/// Calls `attempt` until it succeeds, if `wait` is set; else once more after a turn of the others, or a
/// loop of calls that fail with "again" would keep the other end from ever running.
fn on_pipe(
    process: &Process,
    by: CallOn,
    wait: bool,
    listen: impl Fn() -> Listener,
    mut attempt: impl FnMut() -> Result<usize, Errno>,
) -> Result<usize> {
    let mut has_yielded = false;
    loop {
        let heard = listen();
        match attempt() {
            Err(Errno::Again) if wait => {
                process.wait(None, &[heard], &by.which_is("a pipe"))?;
            }
            Err(Errno::Again) if !has_yielded => {
                has_yielded = true;
                process.clock.yield_now()?;
            }
            done => return Ok(done?),
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
