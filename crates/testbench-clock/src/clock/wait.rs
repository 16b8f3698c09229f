//! The one call in which everything blocks: what it waits for, and what ended it.

use crate::debug::debug_by;
use crate::{Listener, MonoTime};
use std::fmt;

/// The deadline and the events of one call of [`Clock::wait`](crate::Clock::wait).
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, MockClock, Event, Wait, Woke};
///
/// let (clock, bytes) = (MockClock::builder().build(), Event::new());
/// let on = [bytes.listen()]; // listen,
/// let has_bytes = false; // look,
/// let deadline = clock.mono().checked_add(Duration::from_millis(100));
/// if !has_bytes {
///     let wait = Wait { deadline, on: &on, what: &"read on a pipe" }; // wait
///     assert_eq!(clock.wait(wait)?, Woke::Deadline);
/// }
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
pub struct Wait<'a> {
    /// The instant at which to stop waiting; `None` waits for a listener alone.
    pub deadline: Option<MonoTime>,
    /// Any of these ends the wait.
    ///
    /// Take the listeners **before** looking at the condition that they announce, so that a
    /// notification between the look and the wait is not lost.
    pub on: &'a [Listener],
    /// Named in a report when the wait turns out to be stuck, such as `read on a pipe`.
    pub what: &'a dyn fmt::Display,
}

debug_by!([] Wait<'_>, "Wait", |it| {
    deadline: it.deadline, on: it.on.len(), what: format_args!("{}", it.what)
});

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woke {
    /// The deadline has come.
    Deadline,
    /// The listener at this index of [`Wait::on`] was notified.
    Notified(usize),
}
