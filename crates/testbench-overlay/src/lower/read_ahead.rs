//! Small reads of a lower file, one behind the other, served from a larger one.
//!
//! A read beneath is two system calls, the second of which finds out whether the file has changed. For
//! a few bytes they are most of the cost, and programs do read a file by a few bytes: `BufReader` by
//! 8 KiB, the C library's streams by one. So the second small read that goes on where the one before
//! it ended takes [`AHEAD_BYTES`], and those that follow are copies.
//!
//! What is handed out was what the file held when it was first seen, as the look after the larger read
//! has shown. A change beneath after that is found by the next read that goes beneath.

use std::sync::Mutex;

use crate::Errno;

/// As much as there is in one chunk: further growth of it gains nothing measurable.
const AHEAD_BYTES: u64 = 64 * 1024;

/// Belongs to one open lower file.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    taken: Mutex<Taken>,
}

/// The last bytes that were taken.
#[derive(Debug, Default)]
struct Taken {
    /// Where the last read ended.
    next: u64,
    /// Where `bytes` start.
    start: u64,
    bytes: Vec<u8>,
}

impl ReadAhead {
    /// Fills `buf` with what is at `offset` of a file of `size` bytes, all of which is there. `read`
    /// fills a buffer from the file itself, in part or wholly for the buffer's sake.
    ///
    /// # Errors
    ///
    /// Those of `read`, for the bytes asked for alone or because the file has changed.
    pub(crate) fn read(
        &self,
        buf: &mut [u8],
        offset: u64,
        size: u64,
        mut read: impl FnMut(&mut [u8], u64) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        // Large reads gain nothing, and who reads the same file at the same time does not wait.
        let taken = if buf.len() as u64 >= AHEAD_BYTES { None } else { self.taken.try_lock().ok() };
        let Some(mut taken) = taken else { return read(buf, offset) };
        let goes_on = taken.next == offset && offset > 0;
        taken.next = offset + buf.len() as u64;
        let at_hand = taken.copy(buf, offset);
        let (rest, offset) = (&mut buf[at_hand..], offset + at_hand as u64);
        if rest.is_empty() {
            taken.drop_if_read_to(size);
            return Ok(());
        }
        if !goes_on {
            return read(rest, offset);
        }
        match taken.take(offset, size, rest.len(), &mut read) {
            Ok(()) => taken.copy(rest, offset),
            Err(Errno::Stale) => return Err(Errno::Stale),
            // It may be for the bytes behind, which nobody has asked for.
            Err(_) => return read(rest, offset),
        };
        taken.drop_if_read_to(size);
        Ok(())
    }
}

impl Taken {
    /// Copies what is at hand of the bytes at `offset`, answering how many that were.
    fn copy(&self, buf: &mut [u8], offset: u64) -> usize {
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let there = from.and_then(|from| self.bytes.get(from..)).unwrap_or_default();
        let len = there.len().min(buf.len());
        buf[..len].copy_from_slice(&there[..len]);
        len
    }

    /// Takes the bytes from `offset` on, `least` of them or more.
    fn take(
        &mut self,
        offset: u64,
        size: u64,
        least: usize,
        read: &mut impl FnMut(&mut [u8], u64) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let len = size.saturating_sub(offset).min(AHEAD_BYTES) as usize;
        self.start = offset;
        self.bytes.resize(len.max(least), 0);
        read(&mut self.bytes, offset).inspect_err(|_| self.bytes.clear())
    }

    /// With the last byte of the file its memory goes: few read on from there.
    fn drop_if_read_to(&mut self, size: u64) {
        if self.next >= size {
            self.bytes = Vec::new();
        }
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
        // Across the end of what is at hand: only the rest is read.
        read(&ahead, 17 * 8192 - 100, 100);
        assert_eq!(read(&ahead, 17 * 8192, 10), [(17 * 8192, 65536)]);
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
