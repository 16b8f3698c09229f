//! Threads that copy between a session's pipes and a native child's.
//!
//! They are no participants: what they wait for on the timeline they hear of by a waker, which
//! takes [`Hold`] of the timeline before anything else can happen.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use testbench_clock::Listener;
use testbench_overlay::Errno;
use testbench_wasi::{PipeReader, PipeWriter};

use super::hold::{Activity, Hold, Pump, Seizer};
use crate::sys;
use crate::tape::Tapped;

/// How much is copied at a time: what a pipe holds.
const COPY_BYTES: usize = 65_536;

/// How long the end of a child's output is kept back in case that it is the child's own end, so
/// that both come at the same virtual time. In real time; the two are microseconds apart.
const EXIT_GRACE: Duration = Duration::from_millis(50);

/// Copies what comes out of a session's pipe to a native child.
pub(crate) fn feed_from_pipe(
    hold: &Arc<Hold>,
    from: PipeReader,
    mut to: Tapped<File>,
) -> io::Result<()> {
    let hold = hold.clone();
    hold.set(Pump::Stdin, Activity::Moving);
    start("stdin", move || {
        hold.unpark_at_exit();
        let waker = waker(&hold, Pump::Stdin);
        let mut buf = vec![0; COPY_BYTES];
        loop {
            let heard = from.listen();
            match from.try_read(&mut buf) {
                Err(Errno::Again) => {
                    // A child that has ended reads nothing any more.
                    if !wait(&hold, Pump::Stdin, &heard, &waker, || hold.is_exited()) {
                        break;
                    }
                }
                Ok(n) if n > 0 => {
                    hold.set(Pump::Stdin, Activity::Native { thread: sys::thread_id() });
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
        hold.set(Pump::Stdin, Activity::Moving);
        drop((from, to));
        hold.set(Pump::Stdin, Activity::None);
    })
}

/// Copies what `from` gives to a native child; it never waits for the timeline.
pub(crate) fn feed(
    hold: &Arc<Hold>,
    mut from: impl Read + Send + 'static,
    mut to: Tapped<File>,
) -> io::Result<()> {
    let hold = hold.clone();
    hold.set(Pump::Stdin, Activity::Moving);
    start("stdin", move || {
        hold.set(Pump::Stdin, Activity::Native { thread: sys::thread_id() });
        // A child need not read all of it, so an error means nothing.
        if io::copy(&mut from, &mut to).is_ok() {
            to.ended();
        }
        drop((from, to));
        hold.set(Pump::Stdin, Activity::None);
    })
}

/// Copies what a native child writes into a session's pipe.
pub(crate) fn drain_into_pipe(
    hold: &Arc<Hold>,
    pump: Pump,
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
                // Nobody reads any more, and the child hears of that by its next write.
                break;
            }
        }
        drop(from);
        hold.pass_on_the_end(pump, to, EXIT_GRACE);
    })
}

/// Writes all of it into the pipe; false if nobody can read it any more.
fn pass_on(hold: &Arc<Hold>, pump: Pump, waker: &Waker, to: &PipeWriter, mut bytes: &[u8]) -> bool {
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

/// What copies a native child's output to somewhere that never waits for the timeline.
pub(crate) struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: thread::JoinHandle<()>,
}

impl Collector {
    /// Keeps all of it.
    pub(crate) fn keeping(
        hold: &Arc<Hold>,
        pump: Pump,
        from: Tapped<File>,
    ) -> io::Result<Collector> {
        Collector::start(hold, pump, from, Vec::new, |bytes| bytes)
    }

    /// Writes it into `to`.
    pub(crate) fn into(
        hold: &Arc<Hold>,
        pump: Pump,
        from: Tapped<File>,
        to: impl Write + Send + 'static,
    ) -> io::Result<Collector> {
        Collector::start(hold, pump, from, move || to, |_| Vec::new())
    }

    fn start<W: Write>(
        hold: &Arc<Hold>,
        pump: Pump,
        mut from: Tapped<File>,
        to: impl FnOnce() -> W + Send + 'static,
        kept: impl FnOnce(W) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Collector> {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (collected, hold) = (bytes.clone(), hold.clone());
        hold.set(pump, Activity::Moving);
        let builder = thread::Builder::new().name("native output".to_owned());
        let thread = builder.spawn(move || {
            hold.set(pump, Activity::Native { thread: sys::thread_id() });
            let mut to = to();
            // What was read before an error counts.
            let _ = io::copy(&mut from, &mut to);
            drop(from);
            *collected.lock().unwrap_or_else(PoisonError::into_inner) = kept(to);
            hold.set(pump, Activity::None);
        })?;
        Ok(Collector { bytes, thread })
    }

    /// What was kept, when the last who could write has closed his end.
    pub(crate) fn finish(self) -> Vec<u8> {
        // It does not panic; if it did, what was collected is still there.
        let _ = self.thread.join();
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn start(stream: &str, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(format!("native {stream}")).spawn(f).map(drop)
}

fn waker(hold: &Arc<Hold>, pump: Pump) -> Waker {
    Waker::from(Arc::new(Seizer { hold: hold.clone(), pump, thread: thread::current() }))
}

/// Blocks this thread until it hears; false if it is told to `give_up` first. The timeline is held
/// again when this returns.
fn wait(
    hold: &Hold,
    pump: Pump,
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
