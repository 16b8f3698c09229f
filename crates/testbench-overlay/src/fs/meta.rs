//! Metadata, as in `std::fs`.

use std::io;
use std::time::SystemTime;

use testbench_clock::WallTime;

use crate::{FileKind, SetTime, SetTimes, Stat};

/// What is known about a file. Mirrors [`std::fs::Metadata`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    stat: Stat,
}

impl Metadata {
    pub(super) fn new(stat: Stat) -> Metadata {
        Metadata { stat }
    }

    /// File, directory or symlink.
    pub fn file_type(&self) -> FileType {
        FileType { kind: self.stat.kind }
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type().is_dir()
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type().is_file()
    }

    /// Whether this is a symlink.
    pub fn is_symlink(&self) -> bool {
        self.file_type().is_symlink()
    }

    /// The length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "as in std")]
    pub fn len(&self) -> u64 {
        self.stat.size
    }

    /// The permission bits.
    pub fn permissions(&self) -> Permissions {
        Permissions { mode: self.stat.mode }
    }

    /// When the content last changed.
    ///
    /// # Errors
    ///
    /// If the platform cannot represent the time.
    pub fn modified(&self) -> io::Result<SystemTime> {
        system_time(self.stat.mtime)
    }

    /// When the content was last read.
    ///
    /// # Errors
    ///
    /// As [`Metadata::modified`].
    pub fn accessed(&self) -> io::Result<SystemTime> {
        system_time(self.stat.atime)
    }

    /// All that is known, as guests see it.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }
}

/// Of the real disk.
impl From<std::fs::Metadata> for Metadata {
    fn from(real: std::fs::Metadata) -> Metadata {
        use std::os::unix::fs::MetadataExt as _;

        let kind = match real.file_type() {
            t if t.is_dir() => FileKind::Dir,
            t if t.is_file() => FileKind::File,
            t if t.is_symlink() => FileKind::Symlink,
            _ => FileKind::Special,
        };
        let time = |secs: i64, nanos: i64| {
            WallTime::from_unix_nanos(i128::from(secs) * 1_000_000_000 + i128::from(nanos))
        };
        Metadata::new(Stat {
            dev: real.dev(),
            ino: real.ino(),
            kind,
            mode: real.mode() & 0o7777,
            nlink: real.nlink(),
            size: real.len(),
            atime: time(real.atime(), real.atime_nsec()),
            mtime: time(real.mtime(), real.mtime_nsec()),
            ctime: time(real.ctime(), real.ctime_nsec()),
        })
    }
}

/// What kind of file something is. Mirrors [`std::fs::FileType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileType {
    kind: FileKind,
}

impl FileType {
    pub(super) fn new(kind: FileKind) -> FileType {
        FileType { kind }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Dir
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Whether it is a symlink.
    pub fn is_symlink(&self) -> bool {
        self.kind == FileKind::Symlink
    }
}

/// Permission bits. Mirrors [`std::fs::Permissions`] and its extension for Unix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    mode: u32,
}

impl Permissions {
    /// From the bits of `chmod`.
    pub fn from_mode(mode: u32) -> Permissions {
        Permissions { mode: mode & 0o7777 }
    }

    /// The bits of `chmod`.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Sets the bits of `chmod`.
    pub fn set_mode(&mut self, mode: u32) {
        self.mode = mode & 0o7777;
    }

    /// Whether nobody may write.
    pub fn readonly(&self) -> bool {
        self.mode & 0o222 == 0
    }

    /// Sets or clears all three write bits, as in std.
    pub fn set_readonly(&mut self, readonly: bool) {
        if readonly {
            self.mode &= !0o222;
        } else {
            self.mode |= 0o222;
        }
    }
}

impl From<std::fs::Permissions> for Permissions {
    fn from(real: std::fs::Permissions) -> Permissions {
        use std::os::unix::fs::PermissionsExt as _;
        Permissions::from_mode(real.mode())
    }
}

impl From<Permissions> for std::fs::Permissions {
    fn from(ours: Permissions) -> std::fs::Permissions {
        std::os::unix::fs::PermissionsExt::from_mode(ours.mode)
    }
}

/// New times for a file; what is not set stays. Mirrors [`std::fs::FileTimes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTimes {
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
}

impl FileTimes {
    /// Nothing set.
    pub fn new() -> FileTimes {
        FileTimes::default()
    }

    /// Sets the time of last access.
    pub fn set_accessed(mut self, t: SystemTime) -> FileTimes {
        self.accessed = Some(t);
        self
    }

    /// Sets the time of last change of the content.
    pub fn set_modified(mut self, t: SystemTime) -> FileTimes {
        self.modified = Some(t);
        self
    }

    pub(super) fn to_tree(self) -> SetTimes {
        let at = |t: SystemTime| SetTime::At(WallTime::from(t));
        SetTimes { atime: self.accessed.map(at), mtime: self.modified.map(at) }
    }

    pub(super) fn to_std(self) -> std::fs::FileTimes {
        let mut times = std::fs::FileTimes::new();
        if let Some(t) = self.accessed {
            times = times.set_accessed(t);
        }
        if let Some(t) = self.modified {
            times = times.set_modified(t);
        }
        times
    }
}

fn system_time(time: WallTime) -> io::Result<SystemTime> {
    let unfit = || io::Error::new(io::ErrorKind::InvalidData, "time out of the platform's range");
    time.to_system_time().ok_or_else(unfit)
}
