//! Sleeps and timeouts.

use super::driver::{Driver, Key};
use crate::ambient::current;
use crate::{MonoTime, Stuck};
use pin_project_lite::pin_project;
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
    /// A sleep that never ends.
    pub(super) fn forever() -> Self {
        Sleep { deadline: None, registered: None }
    }

    /// When it ends; `None` if that is past the range of the clock.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.deadline
    }

    /// Whether its time has come by the clock of this thread.
    pub fn is_elapsed(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= current().mono())
    }

    /// Sleeps until another instant instead, whether it has ended or not. The next poll sees it.
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
        if clock.mono() >= deadline {
            self.forget();
            return Poll::Ready(());
        }
        // A task that wakes itself for ever keeps its executor from ever being idle.
        if let Err(stuck @ Stuck::Spinning { .. }) = clock.check() {
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
pub fn timeout<F: Future>(d: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_async(d) }
}

/// Gives `future` until the monotonic clock shows `deadline`; see [`timeout`].
///
/// # Panics
///
/// When it is polled on a thread without a driver.
pub fn timeout_at<F: Future>(deadline: MonoTime, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until_async(deadline) }
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

impl<F> Timeout<F> {
    /// The future that is given its time.
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// The future that is given its time.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.future
    }

    /// The future, without a limit.
    pub fn into_inner(self) -> F {
        self.future
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
