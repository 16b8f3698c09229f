//! Metadata, times and errors in the terms of FUSE.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use testbench_clock::WallTime;

use super::table::Extra;
use crate::{Errno, FileKind, SetTime, Stat};

/// What reading and writing are best done by.
pub(super) const BLOCK_BYTES: u32 = 4096;

const NANOS_PER_SEC: i128 = 1_000_000_000;

/// The unit of `st_blocks`.
const SECTOR_BYTES: u64 = 512;

pub(super) fn attr(number: u64, stat: &Stat, extra: &Extra) -> FileAttr {
    let ctime = system_time(stat.ctime);
    FileAttr {
        ino: INodeNo(number),
        size: stat.size,
        blocks: stat.size.div_ceil(SECTOR_BYTES),
        atime: system_time(stat.atime),
        mtime: system_time(stat.mtime),
        ctime,
        crtime: ctime,
        kind: extra.special.map_or(file_type(stat.kind), |special| special.kind),
        perm: (stat.mode & 0o7777) as u16,
        nlink: u32::try_from(stat.nlink).unwrap_or(u32::MAX),
        uid: extra.uid,
        gid: extra.gid,
        rdev: extra.special.map_or(0, |special| special.rdev),
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// What cannot be opened shows as what the kernel never opens.
pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Dir => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Special => FileType::Socket,
    }
}

/// The kind that the format bits of a mode stand for, if it is one of the special ones.
pub(super) fn special_type(mode: u32) -> Option<FileType> {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::Fifo => Some(FileType::NamedPipe),
        rustix::fs::FileType::Socket => Some(FileType::Socket),
        rustix::fs::FileType::CharacterDevice => Some(FileType::CharDevice),
        rustix::fs::FileType::BlockDevice => Some(FileType::BlockDevice),
        _ => None,
    }
}

pub(super) fn errno(errno: Errno) -> fuser::Errno {
    // What has no number of its own is a path that leads out, and none does here.
    let number = io::Error::from(errno).raw_os_error();
    number.map_or(fuser::Errno::EACCES, fuser::Errno::from_i32)
}

pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(at) => SetTime::At(asked(at)),
    }
}

/// The time that was asked for. Before 1970 the kernel says it as so many seconds before and some
/// nanoseconds after that, which fuser 0.18 takes for as many nanoseconds before.
fn asked(time: SystemTime) -> WallTime {
    let Err(before) = time.duration_since(UNIX_EPOCH) else { return WallTime::from(time) };
    let before = before.duration();
    let (secs, nanos) = (i128::from(before.as_secs()), i128::from(before.subsec_nanos()));
    WallTime::from_unix_nanos(nanos - secs * NANOS_PER_SEC)
}

fn system_time(time: WallTime) -> SystemTime {
    time.to_system_time().unwrap_or(UNIX_EPOCH)
}
