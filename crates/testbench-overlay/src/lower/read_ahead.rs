//! Small reads of a lower file, each behind the one before it, served from a larger one.
//!
//! A read beneath is two system calls; the second one finds out whether the file has changed. For a few
//! bytes these calls are most of the cost, and programs do read by a few bytes: `BufReader` by 8 KiB,
//! the C library's streams by one. So the second small read in a row takes [`AHEAD_BYTES`], and those
//! that follow are copies.
//!
//! The bytes read ahead are checked against a change of the file when they are read. A later change is
//! found by the next read that goes beneath.

use std::sync::Mutex;

use crate::Errno;
use crate::vfs::Result;

/// One chunk: more gains nothing measurable.
const AHEAD_BYTES: usize = 64 * 1024;

/// Belongs to one open lower file.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Where the last read ended.
    next: u64,
    /// Where `bytes` start.
    start: u64,
    bytes: Vec<u8>,
}

impl ReadAhead {
    /// Fills `buf` with the bytes at `offset` of a file of `size` bytes, all of which are there. `read`
    /// fills a buffer from the file itself; after an error, the buffer may hold anything.
    ///
    /// # Errors
    ///
    /// Those of `read`, for the bytes asked for alone or because the file has changed.
    pub(crate) fn read(
        &self,
        buf: &mut [u8],
        offset: u64,
        size: u64,
        mut read: impl FnMut(&mut [u8], u64) -> Result<()>,
    ) -> Result<()> {
        // Of two readers at the same time, the second does not wait.
        let Ok(mut taken) = self.taken.try_lock() else { return read(buf, offset) };
        let in_a_row = taken.next == offset && offset > 0;
        taken.next = offset + buf.len() as u64;
        if !taken.copy(buf, offset) {
            if !in_a_row || buf.len() >= AHEAD_BYTES {
                return read(buf, offset);
            }
            let mut bytes = std::mem::take(&mut taken.bytes);
            bytes.resize((size - offset).min(AHEAD_BYTES as u64) as usize, 0);
            match read(&mut bytes, offset) {
                Ok(()) => (taken.start, taken.bytes) = (offset, bytes),
                Err(Errno::Stale) => return Err(Errno::Stale),
                // The error may be about bytes behind those asked for.
                Err(_) => return read(buf, offset),
            }
            taken.copy(buf, offset);
        }
        if taken.next >= size {
            // Few read on from the end of a file.
            taken.bytes = Vec::new();
        }
        Ok(())
    }
}

impl Taken {
    /// Copies the bytes at `offset` if all of them are at hand.
    fn copy(&self, buf: &mut [u8], offset: u64) -> bool {
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let bytes = from.and_then(|from| self.bytes.get(from..)?.get(..buf.len()));
        bytes.map(|bytes| buf.copy_from_slice(bytes)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 300_000;

    fn byte(at: u64) -> u8 {
        (at % 251) as u8
    }

    /// Reads, and counts what went beneath.
    fn read(ahead: &ReadAhead, offset: u64, len: usize) -> Vec<(u64, usize)> {
        let mut buf = vec![0xff; len];
        let mut beneath = Vec::new();
        let done = ahead.read(&mut buf, offset, SIZE, |buf, at| {
            assert!(at + buf.len() as u64 <= SIZE);
            beneath.push((at, buf.len()));
            buf.iter_mut().zip(at..).for_each(|(to, at)| *to = byte(at));
            Ok(())
        });
        assert_eq!(done, Ok(()));
        assert!(buf.iter().zip(offset..).all(|(is, at)| *is == byte(at)), "{len} at {offset}");
        beneath
    }

    #[test]
    fn the_second_read_in_a_row_takes_more_and_the_next_ones_need_none() {
        let ahead = ReadAhead::default();
        assert_eq!(read(&ahead, 0, 8192), [(0, 8192)]);
        assert_eq!(read(&ahead, 8192, 8192), [(8192, 65536)]);
        for n in 2..9 {
            assert_eq!(read(&ahead, n * 8192, 8192), []);
        }
        assert_eq!(read(&ahead, 9 * 8192, 8192), [(9 * 8192, 65536)]);
        // Across the end of the bytes at hand.
        read(&ahead, 17 * 8192 - 200, 100);
        assert_eq!(read(&ahead, 17 * 8192 - 100, 200), [(17 * 8192 - 100, 65536)]);
    }

    #[test]
    fn reads_all_over_the_file_take_what_they_ask_for() {
        let ahead = ReadAhead::default();
        for offset in [50_000, 10_000, 200_000, 0, 100] {
            assert_eq!(read(&ahead, offset, 50), [(offset, 50)]);
        }
        assert_eq!(read(&ahead, 0, 70_000), [(0, 70_000)]);
    }

    #[test]
    fn every_byte_is_right_whatever_the_order_and_nothing_is_read_behind_the_end() {
        let ahead = ReadAhead::default();
        let (mut seed, mut at) = (1_u64, 0);
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let len = 1 + (seed >> 40) % 20_000;
            if seed >> 61 == 0 || at + len > SIZE {
                at = (seed >> 20) % (SIZE - len);
            }
            read(&ahead, at, len as usize);
            at += len;
        }
    }

    #[test]
    fn what_could_not_be_read_is_not_handed_out() {
        let ahead = ReadAhead::default();
        read(&ahead, 0, 10);
        let failed = ahead.read(&mut [0; 10], 10, SIZE, |_, _| Err(Errno::Stale));
        assert_eq!(failed, Err(Errno::Stale));
        assert_eq!(read(&ahead, 20, 10), [(20, 65536)]);
        assert_eq!(read(&ahead, 10, 10), [(10, 10)]);
    }

    #[test]
    fn a_broken_place_behind_the_bytes_asked_for_does_not_fail_their_read() {
        const BROKEN: u64 = 25;
        let ahead = ReadAhead::default();
        let read = |offset: u64| {
            let mut buf = [0xff; 10];
            ahead.read(&mut buf, offset, SIZE, |buf, at| {
                buf.iter_mut().zip(at..).for_each(|(to, at)| *to = byte(at));
                if at + buf.len() as u64 > BROKEN { Err(Errno::Io) } else { Ok(()) }
            })?;
            Ok(buf.iter().zip(offset..).all(|(is, at)| *is == byte(at)))
        };
        assert_eq!(read(0), Ok(true));
        assert_eq!(read(10), Ok(true));
        assert_eq!(read(20), Err(Errno::Io));
        assert_eq!(read(5), Ok(true));
    }

    #[test]
    fn at_the_end_the_memory_is_given_back() {
        let ahead = ReadAhead::default();
        read(&ahead, SIZE - 30, 10);
        read(&ahead, SIZE - 20, 10);
        assert_eq!(ahead.taken.lock().unwrap().bytes.len(), 20);
        read(&ahead, SIZE - 10, 10);
        assert_eq!(ahead.taken.lock().unwrap().bytes.capacity(), 0);
    }
}
