//! The bytes of one file: chunks that were written, above what is still to be seen of the base.
//!
//! A file that was never written has no chunk and its whole base is visible. Writing takes up only
//! the chunks that it touches, so a few bytes changed in a huge lower file cost one chunk. Cutting
//! a file lowers the visible part of the base for good: extending it again shows zeros.

use std::sync::Arc;

use crate::Errno;
use crate::inode::PMap;

/// The unit of copying. Large enough that bookkeeping is small beside the bytes, small enough that
/// a write of one byte stays cheap.
pub(crate) const CHUNK_BYTES: u64 = 64 * 1024;

/// The largest length of a file: what a signed 64-bit offset can express.
pub(crate) const LEN_MAX: u64 = i64::MAX as u64;

/// Reads the whole of `buf` from the base at an offset.
pub(crate) type ReadBase<'a> = &'a mut dyn FnMut(&mut [u8], u64) -> Result<(), Errno>;

/// What a regular file holds.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    len: u64,
    /// Below this offset, what no chunk covers comes from the base; above it, it is zeros.
    base_visible_len: u64,
    /// By index. A chunk shorter than [`CHUNK_BYTES`] goes on with zeros.
    chunks: PMap<u64, Arc<Vec<u8>>>,
}

impl Content {
    pub(crate) fn empty() -> Content {
        Content::base(0)
    }

    /// The untouched content of a base file.
    pub(crate) fn base(len: u64) -> Content {
        Content { len, base_visible_len: len, chunks: PMap::new_sync() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was ever written over a base of this length.
    pub(crate) fn is_base(&self, base_len: u64) -> bool {
        self.chunks.is_empty() && self.len == base_len && self.base_visible_len == base_len
    }

    /// The bytes that the chunks occupy.
    #[cfg(test)]
    fn held_bytes(&self) -> u64 {
        self.chunks.values().map(|chunk| chunk.len() as u64).sum()
    }

    /// Reads at `offset` as much as there is, answering how much that was.
    pub(crate) fn read_at(
        &self,
        buf: &mut [u8],
        offset: u64,
        base: ReadBase<'_>,
    ) -> Result<usize, Errno> {
        let wanted = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let rest = &mut buf[done..wanted];
            done += match self.chunks.get(&(at / CHUNK_BYTES)) {
                Some(chunk) => read_chunk(chunk, rest, (at % CHUNK_BYTES) as usize),
                None => self.read_gap(rest, at, base)?,
            };
        }
        Ok(wanted)
    }

    /// Reads up to the next chunk: base first, then zeros.
    fn read_gap(&self, buf: &mut [u8], at: u64, base: ReadBase<'_>) -> Result<usize, Errno> {
        let next = self.chunks.range((at / CHUNK_BYTES)..).next();
        let gap = next.map_or(u64::MAX, |(index, _)| index * CHUNK_BYTES - at);
        let len = gap.min(buf.len() as u64) as usize;
        let from_base = self.base_visible_len.saturating_sub(at).min(len as u64) as usize;
        if from_base > 0 {
            base(&mut buf[..from_base], at)?;
        }
        buf[from_base..len].fill(0);
        Ok(len)
    }

    /// Writes at `offset` and answers how much was written, which is less than asked only if the
    /// base failed after the first chunk.
    pub(crate) fn write_at(
        &mut self,
        data: &[u8],
        offset: u64,
        base: ReadBase<'_>,
    ) -> Result<usize, Errno> {
        if data.is_empty() {
            return Ok(0);
        }
        if offset >= LEN_MAX {
            return Err(Errno::Fbig);
        }
        let data = &data[..(LEN_MAX - offset).min(data.len() as u64) as usize];
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let within = (at % CHUNK_BYTES) as usize;
            let part = &data[done..data.len().min(done + CHUNK_BYTES as usize - within)];
            match self.chunk_for_write(at / CHUNK_BYTES, within, part.len(), base) {
                Ok(chunk) => write_chunk(chunk, within, part),
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
            done += part.len();
            self.len = self.len.max(offset + done as u64);
        }
        Ok(done)
    }

    /// The chunk at `index`, filled from the base unless `len` bytes at `within` will cover all
    /// that the base has there.
    fn chunk_for_write(
        &mut self,
        index: u64,
        within: usize,
        len: usize,
        base: ReadBase<'_>,
    ) -> Result<&mut Vec<u8>, Errno> {
        if !self.chunks.contains_key(&index) {
            let start = index * CHUNK_BYTES;
            let visible = self.base_visible_len.saturating_sub(start).min(CHUNK_BYTES) as usize;
            let mut bytes = vec![0; if within == 0 && len >= visible { 0 } else { visible }];
            if !bytes.is_empty() {
                base(&mut bytes, start)?;
            }
            self.chunks.insert_mut(index, Arc::new(bytes));
        }
        let chunk = self.chunks.get_mut(&index).expect("just looked at or inserted");
        Ok(Arc::make_mut(chunk))
    }

    /// Cuts off, or fills up with zeros.
    pub(crate) fn set_len(&mut self, len: u64) -> Result<(), Errno> {
        if len > LEN_MAX {
            return Err(Errno::Fbig);
        }
        if len < self.len {
            let first_gone = len.div_ceil(CHUNK_BYTES);
            let gone: Vec<u64> = self.chunks.range(first_gone..).map(|(index, _)| *index).collect();
            for index in gone {
                self.chunks.remove_mut(&index);
            }
            if let Some(chunk) = self.chunks.get_mut(&(len / CHUNK_BYTES)) {
                Arc::make_mut(chunk).truncate((len % CHUNK_BYTES) as usize);
            }
            self.base_visible_len = self.base_visible_len.min(len);
        }
        self.len = len;
        Ok(())
    }

    /// All bytes.
    pub(crate) fn to_vec(&self, base: ReadBase<'_>) -> Result<Vec<u8>, Errno> {
        let len = usize::try_from(self.len).map_err(|_| Errno::Fbig)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Errno::Nomem)?;
        bytes.resize(len, 0);
        self.read_at(&mut bytes, 0, base)?;
        Ok(bytes)
    }
}

fn read_chunk(chunk: &[u8], buf: &mut [u8], within: usize) -> usize {
    let len = buf.len().min(CHUNK_BYTES as usize - within);
    let held = chunk.get(within..).unwrap_or_default();
    let copied = held.len().min(len);
    buf[..copied].copy_from_slice(&held[..copied]);
    buf[copied..len].fill(0);
    len
}

fn write_chunk(chunk: &mut Vec<u8>, within: usize, part: &[u8]) {
    if chunk.len() < within {
        chunk.resize(within, 0);
    }
    let overlap = part.len().min(chunk.len() - within);
    chunk[within..within + overlap].copy_from_slice(&part[..overlap]);
    chunk.extend_from_slice(&part[overlap..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A base whose byte at offset `i` is `i % 251 + 1`, so never zero.
    fn base(buf: &mut [u8], at: u64) -> Result<(), Errno> {
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte = ((at + i as u64) % 251 + 1) as u8;
        }
        Ok(())
    }

    fn no_base(_: &mut [u8], _: u64) -> Result<(), Errno> {
        panic!("the base was read")
    }

    #[test]
    fn cut_and_extended_shows_zeros_not_old_bytes() {
        for written in [false, true] {
            let mut content = Content::base(200_000);
            if written {
                content.write_at(b"xy", 70_000, &mut base).unwrap();
            }
            content.set_len(70_001).unwrap();
            content.set_len(200_000).unwrap();
            let bytes = content.to_vec(&mut base).unwrap();
            assert_eq!(bytes[70_000], if written { b'x' } else { (70_000 % 251 + 1) as u8 });
            assert!(bytes[70_001..].iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn a_small_write_takes_up_one_chunk_and_a_covering_one_does_not_read_the_base() {
        let mut content = Content::base(1 << 30);
        content.write_at(b"abc", 500_000_000, &mut base).unwrap();
        assert_eq!(content.held_bytes(), CHUNK_BYTES);
        let mut content = Content::base(100_000);
        content.write_at(&[7; 100_000], 0, &mut no_base).unwrap();
        assert_eq!(content.to_vec(&mut no_base).unwrap(), [7; 100_000]);
    }

    #[test]
    fn agrees_with_a_plain_vector() {
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
                content.set_len(offset).unwrap();
                plain.resize(offset as usize, 0);
            } else {
                let data = vec![step as u8; len];
                assert_eq!(content.write_at(&data, offset, &mut base), Ok(len));
                let start = offset as usize;
                if len > 0 {
                    plain.resize(plain.len().max(start + len), 0);
                    plain[start..start + len].copy_from_slice(&data);
                }
            }
            assert_eq!(content.len(), plain.len() as u64, "step {step}");
            assert!(content.to_vec(&mut base).unwrap() == plain, "step {step}");
        }
    }

    #[test]
    fn the_far_end_is_an_error_not_an_overflow() {
        let mut content = Content::empty();
        assert_eq!(content.write_at(b"x", u64::MAX, &mut no_base), Err(Errno::Fbig));
        assert_eq!(content.write_at(b"xy", LEN_MAX - 1, &mut no_base), Ok(1));
        assert_eq!(content.set_len(LEN_MAX + 1), Err(Errno::Fbig));
        let mut buf = [1; 4];
        assert_eq!(content.read_at(&mut buf, LEN_MAX - 2, &mut no_base), Ok(2));
        assert_eq!(buf[..2], [0, b'x']);
    }
}
