//! The driver that an executor's thread has installed: the timers of its tasks, and the clock that they wait on.

use crate::ambient::current;
use crate::clock::{Clock, Stuck};
use crate::debug::debug_by;
use crate::panics::{locked, wake_all};
use crate::timeline::AtOnce;
use crate::{Lifetime, Lookup, MonoTime, Scope};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

/// The timers of one executor.
pub(crate) struct Driver {
    clock: Arc<dyn Clock>,
    timers: Mutex<BTreeMap<Key, Waker>>,
    roused: AtomicBool,
    next_id: AtomicU64,
    /// The futures that were ready as soon as they were polled, since the executor was last idle; and how
    /// often one of them had to wait.
    at_once: AtOnce,
    gave_way: AtomicU64,
    /// Its thread, when idle, waits on the timeline for events, too.
    pub(super) hears_events: bool,
}

/// One timer. Ties go by order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    deadline: MonoTime,
    /// Of a task that moves time by hand: due when all others of its instant are idle again.
    last: bool,
    id: u64,
}

static DRIVER: Scope<Driver> = Scope::new("async driver").bound_to_thread();

impl Driver {
    pub(crate) fn new(clock: Arc<dyn Clock>, hears_events: bool) -> Arc<Self> {
        Arc::new(Driver {
            clock,
            timers: Mutex::default(),
            roused: AtomicBool::new(false),
            next_id: AtomicU64::new(0),
            at_once: AtOnce::default(),
            gave_way: AtomicU64::new(0),
            hears_events,
        })
    }

    #[track_caller]
    pub(crate) fn install(self: &Arc<Self>) -> crate::Guard {
        let lifetime = Lifetime::new("async driver");
        DRIVER.install(Arc::clone(self), &lifetime).owning(lifetime)
    }

    /// The driver of this thread.
    pub(super) fn here() -> Arc<Driver> {
        Driver::installed().unwrap_or_else(|| {
            panic!(
                "an async wait of testbench-clock was polled on a thread without a driver; run it \
                 by `testbench_clock::task::block_on`, or on a runtime made by \
                 `testbench_clock::tokio::runtime` or, for code that calls `tokio::time`, by \
                 `testbench_clock::tokio::paused_runtime` (feature `tokio`)"
            )
        })
    }

    /// The driver of this thread, if there is one.
    pub(super) fn installed() -> Option<Arc<Driver>> {
        match DRIVER.get() {
            Lookup::Open(driver) => Some(driver),
            Lookup::Absent | Lookup::Closed(..) => None,
        }
    }

    /// The clock that async waits made here go by: the driver's, which also ends them, whatever
    /// context the task has entered; without a driver, the one of this thread.
    pub(super) fn clock_here() -> Arc<dyn Clock> {
        Driver::installed().map_or_else(current, |driver| driver.clock())
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The result of polling a future that has nothing to wait for: it is ready, but every so often
    /// not yet, so that a loop of such futures keeps neither other tasks nor other participants from
    /// running, and is found out.
    pub(super) fn ready_at_once(&self, task: &Waker) -> Poll<()> {
        if !self.at_once.is_to_give_way() {
            return Poll::Ready(());
        }
        self.gave_way.fetch_add(1, Ordering::Relaxed);
        match self.clock().yield_now() {
            Ok(()) => task.wake_by_ref(),
            Err(stuck @ Stuck::Spinning { .. }) => panic!("{stuck}"),
            // The executor finds out when it is idle, which this timer of the past makes it wait for.
            Err(_) => {
                drop(self.timers().insert(self.new_key(MonoTime::ORIGIN, false), task.clone()))
            }
        }
        Poll::Pending
    }

    /// Changes when [`Driver::ready_at_once`] lets a future that has nothing to wait for wait.
    pub(super) fn gave_way(&self) -> u64 {
        self.gave_way.load(Ordering::Relaxed)
    }

    /// The deadline of an idle executor, and whether it is only that of a task that moves time by hand, which
    /// goes last in the instant.
    pub(crate) fn next(&self) -> Option<(MonoTime, bool)> {
        self.timers().first_key_value().map(|(key, _)| (key.deadline, key.last))
    }

    /// A task was woken by another participant of the timeline.
    pub(super) fn rouse(&self) {
        self.roused.store(true, Ordering::Release);
        self.clock().participant().rouse();
    }

    /// Whether [`Driver::rouse`] was called since the last time.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_roused(&self) -> bool {
        self.roused.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.timers().len()
    }

    /// Wakes the tasks whose time has come, in order, and returns their number: with `last` those that
    /// move time by hand, when the executor has found nothing else to do at this instant.
    pub(crate) fn fire(&self, last: bool) -> usize {
        self.at_once.reset();
        let now = self.clock().mono_exact();
        let end = Key { deadline: now, last: true, id: u64::MAX };
        let due: Vec<_> =
            self.timers().extract_if(..=end, |key, _| key.last == last).map(|due| due.1).collect();
        let count = due.len();
        // Wakers are foreign code, so the lock is released before they run.
        wake_all(due);
        count
    }

    fn new_key(&self, deadline: MonoTime, last: bool) -> Key {
        Key { deadline, last, id: self.next_id.fetch_add(1, Ordering::Relaxed) }
    }

    fn timers(&self) -> MutexGuard<'_, BTreeMap<Key, Waker>> {
        locked(&self.timers)
    }
}

/// One timer of a driver. Dropping it calls it off.
pub(super) struct Timer {
    driver: Arc<Driver>,
    key: Key,
}

impl Timer {
    /// Sets a timer that wakes `waker`; with `last`, when all other tasks of the instant are idle again.
    /// An earlier timer in `slot` keeps its place, unless it is that of another executor.
    pub(super) fn set(
        slot: &mut Option<Timer>,
        driver: Arc<Driver>,
        (deadline, last): (MonoTime, bool),
        waker: &Waker,
    ) {
        let same = slot.take_if(|timer| Arc::ptr_eq(&timer.driver, &driver));
        let timer = same.unwrap_or_else(|| Timer { key: driver.new_key(deadline, last), driver });
        // Dropped after the lock is released, as it is foreign code.
        let old = timer.driver.timers().insert(timer.key, waker.clone());
        drop(old);
        *slot = Some(timer);
    }

    /// Whether it has not come up yet.
    pub(super) fn is_pending(&self) -> bool {
        self.driver.timers().contains_key(&self.key)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let old = self.driver.timers().remove(&self.key);
        drop(old);
    }
}

debug_by!([] Timer, "Timer", |it| { deadline: it.key.deadline });

debug_by!([] Driver, "Driver", |it| { timers: it.waiting() });
