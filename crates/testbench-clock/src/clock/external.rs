//! The time that a participant spends outside of the timeline.

use crate::debug::debug_by;

/// A guard that holds a timeline still while its participant is outside; see [`Participant::external`](crate::Participant::external).
#[must_use = "time moves again as soon as this is dropped"]
pub struct External(Option<Box<dyn FnOnce() + Send>>);

impl External {
    /// Returns a guard that runs `on_return` when it is dropped.
    pub fn new(on_return: impl FnOnce() + Send + 'static) -> Self {
        External(Some(Box::new(on_return)))
    }

    /// Returns a guard that does nothing, for clocks that never stand still.
    pub fn nothing() -> Self {
        External(None)
    }
}

impl Drop for External {
    fn drop(&mut self) {
        if let Some(on_return) = self.0.take() {
            on_return();
        }
    }
}

debug_by!([] External, "External", |_| {});
