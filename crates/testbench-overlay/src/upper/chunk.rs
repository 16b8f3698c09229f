//! The bytes of changed files, in chunks that states share.
//!
//! A [`Chunk`] is shared by all states of an overlay that hold the same bytes: checkpoints, forks, and
//! readers that are not done. A shared chunk never changes; a write to it makes a new one. The place of
//! its bytes is chosen when it is made or grows, and is one of its [`Store`]'s.

use std::ops::Range;
use std::sync::Arc;

use crate::upper::store::{Slot, Store};
use crate::vfs::Result;

/// The unit of copying. Large enough that bookkeeping is small beside the bytes, small enough that
/// a write of one byte stays cheap.
pub(crate) const CHUNK_BYTES: u64 = 64 * 1024;

/// The unit in which held bytes are counted: a page, as memory and disks do.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// How many bytes count for `len` bytes held.
pub(crate) fn in_blocks(len: u64) -> u64 {
    len.next_multiple_of(BLOCK_BYTES)
}

/// One chunk of a file: a run of bytes in it. The bytes before and behind the run are zeros.
#[derive(Debug)]
pub(crate) struct Chunk {
    store: Arc<Store>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Heap(Run),
    /// Each byte of the run has the offset in the slot that it has in the chunk.
    Slot(Slot, Range<usize>),
}

impl Chunk {
    /// A chunk with the bytes of `run`.
    ///
    /// # Errors
    ///
    /// [`Errno::Nospc`] if they fit neither in memory nor on the disk.
    pub(crate) fn new(store: &Arc<Store>, run: Run) -> Result<Arc<Chunk>> {
        let heap_bytes = run.bytes.capacity() as u64;
        let slot = if run.is_whole() { store.slot_for_whole() } else { None };
        if slot.is_none() && store.has_room(heap_bytes) {
            store.recount(0, heap_bytes);
            return Ok(Arc::new(Chunk { store: store.clone(), place: Place::Heap(run) }));
        }
        let slot = slot.unwrap_or_else(|| store.slot());
        let place = Place::Slot(slot, run.start..run.end());
        let chunk = Arc::new(Chunk { store: store.clone(), place });
        if let Place::Slot(slot, _) = &chunk.place {
            // If this fails, the drop of the chunk gives the slot back.
            store.write(slot, run.start, &run.bytes)?;
        }
        Ok(chunk)
    }

    /// The part of the chunk that is held: where it starts, and its length.
    pub(crate) fn extent(&self) -> (usize, usize) {
        match &self.place {
            Place::Heap(run) => (run.start, run.bytes.len()),
            Place::Slot(_, run) => (run.start, run.len()),
        }
    }

    /// Fills `buf` with the bytes at `within`.
    pub(crate) fn read(&self, buf: &mut [u8], within: usize) -> Result<()> {
        let (start, len) = self.extent();
        let from = start.saturating_sub(within).min(buf.len());
        let to = (start + len).saturating_sub(within).clamp(from, buf.len());
        buf[..from].fill(0);
        buf[to..].fill(0);
        let (buf, at) = (&mut buf[from..to], within + from);
        match &self.place {
            _ if buf.is_empty() => {}
            Place::Heap(run) => buf.copy_from_slice(&run.bytes[at - start..][..buf.len()]),
            Place::Slot(slot, _) => self.store.read(slot, at, buf)?,
        }
        Ok(())
    }

    /// Writes. A chunk that others hold as well is replaced by a new one.
    pub(crate) fn write(self: &mut Arc<Self>, within: usize, part: &[u8]) -> Result<()> {
        if let Some(unshared) = Arc::get_mut(self)
            && unshared.write_in_place(within, part)?
        {
            return Ok(());
        }
        let mut run = self.load()?;
        run.write(within, part);
        *self = Chunk::new(&self.store, run)?;
        Ok(())
    }

    /// Cuts off the bytes behind `len`.
    pub(crate) fn truncate(self: &mut Arc<Self>, len: usize) -> Result<()> {
        let Some(Chunk { store, place }) = Arc::get_mut(self) else {
            let mut run = self.load()?;
            run.truncate(len);
            *self = Chunk::new(&self.store, run)?;
            return Ok(());
        };
        match place {
            Place::Heap(run) => {
                let before = run.bytes.capacity() as u64;
                run.truncate(len);
                store.recount(before, run.bytes.capacity() as u64);
            }
            Place::Slot(_, run) => run.end = run.end.min(len.max(run.start)),
        }
        Ok(())
    }

    /// Returns false, and does nothing, if the bytes have to move elsewhere.
    fn write_in_place(&mut self, within: usize, part: &[u8]) -> Result<bool> {
        let end = within + part.len();
        let Chunk { store, place } = self;
        match place {
            Place::Heap(run) => {
                let before = run.bytes.capacity() as u64;
                let after = run.capacity_with(within, part.len()) as u64;
                if after > before && !store.has_room(after - before) {
                    return Ok(false);
                }
                run.write(within, part);
                store.recount(before, run.bytes.capacity() as u64);
                if run.is_whole()
                    && let Some(slot) = store.slot_for_whole()
                {
                    store.write(&slot, 0, &run.bytes)?;
                    store.recount(run.bytes.capacity() as u64, 0);
                    *place = Place::Slot(slot, 0..CHUNK_BYTES as usize);
                }
            }
            Place::Slot(slot, run) => {
                if run.start == run.end {
                    *run = within..within;
                }
                // Bytes of an earlier chunk must not show in a gap.
                let gap = if within > run.end { run.end..within } else { end..run.start };
                store.write(slot, gap.start, &vec![0; gap.len()])?;
                store.write(slot, within, part)?;
                *run = run.start.min(within)..run.end.max(end);
            }
        }
        Ok(true)
    }

    fn load(&self) -> Result<Run> {
        match &self.place {
            Place::Heap(run) => Ok(run.clone()),
            Place::Slot(slot, run) => {
                let mut bytes = vec![0; run.len()];
                self.store.read(slot, run.start, &mut bytes)?;
                Ok(Run { start: run.start, bytes })
            }
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        match &self.place {
            Place::Heap(run) => self.store.recount(run.bytes.capacity() as u64, 0),
            Place::Slot(slot, _) => self.store.give_back(slot),
        }
    }
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

    /// Writes `part` at `within`; between it and the bytes so far come zeros.
    pub(crate) fn write(&mut self, within: usize, part: &[u8]) {
        let capacity = self.capacity_with(within, part.len());
        self.bytes.reserve_exact(capacity - self.bytes.len());
        if self.bytes.is_empty() {
            self.start = within;
        }
        if within == self.end() {
            self.bytes.extend_from_slice(part);
            return;
        }
        if within < self.start {
            self.bytes.splice(0..0, std::iter::repeat_n(0, self.start - within));
            self.start = within;
        }
        let at = within - self.start;
        self.bytes.resize(self.bytes.len().max(at + part.len()), 0);
        self.bytes[at..at + part.len()].copy_from_slice(part);
    }

    /// The capacity that a write makes of the present one: it doubles, but not beyond the chunk.
    fn capacity_with(&self, within: usize, len: usize) -> usize {
        let capacity = self.bytes.capacity();
        let (start, end) = match self.bytes.is_empty() {
            true => (within, within + len),
            false => (self.start.min(within), self.end().max(within + len)),
        };
        let whole = (CHUNK_BYTES as usize).max(end) - start;
        if end - start <= capacity { capacity } else { (2 * capacity).clamp(end - start, whole) }
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len.saturating_sub(self.start));
        self.bytes.shrink_to_fit();
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == CHUNK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::Errno;
    use crate::upper::store::ARENA_BYTES;

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
        // The last one has arenas.
        for (count_max, count) in [(0, 20), (4, 20), (60, 240), (128, 240)] {
            let store = Store::new(count_max * CHUNK_BYTES, None);
            let mut chunks = chunks(&store, count);
            let is_in =
                |which: fn(&Place) -> bool| chunks.iter().filter(|c| which(&c.place)).count();
            let in_arenas = is_in(|place| matches!(place, Place::Slot(Slot::Memory(..), _)));
            let on_disk = is_in(|place| matches!(place, Place::Slot(Slot::File(_), _)));
            assert_eq!(in_arenas, if count_max == 128 { 96 } else { 0 });
            assert_eq!(on_disk as u64, u64::from(count) - count_max);
            assert_eq!(store.held_bytes(), count_max * CHUNK_BYTES);
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
            assert_eq!(store.held_bytes(), in_arenas as u64 * CHUNK_BYTES);
            assert!(store.has_all_slots());
        }
    }

    #[test]
    fn a_chunk_is_changed_in_place_unless_it_is_shared() {
        for memory_max in [0, u64::MAX] {
            let store = Store::new(memory_max, None);
            let mut chunks = chunks(&store, 60);
            let mut chunk = chunks.pop().unwrap();
            assert!(matches!(chunk.place, Place::Slot(..)));
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
            drop((before, chunk, chunks));
            assert!(store.has_all_slots());
        }
    }

    #[test]
    fn a_chunk_that_grows_beyond_the_budget_moves_to_the_file() {
        let store = Store::new(CHUNK_BYTES + 100, None);
        let mut kept = chunks(&store, 1);
        let mut chunk = Chunk::new(&store, Run { start: 60_000, bytes: vec![5; 100] }).unwrap();
        assert!(matches!(chunk.place, Place::Heap(_)));
        chunk.write(60_100, &[6; 100]).unwrap();
        assert!(matches!(chunk.place, Place::Slot(Slot::File(_), _)));
        let mut buf = [9; 202];
        chunk.read(&mut buf, 59_999).unwrap();
        assert_eq!((buf[0], buf[1], buf[100], buf[101], buf[200], buf[201]), (0, 5, 5, 6, 6, 0));
        kept[0].truncate(10).unwrap();
        assert_eq!((first(&kept[0]), store.held_bytes()), (0, 10));
    }

    #[test]
    fn a_slot_that_is_used_again_shows_nothing_of_its_earlier_bytes() {
        let store = Store::new(0, None);
        drop(chunks(&store, 1));
        let mut chunk = Chunk::new(&store, Run { start: 100, bytes: vec![200; 10] }).unwrap();
        chunk.write(150, &[201; 10]).unwrap();
        chunk.write(50, &[202; 10]).unwrap();
        chunk.write(105, &[203; 10]).unwrap();
        let mut plain = vec![0; LEN];
        plain[100..110].fill(200);
        plain[150..160].fill(201);
        plain[50..60].fill(202);
        plain[105..115].fill(203);
        let mut bytes = vec![9; LEN];
        chunk.read(&mut bytes, 0).unwrap();
        assert!(bytes == plain);
        chunk.truncate(20).unwrap();
        chunk.write(5_000, &[1]).unwrap();
        assert_eq!(chunk.extent(), (5_000, 1));
        assert!(matches!(chunk.place, Place::Slot(Slot::File(0), _)), "the same slot");
    }

    #[test]
    fn a_chunk_that_becomes_whole_moves_to_a_large_page_and_memory_stays_within_the_budget() {
        let store = Store::new(4 * ARENA_BYTES as u64, None);
        let mut chunks = chunks(&store, 4 * 32);
        for (i, chunk) in chunks.iter_mut().enumerate() {
            chunk.truncate(60 * 1024).unwrap();
            assert_eq!(first(chunk), i as u8);
        }
        let mut grown = Chunk::new(&store, Run::default()).unwrap();
        for step in 0..8 {
            grown.write(step << 13, &[step as u8; 8 << 10]).unwrap();
            assert!(store.held_bytes() <= 4 * ARENA_BYTES as u64);
        }
        let mut ends = [9; 2];
        grown.read(&mut ends[..1], 0).unwrap();
        grown.read(&mut ends[1..], LEN - 1).unwrap();
        assert_eq!(ends, [0, 7]);
    }

    #[test]
    fn a_full_disk_is_an_error_and_nothing_is_lost() {
        let store = Store::new(4 * CHUNK_BYTES, None);
        store.use_file(File::options().write(true).open("/dev/full").unwrap());
        let mut kept = chunks(&store, 4);
        let run = Run { start: 0, bytes: vec![9; LEN] };
        assert_eq!(Chunk::new(&store, run).unwrap_err(), Errno::Nospc);
        for (i, chunk) in kept.iter_mut().enumerate() {
            let shared = chunk.clone();
            assert_eq!(chunk.write(0, &[50]), Err(Errno::Nospc));
            drop(shared);
            assert_eq!(first(chunk), i as u8);
            assert_eq!(chunk.write(0, &[50]), Ok(()));
        }
        kept.pop();
        chunks(&store, 1);
    }

    #[test]
    fn a_run_holds_what_was_written_and_not_what_lies_around() {
        let store = Store::new(u64::MAX, None);
        let mut run = Run::default();
        run.write(60_000, b"x");
        assert_eq!((run.start, run.bytes.len()), (60_000, 1));
        run.write(60_004, b"yz");
        run.write(59_998, b"w");
        let mut buf = [9; 10];
        Chunk::new(&store, run.clone()).unwrap().read(&mut buf, 59_997).unwrap();
        assert_eq!(&buf, b"\0w\0x\0\0\0yz\0");
        run.truncate(60_001);
        assert_eq!((run.start, &run.bytes[..]), (59_998, &b"w\0x"[..]));
        run.truncate(5);
        assert!(run.bytes.is_empty());
    }
}
