//! The wall clock as a function of the monotonic one, and what can be done to it.

use crate::panics::locked;
use crate::{MonoTime, WallTime};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Something that happens to a wall clock in the real world, for tests of code that must survive
/// it. The monotonic clock notices none of these.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, Injection, MockClock, MonoTime, Shift, WallTime, When};
///
/// // The wall is set back by a second at the end of 2016: 23:59:59 comes twice.
/// let midnight = WallTime::from_unix_secs(1_483_228_800);
/// let clock = MockClock::builder()
///     .start(midnight - Duration::from_millis(500))
///     .inject(When::Wall(midnight), Injection::Step(Shift::Back(Duration::from_secs(1))))
///     .build();
/// clock.advance(Duration::from_secs(1))?;
/// assert_eq!(clock.wall().to_string(), "2016-12-31T23:59:59.500000000Z");
/// # Ok::<(), testbench_clock::ClockError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Injection {
    /// The wall is set to a time.
    Set(WallTime),
    /// The wall jumps.
    Step(Shift),
    /// The wall runs fast (positive) or slow (negative) from now on, by this many nanoseconds in
    /// each second; at least -1,000,000,000, which stops it.
    Drift {
        /// Nanoseconds gained in each second.
        parts_per_billion: i64,
    },
}

/// A distance with a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Towards the future.
    Forward(Duration),
    /// Towards the past.
    Back(Duration),
}

impl Shift {
    /// In nanoseconds, negative towards the past.
    pub fn nanos(self) -> i128 {
        // A `Duration` has at most 2^94 nanoseconds.
        match self {
            Shift::Forward(d) => d.as_nanos() as i128,
            Shift::Back(d) => -(d.as_nanos() as i128),
        }
    }
}

/// The instant of an [`Injection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When the monotonic clock shows this.
    Mono(MonoTime),
    /// When the wall clock first shows this or more. Setting the wall moves the instant.
    Wall(WallTime),
}

/// An injection that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InjectionError {
    /// The wall would run backwards.
    #[error(
        "{injection:?} would make the wall clock run backwards; use `Injection::Step` to set it back"
    )]
    Backwards {
        /// The injection that was asked for.
        injection: Injection,
    },
    /// A drift outside of ±100,000 percent.
    #[error("{injection:?}: a drift is at most 1,000,000,000,000 parts per billion")]
    Rate {
        /// The injection that was asked for.
        injection: Injection,
    },
}

/// The wall from one instant of the monotonic clock on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from_ns: u64,
    base_ns: i128,
    drift_ppb: i64,
}

const BILLION: i128 = 1_000_000_000;
const DRIFT_MAX_PPB: i64 = 1_000_000_000_000;

impl Segment {
    pub(crate) fn starting_at(wall: WallTime) -> Self {
        Segment { from_ns: 0, base_ns: wall.unix_nanos(), drift_ppb: 0 }
    }

    #[inline]
    pub(crate) fn wall_at(&self, mono_ns: u64) -> WallTime {
        let passed_ns = i128::from(mono_ns.saturating_sub(self.from_ns));
        let mut wall_ns = self.base_ns.saturating_add(passed_ns);
        if self.drift_ppb != 0 {
            // A drift never takes away more than has passed, so the wall does not run backwards.
            wall_ns = wall_ns.saturating_add(passed_ns * i128::from(self.drift_ppb) / BILLION);
        }
        WallTime::from_unix_nanos(wall_ns)
    }

    /// Wall minus monotonic time, if that stays the same and fits. A plain segment is never read
    /// before its beginning, since the monotonic clock does not go back.
    fn offset_ns(&self) -> Option<i64> {
        if self.drift_ppb != 0 {
            return None;
        }
        let offset_ns = self.base_ns.checked_sub(i128::from(self.from_ns))?;
        i64::try_from(offset_ns).ok().filter(|ns| *ns != WallCell::NOT_PLAIN)
    }

    /// The first instant from `now_ns` on at which the wall shows at least `wall`.
    pub(crate) fn mono_at(&self, wall: WallTime, now_ns: u64) -> Option<u64> {
        if self.wall_at(now_ns) >= wall {
            return Some(now_ns);
        }
        if self.drift_ppb == 0 {
            let ahead = wall.unix_nanos().checked_sub(self.base_ns)?;
            return self.from_ns.checked_add(u64::try_from(ahead).ok()?);
        }
        if self.wall_at(u64::MAX) < wall {
            return None;
        }
        // The wall never runs backwards within a segment, so this search is exact.
        let (mut before, mut at_or_after) = (now_ns, u64::MAX);
        while at_or_after - before > 1 {
            let middle = before + (at_or_after - before) / 2;
            if self.wall_at(middle) < wall { before = middle } else { at_or_after = middle }
        }
        Some(at_or_after)
    }

    /// The segment that follows when `injection` happens at `now_ns`.
    pub(crate) fn after(&self, injection: Injection, now_ns: u64) -> Segment {
        let shown_ns = self.wall_at(now_ns).unix_nanos();
        let (base_ns, drift_ppb) = match injection {
            Injection::Set(wall) => (wall.unix_nanos(), self.drift_ppb),
            Injection::Step(by) => (shown_ns.saturating_add(by.nanos()), self.drift_ppb),
            Injection::Drift { parts_per_billion } => (shown_ns, parts_per_billion),
        };
        Segment { from_ns: now_ns, base_ns, drift_ppb }
    }
}

impl Injection {
    /// Fails if it makes no sense.
    pub(crate) fn check(self) -> Result<(), InjectionError> {
        match self {
            Injection::Drift { parts_per_billion } if parts_per_billion > DRIFT_MAX_PPB => {
                Err(InjectionError::Rate { injection: self })
            }
            Injection::Drift { parts_per_billion } if i128::from(parts_per_billion) < -BILLION => {
                Err(InjectionError::Backwards { injection: self })
            }
            Injection::Set(_) | Injection::Step(_) | Injection::Drift { .. } => Ok(()),
        }
    }
}

/// A [`Segment`] that is written under the timeline's lock, and read without that.
#[derive(Default)]
pub(crate) struct WallCell {
    /// For the plain segments that most tests have, all of it in one word, which is read without any
    /// lock: wall minus monotonic time. [`NOT_PLAIN`](WallCell::NOT_PLAIN) for others.
    offset_ns: AtomicI64,
    segment: Mutex<Segment>,
}

impl WallCell {
    const NOT_PLAIN: i64 = i64::MIN;

    pub(crate) fn new(segment: Segment) -> Self {
        let cell = WallCell::default();
        cell.store(&segment);
        cell
    }

    pub(crate) fn store(&self, segment: &Segment) {
        *locked(&self.segment) = *segment;
        self.offset_ns.store(segment.offset_ns().unwrap_or(Self::NOT_PLAIN), Ordering::Release);
    }

    pub(crate) fn load(&self) -> Segment {
        *locked(&self.segment)
    }

    /// Returns the wall time at the present of that monotonic clock.
    #[inline]
    pub(crate) fn read_at(&self, mono_ns: &AtomicU64) -> WallTime {
        let offset_ns = self.offset_ns.load(Ordering::Acquire);
        let now_ns = mono_ns.load(Ordering::Acquire);
        // The same before and after, so it held at that monotonic instant.
        if offset_ns != Self::NOT_PLAIN && self.offset_ns.load(Ordering::Relaxed) == offset_ns {
            return WallTime::from_unix_nanos(i128::from(offset_ns) + i128::from(now_ns));
        }
        self.read_segment_at(mono_ns)
    }

    #[cold]
    fn read_segment_at(&self, mono_ns: &AtomicU64) -> WallTime {
        let segment = locked(&self.segment);
        // Under this lock the segment stays, so it holds at that monotonic instant.
        segment.wall_at(mono_ns.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(ns: i128) -> WallTime {
        WallTime::from_unix_nanos(ns)
    }

    fn drifting(segment: &Segment, now_ns: u64, parts_per_billion: i64) -> Segment {
        segment.after(Injection::Drift { parts_per_billion }, now_ns)
    }

    #[test]
    fn drifts_and_steps_add_up_exactly() {
        let s = Segment::starting_at(wall(1000));
        assert_eq!(s.wall_at(50), wall(1050));
        let fast = drifting(&s, 100, 500_000_000);
        assert_eq!(fast.wall_at(100), wall(1100));
        assert_eq!(fast.wall_at(300), wall(1400));
        let stepped = fast.after(Injection::Step(Shift::Forward(Duration::from_nanos(7))), 500);
        assert_eq!(stepped.wall_at(700).unix_nanos() - fast.wall_at(700).unix_nanos(), 7);
    }

    #[test]
    fn mono_at_is_the_first_instant_that_shows_the_wall() {
        let plain = Segment::starting_at(wall(1000));
        let segments = [
            plain,
            drifting(&plain, 10, 250_000_000),
            drifting(&plain, 10, -999_000_000),
            drifting(&plain, 3, 7),
        ];
        for s in segments {
            for target in [1001, 1002, 1010, 1100, 1999, 5000] {
                let at = s.mono_at(wall(target), s.from_ns).unwrap();
                assert!(s.wall_at(at) >= wall(target), "{s:?} {target}");
                assert!(at == s.from_ns || s.wall_at(at - 1) < wall(target), "{s:?} {target}");
            }
        }
        assert_eq!(plain.mono_at(wall(0), 5), Some(5));
        assert_eq!(drifting(&plain, 0, -1_000_000_000).mono_at(wall(1001), 0), None);
        assert_eq!(plain.mono_at(wall(i128::MAX), 0), None);
    }

    #[test]
    fn extremes_saturate() {
        let end = Segment::starting_at(wall(i128::MAX - 5));
        assert_eq!(end.wall_at(u64::MAX), wall(i128::MAX));
        let start = Segment::starting_at(wall(i128::MIN));
        let back = start.after(Injection::Step(Shift::Back(Duration::MAX)), 0);
        assert_eq!(back.wall_at(0), wall(i128::MIN));
    }

    #[test]
    fn the_cell_keeps_every_bit_and_never_tears() {
        let a = drifting(&Segment::starting_at(wall(-1)), 0, -3);
        let b = drifting(&Segment::starting_at(wall(i128::MAX)), 9, 4);
        let cell = WallCell::new(a);
        assert_eq!(cell.load(), a);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    cell.store(&b);
                    cell.store(&a);
                }
            });
            for _ in 0..20_000 {
                let seen = cell.load();
                assert!(seen == a || seen == b, "{seen:?}");
            }
        });
    }
}
