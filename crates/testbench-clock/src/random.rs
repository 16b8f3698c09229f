//! Random bytes from a seed: one stream for each path. Reading one stream does not move another.

use crate::debug::debug_by;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// The seed of a session. It determines every random byte in the session.
///
/// A stream is keyed by the participant's **spawn path**, such as `1/sort#2`, and not by the time of
/// the request: one more guest in a test does not change the bytes that other guests read.
///
/// ```
/// use testbench_clock::Seed;
///
/// let mut bytes = [0; 8];
/// Seed::new(7).stream("1/sort").fill(&mut bytes);
/// let mut again = [0; 8];
/// let mut stream = Seed::new(7).stream("1/sort");
/// stream.fill(&mut again[..3]); // the sizes of the calls make no difference
/// stream.fill(&mut again[3..]);
/// assert_eq!(bytes, again);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    /// Returns the seed with this number. A session uses 0 by default.
    pub const fn new(number: u64) -> Self {
        Seed(number)
    }

    /// Returns the number that was passed to [`Seed::new`].
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Returns the stream of this seed for `path`, from its first byte.
    ///
    /// ```
    /// use testbench_clock::Seed;
    ///
    /// let seed = Seed::new(7);
    /// let first = |path| seed.stream(path).next_u64();
    /// assert_eq!(first("1/sort"), first("1/sort"));
    /// assert_ne!(first("1/sort"), first("1/sort#2"));
    /// ```
    pub fn stream(self, path: &str) -> RandomStream {
        // The prefix keeps these keys apart from any other use of the same hash. The seed has a
        // fixed width and the path comes last, so each pair of seed and path hashes other bytes.
        let mut key = Sha256::new();
        key.update(b"testbench-clock random stream v1\0");
        key.update(self.0.to_le_bytes());
        key.update(path.as_bytes());
        RandomStream {
            rng: ChaCha12Rng::from_seed(key.finalize().into()),
            block: [0; BLOCK_BYTES],
            used: BLOCK_BYTES,
        }
    }
}

/// A stream of bytes that a [`Seed`] and a path determine (ChaCha with 12 rounds, keyed by SHA-256).
///
/// It is for tests and is reproducible on purpose: do not derive a secret from it.
#[derive(Clone)]
pub struct RandomStream {
    rng: ChaCha12Rng,
    block: [u8; BLOCK_BYTES],
    used: usize,
}

// The generator returns whole words. With this buffer a caller can take any number of bytes.
const BLOCK_BYTES: usize = 64;

impl RandomStream {
    /// Fills `bytes` with the next bytes of the stream.
    pub fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.used == BLOCK_BYTES {
                self.rng.fill_bytes(&mut self.block);
                self.used = 0;
            }
            let n = bytes.len().min(BLOCK_BYTES - self.used);
            let (now, later) = bytes.split_at_mut(n);
            now.copy_from_slice(&self.block[self.used..self.used + n]);
            self.used += n;
            bytes = later;
        }
    }

    /// Returns the next eight bytes as a number, least significant byte first.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Returns a number below `bound`, all equally likely, or 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let Ok(bound) = u64::try_from(bound) else { return 0 };
        if bound < 2 {
            return 0;
        }
        // A value past the last whole multiple of the bound is drawn again. Otherwise small results
        // would be more likely.
        let last = u64::MAX - u64::MAX % bound;
        loop {
            let drawn = self.next_u64();
            if drawn < last {
                return usize::try_from(drawn % bound).unwrap_or(0);
            }
        }
    }
}

// The debug form shows no bytes, since streams are not compared by it.
debug_by!([] RandomStream, "RandomStream", |_| {});

#[cfg(test)]
mod tests {
    use super::*;

    fn take(seed: u64, path: &str, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        Seed::new(seed).stream(path).fill(&mut bytes);
        bytes
    }

    #[test]
    fn seed_and_path_decide_the_bytes() {
        assert_eq!(take(1, "a", 100), take(1, "a", 100));
        assert_ne!(take(1, "a", 16), take(2, "a", 16));
        assert_ne!(take(1, "a", 16), take(1, "b", 16));
        assert_ne!(take(1, "", 16), take(0, "\u{1}", 16));
    }

    /// Committed tapes depend on these bytes: a change here is a change of format.
    #[test]
    fn the_stream_is_stable_between_versions() {
        let hex: String = take(0, "1/date", 16).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "aa028733bcfe08271c3d380297f1a521");
    }

    #[test]
    fn pieces_of_any_size_give_the_same_stream() {
        let whole = take(9, "x", 1000);
        for size in [1, 3, 63, 64, 65, 999] {
            let mut stream = Seed::new(9).stream("x");
            let mut pieces = vec![0; 1000];
            for piece in pieces.chunks_mut(size) {
                stream.fill(piece);
            }
            assert_eq!(pieces, whole, "pieces of {size}");
        }
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut stream = Seed::new(3).stream("dice");
        let mut seen = [0_u32; 6];
        for _ in 0..6000 {
            seen[stream.below(6)] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!((stream.below(0), stream.below(1)), (0, 0));
    }
}
