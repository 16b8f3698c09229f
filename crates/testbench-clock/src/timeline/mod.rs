//! One timeline, shared by every participant: the kernel in [`state`], made to block threads.
//!
//! # How it works
//!
//! Each participant has a seat, and each [`MockClock`] is a handle of it. A wait changes the seat under the timeline's lock, lets the kernel decide who runs
//! next, and blocks its thread on the seat's own condition variable until it has a turn again.
//! Readings take no lock.
//!
//! Wakers are foreign code and may call back into the timeline. The kernel only collects them; they
//! run in [`Timeline::settled`], after the lock is released.

mod closing;
mod dial;
mod injected;
mod monitor;
mod seats;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod wall;

pub(crate) use dial::{AtOnce, Dial, Face};
#[cfg(feature = "tokio")]
pub(crate) use seats::Executor;
pub use view::MockClock;
pub(crate) use wall::WallCell;
pub use wall::{Injection, InjectionError, Shift, When};

use crate::log::{Kind, Log};
use crate::panics::{Panics, locked};
use crate::{Armed, Event, Role, Watchdog};
use monitor::Monitor;
use seats::{Seat, SeatId, Status};
pub(crate) use state::Settings;
use state::State;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) struct Timeline {
    face: Arc<Face>,
    state: Mutex<State>,
    pub(crate) wall_set: Event,
    pub(crate) settings: Settings,
    next_view: AtomicU64,
}

impl Timeline {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        let state = State::new(&settings);
        Arc::new(Timeline {
            face: Arc::clone(&state.face),
            state: Mutex::new(state),
            wall_set: Event::new(),
            settings,
            next_view: AtomicU64::new(0),
        })
    }

    /// The participant that makes the timeline.
    pub(crate) fn first(
        self: &Arc<Self>,
        name: &str,
        made_at: &'static Location<'static>,
    ) -> Arc<MockClock> {
        self.seat(Seat { made_at: Some(made_at), ..self.new_seat(name, Role::Host) }, None)
    }

    fn new_seat(&self, name: &str, role: Role) -> Seat {
        Seat::new(name, role, self.new_dial())
    }

    fn new_dial(&self) -> Arc<Dial> {
        let s = &self.settings;
        let steps = (s.tick_ns, s.wall_resolution_ns, s.mono_resolution_ns);
        Dial::new(Arc::clone(&self.face), s.spin_max, steps == (0, 1, 1) && !s.log)
    }

    pub(crate) fn log(&self) -> Option<Log> {
        self.lock().log.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = f(&mut state);
        drop(self.settled(state));
        result
    }

    /// Gives turns or moves time after a change, and does what the kernel left to be done without the
    /// lock, until nothing is left.
    fn settled<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut panics = Panics::default();
        loop {
            state.dispatch();
            if state.settling || !state.has_foreign_work() {
                break;
            }
            let wakers = std::mem::take(&mut state.wakers);
            let removed = std::mem::take(&mut state.removed);
            let wall_changed = std::mem::take(&mut state.wall_changed);
            // Time must not move between a change of the wall and the wake-up of those that wait for it.
            state.settling = wall_changed;
            drop(state);
            wakers.into_iter().for_each(|waker| panics.keep(|| waker.wake()));
            removed.into_iter().for_each(|seat| panics.keep(|| drop(seat)));
            if wall_changed {
                panics.keep(|| self.wall_set.notify());
            }
            state = self.lock();
            state.settling &= !wall_changed;
        }
        if panics.any() {
            drop(state);
            panics.go_on();
            state = self.lock();
        }
        state
    }

    /// Does what the kernel left to be done, and blocks this thread until the seat has a turn.
    fn until_turn<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
        id: SeatId,
    ) -> MutexGuard<'a, State> {
        if let Some(seat) = state.seats.get_mut(&id) {
            // Before the lock is released, so that no other thread takes this seat.
            seat.blocked = true;
        }
        state = match catch_unwind(AssertUnwindSafe(|| self.settled(state))) {
            Ok(state) => state,
            Err(payload) => {
                self.with(|state| state.abandon_wait(id));
                resume_unwind(payload)
            }
        };
        let Some(seat) = state.seats.get_mut(&id) else { return state };
        if seat.status != Status::Running {
            let turn = Arc::clone(&seat.turn);
            self.monitor(&mut state);
            while state.seats.get(&id).is_some_and(|seat| seat.status != Status::Running) {
                state = turn.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let Some(seat) = state.seats.get_mut(&id) else { return state };
        seat.blocked = false;
        if seat.leaving {
            state.remove(id);
            state.dispatch();
        }
        state
    }

    /// Has the watchdog look whether the participants that run come back to the timeline.
    fn monitor(self: &Arc<Self>, state: &mut State) {
        if state.monitor.armed.is_none() {
            state.monitor.armed = self.arm_monitor();
        }
    }

    fn arm_monitor(self: &Arc<Self>) -> Option<Armed> {
        let weak = Arc::downgrade(self);
        let look = move || {
            if let Some(timeline) = weak.upgrade() {
                timeline.look_for_stalls();
            }
        };
        // Without a thread for it there is no stall report; everything else works.
        Watchdog::arm(self.settings.stall_after / Monitor::LOOKS, look).ok()
    }

    fn look_for_stalls(self: &Arc<Self>) {
        let mut state = self.lock();
        state.monitor.armed = None;
        if !state.any_is_kept() {
            // The next participant that blocks arms it again.
            state.monitor = Monitor::default();
            return;
        }
        let suspects = state.suspects();
        if let Some(stalled) = state.monitor.finds_stalled(suspects) {
            state.give_up_on(&stalled);
        }
        state.monitor.armed = self.arm_monitor();
        drop(self.settled(state));
    }

    fn come_back(self: &Arc<Self>, id: SeatId, hold: Option<u64>, left: bool) {
        let mut state = self.lock();
        if let Some(hold) = hold {
            state.release(hold);
        }
        if left {
            state.make_ready(id);
            state = self.until_turn(state, id);
            if let Some(seat) = state.seats.get(&id) {
                let who = Arc::clone(&seat.waited.who);
                state.note(&who, Kind::Return, &"");
            }
            // If its session has ended meanwhile, its next call finds out.
            state.come_out(id);
        }
        drop(self.settled(state));
    }
}
