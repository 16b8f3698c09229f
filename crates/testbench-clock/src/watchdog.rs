//! Something that happens after a time that really passes, unless it is called off.

use crate::system;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Real-time limits for code that computes: virtual time does not pass for it.
///
/// One thread serves the whole process. It is started by the first use and sleeps until the
/// earliest action that it knew of when it fell asleep. Arming for a later time does not wake it,
/// nor does calling off, so that both cost well under a microsecond; it looks around when it wakes.
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use testbench_clock::Watchdog;
///
/// let (send, fired) = mpsc::channel();
/// let called_off = Watchdog::arm(Duration::from_secs(3600), || unreachable!())?;
/// let armed = Watchdog::arm(Duration::from_millis(5), move || send.send("barked").unwrap())?;
/// drop(called_off);
/// assert_eq!(fired.recv(), Ok("barked"));
/// # drop(armed);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub enum Watchdog {}

impl Watchdog {
    /// Calls `action` on the watchdog's thread after `delay` of real time, unless the returned
    /// value is dropped before.
    ///
    /// All actions of the process share one thread: do little in them, such as setting a flag and
    /// notifying an event. A panic in an action is reported by the panic hook and goes no further.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use testbench_clock::Watchdog;
    ///
    /// let (send, late) = mpsc::channel();
    /// let armed = Watchdog::arm(Duration::from_millis(2), move || drop(send.send("too late")))?;
    /// // Here something computes, and does not end in time.
    /// assert_eq!(late.recv(), Ok("too late"));
    /// drop(armed);
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn arm(delay: Duration, action: impl FnOnce() + Send + 'static) -> io::Result<Armed> {
        let mut pending = PENDING.lock();
        if !pending.thread_runs {
            thread::Builder::new().name("testbench-watchdog".into()).spawn(run)?;
            pending.thread_runs = true;
        }
        // A delay past the range of the platform's clock never ends.
        let Some(due) = system::instant().checked_add(delay) else {
            return Ok(Armed { key: None });
        };
        let key = (due, pending.next_id);
        pending.next_id += 1;
        pending.actions.insert(key, Box::new(action));
        let wakes = pending.asleep.is_some_and(|asleep| asleep.ends_after(due));
        if wakes {
            pending.asleep = None;
        }
        drop(pending);
        if wakes {
            PENDING.changed.notify_one();
        }
        Ok(Armed { key: Some(key) })
    }
}

/// Something that the [`Watchdog`] will do; dropping this calls it off.
///
/// An action that has already begun is not waited for.
#[must_use = "dropping this calls the action off"]
pub struct Armed {
    key: Option<Key>,
}

impl Drop for Armed {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let action = PENDING.lock().actions.remove(&key);
        // Foreign code may run when this drops: after the lock is released.
        drop(action);
    }
}

impl fmt::Debug for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Armed")
    }
}

type Key = (Instant, u64);

static PENDING: Shared = Shared { pending: Mutex::new(Pending::new()), changed: Condvar::new() };

struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
}

struct Pending {
    actions: BTreeMap<Key, Box<dyn FnOnce() + Send>>,
    next_id: u64,
    thread_runs: bool,
    /// Set while the thread sleeps and nobody has woken it.
    asleep: Option<Asleep>,
}

impl Pending {
    const fn new() -> Self {
        Pending { actions: BTreeMap::new(), next_id: 0, thread_runs: false, asleep: None }
    }
}

/// How long the watchdog's thread sleeps unless it is woken.
#[derive(Clone, Copy)]
enum Asleep {
    Until(Instant),
    Forever,
}

impl Asleep {
    fn ends_after(self, due: Instant) -> bool {
        match self {
            Asleep::Until(end) => end > due,
            Asleep::Forever => true,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // No foreign code runs under this lock, so a poisoned one is still in order.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run() {
    let mut pending = PENDING.lock();
    loop {
        pending.asleep = None;
        let now = system::instant();
        let first = pending.actions.first_key_value().map(|((due, _), _)| *due);
        match first {
            None => {
                pending.asleep = Some(Asleep::Forever);
                pending = PENDING.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            Some(due) if due > now => {
                pending.asleep = Some(Asleep::Until(due));
                let waited = PENDING.changed.wait_timeout(pending, due - now);
                pending = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            Some(_) => {
                let action = pending.actions.pop_first();
                drop(pending);
                if let Some((_, action)) = action {
                    // The panic hook has reported it; the other actions must still happen. To drop what
                    // it panicked with could panic once more.
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(action)) {
                        std::mem::forget(payload);
                    }
                }
                pending = PENDING.lock();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_panic_whose_payload_panics_when_dropped_stops_nothing() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the drop of a payload")
            }
        }
        let _bad = Watchdog::arm(Duration::ZERO, || std::panic::panic_any(Bomb)).unwrap();
        let (send, happened) = mpsc::channel();
        let good = move || send.send(()).unwrap();
        let _good = Watchdog::arm(Duration::from_millis(20), good).unwrap();
        assert_eq!(happened.recv_timeout(Duration::from_secs(20)), Ok(()));
    }

    #[test]
    fn actions_happen_in_order_of_their_time() {
        let (send, happened) = mpsc::channel();
        let arm = |ms, name| {
            let send = send.clone();
            Watchdog::arm(Duration::from_millis(ms), move || send.send(name).unwrap()).unwrap()
        };
        let _armed = [arm(60, "last"), arm(5, "first"), arm(30, "second")];
        let order: Vec<_> = happened.iter().take(3).collect();
        assert_eq!(order, ["first", "second", "last"]);
    }

    #[test]
    fn what_is_called_off_is_dropped_and_does_not_happen() {
        let (send, happened) = mpsc::channel::<()>();
        let armed = Watchdog::arm(LONG, move || send.send(()).unwrap()).unwrap();
        drop(armed);
        assert!(happened.recv().is_err(), "the action was dropped without being called");
    }

    #[test]
    fn a_panicking_action_does_not_stop_the_others() {
        let (send, happened) = mpsc::channel();
        let _bad = Watchdog::arm(Duration::ZERO, || panic!("on purpose, in a test")).unwrap();
        let _good =
            Watchdog::arm(Duration::from_millis(5), move || send.send(()).unwrap()).unwrap();
        assert_eq!(happened.recv(), Ok(()));
    }

    #[test]
    fn only_an_earlier_time_wakes_the_thread() {
        let (now, second) = (system::instant(), Duration::from_secs(1));
        let asleep = Asleep::Until(now + second);
        assert!(asleep.ends_after(now));
        assert!(!asleep.ends_after(now + second) && !asleep.ends_after(now + 2 * second));
        assert!(Asleep::Forever.ends_after(now + second));
    }

    /// Earlier actions that were called off leave the thread asleep until their time; what is armed
    /// meanwhile must still happen at its own.
    #[test]
    fn an_action_behind_one_that_was_called_off_happens() {
        let (send, happened) = mpsc::channel();
        for _ in 0..50 {
            let called_off = Watchdog::arm(Duration::from_millis(3), || {}).unwrap();
            let send = send.clone();
            let kept = Watchdog::arm(Duration::from_millis(6), move || send.send(()).unwrap());
            drop(called_off);
            assert_eq!(happened.recv_timeout(10 * Duration::from_secs(1)), Ok(()));
            drop(kept);
        }
    }

    #[test]
    fn a_delay_past_every_range_never_ends() {
        let (send, happened) = mpsc::channel::<()>();
        let armed = Watchdog::arm(Duration::MAX, move || drop(send)).unwrap();
        assert_eq!(happened.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        drop(armed);
    }
}
