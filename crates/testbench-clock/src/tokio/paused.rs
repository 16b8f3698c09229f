//! A driver for code that calls `tokio::time`: the timeline follows tokio's own paused clock.

use super::{Runtime, Shared};
use crate::MonoTime;
use crate::ambient::current;
use crate::clock::{Clock, Stuck, Wait};
use crate::panics::locked;
use crate::task::Driver;
use ::tokio::time::{Instant, Sleep, sleep_until};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A current-thread runtime whose `tokio::time` is paused, and whose participant follows it:
/// **grained to a millisecond**, as tokio's timers are.
///
/// For code under test that calls `tokio::time` itself. Where it need not, [`runtime`](super::runtime)
/// is exact. Waits of [`task`](crate::task) work here too, rounded up to tokio's next millisecond.
///
/// tokio moves its clock by itself when all of its tasks wait; the timeline is moved to the same
/// instant before any of them runs on, stopping at every deadline of others on the way. The other
/// direction does not exist: a blocking [`sleep`](crate::sleep) inside of a task moves the timeline
/// and not tokio's clock. A move of the timeline between two [`Runtime::block_on`] takes nothing
/// off the waits of the second.
///
/// When tokio has no timer, it sleeps in earnest, and the timeline does not see that as a wait. So
/// [`notified`](crate::task::notified) hears what tasks of this runtime notify, but not what others on the
/// timeline would: they wait for this runtime. If nothing else wakes it, that is found out as a stall,
/// which all participants are told, and [`Runtime::block_on`] returns.
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
    let shared = Shared::new(current(), Some(Follow::default()));
    let unparking = Arc::clone(&shared);
    let parking = Arc::clone(&shared);
    let inner = ::tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || parking.plan())
        .on_thread_unpark(move || {
            if let Err(stuck) = unparking.awake().and_then(|()| unparking.catch_up()) {
                unparking.end(stuck);
            }
            // It was idle until now.
            unparking.driver.fire_last();
        })
        .build()?;
    Ok(Runtime { inner, shared })
}

/// How the timeline follows tokio's clock.
#[derive(Default)]
pub(super) struct Follow {
    /// Instants of both clocks that are the same, from the last beginning on: between two, the
    /// timeline may have gone on alone.
    origin: Mutex<Option<(Instant, MonoTime)>>,
    /// A timer of tokio's for the earliest of our own.
    next: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl Follow {
    /// Takes the present instants of both clocks as the same.
    pub(super) fn start(&self, clock: &dyn Clock) {
        *locked(&self.origin) = Some((Instant::now(), clock.mono_exact()));
    }

    fn origin(&self) -> Option<(Instant, MonoTime)> {
        *locked(&self.origin)
    }

    /// Has tokio wake the future of `block_on` when the earliest of our own timers is due.
    pub(super) fn poll_next(&self, driver: &Driver, task: &mut Context<'_>) {
        let Some((instant, mono)) = self.origin() else { return };
        let deadline = driver.next().map(|(at, _)| instant + at.duration_since(mono));
        let mut next = locked(&self.next);
        match (deadline, &mut *next) {
            (None, _) => *next = None,
            (Some(at), Some(sleep)) if sleep.deadline() == at => {}
            (Some(at), Some(sleep)) => sleep.as_mut().reset(at),
            (Some(at), none) => *none = Some(Box::pin(sleep_until(at))),
        }
        if let Some(sleep) = &mut *next {
            // Ready or not, it is looked at again at the next poll.
            let _: Poll<()> = sleep.as_mut().poll(task);
        }
    }

    /// Drops the timer of tokio's, which holds its runtime.
    pub(super) fn forget_next(&self) {
        *locked(&self.next) = None;
    }

    fn is_planned(&self, driver: &Driver) -> bool {
        let planned = locked(&self.next);
        let planned = planned.as_ref().map(|sleep| sleep.deadline());
        let wanted = driver.next();
        let Some((instant, mono)) = self.origin() else { return true };
        planned == wanted.map(|(at, _)| instant + at.duration_since(mono))
    }
}

impl Shared {
    /// Before tokio parks: lets the future of `block_on` set a timer, if one is missing.
    fn plan(self: &Arc<Self>) {
        if let Some(mock) = self.clock.as_mock() {
            mock.wake_if_lost(Some(Waker::from(Arc::new(Lost(Arc::downgrade(self))))));
            // An end that came before that woke no task.
            if let Err(stuck) = self.clock.participant().begin() {
                self.end(stuck);
            }
        }
        let planned = self.follow.as_ref().is_none_or(|follow| follow.is_planned(&self.driver));
        if !planned {
            self.wake_main();
        }
    }

    /// After tokio has parked: finds out whether the timeline has gone on without this participant.
    fn awake(&self) -> Result<(), Stuck> {
        if let Some(mock) = self.clock.as_mock() {
            mock.wake_if_lost(None);
        }
        self.clock.participant().begin()
    }

    /// When tokio's clock may have moved: moves the timeline to the same instant.
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
        self.driver.fire_due();
        Ok(())
    }
}

/// Ends a park in earnest that nothing on the timeline would end.
struct Lost(Weak<Shared>);

impl Wake for Lost {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.wake_main();
        }
    }
}
