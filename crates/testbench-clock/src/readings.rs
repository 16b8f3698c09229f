//! The numbers in std's readings, without arithmetic on them.
//!
//! `Instant` and `SystemTime` give away their numbers only as differences, and each difference is a
//! call into std that takes 4 to 12 ns, where the reading itself takes 28. But they can be hashed,
//! inline, and what they hand to the hasher are those numbers: seconds and nanoseconds.
//!
//! Nobody promises that. So it is tried once per process on values whose numbers are known, and
//! where it turns out otherwise (Windows counts differently), differences are taken.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Nanoseconds from the first use in this process to what `read` reads.
#[inline]
pub(crate) fn since_first_use(read: fn() -> Instant) -> u64 {
    let origin_ns = ORIGIN_NS.load(Ordering::Relaxed);
    if !is_number(origin_ns) {
        return carefully_since_first_use(read);
    }
    since_number(&read(), origin_ns)
}

/// Nanoseconds from 1970 to `time`; negative before.
#[inline]
pub(crate) fn since_1970(time: SystemTime, read: fn() -> Instant) -> i128 {
    if !is_number(ORIGIN_NS.load(Ordering::Relaxed)) {
        return carefully_since_1970(time, read);
    }
    let numbers = Numbers::of(&time);
    // One multiplication of 64 bits, whose product has 128.
    i128::from(numbers.secs) * i128::from(NANOS_PER_SEC) + i128::from(numbers.subsec_nanos)
}

/// The origin is read before the instant, so that no reading lies before it.
#[cold]
fn carefully_since_first_use(read: fn() -> Instant) -> u64 {
    let (origin_ns, origin) = find_origin(read);
    let instant = read();
    if is_number(origin_ns) {
        since_number(&instant, origin_ns)
    } else {
        by_difference(instant, origin)
    }
}

#[cold]
fn carefully_since_1970(time: SystemTime, read: fn() -> Instant) -> i128 {
    // The next call finds it.
    find_origin(read);
    crate::WallTime::from(time).unix_nanos()
}

#[inline]
fn since_number(instant: &Instant, origin_ns: u64) -> u64 {
    let since = Numbers::of(instant).nanos().wrapping_sub(origin_ns);
    // A clock that goes back, as std saw on some machines, stands still instead.
    since.cast_signed().max(0).cast_unsigned()
}

/// Whether it is neither [`UNKNOWN`] nor [`NO_NUMBERS`], in one comparison.
#[inline]
fn is_number(origin_ns: u64) -> bool {
    origin_ns.wrapping_add(1) > 1
}

/// The origin's number, or one of the two values below, which no origin has.
static ORIGIN_NS: AtomicU64 = AtomicU64::new(UNKNOWN);
const UNKNOWN: u64 = 0;
const NO_NUMBERS: u64 = u64::MAX;

#[cold]
fn find_origin(read: fn() -> Instant) -> (u64, Instant) {
    static ORIGIN: OnceLock<(u64, Instant)> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(|| {
        let now = read();
        let number = Numbers::of(&now).nanos().clamp(UNKNOWN + 1, NO_NUMBERS - 1);
        (if numbers_are_there(now) { number } else { NO_NUMBERS }, now)
    });
    ORIGIN_NS.store(origin.0, Ordering::Relaxed);
    origin
}

fn by_difference(instant: Instant, origin: Instant) -> u64 {
    let since = instant.saturating_duration_since(origin);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What a reading hands to a hasher.
#[derive(Debug, Default, PartialEq, Eq)]
struct Numbers {
    secs: i64,
    subsec_nanos: u32,
    /// How many numbers of the two kinds there were, and how many of others.
    counts: [u8; 3],
}

impl Numbers {
    #[inline]
    fn of(reading: &impl Hash) -> Self {
        let mut numbers = Numbers::default();
        reading.hash(&mut numbers);
        numbers
    }

    #[inline]
    fn nanos(&self) -> u64 {
        // Modulo 2^64, which differences do not notice.
        let secs = self.secs.cast_unsigned();
        secs.wrapping_mul(NANOS_PER_SEC).wrapping_add(u64::from(self.subsec_nanos))
    }
}

impl Hasher for Numbers {
    #[inline]
    fn write(&mut self, _: &[u8]) {
        self.counts[2] = 1;
    }

    #[inline]
    fn write_i64(&mut self, secs: i64) {
        self.secs = secs;
        self.counts[0] = self.counts[0].saturating_add(1);
    }

    #[inline]
    fn write_u32(&mut self, subsec_nanos: u32) {
        self.subsec_nanos = subsec_nanos;
        self.counts[1] = self.counts[1].saturating_add(1);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// Whether hashing gives away the numbers, tried on values whose numbers are known.
fn numbers_are_there(now: Instant) -> bool {
    let wall = |time: SystemTime, secs, subsec_nanos| {
        Numbers::of(&time) == Numbers { secs, subsec_nanos, counts: [1, 1, 0] }
    };
    let after = |secs, nanos| UNIX_EPOCH + Duration::new(secs, nanos);
    let mono = |ahead: Duration| {
        let (now, then) = (Numbers::of(&now), Numbers::of(&(now + ahead)));
        let passed = u128::from(then.nanos().wrapping_sub(now.nanos()));
        now.counts == [1, 1, 0] && then.counts == [1, 1, 0] && passed == ahead.as_nanos()
    };
    wall(UNIX_EPOCH, 0, 0)
        && wall(after(1, 2), 1, 2)
        && wall(after(946_684_800, 999_999_999), 946_684_800, 999_999_999)
        && wall(UNIX_EPOCH - Duration::from_nanos(1), -1, 999_999_999)
        && [1, 999_999_999, 1_000_000_000, 86_400_000_000_007]
            .into_iter()
            .all(|ns| mono(Duration::from_nanos(ns)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{WallTime, system};

    #[test]
    fn numbers_and_differences_agree() {
        let (_, origin) = find_origin(system::instant);
        let before = by_difference(system::instant(), origin);
        let between = since_first_use(system::instant);
        let after = by_difference(system::instant(), origin);
        assert!(before <= between && between <= after, "{before} {between} {after}");
        for ns in [0, 1, -1, 1_500_000_000, -1_500_000_000, 946_684_800_000_000_001] {
            let time = WallTime::from_unix_nanos(ns).to_system_time().unwrap();
            assert_eq!(since_1970(time, system::instant), ns);
        }
    }

    /// If a new std hides the numbers, readings become slower and nothing else; this tells.
    #[test]
    #[cfg(target_os = "linux")]
    fn std_gives_the_numbers_away_here() {
        assert!(numbers_are_there(system::instant()));
        assert_ne!(find_origin(system::instant).0, NO_NUMBERS);
    }

    #[test]
    fn the_two_values_that_are_no_numbers() {
        assert!(!is_number(UNKNOWN) && !is_number(NO_NUMBERS));
        assert!(is_number(UNKNOWN + 1) && is_number(NO_NUMBERS - 1));
    }

    #[test]
    fn a_type_that_hashes_otherwise_is_noticed() {
        assert_eq!(Numbers::of(&(7_i64, 3_u32)).counts, [1, 1, 0]);
        for other in [Numbers::of(&7_u64), Numbers::of(&(1_i64, 2_i64)), Numbers::of(&"text")] {
            assert_ne!(other.counts, [1, 1, 0]);
        }
    }
}
