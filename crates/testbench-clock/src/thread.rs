//! Threads that are participants of the timeline, and that are joined on it.
//!
//! [`spawn`] and [`scope`] are those of [`std::thread`] with two differences: the thread carries
//! what is installed here (see [`Context`]), and joining it is a wait on the timeline. With
//! [`std::thread::spawn`] a test would block in a join that virtual time knows nothing of, and wait
//! for a thread that waits for virtual time.
//!
//! ```
//! use std::time::Duration;
//! use testbench_clock::{MockClock, instant_now, sleep, thread};
//!
//! let clock = MockClock::builder().build();
//! let _installed = clock.install();
//! let slow = thread::spawn(|| sleep(Duration::from_secs(5)));
//! let fast = thread::spawn(|| sleep(Duration::from_secs(3)));
//! slow.join().unwrap();
//! fast.join().unwrap();
//! // Side by side, not one after the other.
//! assert_eq!(instant_now().since_origin(), Duration::from_secs(5));
//! ```

use crate::ambient::{current, install_participant};
use crate::clock::{Clock, Role, Stuck, Wait};
use crate::debug::debug_by;
use crate::{Context, Event, SystemClock};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Starts a thread that carries what is installed here, as a participant of its own.
///
/// It is known in reports by the place of this call. Under the serial schedule it first runs when
/// this participant waits.
///
/// # Panics
///
/// If the operating system fails to create a thread, as [`std::thread::spawn`] does.
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (running, seat) = Running::start();
    let thread = std::thread::spawn(seat.around(f));
    JoinHandle { thread, running }
}

/// A thread made by [`spawn`]. Dropping it detaches the thread, as with
/// [`std::thread::JoinHandle`].
pub struct JoinHandle<T> {
    thread: std::thread::JoinHandle<T>,
    running: Running,
}

impl<T> JoinHandle<T> {
    /// Waits on the timeline for the thread to end, and returns what it returned; an error holds
    /// the payload of its panic.
    ///
    /// # Errors
    ///
    /// As [`std::thread::JoinHandle::join`].
    ///
    /// # Panics
    ///
    /// When the wait can never end, with the report; [`JoinHandle::try_join`] returns it instead.
    #[track_caller]
    pub fn join(self) -> std::thread::Result<T> {
        match self.try_join() {
            Ok(result) => result,
            Err(stuck) => panic!("join a thread: {stuck}"),
        }
    }

    /// [`JoinHandle::join`], with an error where that panics. The thread is then detached.
    ///
    /// # Errors
    ///
    /// [`Stuck`] when the wait can never end, or was ended from outside.
    #[track_caller]
    pub fn try_join(self) -> Result<std::thread::Result<T>, Stuck> {
        self.running.wait("join of a thread", Location::caller())?;
        Ok(self.thread.join())
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.running.left.load(Ordering::Acquire) == 0
    }
}

debug_by!([T] JoinHandle<T>, "JoinHandle", |it| { finished: it.is_finished() });

/// Starts threads that may borrow, and waits on the timeline for all of them before it returns.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{MockClock, instant_now, sleep, thread};
///
/// let _installed = MockClock::builder().build().install();
/// let delays = [3, 1, 2].map(Duration::from_secs);
/// thread::scope(|scope| {
///     for delay in &delays {
///         scope.spawn(move || sleep(*delay));
///     }
/// });
/// assert_eq!(instant_now().since_origin(), delays[0]);
/// ```
///
/// # Panics
///
/// If a thread that was not joined panicked, as [`std::thread::scope`] does.
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&Scope<'scope, 'env>) -> T,
{
    let here = Location::caller();
    std::thread::scope(|inner| {
        let scope = Scope { inner, all: Running::none() };
        let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
        scope.all.wait_whatever_happens(here);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Where [`scope`] starts its threads. Clones start them in the same place.
#[derive(Clone)]
pub struct Scope<'scope, 'env> {
    inner: &'scope std::thread::Scope<'scope, 'env>,
    all: Running,
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a thread of this scope; see [`spawn`].
    ///
    /// # Panics
    ///
    /// If the operating system fails to create a thread.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let (running, seat) = Running::start();
        let thread = self.inner.spawn(seat.also_in(&self.all).around(f));
        ScopedJoinHandle { thread, running }
    }
}

debug_by!([] Scope<'_, '_>, "Scope", |it| { running: it.all.left });

/// A thread made by [`Scope::spawn`].
pub struct ScopedJoinHandle<'scope, T> {
    thread: std::thread::ScopedJoinHandle<'scope, T>,
    running: Running,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits on the timeline for the thread to end; see [`JoinHandle::join`].
    ///
    /// # Errors
    ///
    /// As [`std::thread::JoinHandle::join`].
    ///
    /// # Panics
    ///
    /// When the wait can never end, with the report.
    #[track_caller]
    pub fn join(self) -> std::thread::Result<T> {
        match self.running.wait("join of a thread", Location::caller()) {
            Ok(()) => self.thread.join(),
            Err(stuck) => panic!("join a scoped thread: {stuck}"),
        }
    }
}

debug_by!([T] ScopedJoinHandle<'_, T>, "ScopedJoinHandle", |_| {});

/// Counts threads that have not ended, and tells when one has.
#[derive(Clone)]
struct Running {
    left: Arc<AtomicUsize>,
    ended: Event,
}

impl Running {
    fn none() -> Self {
        Running { left: Arc::default(), ended: Event::new() }
    }

    /// One thread, and the seat for it, which is taken now so that the order of threads is that of
    /// these calls.
    #[track_caller]
    fn start() -> (Running, Start) {
        let here = Location::caller();
        let name = format!("thread of {}:{}", here.file(), here.line());
        let clock = current().join(&name, Role::Host);
        let one = Running::none();
        let start = Start { context: Context::capture(), clock, counts: Vec::new() };
        (one.clone(), start.also_in(&one))
    }

    /// The threads borrow, so they have to end before their scope can, stuck or not.
    fn wait_whatever_happens(&self, at: &Location<'_>) {
        loop {
            match self.wait("the end of a scope of threads", at) {
                Ok(()) => return,
                // They have had the same report, and now run until they end by it.
                Err(Stuck::Deadlock(_)) => {}
                Err(_) => break,
            }
        }
        // This participant can wait on its timeline no longer. It steps aside and waits in real time, so
        // that the others can go on without it.
        let clock = current();
        let _aside = clock.as_mock().map(|mock| mock.go_outside("steps aside", false));
        // No other code has this clock, so nothing can cancel it.
        let _ = self.wait_on(&SystemClock::new("scope"), "join of threads", at);
    }

    fn wait(&self, what: &str, at: &Location<'_>) -> Result<(), Stuck> {
        self.wait_on(&*current(), what, at)
    }

    fn wait_on(&self, clock: &dyn Clock, what: &str, at: &Location<'_>) -> Result<(), Stuck> {
        let what = format_args!("{what} at {}:{}", at.file(), at.line());
        loop {
            let ended = self.ended.listen();
            if self.left.load(Ordering::Acquire) == 0 {
                return Ok(());
            }
            clock.wait(Wait { deadline: None, on: &[ended], what: &what })?;
        }
    }
}

/// The needs of a new thread, and its duties at its end, even if it never comes to run.
struct Start {
    context: Context,
    clock: Arc<dyn Clock>,
    counts: Vec<Running>,
}

impl Start {
    fn also_in(mut self, count: &Running) -> Self {
        count.left.fetch_add(1, Ordering::AcqRel);
        self.counts.push(count.clone());
        self
    }

    fn around<T>(self, f: impl FnOnce() -> T) -> impl FnOnce() -> T {
        move || {
            let start = self;
            let _entered = start.context.enter_as_is();
            let _installed =
                start.clock.is_mocked().then(|| install_participant(start.clock.clone()));
            // If it is stuck already, the first wait of `f` says so.
            let _ = start.clock.participant().begin();
            f()
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        for count in &self.counts {
            count.left.fetch_sub(1, Ordering::AcqRel);
            count.ended.notify();
        }
        self.clock.participant().leave();
    }
}
