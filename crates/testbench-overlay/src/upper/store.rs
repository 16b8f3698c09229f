//! Where chunks are kept: on the heap, in large pages, and beyond a budget in a file without a name.
//!
//! Bytes in small pages all over the memory are slow: the system hands each page out by itself, filled
//! with zeros, and each costs the processor a walk of the page table. So whole chunks go to *arenas*,
//! each of which one large page can hold. Where the system has no such pages, arenas are memory like
//! any other. An overlay that holds less than one arena uses the heap.
//!
//! Arenas and the file consist of [`Slot`]s of one chunk each. A slot that is given back is the next to
//! be taken. Arenas stay until the store drops: a session that has held that much at once may do so
//! again, and new pages are expensive.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use memmap2::MmapMut;

use crate::Errno;
use crate::upper::chunk::CHUNK_BYTES;
use crate::vfs::Result;

/// 1 GiB of changed bytes stays in memory; more than most machines can spare for long, less than
/// they have.
pub(crate) const MEMORY_MAX: u64 = 1 << 30;

/// A large page of the machines that are in use.
pub(crate) const ARENA_BYTES: usize = 2 << 20;

const SLOT_BYTES: usize = CHUNK_BYTES as usize;

/// Keeps the chunks of an overlay and its forks within a budget of memory.
#[derive(Debug)]
pub(crate) struct Store {
    memory_max: u64,
    /// On the heap and in arenas, used or not.
    held_bytes: AtomicU64,
    free: Mutex<Free>,
    /// Where the file is made; `None` is the system's directory for temporary files.
    dir: Option<PathBuf>,
    file: OnceLock<File>,
}

/// Slots that no chunk has.
#[derive(Debug, Default)]
struct Free {
    memory: Vec<Slot>,
    file: Vec<Slot>,
    /// How many slots the file has, free ones included.
    file_slots: u64,
}

/// The place of one chunk.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Memory(Arc<Arena>, usize),
    File(u64),
}

impl Store {
    pub(crate) fn new(memory_max: u64, dir: Option<PathBuf>) -> Arc<Store> {
        let (held_bytes, free, file) = Default::default();
        Arc::new(Store { memory_max, held_bytes, free, dir, file })
    }

    /// How many bytes of memory are taken.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Whether so many bytes more are within the budget.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.held_bytes().saturating_add(bytes) <= self.memory_max
    }

    /// Notes that a run takes `after` bytes of the heap and no longer `before`.
    pub(crate) fn recount(&self, before: u64, after: u64) {
        // Adding a difference that wraps is subtracting.
        self.held_bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// A slot in memory, for a chunk that fills it; `None` if the heap is the better place. With little
    /// in memory it is: a large page would be mostly empty.
    pub(crate) fn slot_for_whole(&self) -> Option<Slot> {
        if self.held_bytes() < ARENA_BYTES as u64 {
            return None;
        }
        let mut free = self.free();
        if free.memory.is_empty() && self.has_room(ARENA_BYTES as u64) {
            let arena = Arena::map()?;
            self.recount(0, ARENA_BYTES as u64);
            let slots = (0..ARENA_BYTES / SLOT_BYTES).rev();
            free.memory.extend(slots.map(|index| Slot::Memory(arena.clone(), index)));
        }
        free.memory.pop()
    }

    /// A slot for a chunk for which the heap has no room: in memory if there is a free one, else in the
    /// file.
    pub(crate) fn slot(&self) -> Slot {
        let mut free = self.free();
        if let Some(slot) = free.memory.pop().or_else(|| free.file.pop()) {
            return slot;
        }
        free.file_slots += 1;
        Slot::File(free.file_slots - 1)
    }

    pub(crate) fn give_back(&self, slot: &Slot) {
        let mut free = self.free();
        match slot {
            Slot::Memory(..) => free.memory.push(slot.clone()),
            Slot::File(_) => free.file.push(slot.clone()),
        }
    }

    /// Fills `buf` with the bytes at `within`, which were written.
    pub(crate) fn read(&self, slot: &Slot, within: usize, buf: &mut [u8]) -> Result<()> {
        match slot {
            Slot::Memory(arena, index) => {
                arena.read(index * SLOT_BYTES + within, buf);
                Ok(())
            }
            Slot::File(index) => {
                let file = self.file.get().ok_or(Errno::Io)?;
                Ok(file.read_exact_at(buf, index * CHUNK_BYTES + within as u64)?)
            }
        }
    }

    /// Writes at `within`.
    ///
    /// # Errors
    ///
    /// Only for slots in the file; [`Errno::Nospc`] if that cannot grow.
    pub(crate) fn write(&self, slot: &Slot, within: usize, part: &[u8]) -> Result<()> {
        assert!(within + part.len() <= SLOT_BYTES, "the next slot is another chunk's");
        let index = match slot {
            Slot::Memory(arena, index) => {
                arena.write(index * SLOT_BYTES + within, part);
                return Ok(());
            }
            Slot::File(index) => index,
        };
        let at = index * CHUNK_BYTES + within as u64;
        let written = self.file().and_then(|file| file.write_all_at(part, at));
        written.map_err(|error| match Errno::from(error) {
            // Each of them keeps the file from growing: there is no more room.
            Errno::Dquot | Errno::Fbig | Errno::Nospc => Errno::Nospc,
            other => other,
        })
    }

    fn file(&self) -> io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = match &self.dir {
            Some(dir) => tempfile::tempfile_in(dir)?,
            None => tempfile::tempfile()?,
        };
        Ok(self.file.get_or_init(|| file))
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some memory, in slots of one chunk each.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Each slot has one user, but Rust cannot know that: short copies take turns.
    memory: RwLock<MmapMut>,
    /// Where the first slot starts, so that slots lie in one large page.
    start: usize,
}

impl Arena {
    /// `None` if the system has no memory to map.
    fn map() -> Option<Arc<Arena>> {
        // Twice as much, of which only what is used takes memory: somewhere in it a page starts.
        let memory = MmapMut::map_anon(2 * ARENA_BYTES).ok()?;
        #[cfg(target_os = "linux")]
        // A kernel without large pages says so, and works as well.
        let _ = memory.advise(memmap2::Advice::HugePage);
        let start = memory.as_ptr().align_offset(ARENA_BYTES).min(ARENA_BYTES);
        Some(Arc::new(Arena { memory: RwLock::new(memory), start }))
    }

    fn read(&self, at: usize, buf: &mut [u8]) {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        buf.copy_from_slice(&memory[self.start + at..][..buf.len()]);
    }

    fn write(&self, at: usize, part: &[u8]) {
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        memory[self.start + at..][..part.len()].copy_from_slice(part);
    }
}

#[cfg(test)]
impl Store {
    pub(crate) fn use_file(&self, file: File) {
        self.file.set(file).unwrap();
    }

    /// Whether no chunk has a slot.
    pub(crate) fn has_all_slots(&self) -> bool {
        let free = self.free();
        let per_arena = ARENA_BYTES / SLOT_BYTES;
        free.file.len() as u64 == free.file_slots && free.memory.len().is_multiple_of(per_arena)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(store: &Store, byte: u8) -> Slot {
        let slot = store.slot_for_whole().unwrap();
        store.write(&slot, 0, &[byte; SLOT_BYTES]).unwrap();
        slot
    }

    fn bytes(store: &Store, slot: &Slot) -> Vec<u8> {
        let mut bytes = vec![0; SLOT_BYTES];
        store.read(slot, 0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn slots_do_not_overlap_and_are_used_again() {
        let store = Store::new(u64::MAX, None);
        assert!(store.slot_for_whole().is_none(), "the heap will do");
        store.recount(0, ARENA_BYTES as u64);
        let mut slots: Vec<Slot> = (0..100).map(|n| filled(&store, n)).collect();
        store.write(&slots[50], SLOT_BYTES - 2, &[250, 251]).unwrap();
        for (n, slot) in slots.iter().enumerate().filter(|(n, _)| *n != 50) {
            assert_eq!(bytes(&store, slot), [n as u8; SLOT_BYTES], "slot {n}");
        }
        assert_eq!(bytes(&store, &slots[50])[SLOT_BYTES - 3..], [50, 250, 251]);

        let arenas = 100_u64.div_ceil(32);
        assert_eq!(store.held_bytes(), (1 + arenas) * ARENA_BYTES as u64);
        slots.drain(40..).for_each(|slot| store.give_back(&slot));
        slots.extend((100..160).map(|n| filled(&store, n)));
        assert_eq!(store.held_bytes(), (1 + arenas) * ARENA_BYTES as u64);
        assert_eq!(bytes(&store, &slots[39]), [39; SLOT_BYTES]);
    }

    #[test]
    #[should_panic(expected = "another chunk's")]
    fn a_write_beyond_the_slot_is_not_done() {
        let store = Store::new(u64::MAX, None);
        store.write(&store.slot(), SLOT_BYTES - 1, b"ab").unwrap();
    }
}
