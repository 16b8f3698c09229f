//! The guest's memory: the only code that turns a guest address into bytes.
//!
//! Addresses are `u32` and never sign-extended; every range is checked before a byte moves. All
//! threads of a guest with a shared memory would change it at once, so such modules are refused.

use std::ops::Range;

/// The bytes of a guest's memory during one call.
pub(crate) struct MemoryBytes<'a>(pub(crate) &'a mut [u8]);

/// A range of guest addresses that is not in the memory. WASI says that it traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes at {address:#x} are outside of the memory of {memory_bytes} bytes")]
pub(crate) struct Fault {
    pub(crate) address: u32,
    pub(crate) bytes: u64,
    pub(crate) memory_bytes: u64,
}

impl MemoryBytes<'_> {
    /// Fails unless `count` elements of `size` bytes at `address` are inside.
    #[inline]
    pub(crate) fn check(&self, address: u32, count: u32, size: u32) -> Result<(), Fault> {
        self.range(address, u64::from(count) * u64::from(size)).map(drop)
    }

    /// Copies `N` bytes out. A call of this would take longer than the copy.
    #[inline(always)]
    pub(crate) fn get<const N: usize>(&self, address: u32) -> Result<[u8; N], Fault> {
        let mut value = [0; N];
        value.copy_from_slice(&self.0[self.range(address, N as u64)?]);
        Ok(value)
    }

    /// Copies `bytes` in.
    #[inline]
    pub(crate) fn put(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        let range = self.range(address, bytes.len() as u64)?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }

    /// The `len` bytes at `address`.
    #[inline]
    pub(crate) fn lend(&self, address: u32, len: u32) -> Result<&[u8], Fault> {
        let range = self.range(address, len.into())?;
        Ok(&self.0[range])
    }

    /// The `len` bytes at `address`, to be changed.
    #[inline]
    pub(crate) fn lend_mut(&mut self, address: u32, len: u32) -> Result<&mut [u8], Fault> {
        let range = self.range(address, len.into())?;
        Ok(&mut self.0[range])
    }

    #[inline(always)]
    fn range(&self, address: u32, bytes: u64) -> Result<Range<usize>, Fault> {
        let memory_bytes = self.0.len() as u64;
        // At most 2^32 - 1 + (2^32 - 1)^2, which a u64 holds.
        let end = u64::from(address) + bytes;
        if end > memory_bytes {
            return Err(Fault { address, bytes, memory_bytes });
        }
        // Both are at most the length of a slice.
        Ok(address as usize..end as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_exactly_at_the_end_and_never_wrap() {
        let mut store = [0_u8; 16];
        let mut bytes = MemoryBytes(&mut store);
        assert_eq!(bytes.get::<8>(8), Ok([0; 8]));
        assert!(bytes.get::<8>(9).is_err());
        assert!(bytes.get::<8>(u32::MAX - 3).is_err());
        assert!(bytes.check(16, 0, 8).is_ok());
        assert!(bytes.check(17, 0, 8).is_err());
        assert!(bytes.check(0, u32::MAX, u32::MAX).is_err());
        assert!(bytes.put(u32::MAX, &[1]).is_err());
        assert!(bytes.put(15, &[1]).is_ok());
        assert_eq!(bytes.lend(15, 1), Ok(&[1][..]));
        assert!(bytes.lend(15, 2).is_err());
        assert!(bytes.lend_mut(6, 11).is_err());
    }
}
