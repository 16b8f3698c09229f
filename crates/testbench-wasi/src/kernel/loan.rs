//! A place on the timeline that a process borrows from its caller, only while it needs one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::Clock;

/// The caller's place, [lent](testbench_clock::Participant::lend) to a plugin when a call first waits, or
/// takes long.
///
/// A command borrows its caller's place for as long as it runs. A plugin lives for as long as its
/// owner likes, and while a place is lent, the timeline cannot see that its owner is stuck. To lend it for
/// each call would cost more than most calls.
pub(super) struct Loan {
    name: String,
    state: Mutex<LoanState>,
    is_lent: AtomicBool,
}

#[derive(Default)]
struct LoanState {
    place: Option<Arc<dyn Clock>>,
    cancelled: Option<String>,
}

impl Loan {
    /// A loan under the name `name`.
    pub(super) fn new(name: &str) -> Self {
        Loan { name: name.to_owned(), state: Mutex::default(), is_lent: AtomicBool::new(false) }
    }

    /// The place of `caller`, which is lent until [`Loan::give_back`].
    pub(super) fn place(&self, caller: &dyn Clock) -> Arc<dyn Clock> {
        let mut state = self.lock();
        if let Some(place) = &state.place {
            return Arc::clone(place);
        }
        let place = caller.lend(&self.name);
        if let Some(why) = &state.cancelled {
            place.participant().cancel(why);
        }
        state.place = Some(Arc::clone(&place));
        self.is_lent.store(true, Ordering::SeqCst);
        place
    }

    /// Whether the place is lent now.
    pub(super) fn is_lent(&self) -> bool {
        // Sequentially consistent: a plugin's watch lends on its own, and looks afterwards whether the
        // call has ended.
        self.is_lent.load(Ordering::SeqCst)
    }

    /// Gives the place back, if it is lent.
    pub(super) fn give_back(&self) {
        if self.is_lent() {
            let place = {
                let mut state = self.lock();
                self.is_lent.store(false, Ordering::SeqCst);
                state.place.take()
            };
            // This takes the timeline's lock, so it does not happen under ours.
            drop(place);
        }
    }

    /// Ends the waits of the borrower now and later, not those of the caller.
    pub(super) fn cancel(&self, why: &str) {
        let place = {
            let mut state = self.lock();
            state.cancelled.get_or_insert_with(|| why.to_owned());
            state.place.clone()
        };
        if let Some(place) = place {
            place.participant().cancel(why);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LoanState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
