//! The time that a participant spends outside of the timeline.

use std::fmt;

/// Holds a timeline still while its participant is outside; see [`Participant::external`](crate::Participant::external).
#[must_use = "time moves again as soon as this is dropped"]
pub struct External {
    on_return: Option<Box<dyn FnOnce() + Send>>,
}

impl External {
    /// Runs `on_return` when the participant comes back.
    pub fn new(on_return: impl FnOnce() + Send + 'static) -> Self {
        External { on_return: Some(Box::new(on_return)) }
    }

    /// A guard that does nothing: for clocks that never stand still.
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
