//! Sleeps and timeouts.

use super::driver::{Driver, Key};
use crate::{MockClock, MonoTime, Stuck};
use pin_project_lite::pin_project;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Sleeps for `d`, counted from this call. Exact to the nanosecond on a mock clock.
///
/// # Panics
///
/// When it is polled on a thread without a driver, and when it was polled very many times while the
/// executor was never idle, so that virtual time could not move ([`Stuck::Spinning`]).
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task::{block_on, sleep_async};
/// use testbench_clock::{MockClock, instant_now};
///
/// let _installed = MockClock::builder().build().install();
/// block_on(sleep_async(Duration::from_nanos(7)))?;
/// assert_eq!(instant_now().nanos(), 7);
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
#[track_caller]
pub fn sleep_async(d: Duration) -> Sleep {
    Sleep::until(Driver::clock_here().mono_exact().checked_add(d), Location::caller())
}

/// Sleeps until the monotonic clock shows `deadline`.
///
/// ```
/// use testbench_clock::task::{block_on, sleep_until_async};
/// use testbench_clock::{MockClock, MonoTime, instant_now};
///
/// let _installed = MockClock::builder().build().install();
/// block_on(sleep_until_async(MonoTime::from_nanos(40)))?;
/// block_on(sleep_until_async(MonoTime::from_nanos(40)))?; // is there already
/// assert_eq!(instant_now().nanos(), 40);
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
///
/// # Panics
///
/// As [`sleep_async`].
#[track_caller]
pub fn sleep_until_async(deadline: MonoTime) -> Sleep {
    Sleep::until(Some(deadline), Location::caller())
}

/// A sleep of [`sleep_async`] or [`sleep_until_async`]. Dropping it cancels it.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task::{Sleep, block_on, sleep_async};
/// use testbench_clock::{MockClock, instant_now};
///
/// let _installed = MockClock::builder().build().install();
/// let long: Sleep = sleep_async(Duration::from_secs(3600));
/// block_on(sleep_async(Duration::from_secs(1)))?;
/// drop(long); // nobody waits for it
/// assert_eq!(instant_now().since_origin().as_secs(), 1);
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    /// `None` lies past the range of the clock and never comes.
    deadline: Option<MonoTime>,
    registered: Option<(Arc<Driver>, Key)>,
    /// For the log.
    made_at: &'static Location<'static>,
}

impl Sleep {
    fn until(deadline: Option<MonoTime>, made_at: &'static Location<'static>) -> Self {
        Sleep { deadline, registered: None, made_at }
    }

    /// Never ends from here on.
    pub(super) fn never_end(&mut self) {
        self.forget();
        self.deadline = None;
    }

    /// When it ends; `None` if that is past the range of the clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::task::sleep_async;
    /// use testbench_clock::{MockClock, MonoTime};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let sleep = sleep_async(Duration::from_nanos(9));
    /// assert_eq!(sleep.deadline(), Some(MonoTime::from_nanos(9)));
    /// assert_eq!(sleep_async(Duration::MAX).deadline(), None);
    /// ```
    pub fn deadline(&self) -> Option<MonoTime> {
        self.deadline
    }

    /// Whether its time has come by the clock of this thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::task::sleep_async;
    /// use testbench_clock::{MockClock, advance};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let nap = sleep_async(Duration::from_secs(2));
    /// assert!(!nap.is_elapsed());
    /// advance(Duration::from_secs(2))?;
    /// assert!(nap.is_elapsed());
    /// # Ok::<(), testbench_clock::ClockError>(())
    /// ```
    pub fn is_elapsed(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Driver::clock_here().mono_exact())
    }

    /// Sleeps until another instant instead, whether it has ended or not. The next poll sees it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::task::{block_on, sleep_async};
    /// use testbench_clock::{MockClock, MonoTime, instant_now};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let mut session_expires = sleep_async(Duration::from_nanos(10));
    /// session_expires.reset(MonoTime::from_nanos(25)); // the user has done something
    /// block_on(session_expires)?;
    /// assert_eq!(instant_now().nanos(), 25);
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
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
        let clock = driver.clock();
        // A poll is a reading, for the guard and the tick: a task that wakes itself for ever keeps its
        // executor from ever being idle.
        match MockClock::undecorated(&*clock) {
            Some(mock) => mock.mono_from(self.made_at),
            None => clock.mono(),
        };
        if clock.mono_exact() >= deadline {
            let has_waited = self.registered.is_some();
            self.forget();
            return if has_waited { Poll::Ready(()) } else { driver.ready_at_once(task.waker()) };
        }
        if let Err(stuck @ Stuck::Spinning { .. }) = clock.participant().check() {
            panic!("{stuck}");
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
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::MockClock;
/// use testbench_clock::task::{block_on, sleep_async, timeout};
///
/// let _installed = MockClock::builder().build().install();
/// let ns = Duration::from_nanos;
/// assert!(block_on(timeout(ns(999), sleep_async(ns(1_000))))?.is_err());
/// assert!(block_on(timeout(ns(1_000), sleep_async(ns(1_000))))?.is_ok());
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
#[track_caller]
pub fn timeout<F: Future>(d: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_async(d) }
}

/// Gives `future` until the monotonic clock shows `deadline`; see [`timeout`].
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task::{block_on, sleep_async, timeout_at};
/// use testbench_clock::{MockClock, MonoTime};
///
/// let _installed = MockClock::builder().build().install();
/// let deadline = MonoTime::from_nanos(100); // for both together
/// let step = || timeout_at(deadline, sleep_async(Duration::from_nanos(60)));
/// let (first, second) = block_on(async { (step().await, step().await) })?;
/// assert!(first.is_ok() && second.is_err());
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
///
/// # Panics
///
/// When it is polled on a thread without a driver.
#[track_caller]
pub fn timeout_at<F: Future>(deadline: MonoTime, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until_async(deadline) }
}

pin_project! {
    /// A future with a limit on its time; made by [`timeout`] and [`timeout_at`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::task::{Timeout, block_on, timeout};
    /// use testbench_clock::MockClock;
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let hour = Duration::from_secs(3600);
    /// let limited: Timeout<_> = timeout(hour, std::future::ready(42));
    /// assert_eq!(block_on(limited)?, Ok(42));
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
    }
}

impl<F> Timeout<F> {
    /// The future that is given its time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::task::{sleep_async, timeout};
    /// use testbench_clock::{MockClock, MonoTime};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let limited = timeout(Duration::from_secs(1), sleep_async(Duration::from_nanos(5)));
    /// assert_eq!(limited.get_ref().deadline(), Some(MonoTime::from_nanos(5)));
    /// ```
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// The future that is given its time, to be changed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::task::{block_on, sleep_async, timeout};
    /// use testbench_clock::{MockClock, MonoTime};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let mut limited = timeout(Duration::from_nanos(10), sleep_async(Duration::from_nanos(5)));
    /// limited.get_mut().reset(MonoTime::from_nanos(50));
    /// assert!(block_on(limited)?.is_err());
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.future
    }

    /// The future, without a limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::task::{block_on, sleep_async, timeout};
    /// use testbench_clock::{MockClock, instant_now};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let limited = timeout(Duration::from_nanos(1), sleep_async(Duration::from_nanos(5)));
    /// block_on(limited.into_inner())?;
    /// assert_eq!(instant_now().nanos(), 5);
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let driver = Driver::installed();
        let gave_way = || driver.as_ref().map(|driver| driver.gave_way());
        let before = gave_way();
        if let Poll::Ready(output) = this.future.poll(task) {
            return Poll::Ready(Ok(output));
        }
        if gave_way() != before {
            // It would have been ready, and the task is polled again at once.
            return Poll::Pending;
        }
        this.sleep.poll(task).map(|()| Err(Elapsed(())))
    }
}

/// The error of a [`timeout`] whose future was not ready in time.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task::{Elapsed, block_on, timeout};
/// use testbench_clock::MockClock;
///
/// let _installed = MockClock::builder().build().install();
/// let late: Result<(), Elapsed> =
///     block_on(timeout(Duration::from_secs(1), std::future::pending()))?;
/// assert_eq!(late.unwrap_err().to_string(), "the time given to a future has passed");
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time given to a future has passed")]
pub struct Elapsed(());
