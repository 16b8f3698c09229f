//! Memory for whole chunks, in pages that are as large as the system has them.
//!
//! Bytes that are read from small pages all over the memory cost a walk of the page table for each of
//! them, which a kernel that reads from its page cache does not pay: it made reading a large changed
//! file slower than reading a real one. So whole chunks go into [`Arena`]s, each of which one large
//! page can hold. Where the system has no such pages, they are memory like any other.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use memmap2::MmapMut;

use crate::upper::chunk::CHUNK_BYTES;

/// A large page of the machines that are in use.
pub(crate) const ARENA_BYTES: usize = 2 << 20;

const SLOT_BYTES: usize = CHUNK_BYTES as usize;

/// All slots of an arena, as bits.
const ALL_SLOTS: u32 = u32::MAX;

const _: () = assert!(ARENA_BYTES / SLOT_BYTES == ALL_SLOTS.count_ones() as usize);

/// The arenas of one store. They grow with what is held at the same time. Those that nobody uses are
/// kept for what comes next, as far as [`Arenas::keep_unused`] lets them.
#[derive(Debug, Default)]
pub(crate) struct Arenas {
    arenas: Mutex<Vec<Arc<Arena>>>,
    /// How many of them nobody has a slot of.
    unused: Arc<AtomicI64>,
}

/// Some memory, in slots of one chunk each.
#[derive(Debug)]
struct Arena {
    /// Nobody has two ways to the same slot, but Rust cannot know that: short copies take turns.
    memory: RwLock<MmapMut>,
    /// Where the first slot starts, so that slots lie in one large page.
    start: usize,
    /// A bit for each slot that nobody has.
    free: AtomicU32,
    /// That of the [`Arenas`].
    unused: Arc<AtomicI64>,
}

/// The place of one whole chunk, which is free again when this drops.
#[derive(Debug)]
pub(crate) struct Slot {
    arena: Arc<Arena>,
    index: usize,
}

impl Arenas {
    /// A slot with `bytes` in it, which are a whole chunk; `None` if the system has no memory to
    /// map.
    pub(crate) fn place(&self, bytes: &[u8]) -> Option<Slot> {
        let slot = self.take()?;
        slot.write(0, bytes);
        Some(slot)
    }

    /// How many bytes are mapped, in use or not.
    #[cfg(test)]
    pub(crate) fn mapped_bytes(&self) -> u64 {
        (self.arenas.lock().unwrap().len() * ARENA_BYTES) as u64
    }

    /// Gives back arenas of which nobody has a slot, until those that are left take `bytes_max`
    /// at most.
    pub(crate) fn keep_unused(&self, bytes_max: u64) {
        if self.unused_bytes() <= bytes_max {
            return;
        }
        let mut given_back = Vec::new();
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        arenas.retain(|arena| {
            // Who has a slot could give it back meanwhile, but nobody can take one.
            if self.unused_bytes() <= bytes_max || !arena.is_unused() {
                return true;
            }
            self.unused.fetch_sub(1, Ordering::Relaxed);
            given_back.push(arena.clone());
            false
        });
        drop(arenas);
        // Without the lock: unmapping takes its time.
        drop(given_back);
    }

    /// How many bytes are in arenas of which nobody has a slot.
    fn unused_bytes(&self) -> u64 {
        // An arena may be taken before it has been counted.
        self.unused.load(Ordering::Relaxed).max(0) as u64 * ARENA_BYTES as u64
    }

    fn take(&self) -> Option<Slot> {
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        // What was freed last is where the processor has been last.
        if let Some(slot) = arenas.iter().rev().find_map(Arena::take) {
            return Some(slot);
        }
        let arena = Arena::map(&self.unused)?;
        self.unused.fetch_add(1, Ordering::Relaxed);
        arenas.push(arena.clone());
        Arena::take(&arena)
    }
}

impl Arena {
    fn map(unused: &Arc<AtomicI64>) -> Option<Arc<Arena>> {
        // Twice as much, of which only what is used takes memory: somewhere in it a page starts.
        let memory = MmapMut::map_anon(2 * ARENA_BYTES).ok()?;
        #[cfg(target_os = "linux")]
        // A kernel without large pages says so, and works as well.
        let _ = memory.advise(memmap2::Advice::HugePage);
        let start = memory.as_ptr().align_offset(ARENA_BYTES).min(ARENA_BYTES);
        let free = AtomicU32::new(ALL_SLOTS);
        let (memory, unused) = (RwLock::new(memory), unused.clone());
        Some(Arc::new(Arena { memory, start, free, unused }))
    }

    fn take(arena: &Arc<Arena>) -> Option<Slot> {
        // Under the lock of the arenas, so that nobody else takes: others only give back.
        let index = arena.free.load(Ordering::Acquire).trailing_zeros();
        if index == ALL_SLOTS.count_ones() {
            return None;
        }
        if arena.free.fetch_and(!(1 << index), Ordering::Relaxed) == ALL_SLOTS {
            arena.unused.fetch_sub(1, Ordering::Relaxed);
        }
        Some(Slot { arena: arena.clone(), index: index as usize })
    }

    fn is_unused(&self) -> bool {
        self.free.load(Ordering::Acquire) == ALL_SLOTS
    }
}

impl Slot {
    fn at(&self, within: usize) -> usize {
        self.arena.start + self.index * SLOT_BYTES + within
    }

    /// Fills `buf` with what is at `within`; both lie in one chunk.
    pub(crate) fn read(&self, buf: &mut [u8], within: usize) {
        let memory = self.arena.memory.read().unwrap_or_else(PoisonError::into_inner);
        buf.copy_from_slice(&memory[self.at(within)..][..buf.len()]);
    }

    /// Writes `part` at `within`; both lie in one chunk.
    pub(crate) fn write(&self, within: usize, part: &[u8]) {
        assert!(within + part.len() <= SLOT_BYTES, "the next slot is somebody else's");
        let mut memory = self.arena.memory.write().unwrap_or_else(PoisonError::into_inner);
        memory[self.at(within)..][..part.len()].copy_from_slice(part);
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let memory = self.arena.memory.read().unwrap_or_else(PoisonError::into_inner);
        memory[self.at(0)..][..SLOT_BYTES].to_vec()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let bit = 1 << self.index;
        if self.arena.free.fetch_or(bit, Ordering::Release) | bit == ALL_SLOTS {
            self.arena.unused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(arenas: &Arenas, byte: u8) -> Slot {
        arenas.place(&[byte; SLOT_BYTES]).unwrap()
    }

    #[test]
    fn slots_do_not_overlap_and_are_used_again() {
        let arenas = Arenas::default();
        let mut slots: Vec<Slot> = (0..100).map(|n| filled(&arenas, n)).collect();
        slots[50].write(SLOT_BYTES - 2, &[250, 251]);
        for (n, slot) in slots.iter().enumerate().filter(|(n, _)| *n != 50) {
            assert_eq!(slot.to_vec(), [n as u8; SLOT_BYTES], "slot {n}");
        }
        let mut end = [0; 3];
        slots[50].read(&mut end, SLOT_BYTES - 3);
        assert_eq!(end, [50, 250, 251]);

        slots.truncate(40);
        slots.extend((100..160).map(|n| filled(&arenas, n)));
        assert_eq!(arenas.arenas.lock().unwrap().len(), 100_usize.div_ceil(32));
        assert_eq!(slots[39].to_vec(), [39; SLOT_BYTES]);
    }

    #[test]
    fn memory_that_nobody_uses_goes_back_as_far_as_it_must() {
        let arenas = Arenas::default();
        let mut slots: Vec<Slot> = (0..5 * 32).map(|n| filled(&arenas, n)).collect();
        slots.drain(..4 * 32);
        slots.truncate(1);
        let unused = 4 * ARENA_BYTES as u64;
        arenas.keep_unused(unused);
        assert_eq!(arenas.mapped_bytes(), 5 * ARENA_BYTES as u64);
        arenas.keep_unused(unused - 1);
        assert_eq!(arenas.mapped_bytes(), 4 * ARENA_BYTES as u64);
        arenas.keep_unused(0);
        assert_eq!(arenas.mapped_bytes(), ARENA_BYTES as u64);
        assert_eq!(slots[0].to_vec(), [4 * 32; SLOT_BYTES]);

        let gone = Arc::downgrade(&slots[0].arena);
        slots.clear();
        assert_eq!(arenas.unused_bytes(), ARENA_BYTES as u64);
        slots.push(filled(&arenas, 1));
        assert_eq!(arenas.unused_bytes(), 0);
        slots.clear();
        arenas.keep_unused(0);
        assert_eq!((arenas.unused_bytes(), gone.strong_count()), (0, 0));
        filled(&arenas, 2);
    }

    #[test]
    #[should_panic(expected = "somebody else's")]
    fn a_write_beyond_the_slot_is_not_done() {
        filled(&Arenas::default(), 0).write(SLOT_BYTES - 1, b"ab");
    }
}
