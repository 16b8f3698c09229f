//! The seam: what every crate above asks of a clock.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::{Listener, MockClock, MonoTime, WallTime};

/// A wall clock, a monotonic clock, and the one call in which everything blocks.
///
/// A value of this type is the view of **one participant**: whoever waits on it is known by it.
/// [`Clock::join`] makes a further participant of the same timeline.
///
/// Implemented by [`MockClock`](crate::MockClock) and [`SystemClock`](crate::SystemClock).
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day.
    fn wall(&self) -> WallTime;

    /// The time since the timeline's origin. Never goes back.
    fn mono(&self) -> MonoTime;

    /// The step in which a reading moves; never zero.
    fn resolution(&self, of: Reading) -> Duration;

    /// The monotonic instant at which the wall will show `wall` if nobody sets it: now if it
    /// already shows that or more; `None` if it never will.
    ///
    /// Whoever waits for an absolute wall time waits until this instant *and* on
    /// [`Clock::wall_set`], and asks again when that is notified.
    fn mono_at(&self, wall: WallTime) -> Option<MonoTime>;

    /// Hears of every change that makes an earlier answer of [`Clock::mono_at`] wrong.
    fn wall_set(&self) -> Listener;

    /// Why this participant has to end, if it has to: it was cancelled, or it has read the clock
    /// very many times without ever waiting.
    ///
    /// Costs one relaxed load. Whoever runs code that cannot be trusted to wait, such as a guest,
    /// asks after each reading.
    ///
    /// # Errors
    ///
    /// [`Stuck::Cancelled`] and [`Stuck::Spinning`].
    fn check(&self) -> Result<(), Stuck>;

    /// Blocks until the deadline has come or a listener is notified, whichever is first; returns
    /// at once if either already holds (listeners are looked at first, in order).
    ///
    /// On a mock clock, time moves exactly when every participant waits, and exactly to the
    /// earliest deadline. Hold no lock across this call.
    ///
    /// # Errors
    ///
    /// [`Stuck`] when the wait can never end, or was ended from outside.
    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck>;

    /// Lets the other participants that can run at this instant run first.
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn yield_now(&self) -> Result<(), Stuck>;

    /// Begins a wait and returns at once, for an executor that blocks in a place of its own:
    /// until [`Clock::unpark`] this participant counts as waiting, and `waker` is woken when the
    /// wait has ended for whatever reason (maybe during this call).
    fn park(&self, wait: Wait<'_>, waker: &Waker);

    /// Ends the wait that [`Clock::park`] began, from any thread and before that thread has noticed,
    /// so that time does not move in between. If this participant is not parked, its next park ends
    /// at once.
    fn rouse(&self);

    /// Comes back from [`Clock::park`]: blocks until it is this participant's turn.
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn unpark(&self) -> Result<(), Stuck>;

    /// Gives control back to the timeline and holds it still until the returned guard drops: for
    /// blocking on something that is not on the timeline, such as a native child or a socket.
    ///
    /// The guard's drop waits for this participant's turn.
    fn external(&self, why: &dyn fmt::Display) -> External;

    /// Holds the timeline still until the returned guard drops, while this participant goes on:
    /// for something outside that will notify a [`Signal`](crate::Signal), which without this
    /// would look like a deadlock.
    fn inhibit(&self, why: &dyn fmt::Display) -> External;

    /// A further participant on the same timeline, known by `name` in reports. It can run from
    /// now on: time stands still until it has begun and waits.
    fn join(&self, name: &str, role: Role) -> Arc<dyn Clock>;

    /// Waits for the turn of a participant that has just joined. Call it first on the thread that
    /// will run as this participant; later calls do nothing.
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn begin(&self) -> Result<(), Stuck>;

    /// Leaves the timeline: nobody waits for this participant any longer. Readings still work,
    /// waits are cancelled. Also done when the last handle of a participant drops.
    fn leave(&self);

    /// This same participant under another name, for work that is done inline on its thread: a
    /// guest that a synchronous call runs, a long compilation. While the returned handle lives,
    /// a long silence is not taken for a stall (as for [`Role::Guest`]).
    fn lend(&self, name: &str) -> Arc<dyn Clock>;

    /// Ends the current wait and all later ones of this handle with [`Stuck::Cancelled`]. The first
    /// reason stays. Callable from any thread; a lent handle does not cancel its lender.
    fn cancel(&self, why: &str);

    /// The mock behind this clock, if time is virtual: to move it by hand.
    fn as_mock(&self) -> Option<&MockClock>;

    /// Whether time is virtual.
    fn is_mocked(&self) -> bool {
        self.as_mock().is_some()
    }
}

/// What runs as a participant, which decides what a long silence of it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Rust code of a test, which may block outside the timeline by mistake: if everyone else
    /// waits for it too long in real time, that is reported as [`Stuck::Stalled`].
    Host,
    /// Code under supervision (fuel, a watchdog), which may compute for as long as these allow.
    Guest,
}

/// Which of the two readings of a [`Clock`] is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// [`Clock::wall`].
    Wall,
    /// [`Clock::mono`].
    Mono,
}

/// What one call of [`Clock::wait`] waits for.
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

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("deadline", &self.deadline)
            .field("on", &self.on.len())
            .field("what", &format_args!("{}", self.what))
            .finish()
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woke {
    /// The deadline has come.
    Deadline,
    /// The listener at this index of [`Wait::on`] was notified.
    Notified(usize),
}

/// Why a wait was given up.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// Every participant waits, none has a deadline, and nothing outside is awaited.
    #[error("deadlock: nothing can end this wait\n{0}")]
    Deadlock(Arc<StuckReport>),
    /// One participant runs or blocks outside the timeline while the others wait for it.
    #[error("stalled: a participant does not come back to the timeline\n{0}")]
    Stalled(Arc<StuckReport>),
    /// This participant read the clock very many times and never waited, so that virtual time
    /// cannot move.
    #[error(
        "spinning: `{who}` read the clock {readings} times without waiting, and virtual time moves \
         only when everyone waits; sleep in the loop, or build the clock with `tick_per_read`"
    )]
    Spinning {
        /// The participant's name.
        who: Arc<str>,
        /// How often it read the clock since its last wait.
        readings: u64,
    },
    /// A wait on the timeline inside of [`Clock::external`], which holds that timeline still.
    #[error(
        "`{who}` waits on the timeline ({what}) inside `external`, which holds the timeline still; \
         wait before or after it, or on a thread made by `clock::thread::spawn`"
    )]
    Outside {
        /// The participant's name.
        who: Arc<str>,
        /// What it tried to wait for.
        what: String,
    },
    /// The session to which the clock belongs has ended, or the wait was cancelled.
    #[error("cancelled: {0}")]
    Cancelled(Arc<str>),
}

impl From<Stuck> for std::io::Error {
    fn from(stuck: Stuck) -> Self {
        use std::io::ErrorKind;
        let kind = match &stuck {
            Stuck::Deadlock(_) | Stuck::Stalled(_) | Stuck::Outside { .. } => ErrorKind::Deadlock,
            Stuck::Spinning { .. } => ErrorKind::TimedOut,
            Stuck::Cancelled(_) => ErrorKind::Interrupted,
        };
        std::io::Error::new(kind, stuck)
    }
}

/// Who waits for what, in the order in which the participants joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckReport {
    /// One line for each participant.
    pub waiting: Vec<Waiting>,
}

/// One participant of a [`StuckReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The participant's name.
    pub who: String,
    /// What it is doing, such as `read on a pipe`.
    pub what: String,
}

impl fmt::Display for StuckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, w) in self.waiting.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}  `{}`: {}", w.who, w.what)?;
        }
        Ok(())
    }
}

/// Holds a timeline still while its participant is outside; see [`Clock::external`].
#[must_use = "time moves again as soon as this is dropped"]
pub struct External {
    on_return: Option<Box<dyn FnOnce() + Send>>,
}

impl External {
    /// Runs `on_return` when the participant comes back.
    pub fn new(on_return: impl FnOnce() + Send + 'static) -> Self {
        External { on_return: Some(Box::new(on_return)) }
    }

    /// For clocks that never stand still.
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
