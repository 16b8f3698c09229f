//! A directory behind a descriptor: renaming or replacing its path later has no effect.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

use testbench_clock::WallTime;

use super::{Entry, SETTLES_AFTER};

/// A directory that belongs to this user and that no other user can read or write.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    fd: OwnedFd,
}

impl PrivateDir {
    /// Opens `path`, made if it is missing.
    ///
    /// # Errors
    ///
    /// The system's; `PermissionDenied` if the directory is another user's or open to others.
    #[expect(clippy::disallowed_methods, reason = "the cache is on the real disk")]
    pub(crate) fn open_or_create(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let how = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, how, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        if !is_ours(&stat) {
            return refuse("it belongs to another user");
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
            return refuse("it is open to other users (its mode must be 0700)");
        }
        Ok(PrivateDir { fd })
    }

    /// Opens a regular file of this user for reading.
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        // Not blocking: a FIFO in the place of the file must not hang us.
        let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, how, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !is_ours(&stat) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a file of this user"));
        }
        Ok(File::from(fd))
    }

    /// Makes a file that does not exist yet.
    pub(crate) fn create_new(&self, name: &str) -> io::Result<File> {
        let how = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, how, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(fd))
    }

    /// Renames within the directory; open handles of the replaced file stay valid.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Removes a name; open handles of the file stay valid.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// The regular files whose names are UTF-8, in no particular order.
    pub(crate) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(self.fd.as_fd())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            // It may be gone by now.
            let Ok(stat) = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
                let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
                entries.push(Entry {
                    name: name.to_owned(),
                    bytes: u64::try_from(stat.st_size).unwrap_or_default(),
                    modified: SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos),
                });
            }
        }
        Ok(entries)
    }

    /// Gives `file` the time that the system shows, without reading it here.
    pub(crate) fn touch(file: &File) -> io::Result<()> {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
        let when = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        let times =
            Timestamps { last_access: when(UTIME_OMIT), last_modification: when(UTIME_NOW) };
        Ok(rustix::fs::futimens(file, &times)?)
    }
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

/// Differs when a file was replaced or changed, as far as the system tells by its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    dev: u64,
    ino: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Identity {
            dev: metadata.dev(),
            ino: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a change after `now` would show.
    pub(crate) fn is_settled(&self, now: WallTime) -> bool {
        // The time of the last change is set by the system only, and by every change.
        let (seconds, nanos) = self.changed;
        let changed = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        WallTime::from_unix_nanos(changed) + SETTLES_AFTER < now
    }
}
