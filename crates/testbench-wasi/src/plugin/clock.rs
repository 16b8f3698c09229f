//! A plugin's place on its timeline: its caller's place, taken only while it is needed.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use testbench_clock::{
    Clock, External, Listener, MonoTime, Participant, Reading, Role, Stuck, Wait, WallTime, Woke,
};

/// The caller's clock, [lent](Participant::lend) to the plugin when a call first waits, or takes long.
///
/// A command borrows its caller's place for as long as it runs. A plugin lives for as long as its
/// owner likes, and while a place is lent, the timeline cannot see that its owner is stuck. To lend it for
/// each call would cost more than most calls.
pub(super) struct CallClock {
    caller: Arc<dyn Clock>,
    name: String,
    state: Mutex<State>,
    is_lent: AtomicBool,
}

#[derive(Default)]
struct State {
    lent: Option<Arc<dyn Clock>>,
    cancelled: Option<String>,
}

impl CallClock {
    pub(super) fn new(caller: Arc<dyn Clock>, name: &str) -> Arc<Self> {
        Arc::new(CallClock {
            caller,
            name: name.to_owned(),
            state: Mutex::default(),
            is_lent: AtomicBool::new(false),
        })
    }

    /// The caller's clock itself.
    pub(super) fn caller(&self) -> &Arc<dyn Clock> {
        &self.caller
    }

    /// The caller's place under the plugin's name, until the call ends.
    pub(super) fn lent(&self) -> Arc<dyn Clock> {
        let mut state = self.lock();
        if let Some(lent) = &state.lent {
            return Arc::clone(lent);
        }
        let lent = self.caller.lend(&self.name);
        if let Some(why) = &state.cancelled {
            lent.participant().cancel(why);
        }
        state.lent = Some(Arc::clone(&lent));
        self.is_lent.store(true, Ordering::SeqCst);
        lent
    }

    /// Gives the place back.
    pub(super) fn call_ended(&self) {
        // Sequentially consistent: the watch lends on its own, and looks afterwards whether the call
        // has ended.
        if self.is_lent.load(Ordering::SeqCst) {
            let lent = {
                let mut state = self.lock();
                self.is_lent.store(false, Ordering::SeqCst);
                state.lent.take()
            };
            // Which takes the timeline's lock, so not under ours.
            drop(lent);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for CallClock {
    fn wall(&self) -> WallTime {
        self.caller.wall()
    }

    fn mono(&self) -> MonoTime {
        self.caller.mono()
    }

    fn mono_exact(&self) -> MonoTime {
        self.caller.mono_exact()
    }

    fn resolution(&self, of: Reading) -> Duration {
        self.caller.resolution(of)
    }

    fn mono_at(&self, wall: WallTime) -> Option<MonoTime> {
        self.caller.mono_at(wall)
    }

    fn wall_set(&self) -> Listener {
        self.caller.wall_set()
    }

    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck> {
        self.lent().wait(wait)
    }

    fn participant(&self) -> &dyn Participant {
        self
    }

    fn wrap(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        self.caller.wrap(clock)
    }

    fn yield_now(&self) -> Result<(), Stuck> {
        self.lent().yield_now()
    }
}

/// Operations that need no place go to the caller, the others to the place that is lent for them.
impl Participant for CallClock {
    fn join(&self, name: &str, role: Role) -> Arc<dyn Clock> {
        self.caller.participant().join(name, role)
    }

    fn lend(&self, name: &str) -> Arc<dyn Clock> {
        self.caller.participant().lend(name)
    }

    fn check(&self) -> Result<(), Stuck> {
        match self.is_lent.load(Ordering::Acquire) {
            true => self.lent().participant().check(),
            false => self.caller.participant().check(),
        }
    }

    /// Ends the waits of the plugin, not those of its caller.
    fn cancel(&self, why: &str) {
        let lent = {
            let mut state = self.lock();
            state.cancelled.get_or_insert_with(|| why.to_owned());
            state.lent.clone()
        };
        if let Some(lent) = lent {
            lent.participant().cancel(why);
        }
    }

    fn park(&self, wait: Wait<'_>, waker: &Waker) {
        self.lent().participant().park(wait, waker);
    }

    fn unpark(&self) -> Result<(), Stuck> {
        self.lent().participant().unpark()
    }

    fn as_any(&self) -> &dyn Any {
        self.caller.participant().as_any()
    }

    fn rouse(&self) {
        self.lent().participant().rouse();
    }

    fn begin(&self) -> Result<(), Stuck> {
        self.caller.participant().begin()
    }

    /// The place is the caller's.
    fn leave(&self) {}

    fn give_way(&self) -> Result<(), Stuck> {
        self.lent().participant().give_way()
    }

    fn external(&self, why: &dyn fmt::Display) -> External {
        self.lent().participant().external(why)
    }

    fn inhibit(&self, why: &dyn fmt::Display) -> External {
        self.lent().participant().inhibit(why)
    }
}

impl fmt::Debug for CallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallClock").field("caller", &self.caller).finish_non_exhaustive()
    }
}
