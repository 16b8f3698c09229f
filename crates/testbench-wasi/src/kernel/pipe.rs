//! A pipe: a bounded queue of bytes between a writer and a reader on one timeline.
//!
//! When the last writer is gone, the reader finds the end of the file; when the last reader is gone, a
//! writer fails with `EPIPE`. After passing an end on, drop your copy, or the other side never learns
//! that it is gone.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::{Clock, Event, Listener, Wait};
use testbench_overlay::Errno;

/// Writes of up to this many bytes are not split, as POSIX promises (`PIPE_BUF` of Linux).
const ATOMIC_BYTES_MAX: usize = 4096;

/// The capacity, in bytes, of a pipe on Linux, for which programs are tuned.
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
pub fn pipe() -> (ReadEnd, WriteEnd) {
    let ring = Arc::new(Ring::default());
    let side = |reads| Arc::new(Side { ring: Arc::clone(&ring), reads });
    (ReadEnd { end: side(true) }, WriteEnd { end: side(false) })
}

/// The end of a [`pipe`] that is read. Clones are further ends of the same pipe.
#[derive(Clone)]
pub struct ReadEnd {
    end: Arc<Side>,
}

/// The end of a [`pipe`] that is written. Clones are further ends of the same pipe.
#[derive(Clone)]
pub struct WriteEnd {
    end: Arc<Side>,
}

/// A read or a write would not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// How many bytes can be moved.
    pub(crate) bytes: u64,
    /// Whether the other end is gone, or the file at its end.
    pub(crate) hangup: bool,
}

impl ReadEnd {
    /// Reads the bytes that are there, waiting on `clock` for the first. 0 is the end of the file.
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

    /// Reads the bytes that are there. Fails with [`Errno::Again`] if there are none; returns 0 at the
    /// end of the file.
    pub fn try_read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        let ring = &self.end.ring;
        let mut state = ring.lock();
        if state.bytes.is_empty() && !state.writers_gone && !buf.is_empty() {
            return Err(Errno::Again);
        }
        // Each read ends where the ring wraps around.
        let first = state.bytes.read(buf)?;
        let n = first + state.bytes.read(&mut buf[first..])?;
        drop(state);
        if n > 0 {
            ring.writable.notify();
        }
        Ok(n)
    }

    /// Listens for new bytes, and for the last writer's drop.
    pub fn listen(&self) -> Listener {
        self.end.ring.readable.listen()
    }

    /// `None`: a read would wait.
    pub(super) fn look(&self) -> Option<Ready> {
        let state = self.end.ring.lock();
        let (bytes, hangup) = (state.bytes.len() as u64, state.writers_gone);
        (bytes > 0 || hangup).then_some(Ready { bytes, hangup })
    }
}

impl WriteEnd {
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
                Ok(n) => buf = &buf[n..],
                Err(Errno::Again) => {
                    clock.wait(Wait { deadline: None, on: &[heard], what: &"write on a pipe" })?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Writes as many bytes as there is room for. Fails with [`Errno::Again`] if that is none, with
    /// [`Errno::Pipe`] if every reader is gone. Up to 4096 bytes are written as a whole or not at all.
    pub fn try_write(&self, buf: &[u8]) -> Result<usize, Errno> {
        let ring = &self.end.ring;
        let mut state = ring.lock();
        if state.readers_gone {
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
            ring.readable.notify();
        }
        Ok(n)
    }

    /// Whether this is an end of the same pipe as `other`.
    pub fn is_same_pipe(&self, other: &WriteEnd) -> bool {
        Arc::ptr_eq(&self.end, &other.end)
    }

    /// Listens for new room, and for the last reader's drop.
    pub fn listen(&self) -> Listener {
        self.end.ring.writable.listen()
    }

    /// `None`: a write would wait.
    pub(super) fn look(&self) -> Option<Ready> {
        let state = self.end.ring.lock();
        let (room, hangup) = (CAPACITY_BYTES - state.bytes.len(), state.readers_gone);
        (room >= ATOMIC_BYTES_MAX || hangup).then_some(Ready { bytes: room as u64, hangup })
    }
}

impl fmt::Debug for ReadEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadEnd({:?})", self.look())
    }
}

impl fmt::Debug for WriteEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteEnd({:?})", self.look())
    }
}

/// The side of the readers or of the writers: shared by their clones, and closed with the last.
struct Side {
    ring: Arc<Ring>,
    reads: bool,
}

impl Drop for Side {
    fn drop(&mut self) {
        let mut state = self.ring.lock();
        if self.reads {
            state.readers_gone = true;
            self.ring.writable.notify();
        } else {
            state.writers_gone = true;
            self.ring.readable.notify();
        }
    }
}

/// The bytes between the two ends.
#[derive(Default)]
struct Ring {
    state: Mutex<RingState>,
    readable: Event,
    writable: Event,
}

#[derive(Default)]
struct RingState {
    bytes: VecDeque<u8>,
    readers_gone: bool,
    writers_gone: bool,
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, RingState> {
        // Nothing foreign runs under this lock, so a poisoned lock is still in order.
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
        assert_eq!(writer.look(), None);
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
        assert_eq!(reader.look(), Some(Ready { bytes: 0, hangup: true }));

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
