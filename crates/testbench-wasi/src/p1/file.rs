//! Open files and directories: size, times, storage, entries.

use std::sync::Arc;

use testbench_clock::WallTime;
use testbench_overlay::{Errno, SetTime, SetTimes};

use super::call::Call;
use super::fd::file_type;
use super::types::{Advice, Buf, FileType, Filestat, FstFlags};
use crate::kernel::{Kind, Open, Result, Rights};

/// Advice is taken and changes nothing: there is no cache to steer.
pub(super) fn advise(cx: &mut Call<'_>, fd: u32, offset: u64, len: u64, _: Advice) -> Result<()> {
    cx.process.open_as(fd, |open| open.regular(), Rights::FD_ADVISE)?;
    // As posix_fadvise(2): both are signed there.
    i64::try_from(offset).and(i64::try_from(len)).map_err(|_| Errno::Inval)?;
    Ok(())
}

pub(super) fn allocate(cx: &mut Call<'_>, fd: u32, offset: u64, len: u64) -> Result<()> {
    let writable = |open: &Arc<Open>| {
        let file = open.regular()?;
        open.check_writable().map(|()| file)
    };
    let file = cx.process.open_as(fd, writable, Rights::FD_ALLOCATE)?;
    if len == 0 || i64::try_from(offset).is_err() || i64::try_from(len).is_err() {
        return Err(Errno::Inval.into());
    }
    if i64::try_from(offset + len).is_err() {
        return Err(Errno::Fbig.into());
    }
    Ok(file.allocate(offset, len)?)
}

pub(super) fn datasync(cx: &mut Call<'_>, fd: u32) -> Result<()> {
    Ok(cx.process.open_as(fd, |open| open.any_file(), Rights::FD_DATASYNC)?.sync(true)?)
}

pub(super) fn sync(cx: &mut Call<'_>, fd: u32) -> Result<()> {
    Ok(cx.process.open_as(fd, |open| open.any_file(), Rights::FD_SYNC)?.sync(false)?)
}

pub(super) fn filestat_get(cx: &mut Call<'_>, fd: u32) -> Result<Filestat> {
    let open = cx.process.open_file(fd, |_| Ok(()), Rights::FD_FILESTAT_GET)?;
    match &open.kind {
        Kind::File(regular) => Ok(regular.file.stat()?.into()),
        Kind::Dir(dir) => Ok(dir.file.stat()?.into()),
        Kind::Stream(_) => Ok(Filestat { file_type: file_type(&open)?, stat: None }),
    }
}

pub(super) fn filestat_set_size(cx: &mut Call<'_>, fd: u32, size: u64) -> Result<()> {
    let writable = |open: &Arc<Open>| {
        let file = open.regular()?;
        // As ftruncate(2) of a file that is open for reading only.
        open.check_writable().map(|()| file).map_err(|_| Errno::Inval)
    };
    let file = cx.process.open_as(fd, writable, Rights::FD_FILESTAT_SET_SIZE)?;
    i64::try_from(size).map_err(|_| Errno::Inval)?;
    Ok(file.set_len(size)?)
}

pub(super) fn filestat_set_times(
    cx: &mut Call<'_>,
    fd: u32,
    atim: u64,
    mtim: u64,
    flags: FstFlags,
) -> Result<()> {
    let times = set_times(atim, mtim, flags)?;
    let file = cx.process.open_as(fd, |open| open.any_file(), Rights::FD_FILESTAT_SET_TIMES)?;
    Ok(file.set_times(times)?)
}

/// The times that a call asks for. An instant and "now" at once is an error.
pub(super) fn set_times(atim: u64, mtim: u64, flags: FstFlags) -> Result<SetTimes, Errno> {
    let one =
        |at: u64, set: FstFlags, now: FstFlags| match (flags.contains(set), flags.contains(now)) {
            (true, true) => Err(Errno::Inval),
            (true, false) => Ok(Some(SetTime::At(WallTime::from_unix_nanos(at.into())))),
            (false, true) => Ok(Some(SetTime::Now)),
            (false, false) => Ok(None),
        };
    Ok(SetTimes {
        atime: one(atim, FstFlags::ATIM, FstFlags::ATIM_NOW)?,
        mtime: one(mtim, FstFlags::MTIM, FstFlags::MTIM_NOW)?,
    })
}

/// Writes entries until the buffer is full; the last one may be cut off, and the guest reads
/// it again with the cookie of the one before it. Cookie 0 begins anew, and sees what changed.
pub(super) fn readdir(cx: &mut Call<'_>, fd: u32, buf: Buf, cookie: u64) -> Result<u32> {
    let dir = cx.process.open_as(fd, |open| open.directory(), Rights::FD_READDIR)?;
    let listing = dir.listing(cookie == 0)?;
    if cookie == 0 {
        cx.charge(listing.len() as u64)?;
    }
    let mut used = 0;
    // A cookie is the place of the next entry, so the one behind an entry never overflows.
    let from = usize::try_from(cookie).unwrap_or(usize::MAX).min(listing.len());
    for (entry, next) in listing[from..].iter().zip(from as u64 + 1..) {
        // `dirent`: the cookie of the next entry, and this entry's inode, length and type. A name is a
        // component of a path, so its length fits.
        let file_type = FileType::from(entry.kind) as u64;
        let dirent = [next, entry.ino, entry.name.len() as u64 | file_type << 32];
        for bytes in [dirent.map(u64::to_le_bytes).as_flattened(), &entry.name] {
            let n = bytes.len().min((buf.len - used) as usize);
            cx.mem.put(buf.at + used, &bytes[..n])?;
            used += n as u32;
            if used == buf.len {
                break;
            }
        }
        if used == buf.len {
            break;
        }
    }
    cx.charge_bytes(used as usize)?;
    Ok(used)
}
