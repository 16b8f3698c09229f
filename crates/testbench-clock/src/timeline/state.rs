//! The participants that may run, and the present time: the timeline's kernel, without threads or locks.
//!
//! Every participant has a **seat**. [`State::dispatch`] is the one place that gives turns and
//! moves time; everything else changes a seat's status and calls it.

use super::dial::Face;
use super::injected::Injected;
use super::monitor::{Hold, Monitor};
#[cfg(feature = "tokio")]
use super::seats::Executor;
use super::seats::{End, Seat, SeatId, Seats, Status};
use super::wall::{Segment, WallCell};
use crate::log::{Kind, Log, WaitNote};
use crate::{RandomStream, Stuck, StuckReport, Waiting, WallTime};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

pub(super) struct State {
    pub(super) seats: Seats,
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
    /// How many seats have an executor in them.
    executors: usize,
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
    /// Seats that were taken away, with what others have left in them, to be dropped when the lock is
    /// released.
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

/// How often a participant may give way in one instant before whoever moves time by hand has a turn. Enough
/// for all that settles by looking a few times, and soon over.
const YIELDS_MAX: u32 = 1_000;

/// How a state begins.
pub(super) struct Start {
    pub(super) wall: WallTime,
    pub(super) running_max: usize,
    pub(super) ties: Option<RandomStream>,
    pub(super) log: bool,
}

/// A wait that a seat starts.
#[derive(Clone)]
pub(super) struct Waited {
    pub(super) deadline_ns: Option<u64>,
    pub(super) what: String,
    /// The handle that waits, and its name.
    pub(super) view: u64,
    pub(super) who: Arc<str>,
    /// Something besides time can end it.
    pub(super) hears: bool,
    /// Runs after all others of the same instant.
    pub(super) last: bool,
}

impl State {
    pub(super) fn new(start: Start) -> Self {
        let segment = Segment::starting_at(start.wall);
        State {
            seats: Seats::default(),
            face: Arc::new(Face { mono_ns: AtomicU64::new(0), wall: WallCell::new(segment) }),
            now_ns: 0,
            running: 0,
            running_max: start.running_max,
            ready: VecDeque::new(),
            ready_last: VecDeque::new(),
            timers: BinaryHeap::new(),
            waits: 0,
            lost: Vec::new(),
            executors: 0,
            held: Vec::new(),
            holds: 0,
            ties: start.ties,
            injections: Vec::new(),
            next_injection_ns: None,
            sessions: Vec::new(),
            log: start.log.then(Log::default),
            monitor: Monitor::default(),
            wakers: Vec::new(),
            removed: Vec::new(),
            wall_changed: false,
            settling: false,
        }
    }

    pub(super) fn face(&self) -> Arc<Face> {
        Arc::clone(&self.face)
    }

    /// Whether anything is left to be done without the lock.
    pub(super) fn has_foreign_work(&self) -> bool {
        self.wall_changed || !self.wakers.is_empty() || !self.removed.is_empty()
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Whether a wait until `deadline_ns` by the only one who has a turn can end at once, with
    /// nothing and nobody in between: the path that nearly every sleep of a plain test takes.
    #[inline]
    pub(super) fn can_leap_to(&self, deadline_ns: u64) -> bool {
        self.running == 1
            && (self.seats.len() == 1 || self.nobody_comes_until(deadline_ns))
            && !self.is_held()
            && self.log.is_none()
            && !self.settling
            && !self.wall_changed
            && self.next_injection_ns.is_none_or(|at| at > deadline_ns)
    }

    /// Whether all others wait, and for something later.
    fn nobody_comes_until(&self, deadline_ns: u64) -> bool {
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

    /// From running to ready, behind the others who could run at this instant. False if there are none.
    ///
    /// A participant that moves time by hand goes last in the instant, but not behind those that give way again and
    /// again: what they look for may be what it does next.
    pub(super) fn give_way(&mut self, id: SeatId) -> bool {
        let running = self.seats.get_mut(id).filter(|seat| seat.status == Status::Running);
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
        (seat.name, seat.who) = (Arc::clone(&name), Arc::clone(&name));
        let id = self.seats.insert(seat);
        self.ready.push_back(id);
        self.note(&name, Kind::Join, "");
        (id, name)
    }

    /// A name that nobody else has at present, for reports and the log: threads that are spawned on one
    /// line, and guests of one program, are numbered from the second on.
    fn free_name(&self, name: &Arc<str>) -> Arc<str> {
        let is_taken = |name: &str| self.seats.iter().any(|(_, seat)| &*seat.name == name);
        if !is_taken(name) {
            return Arc::clone(name);
        }
        let is_numbered =
            |seat: &Seat| seat.name.strip_prefix(&**name).is_some_and(|rest| rest.starts_with('#'));
        let numbered = self.seats.iter().filter(|(_, seat)| is_numbered(seat)).count();
        let mut names = (numbered + 2..).map(|n| format!("{name}#{n}"));
        names.find(|name| !is_taken(name)).map_or_else(|| Arc::clone(name), Into::into)
    }

    /// Takes a seat away for good.
    pub(super) fn remove(&mut self, id: SeatId) {
        let Some(seat) = self.seats.remove(id) else { return };
        self.lost.retain(|(lost, _)| *lost != id);
        self.executors -= usize::from(seat.executor.is_some());
        match seat.status {
            Status::Running => self.running -= 1,
            Status::Ready => self.leave_queues(id),
            Status::Waiting | Status::Outside | Status::Lost | Status::Away => {}
        }
        self.note(&seat.name, Kind::Leave, "");
        self.removed.push(seat);
    }

    /// From running, or from ready to run, to waiting.
    pub(super) fn start_wait(&mut self, id: SeatId, waited: Waited) {
        self.waits += 1;
        let wait = self.waits;
        let Some(seat) = self.seats.get_mut(id) else { return };
        debug_assert!(matches!(seat.status, Status::Running | Status::Ready));
        let before = std::mem::replace(&mut seat.status, Status::Waiting);
        seat.wait = wait;
        seat.yields = 0;
        seat.end = None;
        let Waited { deadline_ns, what, view, who, hears, last } = waited;
        (seat.deadline_ns, seat.view, seat.hears, seat.last) = (deadline_ns, view, hears, last);
        (seat.what, seat.who) = (what, who);
        match before {
            Status::Running => self.running -= 1,
            _ => self.leave_queues(id),
        }
        if let Some(at_ns) = deadline_ns {
            self.sweep();
            self.timers.push(Reverse(Timer { at_ns, last, seat: id, wait }));
        }
        if self.log.is_some() {
            self.note_wait(id);
        }
    }

    /// From waiting to ready, if it waits.
    pub(super) fn end_wait(&mut self, id: SeatId, end: End) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        if seat.status != Status::Waiting {
            return;
        }
        seat.status = Status::Ready;
        let queue = if seat.last { &mut self.ready_last } else { &mut self.ready };
        queue.push_back(id);
        seat.idle = false;
        self.wakers.extend(seat.parked.take());
        if let Some(log) = &mut self.log {
            let text = end.to_string();
            log.push(self.now_ns, &self.face.wall, &seat.who, Kind::Wake, &text);
        }
        seat.end = Some(end);
    }

    /// From whatever else to ready: comes back from outside, or gives up its turn.
    pub(super) fn make_ready(&mut self, id: SeatId) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        match seat.status {
            Status::Ready => return,
            Status::Running => self.running -= 1,
            Status::Waiting | Status::Outside | Status::Lost | Status::Away => {}
        }
        seat.status = Status::Ready;
        seat.idle = false;
        self.ready.push_back(id);
    }

    /// Ends the wait of a seat whose thread unwinds out of it, because a waker of another panicked there.
    /// The next call of the seat takes a turn again.
    pub(super) fn abandon_wait(&mut self, id: SeatId) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        seat.blocked = false;
        let (is_leaving, is_waiting) = (seat.leaving, seat.status == Status::Waiting);
        if is_leaving {
            self.remove(id);
        } else if is_waiting {
            self.make_ready(id);
        }
        self.dispatch();
    }

    /// Tells which executor sits in a seat from now on, and returns the one before it.
    #[cfg(feature = "tokio")]
    pub(super) fn seat_executor(
        &mut self,
        id: SeatId,
        executor: Option<Arc<dyn Executor>>,
    ) -> Option<Arc<dyn Executor>> {
        // Given back, so that nothing of it is dropped under the lock.
        let Some(seat) = self.seats.get_mut(id) else { return executor };
        self.executors += usize::from(executor.is_some());
        let old = std::mem::replace(&mut seat.executor, executor);
        self.executors -= usize::from(old.is_some());
        old
    }

    /// Idle executors that others have given something to do, by any means: their threads are on
    /// the way, but the timeline does not wait for the machine to start them.
    fn executors_with_work(&self) -> Vec<SeatId> {
        if self.executors == 0 {
            return Vec::new();
        }
        let mut busy: Vec<_> =
            self.seats.iter().filter(|(_, seat)| seat.has_work()).map(|(id, _)| id).collect();
        busy.sort_by_key(|id| id.registration);
        busy
    }

    /// Makes those ready, in an order that does not depend on when their threads came out.
    fn rouse_executors(&mut self) {
        for id in self.executors_with_work() {
            // The participant that gave it work has woken its thread, too; a second time would leave
            // a wake-up behind that nobody ordered.
            let parked = self.seats.get_mut(id).and_then(|seat| seat.parked.take());
            self.end_wait(id, End::Notified);
            if let Some(seat) = self.seats.get_mut(id) {
                seat.parked = parked;
            }
        }
    }

    /// From running, or from ready to run, to somewhere that is not on the timeline.
    pub(super) fn send_away(&mut self, id: SeatId, to: Status) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        debug_assert!(matches!(seat.status, Status::Running | Status::Ready));
        match std::mem::replace(&mut seat.status, to) {
            Status::Running => self.running -= 1,
            _ => self.leave_queues(id),
        }
    }

    fn leave_queues(&mut self, id: SeatId) {
        self.ready.retain(|ready| *ready != id);
        self.ready_last.retain(|ready| *ready != id);
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

    /// Whether anyone is kept from running by those who run.
    pub(super) fn anyone_is_kept(&self) -> bool {
        self.seats.iter().any(|(_, seat)| {
            seat.status == Status::Waiting || (seat.status == Status::Ready && seat.blocked)
        })
    }

    /// The report about someone who was given up on and has not come back: until then every wait
    /// fails with it, since time would move without one who may have much to do.
    pub(super) fn lost(&self) -> Option<&Arc<StuckReport>> {
        self.lost.first().map(|(_, report)| report)
    }

    /// Takes back who was given up on; it is to be told why.
    pub(super) fn take_back(&mut self, id: SeatId) -> Option<Arc<StuckReport>> {
        let at = self.lost.iter().position(|(lost, _)| *lost == id)?;
        self.make_ready(id);
        Some(self.lost.remove(at).1)
    }

    /// Gives turns to whoever is ready, and moves time when nobody is. Call after every change.
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
                let Some(seat) = self.seats.get_mut(id) else { continue };
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

    /// Moves time forward, in one step, past whatever lies between: everyone due becomes ready.
    pub(super) fn move_to(&mut self, to_ns: u64) {
        while let Some(at_ns) = self.next_injection_ns.filter(|at| *at <= to_ns) {
            self.leap_to(at_ns.max(self.now_ns));
            self.apply_due_injections();
        }
        self.leap_to(to_ns.max(self.now_ns));
        while let Some(Reverse(timer)) = self.timers.peek() {
            if timer.at_ns > self.now_ns {
                break;
            }
            let (seat, wait) = (timer.seat, timer.wait);
            self.timers.pop();
            if self.is_current(seat, wait) {
                self.end_wait(seat, End::Deadline);
            }
        }
    }

    pub(super) fn note(&mut self, who: &str, kind: Kind, text: &str) {
        if let Some(log) = &mut self.log {
            log.push(self.now_ns, &self.face.wall, who, kind, text);
        }
    }

    /// One line for each participant, in the order in which they joined.
    pub(super) fn report(&self) -> Arc<StuckReport> {
        let mut seats: Vec<_> = self.seats.iter().collect();
        seats.sort_by_key(|(id, _)| id.registration);
        let waiting = seats
            .into_iter()
            .map(|(id, seat)| {
                let holds = self.held.iter().find(|hold| hold.by == id);
                let holds = holds.map(|hold| format!("; it holds time still: {}", hold.why));
                let what = seat.doing() + holds.as_deref().unwrap_or_default();
                Waiting { who: seat.who.to_string(), what }
            })
            .collect();
        Arc::new(StuckReport { waiting })
    }

    fn next_ready(&mut self) -> Option<SeatId> {
        let queue = if self.ready.is_empty() { &mut self.ready_last } else { &mut self.ready };
        match &mut self.ties {
            Some(ties) if queue.len() > 1 => queue.remove(ties.below(queue.len())),
            _ => queue.pop_front(),
        }
    }

    fn next_instant(&mut self) -> Option<u64> {
        while let Some(Reverse(timer)) = self.timers.peek() {
            if self.is_current(timer.seat, timer.wait) {
                break;
            }
            self.timers.pop();
        }
        let timer_ns = self.timers.peek().map(|Reverse(timer)| timer.at_ns)?;
        // Injections alone do not move time: they end nobody's wait unless someone listens, and
        // whoever listens for the wall without a deadline is served by the branch below.
        Some(self.next_injection_ns.map_or(timer_ns, |at| at.min(timer_ns)))
    }

    fn is_current(&self, id: SeatId, wait: u64) -> bool {
        let seat = self.seats.get(id);
        seat.is_some_and(|seat| seat.status == Status::Waiting && seat.wait == wait)
    }

    /// Ends the waits of everyone when none can end by itself. False if nobody waits.
    fn end_in_deadlock(&mut self) -> bool {
        if let Some(at_ns) = self.next_injection_ns {
            // Someone may wait for the wall to be set, and it will be.
            let anyone = self.seats.iter().any(|(_, seat)| seat.status == Status::Waiting);
            if anyone {
                self.move_to(at_ns);
            }
            return anyone;
        }
        let report = self.report();
        let stuck = match self.lost() {
            Some(_) => Stuck::Stalled(report),
            None => Stuck::Deadlock(report),
        };
        self.end_all_waits(&stuck)
    }

    /// The waits through this handle: each of its threads in a seat of its own.
    pub(super) fn waits_of(&self, view: u64) -> Vec<SeatId> {
        self.waiting_if(|seat| seat.view == view)
    }

    /// In the order in which they joined.
    fn waiting_if(&self, is_meant: impl Fn(&Seat) -> bool) -> Vec<SeatId> {
        let is_waiting = |seat: &Seat| seat.status == Status::Waiting && is_meant(seat);
        let mut waiting: Vec<_> =
            self.seats.iter().filter(|(_, seat)| is_waiting(seat)).map(|(id, _)| id).collect();
        waiting.sort_by_key(|id| id.registration);
        waiting
    }

    pub(super) fn end_all_waits(&mut self, stuck: &Stuck) -> bool {
        let waiting = self.waiting_if(|_| true);
        for id in &waiting {
            self.end_wait(*id, End::Stuck(stuck.clone()));
        }
        !waiting.is_empty()
    }

    /// Keeps dead timers from piling up where many waits end before their deadline.
    fn sweep(&mut self) {
        if self.timers.len() > 64 + 2 * self.seats.len() {
            let seats = &self.seats;
            self.timers.retain(|Reverse(timer)| {
                let seat = seats.get(timer.seat);
                seat.is_some_and(|s| s.status == Status::Waiting && s.wait == timer.wait)
            });
        }
    }

    fn note_wait(&mut self, id: SeatId) {
        let (Some(log), Some(seat)) = (&mut self.log, self.seats.get(id)) else { return };
        let note = WaitNote { who: &seat.who, what: &seat.what, until_ns: seat.deadline_ns };
        log.push_wait(self.now_ns, &self.face.wall, &note);
    }
}
