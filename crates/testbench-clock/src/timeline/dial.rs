//! The readings that a participant's handle takes without a lock, and their count.

use super::wall::WallCell;
use crate::{MonoTime, WallTime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The time, as all participants read it. Written under the timeline's lock.
#[derive(Default)]
pub(crate) struct Face {
    pub(crate) mono_ns: AtomicU64,
    pub(crate) wall: WallCell,
}

impl Face {
    #[inline]
    pub(crate) fn mono(&self) -> MonoTime {
        MonoTime::from_nanos(self.mono_ns.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn wall(&self) -> WallTime {
        self.wall.read_at(&self.mono_ns)
    }
}

/// One handle's way to read the [`Face`].
#[derive(Default)]
pub(crate) struct Dial {
    pub(crate) face: Arc<Face>,
    /// All of this handle. Counted without read-modify-write, so that readings stay cheap; a count
    /// lost between two threads does no harm.
    readings: AtomicU64,
    /// How many of them are allowed before the next wait.
    readings_max: AtomicU64,
    /// Waits that ended at once since the last one that did not.
    pub(super) at_once: AtOnce,
    spin_max: u64,
    /// Readings do nothing but read: none ticks, is logged, or is rounded.
    pub(crate) plain: bool,
}

impl Dial {
    pub(super) fn new(face: Arc<Face>, spin_max: u64, plain: bool) -> Arc<Self> {
        let readings_max = AtomicU64::new(spin_max);
        Arc::new(Dial { face, readings_max, spin_max, plain, ..Dial::default() })
    }

    /// Counts a reading, or a call that takes no time. False if there were too many since the last wait.
    #[inline]
    pub(crate) fn count(&self) -> bool {
        let readings = self.readings.load(Ordering::Relaxed).wrapping_add(1);
        self.readings.store(readings, Ordering::Relaxed);
        readings <= self.readings_max.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn spins(&self) -> bool {
        self.readings() > self.readings_max.load(Ordering::Relaxed)
    }

    /// All readings so far.
    pub(crate) fn readings(&self) -> u64 {
        self.readings.load(Ordering::Relaxed)
    }

    /// Readings since the last [`Dial::reset`].
    pub(super) fn in_a_row(&self) -> u64 {
        let before = self.readings_max.load(Ordering::Relaxed).saturating_sub(self.spin_max);
        self.readings().saturating_sub(before)
    }

    /// Time has moved, or this participant has really waited: so it does not spin.
    #[inline]
    pub(super) fn reset(&self) {
        let readings_max = self.readings().saturating_add(self.spin_max);
        self.readings_max.store(readings_max, Ordering::Relaxed);
        self.at_once.reset();
    }
}

/// How many waits, or futures of one executor, in a row may end at once before others run. About as many as
/// tokio lets a task have before others of its runtime have a turn, and rare enough for it to cost nothing.
const AT_ONCE_MAX: u64 = 128;

/// Counts what ends at once, in a row.
#[derive(Default)]
pub(crate) struct AtOnce(AtomicU64);

impl AtOnce {
    /// Counts one more. Returns whether there were so many that others are to run.
    pub(crate) fn is_to_give_way(&self) -> bool {
        let count = self.0.load(Ordering::Relaxed).wrapping_add(1);
        self.0.store(count, Ordering::Relaxed);
        count.is_multiple_of(AT_ONCE_MAX)
    }

    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
