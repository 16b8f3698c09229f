//! Ending a guest from outside, wherever it is.
//!
//! A guest is in one of two places. In a call to the host it waits for an event that is part of
//! every wait; the kernel's `Stopper` notifies it. In its own code it passes checks that compare
//! a counter of the engine with a deadline; advancing the counter makes every guest of the engine
//! look at its own stop flag, and all but the stopped guest go on.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use testbench_clock::{Armed, Watchdog};

use crate::engine::Engines;
use crate::exit::Exit;
use crate::kernel::Process;

/// Ends guests from another thread.
///
/// Give it to guests with [`GuestSpec::cancel`](crate::GuestSpec::cancel) and keep a clone. One
/// handle may be given to several guests. A guest that is started with a handle that was used
/// already ends at once.
///
/// ```
/// use testbench_wasi::{Cancel, GuestSpec, Module, run};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wasm = wat::parse_str(r#"(module (func (export "_start") (loop $again (br $again))))"#)?;
/// let spec = GuestSpec::new(Module::from_bytes("endless", wasm)?);
/// let cancel = Cancel::new();
/// let other_thread = std::thread::spawn({
///     let cancel = cancel.clone();
///     move || cancel.cancel("the test is over")
/// });
/// let finished = run(spec.cancel(cancel))?;
/// assert_eq!(finished.exit.to_string(), "killed: the test is over");
/// # other_thread.join().unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Cancel {
    state: Arc<Mutex<CancelState>>,
}

#[derive(Default)]
struct CancelState {
    why: Option<Arc<str>>,
    targets: Vec<Arc<Interrupter>>,
}

impl Cancel {
    /// A handle that has not been used.
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Ends every guest that has this handle, for this reason. The first reason stays.
    pub fn cancel(&self, why: impl Into<Arc<str>>) {
        let (why, targets) = {
            let mut state = self.lock();
            let why = state.why.get_or_insert_with(|| why.into()).clone();
            (why, std::mem::take(&mut state.targets))
        };
        for target in targets {
            target.interrupt(Exit::Killed(why.clone()));
        }
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().why.is_some()
    }

    /// Makes this handle end a guest too; at once, if it was used already.
    fn attach(&self, target: &Arc<Interrupter>) {
        let why = {
            let mut state = self.lock();
            if state.why.is_none() {
                state.targets.push(target.clone());
            }
            state.why.clone()
        };
        if let Some(why) = why {
            target.interrupt(Exit::Killed(why));
        }
    }

    /// Forgets a guest that has ended.
    fn detach(&self, target: &Arc<Interrupter>) {
        self.lock().targets.retain(|other| !Arc::ptr_eq(other, target));
    }

    fn lock(&self) -> MutexGuard<'_, CancelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("why", &self.lock().why).finish_non_exhaustive()
    }
}

/// Ends one guest, wherever it is.
pub(crate) struct Interrupter {
    pub(crate) process: Arc<Process>,
    engines: Arc<Engines>,
    is_running: Box<dyn Fn() -> bool + Send + Sync>,
    guest_ended: AtomicBool,
    again: Mutex<Option<Armed>>,
}

/// The pause before the counter is advanced again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest such pause: a guest may be in one long instruction, such as a `memory.fill` of all
/// its memory.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

impl Interrupter {
    /// Ends the guest of `process`, whose code may be running whenever `is_running` returns true. When
    /// it is not running, it looks at its flag before it runs again.
    pub(crate) fn new(
        process: &Arc<Process>,
        engines: &Arc<Engines>,
        is_running: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Interrupter {
            process: Arc::clone(process),
            engines: Arc::clone(engines),
            is_running: Box::new(is_running),
            guest_ended: AtomicBool::new(false),
            again: Mutex::default(),
        })
    }

    /// Ends the guest as soon as it can be reached. The first reason stays.
    pub(crate) fn interrupt(self: &Arc<Self>, exit: Exit) {
        let why = exit.to_string();
        self.process.stopper.stop(exit);
        // It may also wait for its turn to begin, where no event reaches it.
        self.process.cancel_waits(&why);
        self.advance(FIRST_PAUSE);
    }

    /// Advances the counter until the guest has ended.
    ///
    /// Once is not always enough: a guest that the interruption of another guest has sent to its flag may
    /// be past looking at it, and about to set its next deadline from the counter that was just advanced.
    /// This is over within nanoseconds, so the second time reaches it.
    fn advance(self: &Arc<Self>, pause: Duration) {
        if self.guest_ended.load(Ordering::Acquire) || !(self.is_running)() {
            return;
        }
        self.engines.interrupt();
        let target = Arc::clone(self);
        let next_pause = (pause * 2).min(LONGEST_PAUSE);
        let again = Watchdog::arm(pause, move || target.advance(next_pause));
        // Without a watchdog thread the guest was reached once, which nearly always suffices.
        *self.again() = again.ok();
    }

    fn again(&self) -> MutexGuard<'_, Option<Armed>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that a running guest holds outside of its store: released when this drops, also while
/// a host function's panic unwinds.
pub(crate) struct Held {
    interrupter: Arc<Interrupter>,
    cancel: Cancel,
}

impl Held {
    /// From now on `cancel` ends the guest.
    pub(crate) fn new(interrupter: Arc<Interrupter>, cancel: &Cancel) -> Self {
        cancel.attach(&interrupter);
        Held { interrupter, cancel: cancel.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let target = &self.interrupter;
        target.guest_ended.store(true, Ordering::Release);
        drop(target.again().take());
        self.cancel.detach(&self.interrupter);
        target.process.close();
    }
}
