//! The standard input of this process, for the guests that inherit it.
//!
//! A guest that reads it must still be killable, and must be able to poll it, so the blocking read
//! is done by a thread of ours, one read at a time and only when a guest asks. Bytes that
//! a guest asked for and did not take are kept for the next guest: there is one standard input.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use testbench_clock::{Event, Listener};
use testbench_overlay::Errno;

use super::pipe::Ready;

/// How much one read asks for: the most that a pipe or a terminal line holds.
const READ_BYTES_MAX: usize = 65_536;

static INPUT: LazyLock<Input> = LazyLock::new(Input::default);

/// Reads the bytes that are there. Fails with [`Errno::Again`] if there are none yet; then a read is
/// under way, and [`listen`] listens for its end.
pub(super) fn try_read(buf: &mut [u8]) -> Result<usize, Errno> {
    let mut state = INPUT.lock();
    if state.bytes.is_empty() {
        match state.next {
            Next::Unknown => {
                state.ask()?;
                return Err(Errno::Again);
            }
            Next::Asked => return Err(Errno::Again),
            // A terminal's end of file is not for ever: the next read asks again.
            Next::End => {
                state.next = Next::Unknown;
                return Ok(0);
            }
            Next::Failed(errno) => {
                state.next = Next::Unknown;
                return Err(errno);
            }
        }
    }
    let n = buf.len().min(state.bytes.len());
    for (to, byte) in buf.iter_mut().zip(state.bytes.drain(..n)) {
        *to = byte;
    }
    Ok(n)
}

/// How many bytes are there, and whether the end is; `None`: nothing yet, but it has been asked
/// for.
pub(super) fn look() -> Option<Ready> {
    let mut state = INPUT.lock();
    let bytes = state.bytes.len() as u64;
    let is_ready = bytes > 0
        || match state.next {
            Next::End | Next::Failed(_) => true,
            Next::Asked => false,
            Next::Unknown => state.ask().is_err(),
        };
    is_ready.then_some(Ready { bytes, hangup: bytes == 0 })
}

/// Listens for the end of the read that is under way.
pub(super) fn listen() -> Listener {
    INPUT.event.listen()
}

#[derive(Default)]
struct Input {
    state: Mutex<InputState>,
    event: Event,
}

#[derive(Default)]
struct InputState {
    bytes: VecDeque<u8>,
    next: Next,
}

/// The state of the bytes behind those that are there.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Unknown,
    Asked,
    End,
    Failed(Errno),
}

impl InputState {
    fn ask(&mut self) -> Result<(), Errno> {
        let builder = std::thread::Builder::new().name("stdin".to_owned());
        builder.spawn(pump).map_err(|_| Errno::Nomem)?;
        self.next = Next::Asked;
        Ok(())
    }
}

impl Input {
    fn lock(&self) -> MutexGuard<'_, InputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pump() {
    let mut buf = vec![0; READ_BYTES_MAX];
    let read = loop {
        match std::io::stdin().lock().read(&mut buf) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            done => break done,
        }
    };
    {
        let mut state = INPUT.lock();
        state.next = match read {
            Ok(0) => Next::End,
            Ok(n) => {
                state.bytes.extend(&buf[..n]);
                Next::Unknown
            }
            Err(e) => Next::Failed(Errno::from(e)),
        };
    }
    INPUT.event.notify();
}
