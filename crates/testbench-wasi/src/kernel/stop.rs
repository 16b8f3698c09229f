//! How a guest is ended from within a call, and from outside.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use testbench_clock::{Event, Listener, Stuck, StuckReport};
use testbench_overlay::Errno;

use crate::limits::Limit;
use crate::memory::Fault;

/// The answer of every kernel operation.
pub(crate) type Result<T, E = Fail> = std::result::Result<T, E>;

/// Why an operation gave no value.
#[derive(Clone, Debug)]
pub(crate) enum Fail {
    /// The guest is told, and goes on.
    Errno(Errno),
    /// The guest gave an address that is not its own; it traps.
    Fault(Fault),
    /// The guest ends.
    Stop(Stop),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Fail::Errno(errno)
    }
}

impl From<Fault> for Fail {
    fn from(fault: Fault) -> Self {
        Fail::Fault(fault)
    }
}

impl From<Stop> for Fail {
    fn from(stop: Stop) -> Self {
        Fail::Stop(stop)
    }
}

impl From<Stuck> for Fail {
    fn from(stuck: Stuck) -> Self {
        Fail::Stop(stuck.into())
    }
}

/// Why a guest ends, other than by a trap or by returning.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// It called `proc_exit`.
    Exit(u32),
    /// It reached a limit that no errno answers.
    Limit(Limit),
    /// It waited for what can never come.
    Deadlock(Arc<StuckReport>),
    /// It was ended from outside.
    Killed(Arc<str>),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Exit(code) => write!(f, "exit with code {code}"),
            Stop::Limit(limit) => write!(f, "limit reached: {limit}"),
            Stop::Deadlock(report) => write!(f, "deadlock\n{report}"),
            Stop::Killed(why) => write!(f, "killed: {why}"),
        }
    }
}

impl std::error::Error for Stop {}

impl From<Stuck> for Stop {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Deadlock(report) => Stop::Deadlock(report),
            other => Stop::Killed(other.to_string().into()),
        }
    }
}

/// Ends a guest from outside. Clones end the same guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stopper {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    stop: OnceLock<Stop>,
    event: Event,
}

impl Stopper {
    /// Ends the guest; the first reason is kept. It notices at its next check or wait.
    pub(crate) fn stop(&self, stop: Stop) {
        if self.shared.stop.set(stop).is_ok() {
            // Sequentially consistent, as is the look: of a call that begins and somebody who ends
            // the guest meanwhile, one sees the other.
            self.shared.stopped.store(true, Ordering::SeqCst);
            self.shared.event.notify();
        }
    }

    /// Why the guest is to end, if it is.
    #[inline]
    pub(crate) fn stopped(&self) -> Option<Stop> {
        if !self.shared.stopped.load(Ordering::SeqCst) {
            return None;
        }
        self.shared.stop.get().cloned()
    }

    /// Hears of [`Stopper::stop`].
    pub(super) fn listen(&self) -> Listener {
        self.shared.event.listen()
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
        stopper.clone().stop(Stop::Exit(3));
        stopper.stop(Stop::Exit(4));
        assert!(listener.is_notified());
        assert!(matches!(stopper.stopped(), Some(Stop::Exit(3))));
    }
}
