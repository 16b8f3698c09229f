//! Foreign code that panics: wakers, listeners and drops. Their panics are kept, and poison no lock.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Panics of foreign code, kept until all of it has run: one of them must not keep the others from
/// hearing what has happened, nor time from moving.
#[derive(Default)]
pub(crate) struct Panics {
    first: Option<Box<dyn Any + Send>>,
}

impl Panics {
    pub(crate) fn keep(&mut self, foreign: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(foreign)) {
            match &self.first {
                None => self.first = Some(payload),
                // The hook has reported it. Dropping it could panic once more.
                Some(_) => std::mem::forget(payload),
            }
        }
    }

    pub(crate) fn any(&self) -> bool {
        self.first.is_some()
    }

    /// Panics with the first of them, unless this thread is unwinding already.
    pub(crate) fn go_on(self) {
        match self.first {
            Some(payload) if std::thread::panicking() => std::mem::forget(payload),
            Some(payload) => resume_unwind(payload),
            None => {}
        }
    }
}

/// Wakes all of them, and then panics if any of them did.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut panics = Panics::default();
    wakers.into_iter().for_each(|waker| panics.keep(|| waker.wake()));
    panics.go_on();
}

/// Locks a mutex under which no foreign code runs, so that a poisoned one is still in order.
#[inline]
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
