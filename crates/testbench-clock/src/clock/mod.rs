//! The seam: what every crate above asks of a clock.
//!
//! A [`Clock`] has two readings and one wait. Each clock belongs to one [`Participant`] of a
//! timeline, which joins, leaves, parks and is cancelled.

mod external;
mod participant;
mod stuck;
mod wait;

pub use external::External;
pub use participant::{Participant, Role};
pub use stuck::{Stuck, StuckReport, Waiting};
pub use wait::{Wait, Woke};

use crate::{Event, Listener, MonoTime, WallTime};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A wall clock, a monotonic clock, and the one call in which everything blocks.
///
/// A value of this type is the view of **one participant**. `join` on a `dyn Clock` makes a further
/// participant of the same timeline.
///
/// [`MockClock`](crate::MockClock) and [`SystemClock`](crate::SystemClock) implement it. A clock of
/// your own stands on one of them and passes on what it does not change:
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use testbench_clock::{
///     Clock, MockClock, MonoTime, Participant, Stuck, Wait, WallTime, Woke, install, now, sleep,
/// };
///
/// /// Shows noon for ever.
/// #[derive(Debug)]
/// struct Noon(Arc<dyn Clock>);
///
/// impl Clock for Noon {
///     fn wall(&self) -> WallTime {
///         WallTime::from_unix_secs(12 * 3600)
///     }
///     fn mono(&self) -> MonoTime {
///         self.0.mono()
///     }
///     fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck> {
///         self.0.wait(wait)
///     }
///     fn participant(&self) -> &dyn Participant {
///         self.0.participant()
///     }
///     fn wrap(&self, joined: Arc<dyn Clock>) -> Arc<dyn Clock> {
///         Arc::new(Noon(self.0.wrap(joined)))
///     }
/// }
///
/// let _installed = install(Arc::new(Noon(MockClock::builder().build())));
/// sleep(Duration::from_secs(3600));
/// assert_eq!(now().to_string(), "1970-01-01T12:00:00Z");
/// ```
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the time of day: nanoseconds since 1970, without leap seconds (POSIX
    /// `CLOCK_REALTIME`). It may be set, forwards and back.
    ///
    /// A reading never fails, so a loop of nothing else does not end where time stands still; see
    /// [`Participant::check`].
    fn wall(&self) -> WallTime;

    /// Returns the time since the timeline's origin (POSIX `CLOCK_MONOTONIC`). It never goes back.
    ///
    /// Like [`Clock::wall`], it never fails.
    fn mono(&self) -> MonoTime;

    /// Blocks until the deadline has come or a listener is notified, whichever is first. Returns at
    /// once if either already holds; listeners are looked at first, in order.
    ///
    /// On a mock clock, time moves exactly when every participant waits, and exactly to the
    /// earliest deadline. Hold no lock across this call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, Event, Wait, Woke, thread};
    ///
    /// let clock = MockClock::builder().build();
    /// let _installed = clock.install();
    /// let done = Event::new();
    /// let on = [done.listen()];
    /// let worker = thread::spawn(move || {
    ///     testbench_clock::sleep(Duration::from_secs(2));
    ///     done.notify();
    /// });
    /// let deadline = clock.mono().checked_add(Duration::from_secs(5));
    /// let woke = clock.wait(Wait { deadline, on: &on, what: &"the worker" })?;
    /// assert_eq!((woke, clock.mono().since_origin().as_secs()), (Woke::Notified(0), 2));
    /// # worker.join().unwrap();
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stuck`] when the wait can never end, or was ended from outside.
    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck>;

    /// Returns the participant that reads and waits here.
    fn participant(&self) -> &dyn Participant;

    /// Returns the monotonic time from which a relative wait counts. It is not rounded to the
    /// resolution and does not count as a reading: it costs no tick, is not logged, and is not seen
    /// by the guard against spinning.
    fn mono_exact(&self) -> MonoTime {
        self.mono()
    }

    /// Returns the step in which a reading moves (POSIX `clock_getres`); never zero.
    fn resolution(&self, _of: Reading) -> Duration {
        Duration::from_nanos(1)
    }

    /// Returns the monotonic instant at which the wall will show `wall` if it is not set: now if it
    /// already shows that or more, `None` if it never will.
    ///
    /// To wait for a time of day, wait until this instant *and* on [`Clock::wall_set`], and ask
    /// again when that is notified.
    fn mono_at(&self, wall: WallTime) -> Option<MonoTime> {
        let (now, shown) = (self.mono_exact(), self.wall());
        if wall <= shown {
            return Some(now);
        }
        now.checked_add(wall.checked_duration_since(shown)?)
    }

    /// Returns a listener that is notified when an earlier result of [`Clock::mono_at`] is no longer
    /// true.
    fn wall_set(&self) -> Listener {
        Event::new().listen()
    }

    /// Lets the other participants that can run at this instant run first; see
    /// [`Participant::give_way`].
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn yield_now(&self) -> Result<(), Stuck> {
        self.participant().give_way()
    }

    /// Returns `clock`, which belongs to another participant, with the changes that this clock makes
    /// to the one below it. A clock that changes nothing returns it as it is.
    fn wrap(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        clock
    }
}

impl dyn Clock + '_ {
    /// [`Participant::join`], [wrapped](Clock::wrap) like this clock.
    pub fn join(&self, name: &str, role: Role) -> Arc<dyn Clock> {
        self.wrap(self.participant().join(name, role))
    }

    /// [`Participant::lend`], [wrapped](Clock::wrap) like this clock.
    pub fn lend(&self, name: &str) -> Arc<dyn Clock> {
        self.wrap(self.participant().lend(name))
    }
}

/// Which of the two readings of a [`Clock`] is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// [`Clock::wall`].
    Wall,
    /// [`Clock::mono`].
    Mono,
}
