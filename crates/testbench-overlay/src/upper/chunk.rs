//! Where changed bytes are kept: chunks in memory, and beyond a budget in a file without a name.
//!
//! A [`Chunk`] is shared by all states of an overlay that hold the same bytes (checkpoints, forks,
//! readers on their way), and so is the place where its bytes are: when they go to the file, they
//! go there for all of them, and no state is any the wiser. Which ones go is decided by the clock
//! algorithm: those that were not touched since the hand came by last.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak};

use crate::Errno;
use crate::upper::arena::{ARENA_BYTES, Arenas, Slot};

/// The unit of copying. Large enough that bookkeeping is small beside the bytes, small enough that
/// a write of one byte stays cheap.
pub(crate) const CHUNK_BYTES: u64 = 64 * 1024;

/// The unit in which what is held is counted: a page, as memory and disks do.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// 1 GiB of changed bytes stays in memory; more than most machines can spare for long, less than
/// they have.
pub(crate) const MEMORY_MAX: u64 = 1 << 30;

/// How many bytes count for `len` bytes held.
pub(crate) fn in_blocks(len: u64) -> u64 {
    len.next_multiple_of(BLOCK_BYTES)
}

/// Some of the [`CHUNK_BYTES`] bytes of one chunk of a file. Those before and behind are zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Run {
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }

    fn read(&self, buf: &mut [u8], within: usize) {
        let held = held(buf.len(), within, self.start, self.end());
        let from = within + held.start;
        buf[..held.start].fill(0);
        buf[held.end..].fill(0);
        if !held.is_empty() {
            let bytes = &self.bytes[from - self.start..][..held.len()];
            buf[held].copy_from_slice(bytes);
        }
    }

    /// Makes it cover `from..to`, too.
    fn cover(&mut self, from: usize, to: usize) {
        if self.bytes.is_empty() {
            self.start = from;
        }
        if from < self.start {
            let gap = self.start - from;
            self.bytes.splice(0..0, std::iter::repeat_n(0, gap));
            self.start = from;
        }
        if to > self.end() {
            self.bytes.resize(to - self.start, 0);
        }
    }

    pub(crate) fn write(&mut self, within: usize, part: &[u8]) {
        if self.bytes.is_empty() {
            self.start = within;
        }
        if within == self.end() {
            // The common case of writing one piece after the other: room grows by doubling, but
            // not beyond the chunk.
            let (len, room) = (self.bytes.len() + part.len(), self.bytes.capacity());
            if len > room {
                let whole = CHUNK_BYTES as usize - self.start;
                let wanted = (2 * room).clamp(len, whole.max(len));
                self.bytes.reserve_exact(wanted - self.bytes.len());
            }
            self.bytes.extend_from_slice(part);
            return;
        }
        self.cover(within, within + part.len());
        let at = within - self.start;
        self.bytes[at..at + part.len()].copy_from_slice(part);
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len.saturating_sub(self.start));
        self.bytes.shrink_to_fit();
    }

    fn is_whole(&self) -> bool {
        self.start == 0 && self.bytes.len() as u64 == CHUNK_BYTES
    }
}

/// Which part of `len` bytes at `within` lies in `start..end`.
fn held(len: usize, within: usize, start: usize, end: usize) -> Range<usize> {
    let from = start.saturating_sub(within).min(len);
    from..end.saturating_sub(within).clamp(from, len)
}

/// One chunk of some file, wherever its bytes are.
#[derive(Debug)]
pub(crate) struct Chunk {
    store: Arc<Store>,
    place: RwLock<Place>,
    /// Touched since the hand came by last.
    recent: AtomicBool,
}

#[derive(Debug)]
enum Place {
    Memory(Run),
    /// All of the chunk, in an arena.
    Whole(Slot),
    /// At the slot with this number.
    Disk {
        slot: u64,
        start: usize,
        len: usize,
    },
}

impl Place {
    /// What it takes of the memory.
    fn memory_bytes(&self) -> u64 {
        match self {
            Place::Memory(run) => run.bytes.capacity() as u64,
            Place::Whole(_) => CHUNK_BYTES,
            Place::Disk { .. } => 0,
        }
    }
}

impl Chunk {
    /// # Errors
    ///
    /// [`Errno::Nospc`] if memory is used up and nothing more can be moved out of it.
    pub(crate) fn new(store: &Arc<Store>, run: Run) -> Result<Arc<Chunk>, Errno> {
        store.make_room(run.bytes.capacity() as u64)?;
        let place = store.settle(run);
        store.recount(0, place.memory_bytes());
        let place = RwLock::new(place);
        let chunk = Chunk { store: store.clone(), place, recent: AtomicBool::new(true) };
        let chunk = Arc::new(chunk);
        store.enqueue(&chunk);
        Ok(chunk)
    }

    /// The part of the chunk that is held: where it starts, and its length.
    pub(crate) fn extent(&self) -> (usize, usize) {
        match &*self.place() {
            Place::Memory(run) => (run.start, run.bytes.len()),
            Place::Whole(_) => (0, CHUNK_BYTES as usize),
            Place::Disk { start, len, .. } => (*start, *len),
        }
    }

    /// Fills `buf` with what is at `within`.
    pub(crate) fn read(&self, buf: &mut [u8], within: usize) -> Result<(), Errno> {
        self.touch();
        match &*self.place() {
            Place::Memory(run) => run.read(buf, within),
            Place::Whole(slot) => slot.read(buf, within),
            Place::Disk { slot, start, len } => {
                let held = held(buf.len(), within, *start, start + len);
                buf[..held.start].fill(0);
                buf[held.end..].fill(0);
                if !held.is_empty() {
                    let at = slot * CHUNK_BYTES + (within + held.start - start) as u64;
                    self.store.read(&mut buf[held], at)?;
                }
            }
        }
        Ok(())
    }

    /// Writes; the chunk becomes another one if somebody else holds this one, too.
    pub(crate) fn write(self: &mut Arc<Self>, within: usize, part: &[u8]) -> Result<(), Errno> {
        if self.is_unshared() && self.write_in_arena(within, part) {
            return Ok(());
        }
        self.change(part.len(), |run| run.write(within, part))
    }

    /// Cuts off what lies behind `len`.
    pub(crate) fn truncate(self: &mut Arc<Self>, len: usize) -> Result<(), Errno> {
        self.change(0, |run| run.truncate(len))
    }

    fn change(
        self: &mut Arc<Self>,
        more: usize,
        change: impl FnOnce(&mut Run),
    ) -> Result<(), Errno> {
        let in_place = self.is_unshared() && matches!(&*self.place(), Place::Memory(_));
        if in_place {
            self.touch();
            self.store.make_room(more as u64)?;
            let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
            // Making room may have moved this very chunk.
            if let Place::Memory(run) = &mut *place {
                let before = run.bytes.capacity() as u64;
                change(run);
                let run = std::mem::take(run);
                *place = self.store.settle(run);
                self.store.recount(before, place.memory_bytes());
                return Ok(());
            }
        }
        let mut run = self.load()?;
        change(&mut run);
        *self = Chunk::new(&self.store, run)?;
        Ok(())
    }

    /// Writes if the chunk is whole and in an arena, where nothing has to grow.
    fn write_in_arena(&self, within: usize, part: &[u8]) -> bool {
        let place = self.place();
        let Place::Whole(slot) = &*place else { return false };
        self.touch();
        slot.write(within, part);
        true
    }

    /// Nobody can come to hold it meanwhile: who could clone it needs what it is borrowed from.
    fn is_unshared(self: &mut Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }

    fn touch(&self) {
        self.recent.store(true, Ordering::Relaxed);
    }

    fn place(&self) -> RwLockReadGuard<'_, Place> {
        self.place.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self) -> Result<Run, Errno> {
        match &*self.place() {
            Place::Memory(run) => Ok(run.clone()),
            Place::Whole(slot) => Ok(Run { start: 0, bytes: slot.to_vec() }),
            Place::Disk { slot, start, len } => {
                let mut bytes = vec![0; *len];
                self.store.read(&mut bytes, slot * CHUNK_BYTES)?;
                Ok(Run { start: *start, bytes })
            }
        }
    }

    /// Moves the bytes to the file, if they are in memory.
    fn move_out(&self) -> io::Result<()> {
        let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        let (slot, start, len) = match &*place {
            Place::Memory(run) => (self.store.write(&run.bytes)?, run.start, run.bytes.len()),
            Place::Whole(slot) => (self.store.write(&slot.to_vec())?, 0, CHUNK_BYTES as usize),
            Place::Disk { .. } => return Ok(()),
        };
        self.store.recount(place.memory_bytes(), 0);
        *place = Place::Disk { slot, start, len };
        Ok(())
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.store.recount(place.memory_bytes(), 0);
        if let Place::Disk { slot, .. } = place {
            self.store.slots().free.push(*slot);
        }
        self.store.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps the chunks of an overlay and its forks within a budget of memory.
#[derive(Debug)]
pub(crate) struct Store {
    memory_max: u64,
    /// Where the file is made; `None` is the system's directory for temporary files.
    dir: Option<PathBuf>,
    held_bytes: AtomicU64,
    /// How many chunks there are.
    live: AtomicU64,
    /// All chunks, and some that are gone, in the order in which the hand comes by.
    queue: Mutex<VecDeque<Weak<Chunk>>>,
    arenas: Arenas,
    file: OnceLock<File>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    free: Vec<u64>,
    used: u64,
}

impl Store {
    pub(crate) fn new(memory_max: u64, dir: Option<PathBuf>) -> Arc<Store> {
        Arc::new(Store {
            memory_max,
            dir,
            held_bytes: AtomicU64::new(0),
            live: AtomicU64::new(0),
            queue: Mutex::default(),
            arenas: Arenas::default(),
            file: OnceLock::new(),
            slots: Mutex::default(),
        })
    }

    /// How many bytes are in memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Where a run is to stay. With little in memory that is where it is: a large page for it would be
    /// mostly empty.
    fn settle(&self, run: Run) -> Place {
        if !run.is_whole() || self.held_bytes() < ARENA_BYTES as u64 {
            return Place::Memory(run);
        }
        self.arenas.place(&run.bytes).map_or(Place::Memory(run), Place::Whole)
    }

    /// What took `before` bytes of the memory takes `after` of them now.
    fn recount(&self, before: u64, after: u64) {
        // Adding what wraps is subtracting.
        self.held_bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    fn enqueue(&self, chunk: &Arc<Chunk>) {
        let live = self.live.fetch_add(1, Ordering::Relaxed) + 1;
        let mut queue = self.queue();
        if queue.len() as u64 > 2 * live + 1024 {
            queue.retain(|chunk| chunk.strong_count() > 0);
        }
        queue.push_back(Arc::downgrade(chunk));
    }

    /// Sees to it that `bytes` more fit into the budget, in which unused arenas count, too.
    fn make_room(&self, bytes: u64) -> Result<(), Errno> {
        self.move_chunks_out(bytes)?;
        let held = self.held_bytes().saturating_add(bytes);
        self.arenas.keep_unused(self.memory_max.saturating_sub(held));
        Ok(())
    }

    /// Moves chunks out of memory until `bytes` more fit.
    fn move_chunks_out(&self, bytes: u64) -> Result<(), Errno> {
        // Twice around: the first time only takes off the marks.
        let mut turns = None;
        while self.held_bytes().saturating_add(bytes) > self.memory_max {
            let (candidate, waiting) = {
                let mut queue = self.queue();
                (queue.pop_front(), queue.len())
            };
            let Some(candidate) = candidate else { return Ok(()) };
            let turns = turns.get_or_insert(2 * waiting + 2);
            if *turns == 0 {
                self.queue().push_back(candidate);
                return Ok(());
            }
            *turns -= 1;
            // With no lock held, since this may turn out to be the last one that holds it.
            let Some(chunk) = candidate.upgrade() else { continue };
            if chunk.recent.swap(false, Ordering::Relaxed) {
                self.queue().push_back(candidate);
                continue;
            }
            if let Err(error) = chunk.move_out() {
                self.queue().push_back(candidate);
                return Err(match Errno::from(error) {
                    // Whatever keeps the file from growing: there is no more room.
                    Errno::Dquot | Errno::Fbig | Errno::Nospc => Errno::Nospc,
                    other => other,
                });
            }
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<u64> {
        let file = self.file()?;
        let slot = {
            let mut slots = self.slots();
            slots.free.pop().unwrap_or_else(|| {
                slots.used += 1;
                slots.used - 1
            })
        };
        let written = file.write_all_at(bytes, slot * CHUNK_BYTES);
        if written.is_err() {
            self.slots().free.push(slot);
        }
        written.map(|()| slot)
    }

    fn read(&self, buf: &mut [u8], at: u64) -> Result<(), Errno> {
        let file = self.file.get().ok_or(Errno::Io)?;
        Ok(file.read_exact_at(buf, at)?)
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

    fn queue(&self) -> MutexGuard<'_, VecDeque<Weak<Chunk>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = CHUNK_BYTES as usize;

    fn chunks(store: &Arc<Store>, n: u8) -> Vec<Arc<Chunk>> {
        (0..n).map(|i| Chunk::new(store, Run { start: 0, bytes: vec![i; LEN] }).unwrap()).collect()
    }

    fn first(chunk: &Chunk) -> u8 {
        let mut buf = [0xff; 1];
        chunk.read(&mut buf, 0).unwrap();
        buf[0]
    }

    #[test]
    fn what_exceeds_the_budget_goes_to_a_file_and_comes_back() {
        // The larger one has arenas.
        for (count_max, count) in [(4, 20), (60, 240)] {
            let store = Store::new(count_max * CHUNK_BYTES, None);
            let mut chunks = chunks(&store, count);
            let in_arena = chunks.iter().any(|chunk| matches!(*chunk.place(), Place::Whole(_)));
            assert_eq!(in_arena, count_max * CHUNK_BYTES > ARENA_BYTES as u64);
            assert!(store.held_bytes() <= count_max * CHUNK_BYTES);
            assert!(store.file.get().is_some());
            let copies = chunks.clone();
            for (i, chunk) in chunks.iter_mut().enumerate() {
                assert_eq!(first(chunk), i as u8);
                chunk.write(0, &[!(i as u8)]).unwrap();
                assert!(store.held_bytes() <= count_max * CHUNK_BYTES);
            }
            for (i, (chunk, copy)) in chunks.iter().zip(&copies).enumerate() {
                assert_eq!((first(chunk), first(copy)), (!(i as u8), i as u8));
            }
            drop((chunks, copies));
            let slots = store.slots();
            assert_eq!((store.held_bytes(), slots.free.len() as u64), (0, slots.used));
        }
    }

    #[test]
    fn a_chunk_in_an_arena_is_changed_in_place_unless_it_is_shared_and_can_be_cut() {
        let store = Store::new(u64::MAX, None);
        let mut chunks = chunks(&store, 60);
        let mut chunk = chunks.pop().unwrap();
        assert!(matches!(&*chunk.place(), Place::Whole(slot) if slot.to_vec() == [59; LEN]));
        let (held, address) = (store.held_bytes(), Arc::as_ptr(&chunk));
        chunk.write(7, &[1]).unwrap();
        assert_eq!((Arc::as_ptr(&chunk), store.held_bytes()), (address, held));
        let before = chunk.clone();
        chunk.write(7, &[2]).unwrap();
        let mut both = [0; 2];
        before.read(&mut both[..1], 7).unwrap();
        chunk.read(&mut both[1..], 7).unwrap();
        assert_eq!(both, [1, 2]);
        chunk.truncate(8).unwrap();
        assert_eq!(chunk.extent(), (0, 8));
        drop((before, chunks));
        assert_eq!(store.held_bytes(), 8);
    }

    #[test]
    fn whole_chunks_that_are_cut_do_not_take_twice_the_budget() {
        let arena = ARENA_BYTES as u64;
        let store = Store::new(4 * arena, None);
        let mut chunks = chunks(&store, 4 * 32);
        assert!(store.arenas.mapped_bytes() >= 3 * arena);
        for (i, chunk) in chunks.iter_mut().enumerate() {
            chunk.truncate(60 * 1024).unwrap();
            assert_eq!(first(chunk), i as u8);
        }
        let taken = store.arenas.mapped_bytes() + store.held_bytes();
        assert!(taken <= 5 * arena, "{taken}, with at most one arena that is in use in part");
    }

    #[test]
    fn a_full_disk_is_an_error_and_nothing_is_lost() {
        let store = Store::new(4 * CHUNK_BYTES, None);
        store.file.set(File::options().write(true).open("/dev/full").unwrap()).unwrap();
        let mut kept = chunks(&store, 4);
        let run = Run { start: 0, bytes: vec![9; LEN] };
        assert_eq!(Chunk::new(&store, run).unwrap_err(), Errno::Nospc);
        for (i, chunk) in kept.iter_mut().enumerate() {
            assert_eq!(first(chunk), i as u8);
            chunk.write(0, &[50]).unwrap_or_else(|errno| assert_eq!(errno, Errno::Nospc));
        }
        kept.pop();
        chunks(&store, 1);
    }

    #[test]
    fn chunks_that_are_gone_leave_nothing_behind() {
        let store = Store::new(u64::MAX, None);
        for _ in 0..5_000 {
            chunks(&store, 1);
        }
        assert!(store.queue().len() < 2_000);
        assert_eq!((store.held_bytes(), store.live.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_run_holds_what_was_written_and_not_what_lies_around() {
        let mut run = Run::default();
        run.write(60_000, b"x");
        assert_eq!((run.start, run.bytes.len()), (60_000, 1));
        run.write(60_004, b"yz");
        run.write(59_998, b"w");
        let mut buf = [9; 10];
        run.read(&mut buf, 59_997);
        assert_eq!(&buf, b"\0w\0x\0\0\0yz\0");
        run.truncate(60_001);
        assert_eq!((run.start, &run.bytes[..]), (59_998, &b"w\0x"[..]));
        run.truncate(5);
        assert!(run.bytes.is_empty());
    }
}
