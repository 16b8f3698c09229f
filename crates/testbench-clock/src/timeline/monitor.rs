//! Finds the participants for which all others wait in vain: each blocks outside the timeline, never
//! begins, or waits for time that it holds still itself.

use super::seats::{Seat, SeatId, Status};
use super::state::State;
use crate::{Armed, Stuck};
use std::sync::Arc;

/// The state kept between two looks. Nothing ticks while no participant waits.
#[derive(Default)]
pub(super) struct Monitor {
    /// The next look.
    pub(super) armed: Option<Armed>,
    last_seen: Option<Suspects>,
    unchanged: u32,
}

/// The participants for which all others wait, and how far each has come.
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

    /// Takes note of the suspects of now; returns them if they have not changed for too long.
    pub(super) fn finds_stalled(&mut self, seen: Option<Suspects>) -> Option<Suspects> {
        let unchanged = seen.is_some() && seen == self.last_seen;
        self.unchanged = if unchanged { self.unchanged + 1 } else { 0 };
        self.last_seen = seen;
        self.last_seen.take_if(|seen| self.unchanged >= seen.looks_max)
    }
}

impl State {
    /// The participants for which all wait, unless that may be in order for any length of time.
    pub(super) fn suspects(&self) -> Option<Suspects> {
        let running = || self.seats.iter().filter(|(_, seat)| seat.status == Status::Running);
        if running().next().is_none() {
            return self.holders_that_wait();
        }
        if running().any(|(_, seat)| seat.may_compute()) {
            return None;
        }
        let all_begun = running().all(|(_, seat)| seat.has_begun());
        let looks_max = if all_begun { Monitor::LOOKS } else { Monitor::LOOKS_PATIENT };
        let seen = running().map(|(id, seat)| (*id, seat.progress())).collect();
        Some(Suspects { seen, looks_max })
    }

    /// The participants that hold time still and wait for nothing but time, if no other could let it go
    /// on.
    fn holders_that_wait(&self) -> Option<Suspects> {
        let any_outside = self.seats.values().any(|seat| seat.status == Status::Outside);
        if !self.is_held() || any_outside {
            return None;
        }
        let waits_for_time = |seat: &&Seat| seat.is_waiting() && !seat.waited.hears;
        let look = |hold: &Hold| {
            let seat = self.seats.get(&hold.by).filter(waits_for_time)?;
            Some((hold.by, seat.progress()))
        };
        let seen: Option<Vec<_>> = self.held.iter().map(look).collect();
        Some(Suspects { seen: seen?, looks_max: Monitor::LOOKS_PATIENT })
    }

    /// Declares the suspects that run lost, and ends all waits with that.
    pub(super) fn give_up_on(&mut self, suspects: &Suspects) {
        let is_suspect = |id: SeatId| suspects.seen.iter().any(|(seen, _)| *seen == id);
        let mut lost = self.seats_if(|seat| seat.status == Status::Running);
        lost.retain(|id| is_suspect(*id));
        for id in &lost {
            let if_lost = self.set_status(*id, Status::Lost).and_then(|seat| seat.if_lost.take());
            self.wakers.extend(if_lost);
        }
        let report = self.report();
        self.lost.extend(lost.into_iter().map(|id| (id, Arc::clone(&report))));
        self.end_all_waits(&Stuck::Stalled(report));
    }
}

/// A reason why time stands still.
pub(super) struct Hold {
    pub(super) number: u64,
    pub(super) why: Arc<str>,
    pub(super) by: SeatId,
}
