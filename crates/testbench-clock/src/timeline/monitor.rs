//! Finds the participant that blocks outside the timeline while everyone else waits for it.

use super::seats::SeatId;
use crate::Armed;

/// What is remembered between two looks. Nothing ticks while nobody waits.
#[derive(Default)]
pub(super) struct Monitor {
    /// The next look.
    pub(super) armed: Option<Armed>,
    /// Who ran alone at the last look, and how far it had come.
    last_seen: Option<(SeatId, u64)>,
    unchanged: u32,
}

impl Monitor {
    /// A participant that has made no progress for this many looks is stalled.
    pub(super) const LOOKS: u32 = 4;

    /// Takes note of who runs alone now, and how far it has come; returns it if that has not
    /// changed for too long.
    pub(super) fn finds_stalled(&mut self, seen: Option<(SeatId, u64)>) -> Option<SeatId> {
        let unchanged = seen.is_some() && seen == self.last_seen;
        self.unchanged = if unchanged { self.unchanged + 1 } else { 0 };
        self.last_seen = seen;
        let (id, _) = seen.filter(|_| self.unchanged >= Self::LOOKS)?;
        *self = Monitor { armed: self.armed.take(), ..Monitor::default() };
        Some(id)
    }
}
