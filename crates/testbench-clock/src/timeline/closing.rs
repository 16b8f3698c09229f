//! The end of a session: each participant of it that waits is told at once.
//!
//! A participant is **of** a session if it joined through one that was: the threads and guests that
//! were started there. It ends with the session: every wait from then on fails with that. A
//! handle that was only **installed** there, as that of the test itself, outlives it. If there are others to
//! be told, it is away until it is used again, so that they can come out and end.

use super::seats::{End, SeatId, Sessions, Status};
use super::state::State;
use crate::Stuck;
use std::sync::Arc;

impl State {
    /// The seat is used in a session from now on.
    ///
    /// Returns whether the timeline is new to that session, and is to be told of its end.
    pub(super) fn use_in(&mut self, id: SeatId, session: u64) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        if !seat.sessions.open.contains(&session) {
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
        let Some(by) = by.and_then(|by| self.seats.get(&by)) else { return };
        let (session, closed) = (by.sessions.open.last().copied(), by.sessions.closed.clone());
        if let Some(seat) = self.seats.get_mut(&id) {
            let bound = session.is_some();
            seat.sessions = Sessions { open: session.into_iter().collect(), bound, closed };
        }
    }

    /// Ends the waits of all participants that are here for `session` alone, which has ended.
    pub(super) fn end_session(&mut self, session: u64, why: &Arc<str>) {
        self.sessions.retain(|known| *known != session);
        let (mut ended, mut others_are_to_end) = (Vec::new(), false);
        for (id, seat) in &mut self.seats {
            let before = seat.sessions.open.len();
            seat.sessions.open.retain(|open| *open != session);
            if seat.sessions.open.is_empty() && before > 0 {
                ended.push(*id);
                others_are_to_end |= seat.sessions.bound;
            }
        }
        for id in ended {
            self.end_for(id, why, others_are_to_end);
        }
    }

    /// The last session of a seat has ended.
    fn end_for(&mut self, id: SeatId, why: &Arc<str>, others_are_to_end: bool) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let is_in_a_call = seat.blocked || seat.status != Status::Running;
        let steps_aside = others_are_to_end && !seat.sessions.bound;
        if seat.sessions.bound {
            seat.sessions.closed = Some(Arc::clone(why));
        } else if steps_aside && is_in_a_call {
            seat.adrift = Some(Arc::clone(why));
        }
        let is_waiting = seat.is_waiting();
        self.wakers.extend(seat.if_lost.take());
        if is_waiting {
            self.end_wait(id, End::Stuck(Stuck::Cancelled(Arc::clone(why))));
        } else if steps_aside && !is_in_a_call {
            // Its thread is elsewhere and does not know yet.
            self.set_status(id, Status::Away);
        }
    }

    /// How the last wait of a seat ended.
    pub(super) fn take_end(&mut self, id: SeatId) -> Option<End> {
        match self.come_out(id) {
            Some(why) => Some(End::Stuck(Stuck::Cancelled(why))),
            None => self.seats.get_mut(&id)?.end.take(),
        }
    }

    /// A call of a seat that was not bound to its session comes out: if that has ended meanwhile, the
    /// seat is away from here on, and this is why.
    pub(super) fn come_out(&mut self, id: SeatId) -> Option<Arc<str>> {
        let seat = self.seats.get_mut(&id)?;
        let why = seat.adrift.take()?;
        if seat.status == Status::Running {
            self.set_status(id, Status::Away);
        }
        Some(why)
    }
}
