//! Why time stands still for a native child, and when it does not.
//!
//! A native child lives in real time. While it works, virtual time must not move, or it would move
//! by whatever the machine happens to need. But a child that waits for its parent, such as `cat`
//! whose input comes from a guest that sleeps, would stop time for good. So the timeline is held
//! still while there is something to wait for on the native side, and let go when there is not:
//! when every thread of the child, and every thread of ours that copies for it, is blocked in a
//! call that only the timeline can end.
//!
//! Letting go is slow and careful (a thread looks, [`super::idle`]); taking hold again is immediate:
//! whoever puts bytes into a pipe to the child, or makes room in one from it, runs a waker on his
//! own thread, before he can wait for anything.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::thread::Thread;
use std::time::Duration;

use testbench_clock::{Clock, External, Listener};
use testbench_wasi::PipeWriter;

/// Holds the timeline for one native child.
pub(crate) struct Hold {
    clock: Arc<dyn Clock>,
    why: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    held: Option<External>,
    /// Changes whenever something moves, so that whoever looked meanwhile knows that he is wrong.
    epoch: u64,
    /// What each copying thread does, in the order of stdin, stdout, stderr.
    pumps: [Activity; 3],
    /// It has been sent what ends it for certain.
    killed: bool,
    /// The child itself has ended, and what it wrote is being collected.
    reaped: bool,
    /// That is done, too.
    exited: bool,
    /// What the child took has passed on the clock as well.
    over: bool,
    /// Ends of pipes that are closed when the child's time has passed, by copying thread.
    kept: [Option<PipeWriter>; 3],
    /// Waits for bytes that a child which has ended will not read.
    feeder: Option<Thread>,
}

/// What a copying thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// There is none (any more).
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

/// Which copying thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pump {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
}

/// What there is to look at on the native side.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    epoch: u64,
    /// The child itself is gone.
    pub(crate) reaped: bool,
    /// The threads of ours that are in native calls.
    pub(crate) threads: Vec<u32>,
}

impl Hold {
    /// Holds the timeline from now on.
    pub(crate) fn new(clock: &Arc<dyn Clock>, why: String) -> Arc<Hold> {
        let held = Some(clock.inhibit(&why));
        let state = State {
            held,
            epoch: 0,
            pumps: [Activity::None; 3],
            killed: false,
            reaped: false,
            exited: false,
            over: false,
            kept: Default::default(),
            feeder: None,
        };
        Arc::new(Hold {
            clock: clock.clone(),
            why,
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// Says what a copying thread does from now on.
    pub(crate) fn set(&self, pump: Pump, activity: Activity) {
        let mut state = self.lock();
        state.epoch += 1;
        state.pumps[pump as usize] = activity;
        let let_go = self.settle(&mut state);
        drop(state);
        self.changed.notify_all();
        // Runs wakers of others, so without the lock.
        drop(let_go);
    }

    /// A copying thread waits for the timeline from now on, unless it has heard already. Its
    /// [`Seizer`] must be registered before, so that there is no moment in which the wait could be
    /// over and nobody take hold.
    pub(crate) fn wait_for_timeline(&self, pump: Pump, heard: &Listener) {
        let mut state = self.lock();
        if !heard.is_notified() {
            state.epoch += 1;
            state.pumps[pump as usize] = Activity::OnTimeline;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Takes hold again, since what a copying thread waited for has come.
    pub(crate) fn seize(&self, pump: Pump) {
        let mut state = self.lock();
        state.epoch += 1;
        let activity = &mut state.pumps[pump as usize];
        if *activity == Activity::OnTimeline {
            // The thread itself has not noticed yet.
            *activity = Activity::Moving;
        }
        if state.held.is_none() && !state.is_over() {
            state.held = Some(self.clock.inhibit(&self.why));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The child is being ended by force. Call it before that is done: from here on its end will
    /// come, even if it waits for the timeline now.
    pub(crate) fn killed(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.killed = true;
        if state.held.is_none() && !state.is_over() {
            state.held = Some(self.clock.inhibit(&self.why));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the child has ended and all that it wrote has been passed on.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    /// Whether the timeline stands still for this child.
    pub(crate) fn is_held(&self) -> bool {
        self.lock().held.is_some()
    }

    /// The child itself has ended. There is still to wait for who collects what it wrote.
    pub(crate) fn reaped(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.reaped = true;
        drop(state);
        self.changed.notify_all();
    }

    /// The child itself has ended, and what it wrote has been collected.
    pub(crate) fn exited(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.exited = true;
        let let_go = self.settle(&mut state);
        if let Some(feeder) = &state.feeder {
            feeder.unpark();
        }
        drop(state);
        self.changed.notify_all();
        drop(let_go);
    }

    /// Its time has passed, too: gives back what was kept until then.
    pub(crate) fn over(&self) -> [Option<PipeWriter>; 3] {
        let mut state = self.lock();
        state.over = true;
        std::mem::take(&mut state.kept)
    }

    /// A copying thread has found the end of the child's output. If the child itself ends within
    /// `grace` (real time), its parent hears of both at the same instant: when the child's time
    /// has passed. Else the end of the output is passed on alone.
    pub(crate) fn pass_on_the_end(&self, pump: Pump, to: PipeWriter, grace: Duration) {
        let mut state = self.lock();
        state.epoch += 1;
        if state.over {
            drop((state, to));
            return self.set(pump, Activity::None);
        }
        state.pumps[pump as usize] = Activity::Ending;
        state.kept[pump as usize] = Some(to);
        let let_go = self.settle(&mut state);
        drop(state);
        self.changed.notify_all();
        drop(let_go);
        let waited = self.changed.wait_timeout_while(self.lock(), grace, |state| !state.exited);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.exited {
            let to = state.kept[pump as usize].take();
            drop((state, to));
            // That was the last end of ours, and only now may time move.
            self.set(pump, Activity::None);
        }
    }

    /// Unparks this thread when the child has ended.
    pub(crate) fn unpark_at_exit(&self) {
        self.lock().feeder = Some(std::thread::current());
    }

    pub(crate) fn is_exited(&self) -> bool {
        self.lock().exited
    }

    /// Blocks until the timeline is held and a copying thread waits for it, so that it may have to
    /// be let go. `None` when that cannot be any more.
    pub(crate) fn wait_for_a_sight(&self) -> Option<Sight> {
        let mut state = self.lock();
        loop {
            if state.is_over() {
                return None;
            }
            if state.held.is_some() && state.pumps.contains(&Activity::OnTimeline) {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(state.sight())
    }

    /// Waits for `real`, or until something moves; true if nothing did.
    pub(crate) fn nothing_moves_for(&self, sight: &Sight, real: Duration) -> bool {
        let state = self.lock();
        let same = |state: &mut State| state.epoch == sight.epoch;
        let waited = self.changed.wait_timeout_while(state, real, same);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.epoch == sight.epoch
    }

    /// Whether any copying thread has bytes, or the end of them, in hand, or somebody the end of the
    /// child.
    pub(crate) fn is_moving(&self) -> bool {
        let state = self.lock();
        let moving = |pump: &Activity| matches!(pump, Activity::Moving | Activity::Ending);
        state.pumps.iter().any(moving) || state.is_about_to_exit()
    }

    /// Lets the timeline go, unless something has moved since the sight was taken.
    pub(crate) fn let_go(&self, sight: &Sight) {
        let mut state = self.lock();
        if state.epoch == sight.epoch {
            let held = state.held.take();
            drop(state);
            drop(held);
        }
    }

    /// The hold, if nothing is left to wait for on the native side.
    fn settle(&self, state: &mut State) -> Option<External> {
        state.is_over().then(|| state.held.take()).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing foreign runs under this lock, so a poisoned one is still in order.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the child has ended and all that it wrote has been passed on.
    fn is_over(&self) -> bool {
        let done = |pump: &Activity| matches!(pump, Activity::None | Activity::Ending);
        self.exited && self.pumps.iter().all(done)
    }

    /// Whether the child ends without anything that is still to be waited for, so that
    /// [`Hold::exited`] comes at once.
    fn is_about_to_exit(&self) -> bool {
        let native = |pump: &Activity| matches!(pump, Activity::Native { .. });
        let collected = !self.pumps.iter().any(native);
        !self.exited && if self.reaped { collected } else { self.killed }
    }

    fn sight(&self) -> Sight {
        let threads = self.pumps.iter().filter_map(|pump| match pump {
            Activity::Native { thread } => Some(*thread),
            _ => None,
        });
        Sight { epoch: self.epoch, reaped: self.reaped, threads: threads.collect() }
    }
}

/// Woken on the thread of whoever gives a copying thread something to do.
pub(crate) struct Seizer {
    pub(crate) hold: Arc<Hold>,
    pub(crate) pump: Pump,
    pub(crate) thread: Thread,
}

impl Wake for Seizer {
    fn wake(self: Arc<Self>) {
        self.hold.seize(self.pump);
        self.thread.unpark();
    }
}
