//! The failure of a kernel operation ([`Fail`]), and the end of a guest from outside ([`Stopper`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use testbench_clock::{Event, Listener, Stuck};
use testbench_overlay::Errno;

use crate::exit::Exit;
use crate::memory::Fault;

/// The result of every kernel operation.
pub(crate) type Result<T, E = Fail> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Fail {
    /// The call returns this errno, and the guest goes on.
    #[error(transparent)]
    Errno(#[from] Errno),
    /// The guest passed an address outside of its memory; it traps.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The guest ends.
    #[error(transparent)]
    Exit(#[from] Exit),
}

impl From<Stuck> for Fail {
    fn from(stuck: Stuck) -> Self {
        Fail::Exit(stuck.into())
    }
}

/// Ends a guest from outside.
#[derive(Debug, Default)]
pub(crate) struct Stopper {
    is_stopped: AtomicBool,
    exit: OnceLock<Exit>,
    event: Event,
}

impl Stopper {
    /// Ends the guest at its next check or wait. The first reason is kept.
    pub(crate) fn stop(&self, exit: Exit) {
        if self.exit.set(exit).is_ok() {
            // Sequentially consistent, like the load: if a call begins while another thread ends the
            // guest, at least one of the two threads sees the other.
            self.is_stopped.store(true, Ordering::SeqCst);
            self.event.notify();
        }
    }

    /// Returns why the guest must end, if it must.
    #[inline]
    pub(crate) fn stopped(&self) -> Option<Exit> {
        if !self.is_stopped.load(Ordering::SeqCst) {
            return None;
        }
        self.exit.get().cloned()
    }

    /// Fails once the guest must end.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Exit> {
        self.stopped().map_or(Ok(()), Err)
    }

    /// Listens for [`Stopper::stop`].
    pub(super) fn listen(&self) -> Listener {
        self.event.listen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_kept_and_announced() {
        let stopper = Stopper::default();
        let listener = stopper.listen();
        assert!(stopper.stopped().is_none());
        stopper.stop(Exit::Code(3));
        stopper.stop(Exit::Code(4));
        assert!(listener.is_notified());
        assert!(matches!(stopper.stopped(), Some(Exit::Code(3))));
    }
}
