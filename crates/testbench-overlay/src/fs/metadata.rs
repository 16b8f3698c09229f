//! [`Metadata`], as in `std::fs`.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use testbench_clock::WallTime;

use super::{FileType, Permissions};
use crate::Stat;

/// The metadata of a file. Mirrors [`std::fs::Metadata`] and its extension for Unix.
///
/// In a tree, a file belongs to the user and group of the process, there is no time of creation,
/// and devices, sockets and FIFOs are not told from one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    stat: Stat,
    real: Option<Real>,
}

/// The properties that only a real disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Real {
    file_type: FileType,
    uid: u32,
    gid: u32,
    rdev: u64,
    blksize: u64,
    blocks: u64,
    created: Option<SystemTime>,
}

/// The unit in which a tree's files are said to be read best: as on most file systems.
const BLKSIZE_BYTES: u64 = 4096;

/// The unit of [`MetadataExt::blocks`] on every file system.
const BLOCK_BYTES: u64 = 512;

impl Metadata {
    pub(super) fn new(stat: Stat) -> Metadata {
        Metadata { stat, real: None }
    }

    /// Returns the kind of file.
    pub fn file_type(&self) -> FileType {
        self.real.map_or(FileType::new(self.stat.kind), |real| real.file_type)
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type().is_dir()
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type().is_file()
    }

    /// Whether this is a symlink, which it can only be if it was not followed.
    pub fn is_symlink(&self) -> bool {
        self.file_type().is_symlink()
    }

    /// The length in bytes; of a symlink that of its target's path.
    #[expect(clippy::len_without_is_empty, reason = "as in std")]
    pub fn len(&self) -> u64 {
        self.stat.size
    }

    /// The permission bits, as `chmod` sets them.
    pub fn permissions(&self) -> Permissions {
        Permissions::from_mode(self.stat.mode)
    }

    /// When the content last changed (`st_mtime`).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if the platform cannot represent the time.
    pub fn modified(&self) -> io::Result<SystemTime> {
        system_time(self.stat.mtime)
    }

    /// When the content was last read (`st_atime`). In an overlay nothing but
    /// [`set_times`](super::set_times) changes it once the file is made, as on a disk that is
    /// mounted `noatime`.
    ///
    /// # Errors
    ///
    /// As [`Metadata::modified`].
    pub fn accessed(&self) -> io::Result<SystemTime> {
        system_time(self.stat.atime)
    }

    /// When the file was made, where the file system keeps that.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] in a tree, and on a disk that does not keep it.
    pub fn created(&self) -> io::Result<SystemTime> {
        let unknown = || io::Error::from(io::ErrorKind::Unsupported);
        self.real.and_then(|real| real.created).ok_or_else(unknown)
    }

    /// All that is known, in the terms of [`Fs`](crate::Fs).
    pub fn stat(&self) -> &Stat {
        &self.stat
    }
}

/// Of the real disk.
impl From<std::fs::Metadata> for Metadata {
    fn from(real: std::fs::Metadata) -> Metadata {
        let file_type = FileType::from(real.file_type());
        let time = |secs: i64, nanos: i64| {
            WallTime::from_unix_nanos(i128::from(secs) * 1_000_000_000 + i128::from(nanos))
        };
        let stat = Stat {
            dev: real.dev(),
            ino: real.ino(),
            kind: file_type.kind(),
            mode: real.mode() & 0o7777,
            nlink: real.nlink(),
            size: real.len(),
            atime: time(real.atime(), real.atime_nsec()),
            mtime: time(real.mtime(), real.mtime_nsec()),
            ctime: time(real.ctime(), real.ctime_nsec()),
        };
        let real = Real {
            file_type,
            uid: real.uid(),
            gid: real.gid(),
            rdev: real.rdev(),
            blksize: real.blksize(),
            blocks: real.blocks(),
            created: real.created().ok(),
        };
        Metadata { stat, real: Some(real) }
    }
}

impl MetadataExt for Metadata {
    fn dev(&self) -> u64 {
        self.stat.dev
    }

    fn ino(&self) -> u64 {
        self.stat.ino
    }

    fn mode(&self) -> u32 {
        self.stat.mode | self.file_type().mode_bits()
    }

    fn nlink(&self) -> u64 {
        self.stat.nlink
    }

    fn uid(&self) -> u32 {
        self.real.map_or_else(|| rustix::process::geteuid().as_raw(), |real| real.uid)
    }

    fn gid(&self) -> u32 {
        self.real.map_or_else(|| rustix::process::getegid().as_raw(), |real| real.gid)
    }

    fn rdev(&self) -> u64 {
        self.real.map_or(0, |real| real.rdev)
    }

    fn size(&self) -> u64 {
        self.stat.size
    }

    fn atime(&self) -> i64 {
        secs(self.stat.atime)
    }

    fn atime_nsec(&self) -> i64 {
        nanos(self.stat.atime)
    }

    fn mtime(&self) -> i64 {
        secs(self.stat.mtime)
    }

    fn mtime_nsec(&self) -> i64 {
        nanos(self.stat.mtime)
    }

    fn ctime(&self) -> i64 {
        secs(self.stat.ctime)
    }

    fn ctime_nsec(&self) -> i64 {
        nanos(self.stat.ctime)
    }

    fn blksize(&self) -> u64 {
        self.real.map_or(BLKSIZE_BYTES, |real| real.blksize)
    }

    fn blocks(&self) -> u64 {
        self.real.map_or_else(|| self.stat.size.div_ceil(BLOCK_BYTES), |real| real.blocks)
    }
}

/// Saturating, as the earliest and the latest time that a real file can have.
fn secs(time: WallTime) -> i64 {
    let secs = time.unix_nanos().div_euclid(1_000_000_000);
    i64::try_from(secs).unwrap_or(if secs < 0 { i64::MIN } else { i64::MAX })
}

fn nanos(time: WallTime) -> i64 {
    time.unix_nanos().rem_euclid(1_000_000_000) as i64
}

fn system_time(time: WallTime) -> io::Result<SystemTime> {
    let unfit = || io::Error::new(io::ErrorKind::InvalidData, "time out of the platform's range");
    time.to_system_time().ok_or_else(unfit)
}
