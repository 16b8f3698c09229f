//! Threads that copy between a session's streams and the system's pipes of a native child.
//!
//! They are no participants. A waker tells them that a wait on the timeline is over, and takes
//! [`Hold`] of the timeline before anything else can happen.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use testbench_overlay::Errno;
use testbench_wasi::{ReadEnd, WriteEnd};

use super::hold::{Activity, Hold};
use crate::stdio::StdioKind;
use crate::sys;
use crate::tape::{Stream, Tapped};

/// How much is copied at a time: the capacity of a pipe.
const COPY_BYTES: usize = 65_536;

/// How long the end of a child's output is kept back in case that it is the child's own end, so
/// that both come at the same virtual time. In real time; the two are microseconds apart.
const EXIT_GRACE: Duration = Duration::from_millis(50);

/// Copies `from` to the stdin of a native child.
pub(crate) fn feed(hold: &Arc<Hold>, from: StdioKind, mut to: Tapped<File>) -> io::Result<()> {
    let pump = Stream::Stdin;
    let mut from: Box<dyn Read + Send> = match from {
        StdioKind::Reader(from) => {
            let feed = move |hold: &Arc<Hold>| feed_from_pipe(hold, &from, &mut to);
            return start(hold, pump, feed).map(drop);
        }
        // These never wait for the timeline.
        StdioKind::File(from) => Box::new(from),
        StdioKind::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
        _ => return Ok(()),
    };
    let feed = move |hold: &Arc<Hold>| {
        hold.set(pump, Activity::Native { thread: sys::thread_id() });
        // A child need not read all of it, so an error means nothing.
        if io::copy(&mut from, &mut to).is_ok() {
            to.ended();
        }
    };
    start(hold, pump, feed).map(drop)
}

/// A thread that copies a native child's output to a place that never waits for the timeline. It
/// returns the kept bytes once every writing end of the output is closed.
pub(crate) type Collector = thread::JoinHandle<Vec<u8>>;

/// Copies a native child's output `from` to its place. Output that does not go into a pipe of the
/// session has a [`Collector`].
pub(crate) fn drain(
    hold: &Arc<Hold>,
    pump: Stream,
    mut from: Tapped<File>,
    to: StdioKind,
) -> io::Result<Option<Collector>> {
    let mut to: Option<Box<dyn Write + Send>> = match to {
        StdioKind::Writer(to) => {
            let drain = move |hold: &Arc<Hold>| drain_into_pipe(hold, pump, from, to);
            return start(hold, pump, drain).map(|_| None);
        }
        StdioKind::Piped => None,
        StdioKind::Null | StdioKind::Bytes(_) | StdioKind::Reader(_) => Some(Box::new(io::sink())),
        StdioKind::File(to) => Some(Box::new(to)),
        StdioKind::Real(to) => Some(Box::new(to)),
        StdioKind::Inherit if pump == Stream::Stdout => Some(Box::new(io::stdout())),
        StdioKind::Inherit => Some(Box::new(io::stderr())),
    };
    let collect = move |hold: &Arc<Hold>| {
        hold.set(pump, Activity::Native { thread: sys::thread_id() });
        let mut kept = Vec::new();
        // The bytes before an error count.
        let _ = match &mut to {
            Some(to) => io::copy(&mut from, to),
            None => io::copy(&mut from, &mut kept),
        };
        kept
    };
    start(hold, pump, collect).map(Some)
}

/// Runs `copy` on a thread of its own. The timeline is held from now on until `copy` has returned
/// and dropped its ends, but while it waits for the timeline.
fn start<R: Send + 'static>(
    hold: &Arc<Hold>,
    pump: Stream,
    copy: impl FnOnce(&Arc<Hold>) -> R + Send + 'static,
) -> io::Result<thread::JoinHandle<R>> {
    let hold = hold.clone();
    hold.set(pump, Activity::Moving);
    thread::Builder::new().name(format!("native {}", pump.name())).spawn(move || {
        let result = copy(&hold);
        hold.set(pump, Activity::None);
        result
    })
}

/// Copies a pipe of the session to a native child.
fn feed_from_pipe(hold: &Arc<Hold>, from: &ReadEnd, to: &mut Tapped<File>) {
    let mut buf = vec![0; COPY_BYTES];
    loop {
        let heard = from.listen();
        match from.try_read(&mut buf) {
            Err(Errno::Again) => {
                if !hold.wait_for_timeline(Stream::Stdin, &heard) {
                    break;
                }
            }
            Err(_) => break,
            Ok(0) => {
                to.ended();
                break;
            }
            Ok(n) => {
                hold.set(Stream::Stdin, Activity::Native { thread: sys::thread_id() });
                if to.write_all(&buf[..n]).is_err() {
                    break;
                }
            }
        }
    }
    hold.set(Stream::Stdin, Activity::Moving);
}

/// Copies a native child's output into a pipe of the session.
fn drain_into_pipe(hold: &Arc<Hold>, pump: Stream, mut from: Tapped<File>, to: WriteEnd) {
    let mut buf = vec![0; COPY_BYTES];
    loop {
        hold.set(pump, Activity::Native { thread: sys::thread_id() });
        let n = match from.read(&mut buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        hold.set(pump, Activity::Moving);
        if !pass_on(hold, pump, &to, &buf[..n]) {
            // The reading ends are gone; the child finds out at its next write.
            break;
        }
    }
    drop(from);
    hold.pass_on_the_end(pump, to, EXIT_GRACE);
}

/// Writes all of it into the pipe. Returns false if its reading ends are gone.
fn pass_on(hold: &Arc<Hold>, pump: Stream, to: &WriteEnd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let heard = to.listen();
        match to.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::Again) => {
                hold.wait_for_timeline(pump, &heard);
            }
            Err(_) => return false,
        }
    }
    true
}
