//! A runtime for code that calls `tokio::time`: the timeline follows tokio's own paused clock.

use super::{Due, Runtime, Shared};
use crate::MonoTime;
use crate::ambient::current;
use crate::clock::{Clock, Stuck, Wait};
use crate::panics::locked;
use crate::task::Driver;
use ::tokio::time::{Instant, Sleep, sleep_until};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Returns a current-thread runtime whose `tokio::time` is paused. The timeline follows it in **whole
/// milliseconds**, as tokio's timers do.
///
/// It is for code under test that calls `tokio::time` itself. For other code, [`runtime`](super::runtime)
/// is exact. Waits of [`task`](crate::task) work here too, rounded up to tokio's next millisecond.
///
/// When all of its tasks wait, tokio moves its clock. Before a task runs on, the timeline moves to the
/// same instant, and stops at every deadline of other participants on the way. tokio's clock does not
/// follow the timeline: a blocking [`sleep`](crate::sleep) inside of a task moves only the timeline. If
/// the timeline moves between two calls of [`Runtime::block_on`], the waits of the second call keep
/// their full length.
///
/// If no task has a timer, tokio blocks in real time, and the timeline does not see that as a wait. So
/// [`notified`](crate::task::notified) hears events from tasks of this runtime, but not from other
/// participants: they wait for this runtime. If nothing else wakes the runtime, the timeline declares a
/// stall: the waits of all participants fail, and so does [`Runtime::block_on`].
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{MockClock, instant_now};
///
/// let _installed = MockClock::builder().build().install();
/// let runtime = testbench_clock::tokio::paused_runtime()?;
/// runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3600)).await })?;
/// assert_eq!(instant_now().since_origin().as_secs(), 3600);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When tokio cannot make a runtime.
pub fn paused_runtime() -> io::Result<Runtime> {
    Runtime::with(current(), Some(Follow::default()))
}

/// How the timeline follows tokio's clock.
#[derive(Default)]
pub(super) struct Follow {
    /// The instants of both clocks at the start of the last `block_on`. Between two calls, the
    /// timeline may move alone.
    origin: Mutex<Option<(Instant, MonoTime)>>,
    /// tokio's timer for the earliest timer of the driver.
    next: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl Follow {
    /// Records the present instants of both clocks as equal.
    pub(super) fn start(&self, clock: &dyn Clock) {
        *locked(&self.origin) = Some((Instant::now(), clock.mono_exact()));
    }

    fn origin(&self) -> Option<(Instant, MonoTime)> {
        *locked(&self.origin)
    }

    /// Makes tokio wake the future of `block_on` when the driver's earliest timer is due.
    pub(super) fn poll_next(&self, driver: &Driver, task: &mut Context<'_>) {
        if !self.is_planned(driver) {
            *locked(&self.next) = self.due(driver).map(|at| Box::pin(sleep_until(at)));
        }
        let mut next = locked(&self.next);
        if let Some(sleep) = &mut *next {
            // The result does not matter: the next poll looks at the timer again.
            let _: Poll<()> = sleep.as_mut().poll(task);
        }
    }

    /// Drops tokio's timer, which holds the runtime.
    pub(super) fn forget_next(&self) {
        *locked(&self.next) = None;
    }

    fn is_planned(&self, driver: &Driver) -> bool {
        locked(&self.next).as_ref().map(|sleep| sleep.deadline()) == self.due(driver)
    }

    /// Returns the instant of tokio's clock at which the earliest of our own timers is due.
    fn due(&self, driver: &Driver) -> Option<Instant> {
        let (instant, mono) = self.origin()?;
        driver.next().map(|(at, _)| instant + at.duration_since(mono))
    }
}

impl Shared {
    /// Before tokio parks: wakes the future of `block_on` if it must set a timer.
    pub(super) fn plan(self: &Arc<Self>, follow: &Follow) {
        if let Some(mock) = self.clock.as_mock() {
            mock.wake_if_lost(Some(Waker::from(Due::of(self))));
            // If the wait was ended before that, no task was woken.
            if let Err(stuck) = self.clock.participant().begin() {
                self.end(stuck);
            }
        }
        if !follow.is_planned(&self.driver) {
            self.wake_main();
        }
    }

    /// After tokio has parked: checks whether the timeline has gone on without this participant.
    pub(super) fn awake(&self) {
        if let Some(mock) = self.clock.as_mock() {
            mock.wake_if_lost(None);
        }
        if let Err(stuck) = self.clock.participant().begin().and_then(|()| self.catch_up()) {
            self.end(stuck);
        }
        // The runtime was idle until now.
        self.driver.fire(true);
    }

    /// Moves the timeline to the instant of tokio's clock, which may have moved.
    pub(super) fn catch_up(&self) -> Result<(), Stuck> {
        let Some((instant, mono)) = self.follow.as_ref().and_then(Follow::origin) else {
            return Ok(());
        };
        let passed: Duration = Instant::now().saturating_duration_since(instant);
        let deadline = mono.saturating_add(passed);
        if self.clock.mono_exact() < deadline {
            let what = format_args!("following tokio's paused clock");
            self.clock.wait(Wait { deadline: Some(deadline), on: &[], what: &what })?;
        }
        self.driver.fire(false);
        Ok(())
    }
}
