//! Descriptors, and moving bytes through them.

use std::sync::Arc;

use testbench_overlay::Errno;

use super::call::Call;
use super::types::{Buf, Fdstat, FileType, Iovs, Prestat};
use crate::kernel::{CallOn, FdFlags, Kind, Open, Result, Rights, Sink, Whence};

pub(super) fn close(cx: &mut Call<'_>, fd: u32) -> Result<()> {
    // Dropped here, where no lock is held: the last end of a pipe wakes the participants that wait for it.
    let closed = cx.process.with_fds(|fds| fds.remove(fd))?;
    drop(closed);
    Ok(())
}

pub(super) fn renumber(cx: &mut Call<'_>, fd: u32, to: u32) -> Result<()> {
    let closed = cx.process.with_fds(|fds| fds.renumber(fd, to))?;
    drop(closed);
    Ok(())
}

pub(super) fn fdstat_get(cx: &mut Call<'_>, fd: u32) -> Result<Fdstat> {
    let entry = cx.process.entry(fd)?;
    Ok(Fdstat {
        file_type: file_type(&entry.open)?,
        flags: entry.open.flags(),
        base: entry.base,
        inheriting: entry.inheriting,
    })
}

pub(super) fn fdstat_set_flags(cx: &mut Call<'_>, fd: u32, flags: FdFlags) -> Result<()> {
    let open = cx.process.open_file(fd, Open::check_has_flags, Rights::FD_FDSTAT_SET_FLAGS)?;
    let own = open.flags();
    // As fcntl(2): how a file is synchronised is decided when it is opened.
    if flags.intersects(FdFlags::ANY_SYNC)
        && (flags & FdFlags::ANY_SYNC) != (own & FdFlags::ANY_SYNC)
    {
        return Err(Errno::Inval.into());
    }
    open.set_flags(flags | (own & FdFlags::ANY_SYNC));
    Ok(())
}

/// Narrows; rights that are not there cannot be asked for, known or not.
pub(super) fn fdstat_set_rights(
    cx: &mut Call<'_>,
    fd: u32,
    base: u64,
    inheriting: u64,
) -> Result<()> {
    let wanted = Rights::from_bits(base).zip(Rights::from_bits(inheriting));
    cx.process.with_fds(|fds| {
        let entry = fds.get_mut(fd)?;
        let (base, inheriting) = wanted.ok_or(Errno::NotCapable)?;
        if !entry.base.contains(base) || !entry.inheriting.contains(inheriting) {
            return Err(Errno::NotCapable);
        }
        (entry.base, entry.inheriting) = (base, inheriting);
        Ok(())
    })?;
    Ok(())
}

pub(super) fn prestat_get(cx: &mut Call<'_>, fd: u32) -> Result<Prestat> {
    let name = cx.process.entry(fd)?.preopen.ok_or(Errno::Badf)?;
    Ok(Prestat(u32::try_from(name.len()).map_err(|_| Errno::Overflow)?))
}

pub(super) fn prestat_dir_name(cx: &mut Call<'_>, fd: u32, path: Buf) -> Result<()> {
    let name = cx.process.entry(fd)?.preopen.ok_or(Errno::Notdir)?;
    if name.len() > path.len as usize {
        return Err(Errno::Nametoolong.into());
    }
    Ok(cx.mem.put(path.at, &name)?)
}

pub(super) fn seek(cx: &mut Call<'_>, fd: u32, offset: i64, whence: Whence) -> Result<u64> {
    // Asking for the position needs a smaller right than moving it.
    let asks = offset == 0 && whence == Whence::Cur;
    let right = if asks { Rights::FD_TELL } else { Rights::FD_SEEK };
    Ok(cx.process.open_file(fd, Open::check_seekable, right)?.seek(offset, whence)?)
}

pub(super) fn tell(cx: &mut Call<'_>, fd: u32) -> Result<u64> {
    Ok(cx.process.open_file(fd, Open::check_seekable, Rights::FD_TELL)?.position()?)
}

pub(super) fn read(cx: &mut Call<'_>, fd: u32, iovs: Iovs) -> Result<u32> {
    let process = cx.process;
    let open = process.open_file(fd, Open::check_readable, Rights::FD_READ)?;
    let by = CallOn { call: "fd_read", fd };
    scatter(cx, iovs, |buf, done| {
        // Bytes that came are not held back by a wait for more.
        if done > 0 && open.look_to_read()?.is_none() { Ok(0) } else { open.read(process, by, buf) }
    })
}

pub(super) fn pread(cx: &mut Call<'_>, fd: u32, iovs: Iovs, offset: u64) -> Result<u32> {
    let readable = |open: &Open| open.check_readable().and_then(|()| open.check_seekable());
    let open = cx.process.open_file(fd, readable, Rights::FD_READ | Rights::FD_SEEK)?;
    check_offset(offset)?;
    scatter(cx, iovs, |buf, done| open.pread(buf, offset.saturating_add(done.into())))
}

pub(super) fn write(cx: &mut Call<'_>, fd: u32, iovs: Iovs) -> Result<u32> {
    let process = cx.process;
    match process.sink(fd)? {
        Sink::Captured(mut sink) => {
            let mut written = 0_u32;
            for i in 0..iovs.count {
                let buf = iovs.get(cx, i)?;
                let len = buf.len.min(process.limits.io_bytes_max - written);
                cx.charge_bytes(len as usize)?;
                sink.push(cx.mem.lend(buf.at, len)?)?;
                written += len;
            }
            Ok(written)
        }
        Sink::Open(open) => {
            let by = CallOn { call: "fd_write", fd };
            gather(cx, iovs, |bytes, _| open.write(process, by, bytes))
        }
    }
}

pub(super) fn pwrite(cx: &mut Call<'_>, fd: u32, iovs: Iovs, offset: u64) -> Result<u32> {
    let writable = |open: &Open| open.check_writable().and_then(|()| open.check_seekable());
    let open = cx.process.open_file(fd, writable, Rights::FD_WRITE | Rights::FD_SEEK)?;
    check_offset(offset)?;
    gather(cx, iovs, |bytes, done| open.pwrite(bytes, offset.saturating_add(done.into())))
}

/// WASI's name for the kind of file behind `open`. It has none for pipes.
pub(super) fn file_type(open: &Arc<Open>) -> Result<FileType> {
    match &open.kind {
        Kind::Dir(_) => Ok(FileType::Directory),
        Kind::File(regular) => Ok(regular.file.stat()?.kind.into()),
        Kind::Stream(stream) if stream.is_terminal() => Ok(FileType::CharacterDevice),
        Kind::Stream(_) => Ok(FileType::Unknown),
    }
}

/// Offsets are signed in POSIX.
fn check_offset(offset: u64) -> Result<(), Errno> {
    i64::try_from(offset).map(drop).map_err(|_| Errno::Inval)
}

/// Fills one buffer after the other until one is not filled. An error after the first bytes is
/// left for the next call to find again.
fn scatter(
    cx: &mut Call<'_>,
    iovs: Iovs,
    mut read: impl FnMut(&mut [u8], u32) -> Result<usize>,
) -> Result<u32> {
    let max = cx.process.limits.io_bytes_max;
    let mut done = 0_u32;
    for i in 0..iovs.count {
        let buf = iovs.get(cx, i)?;
        let len = buf.len.min(max - done);
        if len == 0 {
            continue;
        }
        let n = match read(cx.mem.lend_mut(buf.at, len)?, done) {
            Err(crate::kernel::Fail::Errno(_)) if done > 0 => break,
            read => read?,
        };
        cx.charge_bytes(n)?;
        done += n as u32;
        if n < len as usize {
            break;
        }
    }
    Ok(done)
}

/// Writes all buffers as one write, so that no reader sees half of it: a C library writes its buffer
/// and the new bytes in two buffers.
fn gather(
    cx: &mut Call<'_>,
    iovs: Iovs,
    mut write: impl FnMut(&[u8], u32) -> Result<usize>,
) -> Result<u32> {
    let max = cx.process.limits.io_bytes_max;
    if iovs.count == 1 {
        let buf = iovs.get(cx, 0)?;
        let len = buf.len.min(max);
        cx.charge_bytes(len as usize)?;
        return Ok(write(cx.mem.lend(buf.at, len)?, 0)? as u32);
    }
    let mut all = Vec::new();
    for i in 0..iovs.count {
        let buf = iovs.get(cx, i)?;
        let len = buf.len.min(max - all.len() as u32);
        cx.charge_bytes(len as usize)?;
        all.extend_from_slice(cx.mem.lend(buf.at, len)?);
    }
    Ok(write(&all, 0)? as u32)
}
