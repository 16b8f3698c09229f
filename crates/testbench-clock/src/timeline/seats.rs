//! The participants of a timeline, as its kernel sees them.

use super::dial::Dial;
use crate::{Role, Stuck};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Condvar};
use std::task::Waker;

/// Names a seat. Participants are numbered as they join, and no number is given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeatId(pub(super) u64);

/// The seats of a timeline, in the order in which their participants joined.
pub(super) type Seats = BTreeMap<SeatId, Seat>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// Could run, and waits for its turn.
    #[default]
    Ready,
    /// Has a turn.
    Running,
    /// Waits for an instant or a notification.
    Waiting,
    /// In `external`.
    Outside,
    /// Did not come back for too long.
    Lost,
    /// Its session has ended, so that others do not wait for it; when it is used again, it takes a turn
    /// again.
    Away,
}

/// How a wait ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Deadline,
    Notified,
    Stuck(Stuck),
}

#[derive(Default)]
pub(super) struct Seat {
    pub(super) name: Arc<str>,
    pub(super) made_at: Option<&'static Location<'static>>,
    /// Whether it is supervised, and may compute for any length of time.
    pub(super) is_guest: bool,
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

    /// How often it has given way since its last wait while one that moves time by hand was ready.
    pub(super) yields: u32,

    /// The current or last wait, or the current absence; and the number of that wait.
    pub(super) waited: Waited,
    pub(super) wait: u64,
    pub(super) end: Option<End>,
    /// Woken when the wait ends, if no thread blocks in it.
    pub(super) parked: Option<Waker>,
    /// It was roused when it was not parked: the next park ends at once.
    pub(super) roused: bool,
    /// It waits because an executor has nothing to do.
    pub(super) idle: bool,
    /// Woken if it is declared lost or its session ends while it runs, for an executor that may sleep in
    /// a place of its own.
    pub(super) if_lost: Option<Waker>,
}

/// A wait that a seat starts, or an absence from the timeline.
#[derive(Clone, Default)]
pub(super) struct Waited {
    pub(super) deadline_ns: Option<u64>,
    /// Its purpose; of an absence, the reason.
    pub(super) what: String,
    /// The handle that waits, and its name: the seat's own, or that of one lent out.
    pub(super) view: u64,
    pub(super) who: Arc<str>,
    /// Something besides time can end it.
    pub(super) hears: bool,
    /// Runs after all others of the same instant.
    pub(super) last: bool,
}

/// The sessions in which a seat is used, and whether it outlives them.
#[derive(Default)]
pub(super) struct Sessions {
    /// The last one is that of participants which join through this seat.
    pub(super) open: Vec<u64>,
    /// It joined inside of a session, and ends with it.
    pub(super) bound: bool,
    /// How it ended. Nothing can be waited for any more.
    pub(super) closed: Option<Arc<str>>,
}

impl Sessions {
    pub(super) fn check(&self) -> Result<(), Stuck> {
        self.closed.as_ref().map_or(Ok(()), |why| Err(Stuck::Cancelled(Arc::clone(why))))
    }
}

/// An executor whose idle time is a wait on the timeline.
pub(crate) trait Executor: Send + Sync {
    /// Whether a task of it was woken that has not run since. Called under the timeline's lock, so it
    /// only looks.
    fn has_work(&self) -> bool;
}

impl Seat {
    pub(super) fn new(name: &str, role: Role, dial: Arc<Dial>) -> Self {
        Seat { name: name.into(), is_guest: role == Role::Guest, dial, ..Seat::default() }
    }

    /// Whether a long silence of it can be no mistake.
    pub(super) fn may_compute(&self) -> bool {
        (self.is_guest && self.has_begun()) || self.lent > 0
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

    pub(super) fn is_waiting(&self) -> bool {
        self.status == Status::Waiting
    }

    /// For reports.
    pub(super) fn doing(&self) -> String {
        let what = &self.waited.what;
        match self.status {
            Status::Waiting => match self.waited.deadline_ns {
                Some(at_ns) => format!("{what}, until {at_ns}ns"),
                None => what.clone(),
            },
            Status::Ready => "waits for its turn".to_owned(),
            Status::Outside => format!("is outside the timeline: {what}"),
            Status::Away => "is away, since its session has ended".to_owned(),
            Status::Running | Status::Lost if !self.has_begun() => {
                "has not begun: its thread has not come to its first call, `begin`".to_owned()
            }
            Status::Running | Status::Lost => {
                let place = self.made_at.map(|at| format!(" ({}:{})", at.file(), at.line()));
                let last = match what.as_str() {
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
