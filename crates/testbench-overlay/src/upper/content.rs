//! The bytes of one file: chunks that were written, above what is still to be seen of the base.
//!
//! A file that was never written has no chunk and its whole base is visible. Writing takes up only
//! the chunks that it touches, so a few bytes changed in a huge lower file cost one chunk. Cutting
//! a file lowers the visible part of the base for good: extending it again shows zeros. Bytes in
//! neither are a hole: it costs nothing here, and copies skip it ([`Content::next_data`]).

use std::ops::Range;
use std::sync::Arc;

use crate::Errno;
use crate::lower::zeros;
use crate::upper::PMap;
use crate::upper::chunk::{BLOCK_BYTES, CHUNK_BYTES, Chunk, in_blocks};
use crate::upper::quota::Room;
use crate::vfs::Result;

/// The largest length of a file: what a signed 64-bit offset can express.
pub(crate) const LEN_MAX: u64 = i64::MAX as u64;

/// Reads the whole of `buf` from the base at an offset.
pub(crate) type ReadBase<'a> = &'a mut dyn FnMut(&mut [u8], u64) -> Result<()>;

/// The content of a regular file.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    len: u64,
    /// Below this offset, what no chunk covers comes from the base; above it, it is zeros.
    base_visible_len: u64,
    /// By index.
    chunks: PMap<u64, Arc<Chunk>>,
    /// The bytes of the chunks, in whole blocks.
    held_bytes: u64,
}

impl Content {
    pub(crate) fn empty() -> Content {
        Content::base(0)
    }

    /// The untouched content of a base file.
    pub(crate) fn base(len: u64) -> Content {
        Content { len, base_visible_len: len, chunks: PMap::new_sync(), held_bytes: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was ever written over a base of this length.
    pub(crate) fn is_base(&self, base_len: u64) -> bool {
        self.chunks.is_empty() && self.len == base_len && self.base_visible_len == base_len
    }

    /// Returns the bytes that count towards a quota.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Reads at `offset` as much as there is, and returns how much that was.
    pub(crate) fn read_at(&self, buf: &mut [u8], offset: u64, base: ReadBase<'_>) -> Result<usize> {
        let wanted = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let rest = &mut buf[done..wanted];
            done += match self.chunks.get(&(at / CHUNK_BYTES)) {
                Some(chunk) => {
                    let within = (at % CHUNK_BYTES) as usize;
                    let len = rest.len().min(CHUNK_BYTES as usize - within);
                    chunk.read(&mut rest[..len], within)?;
                    len
                }
                None => self.read_gap(rest, at, base)?,
            };
        }
        Ok(wanted)
    }

    /// Reads up to the next chunk: base first, then zeros.
    fn read_gap(&self, buf: &mut [u8], at: u64, base: ReadBase<'_>) -> Result<usize> {
        // An untouched file is the usual case, and making the iterator costs an allocation.
        let next = match self.chunks.is_empty() {
            true => None,
            false => self.chunks.range((at / CHUNK_BYTES)..).next(),
        };
        let gap = next.map_or(u64::MAX, |(index, _)| index * CHUNK_BYTES - at);
        let len = gap.min(buf.len() as u64) as usize;
        let from_base = self.base_visible_len.saturating_sub(at).min(len as u64) as usize;
        if from_base > 0 {
            base(&mut buf[..from_base], at)?;
        }
        buf[from_base..len].fill(0);
        Ok(len)
    }

    /// The next bytes at or behind `offset` that may be anything but zeros; `None` if there are
    /// none.
    pub(crate) fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        let base_end = self.base_visible_len.min(self.len);
        let mut at = offset;
        while at < self.len {
            let index = at / CHUNK_BYTES;
            let Some((next, chunk)) = self.chunks.range(index..).next() else {
                return (at < base_end).then_some(at..base_end);
            };
            let start = next * CHUNK_BYTES;
            if at < start && at < base_end {
                return Some(at..start.min(base_end));
            }
            let held = chunk.extent();
            let (from, to) = (start + held.start as u64, start + held.end as u64);
            if from < to && at < to {
                return Some(at.max(from)..to);
            }
            at = start + CHUNK_BYTES;
        }
        None
    }

    /// Whether the base shows at `offset`.
    pub(crate) fn is_from_base(&self, offset: u64) -> bool {
        offset < self.base_visible_len && self.chunks.get(&(offset / CHUNK_BYTES)).is_none()
    }

    /// Writes at `offset` and returns how much was written, which is less than asked only if the
    /// base failed or the room ended after the first bytes.
    pub(crate) fn write_at(
        &mut self,
        data: &[u8],
        offset: u64,
        room: &mut Room,
        base: ReadBase<'_>,
    ) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let len_max = room.len_max.max(self.len);
        if offset >= len_max {
            return Err(Errno::Fbig);
        }
        let data = &data[..(len_max - offset).min(data.len() as u64) as usize];
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let within = (at % CHUNK_BYTES) as usize;
            let part = &data[done..data.len().min(done + CHUNK_BYTES as usize - within)];
            match self.write_chunk(at / CHUNK_BYTES, within, part, room, base) {
                Ok(written) => done += written,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
            self.len = self.len.max(offset + done as u64);
            if !(offset + done as u64).is_multiple_of(CHUNK_BYTES) {
                // All is done, or the room has ended.
                break;
            }
        }
        Ok(done)
    }

    /// Writes as much of `part` into one chunk as there is room for, at least one byte.
    fn write_chunk(
        &mut self,
        index: u64,
        within: usize,
        part: &[u8],
        room: &mut Room,
        base: ReadBase<'_>,
    ) -> Result<usize> {
        let start = index * CHUNK_BYTES;
        let visible = self.base_visible_len.saturating_sub(start).min(CHUNK_BYTES) as usize;
        let held = self.chunks.get(&index).map(|chunk| chunk.extent());
        let (from, to) = match &held {
            Some(held) if !held.is_empty() => (held.start.min(within), held.end),
            // What the base shows here is taken up with it, all of it unless it is covered.
            _ if visible > 0 && held.is_none() => (0, visible),
            _ => (within, within),
        };
        let before = in_blocks(held.map_or(0, |held| held.len() as u64));
        let end_max = from as u64 + before + room.bytes / BLOCK_BYTES * BLOCK_BYTES;
        if end_max < to as u64 || end_max <= within as u64 {
            return Err(Errno::Nospc);
        }
        let part = &part[..part.len().min((end_max - within as u64) as usize)];
        match self.chunks.get_mut(&index) {
            Some(chunk) => chunk.write(within, part)?,
            None => {
                let covered = visible == 0 || (within == 0 && part.len() >= visible);
                let chunk = if covered {
                    Chunk::new(&room.store, within, part.to_vec())?
                } else {
                    let mut bytes = vec![0; visible.max(within + part.len())];
                    base(&mut bytes[..visible], start)?;
                    bytes[within..][..part.len()].copy_from_slice(part);
                    Chunk::new(&room.store, 0, bytes)?
                };
                self.chunks.insert_mut(index, chunk);
            }
        }
        let after = in_blocks(self.chunks[&index].extent().len() as u64);
        self.held_bytes = self.held_bytes + after - before;
        room.bytes = (room.bytes + before).saturating_sub(after);
        Ok(part.len())
    }

    /// Cuts off, or fills up with zeros.
    pub(crate) fn set_len(&mut self, len: u64, room: &Room) -> Result<()> {
        if len > self.len && len > room.len_max {
            return Err(Errno::Fbig);
        }
        if len < self.len {
            let first_gone = len.div_ceil(CHUNK_BYTES);
            let last = len / CHUNK_BYTES;
            if let Some(chunk) = self.chunks.get_mut(&last).filter(|_| last < first_gone) {
                let before = in_blocks(chunk.extent().len() as u64);
                chunk.truncate((len % CHUNK_BYTES) as usize)?;
                let after = in_blocks(chunk.extent().len() as u64);
                self.held_bytes = self.held_bytes + after - before;
            }
            let gone: Vec<u64> = self.chunks.range(first_gone..).map(|(index, _)| *index).collect();
            for index in gone {
                self.held_bytes -= in_blocks(self.chunks[&index].extent().len() as u64);
                self.chunks.remove_mut(&index);
            }
            self.base_visible_len = self.base_visible_len.min(len);
        }
        self.len = len;
        Ok(())
    }

    /// All bytes.
    pub(crate) fn to_vec(&self, base: ReadBase<'_>) -> Result<Vec<u8>> {
        let mut bytes = zeros(self.len)?;
        self.read_at(&mut bytes, 0, base)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upper::store::Store;

    fn room() -> Room {
        Room { bytes: u64::MAX / 2, len_max: LEN_MAX, store: Store::new(u64::MAX, None) }
    }

    /// A base whose byte at offset `i` is `i % 251 + 1`, so never zero.
    fn base(buf: &mut [u8], at: u64) -> Result<()> {
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte = ((at + i as u64) % 251 + 1) as u8;
        }
        Ok(())
    }

    fn no_base(_: &mut [u8], _: u64) -> Result<()> {
        panic!("the base was read")
    }

    #[test]
    fn cut_and_extended_shows_zeros_not_old_bytes() {
        for written in [false, true] {
            let mut content = Content::base(200_000);
            if written {
                content.write_at(b"xy", 70_000, &mut room(), &mut base).unwrap();
            }
            content.set_len(70_001, &room()).unwrap();
            content.set_len(200_000, &room()).unwrap();
            let bytes = content.to_vec(&mut base).unwrap();
            assert_eq!(bytes[70_000], if written { b'x' } else { (70_000 % 251 + 1) as u8 });
            assert!(bytes[70_001..].iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn a_small_write_takes_up_one_chunk_and_a_covering_one_does_not_read_the_base() {
        let mut content = Content::base(1 << 30);
        content.write_at(b"abc", 500_000_000, &mut room(), &mut base).unwrap();
        assert_eq!(content.held_bytes(), CHUNK_BYTES);
        let mut content = Content::base(100_000);
        content.write_at(&[7; 100_000], 0, &mut room(), &mut no_base).unwrap();
        assert_eq!(content.to_vec(&mut no_base).unwrap(), [7; 100_000]);
    }

    #[test]
    fn agrees_with_a_plain_vector() {
        for chunks_max in [0, 3] {
            let store = Store::new(chunks_max * CHUNK_BYTES, None);
            check_against_a_vector(Room { store, ..room() });
        }
    }

    #[test]
    fn agrees_with_a_plain_vector_where_chunks_lie_in_arenas() {
        let mut room = room();
        let mut many = Content::empty();
        many.write_at(&[1; 3 << 20], 0, &mut room, &mut no_base).unwrap();
        check_against_a_vector(room);
    }

    fn check_against_a_vector(mut room: Room) {
        let mut content = Content::base(150_000);
        let mut plain = content.to_vec(&mut base).unwrap();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for step in 0..400_u32 {
            let (offset, len) = (random(300_000), random(90_000) as usize);
            if random(4) == 0 {
                content.set_len(offset, &room).unwrap();
                plain.resize(offset as usize, 0);
            } else {
                let data = vec![step as u8; len];
                assert_eq!(content.write_at(&data, offset, &mut room, &mut base), Ok(len));
                let start = offset as usize;
                if len > 0 {
                    plain.resize(plain.len().max(start + len), 0);
                    plain[start..start + len].copy_from_slice(&data);
                }
            }
            assert_eq!(content.len(), plain.len() as u64, "step {step}");
            assert!(content.to_vec(&mut base).unwrap() == plain, "step {step}");
            let extents =
                content.chunks.values().map(|chunk| in_blocks(chunk.extent().len() as u64));
            assert_eq!(content.held_bytes(), extents.sum::<u64>(), "step {step}");
            assert!(only_zeros_between_data(&content, &plain), "step {step}");
        }
    }

    #[test]
    fn the_far_end_is_an_error_not_an_overflow() {
        let mut content = Content::empty();
        assert_eq!(content.write_at(b"x", u64::MAX, &mut room(), &mut no_base), Err(Errno::Fbig));
        assert_eq!(content.write_at(b"xy", LEN_MAX - 1, &mut room(), &mut no_base), Ok(1));
        assert_eq!(content.set_len(LEN_MAX + 1, &room()), Err(Errno::Fbig));
        let mut buf = [1; 4];
        assert_eq!(content.read_at(&mut buf, LEN_MAX - 2, &mut no_base), Ok(2));
        assert_eq!(buf[..2], [0, b'x']);
    }

    fn only_zeros_between_data(content: &Content, plain: &[u8]) -> bool {
        let mut at = 0;
        while let Some(data) = content.next_data(at) {
            assert!(data.start >= at && data.end > data.start && data.end <= content.len());
            if plain[at as usize..data.start as usize].iter().any(|byte| *byte != 0) {
                return false;
            }
            at = data.end;
        }
        plain[at as usize..].iter().all(|byte| *byte == 0)
    }

    #[test]
    fn a_hole_costs_nothing() {
        let mut content = Content::empty();
        let mut room = room();
        content.set_len(1 << 40, &room).unwrap();
        for chunk in 0..100 {
            content.write_at(b"x", chunk * CHUNK_BYTES + 50_000, &mut room, &mut no_base).unwrap();
        }
        assert_eq!(content.held_bytes(), 100 * BLOCK_BYTES);
        assert_eq!(room.store.held_bytes(), 100);
        assert_eq!(content.next_data(0), Some(50_000..50_001));
        assert_eq!(content.next_data(50_001), Some(115_536..115_537));
        assert_eq!(content.next_data(100 * CHUNK_BYTES), None);
        content.set_len(0, &room).unwrap();
        assert_eq!((content.held_bytes(), room.store.held_bytes()), (0, 0));
    }

    #[test]
    fn a_write_stops_where_the_room_ends() {
        let mut content = Content::base(10);
        let mut room = Room { bytes: 3 * BLOCK_BYTES + 7, ..room() };
        assert_eq!(content.write_at(&[1; 5_000], 10, &mut room, &mut base), Ok(5_000));
        assert_eq!(content.write_at(&[2; 9_000], 5_010, &mut room, &mut base), Ok(7_278));
        assert_eq!(content.len(), 3 * BLOCK_BYTES);
        let more = content.write_at(&[3], 3 * BLOCK_BYTES, &mut room, &mut base);
        assert_eq!(more, Err(Errno::Nospc));
        assert_eq!(content.write_at(&[4; 100], 0, &mut room, &mut base), Ok(100));
        content.set_len(5_000, &room).unwrap();
        room.bytes += BLOCK_BYTES;
        assert_eq!(content.write_at(&[5; 5_000], 5_000, &mut room, &mut base), Ok(5_000));

        let mut content = Content::base(100_000);
        room.bytes = CHUNK_BYTES - 1;
        let write = content.write_at(b"x", 0, &mut room, &mut base);
        assert_eq!(write, Err(Errno::Nospc), "a whole chunk is taken up");
        room.bytes = CHUNK_BYTES;
        assert_eq!(content.write_at(b"x", 0, &mut room, &mut base), Ok(1));
        let room = Room { len_max: 99_999, ..room };
        assert_eq!(content.set_len(100_001, &room), Err(Errno::Fbig));
        assert_eq!(content.set_len(100_000, &room), Ok(()), "it is that long already");
    }
}
