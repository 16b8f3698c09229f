//! Moving time by hand from async code.

use super::driver::{Driver, Timer};
use crate::{ClockError, MonoTime};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Moves virtual time by `d`. At every deadline on the way it stops until the tasks and participants
/// that it woke wait again. It is [`advance`](crate::advance) for async code, where a blocking call
/// would keep the other tasks of the runtime from running.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task::{self, block_on};
/// use testbench_clock::{ClockError, MockClock, sleep, thread};
///
/// let _installed = MockClock::builder().build().install();
/// let ns = Duration::from_nanos;
/// let other = thread::spawn(move || sleep(ns(10)));
/// block_on(async {
///     task::advance(ns(9)).await?;
///     assert!(!other.is_finished());
///     task::advance(ns(1)).await?;
///     assert!(other.is_finished());
///     Ok::<(), ClockError>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The future returns [`ClockError`] if the clock of this thread's driver is real, or if the result
/// is past the range of [`MonoTime`].
///
/// # Panics
///
/// If the future is polled on a thread without a driver.
pub fn advance(d: Duration) -> Advance {
    let clock = Driver::clock_here();
    let plan = || {
        clock.as_mock().ok_or(ClockError::NotMocked { what: "advance" })?;
        let from = clock.mono_exact();
        from.checked_add(d).ok_or(ClockError::OutOfRange { from, by: d })
    };
    Advance { deadline: plan(), timer: None }
}

/// Lets all other participants that can run at this instant run until they wait. Time does not
/// move. It is [`settle`](crate::settle) for async code.
///
/// ```
/// use testbench_clock::task::{self, block_on};
/// use testbench_clock::{MockClock, thread};
///
/// let _installed = MockClock::builder().build().install();
/// let other = thread::spawn(|| ());
/// block_on(task::settle())??;
/// assert!(other.is_finished());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`advance`].
///
/// # Panics
///
/// If the future is polled on a thread without a driver.
pub fn settle() -> Advance {
    advance(Duration::ZERO)
}

/// The future of [`advance`] and [`settle`]. Dropping it leaves time where it is.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Advance {
    deadline: Result<MonoTime, ClockError>,
    timer: Option<Timer>,
}

impl Future for Advance {
    type Output = Result<(), ClockError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let deadline = match &self.deadline {
            Ok(deadline) => *deadline,
            Err(error) => return Poll::Ready(Err(error.clone())),
        };
        let driver = Driver::here();
        if self.timer.as_ref().is_some_and(|timer| !timer.is_pending()) {
            return Poll::Ready(Ok(()));
        }
        Timer::set(&mut self.timer, driver, (deadline, true), task.waker());
        Poll::Pending
    }
}
