//! The clock of this thread: what is installed on it, or else the real one.
//!
//! These functions are for code at the edge, such as a test or a script builtin. Libraries take a
//! `&dyn Clock` instead.
//!
//! ```
//! use std::time::Duration;
//! use testbench_clock::ambient::{advance, install, instant_now, now, sleep};
//! use testbench_clock::MockClock;
//!
//! let _installed = install(MockClock::builder().build());
//! sleep(Duration::from_secs(60)); // the code under test waits,
//! advance(Duration::from_secs(60))?; // or the test moves time by hand
//! assert_eq!(now().to_string(), "2000-01-01T00:02:00Z");
//! assert_eq!(instant_now().since_origin(), Duration::from_secs(120));
//! # Ok::<(), testbench_clock::ClockError>(())
//! ```

use crate::audit::Audited;
use crate::clock::{Clock, Stuck, Wait};
use crate::closed::ClosedClock;
use crate::scope::{OnExit, Shortcuts};
use crate::timeline::Face;
use crate::{
    ClockError, Ended, Guard, Lifetime, Lookup, MockClock, MonoTime, Role, Scope, SystemClock,
    WallTime, system,
};
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Installs `clock` on this thread until the guard drops. The guard owns a [`Lifetime`] and ends
/// it: the wait of a thread or guest that was started here ends at once with that error.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{MockClock, install, is_mocked, now, sleep};
///
/// let clock = install(MockClock::builder().build());
/// sleep(Duration::from_secs(3600)); // takes no time
/// assert_eq!(now().to_string(), "2000-01-01T01:00:00Z");
/// drop(clock);
/// assert!(!is_mocked());
/// ```
#[track_caller]
pub fn install(clock: Arc<dyn Clock>) -> Guard {
    let lifetime = Lifetime::new("clock");
    install_for(clock, &lifetime).owning(lifetime)
}

/// Installs `clock` on this thread until the guard drops, as a part of a session: after the end of
/// `lifetime`, its waits fail with an error that names the session.
#[track_caller]
pub fn install_for(clock: Arc<dyn Clock>, lifetime: &Lifetime) -> Guard {
    let mock = clock.as_mock().filter(|_| lifetime.ended_ref().is_none());
    if let Some(end) = mock.and_then(|mock| mock.use_in(lifetime.id())) {
        lifetime.on_end(move |ended| end(&ended.to_string()));
    }
    INSTALLED.install(Installed::new(clock, lifetime.clone()), lifetime)
}

/// The lifetime of the clock of this thread, and whether that clock is a mock.
pub(crate) fn session() -> Option<(Lifetime, bool)> {
    match INSTALLED.get() {
        Lookup::Absent => None,
        Lookup::Open(installed) | Lookup::Closed(installed, _) => {
            Some((installed.lifetime.clone(), installed.clock.is_mocked()))
        }
    }
}

/// Installs another participant in place of the clock that is installed, under the same lifetime;
/// with none there it is as [`install`], but no session of its own: its end ends no other participant.
///
/// For a thread that does the work of several in turn, as a host that runs a guest inline.
///
/// ```
/// use testbench_clock::{Clock, MockClock, current, install, install_participant};
///
/// let _session = install(MockClock::builder().build());
/// let guest = install_participant(current().lend("guest"));
/// testbench_clock::sleep(std::time::Duration::from_secs(1)); // as the guest
/// drop(guest);
/// assert_eq!(current().wall().to_string(), "2000-01-01T00:00:01Z");
/// ```
#[track_caller]
pub fn install_participant(clock: Arc<dyn Clock>) -> Guard {
    match session() {
        Some((lifetime, _)) => install_for(clock, &lifetime),
        None => {
            // No session: what the participant starts on its timeline may go on after it.
            let lifetime = Lifetime::new("clock");
            INSTALLED.install(Installed::new(clock, lifetime.clone()), &lifetime).owning(lifetime)
        }
    }
}

/// The clock of this thread, to hand to code that takes one.
///
/// If its session has ended, this is a clock that stands still and whose waits fail with that.
///
/// ```
/// use testbench_clock::{Clock, MockClock, current};
///
/// /// A library takes the seam and does not know what it reads.
/// fn stamp(clock: &dyn Clock) -> String {
///     clock.wall().to_string()
/// }
///
/// let _installed = MockClock::at_wall_ms(1_000).install();
/// assert_eq!(stamp(&*current()), "1970-01-01T00:00:01Z");
/// ```
pub fn current() -> Arc<dyn Clock> {
    match INSTALLED.get() {
        Lookup::Absent => real(),
        Lookup::Open(installed) => Arc::clone(&installed.clock),
        Lookup::Closed(installed, ended) => Arc::new(installed.closed(ended)),
    }
}

/// The time of day: of the installed clock, or the real one.
///
/// # Panics
///
/// When this was called very many times without a wait in between, so that virtual time stands
/// still in what looks like a loop that waits for it ([`Stuck::Spinning`]).
#[inline(always)]
#[track_caller]
pub fn now() -> WallTime {
    if INSTALLED.is_unused() { system::wall_now() } else { installed_wall() }
}

/// The monotonic time: of the installed clock, or the real one.
///
/// # Panics
///
/// As [`now`].
#[inline(always)]
#[track_caller]
pub fn instant_now() -> MonoTime {
    if INSTALLED.is_unused() { system::mono_now() } else { installed_mono() }
}

/// [`now`] in whole milliseconds since 1970, for virtual machines that count in them.
///
/// # Panics
///
/// As [`now`].
#[track_caller]
pub fn now_ms() -> i64 {
    now().unix_millis()
}

/// Sleeps for `d`, as [`std::thread::sleep`] does. On a mock clock time moves by exactly `d` once
/// every participant waits.
///
/// # Panics
///
/// When the sleep can never end, with the report; [`try_sleep`] returns it instead.
#[track_caller]
pub fn sleep(d: Duration) {
    if let Err(stuck) = try_sleep(d) {
        panic!("sleep for {d:?}: {stuck}");
    }
}

/// [`sleep`], with an error where that panics. A sleep past the range of [`MonoTime`] never ends.
///
/// # Errors
///
/// [`Stuck`] when the sleep can never end, or was ended from outside.
#[track_caller]
pub fn try_sleep(d: Duration) -> Result<(), Stuck> {
    // Alone on a mock clock, as in most tests: no reference is counted and no text is made.
    if INSTALLED.peek(|installed| installed.leaps(d)) == Some(true) {
        return Ok(());
    }
    let (clock, here) = (current(), Location::caller());
    let deadline = clock.mono_exact().checked_add(d);
    let what = format_args!("sleep for {d:?} at {}:{}", here.file(), here.line());
    wait_until(&*clock, deadline, &what)
}

/// Sleeps until the monotonic clock shows `deadline`; returns at once if it does.
///
/// # Errors
///
/// As [`try_sleep`].
#[track_caller]
pub fn sleep_until(deadline: MonoTime) -> Result<(), Stuck> {
    let here = Location::caller();
    let what = format_args!("sleep_until at {}:{}", here.file(), here.line());
    wait_until(&*current(), Some(deadline), &what)
}

/// Moves virtual time by `d`, stopping at every deadline on the way for the participants that wait for it.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{MockClock, advance, now, sleep, thread};
///
/// let _installed = MockClock::builder().build().install();
/// let woken = thread::spawn(|| {
///     sleep(Duration::from_secs(30));
///     now()
/// });
/// advance(Duration::from_secs(60))?;
/// assert_eq!(woken.join().unwrap().to_string(), "2000-01-01T00:00:30Z");
/// assert_eq!(now().to_string(), "2000-01-01T00:01:00Z");
/// # Ok::<(), testbench_clock::ClockError>(())
/// ```
///
/// # Errors
///
/// [`ClockError`] if this thread's clock is real or its session has ended, past the range of
/// [`MonoTime`], and when the others are stuck.
#[track_caller]
pub fn advance(d: Duration) -> Result<(), ClockError> {
    mocked("advance")?.as_mock().ok_or(ClockError::NotMocked { what: "advance" })?.advance(d)
}

/// Lets all other participants of this instant run until they wait, and moves no time.
///
/// The code that follows sees a world at rest: all that could happen by now has happened.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use testbench_clock::{MockClock, settle, thread};
///
/// let _installed = MockClock::builder().build().install();
/// let done = Arc::new(AtomicBool::new(false));
/// let theirs = Arc::clone(&done);
/// let worker = thread::spawn(move || theirs.store(true, Ordering::Relaxed));
/// assert!(!done.load(Ordering::Relaxed), "this thread has not waited yet");
/// settle()?;
/// assert!(done.load(Ordering::Relaxed));
/// # worker.join().unwrap();
/// # Ok::<(), testbench_clock::ClockError>(())
/// ```
///
/// # Errors
///
/// [`ClockError`] if this thread's clock is real or its session has ended, and when the others are
/// stuck.
#[track_caller]
pub fn settle() -> Result<(), ClockError> {
    let clock = mocked("settle")?;
    clock.as_mock().ok_or(ClockError::NotMocked { what: "settle" })?.advance(Duration::ZERO)
}

/// Sets what the wall clock shows. The monotonic clock and relative waits do not notice.
///
/// # Errors
///
/// [`ClockError`] if this thread's clock is real or its session has ended.
#[track_caller]
pub fn set_wall(to: WallTime) -> Result<(), ClockError> {
    let clock = mocked("set_wall")?;
    clock.as_mock().ok_or(ClockError::NotMocked { what: "set_wall" })?.set_wall(to);
    Ok(())
}

/// Whether this thread's clock is virtual.
pub fn is_mocked() -> bool {
    session().is_some_and(|(_, is_mocked)| is_mocked)
}

/// Runs `f`, which blocks on something that is not on the timeline, such as a native process, a
/// socket or another thread. Other participants run meanwhile; virtual time stands still.
///
/// The thing that `f` waits for must not wait for virtual time itself, as neither would ever end: a thread that
/// uses this clock is started by [`thread::spawn`](crate::thread::spawn) and joined without this.
///
/// ```
/// use testbench_clock::external;
///
/// let thread = std::thread::spawn(|| 6 * 7);
/// assert_eq!(external("join a helper", || thread.join()).unwrap(), 42);
/// ```
#[track_caller]
pub fn external<R>(why: &str, f: impl FnOnce() -> R) -> R {
    let (clock, here) = (current(), Location::caller());
    let _outside =
        clock.participant().external(&format_args!("{why} at {}:{}", here.file(), here.line()));
    f()
}

impl MockClock {
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
        install(Arc::clone(self) as Arc<dyn Clock>)
    }
}

static INSTALLED: Scope<Installed> = Scope::new("clock").forked_by(fork).short_cut_by(shortcuts);

struct Installed {
    clock: Arc<dyn Clock>,
    lifetime: Lifetime,
    /// The readings that stand from the first look after the session's end on.
    last: OnceLock<(WallTime, MonoTime)>,
}

impl Installed {
    fn new(clock: Arc<dyn Clock>, lifetime: Lifetime) -> Arc<Self> {
        Arc::new(Installed { clock, lifetime, last: OnceLock::new() })
    }

    fn leaps(&self, d: Duration) -> bool {
        MockClock::undecorated(&*self.clock).is_some_and(|mock| mock.leap(d))
    }

    fn closed(&self, ended: Ended) -> ClosedClock {
        let (wall, mono) = *self.last.get_or_init(|| (self.clock.wall(), self.clock.mono()));
        ClosedClock { wall, mono, ended, lifetime: self.lifetime.clone() }
    }
}

#[inline(never)]
#[track_caller]
fn installed_wall() -> WallTime {
    read(Face::wall).unwrap_or_else(|site| carefully(site, MockClock::wall_from, |c| c.wall()))
}

#[inline(never)]
#[track_caller]
fn installed_mono() -> MonoTime {
    read(Face::mono).unwrap_or_else(|site| carefully(site, MockClock::mono_from, |c| c.mono()))
}

/// Reads a mock whose readings do nothing else, without a reference count or a lock: this is the
/// path that must take nanoseconds.
#[inline]
#[track_caller]
fn read<R>(of_face: impl FnOnce(&Face) -> R) -> Result<R, &'static Location<'static>> {
    let read =
        INSTALLED.peek_dial(|dial| (dial.plain && dial.count()).then(|| of_face(&dial.face)));
    // Asked here: from within `ok_or_else` the caller would be a line of std.
    match read.flatten() {
        Some(read) => Ok(read),
        None => Err(Location::caller()),
    }
}

/// Reads whatever there is.
#[inline(never)]
fn carefully<R>(
    site: &'static Location<'static>,
    of_mock: fn(&MockClock, &Location<'_>) -> R,
    of_any: fn(&dyn Clock) -> R,
) -> R {
    let clock = current();
    let reading = match MockClock::undecorated(&*clock) {
        Some(mock) => of_mock(mock, site),
        None => of_any(&*clock),
    };
    if let Err(stuck @ Stuck::Spinning { .. }) = clock.participant().check() {
        panic!("{stuck}, at {}:{}", site.file(), site.line());
    }
    reading
}

/// A further thread is a further participant.
fn fork(installed: &Arc<Installed>, thread_name: &str) -> (Arc<Installed>, OnExit) {
    let clock = installed.clock.join(thread_name, Role::Host);
    let leaving = Arc::clone(&clock);
    let value = Installed::new(clock, installed.lifetime.clone());
    (value, Box::new(move || leaving.participant().leave()))
}

fn shortcuts(installed: &Installed) -> Shortcuts {
    let audited = match installed.clock.is_mocked() {
        false => Audited::Real,
        true => installed.lifetime.audit().table().map_or(Audited::Nowhere, Audited::Mock),
    };
    let mock = MockClock::undecorated(&*installed.clock);
    let dial = mock.map(|mock| Arc::clone(&mock.dial));
    Shortcuts { dial, audited }
}

fn real() -> Arc<dyn Clock> {
    static REAL: OnceLock<Arc<SystemClock>> = OnceLock::new();
    let real = REAL.get_or_init(|| Arc::new(SystemClock::new("host")));
    Arc::clone(real) as Arc<dyn Clock>
}

fn mocked(what: &'static str) -> Result<Arc<dyn Clock>, ClockError> {
    match INSTALLED.get().open()? {
        None => Err(ClockError::NotMocked { what }),
        Some(installed) => Ok(Arc::clone(&installed.clock)),
    }
}

fn wait_until(
    clock: &dyn Clock,
    deadline: Option<MonoTime>,
    what: &dyn fmt::Display,
) -> Result<(), Stuck> {
    clock.wait(Wait { deadline, on: &[], what }).map(|_| ())
}
