//! Arguments and environment: lists of strings, written as C wants them.

use testbench_overlay::Errno;

use super::call::Call;
use super::types::Ptr;
use crate::kernel::Result;

pub(super) fn args_get(cx: &mut Call<'_>, argv: Ptr, buf: Ptr) -> Result<()> {
    let process = cx.process;
    write_list(cx, argv, buf, process.args.iter().map(|arg| [&arg[..], b"", b""]))
}

pub(super) fn args_sizes_get(cx: &mut Call<'_>) -> Result<(u32, u32)> {
    sizes(cx, cx.process.args.iter().map(|arg| arg.len() + 1))
}

pub(super) fn environ_get(cx: &mut Call<'_>, environ: Ptr, buf: Ptr) -> Result<()> {
    let process = cx.process;
    write_list(cx, environ, buf, process.env.iter().map(|(key, value)| [&key[..], b"=", value]))
}

pub(super) fn environ_sizes_get(cx: &mut Call<'_>) -> Result<(u32, u32)> {
    sizes(cx, cx.process.env.iter().map(|(key, value)| key.len() + value.len() + 2))
}

/// Writes strings, each of several parts and a NUL, one behind the other, and their addresses.
fn write_list<'a>(
    cx: &mut Call<'_>,
    pointers: Ptr,
    buf: Ptr,
    strings: impl Iterator<Item = [&'a [u8]; 3]>,
) -> Result<()> {
    let mut pointer = u64::from(pointers.0);
    let mut at = u64::from(buf.0);
    for parts in strings {
        cx.mem.put(address(pointer)?, &address(at)?.to_le_bytes())?;
        pointer += 4;
        cx.charge_bytes(parts.iter().map(|part| part.len()).sum::<usize>() + 1)?;
        for part in parts.into_iter().chain([&[0][..]]) {
            cx.mem.put(address(at)?, part)?;
            at += part.len() as u64;
        }
    }
    Ok(())
}

/// The address, if memory has it: there is none behind a string that ends at the very end.
fn address(at: u64) -> Result<u32, Errno> {
    u32::try_from(at).map_err(|_| Errno::Fault)
}

fn sizes(cx: &Call<'_>, lengths: impl Iterator<Item = usize>) -> Result<(u32, u32)> {
    let (mut count, mut bytes) = (0_usize, 0_usize);
    for len in lengths {
        count += 1;
        bytes += len;
    }
    cx.charge(count as u64)?;
    let narrow = |n| u32::try_from(n).map_err(|_| Errno::Overflow);
    Ok((narrow(count)?, narrow(bytes)?))
}
