//! Metadata, times and errors in the terms of FUSE.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use testbench_clock::WallTime;
use testbench_overlay::{Errno, SetTime, Stat};

use crate::table::Extra;

/// The size in which reading and writing are best done.
pub(crate) const BLOCK_BYTES: u32 = 4096;

const NANOS_PER_SEC: i128 = 1_000_000_000;

/// The unit of `st_blocks`.
const SECTOR_BYTES: u64 = 512;

pub(crate) fn attr(number: u64, stat: &Stat, extra: &Extra) -> FileAttr {
    let ctime = system_time(stat.ctime);
    FileAttr {
        ino: INodeNo(number),
        size: stat.size,
        blocks: stat.size.div_ceil(SECTOR_BYTES),
        atime: system_time(stat.atime),
        mtime: system_time(stat.mtime),
        ctime,
        crtime: ctime,
        kind: extra.kind(stat.kind),
        perm: (stat.mode & 0o7777) as u16,
        nlink: u32::try_from(stat.nlink).unwrap_or(u32::MAX),
        uid: extra.uid,
        gid: extra.gid,
        rdev: extra.special.map_or(0, |special| special.rdev),
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// Returns the kind that the format bits of a mode stand for, if it is special.
pub(crate) fn special_type(mode: u32) -> Option<FileType> {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::Fifo => Some(FileType::NamedPipe),
        rustix::fs::FileType::Socket => Some(FileType::Socket),
        rustix::fs::FileType::CharacterDevice => Some(FileType::CharDevice),
        rustix::fs::FileType::BlockDevice => Some(FileType::BlockDevice),
        _ => None,
    }
}

pub(crate) fn errno(errno: Errno) -> fuser::Errno {
    // The one error without a number is a path that leads out, and no name does.
    let number = io::Error::from(errno).raw_os_error();
    number.map_or(fuser::Errno::EACCES, fuser::Errno::from_i32)
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(at) => SetTime::At(wall_time(at)),
    }
}

/// Converts a time that the kernel sent. It gives a time before 1970 as seconds before 1970 and
/// nanoseconds after that; fuser 0.18 takes these for nanoseconds before.
fn wall_time(time: SystemTime) -> WallTime {
    let Err(before) = time.duration_since(UNIX_EPOCH) else { return WallTime::from(time) };
    let before = before.duration();
    let (secs, nanos) = (i128::from(before.as_secs()), i128::from(before.subsec_nanos()));
    WallTime::from_unix_nanos(nanos - secs * NANOS_PER_SEC)
}

fn system_time(time: WallTime) -> SystemTime {
    time.to_system_time().unwrap_or(UNIX_EPOCH)
}
