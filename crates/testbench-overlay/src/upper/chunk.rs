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
    run: Range<usize>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// The bytes of the run alone.
    Heap(Vec<u8>),
    /// Each byte has the offset in the slot that it has in the chunk.
    Slot(Slot),
}

impl Chunk {
    /// A chunk with a run of these bytes, which starts at `start`.
    ///
    /// # Errors
    ///
    /// [`Errno::Nospc`](crate::Errno::Nospc) if they fit neither in memory nor on the disk.
    pub(crate) fn new(store: &Arc<Store>, start: usize, bytes: Vec<u8>) -> Result<Arc<Chunk>> {
        let (run, heap_bytes) = (start..start + bytes.len(), bytes.capacity() as u64);
        let slot = if is_whole(&run) { store.slot_for_whole() } else { None };
        if slot.is_none() && store.has_room(heap_bytes) {
            store.recount(0, heap_bytes);
            return Ok(Arc::new(Chunk { store: store.clone(), run, place: Place::Heap(bytes) }));
        }
        let slot = slot.unwrap_or_else(|| store.slot());
        let chunk = Chunk { store: store.clone(), run, place: Place::Slot(slot.clone()) };
        // If this fails, the drop of the chunk gives the slot back.
        store.write(&slot, start, &bytes)?;
        Ok(Arc::new(chunk))
    }

    /// The part of the chunk that is held.
    pub(crate) fn extent(&self) -> Range<usize> {
        self.run.clone()
    }

    /// Fills `buf` with the bytes at `within`.
    pub(crate) fn read(&self, buf: &mut [u8], within: usize) -> Result<()> {
        let from = self.run.start.saturating_sub(within).min(buf.len());
        let to = self.run.end.saturating_sub(within).clamp(from, buf.len());
        buf[..from].fill(0);
        buf[to..].fill(0);
        let (buf, at) = (&mut buf[from..to], within + from);
        match &self.place {
            _ if buf.is_empty() => {}
            Place::Heap(bytes) => buf.copy_from_slice(&bytes[at - self.run.start..][..buf.len()]),
            Place::Slot(slot) => self.store.read(slot, at, buf)?,
        }
        Ok(())
    }

    /// Writes. A chunk that others hold as well is replaced by a new one.
    pub(crate) fn write(self: &mut Arc<Self>, within: usize, part: &[u8]) -> Result<()> {
        let end = within + part.len();
        let run = match self.run.is_empty() {
            true => within..end,
            false => self.run.start.min(within)..self.run.end.max(end),
        };
        if let Some(unshared) = Arc::get_mut(self)
            && unshared.write_in_place(&run, within, part)?
        {
            return Ok(());
        }
        let mut bytes = self.copy(&run)?;
        bytes[within - run.start..][..part.len()].copy_from_slice(part);
        *self = Chunk::new(&self.store, run.start, bytes)?;
        Ok(())
    }

    /// Cuts off the bytes behind `len`.
    pub(crate) fn truncate(self: &mut Arc<Self>, len: usize) -> Result<()> {
        let left = self.run.start..self.run.end.min(len.max(self.run.start));
        let Some(Chunk { store, run, place }) = Arc::get_mut(self) else {
            *self = Chunk::new(&self.store, left.start, self.copy(&left)?)?;
            return Ok(());
        };
        if let Place::Heap(bytes) = place {
            let before = bytes.capacity() as u64;
            bytes.truncate(left.len());
            bytes.shrink_to_fit();
            store.recount(before, bytes.capacity() as u64);
        }
        *run = left;
        Ok(())
    }

    /// Writes, after which the chunk holds `run`. Returns false, and does nothing, if the bytes have to
    /// move elsewhere.
    fn write_in_place(&mut self, run: &Range<usize>, within: usize, part: &[u8]) -> Result<bool> {
        let Chunk { store, run: held, place } = self;
        if Range::is_empty(held) {
            *held = within..within;
        }
        match place {
            Place::Heap(bytes) => {
                let before = bytes.capacity();
                if run.len() > before {
                    // The capacity doubles, but not beyond the chunk.
                    let after = (2 * before).clamp(run.len(), CHUNK_BYTES as usize - run.start);
                    if !store.has_room((after - before) as u64) {
                        return Ok(false);
                    }
                    bytes.reserve_exact(after - bytes.len());
                    store.recount(before as u64, bytes.capacity() as u64);
                }
                if within == held.end {
                    bytes.extend_from_slice(part);
                } else {
                    bytes.splice(0..0, std::iter::repeat_n(0, held.start - run.start));
                    bytes.resize(run.len(), 0);
                    bytes[within - run.start..][..part.len()].copy_from_slice(part);
                }
                if is_whole(run)
                    && let Some(slot) = store.slot_for_whole()
                {
                    store.write(&slot, 0, bytes)?;
                    store.recount(bytes.capacity() as u64, 0);
                    *place = Place::Slot(slot);
                }
            }
            Place::Slot(slot) => {
                // Bytes of an earlier chunk must not show in a gap.
                let end = within + part.len();
                let gap = if within > held.end { held.end..within } else { end..held.start };
                store.write(slot, gap.start, &vec![0; gap.len()])?;
                store.write(slot, within, part)?;
            }
        }
        *held = run.clone();
        Ok(true)
    }

    fn copy(&self, run: &Range<usize>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; run.len()];
        self.read(&mut bytes, run.start)?;
        Ok(bytes)
    }
}

fn is_whole(run: &Range<usize>) -> bool {
    run.len() as u64 == CHUNK_BYTES
}

impl Drop for Chunk {
    fn drop(&mut self) {
        match &self.place {
            Place::Heap(bytes) => self.store.recount(bytes.capacity() as u64, 0),
            Place::Slot(slot) => self.store.give_back(slot),
        }
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
        (0..n).map(|i| Chunk::new(store, 0, vec![i; LEN]).unwrap()).collect()
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
            let in_arenas = is_in(|place| matches!(place, Place::Slot(Slot::Memory(..))));
            let on_disk = is_in(|place| matches!(place, Place::Slot(Slot::File(_))));
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
            assert_eq!(chunk.extent(), 0..8);
            drop((before, chunk, chunks));
            assert!(store.has_all_slots());
        }
    }

    #[test]
    fn a_chunk_that_grows_beyond_the_budget_moves_to_the_file() {
        let store = Store::new(CHUNK_BYTES + 100, None);
        let mut kept = chunks(&store, 1);
        let mut chunk = Chunk::new(&store, 60_000, vec![5; 100]).unwrap();
        assert!(matches!(chunk.place, Place::Heap(_)));
        chunk.write(60_100, &[6; 100]).unwrap();
        assert!(matches!(chunk.place, Place::Slot(Slot::File(_))));
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
        let mut chunk = Chunk::new(&store, 100, vec![200; 10]).unwrap();
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
        assert_eq!(chunk.extent(), 5_000..5_001);
        assert!(matches!(chunk.place, Place::Slot(Slot::File(0))), "the same slot");
    }

    #[test]
    fn a_chunk_that_becomes_whole_moves_to_a_large_page_and_memory_stays_within_the_budget() {
        let store = Store::new(4 * ARENA_BYTES as u64, None);
        let mut chunks = chunks(&store, 4 * 32);
        for (i, chunk) in chunks.iter_mut().enumerate() {
            chunk.truncate(60 * 1024).unwrap();
            assert_eq!(first(chunk), i as u8);
        }
        let mut grown = Chunk::new(&store, 0, Vec::new()).unwrap();
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
        assert_eq!(Chunk::new(&store, 0, vec![9; LEN]).unwrap_err(), Errno::Nospc);
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
    fn a_chunk_holds_what_was_written_and_not_what_lies_around() {
        for memory_max in [0, u64::MAX] {
            let store = Store::new(memory_max, None);
            let mut chunk = Chunk::new(&store, 0, Vec::new()).unwrap();
            chunk.write(60_000, b"x").unwrap();
            assert_eq!(chunk.extent(), 60_000..60_001);
            chunk.write(60_004, b"yz").unwrap();
            chunk.write(59_998, b"w").unwrap();
            let mut buf = [9; 10];
            chunk.read(&mut buf, 59_997).unwrap();
            assert_eq!(&buf, b"\0w\0x\0\0\0yz\0");
            let shared = chunk.clone();
            for chunk in [&mut chunk, &mut shared.clone()] {
                chunk.truncate(60_001).unwrap();
                chunk.read(&mut buf, 59_997).unwrap();
                assert_eq!((chunk.extent(), &buf), (59_998..60_001, b"\0w\0x\0\0\0\0\0\0"));
                chunk.truncate(5).unwrap();
                assert!(chunk.extent().is_empty());
            }
        }
    }
}
