//! Counting from inside of the C library's functions: no lock, no allocation.
//!
//! An interposed `clock_gettime` may run in a signal handler, while the same thread is inside of the
//! allocator. All it can do is to add to counters that exist already. So every session with a mock
//! clock has a [`Table`] of its own, which its threads find in a plain thread-local; names are put to
//! the addresses when an audit is asked for its leaks.

use crate::panics::locked;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How many return addresses of a call are kept, which is how many tell one call from another.
/// `Instant::elapsed` in a closure is four deep; the rest is for wrappers of wrappers.
pub const FRAMES_MAX: usize = 16;

/// A way to use real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// `std::time::Instant::now`, or what it calls.
    InstantNow,
    /// `std::time::SystemTime::now`, or what it calls.
    SystemTimeNow,
    /// `std::thread::sleep`, or what it calls.
    ThreadSleep,
    /// The session's own clock, after the session had ended.
    AfterTheEnd,
}

impl Source {
    pub(super) const ALL: [Source; 4] =
        [Source::InstantNow, Source::SystemTimeNow, Source::ThreadSleep, Source::AfterTheEnd];
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::InstantNow => "Instant::now",
            Source::SystemTimeNow => "SystemTime::now",
            Source::ThreadSleep => "thread::sleep",
            Source::AfterTheEnd => "the clock of an ended session",
        })
    }
}

/// The session of a thread, as an interposed clock function finds it.
#[derive(Clone, Copy, Default)]
pub(crate) enum Audited {
    /// No clock is installed.
    #[default]
    Nowhere,
    /// The clock is real, so that nothing leaks.
    Real,
    /// The clock is a mock; uses of real time are counted here.
    Mock(&'static Table),
}

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Whether there is an interposer.
#[inline]
pub(crate) fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

pub(super) fn set_enabled() {
    ENABLED.store(true, Ordering::Release);
}

/// A test with more places that read the real clock than this has no use for a list of them all;
/// what does not fit is still counted.
const SLOTS: usize = 256;
/// How far a full table is searched, so that counting takes a bounded time.
const PROBES_MAX: usize = 32;
const SOURCES: usize = 4;

/// Counters of one session.
pub(crate) struct Table {
    slots: [Slot; SLOTS],
    /// Uses for which no slot was free.
    others: [AtomicU64; SOURCES],
}

/// One way to call a clock function.
struct Slot {
    /// A hash of what follows; zero is a free slot.
    key: AtomicU64,
    count: AtomicU64,
    source: AtomicUsize,
    frames: [AtomicUsize; FRAMES_MAX],
    /// The fields above are all written.
    complete: AtomicBool,
}

/// The uses counted at one place.
pub(crate) struct Counted {
    pub(crate) source: Source,
    /// Return addresses, innermost first; none if there was no room for them.
    pub(crate) frames: Vec<usize>,
    pub(crate) count: u64,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Table {
            slots: [const { Slot::new() }; SLOTS],
            others: [const { AtomicU64::new(0) }; SOURCES],
        }
    }

    /// Safe in a signal handler, on any number of threads.
    pub(crate) fn count(&self, source: Source, frames: &[usize]) {
        let frames = &frames[..frames.len().min(FRAMES_MAX)];
        let key = hash(source, frames);
        let first = usize::try_from(key % SLOTS as u64).unwrap_or(0);
        for at in (0..PROBES_MAX).map(|probe| (first + probe) % SLOTS) {
            let slot = &self.slots[at];
            let found = match slot.key.load(Ordering::Relaxed) {
                0 => slot.key.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed),
                other => Err(other),
            };
            match found {
                Ok(_) => slot.fill(source, frames),
                // Another thread may have been faster with the same place.
                Err(theirs) if theirs == key => {}
                Err(_) => continue,
            }
            slot.count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.others[source as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what was counted so far.
    pub(crate) fn drain(&self) -> Vec<Counted> {
        let mut drained: Vec<Counted> = self.slots.iter().filter_map(Slot::take).collect();
        for source in Source::ALL {
            let count = self.others[source as usize].swap(0, Ordering::Relaxed);
            if count != 0 {
                drained.push(Counted { source, frames: Vec::new(), count });
            }
        }
        drained
    }

    /// Back to how it was made. Nobody counts meanwhile.
    fn clear(&self) {
        for slot in &self.slots {
            slot.complete.store(false, Ordering::Relaxed);
            slot.count.store(0, Ordering::Relaxed);
            slot.key.store(0, Ordering::Relaxed);
        }
        self.others.iter().for_each(|other| other.store(0, Ordering::Relaxed));
    }
}

impl Slot {
    const fn new() -> Self {
        Slot {
            key: AtomicU64::new(0),
            count: AtomicU64::new(0),
            source: AtomicUsize::new(0),
            frames: [const { AtomicUsize::new(0) }; FRAMES_MAX],
            complete: AtomicBool::new(false),
        }
    }

    fn fill(&self, source: Source, frames: &[usize]) {
        self.source.store(source as usize, Ordering::Relaxed);
        for (at, frame) in self.frames.iter().enumerate() {
            frame.store(frames.get(at).copied().unwrap_or(0), Ordering::Relaxed);
        }
        self.complete.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Counted> {
        // An incomplete slot is left for the next time.
        if !self.complete.load(Ordering::Acquire) {
            return None;
        }
        let count = self.count.swap(0, Ordering::Relaxed);
        let source = *Source::ALL.get(self.source.load(Ordering::Relaxed))?;
        let frames = self.frames.iter().map(|frame| frame.load(Ordering::Relaxed));
        let frames = frames.take_while(|frame| *frame != 0).collect();
        (count != 0).then_some(Counted { source, frames, count })
    }
}

/// Never zero.
fn hash(source: Source, frames: &[usize]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = source as u64 + 1;
    for frame in frames {
        hash = (hash.rotate_left(5) ^ *frame as u64).wrapping_mul(MULTIPLIER);
    }
    (hash ^ (hash >> 32)).max(1)
}

/// A table for as long as a session lasts. Tables are never freed, since a thread-local without a
/// destructor may point at them, but they are used again.
pub(crate) struct Lease(pub(super) &'static Table);

static FREE: Mutex<Vec<&'static Table>> = Mutex::new(Vec::new());
static LEASED: AtomicUsize = AtomicUsize::new(0);

impl Lease {
    pub(crate) fn take() -> Self {
        let free = locked(&FREE).pop();
        LEASED.fetch_add(1, Ordering::Relaxed);
        Lease(free.unwrap_or_else(|| Box::leak(Box::new(Table::new()))))
    }

    /// Whether any session with a mock clock exists in this process.
    pub(crate) fn any() -> bool {
        LEASED.load(Ordering::Relaxed) != 0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        LEASED.fetch_sub(1, Ordering::Relaxed);
        self.0.clear();
        locked(&FREE).push(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn drained(table: &Table) -> BTreeMap<(Source, Vec<usize>), u64> {
        table.drain().into_iter().map(|c| ((c.source, c.frames), c.count)).collect()
    }

    #[test]
    fn places_are_counted_apart_and_drained_once() {
        let table = Box::new(Table::new());
        for _ in 0..3 {
            table.count(Source::InstantNow, &[1, 2]);
        }
        table.count(Source::SystemTimeNow, &[1, 2]);
        table.count(Source::InstantNow, &[2, 1]);
        let expected = [
            ((Source::InstantNow, vec![1, 2]), 3),
            ((Source::InstantNow, vec![2, 1]), 1),
            ((Source::SystemTimeNow, vec![1, 2]), 1),
        ];
        assert_eq!(drained(&table), BTreeMap::from(expected));
        assert!(table.drain().is_empty());
        table.count(Source::InstantNow, &[2, 1]);
        assert_eq!(drained(&table).into_values().sum::<u64>(), 1);
    }

    #[test]
    fn what_does_not_fit_is_counted_without_its_place() {
        let table = Box::new(Table::new());
        for frame in 1..=10_000 {
            table.count(Source::ThreadSleep, &[frame]);
        }
        let all = drained(&table);
        assert_eq!(all.values().sum::<u64>(), 10_000);
        assert!(all[&(Source::ThreadSleep, vec![])] > 9_000);
        table.count(Source::ThreadSleep, &[1; 100]);
        assert_eq!(drained(&table).into_values().sum::<u64>(), 1, "deep stacks are cut");
    }

    #[test]
    fn threads_lose_no_count() {
        let table = Box::new(Table::new());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let table = &table;
                scope.spawn(move || {
                    for i in 0..10_000 {
                        table.count(Source::InstantNow, &[1 + (i + thread) % 50]);
                    }
                });
            }
        });
        let all = drained(&table);
        assert_eq!((all.len(), all.values().sum::<u64>()), (50, 40_000));
    }

    #[test]
    fn a_lease_begins_with_an_empty_table() {
        let lease = Lease::take();
        lease.0.count(Source::InstantNow, &[7]);
        drop(lease);
        for lease in [Lease::take(), Lease::take()] {
            assert!(lease.0.drain().is_empty());
        }
    }
}
