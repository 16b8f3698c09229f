//! The position of an open file, which its clones share.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use testbench_clock::{Signal, Wait};

/// A position of which one read or write at a time has the use, as in the kernel.
///
/// An operation may take virtual time, so this is no mutex: whoever has to wait for it waits on the
/// timeline, where everyone can see it.
#[derive(Debug, Default)]
pub(super) struct Position {
    state: Mutex<State>,
    free: Signal,
}

#[derive(Debug, Default)]
struct State {
    at: u64,
    taken: bool,
    waiting: usize,
}

/// The use of a [`Position`], until it drops.
pub(super) struct Taken<'p> {
    position: &'p Position,
    /// In bytes from the beginning of the file.
    pub(super) at: u64,
}

impl Position {
    /// # Errors
    ///
    /// When the wait for another operation can never end, or was ended from outside.
    pub(super) fn take(&self) -> io::Result<Taken<'_>> {
        loop {
            let free = {
                let mut state = self.state();
                if !state.taken {
                    state.taken = true;
                    return Ok(Taken { position: self, at: state.at });
                }
                state.waiting += 1;
                self.free.listen()
            };
            let what = "another operation on the same open file";
            let clock = testbench_clock::current();
            let woke = clock.wait(Wait { deadline: None, on: &[free], what: &what });
            self.state().waiting -= 1;
            woke?;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let waited_for = {
            let mut state = self.position.state();
            state.at = self.at;
            state.taken = false;
            state.waiting > 0
        };
        if waited_for {
            self.position.free.notify();
        }
    }
}
