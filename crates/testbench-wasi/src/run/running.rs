//! A guest that runs beside its caller.

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use testbench_clock::{Clock, Event, Listener, Stuck, Wait};

use crate::exit::{Exit, Finished};
use crate::stopping::Interrupter;

/// A guest that runs beside its caller; made by [`start`](crate::start).
///
/// Dropping this lets the guest go on, as dropping [`std::process::Child`] does.
pub struct Running {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) interrupter: Arc<Interrupter>,
    pub(super) result: Arc<RunResult>,
}

type Panic = Box<dyn Any + Send>;

/// The place where a guest's thread leaves its result.
#[derive(Default)]
pub(super) struct RunResult {
    /// The panic of a host function is taken by the first caller that asks for the result.
    set: OnceLock<Result<Arc<Finished>, Mutex<Option<Panic>>>>,
    event: Event,
}

impl RunResult {
    pub(super) fn set(&self, finished: std::thread::Result<Finished>) {
        let result = finished.map(Arc::new).map_err(|panic| Mutex::new(Some(panic)));
        let _ = self.set.set(result);
        self.event.notify();
    }
}

impl Running {
    /// The guest's number; see [`GuestSpec::id`](crate::GuestSpec::id).
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The guest's result, if it has ended.
    ///
    /// # Panics
    ///
    /// When a filesystem, clock or closure in the spec has panicked while the guest used it.
    pub fn try_wait(&self) -> Option<Arc<Finished>> {
        match self.result.set.get()? {
            Ok(finished) => Some(Arc::clone(finished)),
            Err(panic) => {
                let panic = panic.lock().unwrap_or_else(PoisonError::into_inner).take();
                let again = || Box::new("the guest's host functions panicked") as Box<_>;
                resume_unwind(panic.unwrap_or_else(again))
            }
        }
    }

    /// Waits, as the participant `clock`, until the guest has ended.
    ///
    /// # Errors
    ///
    /// When the wait was given up, for instance because guest and caller wait for each other. The
    /// guest still runs then, and can be killed and waited for again.
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

    /// A listener for the guest's end, for waiting for several things at once. Take it before you
    /// look with [`Running::try_wait`].
    pub fn ended(&self) -> Listener {
        self.result.event.listen()
    }

    /// Ends the guest with [`Exit::Killed`], for this reason; does nothing to a guest that has ended.
    /// It does not wait for the end.
    pub fn kill(&self, why: impl Into<Arc<str>>) {
        if self.result.set.get().is_none() {
            self.interrupter.interrupt(Exit::Killed(why.into()));
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("ended", &self.result.set.get().is_some())
            .finish_non_exhaustive()
    }
}
