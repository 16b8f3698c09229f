//! The position of an open file, which its clones share.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use testbench_clock::{Event, Wait};

/// A position of which one read or write at a time has the use, as in the kernel.
///
/// An operation may take virtual time, so this is no mutex: a thread that has to wait for it waits on the
/// timeline, where reports show it.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// In bytes from the beginning of the file, with [`TAKEN`] while a thread uses it.
    at: AtomicU64,
    /// Number of threads that may be waiting for it.
    waiting: AtomicUsize,
    free: Event,
}

/// No file is so long that a position needs this bit.
const TAKEN: u64 = 1 << 63;

/// The use of a [`Position`], until it drops.
pub(super) struct Taken<'p> {
    position: &'p Position,
    /// In bytes from the beginning of the file.
    pub(super) at: u64,
    is_shared: bool,
}

impl Position {
    /// # Errors
    ///
    /// When the wait for another operation can never end, or was ended from outside.
    pub(super) fn take(&self) -> io::Result<Taken<'_>> {
        loop {
            if let Some(taken) = self.try_take() {
                return Ok(taken);
            }
            self.waiting.fetch_add(1, Ordering::SeqCst);
            // A holder that gives it back from here on sees `waiting` and notifies; if it was given
            // back before, the load below sees that.
            let free = self.free.listen();
            let woke = match self.at.load(Ordering::SeqCst) & TAKEN {
                0 => Ok(()),
                _ => {
                    let what = "another operation on the same open file";
                    let clock = testbench_clock::current();
                    clock.wait(Wait { deadline: None, on: &[free], what: &what }).map(drop)
                }
            };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            woke?;
        }
    }

    /// For the only owner, which needs no exclusion: this is cheaper.
    pub(super) fn take_alone(&mut self) -> Taken<'_> {
        let at = *self.at.get_mut();
        Taken { position: self, at, is_shared: false }
    }

    fn try_take(&self) -> Option<Taken<'_>> {
        let at = self.at.load(Ordering::Relaxed);
        if at & TAKEN != 0 {
            return None;
        }
        let taken = self.at.compare_exchange(at, at | TAKEN, Ordering::SeqCst, Ordering::Relaxed);
        taken.ok().map(|at| Taken { position: self, at, is_shared: true })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.is_shared {
            return self.position.at.store(self.at & !TAKEN, Ordering::Relaxed);
        }
        self.position.at.store(self.at & !TAKEN, Ordering::SeqCst);
        if self.position.waiting.load(Ordering::SeqCst) > 0 {
            self.position.free.notify();
        }
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
