//! Something that happens after a time that really passes, unless it is called off.

use crate::debug::debug_by;
use crate::panics::locked;
use crate::system;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
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
        let mut pending = locked(&PENDING);
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
        let wakes = pending.wakes_for(due);
        drop(pending);
        if wakes {
            CHANGED.notify_one();
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
        let action = locked(&PENDING).actions.remove(&key);
        // Foreign code may run when this drops: after the lock is released.
        drop(action);
    }
}

debug_by!([] Armed, "Armed", |_| {});

type Key = (Instant, u64);

static PENDING: Mutex<Pending> = Mutex::new(Pending::new());
static CHANGED: Condvar = Condvar::new();

struct Pending {
    actions: BTreeMap<Key, Box<dyn FnOnce() + Send>>,
    next_id: u64,
    thread_runs: bool,
    /// Set while the thread sleeps and was not woken.
    asleep_until: Option<Instant>,
}

impl Pending {
    const fn new() -> Self {
        Pending { actions: BTreeMap::new(), next_id: 0, thread_runs: false, asleep_until: None }
    }

    /// Whether the thread is to be woken now for an action at `due`. It is woken once, until it has
    /// looked.
    fn wakes_for(&mut self, due: Instant) -> bool {
        self.asleep_until.take_if(|until| *until > due).is_some()
    }
}

/// How long the thread sleeps when there is nothing to do; any time that is long will do.
const IDLE: Duration = Duration::from_secs(3600);

fn run() {
    let mut pending = locked(&PENDING);
    loop {
        pending.asleep_until = None;
        let now = system::instant();
        let first = pending.actions.first_entry().filter(|first| first.key().0 <= now);
        if let Some(first) = first {
            let action = first.remove();
            drop(pending);
            // The panic hook has reported it; the other actions must still happen. To drop the payload
            // could panic once more.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(action)) {
                std::mem::forget(payload);
            }
            pending = locked(&PENDING);
        } else {
            let next = pending.actions.first_key_value().map(|((due, _), _)| *due);
            let asleep = next.map_or(IDLE, |due| due - now);
            pending.asleep_until = Some(now + asleep);
            let waited = CHANGED.wait_timeout(pending, asleep);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
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
    fn only_an_earlier_time_wakes_the_thread_and_only_once() {
        let (now, second) = (system::instant(), Duration::from_secs(1));
        let mut pending = Pending { asleep_until: Some(now + second), ..Pending::new() };
        assert!(!pending.wakes_for(now + second) && !pending.wakes_for(now + 2 * second));
        assert!(pending.wakes_for(now));
        assert!(!pending.wakes_for(now));
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
