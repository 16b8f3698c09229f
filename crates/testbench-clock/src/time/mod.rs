//! The two readings of a clock, as two types that never mix.

#[cfg(any(feature = "jiff", feature = "time", feature = "chrono"))]
mod convert;
mod rfc3339;

#[cfg(any(feature = "jiff", feature = "time", feature = "chrono"))]
pub use convert::OutOfRangeError;
pub use rfc3339::ParseWallTimeError;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOS_PER_SEC: i128 = 1_000_000_000;

/// A reading of the wall clock: signed nanoseconds since 1970-01-01T00:00:00Z, leap seconds not
/// counted (POSIX `CLOCK_REALTIME`).
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::WallTime;
///
/// let start = WallTime::from_unix_secs(946_684_800); // 2000-01-01T00:00:00Z
/// let later = start + Duration::from_micros(999);
/// assert_eq!(later.unix_nanos() - start.unix_nanos(), 999_000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime {
    unix_ns: i128,
}

impl WallTime {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: WallTime = WallTime { unix_ns: 0 };

    /// The instant that lies `unix_ns` nanoseconds after (before, if negative) 1970.
    #[inline]
    pub const fn from_unix_nanos(unix_ns: i128) -> Self {
        WallTime { unix_ns }
    }

    /// The instant that lies `unix_ms` milliseconds after (before, if negative) 1970.
    #[inline]
    pub const fn from_unix_millis(unix_ms: i64) -> Self {
        WallTime { unix_ns: unix_ms as i128 * 1_000_000 }
    }

    /// The instant that lies `unix_secs` seconds after (before, if negative) 1970.
    #[inline]
    pub const fn from_unix_secs(unix_secs: i64) -> Self {
        WallTime { unix_ns: unix_secs as i128 * NANOS_PER_SEC }
    }

    /// Nanoseconds since 1970; negative before it.
    #[inline]
    pub const fn unix_nanos(self) -> i128 {
        self.unix_ns
    }

    /// Whole milliseconds since 1970, rounded towards the past, saturating at the range of `i64`.
    #[inline]
    pub fn unix_millis(self) -> i64 {
        let ms = self.unix_ns.div_euclid(1_000_000);
        i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX })
    }

    /// The time from `earlier` to `self`, or `None` if `earlier` is later, or if the span exceeds
    /// a [`Duration`].
    #[inline]
    pub fn checked_duration_since(self, earlier: WallTime) -> Option<Duration> {
        nanos_to_duration(self.unix_ns.checked_sub(earlier.unix_ns)?)
    }

    /// `self` moved into the future, or `None` past the range of the type.
    #[inline]
    pub fn checked_add(self, d: Duration) -> Option<WallTime> {
        let unix_ns = self.unix_ns.checked_add(duration_to_nanos(d))?;
        Some(WallTime { unix_ns })
    }

    /// `self` moved into the past, or `None` past the range of the type.
    #[inline]
    pub fn checked_sub(self, d: Duration) -> Option<WallTime> {
        let unix_ns = self.unix_ns.checked_sub(duration_to_nanos(d))?;
        Some(WallTime { unix_ns })
    }

    /// The same instant as a [`SystemTime`], or `None` where the platform cannot represent it.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let magnitude = nanos_to_duration(self.unix_ns.checked_abs()?)?;
        if self.unix_ns < 0 {
            UNIX_EPOCH.checked_sub(magnitude)
        } else {
            UNIX_EPOCH.checked_add(magnitude)
        }
    }
}

impl From<SystemTime> for WallTime {
    #[inline]
    fn from(t: SystemTime) -> Self {
        match t.duration_since(UNIX_EPOCH) {
            Ok(after) => WallTime { unix_ns: duration_to_nanos(after) },
            Err(before) => WallTime { unix_ns: -duration_to_nanos(before.duration()) },
        }
    }
}

/// # Panics
///
/// Past the range of the type (more than 10^21 years); see [`WallTime::checked_add`].
impl Add<Duration> for WallTime {
    type Output = WallTime;
    fn add(self, d: Duration) -> WallTime {
        self.checked_add(d).expect("wall time past the range of i128 nanoseconds")
    }
}

/// # Panics
///
/// Past the range of the type (more than 10^21 years); see [`WallTime::checked_sub`].
impl Sub<Duration> for WallTime {
    type Output = WallTime;
    fn sub(self, d: Duration) -> WallTime {
        self.checked_sub(d).expect("wall time past the range of i128 nanoseconds")
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WallTime({self})")
    }
}

/// A reading of the monotonic clock: unsigned nanoseconds since the origin of its timeline
/// (POSIX `CLOCK_MONOTONIC`). It never goes back, and setting the wall clock does not move it.
///
/// The range is 584 years.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{MockClock, MonoTime, instant_now, sleep};
///
/// let _installed = MockClock::builder().build().install();
/// assert_eq!(instant_now(), MonoTime::ORIGIN);
/// sleep(Duration::from_micros(3));
/// assert_eq!(instant_now(), MonoTime::from_nanos(3_000));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime {
    since_origin_ns: u64,
}

impl MonoTime {
    /// The start of the timeline.
    pub const ORIGIN: MonoTime = MonoTime { since_origin_ns: 0 };
    /// The last instant of the range, 584 years after the origin.
    pub const MAX: MonoTime = MonoTime { since_origin_ns: u64::MAX };

    /// The instant that lies `since_origin_ns` nanoseconds after the origin.
    #[inline]
    pub const fn from_nanos(since_origin_ns: u64) -> Self {
        MonoTime { since_origin_ns }
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn nanos(self) -> u64 {
        self.since_origin_ns
    }

    /// The time since the origin of the timeline.
    #[inline]
    pub const fn since_origin(self) -> Duration {
        Duration::from_nanos(self.since_origin_ns)
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later, as in
    /// [`std::time::Instant::duration_since`].
    #[inline]
    pub const fn duration_since(self, earlier: MonoTime) -> Duration {
        Duration::from_nanos(self.since_origin_ns.saturating_sub(earlier.since_origin_ns))
    }

    /// `self` moved into the future, or `None` past the range of the type.
    #[inline]
    pub fn checked_add(self, d: Duration) -> Option<MonoTime> {
        // In 64 bits: this is on the path of every sleep, and of every real reading.
        let ns = d.as_secs().checked_mul(NANOS_PER_SEC as u64)?;
        let ns = ns.checked_add(u64::from(d.subsec_nanos()))?;
        Some(MonoTime { since_origin_ns: self.since_origin_ns.checked_add(ns)? })
    }

    /// `self` moved into the future, at most to [`MonoTime::MAX`].
    #[inline]
    pub fn saturating_add(self, d: Duration) -> MonoTime {
        self.checked_add(d).unwrap_or(MonoTime::MAX)
    }
}

impl fmt::Debug for MonoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MonoTime({}ns)", self.since_origin_ns)
    }
}

#[inline]
fn duration_to_nanos(d: Duration) -> i128 {
    // A `Duration` holds at most 2^64 seconds, so its nanoseconds fit easily.
    i128::from(d.as_secs()) * NANOS_PER_SEC + i128::from(d.subsec_nanos())
}

#[inline]
fn nanos_to_duration(ns: i128) -> Option<Duration> {
    let secs = u64::try_from(ns.div_euclid(NANOS_PER_SEC)).ok()?;
    let nanos = u32::try_from(ns.rem_euclid(NANOS_PER_SEC)).ok()?;
    Some(Duration::new(secs, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_converts_to_and_from_system_time() {
        for ns in [0, 1, -1, 999_000, -1_500_000_000, 946_684_800 * NANOS_PER_SEC] {
            let wall = WallTime::from_unix_nanos(ns);
            assert_eq!(WallTime::from(wall.to_system_time().unwrap()), wall);
        }
        assert_eq!(WallTime::from_unix_nanos(i128::MIN).to_system_time(), None);
    }

    #[test]
    fn millis_round_towards_the_past_and_saturate() {
        assert_eq!(WallTime::from_unix_nanos(-1).unix_millis(), -1);
        assert_eq!(WallTime::from_unix_nanos(1_999_999).unix_millis(), 1);
        assert_eq!(WallTime::from_unix_nanos(i128::MAX).unix_millis(), i64::MAX);
    }

    #[test]
    fn mono_is_checked_at_the_end_of_its_range() {
        let near = MonoTime::from_nanos(u64::MAX - 5);
        assert_eq!(near.checked_add(Duration::from_nanos(5)), Some(MonoTime::MAX));
        assert_eq!(near.checked_add(Duration::from_nanos(6)), None);
        assert_eq!(near.saturating_add(Duration::MAX), MonoTime::MAX);
        assert_eq!(MonoTime::ORIGIN.duration_since(near), Duration::ZERO);
    }
}
