//! The virtual clock.

mod builder;
mod error;

pub use builder::{MockClockBuilder, Schedule};
pub use error::ClockError;

use crate::clock::{Clock, External, Participant, Reading, Role, Stuck, Wait, Woke};
use crate::log::Log;
#[cfg(feature = "tokio")]
use crate::timeline::Executor;
use crate::timeline::{Dial, View};
use crate::timeline::{Injection, InjectionError, When};
use crate::{Listener, MonoTime, WallTime};
use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// A clock whose time moves only when everyone waits, and then exactly to the earliest deadline.
///
/// A value is one participant of a timeline; [`MockClock::join`] makes others. With one participant,
/// a sleep returns at once and the clock has moved:
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, MockClock, sleep};
///
/// let clock = MockClock::builder().build();
/// let _installed = clock.install();
/// sleep(Duration::from_nanos(999_000));
/// assert_eq!(clock.mono().nanos(), 999_000);
/// assert_eq!(clock.wall().to_string(), "2000-01-01T00:00:00.000999000Z");
/// ```
pub struct MockClock {
    view: View,
}

impl MockClock {
    /// Starts at 2000-01-01T00:00:00Z unless told otherwise; see [`MockClockBuilder`] for what
    /// else there is to tell.
    pub fn builder() -> MockClockBuilder {
        MockClockBuilder::default()
    }

    /// A clock that starts this many milliseconds after 1970.
    #[track_caller]
    pub fn at_wall_ms(unix_ms: i64) -> Arc<MockClock> {
        MockClock::builder().start(WallTime::from_unix_millis(unix_ms)).build()
    }

    /// Moves time by `d`. Stops at every deadline on the way, and lets everyone who can run there
    /// run until it waits again, those of the last instant included.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, sleep, thread};
    ///
    /// let clock = MockClock::builder().build();
    /// let _installed = clock.install();
    /// let worker = thread::spawn(|| {
    ///     (0..3).for_each(|_| sleep(Duration::from_secs(20)));
    /// });
    /// clock.advance(Duration::from_secs(59))?;
    /// assert!(!worker.is_finished());
    /// clock.advance(Duration::from_secs(1))?;
    /// assert!(worker.is_finished());
    /// # Ok::<(), testbench_clock::ClockError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ClockError::OutOfRange`] past the range of [`MonoTime`], [`ClockError::Stuck`] when the
    /// others do not come back.
    #[track_caller]
    pub fn advance(&self, d: Duration) -> Result<(), ClockError> {
        let here = Location::caller();
        let from = self.true_mono();
        let deadline = from.checked_add(d).ok_or(ClockError::OutOfRange { from, by: d })?;
        let what = format_args!("advance by {d:?} at {}:{}", here.file(), here.line());
        self.view.wait(&Wait { deadline: Some(deadline), on: &[], what: &what }, true)?;
        Ok(())
    }

    /// Sets what the wall clock shows, now. Waits for an absolute wall time are looked at again.
    #[track_caller]
    pub fn set_wall(&self, to: WallTime) {
        // Setting is never refused.
        let _ = self.inject(Injection::Set(to));
    }

    /// Does something to the wall clock, now.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, Injection, MockClock, Shift};
    ///
    /// let clock = MockClock::builder().build();
    /// let before = clock.wall();
    /// clock.inject(Injection::Step(Shift::Back(Duration::from_secs(30))))?; // NTP has had a look
    /// assert_eq!(clock.wall(), before - Duration::from_secs(30));
    /// assert_eq!(clock.mono().nanos(), 0);
    /// # Ok::<(), testbench_clock::InjectionError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InjectionError`] for a drift that would make it run backwards, or is out of range.
    #[track_caller]
    pub fn inject(&self, injection: Injection) -> Result<(), InjectionError> {
        self.view.inject(None, injection, Location::caller())
    }

    /// Does something to the wall clock when the time has come.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, Injection, MockClock, MonoTime, WallTime, When};
    ///
    /// let clock = MockClock::builder().build();
    /// let later = MonoTime::from_nanos(1_000);
    /// clock.inject_at(When::Mono(later), Injection::Set(WallTime::UNIX_EPOCH))?;
    /// clock.advance(Duration::from_nanos(999))?;
    /// assert!(clock.wall() > WallTime::UNIX_EPOCH);
    /// clock.advance(Duration::from_nanos(1))?;
    /// assert_eq!(clock.wall(), WallTime::UNIX_EPOCH);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`MockClock::inject`].
    #[track_caller]
    pub fn inject_at(&self, when: When, injection: Injection) -> Result<(), InjectionError> {
        self.view.inject(Some(when), injection, Location::caller())
    }

    /// Local time minus UTC, in seconds, for virtual machines that have a local time. Zero unless
    /// set by the builder.
    pub fn utc_offset_secs(&self) -> i32 {
        self.view.timeline.settings().utc_offset_secs
    }

    /// Returns the log so far, if the builder was asked to keep one.
    pub fn log(&self) -> Option<Log> {
        self.view.timeline.log()
    }

    /// The name of this participant.
    pub fn name(&self) -> &str {
        self.view.name()
    }

    /// [`Clock::wall`], with the place of the call for the log.
    #[inline]
    pub fn wall_from(&self, site: &Location<'_>) -> WallTime {
        self.dial().count();
        if self.dial().is_plain() { self.true_wall() } else { self.careful_wall(site) }
    }

    /// [`Clock::mono`], with the place of the call for the log.
    #[inline]
    pub fn mono_from(&self, site: &Location<'_>) -> MonoTime {
        self.dial().count();
        if self.dial().is_plain() { self.true_mono() } else { self.careful_mono(site) }
    }

    /// [`Participant::join`], as a mock clock.
    pub fn join(&self, name: &str, role: Role) -> Arc<MockClock> {
        Arc::new(MockClock::of(self.view.join(name, role)))
    }

    /// [`Participant::lend`], as a mock clock.
    pub fn lend(&self, name: &str) -> Arc<MockClock> {
        Arc::new(MockClock::of(self.view.lend(name)))
    }

    /// Whether the two are participants of one timeline.
    pub fn is_on_timeline_of(&self, other: &MockClock) -> bool {
        std::sync::Arc::ptr_eq(&self.view.timeline, &other.view.timeline)
    }

    /// `clock` itself, if it is a mock and none that decorates one: what a decorator does must not be passed
    /// by.
    #[inline]
    pub(crate) fn undecorated(clock: &dyn Clock) -> Option<&MockClock> {
        clock.as_mock().filter(|mock| std::ptr::addr_eq(*mock, clock))
    }

    /// Installed in a session, with whose end its waits end, too. Returns what is to be called at
    /// that end, if the timeline does not know the session yet.
    pub(crate) fn use_in(&self, session: u64) -> Option<impl FnOnce(&str) + Send + use<>> {
        self.view.use_in(session)
    }

    /// Sleeps if that needs nothing but moving time.
    pub(crate) fn leap(&self, d: Duration) -> bool {
        self.dial().is_plain() && self.view.leap(d)
    }

    /// As [`Participant::external`], but time does not stand still meanwhile.
    pub(crate) fn step_aside(&self) -> External {
        self.view.step_aside()
    }

    /// As [`Clock::wait`], after everyone else of the last instant, as [`MockClock::advance`].
    pub(crate) fn wait_last(&self, wait: &Wait<'_>) -> Result<Woke, Stuck> {
        self.view.wait(wait, true)
    }

    /// As [`Participant::park`], after everyone else of the last instant.
    #[cfg(feature = "tokio")]
    pub(crate) fn park_last(&self, wait: &Wait<'_>, waker: &Waker) {
        self.view.park(wait, waker, true);
    }

    /// Has `waker` be woken if this participant is given up on or its session ends while it runs.
    /// `None` forgets it.
    #[cfg(feature = "tokio")]
    pub(crate) fn wake_if_lost(&self, waker: Option<Waker>) {
        self.view.wake_if_lost(waker);
    }

    /// As [`Participant::unpark`]; tells whether it was the deadline that ended the wait.
    #[cfg(feature = "tokio")]
    pub(crate) fn unpark_at_deadline(&self) -> Result<bool, Stuck> {
        self.view.unpark()
    }

    /// Tells which executor sits in this participant's seat from now on, and returns the one
    /// before it.
    #[cfg(feature = "tokio")]
    pub(crate) fn seat_executor(
        &self,
        executor: Option<Arc<dyn Executor>>,
    ) -> Option<Arc<dyn Executor>> {
        self.view.seat_executor(executor)
    }

    #[inline]
    pub(crate) fn dial(&self) -> &Arc<Dial> {
        &self.view.dial
    }

    fn of(view: View) -> Self {
        MockClock { view }
    }

    #[inline]
    fn true_mono(&self) -> MonoTime {
        self.dial().face().mono()
    }

    #[inline]
    fn true_wall(&self) -> WallTime {
        self.dial().face().wall()
    }

    fn careful_mono(&self, site: &Location<'_>) -> MonoTime {
        self.view.tick("mono", &at(site));
        let step_ns = self.view.timeline.settings().mono_resolution_ns;
        let ns = self.true_mono().nanos();
        MonoTime::from_nanos(ns - ns % step_ns)
    }

    fn careful_wall(&self, site: &Location<'_>) -> WallTime {
        self.view.tick("wall", &at(site));
        let step_ns = i128::from(self.view.timeline.settings().wall_resolution_ns);
        let ns = self.true_wall().unix_nanos();
        WallTime::from_unix_nanos(ns.saturating_sub(ns.rem_euclid(step_ns)))
    }
}

impl Clock for MockClock {
    #[track_caller]
    fn wall(&self) -> WallTime {
        self.wall_from(Location::caller())
    }

    #[track_caller]
    fn mono(&self) -> MonoTime {
        self.mono_from(Location::caller())
    }

    fn mono_exact(&self) -> MonoTime {
        self.true_mono()
    }

    fn resolution(&self, of: Reading) -> Duration {
        let settings = self.view.timeline.settings();
        Duration::from_nanos(match of {
            Reading::Wall => settings.wall_resolution_ns,
            Reading::Mono => settings.mono_resolution_ns,
        })
    }

    fn mono_at(&self, wall: WallTime) -> Option<MonoTime> {
        let segment = self.dial().face().wall.load();
        segment.mono_at(wall, self.true_mono().nanos()).map(MonoTime::from_nanos)
    }

    fn wall_set(&self) -> Listener {
        self.view.timeline.wall_set().listen()
    }

    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck> {
        self.view.wait(&wait, false)
    }

    fn participant(&self) -> &dyn Participant {
        self
    }
}

impl Participant for MockClock {
    fn join(&self, name: &str, role: Role) -> Arc<dyn Clock> {
        MockClock::join(self, name, role)
    }

    fn lend(&self, name: &str) -> Arc<dyn Clock> {
        MockClock::lend(self, name)
    }

    fn check(&self) -> Result<(), Stuck> {
        self.view.check()
    }

    fn cancel(&self, why: &str) {
        self.view.cancel(why);
    }

    fn park(&self, wait: Wait<'_>, waker: &Waker) {
        self.view.park(&wait, waker, false);
    }

    fn unpark(&self) -> Result<(), Stuck> {
        self.view.unpark().map(|_| ())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn rouse(&self) {
        self.view.rouse();
    }

    fn begin(&self) -> Result<(), Stuck> {
        self.view.begin()
    }

    fn leave(&self) {
        self.view.leave();
    }

    fn give_way(&self) -> Result<(), Stuck> {
        self.view.yield_now()
    }

    fn external(&self, why: &dyn fmt::Display) -> External {
        self.view.external(&why.to_string())
    }

    fn inhibit(&self, why: &dyn fmt::Display) -> External {
        self.view.inhibit(&why.to_string())
    }
}

impl dyn Clock + '_ {
    /// Returns the mock behind this clock, if time is virtual: to move it by hand. Behind a clock
    /// that changes another one, this is the mock at the bottom.
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
    pub fn as_mock(&self) -> Option<&MockClock> {
        self.participant().as_any().downcast_ref()
    }

    /// Returns whether time is virtual.
    pub fn is_mocked(&self) -> bool {
        self.as_mock().is_some()
    }
}

impl fmt::Debug for MockClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockClock")
            .field("participant", &self.name())
            .field("mono", &self.true_mono())
            .field("wall", &self.true_wall())
            .finish_non_exhaustive()
    }
}

/// A call through `dyn Clock` does not tell where it is; its place is that of the implementation.
fn at(site: &Location<'_>) -> String {
    if site.file() == file!() {
        return " through `dyn Clock`".to_owned();
    }
    format!(" at {}:{}", site.file(), site.line())
}
