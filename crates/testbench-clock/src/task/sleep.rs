//! Sleeps and timeouts.

use super::driver::{Driver, Timer};
use crate::{MockClock, MonoTime, Stuck};
use pin_project_lite::pin_project;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Sleeps for `d`, counted from this call. Exact to the nanosecond on a mock clock.
///
/// # Panics
///
/// When it is polled on a thread without a driver, and when it was polled very many times while the
/// executor was never idle, so that virtual time could not move ([`Stuck::Spinning`]).
#[track_caller]
pub fn sleep(d: Duration) -> Sleep {
    Sleep::until(Driver::clock_here().mono_exact().checked_add(d), Location::caller())
}

/// Sleeps until the monotonic clock shows `deadline`.
///
/// # Panics
///
/// As [`sleep`].
#[track_caller]
pub fn sleep_until(deadline: MonoTime) -> Sleep {
    Sleep::until(Some(deadline), Location::caller())
}

/// A sleep of [`sleep`] or [`sleep_until`]. Dropping it cancels it.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    /// `None` lies past the range of the clock and never comes.
    deadline: Option<MonoTime>,
    timer: Option<Timer>,
    /// For the log.
    made_at: &'static Location<'static>,
}

impl Sleep {
    fn until(deadline: Option<MonoTime>, made_at: &'static Location<'static>) -> Self {
        Sleep { deadline, timer: None, made_at }
    }

    /// Sleeps until another instant instead; `None` never comes.
    pub(super) fn plan(&mut self, deadline: Option<MonoTime>) {
        (self.timer, self.deadline) = (None, deadline);
    }

    /// When it ends; `None` if that is past the range of the clock.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.deadline
    }

    /// Whether its time has come by the clock of this thread.
    pub fn is_elapsed(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Driver::clock_here().mono_exact())
    }

    /// Sleeps until another instant instead, whether it has ended or not. The next poll sees it.
    pub fn reset(&mut self, deadline: MonoTime) {
        self.plan(Some(deadline));
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
            let has_waited = self.timer.take().is_some();
            return if has_waited { Poll::Ready(()) } else { driver.ready_at_once(task.waker()) };
        }
        if let Err(stuck @ Stuck::Spinning { .. }) = clock.participant().check() {
            panic!("{stuck}");
        }
        Timer::set(&mut self.timer, driver, (deadline, false), task.waker());
        Poll::Pending
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
/// use testbench_clock::task::{self, block_on, timeout};
///
/// let _installed = MockClock::builder().build().install();
/// let ns = Duration::from_nanos;
/// assert!(block_on(timeout(ns(999), task::sleep(ns(1_000))))?.is_err());
/// assert!(block_on(timeout(ns(1_000), task::sleep(ns(1_000))))?.is_ok());
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
#[track_caller]
pub fn timeout<F: Future>(d: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep(d) }
}

/// Gives `future` until the monotonic clock shows `deadline`; see [`timeout`].
///
/// # Panics
///
/// When it is polled on a thread without a driver.
#[track_caller]
pub fn timeout_at<F: Future>(deadline: MonoTime, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until(deadline) }
}

pin_project! {
    /// A future with a limit on its time; made by [`timeout`] and [`timeout_at`].
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time given to a future has passed")]
pub struct Elapsed(());
