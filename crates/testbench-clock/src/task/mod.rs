//! Waiting in async code: sleeps, timeouts, intervals and events, exact to the nanosecond.
//!
//! Futures of this module need a **driver** on the thread that polls them, which turns "all tasks
//! are idle" into a wait on the timeline. There are two: [`block_on`] here, for futures that need
//! no runtime, and, with the feature `tokio`, a current-thread tokio runtime
//! (`testbench_clock::tokio`). Either way the whole executor is one participant.
//!
//! ```
//! use std::time::Duration;
//! use testbench_clock::task::{self, block_on, timeout};
//! use testbench_clock::{MockClock, instant_now};
//!
//! let _installed = MockClock::builder().build().install();
//! let hour = Duration::from_secs(3600);
//! let slow = block_on(timeout(hour, task::sleep(2 * hour)))?;
//! assert!(slow.is_err());
//! assert_eq!(instant_now().since_origin(), hour);
//! # Ok::<(), testbench_clock::Stuck>(())
//! ```

mod advance;
mod driver;
mod interval;
mod sleep;

pub use advance::{Advance, advance, settle};
pub(crate) use driver::Driver;
pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use sleep::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout, timeout_at};

use crate::ambient::current;
use crate::clock::{Clock, Stuck, Wait, Woke};
use crate::{Event, Listener};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Runs a future on this thread, as this thread's participant: whenever it is idle, that is a
/// wait on the timeline.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task::{self, block_on};
/// use testbench_clock::{MockClock, Stuck, instant_now};
///
/// let _installed = MockClock::builder().build().install();
/// let woken = block_on(async {
///     task::sleep(Duration::from_nanos(5)).await;
///     instant_now()
/// })?;
/// assert_eq!(woken.nanos(), 5);
/// assert!(matches!(block_on(std::future::pending::<()>()), Err(Stuck::Deadlock(_))));
/// # Ok::<(), Stuck>(())
/// ```
///
/// # Errors
///
/// [`Stuck`] when nothing can ever wake the future again, or the wait was ended from outside. The
/// future is dropped then.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Stuck> {
    let (clock, here) = (current(), Location::caller());
    let what = format_args!("block_on at {}:{}", here.file(), here.line());
    let driver = Driver::new(Arc::clone(&clock), true);
    let _driving = driver.install();
    let woken = Event::new();
    let waker = woken.waker();
    let mut task = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        let listener = [woken.listen()];
        if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
            return Ok(output);
        }
        while !listener[0].is_notified() {
            let (deadline, last) = driver.next().unzip();
            let wait = Wait { deadline, on: &listener, what: &what };
            let woke = match clock.as_mock().filter(|_| last == Some(true)) {
                Some(mock) => mock.wait_as(&wait, true)?,
                None => clock.wait(wait)?,
            };
            if driver.fire(false) == 0 && woke == Woke::Deadline {
                driver.fire(true);
            }
        }
    }
}

/// Waits until the event of `listener` is notified.
///
/// On the timeline this is exact even when another participant notifies: time does not move
/// between the notification and this task running.
///
/// Where [`hears_events`] is false, it may never be ready.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task::{block_on, notified};
/// use testbench_clock::{MockClock, Event, instant_now, sleep, thread};
///
/// let _installed = MockClock::builder().build().install();
/// let written = Event::new();
/// let listener = written.listen();
/// let writer = thread::spawn(move || {
///     sleep(Duration::from_secs(3));
///     written.notify();
/// });
/// block_on(notified(listener))?;
/// assert_eq!(instant_now().since_origin().as_secs(), 3);
/// # writer.join().unwrap();
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
///
/// # Panics
///
/// The future panics when it is polled on a thread without a driver.
pub fn notified(listener: Listener) -> Notified {
    Notified { listener }
}

/// Whether what happens on the timeline of `clock` can be awaited on this thread by [`notified`]: its
/// driver waits on that timeline whenever it is idle. A real clock moves in every wait.
///
/// False without a driver, with one of another timeline, and on a runtime that follows tokio's
/// paused clock: that one jumps to the next timer of tokio's, and does not know of events that
/// would come before.
///
/// ```
/// use testbench_clock::task::{block_on, hears_events};
/// use testbench_clock::{MockClock, current};
///
/// let _installed = MockClock::builder().build().install();
/// assert!(!hears_events(&*current()));
/// assert!(block_on(async { hears_events(&*current()) })?);
/// # Ok::<(), testbench_clock::Stuck>(())
/// ```
pub fn hears_events(clock: &dyn Clock) -> bool {
    let Some(awaited) = clock.as_mock() else { return true };
    Driver::installed().is_some_and(|driver| {
        let own = driver.clock();
        driver.hears_events && own.as_mock().is_some_and(|own| own.is_on_timeline_of(awaited))
    })
}

/// The future of [`notified`]. Dropping it stops listening.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Notified {
    listener: Listener,
}

impl Future for Notified {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        if self.listener.is_notified() {
            let driver = Driver::installed();
            return driver.map_or(Poll::Ready(()), |driver| driver.ready_at_once(task.waker()));
        }
        let rouse = Arc::new(Rouse { driver: Driver::here(), task: task.waker().clone() });
        self.listener.register(&Waker::from(rouse));
        if self.listener.is_notified() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Makes the executor's participant runnable before the executor itself has noticed.
struct Rouse {
    driver: Arc<Driver>,
    task: Waker,
}

impl Wake for Rouse {
    fn wake(self: Arc<Self>) {
        self.driver.rouse();
        self.task.wake_by_ref();
    }
}
