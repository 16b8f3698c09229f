//! Keeping the panics of wakers, listeners and drops that are not ours.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Panics of code that is not ours, kept until all of it has run: one of them must not keep the others
/// from hearing what has happened, nor time from moving.
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
