//! Taking part in a timeline, from joining it to leaving it.

use super::{Clock, External, Stuck, Wait};
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

/// Takes part in a timeline: a thread, a guest, or an executor with all of its tasks.
///
/// The default of each call is that of a participant in real time, for which no other waits.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, MockClock, Participant, Role, Wait};
///
/// let clock = MockClock::builder().build();
/// let guest = clock.join("guest", Role::Guest); // time stands still until it waits
/// let thread = std::thread::spawn(move || {
///     guest.begin()?; // first of all: blocks until it is its turn
///     let deadline = guest.mono().checked_add(Duration::from_secs(1));
///     let woke = guest.wait(Wait { deadline, on: &[], what: &"a second" });
///     guest.leave(); // last of all, for good
///     woke
/// });
/// clock.advance(Duration::from_secs(1))?;
/// assert!(thread.join().unwrap().is_ok());
/// # Ok::<(), testbench_clock::ClockError>(())
/// ```
pub trait Participant: Send + Sync {
    /// Adds a participant to the same timeline, known by `name` in reports. It can run from now on:
    /// time stands still until it has begun and waits.
    fn join(&self, name: &str, role: Role) -> Arc<dyn Clock>;

    /// Returns another handle of this participant under the name of a guest, for a host that runs
    /// the guest inline. Until the handle is dropped, a long silence is not reported as a stall.
    fn lend(&self, name: &str) -> Arc<dyn Clock> {
        self.join(name, Role::Guest)
    }

    /// Returns why this participant has to end, if it has to: it was cancelled, or it has read the
    /// clock very many times without waiting.
    ///
    /// Costs a few relaxed loads. Call it after each reading in code that may read for ever, such
    /// as a guest. The functions of [`ambient`](crate::ambient) call it themselves; so do
    /// [`Clock::yield_now`] and a wait that ends at once.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Participant, Stuck};
    ///
    /// let clock = MockClock::builder().spin_max(1_000).build();
    /// while clock.check().is_ok() {
    ///     clock.mono(); // waits for time to pass, which it does not
    /// }
    /// assert!(matches!(clock.check(), Err(Stuck::Spinning { .. })));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stuck::Cancelled`] and [`Stuck::Spinning`].
    fn check(&self) -> Result<(), Stuck>;

    /// Ends the wait of this handle, and all its later ones, with [`Stuck::Cancelled`]. The first
    /// reason stays. A handle that was [lent](Participant::lend) ends alone.
    fn cancel(&self, why: &str);

    /// Begins a wait and returns at once, for an executor that blocks in a place of its own. Until
    /// [`Participant::unpark`] this participant counts as waiting, and `waker` is woken when the
    /// wait has ended for any reason, maybe during this call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use std::task::Waker;
    /// use testbench_clock::{Clock, MockClock, Participant, Wait};
    ///
    /// let clock = MockClock::builder().build();
    /// let deadline = clock.mono().checked_add(Duration::from_secs(1));
    /// clock.park(Wait { deadline, on: &[], what: &"the executor is idle" }, Waker::noop());
    /// // An executor would block here until the waker is woken. All others wait, so time moves.
    /// clock.unpark()?;
    /// assert_eq!(clock.mono().since_origin(), Duration::from_secs(1));
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    fn park(&self, wait: Wait<'_>, waker: &Waker);

    /// Comes back from [`Participant::park`]: blocks until it is this participant's turn.
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn unpark(&self) -> Result<(), Stuck> {
        self.check()
    }

    /// Returns the participant as a value of its own type, by which `as_mock` of a `dyn Clock` knows
    /// a mock clock. A participant that passes its calls on returns that of the other one.
    fn as_any(&self) -> &dyn Any;

    /// Ends the wait that [`Participant::park`] began, from any thread and before that thread has
    /// noticed, so that time does not move in between. If this participant is not parked, its next
    /// park ends at once.
    fn rouse(&self) {}

    /// The first call of a participant that [joined](Participant::join), on its own thread: blocks
    /// until it is its turn.
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn begin(&self) -> Result<(), Stuck> {
        self.check()
    }

    /// The last call of a participant: it leaves the timeline for good, however many clones of the
    /// handle are left. A handle that was [lent](Participant::lend) leaves the participant in place.
    fn leave(&self) {
        self.cancel("this participant has left the timeline");
    }

    /// Lets the other participants that can run at this instant run first.
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn give_way(&self) -> Result<(), Stuck> {
        std::thread::yield_now();
        self.check()
    }

    /// Gives control back to the timeline and holds it still until the returned guard drops: for
    /// blocking on something that is not on the timeline, such as a native child or a socket.
    ///
    /// The guard's drop waits for this participant's turn.
    fn external(&self, _why: &dyn fmt::Display) -> External {
        External::nothing()
    }

    /// Holds the timeline still until the returned guard drops, while this participant goes on: for
    /// something outside that will notify an [`Event`](crate::Event), which without this would look
    /// like a deadlock.
    ///
    /// A wait of this participant for nothing but time, without a listener, cannot end before the
    /// guard is dropped elsewhere; if that takes long, it fails with [`Stuck::Stalled`]. A task that
    /// sleeps while it owns the guard, and a join of a thread that sleeps, have a listener as far as
    /// the clock can see: they wait for ever.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Event, Participant, Wait, Woke};
    ///
    /// let clock = MockClock::builder().build();
    /// let arrived = Event::new();
    /// let on = [arrived.listen()];
    /// let awaited = clock.inhibit(&"a message from outside");
    /// std::thread::spawn(move || arrived.notify());
    /// let woke = clock.wait(Wait { deadline: None, on: &on, what: &"the message" })?;
    /// drop(awaited);
    /// assert_eq!(woke, Woke::Notified(0));
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    fn inhibit(&self, _why: &dyn fmt::Display) -> External {
        External::nothing()
    }
}

/// The kind of a participant, which decides what a long silence of it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Rust code of a test, which may block outside the timeline by mistake: if all others wait for
    /// it too long in real time, that is reported as [`Stuck::Stalled`].
    Host,
    /// Code under supervision (fuel, a watchdog), which may compute for as long as these allow.
    Guest,
}
