//! The participants of a timeline, as its kernel sees them.

use super::dial::Dial;
use crate::{Role, Stuck};
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Condvar};
use std::task::Waker;

/// Names a seat. A seat that is used again gets another registration, so that an old name never
/// means a new participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeatId {
    // First, because ties go by order of registration.
    pub(super) registration: u64,
    index: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Could run, and waits for its turn.
    Ready,
    /// Has a turn.
    Running,
    /// Waits for an instant or a notification.
    Waiting,
    /// In `external`.
    Outside,
    /// Was given up on, as it did not come back for too long.
    Lost,
    /// Its session has ended, so nobody waits for it; when it is used again, it takes a turn again.
    Away,
}

/// How a wait ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Deadline,
    Notified,
    Stuck(Stuck),
}

pub(super) struct Seat {
    pub(super) name: Arc<str>,
    /// The name of the handle that was last used: the seat's own, or that of one lent out.
    pub(super) who: Arc<str>,
    pub(super) made_at: Option<&'static Location<'static>>,
    pub(super) role: Role,
    pub(super) status: Status,
    /// A thread sits in a call of this seat.
    pub(super) blocked: bool,
    /// That call is to remove the seat when it returns.
    pub(super) leaving: bool,
    /// Handles that are lent out.
    pub(super) lent: u32,
    /// Calls under the lock so far.
    pub(super) calls: u64,
    pub(super) sessions: Sessions,
    /// Its last session ended during a call of it: what that call is told. See
    /// [`come_out`](super::state::State::come_out).
    pub(super) adrift: Option<Arc<str>>,
    pub(super) dial: Arc<Dial>,
    pub(super) turn: Arc<Condvar>,

    /// How often it has given way since its last wait while someone who moves time by hand was ready.
    pub(super) yields: u32,

    // The current or last wait.
    pub(super) wait: u64,
    pub(super) view: u64,
    pub(super) deadline_ns: Option<u64>,
    /// Its purpose; of an absence, the reason.
    pub(super) what: String,
    /// Something besides time can end it.
    pub(super) hears: bool,
    pub(super) last: bool,
    pub(super) end: Option<End>,
    /// Woken when the wait ends, if no thread blocks in it.
    pub(super) parked: Option<Waker>,
    /// It was roused when it was not parked: the next park ends at once.
    pub(super) roused: bool,
    /// An executor sits in it, and tells by this whether others have given it something to do.
    pub(super) executor: Option<Arc<dyn Executor>>,
    /// It waits because that executor has nothing to do.
    pub(super) idle: bool,
    /// Woken if it is given up on or its session ends while it runs, for an executor that may sleep in a
    /// place of its own.
    pub(super) if_lost: Option<Waker>,
}

/// The sessions in which a seat is used, and whether it outlives them.
#[derive(Default)]
pub(super) struct Sessions {
    /// The last one is that of participants which join through this seat.
    pub(super) open: Vec<u64>,
    /// It joined inside of a session, and ends with it.
    pub(super) bound: bool,
    /// How it ended.
    pub(super) closed: Option<Arc<str>>,
}

impl Sessions {
    /// Why nothing can be waited for any more, if that is so.
    pub(super) fn check(&self) -> Result<(), Stuck> {
        match &self.closed {
            None => Ok(()),
            Some(why) => Err(Stuck::Cancelled(Arc::clone(why))),
        }
    }

    /// Whether [`Sessions::check`] fails.
    #[inline]
    pub(super) fn are_over(&self) -> bool {
        self.closed.is_some()
    }

    pub(super) fn contains(&self, session: u64) -> bool {
        self.open.contains(&session)
    }
}

/// An executor whose idle time is a wait on the timeline.
pub(crate) trait Executor: Send + Sync {
    /// Whether anyone has woken a task of it that has not run since. Asked under the timeline's
    /// lock, so it only looks.
    fn has_work(&self) -> bool;
}

impl Seat {
    pub(super) fn new(name: &str, role: Role, dial: Arc<Dial>) -> Self {
        let name: Arc<str> = name.into();
        Seat {
            who: Arc::clone(&name),
            name,
            made_at: None,
            role,
            status: Status::Ready,
            blocked: false,
            leaving: false,
            lent: 0,
            calls: 0,
            sessions: Sessions::default(),
            adrift: None,
            dial,
            turn: Arc::default(),
            yields: 0,
            wait: 0,
            view: 0,
            deadline_ns: None,
            what: String::new(),
            hears: false,
            last: false,
            end: None,
            parked: None,
            roused: false,
            executor: None,
            idle: false,
            if_lost: None,
        }
    }

    /// Whether a long silence of it can be no mistake.
    pub(super) fn may_compute(&self) -> bool {
        (self.role == Role::Guest && self.has_begun()) || self.lent > 0
    }

    /// Whether a thread has come to run as it: the one that made the timeline, or one that has called.
    pub(super) fn has_begun(&self) -> bool {
        self.made_at.is_some() || self.progress() > 0
    }

    /// Whether its thread can leave the timeline from here: it has the turn, or has not asked for its
    /// first one yet. A thread that is blocked in this seat still needs it.
    pub(super) fn can_go_outside(&self) -> bool {
        self.status == Status::Running || (self.status == Status::Ready && !self.blocked)
    }

    /// Changes whenever the participant uses the timeline, if only to read the time.
    pub(super) fn progress(&self) -> u64 {
        self.calls.wrapping_add(self.dial.readings())
    }

    /// Whether it waits as an idle executor to which others have given something to do since.
    pub(super) fn has_work(&self) -> bool {
        self.idle && self.executor.as_ref().is_some_and(|executor| executor.has_work())
    }

    /// For reports.
    pub(super) fn doing(&self) -> String {
        match self.status {
            Status::Waiting => match self.deadline_ns {
                Some(at_ns) => format!("{}, until {at_ns}ns", self.what),
                None => self.what.clone(),
            },
            Status::Ready => "waits for its turn".to_owned(),
            Status::Outside => format!("is outside the timeline: {}", self.what),
            Status::Away => "is away, since its session has ended".to_owned(),
            Status::Running | Status::Lost if !self.has_begun() => {
                "has not begun: its thread has not come to its first call, `begin`".to_owned()
            }
            Status::Running | Status::Lost => {
                let place = self.made_at.map(|at| format!(" ({}:{})", at.file(), at.line()));
                let last = match self.what.as_str() {
                    "" => String::new(),
                    what => format!("; its last wait was: {what}"),
                };
                format!(
                    "is running{} or blocked outside the timeline; wrap the blocking call in \
                     `testbench_clock::external`, or start what it waits for by \
                     `testbench_clock::thread::spawn` if that uses this clock{last}",
                    place.unwrap_or_default()
                )
            }
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Deadline => f.write_str("deadline"),
            End::Notified => f.write_str("notified"),
            End::Stuck(Stuck::Deadlock(_)) => f.write_str("deadlock"),
            End::Stuck(Stuck::Stalled(_)) => f.write_str("stalled"),
            End::Stuck(stuck) => stuck.fmt(f),
        }
    }
}

/// A slab of seats.
#[derive(Default)]
pub(super) struct Seats {
    slots: Vec<Option<(u64, Seat)>>,
    free: Vec<usize>,
    registrations: u64,
    len: usize,
}

impl Seats {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, seat: Seat) -> SeatId {
        self.registrations += 1;
        self.len += 1;
        let registration = self.registrations;
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index] = Some((registration, seat));
                index
            }
            None => {
                self.slots.push(Some((registration, seat)));
                self.slots.len() - 1
            }
        };
        SeatId { registration, index }
    }

    pub(super) fn remove(&mut self, id: SeatId) -> Option<Seat> {
        let slot = self.slots.get_mut(id.index)?;
        let (_, seat) = slot.take_if(|(registration, _)| *registration == id.registration)?;
        self.free.push(id.index);
        self.len -= 1;
        Some(seat)
    }

    #[inline]
    pub(super) fn get(&self, id: SeatId) -> Option<&Seat> {
        match self.slots.get(id.index) {
            Some(Some((registration, seat))) if *registration == id.registration => Some(seat),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: SeatId) -> Option<&mut Seat> {
        match self.slots.get_mut(id.index) {
            Some(Some((registration, seat))) if *registration == id.registration => Some(seat),
            _ => None,
        }
    }

    /// In no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SeatId, &Seat)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let (registration, seat) = slot.as_ref()?;
            Some((SeatId { registration: *registration, index }, seat))
        })
    }
}
