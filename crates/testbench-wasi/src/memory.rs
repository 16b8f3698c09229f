//! The guest's memory: the only code that turns a guest address into bytes.
//!
//! Addresses are `u32` and never sign-extended; every range is checked before a byte moves. An
//! ordinary memory is lent as a slice. A **shared** memory may change at any
//! instant under another thread of the guest, so its bytes are copied in and out one atomic byte at
//! a time and never lent.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use wasmtime::{AsContextMut, Caller, Extern, Memory, SharedMemory};

/// Which memory the calls of a guest's thread are about. Kept in the store, so that a call does
/// not look it up by name.
#[derive(Clone, Debug, Default)]
pub(crate) enum GuestMemory {
    /// Not looked for yet: a start section may call the host before anybody saw the instance.
    #[default]
    Unknown,
    /// Known to have none.
    None,
    /// A memory of the module's own.
    Plain(Memory),
    /// A memory that several threads use.
    Shared(SharedMemory),
}

impl GuestMemory {
    /// The memory that the calling module exports as `memory`.
    pub(crate) fn find<T: 'static>(caller: &mut Caller<'_, T>) -> GuestMemory {
        match caller.get_export("memory") {
            Some(Extern::Memory(memory)) => GuestMemory::Plain(memory),
            Some(Extern::SharedMemory(memory)) => GuestMemory::Shared(memory),
            _ => GuestMemory::None,
        }
    }

    /// Runs `f` on the bytes of this memory and on the store's data.
    pub(crate) fn with<T: 'static, R>(
        &self,
        mut store: impl AsContextMut<Data = T>,
        f: impl FnOnce(MemoryBytes<'_>, &mut T) -> R,
    ) -> R {
        match self {
            GuestMemory::Unknown | GuestMemory::None => {
                f(MemoryBytes::Plain(&mut []), store.as_context_mut().data_mut())
            }
            GuestMemory::Plain(memory) => {
                let (bytes, data) = memory.data_and_store_mut(&mut store);
                f(MemoryBytes::Plain(bytes), data)
            }
            GuestMemory::Shared(memory) => {
                f(MemoryBytes::Shared(memory.data()), store.as_context_mut().data_mut())
            }
        }
    }
}

/// The bytes of a guest's memory during one call.
pub(crate) enum MemoryBytes<'a> {
    Plain(&'a mut [u8]),
    Shared(&'a [UnsafeCell<u8>]),
}

/// A range of guest addresses that is not in the memory. WASI says that it traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes at {address:#x} are outside of the memory of {memory_bytes} bytes")]
pub(crate) struct Fault {
    pub(crate) address: u32,
    pub(crate) bytes: u64,
    pub(crate) memory_bytes: u64,
}

impl MemoryBytes<'_> {
    /// The size of the memory.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            MemoryBytes::Plain(bytes) => bytes.len(),
            MemoryBytes::Shared(cells) => cells.len(),
        }
    }

    /// Fails unless `count` elements of `size` bytes at `address` are inside.
    #[inline]
    pub(crate) fn check(&self, address: u32, count: u32, size: u32) -> Result<(), Fault> {
        self.range(address, u64::from(count) * u64::from(size)).map(drop)
    }

    /// Copies `N` bytes out. A call of this would take longer than the copy.
    #[inline(always)]
    pub(crate) fn get<const N: usize>(&self, address: u32) -> Result<[u8; N], Fault> {
        let range = self.range(address, N as u64)?;
        let mut value = [0; N];
        match self {
            MemoryBytes::Plain(bytes) => value.copy_from_slice(&bytes[range]),
            MemoryBytes::Shared(cells) => copy_out(&cells[range], &mut value),
        }
        Ok(value)
    }

    /// Copies `bytes` in.
    #[inline]
    pub(crate) fn put(&mut self, address: u32, value: &[u8]) -> Result<(), Fault> {
        let range = self.range(address, value.len() as u64)?;
        match self {
            MemoryBytes::Plain(bytes) => bytes[range].copy_from_slice(value),
            MemoryBytes::Shared(cells) => copy_in(value, &cells[range]),
        }
        Ok(())
    }

    /// Runs `f` on `len` bytes, which a caller has bounded: those of a shared memory are copied.
    pub(crate) fn lend<R>(
        &self,
        address: u32,
        len: u32,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Fault> {
        let range = self.range(address, len.into())?;
        Ok(match self {
            MemoryBytes::Plain(bytes) => f(&bytes[range]),
            MemoryBytes::Shared(cells) => {
                let mut copy = vec![0; range.len()];
                copy_out(&cells[range], &mut copy);
                f(&copy)
            }
        })
    }

    /// Lets `f` fill the front of `len` bytes and say how many it filled; `len` is bounded by the
    /// caller, since those of a shared memory are filled by way of a copy.
    pub(crate) fn fill<E>(
        &mut self,
        address: u32,
        len: u32,
        f: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, Fault> {
        let range = self.range(address, len.into())?;
        Ok(match self {
            MemoryBytes::Plain(bytes) => f(&mut bytes[range]),
            MemoryBytes::Shared(cells) => {
                let mut copy = vec![0; range.len()];
                f(&mut copy).inspect(|&n| copy_in(&copy[..n], &cells[range.start..][..n]))
            }
        })
    }

    #[inline(always)]
    fn range(&self, address: u32, bytes: u64) -> Result<Range<usize>, Fault> {
        let memory_bytes = self.len() as u64;
        // At most 2^32 - 1 + (2^32 - 1)^2, which a u64 holds.
        let end = u64::from(address) + bytes;
        if end > memory_bytes {
            return Err(Fault { address, bytes, memory_bytes });
        }
        // Both are at most the length of a slice.
        Ok(address as usize..end as usize)
    }
}

fn copy_out(cells: &[UnsafeCell<u8>], to: &mut [u8]) {
    for (cell, byte) in cells.iter().zip(to) {
        *byte = atomic(cell).load(Ordering::Relaxed);
    }
}

fn copy_in(from: &[u8], cells: &[UnsafeCell<u8>]) {
    for (byte, cell) in from.iter().zip(cells) {
        atomic(cell).store(*byte, Ordering::Relaxed);
    }
}

/// A byte of a shared memory, which other threads read and write at the same time.
#[expect(unsafe_code, reason = "a shared memory's bytes have no safe access")]
fn atomic(cell: &UnsafeCell<u8>) -> &AtomicU8 {
    // SAFETY: the pointer comes from a reference, so it is valid and aligned (to 1) for as long as
    // the result lives. All other code that touches this byte in that time does so atomically too:
    // this module, by this function, and wasm code, whose accesses to shared memory are atomic or
    // racy in the sense of the threads proposal, never undefined.
    unsafe { AtomicU8::from_ptr(cell.get()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_exactly_at_the_end_and_never_wrap() {
        let mut store = [0_u8; 16];
        let mut bytes = MemoryBytes::Plain(&mut store);
        assert_eq!(bytes.get::<8>(8), Ok([0; 8]));
        assert!(bytes.get::<8>(9).is_err());
        assert!(bytes.get::<8>(u32::MAX - 3).is_err());
        assert!(bytes.check(16, 0, 8).is_ok());
        assert!(bytes.check(17, 0, 8).is_err());
        assert!(bytes.check(0, u32::MAX, u32::MAX).is_err());
        assert!(bytes.put(u32::MAX, &[1]).is_err());
        assert!(bytes.put(15, &[1]).is_ok());
        assert_eq!(bytes.lend(15, 1, <[u8]>::to_vec), Ok(vec![1]));
    }

    #[test]
    fn a_shared_memory_is_copied_and_only_what_was_filled_changes() {
        let cells: Vec<UnsafeCell<u8>> = (0..8).map(UnsafeCell::new).collect();
        let mut bytes = MemoryBytes::Shared(&cells);
        let filled = bytes.fill(2, 4, |buf| {
            buf.fill(9);
            Ok::<_, ()>(2)
        });
        assert_eq!(filled, Ok(Ok(2)));
        assert_eq!(bytes.get::<8>(0), Ok([0, 1, 9, 9, 4, 5, 6, 7]));
        assert!(bytes.fill(6, 4, |_| Ok::<_, ()>(0)).is_err());
    }
}
