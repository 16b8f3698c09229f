//! Waiting in async code: sleeps, timeouts, intervals and signals, exact to the nanosecond.
//!
//! Futures of this module need a **driver** on the thread that polls them, which turns "all tasks
//! are idle" into a wait on the timeline. There are two: [`block_on`] here, for futures that need
//! no runtime, and, with the feature `tokio`, a current-thread tokio runtime
//! (`testbench_clock::tokio`). Either way the whole executor is one participant.
//!
//! ```
//! use std::time::Duration;
//! use testbench_clock::task::{block_on, sleep_async, timeout};
//! use testbench_clock::{MockClock, instant_now};
//!
//! let _installed = MockClock::builder().build().install();
//! let hour = Duration::from_secs(3600);
//! let slow = block_on(timeout(hour, sleep_async(2 * hour)))?;
//! assert!(slow.is_err());
//! assert_eq!(instant_now().since_origin(), hour);
//! # Ok::<(), testbench_clock::Stuck>(())
//! ```

use crate::ambient::current;
use crate::clock::{Clock, Stuck, Wait};
use crate::{Lifetime, Listener, Lookup, MonoTime, Scope, Signal};
use pin_project_lite::pin_project;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Runs a future on this thread, as this thread's participant: whenever it is idle, that is a
/// wait on the timeline.
///
/// # Errors
///
/// [`Stuck`] when nothing can ever wake the future again, or the wait was ended from outside. The
/// future is dropped then.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Stuck> {
    let clock = current();
    let driver = Driver::new(Arc::clone(&clock));
    let _driving = driver.install();
    let woken = Signal::new();
    let waker = Waker::from(Arc::new(Notify(woken.clone())));
    let mut task = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        let listener = [woken.listen()];
        if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
            return Ok(output);
        }
        let deadline = driver.next_deadline();
        clock.wait(Wait { deadline, on: &listener, what: &"all tasks of an executor wait" })?;
        driver.fire_due();
    }
}

/// Sleeps for `d`, counted from this call. Exact to the nanosecond on a mock clock.
///
/// # Panics
///
/// When it is polled on a thread without a driver.
pub fn sleep_async(d: Duration) -> Sleep {
    Sleep { deadline: current().mono().checked_add(d), registered: None }
}

/// Sleeps until the monotonic clock shows `deadline`.
///
/// # Panics
///
/// As [`sleep_async`].
pub fn sleep_until_async(deadline: MonoTime) -> Sleep {
    Sleep { deadline: Some(deadline), registered: None }
}

/// A sleep of [`sleep_async`] or [`sleep_until_async`]. Dropping it cancels it.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    /// `None` lies past the range of the clock and never comes.
    deadline: Option<MonoTime>,
    registered: Option<(Arc<Driver>, Key)>,
}

impl Sleep {
    /// When it ends; `None` if that is past the range of the clock.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.deadline
    }

    /// Sleeps until another instant instead. The next poll sees it.
    pub fn reset(&mut self, deadline: MonoTime) {
        self.forget();
        self.deadline = Some(deadline);
    }

    fn forget(&mut self) {
        if let Some((driver, key)) = self.registered.take() {
            driver.forget(key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let driver = Driver::here();
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if driver.clock().mono() >= deadline {
            self.forget();
            return Poll::Ready(());
        }
        match &self.registered {
            // A task may have moved to another executor since the last poll.
            Some((registered, key)) if Arc::ptr_eq(registered, &driver) => {
                driver.register(*key, task.waker());
            }
            _ => {
                self.forget();
                let key = driver.new_key(deadline);
                driver.register(key, task.waker());
                self.registered = Some((driver, key));
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Gives `future` at most `d` of virtual time. If both are ready at the same instant, the future
/// wins.
///
/// # Panics
///
/// When it is polled on a thread without a driver.
pub fn timeout<F: Future>(d: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_async(d) }
}

pin_project! {
    /// See [`timeout`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(task) {
            return Poll::Ready(Ok(output));
        }
        this.sleep.poll(task).map(|()| Err(Elapsed(())))
    }
}

/// The error of a [`timeout`] whose future was not ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time given to a future has passed")]
pub struct Elapsed(());

/// Ticks now, and then every `period`, without drift: late ticks follow each other until they
/// have caught up, as tokio's do by default.
///
/// # Panics
///
/// If `period` is zero.
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "interval: the period is zero");
    Interval { next: sleep_until_async(current().mono()), period }
}

/// See [`interval`].
#[derive(Debug)]
pub struct Interval {
    next: Sleep,
    period: Duration,
}

impl Interval {
    /// Waits for the next tick and returns the instant for which it was planned.
    pub async fn tick(&mut self) -> MonoTime {
        (&mut self.next).await;
        let planned = self.next.deadline().unwrap_or(MonoTime::MAX);
        match planned.checked_add(self.period) {
            Some(next) => self.next.reset(next),
            None => self.next = Sleep { deadline: None, registered: None },
        }
        planned
    }
}

/// Waits until the signal of `listener` is notified.
///
/// On the timeline this is exact even when another participant notifies: time does not move
/// between the notification and this task running.
pub fn notified(listener: Listener) -> Notified {
    Notified { listener }
}

/// See [`notified`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Notified {
    listener: Listener,
}

impl Future for Notified {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        if self.listener.is_notified() {
            return Poll::Ready(());
        }
        let clock = Driver::here().clock();
        let rouse = Arc::new(Rouse { clock, task: task.waker().clone() });
        self.listener.register(&Waker::from(rouse));
        if self.listener.is_notified() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The timers of one executor.
pub(crate) struct Driver {
    clock: Mutex<Arc<dyn Clock>>,
    timers: Mutex<BTreeMap<Key, Waker>>,
    next_id: AtomicU64,
}

/// Ties go by order of registration.
pub(crate) type Key = (MonoTime, u64);

static DRIVER: Scope<Driver> = Scope::new("async driver").bound_to_thread();

impl Driver {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Driver {
            clock: Mutex::new(clock),
            timers: Mutex::default(),
            next_id: AtomicU64::new(0),
        })
    }

    #[track_caller]
    pub(crate) fn install(self: &Arc<Self>) -> crate::Guard {
        let lifetime = Lifetime::new("async driver");
        DRIVER.install(Arc::clone(self), &lifetime).owning(lifetime)
    }

    /// The driver of this thread.
    fn here() -> Arc<Driver> {
        match DRIVER.get() {
            Lookup::Open(driver) => driver,
            Lookup::Absent | Lookup::Closed(..) => panic!(
                "an async wait of testbench-clock was polled on a thread without a driver; run it \
                 by `testbench_clock::task::block_on`, or on a runtime made by \
                 `testbench_clock::tokio::runtime` (feature `tokio`)"
            ),
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn next_deadline(&self) -> Option<MonoTime> {
        self.timers().first_key_value().map(|((deadline, _), _)| *deadline)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.timers().len()
    }

    /// Wakes the tasks whose time has come, in order, and tells how many.
    pub(crate) fn fire_due(&self) -> usize {
        let now = self.clock().mono();
        let due = {
            let mut timers = self.timers();
            if timers.first_key_value().is_none_or(|((first, _), _)| *first > now) {
                return 0;
            }
            match now.nanos().checked_add(1) {
                None => std::mem::take(&mut *timers),
                Some(after) => {
                    let later = timers.split_off(&(MonoTime::from_nanos(after), 0));
                    std::mem::replace(&mut *timers, later)
                }
            }
        };
        let count = due.len();
        due.into_values().for_each(Waker::wake);
        count
    }

    fn new_key(&self, deadline: MonoTime) -> Key {
        (deadline, self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    fn register(&self, key: Key, waker: &Waker) {
        let old = self.timers().insert(key, waker.clone());
        drop(old);
    }

    fn forget(&self, key: Key) {
        let old = self.timers().remove(&key);
        drop(old);
    }

    fn timers(&self) -> MutexGuard<'_, BTreeMap<Key, Waker>> {
        // No foreign code runs under this lock, so a poisoned one is still in order.
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("timers", &self.waiting()).finish_non_exhaustive()
    }
}

struct Notify(Signal);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Makes the executor's participant runnable before the executor itself has noticed.
struct Rouse {
    clock: Arc<dyn Clock>,
    task: Waker,
}

impl Wake for Rouse {
    fn wake(self: Arc<Self>) {
        self.clock.rouse();
        self.task.wake_by_ref();
    }
}
