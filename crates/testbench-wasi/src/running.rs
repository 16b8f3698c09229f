//! A guest that runs beside its caller.

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::{Clock, Event, Listener, Stuck, Wait};

use crate::exit::Finished;
use crate::kernel::Stop;
use crate::stopping::Interrupter;

/// A guest that runs beside its caller; made by [`start`](crate::start).
///
/// Dropping this lets the guest go on, as dropping [`std::process::Child`] does.
pub struct Running {
    id: u32,
    name: String,
    interrupter: Interrupter,
    outcome: Outcome,
}

impl Running {
    pub(crate) fn new(id: u32, name: String, interrupter: Interrupter, outcome: Outcome) -> Self {
        Running { id, name, interrupter, outcome }
    }

    /// The guest's number; see [`GuestSpec::id`](crate::GuestSpec::id).
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is left of the guest, if it has ended.
    ///
    /// # Panics
    ///
    /// When a filesystem, clock or closure in the spec has panicked while the guest used it.
    pub fn try_wait(&self) -> Option<Arc<Finished>> {
        self.outcome.get()
    }

    /// Waits, as the participant `clock`, until the guest has ended.
    ///
    /// # Errors
    ///
    /// When the wait was given up, for instance because guest and caller wait for each other. The
    /// guest is still there then, and can be killed and waited for again.
    ///
    /// # Panics
    ///
    /// As [`Running::try_wait`].
    pub fn wait(&self, clock: &dyn Clock) -> Result<Arc<Finished>, Stuck> {
        let what = format!("wait for `{}` to end", self.name);
        loop {
            let ended = self.ended();
            if let Some(finished) = self.try_wait() {
                return Ok(finished);
            }
            clock.wait(Wait { deadline: None, on: &[ended], what: &what })?;
        }
    }

    /// Hears of the guest's end, for waiting for several things at once. Take it before looking
    /// with [`Running::try_wait`].
    pub fn ended(&self) -> Listener {
        self.outcome.shared.ended.listen()
    }

    /// Ends the guest with [`Exit::Killed`](crate::Exit::Killed), for this reason; does nothing to
    /// one that has ended. It does not wait for the end.
    pub fn kill(&self, why: impl Into<Arc<str>>) {
        if !self.outcome.is_set() {
            self.interrupter.interrupt(Stop::Killed(why.into()));
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("ended", &self.outcome.is_set())
            .finish_non_exhaustive()
    }
}

/// Where a guest's thread leaves what came of it.
#[derive(Clone)]
pub(crate) struct Outcome {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    ended: Event,
}

enum State {
    Runs,
    Finished(Arc<Finished>),
    Panicked(Option<Box<dyn Any + Send>>),
}

impl Outcome {
    pub(crate) fn new() -> Self {
        let shared = Shared { state: Mutex::new(State::Runs), ended: Event::new() };
        Outcome { shared: Arc::new(shared) }
    }

    pub(crate) fn set(&self, finished: std::thread::Result<Finished>) {
        *self.lock() = match finished {
            Ok(finished) => State::Finished(Arc::new(finished)),
            Err(panic) => State::Panicked(Some(panic)),
        };
        self.shared.ended.notify();
    }

    fn is_set(&self) -> bool {
        !matches!(*self.lock(), State::Runs)
    }

    fn get(&self) -> Option<Arc<Finished>> {
        let panic = match &mut *self.lock() {
            State::Runs => return None,
            State::Finished(finished) => return Some(finished.clone()),
            State::Panicked(panic) => panic.take(),
        };
        resume_unwind(panic.unwrap_or_else(|| Box::new("the guest's host functions panicked")))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
