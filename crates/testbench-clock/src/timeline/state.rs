//! The participants that may run, and the present time: the timeline's kernel, without threads or locks.
//!
//! Every participant has a **seat**. [`State::dispatch`] is the one place that gives turns and
//! moves time. All else changes a seat's status, and [`Timeline::settled`](super::Timeline::settled) calls it.

use super::dial::Face;
use super::injected::Injected;
use super::monitor::{Hold, Monitor};
use super::seats::{End, Executor, Seat, SeatId, Seats, Status, Waited};
use super::wall::{Segment, WallCell};
use crate::log::{Kind, Log};
use crate::{RandomStream, Seed, Stuck, StuckReport, Waiting, WallTime};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

/// How a timeline behaves: the fields of [`MockClockBuilder`](crate::MockClockBuilder).
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) start: WallTime,
    pub(crate) parallel: bool,
    pub(crate) ties: Option<Seed>,
    pub(crate) log: bool,
    pub(crate) tick_ns: u64,
    pub(crate) wall_resolution_ns: u64,
    pub(crate) mono_resolution_ns: u64,
    pub(crate) spin_max: u64,
    pub(crate) stall_after: Duration,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) seats: Seats,
    /// Participants that have joined so far.
    registrations: u64,
    pub(super) face: Arc<Face>,
    pub(super) now_ns: u64,
    /// How many seats have a turn, and how many may at a time.
    running: usize,
    running_max: usize,
    ready: VecDeque<SeatId>,
    /// A participant that advances time by hand runs after all others of the same instant.
    ready_last: VecDeque<SeatId>,
    /// Entries of waits that have ended otherwise stay until they come up, or are swept.
    timers: BinaryHeap<Reverse<Timer>>,
    waits: u64,
    /// The participants declared lost, with the report of then.
    pub(super) lost: Vec<(SeatId, Arc<StuckReport>)>,
    /// The executors that wait in a seat because they have nothing to do. Each tells whether others have
    /// given it work. They own themselves, so that the last of one is never dropped here.
    pub(super) executors: BTreeMap<SeatId, Arc<dyn Executor>>,
    /// Why time stands still.
    pub(super) held: Vec<Hold>,
    holds: u64,
    /// Draws the order of ties; without it, order of registration.
    ties: Option<RandomStream>,
    pub(super) injections: Vec<Injected>,
    pub(super) next_injection_ns: Option<u64>,
    /// The open sessions in which seats are used.
    pub(super) sessions: Vec<u64>,
    pub(super) log: Option<Log>,
    pub(super) monitor: Monitor,
    /// Wakers to be woken when the lock is released.
    pub(super) wakers: Vec<Waker>,
    /// Seats that were taken away, to be dropped when the lock is released: they hold foreign values.
    pub(super) removed: Vec<Seat>,
    pub(super) wall_changed: bool,
    /// The wall's listeners are being told, so time must not move.
    pub(super) settling: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at_ns: u64,
    last: bool,
    seat: SeatId,
    wait: u64,
}

impl Timer {
    /// Whether the wait that set it goes on.
    fn is_current(&self, seats: &Seats) -> bool {
        let seat = seats.get(&self.seat);
        seat.is_some_and(|seat| seat.status == Status::Waiting && seat.wait == self.wait)
    }
}

/// How often a participant may give way in one instant before one that moves time by hand has a turn.
/// Enough for all that settles by looking a few times, and soon over.
const YIELDS_MAX: u32 = 1_000;

impl State {
    pub(super) fn new(settings: &Settings) -> Self {
        let wall = WallCell::new(Segment::starting_at(settings.start));
        State {
            face: Arc::new(Face { mono_ns: AtomicU64::new(0), wall }),
            running_max: if settings.parallel { usize::MAX } else { 1 },
            ties: settings.ties.map(|seed| seed.stream("timeline")),
            log: settings.log.then(Log::default),
            ..State::default()
        }
    }

    /// Whether anything is left to be done without the lock.
    pub(super) fn has_foreign_work(&self) -> bool {
        self.wall_changed || !self.wakers.is_empty() || !self.removed.is_empty()
    }

    /// Whether a wait until `deadline_ns` by the only participant that has a turn can end at once, with
    /// nothing in between: the path that nearly every sleep of a plain test takes.
    #[inline]
    pub(super) fn can_leap_to(&self, deadline_ns: u64) -> bool {
        self.running == 1
            && (self.seats.len() == 1 || self.all_others_wait_past(deadline_ns))
            && !self.is_held()
            && self.log.is_none()
            && !self.settling
            && !self.wall_changed
            && self.next_injection_ns.is_none_or(|at| at > deadline_ns)
    }

    fn all_others_wait_past(&self, deadline_ns: u64) -> bool {
        self.lost.is_empty()
            && self.executors_with_work().is_empty()
            && self.ready.is_empty()
            && self.ready_last.is_empty()
            && self.timers.peek().is_none_or(|Reverse(next)| next.at_ns > deadline_ns)
    }

    #[inline]
    pub(super) fn leap_to(&mut self, to_ns: u64) {
        self.now_ns = to_ns;
        self.face.mono_ns.store(to_ns, Ordering::Release);
    }

    /// From running to ready, behind the others that could run at this instant. False if there are none.
    ///
    /// A participant that moves time by hand goes last in the instant, but not behind those that give way
    /// again and again: they may be looking for its next step.
    pub(super) fn give_way(&mut self, id: SeatId) -> bool {
        let running = self.seats.get_mut(&id).filter(|seat| seat.status == Status::Running);
        let Some(seat) = running else { return false };
        seat.yields = if self.ready_last.is_empty() { 0 } else { seat.yields + 1 };
        let goes_last = seat.yields > YIELDS_MAX;
        if self.ready.is_empty() && !goes_last {
            return false;
        }
        self.make_ready(id);
        if goes_last {
            self.ready_last.extend(self.ready.pop_back());
        }
        true
    }

    /// A further seat, and the name under which it is known.
    pub(super) fn add(&mut self, mut seat: Seat) -> (SeatId, Arc<str>) {
        let name = self.free_name(&seat.name);
        (seat.name, seat.waited.who) = (Arc::clone(&name), Arc::clone(&name));
        self.registrations += 1;
        let id = SeatId(self.registrations);
        self.seats.insert(id, seat);
        self.ready.push_back(id);
        self.note(&name, Kind::Join, &"");
        (id, name)
    }

    /// A name that no other participant has at present, for reports and the log: threads that are spawned
    /// on one line, and guests of one program, are numbered from the second on.
    fn free_name(&self, name: &Arc<str>) -> Arc<str> {
        let is_taken = |name: &str| self.seats.values().any(|seat| &*seat.name == name);
        if !is_taken(name) {
            return Arc::clone(name);
        }
        let is_numbered = |seat: &&Seat| {
            seat.name.strip_prefix(&**name).is_some_and(|rest| rest.starts_with('#'))
        };
        let numbered = self.seats.values().filter(is_numbered).count();
        let mut names = (numbered + 2..).map(|n| format!("{name}#{n}"));
        names.find(|name| !is_taken(name)).map_or_else(|| Arc::clone(name), Into::into)
    }

    /// Takes a seat away for good.
    pub(super) fn remove(&mut self, id: SeatId) {
        self.set_status(id, Status::Away);
        let Some(seat) = self.seats.remove(&id) else { return };
        self.lost.retain(|(lost, _)| *lost != id);
        self.executors.remove(&id);
        self.note(&seat.name, Kind::Leave, &"");
        self.removed.push(seat);
    }

    /// Takes a turn, or a place among those that are ready, from a seat.
    pub(super) fn set_status(&mut self, id: SeatId, to: Status) -> Option<&mut Seat> {
        let seat = self.seats.get_mut(&id)?;
        match std::mem::replace(&mut seat.status, to) {
            Status::Running => self.running -= 1,
            Status::Ready => {
                self.ready.retain(|ready| *ready != id);
                self.ready_last.retain(|ready| *ready != id);
            }
            Status::Waiting | Status::Outside | Status::Lost | Status::Away => {}
        }
        Some(seat)
    }

    /// From running, or from ready to run, to waiting.
    pub(super) fn start_wait(&mut self, id: SeatId, waited: Waited) {
        self.waits += 1;
        let wait = self.waits;
        if let Some(at_ns) = waited.deadline_ns {
            self.sweep();
            self.timers.push(Reverse(Timer { at_ns, last: waited.last, seat: id, wait }));
        }
        self.log_line(&waited.who, Kind::Wait, &waited.what, waited.deadline_ns);
        if let Some(seat) = self.set_status(id, Status::Waiting) {
            (seat.wait, seat.waited, seat.end, seat.yields) = (wait, waited, None, 0);
        }
    }

    /// From waiting to ready, if it waits.
    pub(super) fn end_wait(&mut self, id: SeatId, end: End) {
        let waiting = self.seats.get_mut(&id).filter(|seat| seat.status == Status::Waiting);
        let Some(seat) = waiting else { return };
        seat.status = Status::Ready;
        seat.idle = false;
        self.executors.remove(&id);
        self.wakers.extend(seat.parked.take());
        let queue = if seat.waited.last { &mut self.ready_last } else { &mut self.ready };
        queue.push_back(id);
        if let Some(log) = &mut self.log {
            log.push(self.now_ns, &self.face.wall, &seat.waited.who, Kind::Wake, &end, None);
        }
        seat.end = Some(end);
    }

    /// From any other status to ready: comes back from outside, or gives up its turn.
    pub(super) fn make_ready(&mut self, id: SeatId) {
        if self.seats.get(&id).is_none_or(|seat| seat.status == Status::Ready) {
            return;
        }
        if let Some(seat) = self.set_status(id, Status::Ready) {
            seat.idle = false;
            self.executors.remove(&id);
            self.ready.push_back(id);
        }
    }

    /// Ends the wait of a seat whose thread unwinds out of it, because a waker of another panicked there.
    /// The next call of the seat takes a turn again.
    pub(super) fn abandon_wait(&mut self, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.blocked = false;
        let (is_leaving, is_waiting) = (seat.leaving, seat.status == Status::Waiting);
        if is_leaving {
            self.remove(id);
        } else if is_waiting {
            self.make_ready(id);
        }
    }

    /// The idle executors that others have given work, by any means. Their threads are on the way, but
    /// the timeline does not wait for the machine to start them.
    fn executors_with_work(&self) -> Vec<SeatId> {
        self.executors.keys().copied().filter(|id| self.has_work(*id)).collect()
    }

    /// Whether a seat waits as an idle executor that others have given work since.
    pub(super) fn has_work(&self, id: SeatId) -> bool {
        self.executors.get(&id).is_some_and(|executor| executor.has_work())
    }

    /// Makes those ready, in an order that does not depend on when their threads came out.
    fn rouse_executors(&mut self) {
        for id in self.executors_with_work() {
            // The participant that gave it work has woken its thread, too; a second time would leave
            // a wake-up behind that nothing uses up.
            let parked = self.seats.get_mut(&id).and_then(|seat| seat.parked.take());
            self.end_wait(id, End::Notified);
            if let Some(seat) = self.seats.get_mut(&id) {
                seat.parked = parked;
            }
        }
    }

    /// Makes time stand still until [`State::release`].
    pub(super) fn hold(&mut self, by: SeatId, why: Arc<str>) -> u64 {
        self.holds += 1;
        self.held.push(Hold { number: self.holds, why, by });
        self.holds
    }

    pub(super) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn release(&mut self, hold: u64) {
        self.held.retain(|held| held.number != hold);
    }

    /// Whether those that run keep any participant from running.
    pub(super) fn any_is_kept(&self) -> bool {
        self.seats.values().any(|seat| {
            seat.status == Status::Waiting || (seat.status == Status::Ready && seat.blocked)
        })
    }

    /// The report about a lost participant that has not come back: until then every wait fails with it,
    /// since time would move without one that may have much to do.
    pub(super) fn lost(&self) -> Option<&Arc<StuckReport>> {
        self.lost.first().map(|(_, report)| report)
    }

    /// Takes a lost participant back, and returns the report that it is to be told.
    pub(super) fn take_back(&mut self, id: SeatId) -> Option<Arc<StuckReport>> {
        let at = self.lost.iter().position(|(lost, _)| *lost == id)?;
        self.make_ready(id);
        Some(self.lost.remove(at).1)
    }

    /// Gives turns to the participants that are ready, and moves time when none is.
    pub(super) fn dispatch(&mut self) {
        if self.settling {
            return;
        }
        loop {
            if self.running < self.running_max {
                self.rouse_executors();
            }
            while self.running < self.running_max {
                let Some(id) = self.next_ready() else { break };
                let Some(seat) = self.seats.get_mut(&id) else { continue };
                seat.status = Status::Running;
                self.running += 1;
                seat.turn.notify_one();
            }
            if self.running > 0 || self.is_held() || self.wall_changed {
                return;
            }
            match self.next_instant() {
                Some(at_ns) => self.move_to(at_ns),
                None if self.end_in_deadlock() => {}
                None => return,
            }
        }
    }

    /// Moves time forward in one step, past all instants in between: each wait that is due ends.
    pub(super) fn move_to(&mut self, to_ns: u64) {
        while let Some(at_ns) = self.next_injection_ns.filter(|at| *at <= to_ns) {
            self.leap_to(at_ns.max(self.now_ns));
            self.apply_due_injections();
        }
        self.leap_to(to_ns.max(self.now_ns));
        while self.timers.peek().is_some_and(|Reverse(timer)| timer.at_ns <= self.now_ns) {
            let due = self.timers.pop().filter(|Reverse(timer)| timer.is_current(&self.seats));
            if let Some(Reverse(timer)) = due {
                self.end_wait(timer.seat, End::Deadline);
            }
        }
    }

    /// Writes a line of the log, if one is kept.
    pub(super) fn note(&mut self, who: &Arc<str>, kind: Kind, text: &dyn fmt::Display) {
        self.log_line(who, kind, text, None);
    }

    fn log_line(
        &mut self,
        who: &Arc<str>,
        kind: Kind,
        text: &dyn fmt::Display,
        until: Option<u64>,
    ) {
        if let Some(log) = &mut self.log {
            log.push(self.now_ns, &self.face.wall, who, kind, text, until);
        }
    }

    /// One line for each participant, in the order in which they joined.
    pub(super) fn report(&self) -> Arc<StuckReport> {
        let line = |(id, seat): (&SeatId, &Seat)| {
            let hold = self.held.iter().find(|hold| hold.by == *id);
            let hold = hold.map(|hold| format!("; it holds time still: {}", hold.why));
            let what = seat.doing() + &hold.unwrap_or_default();
            Waiting { who: seat.waited.who.to_string(), what }
        };
        Arc::new(StuckReport { waiting: self.seats.iter().map(line).collect() })
    }

    fn next_ready(&mut self) -> Option<SeatId> {
        let queue = if self.ready.is_empty() { &mut self.ready_last } else { &mut self.ready };
        match &mut self.ties {
            Some(ties) if queue.len() > 1 => queue.remove(ties.below(queue.len())),
            _ => queue.pop_front(),
        }
    }

    fn next_instant(&mut self) -> Option<u64> {
        while self.timers.peek().is_some_and(|Reverse(timer)| !timer.is_current(&self.seats)) {
            self.timers.pop();
        }
        let timer_ns = self.timers.peek().map(|Reverse(timer)| timer.at_ns)?;
        // Injections alone do not move time: they end a wait only if it listens, and a wait for the
        // wall without a deadline ends in `end_in_deadlock`.
        Some(self.next_injection_ns.map_or(timer_ns, |at| at.min(timer_ns)))
    }

    /// Ends all waits when none can end by itself. False if no participant waits.
    fn end_in_deadlock(&mut self) -> bool {
        if let Some(at_ns) = self.next_injection_ns {
            // One of the waits may be for the wall to be set, and it will be.
            let any_waits = self.seats.values().any(Seat::is_waiting);
            if any_waits {
                self.move_to(at_ns);
            }
            return any_waits;
        }
        let report = self.report();
        let stuck = match self.lost() {
            Some(_) => Stuck::Stalled(report),
            None => Stuck::Deadlock(report),
        };
        self.end_all_waits(&stuck)
    }

    /// The seats that are meant, in the order in which their participants joined.
    pub(super) fn seats_if(&self, is_meant: impl Fn(&Seat) -> bool) -> Vec<SeatId> {
        self.seats.iter().filter(|(_, seat)| is_meant(seat)).map(|(id, _)| *id).collect()
    }

    /// Ends all waits with an error. False if there are none.
    pub(super) fn end_all_waits(&mut self, stuck: &Stuck) -> bool {
        let waiting = self.seats_if(Seat::is_waiting);
        for id in &waiting {
            self.end_wait(*id, End::Stuck(stuck.clone()));
        }
        !waiting.is_empty()
    }

    /// Keeps dead timers from piling up where many waits end before their deadline.
    fn sweep(&mut self) {
        if self.timers.len() > 64 + 2 * self.seats.len() {
            self.timers.retain(|Reverse(timer)| timer.is_current(&self.seats));
        }
    }
}
