//! The time that a participant spends outside of the timeline.

use std::fmt;

/// Holds a timeline still while its participant is outside; see [`Participant::external`](crate::Participant::external).
///
/// ```
/// use testbench_clock::{Clock, External, MockClock};
///
/// let clock = MockClock::builder().build();
/// let outside: External = clock.external(&"wait for a native child");
/// # let child = || ();
/// child(); // blocks in real time
/// drop(outside);
/// ```
#[must_use = "time moves again as soon as this is dropped"]
pub struct External {
    on_return: Option<Box<dyn FnOnce() + Send>>,
}

impl External {
    /// Runs `on_return` when the participant comes back.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use testbench_clock::External;
    ///
    /// let returned = Arc::new(AtomicBool::new(false));
    /// let theirs = returned.clone();
    /// let outside = External::new(move || theirs.store(true, Ordering::Relaxed));
    /// assert!(!returned.load(Ordering::Relaxed));
    /// drop(outside);
    /// assert!(returned.load(Ordering::Relaxed));
    /// ```
    pub fn new(on_return: impl FnOnce() + Send + 'static) -> Self {
        External { on_return: Some(Box::new(on_return)) }
    }

    /// A guard that does nothing: for clocks that never stand still.
    ///
    /// ```
    /// use testbench_clock::{Clock, External, SystemClock};
    ///
    /// // What the real clock answers.
    /// let outside: External = SystemClock::new("docs").external(&"nobody waits for us");
    /// drop(outside);
    /// drop(External::nothing());
    /// ```
    pub fn nothing() -> Self {
        External { on_return: None }
    }
}

impl Drop for External {
    fn drop(&mut self) {
        if let Some(on_return) = self.on_return.take() {
            on_return();
        }
    }
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("External")
    }
}
