//! A participant's handle: every call of it, from the outside to the kernel.

use super::injected::Injected;
use super::seats::{End, Executor, Seat, SeatId, Status, Waited};
use super::state::State;
use super::wall::{Injection, InjectionError, When};
use super::{Dial, Timeline};
use crate::clock::{Clock, External, Participant, Role, Stuck, Wait, Woke};
use crate::log::Kind;
use crate::{Listener, MonoTime};
use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, OnceLock, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

/// A clock whose time moves only when every participant waits, and then exactly to the earliest
/// deadline.
///
/// A value is one participant of a timeline; [`MockClock::join`] makes others. With one participant,
/// a sleep returns at once and the clock has moved:
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, MockClock, sleep};
///
/// let clock = MockClock::builder().build();
/// let _installed = clock.install();
/// sleep(Duration::from_nanos(999_000));
/// assert_eq!(clock.mono().nanos(), 999_000);
/// assert_eq!(clock.wall().to_string(), "2000-01-01T00:00:00.000999000Z");
/// ```
pub struct MockClock {
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) dial: Arc<Dial>,
    pub(crate) name: Arc<str>,
    seat: Arc<Occupied>,
    /// Tells this handle from others of its participant.
    id: u64,
    lent: bool,
    cancelled: OnceLock<Arc<str>>,
}

/// A seat for as long as there are handles of it.
struct Occupied {
    timeline: Arc<Timeline>,
    id: SeatId,
    /// Given to every listener that this seat waits on.
    waker: Waker,
}

const LEFT: &str = "this participant has left the timeline";

impl Timeline {
    /// A further participant, of the session of the one that lets it join.
    pub(super) fn seat(self: &Arc<Self>, seat: Seat, by: Option<SeatId>) -> Arc<MockClock> {
        let dial = Arc::clone(&seat.dial);
        let (id, name) = self.with(|state| {
            let (id, name) = state.add(seat);
            state.share_session(by, id);
            (id, name)
        });
        let waker = Waker::from(Arc::new(SeatWaker { timeline: Arc::downgrade(self), id }));
        let seat = Arc::new(Occupied { timeline: Arc::clone(self), id, waker });
        MockClock::new(seat, name, dial, false)
    }
}

impl MockClock {
    fn new(seat: Arc<Occupied>, name: Arc<str>, dial: Arc<Dial>, lent: bool) -> Arc<Self> {
        let timeline = Arc::clone(&seat.timeline);
        Arc::new(MockClock {
            id: timeline.next_view.fetch_add(1, Ordering::Relaxed),
            timeline,
            seat,
            name,
            lent,
            cancelled: OnceLock::new(),
            dial,
        })
    }

    /// [`Participant::join`], as a mock clock.
    pub fn join(&self, name: &str, role: Role) -> Arc<MockClock> {
        self.timeline.seat(self.timeline.new_seat(name, role), Some(self.seat.id))
    }

    /// [`Participant::lend`], as a mock clock.
    pub fn lend(&self, name: &str) -> Arc<MockClock> {
        self.with_seat(|seat| seat.lent += 1);
        MockClock::new(Arc::clone(&self.seat), name.into(), self.timeline.new_dial(), true)
    }

    /// Installed in a session, with which its waits end, too. Returns the call for the end of that
    /// session, if the timeline does not know it yet.
    pub(crate) fn use_in(&self, session: u64) -> Option<impl FnOnce(&str) + Send + use<>> {
        let is_new = self.timeline.with(|state| state.use_in(self.seat.id, session));
        let timeline = Arc::downgrade(&self.timeline);
        is_new.then_some(move |why: &str| {
            if let Some(timeline) = timeline.upgrade() {
                timeline.with(|state| state.end_session(session, &why.into()));
            }
        })
    }

    /// Moves time by the tick that every reading costs, unless something holds time still, and notes the
    /// reading.
    pub(crate) fn tick(&self, reading: &dyn fmt::Display) {
        let tick_ns = self.timeline.settings.tick_ns;
        self.timeline.with(|state| {
            if tick_ns != 0 && !state.is_held() {
                state.move_to(state.now_ns.saturating_add(tick_ns));
                // A loop of readings comes to its end.
                self.dial.reset();
            }
            state.note(&self.name, Kind::Read, reading);
        });
    }

    pub(crate) fn inject_from(
        &self,
        when: Option<When>,
        injection: Injection,
        site: &'static Location<'static>,
    ) -> Result<(), InjectionError> {
        injection.check()?;
        let injected = Injected { when, injection, who: Arc::clone(&self.name), site };
        self.timeline.with(|state| state.inject(injected));
        Ok(())
    }

    #[cold]
    fn trouble(&self) -> Result<(), Stuck> {
        if let Some(why) = self.cancelled.get() {
            return Err(Stuck::Cancelled(Arc::clone(why)));
        }
        if self.dial.spins() {
            let (who, readings) = (Arc::clone(&self.name), self.dial.in_a_row());
            return Err(Stuck::Spinning { who, readings });
        }
        Ok(())
    }

    /// As [`Clock::wait`]; with `last`, after all others of the last instant, as
    /// [`MockClock::advance`].
    pub(crate) fn wait_as(&self, wait: &Wait<'_>, last: bool) -> Result<Woke, Stuck> {
        // A participant that waits does not spin, whatever it did before.
        if self.cancelled.get().is_some() {
            self.trouble()?;
        }
        if let Some(woke) = notified(wait) {
            return self.wait_for_nothing().map(|()| woke);
        }
        let deadline_ns = wait.deadline.map(MonoTime::nanos);
        let takes_no_time = match deadline_ns {
            None => false,
            Some(at_ns) => {
                let mut state = self.timeline.lock();
                if self.leaps_to(&mut state, at_ns) {
                    return Ok(Woke::Deadline);
                }
                at_ns <= state.now_ns
            }
        };
        if takes_no_time && !last {
            return self.wait_for_nothing().map(|()| Woke::Deadline);
        }
        if takes_no_time {
            // It lets others run, but a loop of nothing else never ends.
            self.dial.count();
            self.check()?;
        } else {
            self.dial.reset();
        }
        let waited = self.waited(wait, last);
        if let Some(woke) = self.wait_in(&self.seat, wait, &waited)? {
            return Ok(woke);
        }
        // One handle used by two threads: while one is blocked, the other waits in a seat of its own, for
        // this one call.
        let own = self.join(&format!("{} (another thread)", self.name), Role::Host);
        self.wait_in(&own.seat, wait, &waited)?.ok_or_else(|| self.left())
    }

    /// Formats the purpose of the wait, which is foreign code: not to be called under the lock.
    fn waited(&self, wait: &Wait<'_>, last: bool) -> Waited {
        Waited {
            deadline_ns: wait.deadline.map(MonoTime::nanos),
            what: wait.what.to_string(),
            view: self.id,
            who: Arc::clone(&self.name),
            hears: !wait.on.is_empty(),
            last,
        }
    }

    /// A wait that ends at once. It keeps the turn, but a loop of such waits must neither keep others from
    /// bringing what it looks for, nor go on for ever.
    fn wait_for_nothing(&self) -> Result<(), Stuck> {
        if self.dial.at_once.is_to_give_way() {
            return self.give_way();
        }
        self.dial.count();
        self.check()
    }

    /// Sleeps if that needs nothing but moving time: this participant is alone and nothing is in the way.
    pub(crate) fn leap(&self, d: Duration) -> bool {
        if !self.dial.plain || self.cancelled.get().is_some() {
            return false;
        }
        let mut state = self.timeline.lock();
        let to = MonoTime::from_nanos(state.now_ns).checked_add(d);
        to.is_some_and(|to| self.leaps_to(&mut state, to.nanos()))
    }

    fn leaps_to(&self, state: &mut State, at_ns: u64) -> bool {
        let leaps = self.is_running(state) && at_ns > state.now_ns && state.can_leap_to(at_ns);
        if leaps {
            state.leap_to(at_ns);
            self.dial.reset();
        }
        leaps
    }

    /// `None` if another thread is blocked in that seat.
    fn wait_in(
        &self,
        seat: &Occupied,
        wait: &Wait<'_>,
        waited: &Waited,
    ) -> Result<Option<Woke>, Stuck> {
        loop {
            wait.on.iter().for_each(|listener| listener.register(&seat.waker));
            let Some(mut state) = self.turn(seat, &waited.what)? else { return Ok(None) };
            // Registered above: what is not seen here wakes this seat.
            if let Some(woke) = notified(wait) {
                return Ok(Some(woke));
            }
            self.check()?;
            if let Some(report) = state.lost() {
                return Err(Stuck::Stalled(Arc::clone(report)));
            }
            state.start_wait(seat.id, waited.clone());
            state = self.timeline.until_turn(state, seat.id);
            let end = state.take_end(seat.id);
            drop(self.timeline.settled(state));
            match end {
                Some(End::Stuck(stuck)) => return Err(stuck),
                Some(End::Deadline) => return Ok(notified(wait).or(Some(Woke::Deadline))),
                // A notification of an earlier wait may come late; this wait goes on then.
                Some(End::Notified) => {
                    if let Some(woke) = notified(wait) {
                        return Ok(Some(woke));
                    }
                }
                None => return Err(self.left()),
            }
        }
    }

    /// As [`Participant::park`]; with `last`, after all others of the last instant.
    ///
    /// Never blocks: it is called where an executor is about to. A reason not to wait is returned by
    /// [`MockClock::unpark_at_deadline`].
    pub(crate) fn park_as(
        &self,
        wait: &Wait<'_>,
        waker: &Waker,
        last: bool,
        executor: Option<Arc<dyn Executor>>,
    ) {
        let mut waited = self.waited(wait, last);
        // A call of its waker ends it, whatever the reason.
        waited.hears = true;
        let own_waker = waker.clone();
        wait.on.iter().for_each(|listener| listener.register(&self.seat.waker));
        let mut state = self.timeline.lock();
        let takes_no_time = waited.deadline_ns.is_some_and(|at_ns| at_ns <= state.now_ns);
        if takes_no_time {
            self.dial.count();
        } else {
            self.dial.reset();
        }
        let due = takes_no_time && !last;
        let waits = self.can_park(&mut state) && !due && notified(wait).is_none();
        let lost = state.lost().filter(|_| waits).cloned();
        let is_lost = lost.is_some();
        if let (Some(report), Some(seat)) = (lost, state.seats.get_mut(&self.seat.id)) {
            // As in any other wait, as long as a participant is lost.
            seat.end = Some(End::Stuck(Stuck::Stalled(report)));
        }
        if !waits || is_lost || self.check().is_err() {
            if due {
                state.give_way(self.seat.id);
            }
            drop(self.timeline.settled(state));
            return waker.wake_by_ref();
        }
        state.start_wait(self.seat.id, waited);
        if let Some(seat) = state.seats.get_mut(&self.seat.id) {
            seat.parked = Some(own_waker);
            seat.idle = true;
            state.executors.extend(executor.map(|executor| (self.seat.id, executor)));
        }
        self.timeline.monitor(&mut state);
        drop(self.timeline.settled(state));
    }

    /// Whether this seat can begin to wait, with or without a turn, and was not roused before.
    fn can_park(&self, state: &mut State) -> bool {
        let Some(seat) = state.seats.get_mut(&self.seat.id) else { return false };
        seat.calls += 1;
        let is_here = matches!(seat.status, Status::Running | Status::Ready) && !seat.blocked;
        // An event that roused it before it was parked must not be waited for.
        is_here && !std::mem::take(&mut seat.roused) && seat.sessions.closed.is_none()
    }

    /// Registers `waker`: it is woken if this participant is declared lost or its session ends while it
    /// runs. `None` forgets it.
    #[cfg(feature = "tokio")]
    pub(crate) fn wake_if_lost(&self, waker: Option<Waker>) {
        let old = self.with_seat(|seat| std::mem::replace(&mut seat.if_lost, waker));
        // Foreign code, so after the lock is released.
        drop(old);
    }

    /// As [`Participant::unpark`]; returns whether it was the deadline that ended the wait.
    pub(crate) fn unpark_at_deadline(&self) -> Result<bool, Stuck> {
        let waker = self.timeline.with(|state| {
            let seat = state.seats.get_mut(&self.seat.id)?;
            let (waker, idle) = (seat.parked.take(), seat.idle);
            // An executor that another participant gave work becomes ready when the other's turn ends,
            // whenever the machine has started this thread. All else is not on the timeline.
            if idle && !state.has_work(self.seat.id) {
                state.make_ready(self.seat.id);
            }
            waker
        });
        drop(waker);
        let Some(mut state) = self.turn(&self.seat, "unpark")? else { return Ok(false) };
        let end = state.take_end(self.seat.id);
        drop(self.timeline.settled(state));
        match end {
            Some(End::Stuck(stuck)) => Err(stuck),
            end => self.check().map(|()| matches!(end, Some(End::Deadline))),
        }
    }

    /// As [`Participant::external`], but without `holds` time does not stand still meanwhile.
    pub(crate) fn go_outside(&self, why: &str, holds: bool) -> External {
        // Time spent outside is no loop of readings.
        self.dial.reset();
        let id = self.seat.id;
        let (hold, left) = self.timeline.with(|state| {
            let hold = holds.then(|| state.hold(id, why.into()));
            let seat = state.seats.get_mut(&id).filter(|seat| seat.can_go_outside());
            let left = seat.is_some();
            if let Some(seat) = seat {
                seat.calls += 1;
                seat.waited.who = Arc::clone(&self.name);
                why.clone_into(&mut seat.waited.what);
                state.note(&self.name, Kind::Outside, &why);
                state.set_status(id, Status::Outside);
            }
            (hold, left)
        });
        let timeline = Arc::clone(&self.timeline);
        External::new(move || timeline.come_back(id, hold, left))
    }

    /// The lock, with the turn of a seat: at once if it runs. `None` if another thread is blocked in it.
    fn turn(&self, seat: &Occupied, what: &str) -> Result<Option<MutexGuard<'_, State>>, Stuck> {
        let id = seat.id;
        let mut state = self.timeline.lock();
        let Some(seat) = state.seats.get_mut(&id) else { return Err(self.left()) };
        seat.calls += 1;
        if seat.blocked {
            return Ok(None);
        }
        match seat.status {
            Status::Running => return seat.sessions.check().map(|()| Some(state)),
            Status::Ready | Status::Waiting | Status::Lost => {}
            Status::Away => state.make_ready(id),
            Status::Outside => {
                let (who, what) = (Arc::clone(&self.name), what.to_owned());
                return Err(Stuck::Outside { who, what });
            }
        }
        let lost = state.take_back(id);
        state = self.timeline.until_turn(state, id);
        if let Some(report) = lost {
            return Err(Stuck::Stalled(report));
        }
        if let Some(why) = state.come_out(id) {
            drop(self.timeline.settled(state));
            return Err(Stuck::Cancelled(why));
        }
        let Some(seat) = state.seats.get(&id) else { return Err(self.left()) };
        seat.sessions.check().map(|()| Some(state))
    }

    /// Changes its seat, if it still has one.
    fn with_seat<R>(&self, change: impl FnOnce(&mut Seat) -> R) -> Option<R> {
        self.timeline.with(|state| state.seats.get_mut(&self.seat.id).map(change))
    }

    fn is_running(&self, state: &mut State) -> bool {
        let Some(seat) = state.seats.get_mut(&self.seat.id) else { return false };
        seat.calls += 1;
        seat.status == Status::Running && seat.sessions.closed.is_none()
    }

    fn left(&self) -> Stuck {
        let why = self.cancelled.get();
        Stuck::Cancelled(why.map_or_else(|| "the participant has left".into(), Arc::clone))
    }
}

impl Participant for MockClock {
    fn join(&self, name: &str, role: Role) -> Arc<dyn Clock> {
        MockClock::join(self, name, role)
    }

    fn lend(&self, name: &str) -> Arc<dyn Clock> {
        MockClock::lend(self, name)
    }

    #[inline]
    fn check(&self) -> Result<(), Stuck> {
        if self.dial.spins() || self.cancelled.get().is_some() {
            return self.trouble();
        }
        Ok(())
    }

    fn cancel(&self, why: &str) {
        let why = self.cancelled.get_or_init(|| why.into());
        self.timeline.with(|state| {
            // Looked at under the lock: a wait that begins after this sees that it is cancelled.
            let mut waits = state.seats_if(|seat| seat.waited.view == self.id);
            // The seats of single calls come first: each leaves its turn to the next when it has come out.
            waits.sort_by_key(|id| *id == self.seat.id);
            for id in waits {
                state.end_wait(id, End::Stuck(Stuck::Cancelled(Arc::clone(why))));
            }
        });
    }

    fn park(&self, wait: Wait<'_>, waker: &Waker) {
        self.park_as(&wait, waker, false, None);
    }

    fn unpark(&self) -> Result<(), Stuck> {
        self.unpark_at_deadline().map(|_| ())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn rouse(&self) {
        self.timeline.with(|state| match state.seats.get_mut(&self.seat.id) {
            Some(seat) if !seat.idle => seat.roused = true,
            _ => state.end_wait(self.seat.id, End::Notified),
        });
    }

    fn begin(&self) -> Result<(), Stuck> {
        if let Some(state) = self.turn(&self.seat, "begin")? {
            drop(self.timeline.settled(state));
        }
        self.check()
    }

    fn leave(&self) {
        self.cancel(LEFT);
        if !self.lent {
            self.seat.leave();
        }
    }

    fn give_way(&self) -> Result<(), Stuck> {
        // Yielding is not waiting: a loop of nothing else is a spin, too.
        self.dial.count();
        self.check()?;
        let Some(mut state) = self.turn(&self.seat, "yield")? else { return Ok(()) };
        if self.timeline.settings.parallel {
            drop(state);
            std::thread::yield_now();
            return self.check();
        }
        if state.give_way(self.seat.id) {
            state = self.timeline.until_turn(state, self.seat.id);
        }
        let ended = state.come_out(self.seat.id);
        drop(self.timeline.settled(state));
        ended.map_or_else(|| self.check(), |why| Err(Stuck::Cancelled(why)))
    }

    fn external(&self, why: &dyn fmt::Display) -> External {
        self.go_outside(&why.to_string(), true)
    }

    fn inhibit(&self, why: &dyn fmt::Display) -> External {
        let (id, why) = (self.seat.id, why.to_string());
        let hold = self.timeline.with(|state| state.hold(id, why.into()));
        let timeline = Arc::clone(&self.timeline);
        External::new(move || timeline.come_back(id, Some(hold), false))
    }
}

impl Drop for MockClock {
    fn drop(&mut self) {
        if self.lent {
            self.with_seat(|seat| {
                seat.lent -= 1;
                seat.calls += 1;
            });
        }
    }
}

impl Occupied {
    fn leave(&self) {
        self.timeline.with(|state| match state.seats.get_mut(&self.id) {
            // The thread inside still needs its seat to come out.
            Some(seat) if seat.blocked => {
                seat.leaving = true;
                state.end_wait(self.id, End::Stuck(Stuck::Cancelled(LEFT.into())));
            }
            _ => state.remove(self.id),
        });
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Ends the wait of a seat when something that it listens to is notified.
struct SeatWaker {
    // Listeners that outlive the timeline must not keep it.
    timeline: Weak<Timeline>,
    id: SeatId,
}

impl Wake for SeatWaker {
    fn wake(self: Arc<Self>) {
        if let Some(timeline) = self.timeline.upgrade() {
            timeline.with(|state| state.end_wait(self.id, End::Notified));
        }
    }
}

fn notified(wait: &Wait<'_>) -> Option<Woke> {
    wait.on.iter().position(Listener::is_notified).map(Woke::Notified)
}
