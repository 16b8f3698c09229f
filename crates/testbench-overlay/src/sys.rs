//! The system calls of this crate. Every one takes a directory handle and **one** name, and none
//! follows a symlink, so that a process that swaps names on disk cannot lead out of a directory.

use std::ffi::{CString, OsStr};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use testbench_clock::WallTime;

use crate::vfs::Result;
use crate::{DirEntry, Errno, FileKind, Follow, SetTime, SetTimes, Stat};

/// For directories through which only names are looked up; needs no read permission.
#[cfg(target_os = "linux")]
const SEARCH: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const SEARCH: OFlags = OFlags::RDONLY;

const PLAIN_FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

const NOFOLLOW: AtFlags = AtFlags::SYMLINK_NOFOLLOW;

/// The purpose of an open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Search,
    Read,
    Write,
    ReadWrite,
}

impl Access {
    fn flags(self) -> OFlags {
        match self {
            Access::Search => SEARCH,
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::WRONLY,
            Access::ReadWrite => OFlags::RDWR,
        }
    }
}

/// Raw bytes as a piece of a host path.
pub(crate) fn os_str(bytes: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

/// Opens a directory by a path of the host, following symlinks.
pub(crate) fn open_top(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens the directory `name`, which may be `.`.
pub(crate) fn open_dir(dir: &OwnedFd, name: &[u8], access: Access) -> Result<OwnedFd> {
    let flags = access.flags() | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Opens several components at once for searching, if there is no symlink among them. An error
/// says nothing more than that the way is to be walked.
#[cfg(target_os = "linux")]
pub(crate) fn open_dirs_beneath(dir: &OwnedFd, path: &[u8]) -> Result<OwnedFd> {
    use rustix::fs::ResolveFlags;

    let flags = SEARCH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn open_dirs_beneath(_: &OwnedFd, _: &[u8]) -> Result<OwnedFd> {
    Err(Errno::Nosys)
}

/// Opens an existing regular file. Something else that has taken its place since it was looked at
/// neither blocks the open nor is let through.
pub(crate) fn open_file(dir: &OwnedFd, name: &[u8], access: Access) -> Result<OwnedFd> {
    let flags = access.flags() | PLAIN_FILE | OFlags::NONBLOCK;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    match kind(&rustix::fs::fstat(&file)?) {
        FileKind::File => Ok(file),
        FileKind::Dir => Err(Errno::Isdir),
        FileKind::Symlink | FileKind::Special => Err(Errno::Nxio),
    }
}

/// Creates a regular file with exactly the permission bits `mode`.
pub(crate) fn create_file(
    dir: &OwnedFd,
    name: &[u8],
    access: Access,
    mode: u32,
) -> Result<OwnedFd> {
    let flags = access.flags() | PLAIN_FILE | OFlags::CREATE | OFlags::EXCL;
    let file = rustix::fs::openat(dir, name, flags, self::mode(mode))?;
    set_mode(&file, mode)?;
    Ok(file)
}

/// Creates a directory with exactly the permission bits `mode`, if it can be opened for setting
/// them; else with what the umask leaves.
pub(crate) fn create_dir(dir: &OwnedFd, name: &[u8], mode: u32) -> Result<()> {
    rustix::fs::mkdirat(dir, name, self::mode(mode))?;
    let name = name.strip_suffix(b"/").unwrap_or(name);
    match open_dir(dir, name, Access::Read) {
        Ok(made) => set_mode(&made, mode),
        Err(_) => Ok(()),
    }
}

pub(crate) fn symlink(target: &[u8], dir: &OwnedFd, name: &[u8]) -> Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

pub(crate) fn link(from_dir: &OwnedFd, from: &[u8], to_dir: &OwnedFd, to: &[u8]) -> Result<()> {
    Ok(rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty())?)
}

pub(crate) fn rename(from_dir: &OwnedFd, from: &[u8], to_dir: &OwnedFd, to: &[u8]) -> Result<()> {
    Ok(rustix::fs::renameat(from_dir, from, to_dir, to)?)
}

pub(crate) fn remove_file(dir: &OwnedFd, name: &[u8]) -> Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

pub(crate) fn remove_dir(dir: &OwnedFd, name: &[u8]) -> Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

pub(crate) fn read_link(dir: &OwnedFd, name: &[u8]) -> Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new()).map(CString::into_bytes)?)
}

pub(crate) fn stat_at(dir: &OwnedFd, name: &[u8]) -> Result<Stat> {
    Ok(stat_of(&rustix::fs::statat(dir, name, NOFOLLOW)?))
}

pub(crate) fn stat(file: &OwnedFd) -> Result<Stat> {
    Ok(stat_of(&rustix::fs::fstat(file)?))
}

pub(crate) fn set_mode(file: &OwnedFd, mode: u32) -> Result<()> {
    Ok(rustix::fs::fchmod(file, self::mode(mode))?)
}

pub(crate) fn set_times_at(dir: &OwnedFd, name: &[u8], times: SetTimes) -> Result<()> {
    Ok(rustix::fs::utimensat(dir, name, &timestamps(times)?, NOFOLLOW)?)
}

pub(crate) fn set_times(file: impl AsFd, times: SetTimes) -> Result<()> {
    Ok(rustix::fs::futimens(file, &timestamps(times)?)?)
}

/// The same for any path of the host.
pub(crate) fn set_times_of(path: &Path, times: SetTimes, follow: Follow) -> io::Result<()> {
    let flags = if follow == Follow::Yes { AtFlags::empty() } else { NOFOLLOW };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &timestamps(times)?, flags)?)
}

pub(crate) fn set_len(file: &OwnedFd, len: u64) -> Result<()> {
    if len > i64::MAX as u64 {
        return Err(Errno::Fbig);
    }
    Ok(rustix::fs::ftruncate(file, len)?)
}

pub(crate) fn read_at(file: &OwnedFd, buf: &mut [u8], offset: u64) -> Result<usize> {
    if offset > i64::MAX as u64 {
        return Ok(0);
    }
    Ok(rustix::io::pread(file, buf, offset)?)
}

pub(crate) fn write_at(file: &OwnedFd, buf: &[u8], offset: u64) -> Result<usize> {
    if offset > i64::MAX as u64 {
        return Err(Errno::Fbig);
    }
    Ok(rustix::io::pwrite(file, buf, offset)?)
}

/// The next range that is not a hole, as far as the file system tells; `None` at the end.
#[cfg(target_os = "linux")]
pub(crate) fn next_data(file: &OwnedFd, offset: u64) -> Result<Option<Range<u64>>> {
    use rustix::fs::SeekFrom;
    use rustix::io::Errno as Os;

    let size = stat(file)?.size;
    if offset >= size {
        return Ok(None);
    }
    // The position of the descriptor is used for nothing else.
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Os::NXIO) => return Ok(None),
        Err(Os::INVAL | Os::NOTSUP) => return Ok(Some(offset..size)),
        Err(errno) => return Err(errno.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(size);
    Ok(Some(start..end.max(start + 1)))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn next_data(file: &OwnedFd, offset: u64) -> Result<Option<Range<u64>>> {
    let size = stat(file)?.size;
    Ok((offset < size).then_some(offset..size))
}

/// Makes `to` hold what `from` holds without copying it; false if the file system cannot.
#[cfg(target_os = "linux")]
pub(crate) fn share_blocks(from: &OwnedFd, to: &OwnedFd) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn share_blocks(_: &OwnedFd, _: &OwnedFd) -> bool {
    false
}

/// Writes at the end in one step; returns the count and the length after it.
#[cfg(target_os = "linux")]
pub(crate) fn append(file: &OwnedFd, buf: &[u8]) -> Result<(usize, u64)> {
    use rustix::io::ReadWriteFlags;

    let parts = [io::IoSlice::new(buf)];
    let written = rustix::io::pwritev2(file, &parts, 0, ReadWriteFlags::APPEND)?;
    Ok((written, stat(file)?.size))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn append(file: &OwnedFd, buf: &[u8]) -> Result<(usize, u64)> {
    let end = stat(file)?.size;
    let written = write_at(file, buf, end)?;
    Ok((written, end + written as u64))
}

pub(crate) fn sync(file: &OwnedFd, data_only: bool) -> Result<()> {
    if data_only {
        rustix::fs::fdatasync(file)?
    } else {
        rustix::fs::fsync(file)?
    }
    Ok(())
}

/// The entries but `.` and `..`, by raw bytes. No other listing of the handle may run meanwhile: both
/// would move its position.
pub(crate) fn read_dir(dir: &OwnedFd) -> Result<Vec<DirEntry>> {
    let mut listing = rustix::fs::Dir::new(rustix::io::fcntl_dupfd_cloexec(dir, 0)?)?;
    listing.rewind();
    let mut entries = Vec::new();
    for entry in listing {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let kind = match entry.file_type() {
            _ if matches!(name, b"." | b"..") => continue,
            FileType::Unknown => match stat_at(dir, name) {
                Err(Errno::Noent) => continue,
                stat => stat?.kind,
            },
            known => kind_of(known),
        };
        entries.push(DirEntry { name: name.into(), ino: entry.ino(), kind });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// How many descriptors this process may have open, as far as the system says.
pub(crate) fn descriptors_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Whether two handles are of one directory.
pub(crate) fn same(a: &impl AsFd, b: &impl AsFd) -> bool {
    match (rustix::fs::fstat(a), rustix::fs::fstat(b)) {
        (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
        _ => false,
    }
}

fn mode(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & 0o7777) as rustix::fs::RawMode)
}

fn kind(stat: &rustix::fs::Stat) -> FileKind {
    kind_of(FileType::from_raw_mode(stat.st_mode))
}

fn kind_of(file_type: FileType) -> FileKind {
    match file_type {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Special,
    }
}

// The widths and signs of these fields differ from one platform to the next.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    let time = |secs: i64, nanos: i64| {
        WallTime::from_unix_nanos(i128::from(secs) * 1_000_000_000 + i128::from(nanos))
    };
    Stat {
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        kind: kind(stat),
        mode: stat.st_mode as u32 & 0o7777,
        nlink: stat.st_nlink as u64,
        size: stat.st_size as u64,
        atime: time(stat.st_atime as i64, stat.st_atime_nsec as i64),
        mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

fn timestamps(times: SetTimes) -> Result<Timestamps> {
    Ok(Timestamps {
        last_access: timespec(times.atime)?,
        last_modification: timespec(times.mtime)?,
    })
}

fn timespec(time: Option<SetTime>) -> Result<Timespec> {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    Ok(match time {
        None => special(rustix::fs::UTIME_OMIT),
        Some(SetTime::Now) => special(rustix::fs::UTIME_NOW),
        Some(SetTime::At(at)) => {
            let secs = i64::try_from(at.unix_nanos().div_euclid(1_000_000_000));
            Timespec {
                tv_sec: secs.map_err(|_| Errno::Inval)?,
                // Below 10^9, so it fits wherever it is narrower.
                tv_nsec: at.unix_nanos().rem_euclid(1_000_000_000) as _,
            }
        }
    })
}
