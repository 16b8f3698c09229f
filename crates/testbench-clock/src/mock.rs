//! The virtual clock.

use crate::clock::{Clock, External, Reading, Role, Stuck, Wait, Woke};
use crate::log::Log;
#[cfg(feature = "tokio")]
use crate::timeline::Executor;
use crate::timeline::{Dial, Settings, Timeline, View};
use crate::wall::{Injection, InjectionError, When};
use crate::{ClockError, Guard, Lifetime, Listener, MonoTime, Seed, WallTime};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// A clock whose time moves only when everyone waits, and then exactly to the earliest deadline.
///
/// A value is one participant of a timeline; [`Clock::join`] makes others. With one participant,
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
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock};
    ///
    /// let clock = MockClock::builder().name("test").build();
    /// assert_eq!((clock.name(), clock.mono().nanos()), ("test", 0));
    /// ```
    pub fn builder() -> MockClockBuilder {
        MockClockBuilder::default()
    }

    /// A clock that starts this many milliseconds after 1970.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock};
    ///
    /// let clock = MockClock::at_wall_ms(1_500);
    /// assert_eq!(clock.wall().unix_nanos(), 1_500_000_000);
    /// ```
    #[track_caller]
    pub fn at_wall_ms(unix_ms: i64) -> Arc<MockClock> {
        MockClock::builder().start(WallTime::from_unix_millis(unix_ms)).build()
    }

    /// Installs it on this thread; see [`install`](crate::install).
    ///
    /// ```
    /// use testbench_clock::{MockClock, is_mocked};
    ///
    /// let clock = MockClock::builder().build();
    /// let installed = clock.install();
    /// assert!(is_mocked());
    /// drop(installed);
    /// assert!(!is_mocked());
    /// ```
    #[track_caller]
    pub fn install(self: &Arc<Self>) -> Guard {
        crate::install(Arc::clone(self) as Arc<dyn Clock>)
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
    pub fn advance(&self, d: Duration) -> Result<(), ClockError> {
        let from = self.true_mono();
        let deadline = from.checked_add(d).ok_or(ClockError::OutOfRange { from, by: d })?;
        let what = format_args!("advance by {d:?}");
        self.view.wait(&Wait { deadline: Some(deadline), on: &[], what: &what }, true)?;
        Ok(())
    }

    /// Sets what the wall clock shows, now. Whoever waits for an absolute wall time looks again.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, WallTime};
    ///
    /// let clock = MockClock::builder().build();
    /// clock.set_wall(WallTime::from_rfc3339("2038-01-19T03:14:08Z")?);
    /// assert_eq!(clock.wall().unix_millis(), (1 << 31) * 1_000);
    /// # Ok::<(), testbench_clock::ParseWallTimeError>(())
    /// ```
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
    /// [`InjectionError`] for drifts and slews that would make it run backwards.
    pub fn inject(&self, injection: Injection) -> Result<(), InjectionError> {
        self.view.timeline.inject(None, injection)
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
    pub fn inject_at(&self, when: When, injection: Injection) -> Result<(), InjectionError> {
        self.view.timeline.inject(Some(when), injection)
    }

    /// Local time minus UTC, in seconds, for virtual machines that have a local time. Zero unless
    /// set by the builder or an [`Injection::Zone`].
    ///
    /// ```
    /// use testbench_clock::{Injection, MockClock};
    ///
    /// let clock = MockClock::builder().utc_offset_secs(3_600).build();
    /// assert_eq!(clock.utc_offset_secs(), 3_600);
    /// clock.inject(Injection::Zone { utc_offset_secs: 7_200 })?; // summer begins
    /// assert_eq!(clock.utc_offset_secs(), 7_200);
    /// # Ok::<(), testbench_clock::InjectionError>(())
    /// ```
    pub fn utc_offset_secs(&self) -> i32 {
        self.view.timeline.utc_offset_secs()
    }

    /// What has happened so far, if the builder was asked to keep a log.
    ///
    /// ```
    /// use testbench_clock::log::Kind;
    /// use testbench_clock::{Clock, MockClock};
    ///
    /// assert!(MockClock::builder().build().log().is_none());
    /// let clock = MockClock::builder().log().build();
    /// clock.wall();
    /// assert_eq!(clock.log().unwrap().events().last().unwrap().kind, Kind::Read);
    /// ```
    pub fn log(&self) -> Option<Log> {
        self.view.timeline.log()
    }

    /// The name of this participant.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Role};
    ///
    /// let clock = MockClock::builder().build();
    /// let guest = clock.join("sort", Role::Guest);
    /// assert_eq!((clock.name(), guest.as_mock().unwrap().name()), ("main", "sort"));
    /// ```
    pub fn name(&self) -> &str {
        self.view.name()
    }

    /// [`Clock::wall`], with the place of the call for the log.
    ///
    /// ```
    /// use std::panic::Location;
    /// use testbench_clock::MockClock;
    ///
    /// let clock = MockClock::builder().log().build();
    /// clock.wall_from(Location::caller());
    /// let log = clock.log().unwrap();
    /// let read = log.events().last().unwrap();
    /// assert!(read.text.contains(Location::caller().file()), "{read:?}");
    /// ```
    #[inline]
    pub fn wall_from(&self, site: &Location<'_>) -> WallTime {
        self.dial().count();
        if self.dial().is_plain() { self.true_wall() } else { self.careful_wall(Some(site)) }
    }

    /// [`Clock::mono`], with the place of the call for the log.
    ///
    /// ```
    /// use std::panic::Location;
    /// use testbench_clock::MockClock;
    ///
    /// /// A virtual machine that reads the clock for a script says where the script does.
    /// #[track_caller]
    /// fn script_now(clock: &MockClock) -> u64 {
    ///     clock.mono_from(Location::caller()).nanos()
    /// }
    /// assert_eq!(script_now(&MockClock::builder().build()), 0);
    /// ```
    #[inline]
    pub fn mono_from(&self, site: &Location<'_>) -> MonoTime {
        self.dial().count();
        if self.dial().is_plain() { self.true_mono() } else { self.careful_mono(Some(site)) }
    }

    /// Whether the two are participants of one timeline.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Role};
    ///
    /// let clock = MockClock::builder().build();
    /// let other = clock.join("other", Role::Host);
    /// let (clock, other) = (clock.as_mock().unwrap(), other.as_mock().unwrap());
    /// assert!(clock.is_on_timeline_of(other));
    /// assert!(!clock.is_on_timeline_of(MockClock::builder().build().as_mock().unwrap()));
    /// ```
    pub fn is_on_timeline_of(&self, other: &MockClock) -> bool {
        std::sync::Arc::ptr_eq(&self.view.timeline, &other.view.timeline)
    }

    /// Installed in a session, with whose end its waits end, too.
    pub(crate) fn used_in(&self, session: &Lifetime) {
        self.view.used_in(session);
    }

    /// Sleeps if that needs nothing but moving time.
    pub(crate) fn leap(&self, d: Duration) -> bool {
        self.dial().is_plain() && self.view.leap(d)
    }

    /// As [`Clock::external`], but time does not stand still meanwhile.
    pub(crate) fn step_aside(&self) -> External {
        self.view.step_aside()
    }

    /// As [`Clock::wait`], after everyone else of the last instant, as [`MockClock::advance`].
    pub(crate) fn wait_last(&self, wait: &Wait<'_>) -> Result<Woke, Stuck> {
        self.view.wait(wait, true)
    }

    /// As [`Clock::park`], after everyone else of the last instant.
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

    /// As [`Clock::unpark`]; tells whether it was the deadline that ended the wait.
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

    fn careful_mono(&self, site: Option<&Location<'_>>) -> MonoTime {
        self.view.tick("mono", &at(site));
        let step_ns = self.view.timeline.settings().mono_resolution_ns;
        let ns = self.true_mono().nanos();
        MonoTime::from_nanos(ns - ns % step_ns)
    }

    fn careful_wall(&self, site: Option<&Location<'_>>) -> WallTime {
        self.view.tick("wall", &at(site));
        let step_ns = i128::from(self.view.timeline.settings().wall_resolution_ns);
        let ns = self.true_wall().unix_nanos();
        WallTime::from_unix_nanos(ns.saturating_sub(ns.rem_euclid(step_ns)))
    }
}

impl Clock for MockClock {
    fn wall(&self) -> WallTime {
        self.dial().count();
        if self.dial().is_plain() { self.true_wall() } else { self.careful_wall(None) }
    }

    fn mono(&self) -> MonoTime {
        self.dial().count();
        if self.dial().is_plain() { self.true_mono() } else { self.careful_mono(None) }
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

    fn check(&self) -> Result<(), Stuck> {
        self.view.check()
    }

    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck> {
        self.view.wait(&wait, false)
    }

    fn yield_now(&self) -> Result<(), Stuck> {
        self.view.yield_now()
    }

    fn park(&self, wait: Wait<'_>, waker: &Waker) {
        self.view.park(&wait, waker, false);
    }

    fn rouse(&self) {
        self.view.rouse();
    }

    fn unpark(&self) -> Result<(), Stuck> {
        self.view.unpark().map(|_| ())
    }

    fn external(&self, why: &dyn fmt::Display) -> External {
        self.view.external(&why.to_string())
    }

    fn inhibit(&self, why: &dyn fmt::Display) -> External {
        self.view.inhibit(&why.to_string())
    }

    fn join(&self, name: &str, role: Role) -> Arc<dyn Clock> {
        Arc::new(MockClock::of(self.view.join(name, role)))
    }

    fn begin(&self) -> Result<(), Stuck> {
        self.view.begin()
    }

    fn leave(&self) {
        self.view.leave();
    }

    fn lend(&self, name: &str) -> Arc<dyn Clock> {
        Arc::new(MockClock::of(self.view.lend(name)))
    }

    fn cancel(&self, why: &str) {
        self.view.cancel(why);
    }

    fn as_mock(&self) -> Option<&MockClock> {
        Some(self)
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

/// Builds a [`MockClock`]; every setting has a default.
///
/// | setting | default |
/// | --- | --- |
/// | [`start`](MockClockBuilder::start) | 2000-01-01T00:00:00Z |
/// | [`name`](MockClockBuilder::name) | `main` |
/// | [`schedule`](MockClockBuilder::schedule) | [`Schedule::Serial`] |
/// | [`ties`](MockClockBuilder::ties) | whoever became ready first |
/// | [`tick_per_read`](MockClockBuilder::tick_per_read) | readings move nothing |
/// | [`resolution`](MockClockBuilder::resolution) | 1 ns for both readings |
/// | [`spin_max`](MockClockBuilder::spin_max) | 33,554,432 readings without a wait |
/// | [`stall_after`](MockClockBuilder::stall_after) | 2 s of real time |
/// | [`utc_offset_secs`](MockClockBuilder::utc_offset_secs) | 0: local time is UTC |
/// | [`inject`](MockClockBuilder::inject) | nothing happens to the wall clock |
/// | [`log`](MockClockBuilder::log) | no log is kept |
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, MockClock, Reading, Seed, WallTime};
///
/// let clock = MockClock::builder()
///     .start(WallTime::from_rfc3339("2024-02-29T12:00:00Z")?)
///     .ties(Seed::new(1))
///     .resolution(Reading::Wall, Duration::from_millis(1))
///     .build();
/// clock.advance(Duration::from_micros(1_999))?;
/// assert_eq!(clock.wall().to_string(), "2024-02-29T12:00:00.001000000Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes a clock by `build`"]
pub struct MockClockBuilder {
    settings: Settings,
    name: String,
    injections: Vec<(When, Injection)>,
}

/// 2000-01-01T00:00:00Z.
const START: WallTime = WallTime::from_unix_secs(946_684_800);
/// Under a second of readings in a loop that does nothing else; no program that gets anywhere
/// reads the clock so often without a single wait.
const SPIN_MAX: u64 = 1 << 25;
/// Long enough for a slow machine, short enough for the patience of whoever runs the tests.
const STALL_AFTER: Duration = Duration::from_secs(2);

impl Default for MockClockBuilder {
    fn default() -> Self {
        MockClockBuilder {
            settings: Settings {
                start: START,
                parallel: false,
                ties: None,
                log: false,
                tick_ns: 0,
                wall_resolution_ns: 1,
                mono_resolution_ns: 1,
                spin_max: SPIN_MAX,
                stall_after: STALL_AFTER,
                utc_offset_secs: 0,
            },
            name: "main".to_owned(),
            injections: Vec::new(),
        }
    }
}

/// In which order participants run.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{MockClock, Schedule, instant_now, sleep, thread};
///
/// // Code that is parallel for a reason: all of it computes at once, and time is still virtual.
/// let clock = MockClock::builder().schedule(Schedule::Parallel).build();
/// let _installed = clock.install();
/// thread::scope(|scope| {
///     for seconds in 1..=4 {
///         scope.spawn(move || sleep(Duration::from_secs(seconds)));
///     }
/// });
/// assert_eq!(instant_now().since_origin().as_secs(), 4);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// One at a time, in a fixed order; control passes only at waits and yields. A run with many
    /// participants can be repeated byte for byte.
    #[default]
    Serial,
    /// All that can run do run. Times are correct; the order within an instant is not promised.
    Parallel,
}

impl MockClockBuilder {
    /// What the wall clock shows at the origin of monotonic time: 2000-01-01T00:00:00Z by
    /// default.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, WallTime};
    ///
    /// let clock = MockClock::builder().start(WallTime::UNIX_EPOCH).build();
    /// assert_eq!((clock.wall().unix_nanos(), clock.mono().nanos()), (0, 0));
    /// ```
    pub fn start(mut self, start: WallTime) -> Self {
        self.settings.start = start;
        self
    }

    /// The name of the first participant in reports and logs: `main` by default.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Wait};
    ///
    /// let clock = MockClock::builder().name("checkout test").build();
    /// let stuck = clock.wait(Wait { deadline: None, on: &[], what: &"a reply" }).unwrap_err();
    /// assert!(stuck.to_string().contains("`checkout test`: a reply"));
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// In which order participants run: [`Schedule::Serial`] by default.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Role, Schedule};
    ///
    /// let clock = MockClock::builder().schedule(Schedule::Parallel).build();
    /// let other = clock.join("other", Role::Host);
    /// other.begin()?; // does not wait for a turn: who can run does
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.settings.parallel = schedule == Schedule::Parallel;
        self
    }

    /// Draws the order in which those who can run at the same instant do so from a seed. By
    /// default they run in the order in which they became ready; of those with the same deadline,
    /// whoever joined first.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use std::time::Duration;
    /// use testbench_clock::{MockClock, Seed, sleep, thread};
    ///
    /// /// In which order four threads wake that sleep equally long.
    /// fn order(seed: u64) -> Vec<u32> {
    ///     let _installed = MockClock::builder().ties(Seed::new(seed)).build().install();
    ///     let woken = Mutex::new(Vec::new());
    ///     thread::scope(|scope| {
    ///         for n in 0..4 {
    ///             let woken = &woken;
    ///             scope.spawn(move || {
    ///                 sleep(Duration::from_secs(1));
    ///                 woken.lock().unwrap().push(n);
    ///             });
    ///         }
    ///     });
    ///     woken.into_inner().unwrap()
    /// }
    /// assert_eq!(order(1), order(1), "a seed gives one order");
    /// assert!((2..20).any(|seed| order(seed) != order(1)), "seeds give several");
    /// ```
    pub fn ties(mut self, seed: Seed) -> Self {
        self.settings.ties = Some(seed);
        self
    }

    /// Each reading moves the clock by `step`, so that a loop which only looks at the clock ends.
    /// Zero, the default: readings move nothing. At most 584 years.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock};
    ///
    /// let clock = MockClock::builder().tick_per_read(Duration::from_millis(1)).build();
    /// let start = clock.mono();
    /// while clock.mono().duration_since(start) < Duration::from_millis(10) {}
    /// assert!(clock.mono().since_origin() >= Duration::from_millis(10));
    /// ```
    pub fn tick_per_read(mut self, step: Duration) -> Self {
        self.settings.tick_ns = nanos(step);
        self
    }

    /// The step in which readings move, which is also what the clock reports as its resolution: 1
    /// ns by default. Waits stay exact to the nanosecond. Zero counts as 1 ns.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock, Reading};
    ///
    /// let step = Duration::from_micros(1);
    /// let clock = MockClock::builder().resolution(Reading::Mono, step).build();
    /// clock.advance(Duration::from_nanos(2_999))?;
    /// assert_eq!(clock.mono().nanos(), 2_000);
    /// clock.advance(Duration::from_nanos(1))?;
    /// assert_eq!(clock.mono().nanos(), 3_000, "nothing was lost");
    /// # Ok::<(), testbench_clock::ClockError>(())
    /// ```
    pub fn resolution(mut self, of: Reading, step: Duration) -> Self {
        let step_ns = nanos(step).max(1);
        match of {
            Reading::Wall => self.settings.wall_resolution_ns = step_ns,
            Reading::Mono => self.settings.mono_resolution_ns = step_ns,
        }
        self
    }

    /// How many readings a participant may make without waiting before it is told that it spins:
    /// 33,554,432 by default.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Stuck};
    ///
    /// let clock = MockClock::builder().name("guest").spin_max(100).build();
    /// (0..=100).for_each(|_| drop(clock.wall()));
    /// let Err(Stuck::Spinning { who, .. }) = clock.check() else { panic!("it spins") };
    /// assert_eq!(&*who, "guest");
    /// ```
    pub fn spin_max(mut self, readings: u64) -> Self {
        self.settings.spin_max = readings;
        self
    }

    /// How much real time a [`Role::Host`] participant may be away from the timeline while
    /// everyone else waits for it: two seconds by default.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use testbench_clock::{MockClock, Stuck, thread, try_sleep};
    ///
    /// let clock = MockClock::builder().stall_after(Duration::from_millis(20)).build();
    /// let _installed = clock.install();
    /// let (send, receive) = mpsc::channel::<()>();
    /// // Blocks where the timeline cannot see it: `external` is missing around the `recv`.
    /// let worker = thread::spawn(move || receive.recv().is_err());
    /// assert!(matches!(try_sleep(Duration::from_secs(1)), Err(Stuck::Stalled(_))));
    /// drop(send);
    /// # drop(worker);
    /// ```
    pub fn stall_after(mut self, real: Duration) -> Self {
        self.settings.stall_after = real;
        self
    }

    /// Local time minus UTC, in seconds: zero by default.
    ///
    /// ```
    /// use testbench_clock::MockClock;
    ///
    /// let new_york = MockClock::builder().utc_offset_secs(-5 * 3_600).build();
    /// assert_eq!(new_york.utc_offset_secs(), -18_000);
    /// ```
    pub fn utc_offset_secs(mut self, secs: i32) -> Self {
        self.settings.utc_offset_secs = secs;
        self
    }

    /// Something that happens to the wall clock when the time has come.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, Injection, MockClock, MonoTime, When};
    ///
    /// // A wall clock that stands from the first second on.
    /// let clock = MockClock::builder()
    ///     .inject(
    ///         When::Mono(MonoTime::from_nanos(1_000_000_000)),
    ///         Injection::Drift { parts_per_billion: -1_000_000_000 },
    ///     )
    ///     .build();
    /// clock.advance(Duration::from_secs(3600))?;
    /// assert_eq!(clock.wall().to_string(), "2000-01-01T00:00:01Z");
    /// # Ok::<(), testbench_clock::ClockError>(())
    /// ```
    pub fn inject(mut self, when: When, injection: Injection) -> Self {
        self.injections.push((when, injection));
        self
    }

    /// Keeps a log of everything that happens; see [`MockClock::log`]. Readings then take a lock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{MockClock, sleep};
    ///
    /// let clock = MockClock::builder().log().build();
    /// let _installed = clock.install();
    /// sleep(Duration::from_secs(1));
    /// let log = clock.log().expect("it was asked for");
    /// assert!(log.to_svg().starts_with("<svg "));
    /// ```
    pub fn log(mut self) -> Self {
        self.settings.log = true;
        self
    }

    /// The clock, as its first participant sees it: the thread that builds it, by convention.
    ///
    /// ```
    /// use testbench_clock::{Clock, MockClock, Role};
    ///
    /// let clock = MockClock::builder().build();
    /// // It is this thread's part in the timeline. Others get parts of their own:
    /// let other = clock.join("other", Role::Host);
    /// # drop(other);
    /// ```
    ///
    /// # Panics
    ///
    /// If an injection makes no sense; [`MockClockBuilder::try_build`] returns that.
    #[track_caller]
    pub fn build(self) -> Arc<MockClock> {
        match self.try_build() {
            Ok(clock) => clock,
            Err(error) => panic!("mock clock: {error}"),
        }
    }

    /// The clock, as its first participant sees it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Injection, InjectionError, MockClock, MonoTime, Shift, When};
    ///
    /// let too_fast = Injection::Slew {
    ///     by: Shift::Back(Duration::from_secs(2)),
    ///     over: Duration::from_secs(1),
    /// };
    /// let built = MockClock::builder().inject(When::Mono(MonoTime::ORIGIN), too_fast).try_build();
    /// assert!(matches!(built, Err(InjectionError::Backwards { .. })));
    /// ```
    ///
    /// # Errors
    ///
    /// If an injection makes no sense.
    #[track_caller]
    pub fn try_build(self) -> Result<Arc<MockClock>, InjectionError> {
        let timeline = Timeline::new(self.settings);
        let view = timeline.first(&self.name, Location::caller());
        for (when, injection) in self.injections {
            timeline.inject(Some(when), injection)?;
        }
        Ok(Arc::new(MockClock::of(view)))
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

fn at(site: Option<&Location<'_>>) -> String {
    site.map(|site| format!(" at {}:{}", site.file(), site.line())).unwrap_or_default()
}
