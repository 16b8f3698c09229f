//! The end of a session: whoever waits as a participant of it is told at once.
//!
//! A participant is **of** a session if it joined through one that was: the threads and guests that
//! were started there. It ends with the session: every wait from then on fails with that. A
//! handle that was only **installed** there, as that of the test itself, outlives it. If there are others to
//! be told, it is away until somebody uses it again, so that they can come out and end.

use super::Timeline;
use super::seats::{End, SeatId, Sessions, Status};
use super::state::State;
use crate::Stuck;
use std::sync::Arc;

impl Timeline {
    /// Ends the waits of everyone who is here for `session`, which has ended.
    pub(crate) fn end_session(&self, session: u64, why: &str) {
        let why: Arc<str> = why.into();
        self.with(|state| {
            state.end_session(session, &why);
            state.dispatch();
        });
    }
}

impl State {
    /// The seat is used in a session from now on.
    ///
    /// Returns whether the timeline is new to that session, and is to be told of its end.
    pub(super) fn use_in(&mut self, id: SeatId, session: u64) -> bool {
        let Some(seat) = self.seats.get_mut(id) else { return false };
        if !seat.sessions.contains(session) {
            seat.sessions.open.push(session);
        }
        seat.sessions.closed = None;
        let is_new = !self.sessions.contains(&session);
        if is_new {
            self.sessions.push(session);
        }
        is_new
    }

    /// A new seat is of the session of the one through which it joined, and no better off.
    pub(super) fn share_session(&mut self, by: Option<SeatId>, id: SeatId) {
        let Some(by) = by.and_then(|by| self.seats.get(by)) else { return };
        let (session, closed) = (by.sessions.open.last().copied(), by.sessions.closed.clone());
        let Some(seat) = self.seats.get_mut(id) else { return };
        let bound = session.is_some();
        seat.sessions = Sessions { open: session.into_iter().collect(), bound, closed };
    }

    fn end_session(&mut self, session: u64, why: &Arc<str>) {
        self.sessions.retain(|known| *known != session);
        let of_it = self.seats.iter().filter(|(_, seat)| seat.sessions.contains(session));
        let mut of_it: Vec<SeatId> = of_it.map(|(id, _)| id).collect();
        of_it.sort_by_key(|id| id.registration);
        for id in &of_it {
            if let Some(seat) = self.seats.get_mut(*id) {
                seat.sessions.open.retain(|open| *open != session);
            }
        }
        of_it.retain(|id| self.seats.get(*id).is_some_and(|seat| seat.sessions.open.is_empty()));
        let is_bound = |id: &SeatId| self.seats.get(*id).is_some_and(|seat| seat.sessions.bound);
        let others_are_to_end = of_it.iter().any(is_bound);
        for id in of_it {
            self.end_for(id, why, others_are_to_end);
        }
    }

    /// The last session of a seat has ended.
    fn end_for(&mut self, id: SeatId, why: &Arc<str>, others_are_to_end: bool) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let is_in_a_call = seat.blocked || seat.status != Status::Running;
        let steps_aside = others_are_to_end && !seat.sessions.bound;
        if seat.sessions.bound {
            seat.sessions.closed = Some(Arc::clone(why));
        } else if steps_aside && is_in_a_call {
            seat.adrift = Some(Arc::clone(why));
        }
        let (is_waiting, if_lost) = (seat.status == Status::Waiting, seat.if_lost.take());
        self.wakers.extend(if_lost);
        if is_waiting {
            self.end_wait(id, End::Stuck(Stuck::Cancelled(Arc::clone(why))));
        } else if steps_aside && !is_in_a_call {
            // Its thread is elsewhere and does not know yet.
            self.send_away(id, Status::Away);
        }
    }

    /// How the last wait of a seat ended.
    pub(super) fn take_end(&mut self, id: SeatId) -> Option<End> {
        match self.come_out(id) {
            Some(why) => Some(End::Stuck(Stuck::Cancelled(why))),
            None => self.seats.get_mut(id)?.end.take(),
        }
    }

    /// A call of a seat that was not bound to its session comes out: if that has ended meanwhile, the
    /// seat is away from here on, and this is why.
    pub(super) fn come_out(&mut self, id: SeatId) -> Option<Arc<str>> {
        let seat = self.seats.get_mut(id)?;
        let why = seat.adrift.take()?;
        if seat.status == Status::Running {
            self.send_away(id, Status::Away);
            self.dispatch();
        }
        Some(why)
    }
}
