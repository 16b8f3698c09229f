//! The position of an open file, which its clones share.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use testbench_clock::{Event, Wait};

/// A position of which one read or write at a time has the use, as in the kernel.
///
/// An operation may take virtual time, so no lock is held meanwhile: a thread that has to wait for it
/// waits on the timeline, where reports show it.
#[derive(Debug)]
pub(super) struct Position {
    /// In bytes from the beginning of the file; `None` while a thread uses it.
    at: Mutex<Option<u64>>,
    free: Event,
}

/// The use of a [`Position`], until it drops.
#[derive(Debug)]
pub(super) struct Taken<'p> {
    position: &'p Position,
    /// In bytes from the beginning of the file.
    pub(super) at: u64,
}

impl Default for Position {
    fn default() -> Self {
        Position { at: Mutex::new(Some(0)), free: Event::new() }
    }
}

impl Position {
    /// # Errors
    ///
    /// When the wait for another operation can never end, or was ended from outside.
    pub(super) fn take(&self) -> io::Result<Taken<'_>> {
        loop {
            let free = {
                let mut at = self.at();
                if let Some(at) = at.take() {
                    return Ok(Taken { position: self, at });
                }
                self.free.listen()
            };
            let what = "another operation on the same open file";
            testbench_clock::current().wait(Wait { deadline: None, on: &[free], what: &what })?;
        }
    }

    fn at(&self) -> MutexGuard<'_, Option<u64>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.position.at() = Some(self.at);
        self.position.free.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_turns_and_none_waits_for_ever() {
        const TURNS: u64 = 20_000;
        let position = Position::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..TURNS {
                        position.take().unwrap().at += 1;
                    }
                });
            }
        });
        assert_eq!(position.take().unwrap().at, 4 * TURNS);
    }
}
