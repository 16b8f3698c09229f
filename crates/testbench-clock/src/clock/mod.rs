//! The seam: what every crate above asks of a clock.

mod external;
mod stuck;
mod wait;

pub use external::External;
pub use stuck::{Stuck, StuckReport, Waiting};
pub use wait::{Wait, Woke};

use crate::{Listener, MockClock, MonoTime, WallTime};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// A wall clock, a monotonic clock, and the one call in which everything blocks.
///
/// A value of this type is the view of **one participant**: whoever waits on it is known by it.
/// [`Clock::join`] makes a further participant of the same timeline.
///
/// Implemented by [`MockClock`](crate::MockClock) and [`SystemClock`](crate::SystemClock).
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, MockClock, Stuck, Wait, Woke};
///
/// /// Asks `ready` once a second, for a minute at most, whoever's seconds these are.
/// fn poll(clock: &dyn Clock, mut ready: impl FnMut() -> bool) -> Result<bool, Stuck> {
///     for _ in 0..60 {
///         if ready() {
///             return Ok(true);
///         }
///         let deadline = clock.mono().checked_add(Duration::from_secs(1));
///         let woke = clock.wait(Wait { deadline, on: &[], what: &"the next look" })?;
///         assert_eq!(woke, Woke::Deadline);
///     }
///     Ok(false)
/// }
///
/// let clock = MockClock::builder().build();
/// assert!(!poll(&*clock, || false)?);
/// assert_eq!(clock.mono().since_origin().as_secs(), 60);
/// # Ok::<(), Stuck>(())
/// ```
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day: nanoseconds since 1970, without leap seconds (POSIX `CLOCK_REALTIME`). It
    /// may be set, forwards and back.
    ///
    /// A reading never fails, so a loop of nothing else goes on for ever where time stands still; see
    /// [`Clock::check`].
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, WallTime};
    ///
    /// let clock = MockClock::builder().build();
    /// assert_eq!(clock.wall().to_string(), "2000-01-01T00:00:00Z");
    /// clock.set_wall(WallTime::UNIX_EPOCH);
    /// assert_eq!(clock.wall(), WallTime::UNIX_EPOCH);
    /// ```
    fn wall(&self) -> WallTime;

    /// The time since the timeline's origin (POSIX `CLOCK_MONOTONIC`). It never goes back.
    ///
    /// As [`Clock::wall`], it never fails.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, MonoTime};
    ///
    /// let clock = MockClock::builder().build();
    /// assert_eq!(clock.mono(), MonoTime::ORIGIN);
    /// clock.advance(Duration::from_nanos(7))?;
    /// assert_eq!(clock.mono().nanos(), 7);
    /// # Ok::<(), testbench_clock::ClockError>(())
    /// ```
    fn mono(&self) -> MonoTime;

    /// The monotonic time from which a relative wait counts. It is not rounded to the resolution, and is
    /// no reading: it costs no tick, and neither the log nor the guard against spinning notices it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, Reading, sleep};
    ///
    /// let ms = Duration::from_millis(1);
    /// let clock = MockClock::builder().resolution(Reading::Mono, ms).build();
    /// let _installed = clock.install();
    /// sleep(Duration::from_micros(400));
    /// assert_eq!((clock.mono().nanos(), clock.mono_exact().nanos()), (0, 400_000));
    /// ```
    fn mono_exact(&self) -> MonoTime {
        self.mono()
    }

    /// The step in which a reading moves (POSIX `clock_getres`); never zero.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, Reading};
    ///
    /// let ms = Duration::from_millis(1);
    /// let coarse = MockClock::builder().resolution(Reading::Wall, ms).build();
    /// assert_eq!(coarse.resolution(Reading::Wall), ms);
    /// assert_eq!(coarse.resolution(Reading::Mono), Duration::from_nanos(1));
    /// ```
    fn resolution(&self, of: Reading) -> Duration;

    /// The monotonic instant at which the wall will show `wall` if nobody sets it: now if it
    /// already shows that or more; `None` if it never will.
    ///
    /// Whoever waits for an absolute wall time waits until this instant *and* on
    /// [`Clock::wall_set`], and asks again when that is notified.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, WallTime};
    ///
    /// let clock = MockClock::builder().build();
    /// let midnight = WallTime::from_rfc3339("2000-01-02T00:00:00Z")?;
    /// let then = clock.mono_at(midnight).expect("the wall clock runs");
    /// assert_eq!(then.since_origin(), Duration::from_secs(86_400));
    /// assert_eq!(clock.mono_at(WallTime::UNIX_EPOCH), Some(clock.mono()), "it is past");
    /// # Ok::<(), testbench_clock::ParseWallTimeError>(())
    /// ```
    fn mono_at(&self, wall: WallTime) -> Option<MonoTime>;

    /// Hears of every change that makes an earlier answer of [`Clock::mono_at`] wrong.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, WallTime};
    ///
    /// let clock = MockClock::builder().build();
    /// let wall_set = clock.wall_set();
    /// assert!(!wall_set.is_notified());
    /// clock.set_wall(WallTime::UNIX_EPOCH);
    /// assert!(wall_set.is_notified());
    /// ```
    fn wall_set(&self) -> Listener;

    /// Why this participant has to end, if it has to: it was cancelled, or it has read the clock
    /// very many times without ever waiting.
    ///
    /// Costs a few relaxed loads. Whoever runs code that cannot be trusted to wait, such as a guest, asks
    /// after each reading; so does a loop that may read for ever. The readings of [`ambient`](crate::ambient)
    /// ask by themselves, and so do [`Clock::yield_now`] and a wait that ends at once.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Stuck};
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

    /// Blocks until the deadline has come or a listener is notified, whichever is first; returns
    /// at once if either already holds (listeners are looked at first, in order).
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

    /// Lets the other participants that can run at this instant run first.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use testbench_clock::{MockClock, current, instant_now, thread};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let done = Arc::new(AtomicBool::new(false));
    /// let theirs = done.clone();
    /// let worker = thread::spawn(move || theirs.store(true, Ordering::Relaxed));
    /// current().yield_now()?;
    /// assert!(done.load(Ordering::Relaxed));
    /// assert_eq!(instant_now().nanos(), 0, "no time has passed");
    /// # worker.join().unwrap();
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn yield_now(&self) -> Result<(), Stuck>;

    /// Begins a wait and returns at once, for an executor that blocks in a place of its own:
    /// until [`Clock::unpark`] this participant counts as waiting, and `waker` is woken when the
    /// wait has ended for whatever reason (maybe during this call).
    ///
    /// ```
    /// use std::time::Duration;
    /// use std::task::Waker;
    /// use testbench_clock::{Clock, MockClock, Wait};
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

    /// Ends the wait that [`Clock::park`] began, from any thread and before that thread has noticed,
    /// so that time does not move in between. If this participant is not parked, its next park ends
    /// at once.
    ///
    /// ```
    /// use std::task::Waker;
    /// use testbench_clock::{Clock, MockClock, Wait};
    ///
    /// let clock = MockClock::builder().build();
    /// clock.rouse(); // there is work already
    /// clock.park(Wait { deadline: None, on: &[], what: &"idle" }, Waker::noop());
    /// clock.unpark()?; // which otherwise would be a deadlock
    /// assert_eq!(clock.mono().nanos(), 0);
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    fn rouse(&self);

    /// Comes back from [`Clock::park`]: blocks until it is this participant's turn.
    ///
    /// ```
    /// use std::task::Waker;
    /// use testbench_clock::{Clock, MockClock, Stuck, Wait};
    ///
    /// let clock = MockClock::builder().build();
    /// clock.park(Wait { deadline: None, on: &[], what: &"a message" }, Waker::noop());
    /// let Err(Stuck::Deadlock(report)) = clock.unpark() else { panic!("nobody else is there") };
    /// assert_eq!(report.to_string(), "  `main`: a message");
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn unpark(&self) -> Result<(), Stuck>;

    /// Gives control back to the timeline and holds it still until the returned guard drops: for
    /// blocking on something that is not on the timeline, such as a native child or a socket.
    ///
    /// The guard's drop waits for this participant's turn.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock};
    ///
    /// let clock = MockClock::builder().build();
    /// let child = std::thread::spawn(|| 6 * 7);
    /// let outside = clock.external(&"join a thread off the timeline");
    /// let answer = child.join().unwrap();
    /// drop(outside); // back on the timeline
    /// assert_eq!((answer, clock.mono().nanos()), (42, 0));
    /// ```
    fn external(&self, why: &dyn fmt::Display) -> External;

    /// Holds the timeline still until the returned guard drops, while this participant goes on:
    /// for something outside that will notify a [`Event`](crate::Event), which without this
    /// would look like a deadlock.
    ///
    /// A wait of this participant for nothing but time, without a listener, cannot end before the guard is
    /// dropped elsewhere; if that does not happen for long, it is [`Stuck::Stalled`]. A task that
    /// sleeps with the guard in its hands, and who joins a thread that sleeps, listen to somebody, as
    /// far as the clock can see: they wait for ever.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Event, Wait, Woke};
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
    fn inhibit(&self, why: &dyn fmt::Display) -> External;

    /// A further participant on the same timeline, known by `name` in reports. It can run from
    /// now on: time stands still until it has begun and waits.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, Role, Wait};
    ///
    /// let clock = MockClock::builder().build();
    /// let guest = clock.join("guest", Role::Guest);
    /// let thread = std::thread::spawn(move || {
    ///     guest.begin()?;
    ///     let deadline = guest.mono().checked_add(Duration::from_secs(3));
    ///     guest.wait(Wait { deadline, on: &[], what: &"poll_oneoff" })
    /// }); // the last handle of the guest drops, and it leaves
    /// clock.advance(Duration::from_secs(10))?;
    /// let _outside = clock.external(&"join a thread");
    /// assert!(thread.join().unwrap().is_ok());
    /// # Ok::<(), testbench_clock::ClockError>(())
    /// ```
    fn join(&self, name: &str, role: Role) -> Arc<dyn Clock>;

    /// Waits for the turn of a participant that has just joined. Call it first on the thread that
    /// will run as this participant; later calls do nothing.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Role};
    ///
    /// let clock = MockClock::builder().build();
    /// let other = clock.join("other", Role::Host);
    /// let thread = std::thread::spawn(move || other.begin().map(|()| other.mono().nanos()));
    /// clock.yield_now()?; // its turn comes when everyone before it waits
    /// let joined = clock.external(&"join a thread");
    /// assert_eq!(thread.join().unwrap()?, 0);
    /// # drop(joined);
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Clock::wait`].
    fn begin(&self) -> Result<(), Stuck>;

    /// Leaves the timeline: nobody waits for this participant any longer. Readings still work,
    /// waits are cancelled. Also done when the last handle of a participant drops.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, Role};
    ///
    /// let clock = MockClock::builder().build();
    /// let other = clock.join("other", Role::Host);
    /// other.leave(); // else time would stand still until it has begun
    /// clock.advance(Duration::from_secs(1))?;
    /// assert_eq!(other.mono(), clock.mono(), "it still reads");
    /// # Ok::<(), testbench_clock::ClockError>(())
    /// ```
    fn leave(&self);

    /// This same participant under another name, for work that is done inline on its thread: a
    /// guest that a synchronous call runs, a long compilation. While the returned handle lives,
    /// a long silence is not taken for a stall (as for [`Role::Guest`]).
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Stuck, Wait};
    ///
    /// let clock = MockClock::builder().build();
    /// let guest = clock.lend("guest");
    /// let Err(Stuck::Deadlock(report)) =
    ///     guest.wait(Wait { deadline: None, on: &[], what: &"read stdin" })
    /// else {
    ///     panic!("nobody writes");
    /// };
    /// assert_eq!(report.waiting[0].who, "guest");
    /// assert_eq!(report.waiting.len(), 1, "it is the same participant");
    /// ```
    fn lend(&self, name: &str) -> Arc<dyn Clock>;

    /// Ends the current wait and all later ones of this handle with [`Stuck::Cancelled`]. The first
    /// reason stays. Callable from any thread; a lent handle does not cancel its lender.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Stuck, Wait};
    ///
    /// let clock = MockClock::builder().build();
    /// let guest = clock.lend("guest");
    /// guest.cancel("killed");
    /// let waited = guest.wait(Wait { deadline: None, on: &[], what: &"anything" });
    /// assert!(matches!(waited, Err(Stuck::Cancelled(why)) if &*why == "killed"));
    /// assert!(clock.check().is_ok(), "the lender goes on");
    /// ```
    fn cancel(&self, why: &str);

    /// The mock behind this clock, if time is virtual: to move it by hand. A clock that decorates another
    /// passes this on; its own readings and waits are used none the less.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, SystemClock};
    ///
    /// fn fast_forward(clock: &dyn Clock) -> bool {
    ///     clock.as_mock().is_some_and(|mock| mock.advance(Duration::from_secs(60)).is_ok())
    /// }
    /// assert!(fast_forward(&*MockClock::builder().build()));
    /// assert!(!fast_forward(&SystemClock::new("docs")));
    /// ```
    fn as_mock(&self) -> Option<&MockClock>;

    /// Whether time is virtual.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, SystemClock};
    ///
    /// let clocks: [&dyn Clock; 2] = [&*MockClock::builder().build(), &SystemClock::new("docs")];
    /// assert_eq!(clocks.map(|clock| clock.is_mocked()), [true, false]);
    /// ```
    fn is_mocked(&self) -> bool {
        self.as_mock().is_some()
    }
}

/// What runs as a participant, which decides what a long silence of it means.
///
/// ```
/// use testbench_clock::{Clock, MockClock, Role};
///
/// let clock = MockClock::builder().build();
/// let test = clock.join("a thread of the test", Role::Host);
/// let sort = clock.join("sort.wasm", Role::Guest); // may compute for minutes
/// assert_eq!(sort.as_mock().unwrap().name(), "sort.wasm");
/// # drop(test);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Rust code of a test, which may block outside the timeline by mistake: if everyone else
    /// waits for it too long in real time, that is reported as [`Stuck::Stalled`].
    Host,
    /// Code under supervision (fuel, a watchdog), which may compute for as long as these allow.
    Guest,
}

/// Which of the two readings of a [`Clock`] is meant.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, MockClock, Reading};
///
/// let windows_like = Duration::from_nanos(100);
/// let clock = MockClock::builder().resolution(Reading::Mono, windows_like).build();
/// clock.advance(Duration::from_nanos(250))?;
/// assert_eq!(clock.mono().nanos(), 200);
/// # Ok::<(), testbench_clock::ClockError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// [`Clock::wall`].
    Wall,
    /// [`Clock::mono`].
    Mono,
}
