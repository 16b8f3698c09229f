//! Threads that copy between a session's streams and the system's pipes of a native child.
//!
//! They are no participants. A waker tells them that a wait on the timeline is over, and takes
//! [`Hold`] of the timeline before anything else can happen.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use testbench_clock::Listener;
use testbench_overlay::Errno;
use testbench_wasi::{PipeReader, PipeWriter};

use super::hold::{Activity, Hold, Seizer};
use crate::stdio::StdioKind;
use crate::sys;
use crate::tape::{Stream, Tapped};

/// How much is copied at a time: the capacity of a pipe.
const COPY_BYTES: usize = 65_536;

/// How long the end of a child's output is kept back in case that it is the child's own end, so
/// that both come at the same virtual time. In real time; the two are microseconds apart.
const EXIT_GRACE: Duration = Duration::from_millis(50);

/// Copies `from` to the stdin of a native child.
pub(crate) fn feed(hold: &Arc<Hold>, from: StdioKind, to: Tapped<File>) -> io::Result<()> {
    match from {
        StdioKind::Reader(from) => feed_from_pipe(hold, from, to),
        StdioKind::File(from) => feed_at_once(hold, from, to),
        StdioKind::Bytes(bytes) => feed_at_once(hold, io::Cursor::new(bytes), to),
        _ => Ok(()),
    }
}

/// Copies a native child's output `from` to where it belongs. Output that does not go into a pipe
/// of the session has a [`Collector`].
pub(crate) fn drain(
    hold: &Arc<Hold>,
    pump: Stream,
    from: Tapped<File>,
    to: StdioKind,
) -> io::Result<Option<Collector>> {
    let to: Option<Box<dyn Write + Send>> = match to {
        StdioKind::Writer(to) => return drain_into_pipe(hold, pump, from, to).map(|()| None),
        StdioKind::Piped => None,
        StdioKind::Null | StdioKind::Bytes(_) | StdioKind::Reader(_) => Some(Box::new(io::sink())),
        StdioKind::File(to) => Some(Box::new(to)),
        StdioKind::Real(to) => Some(Box::new(to)),
        StdioKind::Inherit if pump == Stream::Stdout => Some(Box::new(io::stdout())),
        StdioKind::Inherit => Some(Box::new(io::stderr())),
    };
    Collector::start(hold, pump, from, to).map(Some)
}

/// A thread that copies a native child's output to something that never waits for the timeline.
pub(crate) struct Collector {
    thread: thread::JoinHandle<Vec<u8>>,
}

impl Collector {
    /// Writes into `to`, or keeps the bytes if that is `None`.
    fn start(
        hold: &Arc<Hold>,
        pump: Stream,
        mut from: Tapped<File>,
        to: Option<Box<dyn Write + Send>>,
    ) -> io::Result<Collector> {
        let hold = hold.clone();
        hold.set(pump, Activity::Moving);
        let thread = start("output", move || {
            hold.set(pump, Activity::Native { thread: sys::thread_id() });
            let mut kept = Vec::new();
            // The bytes before an error count.
            let _ = match to {
                Some(mut to) => io::copy(&mut from, &mut to),
                None => io::copy(&mut from, &mut kept),
            };
            drop(from);
            hold.set(pump, Activity::None);
            kept
        })?;
        Ok(Collector { thread })
    }

    /// Returns the kept bytes once every writing end of the child's output is closed.
    pub(crate) fn finish(self) -> Vec<u8> {
        // The thread does not panic.
        self.thread.join().unwrap_or_default()
    }
}

/// Copies a pipe of the session to a native child.
fn feed_from_pipe(hold: &Arc<Hold>, from: PipeReader, mut to: Tapped<File>) -> io::Result<()> {
    let hold = hold.clone();
    hold.set(Stream::Stdin, Activity::Moving);
    start("stdin", move || {
        hold.unpark_at_exit();
        let waker = waker(&hold, Stream::Stdin);
        let mut buf = vec![0; COPY_BYTES];
        loop {
            let heard = from.listen();
            match from.try_read(&mut buf) {
                Err(Errno::Again) => {
                    // A child that has ended reads nothing any more.
                    if !wait(&hold, Stream::Stdin, &heard, &waker, || hold.is_exited()) {
                        break;
                    }
                }
                Ok(n) if n > 0 => {
                    hold.set(Stream::Stdin, Activity::Native { thread: sys::thread_id() });
                    if to.write_all(&buf[..n]).is_err() {
                        break;
                    }
                }
                // The end of the file.
                Ok(_) => {
                    to.ended();
                    break;
                }
                Err(_) => break,
            }
        }
        hold.set(Stream::Stdin, Activity::Moving);
        drop((from, to));
        hold.set(Stream::Stdin, Activity::None);
    })
    .map(drop)
}

/// Copies `from`, which never waits for the timeline, to a native child.
fn feed_at_once(
    hold: &Arc<Hold>,
    mut from: impl Read + Send + 'static,
    mut to: Tapped<File>,
) -> io::Result<()> {
    let hold = hold.clone();
    hold.set(Stream::Stdin, Activity::Moving);
    start("stdin", move || {
        hold.set(Stream::Stdin, Activity::Native { thread: sys::thread_id() });
        // A child need not read all of it, so an error means nothing.
        if io::copy(&mut from, &mut to).is_ok() {
            to.ended();
        }
        drop((from, to));
        hold.set(Stream::Stdin, Activity::None);
    })
    .map(drop)
}

/// Copies a native child's output into a pipe of the session.
fn drain_into_pipe(
    hold: &Arc<Hold>,
    pump: Stream,
    mut from: Tapped<File>,
    to: PipeWriter,
) -> io::Result<()> {
    let hold = hold.clone();
    hold.set(pump, Activity::Moving);
    start("stdout", move || {
        let waker = waker(&hold, pump);
        let mut buf = vec![0; COPY_BYTES];
        loop {
            hold.set(pump, Activity::Native { thread: sys::thread_id() });
            let n = match from.read(&mut buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(n) => n,
            };
            hold.set(pump, Activity::Moving);
            if !pass_on(&hold, pump, &waker, &to, &buf[..n]) {
                // The reading ends are gone; the child finds out at its next write.
                break;
            }
        }
        drop(from);
        hold.pass_on_the_end(pump, to, EXIT_GRACE);
    })
    .map(drop)
}

/// Writes all of it into the pipe. Returns false if its reading ends are gone.
fn pass_on(
    hold: &Arc<Hold>,
    pump: Stream,
    waker: &Waker,
    to: &PipeWriter,
    mut bytes: &[u8],
) -> bool {
    while !bytes.is_empty() {
        let heard = to.listen();
        match to.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::Again) => {
                wait(hold, pump, &heard, waker, || false);
            }
            Err(_) => return false,
        }
    }
    true
}

fn start<R: Send + 'static>(
    stream: &str,
    f: impl FnOnce() -> R + Send + 'static,
) -> io::Result<thread::JoinHandle<R>> {
    thread::Builder::new().name(format!("native {stream}")).spawn(f)
}

fn waker(hold: &Arc<Hold>, pump: Stream) -> Waker {
    Waker::from(Arc::new(Seizer { hold: hold.clone(), pump, thread: thread::current() }))
}

/// Blocks this thread until `heard` is notified. Returns false if `give_up` says so first. The
/// timeline is held again when this returns.
fn wait(
    hold: &Hold,
    pump: Stream,
    heard: &Listener,
    waker: &Waker,
    give_up: impl Fn() -> bool,
) -> bool {
    heard.register(waker);
    hold.wait_for_timeline(pump, heard);
    while !heard.is_notified() {
        if give_up() {
            hold.seize(pump);
            return false;
        }
        thread::park();
    }
    hold.seize(pump);
    true
}
