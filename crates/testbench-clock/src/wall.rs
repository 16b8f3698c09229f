//! The wall clock as a function of the monotonic one, and what can be done to it.

use crate::{MonoTime, WallTime};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};
use std::time::Duration;

/// Something that happens to a wall clock in the real world, for tests of code that must survive
/// it. The monotonic clock notices none of these.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, Injection, MockClock, MonoTime, Shift, WallTime, When};
///
/// // A leap second is inserted at the end of 2016: 23:59:59 comes twice.
/// let midnight = WallTime::from_unix_secs(1_483_228_800);
/// let clock = MockClock::builder()
///     .start(midnight - Duration::from_millis(500))
///     .inject(When::Wall(midnight), Injection::LEAP_SECOND)
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
    /// The wall is moved by a total, spread evenly over a span of monotonic time. An unfinished
    /// earlier slew stops where it is.
    Slew {
        /// How far the wall will have moved at the end.
        by: Shift,
        /// How long it takes. At least as long as a shift [`Shift::Back`], so that the wall does
        /// not run backwards.
        over: Duration,
    },
    /// The wall runs fast (positive) or slow (negative) from now on, by this many nanoseconds in
    /// each second; at least -1,000,000,000, which stops it.
    Drift {
        /// Nanoseconds gained in each second.
        parts_per_billion: i64,
    },
    /// The local time zone changes to this offset; see
    /// [`MockClock::utc_offset_secs`](crate::MockClock::utc_offset_secs).
    Zone {
        /// Local time minus UTC, in seconds.
        utc_offset_secs: i32,
    },
}

impl Injection {
    /// An inserted leap second as POSIX clocks show it: the last second of the day comes twice. Give
    /// it [`When::Wall`] of the midnight after.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, Injection, MockClock, WallTime, When};
    ///
    /// let midnight = WallTime::from_rfc3339("2017-01-01T00:00:00Z")?;
    /// let clock = MockClock::builder()
    ///     .start(midnight - Duration::from_secs(1))
    ///     .inject(When::Wall(midnight), Injection::LEAP_SECOND)
    ///     .build();
    /// let mut seconds = Vec::new();
    /// for _ in 0..3 {
    ///     seconds.push(clock.wall().to_string().split_off(11));
    ///     clock.advance(Duration::from_secs(1))?;
    /// }
    /// assert_eq!(seconds, ["23:59:59Z", "23:59:59Z", "00:00:00Z"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const LEAP_SECOND: Injection = Injection::Step(Shift::Back(Duration::from_secs(1)));
}

/// A distance with a direction.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, Injection, MockClock, Shift};
///
/// // Half a second is made up for within ten.
/// let clock = MockClock::builder().build();
/// let start = clock.wall();
/// let by = Shift::Forward(Duration::from_millis(500));
/// clock.inject(Injection::Slew { by, over: Duration::from_secs(10) })?;
/// clock.advance(Duration::from_secs(10))?;
/// assert_eq!(clock.wall(), start + Duration::from_millis(10_500));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Towards the future.
    Forward(Duration),
    /// Towards the past.
    Back(Duration),
}

impl Shift {
    /// In nanoseconds, negative towards the past.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::Shift;
    ///
    /// assert_eq!(Shift::Back(Duration::from_micros(2)).nanos(), -2_000);
    /// assert_eq!(Shift::Forward(Duration::from_secs(1)).nanos(), 1_000_000_000);
    /// ```
    pub fn nanos(self) -> i128 {
        // A `Duration` has at most 2^94 nanoseconds.
        match self {
            Shift::Forward(d) => d.as_nanos() as i128,
            Shift::Back(d) => -(d.as_nanos() as i128),
        }
    }
}

/// The instant of an [`Injection`].
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, Injection, MockClock, Shift, WallTime, When};
///
/// let two = WallTime::from_rfc3339("2000-01-01T02:00:00Z")?;
/// let clock = MockClock::builder()
///     .inject(When::Wall(two), Injection::Step(Shift::Forward(Duration::from_secs(3600))))
///     .build();
/// clock.advance(Duration::from_secs(2 * 3600))?;
/// assert_eq!(clock.wall().to_string(), "2000-01-01T03:00:00Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When the monotonic clock shows this.
    Mono(MonoTime),
    /// When the wall clock first shows this or more. Setting the wall moves the instant.
    Wall(WallTime),
}

/// An injection that makes no sense.
///
/// ```
/// use testbench_clock::{Injection, InjectionError, MockClock};
///
/// let clock = MockClock::builder().build();
/// let backwards = clock.inject(Injection::Drift { parts_per_billion: -2_000_000_000 });
/// assert!(matches!(backwards, Err(InjectionError::Backwards { .. })));
/// let fast = clock.inject(Injection::Drift { parts_per_billion: i64::MAX });
/// assert!(matches!(fast, Err(InjectionError::Rate { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InjectionError {
    /// The wall would run backwards.
    #[error(
        "{injection:?} would make the wall clock run backwards; use `Injection::Step` to set it back"
    )]
    Backwards {
        /// What was asked for.
        injection: Injection,
    },
    /// A slew over no time, or over more than the clock's range.
    #[error("{injection:?}: a slew takes from 1 ns to 292 years")]
    Span {
        /// What was asked for.
        injection: Injection,
    },
    /// A drift outside of ±100,000 percent.
    #[error("{injection:?}: a drift is at most 1,000,000,000,000 parts per billion")]
    Rate {
        /// What was asked for.
        injection: Injection,
    },
}

/// The wall from one instant of the monotonic clock on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from_ns: u64,
    base_ns: i128,
    drift_ppb: i64,
    /// Moves by `slew_ns` over `slew_span_ns`; a span of zero means none.
    slew_ns: i64,
    slew_span_ns: u64,
}

const BILLION: i128 = 1_000_000_000;
const DRIFT_MAX_PPB: i64 = 1_000_000_000_000;

impl Segment {
    pub(crate) fn starting_at(wall: WallTime) -> Self {
        Segment {
            from_ns: 0,
            base_ns: wall.unix_nanos(),
            drift_ppb: 0,
            slew_ns: 0,
            slew_span_ns: 0,
        }
    }

    #[inline]
    pub(crate) fn wall_at(&self, mono_ns: u64) -> WallTime {
        let passed = mono_ns.saturating_sub(self.from_ns);
        let mut wall_ns = self.base_ns.saturating_add(i128::from(passed));
        if self.drift_ppb != 0 || self.slew_span_ns != 0 {
            wall_ns = wall_ns.saturating_add(self.extra_ns(passed));
        }
        WallTime::from_unix_nanos(wall_ns)
    }

    /// Wall minus monotonic time, if that stays the same and fits. A plain segment is never read
    /// before its beginning, since the monotonic clock does not go back.
    fn offset_ns(&self) -> Option<i64> {
        if self.drift_ppb != 0 || self.slew_span_ns != 0 {
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
        if self.drift_ppb == 0 && self.slew_span_ns == 0 {
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

    /// The segment that follows at `now_ns`, showing `wall` there.
    pub(crate) fn set(&self, now_ns: u64, wall: WallTime) -> Segment {
        Segment { from_ns: now_ns, base_ns: wall.unix_nanos(), ..*self }.without_slew()
    }

    pub(crate) fn stepped(&self, now_ns: u64, by: Shift) -> Segment {
        let base_ns = self.wall_at(now_ns).unix_nanos().saturating_add(by.nanos());
        // What is left of a slew goes on: a step comes on top of it.
        let left = self.slew_left(now_ns);
        Segment { from_ns: now_ns, base_ns, slew_ns: left.0, slew_span_ns: left.1, ..*self }
    }

    pub(crate) fn drifting(&self, now_ns: u64, drift_ppb: i64) -> Segment {
        let left = self.slew_left(now_ns);
        let base_ns = self.wall_at(now_ns).unix_nanos();
        Segment { from_ns: now_ns, base_ns, drift_ppb, slew_ns: left.0, slew_span_ns: left.1 }
    }

    pub(crate) fn slewing(&self, now_ns: u64, slew_ns: i64, slew_span_ns: u64) -> Segment {
        let base_ns = self.wall_at(now_ns).unix_nanos();
        Segment { from_ns: now_ns, base_ns, slew_ns, slew_span_ns, ..*self }
    }

    /// When the slew of this segment is over.
    pub(crate) fn slew_end_ns(&self) -> Option<u64> {
        (self.slew_span_ns != 0).then(|| self.from_ns.saturating_add(self.slew_span_ns))
    }

    pub(crate) fn check(&self, injection: Injection) -> Result<(), InjectionError> {
        match injection {
            Injection::Drift { parts_per_billion } => {
                if parts_per_billion > DRIFT_MAX_PPB {
                    return Err(InjectionError::Rate { injection });
                }
                if i128::from(parts_per_billion) < -BILLION {
                    return Err(InjectionError::Backwards { injection });
                }
            }
            Injection::Slew { by, over } => {
                let span = i128::try_from(over.as_nanos()).unwrap_or(i128::MAX);
                if span == 0 || span > i128::from(i64::MAX) || by.nanos() > i128::from(i64::MAX) {
                    return Err(InjectionError::Span { injection });
                }
                if by.nanos() < -span {
                    return Err(InjectionError::Backwards { injection });
                }
            }
            Injection::Set(_) | Injection::Step(_) | Injection::Zone { .. } => {}
        }
        Ok(())
    }

    fn without_slew(self) -> Segment {
        Segment { slew_ns: 0, slew_span_ns: 0, ..self }
    }

    fn slew_left(&self, now_ns: u64) -> (i64, u64) {
        let passed = now_ns.saturating_sub(self.from_ns);
        if passed >= self.slew_span_ns {
            return (0, 0);
        }
        let done = i128::from(passed) * i128::from(self.slew_ns) / i128::from(self.slew_span_ns);
        let left = i128::from(self.slew_ns) - done;
        (i64::try_from(left).unwrap_or(0), self.slew_span_ns - passed)
    }

    /// What drift and slew add after `passed_ns`. Together they never take away more than has
    /// passed, so that the wall does not run backwards.
    fn extra_ns(&self, passed_ns: u64) -> i128 {
        // With no slew, one of nothing.
        let span = self.slew_span_ns.max(1);
        let slewed_ns = i128::from(passed_ns.min(span)) * i128::from(self.slew_ns);
        let drifted_ns = i128::from(passed_ns) * i128::from(self.drift_ppb);
        let extra_ns = sum_towards_zero((drifted_ns, BILLION), (slewed_ns, i128::from(span)));
        extra_ns.max(-i128::from(passed_ns))
    }
}

/// The sum of two fractions with positive denominators, cut off only once: cut off one by one, two of
/// them can fall together by more than both do.
fn sum_towards_zero(a: (i128, i128), b: (i128, i128)) -> i128 {
    let whole = a.0.div_euclid(a.1) + b.0.div_euclid(b.1);
    let rest = a.0.rem_euclid(a.1) * b.1 + b.0.rem_euclid(b.1) * a.1;
    let floor = whole + rest / (a.1 * b.1);
    let is_cut = rest % (a.1 * b.1) != 0;
    if floor < 0 && is_cut { floor + 1 } else { floor }
}

/// A [`Segment`] that is read without a lock and written under one (a sequence lock).
pub(crate) struct WallCell {
    /// For the plain segments that most tests have, all of it in one word: wall minus monotonic
    /// time. [`NOT_PLAIN`](WallCell::NOT_PLAIN) for others.
    offset_ns: AtomicI64,
    /// Odd while a write is under way.
    sequence: AtomicU64,
    from_ns: AtomicU64,
    base_high: AtomicI64,
    base_low: AtomicU64,
    drift_ppb: AtomicI64,
    slew_ns: AtomicI64,
    slew_span_ns: AtomicU64,
}

impl WallCell {
    const NOT_PLAIN: i64 = i64::MIN;

    pub(crate) fn new(segment: Segment) -> Self {
        let cell = WallCell {
            offset_ns: AtomicI64::new(Self::NOT_PLAIN),
            sequence: AtomicU64::new(0),
            from_ns: AtomicU64::new(0),
            base_high: AtomicI64::new(0),
            base_low: AtomicU64::new(0),
            drift_ppb: AtomicI64::new(0),
            slew_ns: AtomicI64::new(0),
            slew_span_ns: AtomicU64::new(0),
        };
        cell.store(&segment);
        cell
    }

    /// Writers exclude each other by the timeline's lock.
    pub(crate) fn store(&self, segment: &Segment) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.from_ns.store(segment.from_ns, Ordering::Relaxed);
        self.base_high.store((segment.base_ns >> 64) as i64, Ordering::Relaxed);
        self.base_low.store(segment.base_ns as u64, Ordering::Relaxed);
        self.drift_ppb.store(segment.drift_ppb, Ordering::Relaxed);
        self.slew_ns.store(segment.slew_ns, Ordering::Relaxed);
        self.slew_span_ns.store(segment.slew_span_ns, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
        self.offset_ns.store(segment.offset_ns().unwrap_or(Self::NOT_PLAIN), Ordering::Release);
    }

    /// What the wall shows at the present of that monotonic clock.
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
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            // The segment first: it never begins after a later reading of the monotonic clock.
            let segment = self.load();
            let now_ns = mono_ns.load(Ordering::Acquire);
            // The same before and after, so it held at that monotonic instant.
            if self.sequence.load(Ordering::Relaxed) == before {
                return segment.wall_at(now_ns);
            }
        }
    }

    #[inline]
    pub(crate) fn load(&self) -> Segment {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let high = self.base_high.load(Ordering::Relaxed);
            let low = self.base_low.load(Ordering::Relaxed);
            let segment = Segment {
                from_ns: self.from_ns.load(Ordering::Relaxed),
                base_ns: (i128::from(high) << 64) | i128::from(low),
                drift_ppb: self.drift_ppb.load(Ordering::Relaxed),
                slew_ns: self.slew_ns.load(Ordering::Relaxed),
                slew_span_ns: self.slew_span_ns.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if before & 1 == 0 && self.sequence.load(Ordering::Relaxed) == before {
                return segment;
            }
            std::hint::spin_loop();
        }
    }
}

impl fmt::Debug for WallCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(ns: i128) -> WallTime {
        WallTime::from_unix_nanos(ns)
    }

    #[test]
    fn drift_and_slew_add_up_exactly() {
        let s = Segment::starting_at(wall(1000));
        assert_eq!(s.wall_at(50), wall(1050));
        let fast = s.drifting(100, 500_000_000);
        assert_eq!(fast.wall_at(100), wall(1100));
        assert_eq!(fast.wall_at(300), wall(1400));
        let slewed = fast.slewing(300, -100, 400);
        assert_eq!(slewed.wall_at(700), wall(1400 + 600 - 100));
        assert_eq!(slewed.wall_at(900), wall(1400 + 900 - 100), "a finished slew stays as it is");
        let stepped = slewed.stepped(500, Shift::Forward(Duration::from_nanos(7)));
        assert_eq!(stepped.wall_at(700).unix_nanos() - slewed.wall_at(700).unix_nanos(), 7);
    }

    #[test]
    fn mono_at_is_the_first_instant_that_shows_the_wall() {
        let plain = Segment::starting_at(wall(1000));
        let segments = [
            plain,
            plain.drifting(10, 250_000_000),
            plain.drifting(10, -999_000_000),
            plain.slewing(0, -500, 501),
            plain.drifting(3, 7).slewing(9, 300, 1000),
        ];
        for s in segments {
            for target in [1001, 1002, 1010, 1100, 1999, 5000] {
                let at = s.mono_at(wall(target), s.from_ns).unwrap();
                assert!(s.wall_at(at) >= wall(target), "{s:?} {target}");
                assert!(at == s.from_ns || s.wall_at(at - 1) < wall(target), "{s:?} {target}");
            }
        }
        assert_eq!(plain.mono_at(wall(0), 5), Some(5));
        assert_eq!(plain.drifting(0, -1_000_000_000).mono_at(wall(1001), 0), None);
        assert_eq!(plain.mono_at(wall(i128::MAX), 0), None);
    }

    #[test]
    fn extremes_saturate() {
        let end = Segment::starting_at(wall(i128::MAX - 5));
        assert_eq!(end.wall_at(u64::MAX), wall(i128::MAX));
        let start = Segment::starting_at(wall(i128::MIN));
        let back = start.stepped(0, Shift::Back(Duration::MAX));
        assert_eq!(back.wall_at(0), wall(i128::MIN));
    }

    #[test]
    fn the_cell_keeps_every_bit_and_never_tears() {
        let a = Segment::starting_at(wall(-1)).drifting(0, -3).slewing(5, -7, u64::MAX);
        let b = Segment::starting_at(wall(i128::MAX)).drifting(9, 4);
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
