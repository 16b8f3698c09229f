//! A tokio runtime whose idle time is virtual.
//!
//! [`runtime`] makes a current-thread runtime that is one participant of the timeline. When all of
//! its tasks wait, its thread waits on the timeline until the earliest of their
//! [sleeps](crate::task::sleep) ends. This is exact, where `tokio::time` rounds to a millisecond.
//!
//! ```
//! use std::time::Duration;
//! use testbench_clock::task;
//! use testbench_clock::{MockClock, instant_now};
//!
//! let _installed = MockClock::builder().build().install();
//! let runtime = testbench_clock::tokio::runtime()?;
//! runtime.block_on(async {
//!     let other = tokio::spawn(task::sleep(Duration::from_nanos(1_500)));
//!     task::sleep(Duration::from_nanos(700)).await;
//!     other.await.unwrap();
//! })?;
//! assert_eq!(instant_now().nanos(), 1_500);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! tokio calls a hook before its thread parks. The hook marks the participant as waiting, so time
//! moves if all others wait too. The end of the wait wakes the main future. This is work for tokio,
//! so its thread does not stay parked. The hook after parking takes the turn back and wakes the
//! tasks that are due.
//!
//! Another participant may give the runtime work by any of tokio's means: a channel, a
//! notification, an abort. The timeline cannot see when the machine starts the runtime's thread. So
//! it asks idle runtimes whether they have work before it gives the next turn, moves time or declares
//! a deadlock. A runtime has work if its main future was woken, or if a task was put into its queue
//! from outside. Runtimes with work become ready in the order in which they joined.
//!
//! tokio looks for all kinds of work after that hook since 1.50 (its changes 7834 and 7835). The lowest
//! version with which all tests pass is 1.54. With 1.50 and 1.52, the order of runtimes beside threads
//! differs from run to run. With 1.53, the tests that compare with tokio's own timers fail or hang.
//! `tests/lowest_tokio.sh` runs the tests with the lowest version.
//!
//! # Limits
//!
//! The timeline does not see real sockets, `spawn_blocking`, and wake-ups from threads off the timeline.
//! Hold an inhibitor ([`Participant::inhibit`](crate::Participant::inhibit)) while a task waits for them. Otherwise time moves on
//! without them, or [`Runtime::block_on`] fails with a deadlock. `tokio::time` is off in this
//! runtime and panics when it is used; [`paused_runtime`] is for code that needs it.

mod paused;

pub use paused::paused_runtime;

use crate::ambient::current;
use crate::clock::{Clock, Stuck, Wait};
use crate::debug::debug_by;
use crate::panics::locked;
use crate::task::Driver;
use crate::timeline::Executor;
use std::io;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};

/// Returns a current-thread runtime that runs as this thread's participant.
///
/// # Errors
///
/// When tokio cannot make a runtime.
pub fn runtime() -> io::Result<Runtime> {
    Runtime::new(current())
}

/// A current-thread tokio runtime on the timeline; see [`runtime`].
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task;
/// use testbench_clock::tokio::{Runtime, runtime};
/// use testbench_clock::{MockClock, instant_now};
///
/// let _installed = MockClock::builder().build().install();
/// let runtime: Runtime = runtime()?;
/// for _ in 0..2 {
///     runtime.block_on(task::sleep(Duration::from_secs(1)))?;
/// }
/// assert_eq!(instant_now().since_origin().as_secs(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runtime {
    inner: ::tokio::runtime::Runtime,
    shared: Arc<Shared>,
}

impl Runtime {
    /// Returns a runtime that runs as the participant of `clock`. Call [`Runtime::block_on`] only on
    /// a thread of this participant.
    ///
    /// # Errors
    ///
    /// When tokio cannot make a runtime.
    pub fn new(clock: Arc<dyn Clock>) -> io::Result<Self> {
        Runtime::with(clock, None)
    }

    fn with(clock: Arc<dyn Clock>, follow: Option<paused::Follow>) -> io::Result<Self> {
        let mut builder = ::tokio::runtime::Builder::new_current_thread();
        if follow.is_some() {
            builder.enable_time().start_paused(true);
        }
        let shared = Arc::new(Shared {
            // With its own clock, tokio jumps to its next timer and does not hear events before it.
            driver: Driver::new(Arc::clone(&clock), follow.is_none()),
            clock,
            main: Mutex::new(None),
            stuck: Mutex::new(None),
            main_woken: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            parked_last: AtomicBool::new(false),
            follow,
        });
        let (parking, unparking) = (Arc::clone(&shared), Arc::clone(&shared));
        builder.on_thread_park(move || parking.park());
        builder.on_thread_unpark(move || unparking.unpark());
        Ok(Runtime { inner: builder.build()?, shared })
    }

    /// Runs a future, and the tasks that it spawns, until the future is ready.
    ///
    /// ```
    /// use testbench_clock::{MockClock, Stuck};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let runtime = testbench_clock::tokio::runtime()?;
    /// assert_eq!(runtime.block_on(async { tokio::spawn(async { 42 }).await })??, 42);
    /// let never = runtime.block_on(std::future::pending::<()>());
    /// assert!(matches!(never, Err(Stuck::Deadlock(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stuck`] if nothing can wake any task again, if the timeline stalls, or if the session ends.
    /// The future is then dropped; spawned tasks stay in the runtime.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Stuck> {
        let _driving = self.shared.driver.install();
        if let Some(follow) = &self.shared.follow {
            let _entered = self.inner.enter();
            follow.start(&*self.shared.clock);
        }
        let future = pin!(future);
        let woken = Arc::new(Woken {
            flag: AtomicBool::new(true),
            made_at: Location::caller(),
            shared: Arc::downgrade(&self.shared),
            metrics: self.inner.metrics(),
        });
        let output = self.inner.block_on(Watched { future, shared: &self.shared, woken });
        // The waker and tokio's timer hold the runtime, whose hooks hold `shared`.
        drop(locked(&self.shared.main).take());
        if let Some(follow) = &self.shared.follow {
            follow.forget_next();
        }
        let output = output?;
        let _entered = self.inner.enter();
        self.shared.catch_up()?;
        Ok(output)
    }

    /// Returns tokio's handle, to spawn tasks on the runtime from outside.
    pub fn handle(&self) -> &::tokio::runtime::Handle {
        self.inner.handle()
    }
}

debug_by!([] Runtime, "Runtime", |it| { driver: it.shared.driver });

struct Shared {
    driver: Arc<Driver>,
    clock: Arc<dyn Clock>,
    /// Wakes the future of `block_on`, and tells the timeline whether this runtime has work.
    main: Mutex<Option<(Waker, Arc<Woken>)>>,
    stuck: Mutex<Option<Stuck>>,
    /// Whether the future of `block_on` was woken and has not been polled since.
    main_woken: AtomicBool,
    parked: AtomicBool,
    /// Whether tokio may still hold a wake-up of this thread that is out of date.
    stale: AtomicBool,
    /// Whether the parked runtime waits for a task that moves time by hand.
    parked_last: AtomicBool,
    /// How the timeline follows tokio's clock; `None` if the timeline leads.
    follow: Option<paused::Follow>,
}

impl Shared {
    fn park(self: &Arc<Self>) {
        if let Some(follow) = &self.follow {
            return self.plan(follow);
        }
        if self.stale.swap(false, Ordering::AcqRel) {
            // A stale wake-up would end the wait at a moment that the machine chooses. With work to
            // do, tokio does not block, and it consumes the wake-up.
            self.wake_main();
            return;
        }
        self.parked.store(true, Ordering::Release);
        let due = Due::of(self);
        let waker = Waker::from(Arc::clone(&due));
        let main = locked(&self.main).clone();
        let at = main.as_ref().map(|(_, woken)| woken.made_at);
        let place = at.map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        let what = format_args!("block_on of a tokio runtime{place}");
        self.driver.take_roused();
        let (deadline, last) = self.driver.next().unzip();
        let wait = Wait { deadline, on: &[], what: &what };
        let last = last == Some(true);
        self.parked_last.store(last, Ordering::Relaxed);
        let executor = main.map(|(_, woken)| woken as Arc<dyn Executor>);
        match self.clock.as_mock() {
            Some(mock) => mock.park_as(&wait, &waker, last, executor),
            None => self.clock.participant().park(wait, &waker),
        }
        // Other participants run now. They may wake this thread any number of times.
        if !due.done.load(Ordering::Acquire) {
            self.stale.store(true, Ordering::Release);
        }
    }

    fn unpark(&self) {
        if self.follow.is_some() {
            return self.awake();
        }
        if !self.parked.swap(false, Ordering::AcqRel) {
            return;
        }
        let unparked = match self.clock.as_mock() {
            Some(mock) => mock.unpark_at_deadline(),
            None => self.clock.participant().unpark().map(|()| false),
        };
        let at_deadline = unparked.unwrap_or_else(|stuck| {
            self.end(stuck);
            false
        });
        self.driver.fire(false);
        let roused = self.driver.take_roused();
        if at_deadline && !roused && self.parked_last.load(Ordering::Relaxed) {
            self.driver.fire(true);
        }
    }

    /// Ends the future of `block_on` with an error.
    fn end(&self, stuck: Stuck) {
        *locked(&self.stuck) = Some(stuck);
        self.wake_main();
    }

    /// Wakes the future of `block_on`. Returns false if it was already woken or does not run.
    fn wake_main(&self) -> bool {
        let main = locked(&self.main).clone();
        let main = main.filter(|_| !self.main_woken.swap(true, Ordering::AcqRel));
        main.map(|(waker, _)| waker.wake()).is_some()
    }
}

/// The waker that the timeline wakes when the wait of the parked runtime has ended.
struct Due {
    shared: Arc<Shared>,
    done: AtomicBool,
}

impl Due {
    fn of(shared: &Arc<Shared>) -> Arc<Due> {
        Arc::new(Due { shared: Arc::clone(shared), done: AtomicBool::new(false) })
    }
}

impl Wake for Due {
    fn wake(self: Arc<Self>) {
        // The runtime's own thread wakes the tasks that are due, after its park. A task woken from
        // here would unpark that thread twice, and the second wake-up would be left over.
        self.done.store(true, Ordering::Release);
        self.shared.wake_main();
    }
}

/// The future of `block_on`, ended early when the timeline is stuck.
struct Watched<'a, F> {
    future: Pin<&'a mut F>,
    shared: &'a Shared,
    woken: Arc<Woken>,
}

/// The waker of the future of `block_on`. Its flag tells a wake-up of this future from one of the
/// runtime around it.
struct Woken {
    flag: AtomicBool,
    /// The call of `block_on`, for reports.
    made_at: &'static Location<'static>,
    shared: Weak<Shared>,
    metrics: ::tokio::runtime::RuntimeMetrics,
}

/// tokio keeps a runtime's work from other threads in two places: tasks that were woken, spawned or
/// aborted are in its global queue, and a flag marks the future of `block_on`.
impl Executor for Woken {
    fn has_work(&self) -> bool {
        self.flag.load(Ordering::Acquire) || self.metrics.global_queue_depth() > 0
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.flag.store(true, Ordering::Release);
        if let Some(shared) = self.shared.upgrade() {
            shared.stale.fetch_or(shared.wake_main(), Ordering::AcqRel);
        }
    }
}

impl<F: Future> Future for Watched<'_, F> {
    type Output = Result<F::Output, Stuck>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        self.shared.main_woken.store(false, Ordering::Release);
        let stuck = locked(&self.shared.stuck).take();
        if let Some(stuck) = stuck {
            return Poll::Ready(Err(stuck));
        }
        // A paused clock may have been moved by hand, without parking.
        if let Err(stuck) = self.shared.catch_up() {
            return Poll::Ready(Err(stuck));
        }
        let main = (task.waker().clone(), Arc::clone(&self.woken));
        let old = locked(&self.shared.main).replace(main);
        drop(old);
        let polled = if self.woken.flag.swap(false, Ordering::AcqRel) {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.future.as_mut().poll(&mut Context::from_waker(&waker)).map(Ok)
        } else {
            Poll::Pending
        };
        if let (Poll::Pending, Some(follow)) = (&polled, &self.shared.follow) {
            follow.poll_next(&self.shared.driver, task);
        }
        polled
    }
}
