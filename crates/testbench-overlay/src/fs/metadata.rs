//! [`Metadata`], as in `std::fs`.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt as _};
use std::time::SystemTime;

use testbench_clock::WallTime;

use super::{FileType, MODE_BITS, Permissions};
use crate::Stat;

/// The metadata of a file. Mirrors [`std::fs::Metadata`] and its extension for Unix.
///
/// In a tree, a file belongs to the user and group of the process, there is no time of creation,
/// and devices, sockets and FIFOs are not told from one another.
#[derive(Clone, Debug)]
pub struct Metadata {
    stat: Stat,
    /// The source of the properties that only a real disk has.
    real: Option<std::fs::Metadata>,
}

/// The unit in which a tree's files are said to be read best: as on most file systems.
const BLKSIZE_BYTES: u64 = 4096;

/// The unit of [`MetadataExt::blocks`] on every file system.
const BLOCK_BYTES: u64 = 512;

impl Metadata {
    /// Returns the kind of file.
    pub fn file_type(&self) -> FileType {
        match &self.real {
            Some(real) => real.file_type().into(),
            None => self.stat.kind.into(),
        }
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

    /// Returns the length in bytes; for a symlink, the length of the target's path.
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
        self.real.as_ref().ok_or(io::ErrorKind::Unsupported)?.created()
    }

    /// Returns the metadata in the terms of [`Fs`](crate::Fs).
    pub fn stat(&self) -> &Stat {
        &self.stat
    }
}

/// Of a tree.
impl From<Stat> for Metadata {
    fn from(stat: Stat) -> Metadata {
        Metadata { stat, real: None }
    }
}

/// Of the real disk.
impl From<std::fs::Metadata> for Metadata {
    fn from(real: std::fs::Metadata) -> Metadata {
        let time = |secs: i64, nanos: i64| {
            WallTime::from_unix_nanos(i128::from(secs) * 1_000_000_000 + i128::from(nanos))
        };
        let stat = Stat {
            dev: real.dev(),
            ino: real.ino(),
            kind: FileType::from(real.file_type()).kind(),
            mode: real.mode() & MODE_BITS,
            nlink: real.nlink(),
            size: real.len(),
            atime: time(real.atime(), real.atime_nsec()),
            mtime: time(real.mtime(), real.mtime_nsec()),
            ctime: time(real.ctime(), real.ctime_nsec()),
        };
        Metadata { stat, real: Some(real) }
    }
}

/// Declares each method of the extension by its value in a tree; on a disk std has the value.
macro_rules! metadata_ext {
    ($($name:ident: $type:ty = |$stat:ident| $in_tree:expr;)*) => {
        impl MetadataExt for Metadata {
            $(fn $name(&self) -> $type {
                let $stat = &self.stat;
                self.real.as_ref().map_or_else(|| $in_tree, |real| real.$name())
            })*
        }
    };
}

metadata_ext! {
    dev: u64 = |stat| stat.dev;
    ino: u64 = |stat| stat.ino;
    mode: u32 = |stat| stat.mode | FileType::from(stat.kind).mode_bits();
    nlink: u64 = |stat| stat.nlink;
    uid: u32 = |_stat| rustix::process::geteuid().as_raw();
    gid: u32 = |_stat| rustix::process::getegid().as_raw();
    rdev: u64 = |_stat| 0;
    size: u64 = |stat| stat.size;
    atime: i64 = |stat| secs(stat.atime);
    atime_nsec: i64 = |stat| nanos(stat.atime);
    mtime: i64 = |stat| secs(stat.mtime);
    mtime_nsec: i64 = |stat| nanos(stat.mtime);
    ctime: i64 = |stat| secs(stat.ctime);
    ctime_nsec: i64 = |stat| nanos(stat.ctime);
    blksize: u64 = |_stat| BLKSIZE_BYTES;
    blocks: u64 = |stat| stat.size.div_ceil(BLOCK_BYTES);
}

/// Saturates at the earliest and the latest time that a real file can have.
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
