//! The watchdog of calls, which costs a call next to nothing.
//!
//! To arm a timer for each call would cost more than most calls. Instead each call counts itself in
//! and out, and one timer looks at the count at intervals while calls are made: a call that it has
//! seen for long enough is ended. So a call ends at most one interval later than its limit.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use testbench_clock::{Armed, Watchdog};

use crate::exit::Exit;
use crate::limits::Limit;
use crate::stopping::Interrupter;

/// A call is looked at this often before its limit.
const LOOKS: u32 = 8;

/// The longest interval: a call that has been seen twice borrows its caller's place on the timeline,
/// which must be before the timeline takes the caller for stalled.
const INTERVAL_MAX: Duration = Duration::from_millis(250);

/// Set in the count when the call has been told to end.
const TOLD: u64 = 1 << 63;

/// Watches the calls of one plugin.
pub(super) struct Watch {
    limit: Option<Duration>,
    interval: Duration,
    /// Odd while a call is made.
    calls: AtomicU64,
    ticking: AtomicBool,
    state: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    armed: Option<Armed>,
    /// The count at the last look.
    seen: u64,
    /// Since when it is the same, in looks.
    looks: u32,
    /// Ends the plugin's instance.
    target: Option<Arc<Interrupter>>,
}

impl Watch {
    pub(super) fn new(limit: Option<Duration>) -> Arc<Self> {
        let of_limit = limit.map_or(INTERVAL_MAX, |limit| limit / LOOKS);
        Arc::new(Watch {
            limit,
            // Not so short that nothing else is done; a limit of zero is reached at the first look.
            interval: of_limit.clamp(Duration::from_micros(200), INTERVAL_MAX),
            calls: AtomicU64::new(0),
            ticking: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// Sets the instance to end from now on.
    pub(super) fn aim(&self, interrupter: Arc<Interrupter>) {
        let old = self.lock().target.replace(interrupter);
        drop(old);
    }

    /// Counts a call in.
    ///
    /// # Errors
    ///
    /// When there is no thread that could watch it.
    pub(super) fn begin(self: &Arc<Self>) -> io::Result<()> {
        let calls = self.calls.load(Ordering::Relaxed);
        // Sequentially consistent, as is the look: one of the two sees the other.
        self.calls.store(calls + 1, Ordering::SeqCst);
        if !self.ticking.load(Ordering::SeqCst) {
            let mut state = self.lock();
            if !self.ticking.swap(true, Ordering::SeqCst) {
                self.arm(&mut state).inspect_err(|_| {
                    self.ticking.store(false, Ordering::SeqCst);
                    self.calls.store(calls + 2, Ordering::SeqCst);
                })?;
            }
        }
        Ok(())
    }

    /// Counts the call out. The limit, if the call was told to end, whether or not it heard.
    pub(super) fn end(&self) -> Result<(), Limit> {
        let calls = self.calls.load(Ordering::Relaxed) & !TOLD;
        let counted =
            self.calls.compare_exchange(calls, calls + 1, Ordering::SeqCst, Ordering::SeqCst);
        if counted.is_err() {
            self.calls.store(calls + 1, Ordering::SeqCst);
            return Err(Limit::Watchdog { after: self.limit.unwrap_or_default() });
        }
        Ok(())
    }

    /// Whether a call is made now.
    pub(super) fn is_on(&self) -> bool {
        self.calls.load(Ordering::SeqCst) % 2 == 1
    }

    /// Ends the watch.
    pub(super) fn stop(&self) {
        let state = std::mem::take(&mut *self.lock());
        drop(state);
    }

    fn arm(self: &Arc<Self>, state: &mut Seen) -> io::Result<()> {
        let watch: Weak<Self> = Arc::downgrade(self);
        let look = move || {
            if let Some(watch) = watch.upgrade() {
                watch.look();
            }
        };
        state.armed = Some(Watchdog::arm(self.interval, look)?);
        Ok(())
    }

    fn look(self: &Arc<Self>) {
        let mut state = self.lock();
        let calls = self.calls.load(Ordering::SeqCst);
        if calls != state.seen {
            (state.seen, state.looks) = (calls, 0);
        } else if calls.is_multiple_of(2) {
            self.ticking.store(false, Ordering::SeqCst);
            // A call that began before that store relies on this timer.
            if self.calls.load(Ordering::SeqCst) == calls
                || self.ticking.swap(true, Ordering::SeqCst)
            {
                return;
            }
        } else if calls & TOLD == 0 {
            state.looks += 1;
            self.look_at_a_long_call(&state, calls);
        }
        // A missing thread cannot be reported here; there was one just now.
        let _ = self.arm(&mut state);
    }

    fn look_at_a_long_call(&self, state: &Seen, calls: u64) {
        let Some(interrupter) = &state.target else { return };
        if state.looks == 1 {
            let process = &interrupter.process;
            process.borrow_place();
            if self.calls.load(Ordering::SeqCst) != calls {
                process.give_place_back();
            }
        }
        let Some(after) = self.limit else { return };
        if self.interval * state.looks >= after {
            // Fails if the call has ended meanwhile: the next one must not be told.
            let told = self.calls.compare_exchange(
                calls,
                calls | TOLD,
                Ordering::SeqCst,
                Ordering::SeqCst,
            );
            if told.is_ok() {
                interrupter.interrupt(Exit::Limit(Limit::Watchdog { after }));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
