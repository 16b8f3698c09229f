//! [`Hold`]: keeps virtual time still while a native child works.
//!
//! A native child runs in real time. While it works, virtual time must not move, or the machine's
//! speed would show in it. But a child that waits for its parent, such as `cat` whose input comes
//! from a sleeping guest, would stop time for good. So the timeline is held only while a thread runs
//! on the native side. It is let go when every thread of the child, and every copying thread
//! (`pump.rs`), is blocked in a call that only the timeline can end.
//!
//! Letting go is slow and careful: a thread looks ([`super::idle`]). Taking hold again is
//! immediate: putting bytes into a pipe to the child, or making room in one from it, runs a waker
//! on the thread that does so, before it can wait for anything.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use testbench_clock::{Clock, External, Listener};
use testbench_wasi::WriteEnd;

use crate::tape::Stream;

/// Holds the timeline for one native child.
pub(crate) struct Hold {
    clock: Arc<dyn Clock>,
    why: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    held: Option<External>,
    /// Changes with every event, so that a look that took time is known to be out of date.
    epoch: u64,
    /// The activity of the copying thread of each [`Stream`].
    pumps: [Activity; 3],
    phase: Phase,
    /// Ends of pipes to be closed when the child's time has passed.
    kept: [Option<WriteEnd>; 3],
}

/// How far the child is on its way to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    #[default]
    Running,
    /// It is about to be ended by force: its end will come, even if it waits for the timeline now.
    Killed,
    /// It has ended, and its output is being collected.
    Reaped,
    /// Its output has been collected too.
    Exited,
    /// Its time has passed on the clock as well.
    Over,
}

/// The activity of a copying thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Activity {
    /// There is no such thread, or it has ended.
    #[default]
    None,
    /// It waits for the timeline: for bytes to the child, or for room for bytes from it.
    OnTimeline,
    /// It is in a call on the system's pipe, where it may block; this is its thread.
    Native { thread: u32 },
    /// It has bytes in hand.
    Moving,
    /// It has found the end of the child's output, and looks whether the child ends with it.
    Ending,
}

/// The native side at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    epoch: u64,
    /// The child itself has ended.
    pub(crate) reaped: bool,
    /// A copying thread has bytes, or the end of them, in hand, or the child is about to end.
    pub(crate) moving: bool,
    /// The copying threads that are in native calls.
    pub(crate) threads: Vec<u32>,
}

impl Hold {
    /// Holds the timeline from now on.
    pub(crate) fn new(clock: &Arc<dyn Clock>, why: String) -> Arc<Hold> {
        let state = State { held: Some(clock.participant().inhibit(&why)), ..State::default() };
        let (clock, state, changed) = (clock.clone(), Mutex::new(state), Condvar::new());
        Arc::new(Hold { clock, why, state, changed })
    }

    /// Sets the activity of a copying thread.
    pub(crate) fn set(&self, pump: Stream, activity: Activity) {
        self.update(|state| state.pumps[pump as usize] = activity);
    }

    /// Blocks a copying thread until `heard` is notified. Returns false if the child has ended first,
    /// which reads no more input. The timeline is held again in either case.
    pub(crate) fn wait_for_timeline(self: &Arc<Self>, pump: Stream, heard: &Listener) -> bool {
        // First, so that the wait cannot end without taking hold.
        heard.register(&Waker::from(Arc::new(Seizer { hold: self.clone(), pump })));
        self.update(|state| {
            if !heard.is_notified() {
                state.pumps[pump as usize] = Activity::OnTimeline;
            }
        });
        let waits = |state: &mut State| {
            let is_over = pump == Stream::Stdin && state.phase >= Phase::Exited;
            !is_over && !heard.is_notified()
        };
        drop(self.changed.wait_while(self.lock(), waits));
        self.seize(pump);
        heard.is_notified()
    }

    /// Takes hold again: a copying thread has got what it waited for.
    fn seize(&self, pump: Stream) {
        self.update(|state| {
            let activity = &mut state.pumps[pump as usize];
            if *activity == Activity::OnTimeline {
                // The thread itself has not noticed yet.
                *activity = Activity::Moving;
            }
            self.hold_again(state);
        });
    }

    /// The child has come to this phase, if it was not further already.
    pub(crate) fn reach(&self, phase: Phase) {
        self.update(|state| {
            state.phase = state.phase.max(phase);
            if phase == Phase::Killed {
                self.hold_again(state);
            }
        });
    }

    /// The child's time has passed too. Returns the ends of pipes that were kept until now.
    pub(crate) fn over(&self) -> [Option<WriteEnd>; 3] {
        let mut state = self.lock();
        state.phase = Phase::Over;
        std::mem::take(&mut state.kept)
    }

    /// A copying thread has found the end of the child's output. If the child itself ends within
    /// `grace` (real time), its parent hears of both at the same instant: when the child's time
    /// has passed. Else the end of the output is passed on alone.
    pub(crate) fn pass_on_the_end(&self, pump: Stream, to: WriteEnd, grace: Duration) {
        let late = self.update(|state| {
            if state.phase == Phase::Over {
                return Some(to);
            }
            state.pumps[pump as usize] = Activity::Ending;
            state.kept[pump as usize] = Some(to);
            None
        });
        if late.is_none() {
            let waited =
                self.changed.wait_timeout_while(self.lock(), grace, |s| s.phase < Phase::Exited);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.phase >= Phase::Exited {
                return;
            }
            let to = state.kept[pump as usize].take();
            drop((state, to));
        }
        drop(late);
        // That was the last of our ends, and only now may time move.
        self.set(pump, Activity::None);
    }

    /// Whether the child has ended and its output has been passed on.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    /// Whether the timeline stands still for this child.
    pub(crate) fn is_held(&self) -> bool {
        self.lock().held.is_some()
    }

    /// Blocks until the timeline is held while a copying thread waits for it, so that it may have
    /// to be let go. Returns `None` once that can no longer happen.
    pub(crate) fn wait_for_a_sight(&self) -> Option<Sight> {
        let quiet = |state: &mut State| {
            let waits = state.held.is_some() && state.pumps.contains(&Activity::OnTimeline);
            !state.is_over() && !waits
        };
        let waited = self.changed.wait_while(self.lock(), quiet);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        (!state.is_over()).then(|| state.sight())
    }

    /// Blocks for `real`, or until something moves; returns whether nothing did.
    pub(crate) fn nothing_moves_for(&self, sight: &Sight, real: Duration) -> bool {
        let same = |state: &mut State| state.epoch == sight.epoch;
        let waited = self.changed.wait_timeout_while(self.lock(), real, same);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.epoch == sight.epoch
    }

    /// Lets the timeline go, unless something has moved since the sight was taken.
    pub(crate) fn let_go(&self, sight: &Sight) {
        let mut state = self.lock();
        let held = if state.epoch == sight.epoch { state.held.take() } else { None };
        // Runs the wakers of others, so without the lock.
        drop(state);
        drop(held);
    }

    /// Changes the state, lets the timeline go if the child is over, and tells all who wait.
    fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        state.epoch += 1;
        let result = change(&mut state);
        let held = if state.is_over() { state.held.take() } else { None };
        drop(state);
        self.changed.notify_all();
        // Runs the wakers of others, so without the lock.
        drop(held);
        result
    }

    fn hold_again(&self, state: &mut State) {
        if state.held.is_none() && !state.is_over() {
            state.held = Some(self.clock.participant().inhibit(&self.why));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing foreign runs under this lock, so a poisoned one is still in order.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the child has ended and its output has been passed on.
    fn is_over(&self) -> bool {
        let done = |pump: &Activity| matches!(pump, Activity::None | Activity::Ending);
        self.phase >= Phase::Exited && self.pumps.iter().all(done)
    }

    /// Whether the child ends without any further wait, so that [`Phase::Exited`] comes at once.
    fn is_about_to_exit(&self) -> bool {
        let native = |pump: &Activity| matches!(pump, Activity::Native { .. });
        match self.phase {
            Phase::Running | Phase::Exited | Phase::Over => false,
            Phase::Killed => true,
            Phase::Reaped => !self.pumps.iter().any(native),
        }
    }

    fn sight(&self) -> Sight {
        let threads = self.pumps.iter().filter_map(|pump| match pump {
            Activity::Native { thread } => Some(*thread),
            _ => None,
        });
        let moves = |pump: &Activity| matches!(pump, Activity::Moving | Activity::Ending);
        Sight {
            epoch: self.epoch,
            reaped: self.phase >= Phase::Reaped,
            moving: self.pumps.iter().any(moves) || self.is_about_to_exit(),
            threads: threads.collect(),
        }
    }
}

/// The waker of a copying thread: takes hold on the thread that wakes it.
struct Seizer {
    hold: Arc<Hold>,
    pump: Stream,
}

impl Wake for Seizer {
    fn wake(self: Arc<Self>) {
        self.hold.seize(self.pump);
    }
}
