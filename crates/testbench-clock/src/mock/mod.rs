//! The virtual clock.

mod builder;
mod error;

pub use builder::{MockClockBuilder, Schedule};
pub use error::ClockError;

use crate::clock::{Clock, Participant, Reading, Stuck, Wait, Woke};
use crate::debug::debug_by;
use crate::log::Log;
pub use crate::timeline::MockClock;
use crate::timeline::{Injection, InjectionError, When};
use crate::{Listener, MonoTime, WallTime};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

impl MockClock {
    /// A builder of a clock that starts at 2000-01-01T00:00:00Z; see [`MockClockBuilder`] for its
    /// settings.
    pub fn builder() -> MockClockBuilder {
        MockClockBuilder::default()
    }

    /// A clock that starts this many milliseconds after 1970.
    #[track_caller]
    pub fn at_wall_ms(unix_ms: i64) -> Arc<MockClock> {
        MockClock::builder().start(WallTime::from_unix_millis(unix_ms)).build()
    }

    /// Moves time by `d`. Stops at every deadline on the way, and lets each participant that can run
    /// there run until it waits again, those of the last instant included.
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
        self.wait_as(&Wait { deadline: Some(deadline), on: &[], what: &what }, true)?;
        Ok(())
    }

    /// Sets what the wall clock shows, now. Waits for an absolute wall time are looked at again.
    #[track_caller]
    pub fn set_wall(&self, to: WallTime) {
        // Setting is never refused.
        let _ = self.inject_from(None, Injection::Set(to), Location::caller());
    }

    /// Does something to the wall clock, now.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, Injection, MockClock, Shift};
    ///
    /// let clock = MockClock::builder().build();
    /// let before = clock.wall();
    /// clock.inject(Injection::Step(Shift::Back(Duration::from_secs(30))))?; // as NTP may do
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
        self.inject_from(None, injection, Location::caller())
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
        self.inject_from(Some(when), injection, Location::caller())
    }

    /// Returns the log so far, if the builder was asked to keep one.
    pub fn log(&self) -> Option<Log> {
        self.timeline.log()
    }

    /// The name of this participant.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// [`Clock::wall`], with the place of the call for the log.
    #[inline]
    pub fn wall_from(&self, site: &Location<'_>) -> WallTime {
        self.dial.count();
        if self.dial.plain { self.true_wall() } else { self.careful_wall(site) }
    }

    /// [`Clock::mono`], with the place of the call for the log.
    #[inline]
    pub fn mono_from(&self, site: &Location<'_>) -> MonoTime {
        self.dial.count();
        if self.dial.plain { self.true_mono() } else { self.careful_mono(site) }
    }

    /// Whether the two are participants of one timeline.
    pub fn is_on_timeline_of(&self, other: &MockClock) -> bool {
        Arc::ptr_eq(&self.timeline, &other.timeline)
    }

    /// `clock` itself, if it is a mock and none that decorates one: what a decorator does must not be passed
    /// by.
    #[inline]
    pub(crate) fn undecorated(clock: &dyn Clock) -> Option<&MockClock> {
        clock.as_mock().filter(|mock| std::ptr::addr_eq(*mock, clock))
    }

    #[inline]
    fn true_mono(&self) -> MonoTime {
        self.dial.face.mono()
    }

    #[inline]
    fn true_wall(&self) -> WallTime {
        self.dial.face.wall()
    }

    fn careful_mono(&self, site: &Location<'_>) -> MonoTime {
        self.tick(&format_args!("mono{}", at(site)));
        let step_ns = self.timeline.settings.mono_resolution_ns;
        let ns = self.true_mono().nanos();
        MonoTime::from_nanos(ns - ns % step_ns)
    }

    fn careful_wall(&self, site: &Location<'_>) -> WallTime {
        self.tick(&format_args!("wall{}", at(site)));
        let step_ns = i128::from(self.timeline.settings.wall_resolution_ns);
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
        let settings = &self.timeline.settings;
        Duration::from_nanos(match of {
            Reading::Wall => settings.wall_resolution_ns,
            Reading::Mono => settings.mono_resolution_ns,
        })
    }

    fn mono_at(&self, wall: WallTime) -> Option<MonoTime> {
        let segment = self.dial.face.wall.load();
        segment.mono_at(wall, self.true_mono().nanos()).map(MonoTime::from_nanos)
    }

    fn wall_set(&self) -> Listener {
        self.timeline.wall_set.listen()
    }

    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck> {
        self.wait_as(&wait, false)
    }

    fn participant(&self) -> &dyn Participant {
        self
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

debug_by!([] MockClock, "MockClock", |it| {
    participant: it.name, mono: it.true_mono(), wall: it.true_wall()
});

/// A call through `dyn Clock` does not tell where it is; its place is that of the implementation.
fn at(site: &Location<'_>) -> String {
    if site.file() == file!() {
        return " through `dyn Clock`".to_owned();
    }
    format!(" at {}:{}", site.file(), site.line())
}
