//! What an executor's thread has installed: the timers of its tasks, and the clock that they wait on.

use crate::clock::Clock;
use crate::{Lifetime, Lookup, MonoTime, Scope};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The timers of one executor.
pub(crate) struct Driver {
    clock: Mutex<Arc<dyn Clock>>,
    timers: Mutex<BTreeMap<Key, Waker>>,
    next_id: AtomicU64,
    /// Its thread, when idle, waits on the timeline for signals, too.
    pub(super) hears_signals: bool,
}

/// Ties go by order of registration.
pub(super) type Key = (MonoTime, u64);

static DRIVER: Scope<Driver> = Scope::new("async driver").bound_to_thread();

impl Driver {
    pub(crate) fn new(clock: Arc<dyn Clock>, hears_signals: bool) -> Arc<Self> {
        Arc::new(Driver {
            clock: Mutex::new(clock),
            timers: Mutex::default(),
            next_id: AtomicU64::new(0),
            hears_signals,
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
                 `testbench_clock::tokio::runtime` (feature `tokio`)"
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

    pub(super) fn new_key(&self, deadline: MonoTime) -> Key {
        (deadline, self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn register(&self, key: Key, waker: &Waker) {
        let old = self.timers().insert(key, waker.clone());
        drop(old);
    }

    pub(super) fn forget(&self, key: Key) {
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
