//! Finds those for whom everyone else waits in vain: who blocks outside the timeline, never begins, or
//! waits for time that it holds still itself.

use super::seats::{Seat, SeatId, Status};
use super::state::State;
use crate::{Armed, Stuck};
use std::sync::Arc;

/// The state kept between two looks. Nothing ticks while nobody waits.
#[derive(Default)]
pub(super) struct Monitor {
    /// The next look.
    pub(super) armed: Option<Armed>,
    last_seen: Option<Suspects>,
    unchanged: u32,
}

/// Those for whom everyone else waits, and how far each has come.
#[derive(PartialEq, Eq)]
pub(super) struct Suspects {
    seen: Vec<(SeatId, u64)>,
    /// How many looks without any progress are too many.
    looks_max: u32,
}

impl Monitor {
    /// A participant that has made no progress for this many looks is stalled.
    pub(super) const LOOKS: u32 = 4;
    /// Where it may take longer and nothing be wrong: until a busy machine has started a thread, until
    /// something outside has dropped what holds time still.
    const LOOKS_PATIENT: u32 = 10 * Monitor::LOOKS;

    /// Takes note of who is waited for now; returns those for whom that has not changed for too long.
    pub(super) fn finds_stalled(&mut self, seen: Option<Suspects>) -> Option<Suspects> {
        let unchanged = seen.is_some() && seen == self.last_seen;
        self.unchanged = if unchanged { self.unchanged + 1 } else { 0 };
        self.last_seen = seen;
        self.last_seen.take_if(|seen| self.unchanged >= seen.looks_max)
    }
}

impl State {
    /// For whom everyone waits, unless that may be in order for as long as it likes.
    pub(super) fn suspects(&self) -> Option<Suspects> {
        let is_running = |seat: &Seat| seat.status == Status::Running;
        let running: Vec<_> = self.seats.iter().filter(|(_, seat)| is_running(seat)).collect();
        if running.is_empty() {
            return self.holders_that_wait();
        }
        if running.iter().any(|(_, seat)| seat.may_compute()) {
            return None;
        }
        let all_begun = running.iter().all(|(_, seat)| seat.has_begun());
        let looks_max = if all_begun { Monitor::LOOKS } else { Monitor::LOOKS_PATIENT };
        let seen = running.into_iter().map(|(id, seat)| (id, seat.progress())).collect();
        Some(Suspects { seen, looks_max })
    }

    /// Those that hold time still and wait for nothing but time, if nobody else could let it go on.
    fn holders_that_wait(&self) -> Option<Suspects> {
        let anyone_outside = self.seats.iter().any(|(_, seat)| seat.status == Status::Outside);
        if !self.is_held() || anyone_outside {
            return None;
        }
        let waits_for_time = |seat: &&Seat| seat.status == Status::Waiting && !seat.hears;
        let look = |hold: &Hold| {
            let seat = self.seats.get(hold.by).filter(waits_for_time)?;
            Some((hold.by, seat.progress()))
        };
        let seen: Option<Vec<_>> = self.held.iter().map(look).collect();
        Some(Suspects { seen: seen?, looks_max: Monitor::LOOKS_PATIENT })
    }

    /// Gives up on those that do not come back, and tells everyone who waits.
    pub(super) fn give_up_on(&mut self, suspects: &Suspects) {
        let is_running = |seat: &Seat| seat.status == Status::Running;
        let ids = suspects.seen.iter().map(|(id, _)| *id);
        let away: Vec<_> = ids.filter(|id| self.seats.get(*id).is_some_and(is_running)).collect();
        for id in &away {
            self.send_away(*id, Status::Lost);
            let if_lost = self.seats.get_mut(*id).and_then(|seat| seat.if_lost.take());
            self.wakers.extend(if_lost);
        }
        let report = self.report();
        self.lost.extend(away.into_iter().map(|id| (id, Arc::clone(&report))));
        self.end_all_waits(&Stuck::Stalled(report));
    }
}

/// A reason why time stands still.
pub(super) struct Hold {
    pub(super) number: u64,
    pub(super) why: Arc<str>,
    pub(super) by: SeatId,
}
