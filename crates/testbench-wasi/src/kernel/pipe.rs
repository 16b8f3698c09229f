//! A pipe: a bounded queue of bytes between a writer and a reader on one timeline.
//!
//! Its ends are counted. When the last writer is gone the reader finds the end of the file; when
//! the last reader is gone a writer gets `EPIPE`. So whoever hands an end on must drop his own.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::{Clock, Event, Listener, Wait};
use testbench_overlay::Errno;

/// Writes of up to this many bytes are not split, as POSIX promises (`PIPE_BUF` of Linux).
const ATOMIC_BYTES_MAX: usize = 4096;

/// The capacity, in bytes, of a pipe on Linux: what programs are tuned for.
pub(crate) const CAPACITY_BYTES: usize = 65_536;

/// Makes a pipe of 64 KiB, as Linux does.
///
/// ```
/// use testbench_clock::MockClock;
///
/// let clock = MockClock::builder().build();
/// let (reader, writer) = testbench_wasi::pipe();
/// writer.write_all(&*clock, b"abc")?;
/// drop(writer);
/// let mut buf = [0; 8];
/// assert_eq!(reader.read(&*clock, &mut buf)?, 3);
/// assert_eq!(reader.read(&*clock, &mut buf)?, 0, "every writer is gone: the end of the file");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pipe() -> (PipeReader, PipeWriter) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State { bytes: VecDeque::new(), readers: 1, writers: 1 }),
        readable: Event::new(),
        writable: Event::new(),
    });
    (PipeReader { shared: Arc::clone(&shared) }, PipeWriter { shared })
}

/// The end of a [`pipe`] from which bytes come. Clones are further ends of the same pipe.
pub struct PipeReader {
    shared: Arc<Shared>,
}

/// The end of a [`pipe`] into which bytes go. Clones are further ends of the same pipe.
pub struct PipeWriter {
    shared: Arc<Shared>,
}

/// What one look at an end of a pipe shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A call would not wait; so many bytes can be moved, and the other end may be gone.
    Ready { bytes: usize, hangup: bool },
    /// A call would wait.
    Waiting,
}

impl PipeReader {
    /// Reads what is there, waiting on `clock` until there is something. 0 is the end of the file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Deadlock`] and [`io::ErrorKind::Interrupted`] when the wait is given up;
    /// see [`Clock::wait`].
    pub fn read(&self, clock: &dyn Clock, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let heard = self.listen();
            match self.try_read(buf) {
                Err(Errno::Again) => {}
                done => return Ok(done?),
            }
            clock.wait(Wait { deadline: None, on: &[heard], what: &"read on a pipe" })?;
        }
    }

    /// Reads what is there: [`Errno::Again`] if that is nothing, 0 at the end of the file.
    pub fn try_read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut state = self.shared.lock();
        if state.bytes.is_empty() && state.writers > 0 && !buf.is_empty() {
            return Err(Errno::Again);
        }
        let n = buf.len().min(state.bytes.len());
        let (front, back) = state.bytes.as_slices();
        let from_front = n.min(front.len());
        buf[..from_front].copy_from_slice(&front[..from_front]);
        buf[from_front..n].copy_from_slice(&back[..n - from_front]);
        state.bytes.drain(..n);
        drop(state);
        if n > 0 {
            self.shared.writable.notify();
        }
        Ok(n)
    }

    /// Hears of new bytes, and of the last writer's leaving.
    pub fn listen(&self) -> Listener {
        self.shared.readable.listen()
    }

    pub(crate) fn look(&self) -> Look {
        let state = self.shared.lock();
        let hangup = state.writers == 0;
        match state.bytes.len() {
            0 if !hangup => Look::Waiting,
            bytes => Look::Ready { bytes, hangup },
        }
    }
}

impl PipeWriter {
    /// Writes all of `buf`, waiting on `clock` while the pipe is full.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::BrokenPipe`] when every reader is gone; [`io::ErrorKind::Deadlock`] and
    /// [`io::ErrorKind::Interrupted`] when the wait is given up; see [`Clock::wait`].
    pub fn write_all(&self, clock: &dyn Clock, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let heard = self.listen();
            match self.try_write(buf) {
                Err(Errno::Again) => {}
                done => {
                    buf = &buf[done?..];
                    continue;
                }
            }
            clock.wait(Wait { deadline: None, on: &[heard], what: &"write on a pipe" })?;
        }
        Ok(())
    }

    /// Writes what there is room for: [`Errno::Again`] if that is nothing, [`Errno::Pipe`] if every
    /// reader is gone. Up to 4096 bytes are written as a whole or not at all.
    pub fn try_write(&self, buf: &[u8]) -> Result<usize, Errno> {
        let mut state = self.shared.lock();
        if state.readers == 0 {
            return Err(Errno::Pipe);
        }
        let room = CAPACITY_BYTES - state.bytes.len();
        let n = buf.len().min(room);
        if n < buf.len().min(ATOMIC_BYTES_MAX) {
            return Err(Errno::Again);
        }
        state.bytes.extend(&buf[..n]);
        drop(state);
        if n > 0 {
            self.shared.readable.notify();
        }
        Ok(n)
    }

    /// Whether this is an end of the same pipe as `other`.
    pub fn is_same_pipe(&self, other: &PipeWriter) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Hears of new room, and of the last reader's leaving.
    pub fn listen(&self) -> Listener {
        self.shared.writable.listen()
    }

    pub(crate) fn look(&self) -> Look {
        let state = self.shared.lock();
        let bytes = CAPACITY_BYTES - state.bytes.len();
        let hangup = state.readers == 0;
        if hangup || bytes >= ATOMIC_BYTES_MAX {
            Look::Ready { bytes, hangup }
        } else {
            Look::Waiting
        }
    }
}

impl Clone for PipeReader {
    fn clone(&self) -> Self {
        self.shared.lock().readers += 1;
        PipeReader { shared: Arc::clone(&self.shared) }
    }
}

impl Clone for PipeWriter {
    fn clone(&self) -> Self {
        self.shared.lock().writers += 1;
        PipeWriter { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let last = {
            let mut state = self.shared.lock();
            state.readers -= 1;
            state.readers == 0
        };
        if last {
            self.shared.writable.notify();
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let last = {
            let mut state = self.shared.lock();
            state.writers -= 1;
            state.writers == 0
        };
        if last {
            self.shared.readable.notify();
        }
    }
}

impl fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PipeReader({:?})", self.look())
    }
}

impl fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PipeWriter({:?})", self.look())
    }
}

struct Shared {
    state: Mutex<State>,
    readable: Event,
    writable: Event,
}

struct State {
    bytes: VecDeque<u8>,
    readers: usize,
    writers: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing foreign runs under this lock, so a poisoned one is still in order.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_are_whole_and_large_ones_take_the_room_there_is() {
        let (reader, writer) = pipe();
        let big = vec![7; CAPACITY_BYTES + 1];
        assert_eq!(writer.try_write(&big), Ok(CAPACITY_BYTES));
        assert_eq!(writer.try_write(b"x"), Err(Errno::Again));
        assert_eq!(writer.look(), Look::Waiting);
        let mut buf = [0; 100];
        assert_eq!(reader.try_read(&mut buf), Ok(100));
        assert_eq!(writer.try_write(&big[..101]), Err(Errno::Again));
        assert_eq!(writer.try_write(&big[..100]), Ok(100));
    }

    #[test]
    fn ends_are_counted() {
        let (reader, writer) = pipe();
        let second = writer.clone();
        let heard = reader.listen();
        drop(writer);
        assert!(!heard.is_notified());
        assert_eq!(reader.try_read(&mut [0]), Err(Errno::Again));
        drop(second);
        assert!(heard.is_notified());
        assert_eq!(reader.try_read(&mut [0]), Ok(0));
        assert_eq!(reader.look(), Look::Ready { bytes: 0, hangup: true });

        let (reader, writer) = pipe();
        drop(reader);
        assert_eq!(writer.try_write(b"x"), Err(Errno::Pipe));
    }

    #[test]
    fn bytes_come_out_in_order_across_the_ends_of_the_ring() {
        let (reader, writer) = pipe();
        let mut buf = vec![0; 5000];
        for round in 0..100_u32 {
            let chunk: Vec<u8> = (0..5000_u32).map(|i| (round * 5000 + i) as u8).collect();
            assert_eq!(writer.try_write(&chunk), Ok(5000));
            assert_eq!(reader.try_read(&mut buf), Ok(5000));
            assert_eq!(buf, chunk);
        }
    }
}
