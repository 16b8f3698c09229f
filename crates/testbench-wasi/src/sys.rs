//! The parts that differ by platform: a directory that only its owner can write, and how to see that a
//! file has changed.
#![allow(clippy::disallowed_methods, reason = "modules and the cache are on the real disk")]

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use testbench_clock::WallTime;

pub(crate) use self::platform::touch;

/// A directory that belongs to this user and that no other user can read or write; where the system
/// has no owners and modes, it is as private as its parent.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    /// Opens `path`, made if it is missing.
    ///
    /// # Errors
    ///
    /// The system's; `PermissionDenied` if the directory is another user's or open to others.
    pub(crate) fn open_or_create(path: &Path) -> io::Result<Self> {
        platform::create_dir(path)?;
        // A symlink is none, wherever it leads.
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if !platform::is_ours(&metadata) {
            return refuse("it belongs to another user");
        }
        if platform::is_open_to_others(&metadata) {
            return refuse("it is open to other users (its mode must be 0700)");
        }
        Ok(PrivateDir { path: path.to_owned() })
    }

    /// Opens a regular file of this user for reading.
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        // Looked at before it is opened: a FIFO in the place of the file must not hang us.
        if !fs::symlink_metadata(&path)?.is_file() {
            return refuse("not a regular file");
        }
        let file = File::open(path)?;
        match platform::is_ours(&file.metadata()?) {
            true => Ok(file),
            false => refuse("not a file of this user"),
        }
    }

    /// Puts a file with this content in the place of `name`, in one step. Open handles of a file that is
    /// replaced stay valid.
    pub(crate) fn publish(&self, name: &str, content: &[u8]) -> io::Result<File> {
        let mut file = tempfile::Builder::new().suffix(".tmp").tempfile_in(&self.path)?;
        file.write_all(content)?;
        Ok(file.persist(self.path.join(name))?)
    }

    /// Removes a name; open handles of the file stay valid.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    /// The regular files whose names are UTF-8, in no particular order.
    pub(crate) fn entries(&self) -> io::Result<Vec<(String, Metadata)>> {
        let files = fs::read_dir(&self.path)?.filter_map(|entry| {
            let entry = entry.ok()?;
            // It may be gone by now.
            let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
            Some((entry.file_name().into_string().ok()?, metadata))
        });
        Ok(files.collect())
    }
}

fn refuse<T>(why: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// How long after its last change a file is not yet told from its next version by its times: file
/// systems note these in steps, the coarsest of which (FAT) is two seconds.
const SETTLES_AFTER: Duration = Duration::from_secs(2);

/// Differs when a file was replaced or changed, as far as the system tells by its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device and number, where files have them.
    inode: (u64, u64),
    /// The time of the last change; only the system sets it, where it can be seen.
    changed: Option<WallTime>,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Identity {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            inode: platform::inode(metadata),
            changed: platform::changed(metadata),
        }
    }

    /// Whether a change after `now` would show.
    pub(crate) fn is_settled(&self, now: WallTime) -> bool {
        self.changed.is_some_and(|at| at + SETTLES_AFTER < now)
    }
}

#[cfg(unix)]
mod platform {
    use std::fs::{DirBuilder, File, Metadata};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    use std::path::Path;

    use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
    use testbench_clock::WallTime;

    pub(super) fn create_dir(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    pub(super) fn is_ours(metadata: &Metadata) -> bool {
        metadata.uid() == rustix::process::geteuid().as_raw()
    }

    pub(super) fn is_open_to_others(metadata: &Metadata) -> bool {
        metadata.mode() & 0o077 != 0
    }

    /// Gives `file` the time that the system shows, without reading it here.
    pub(crate) fn touch(file: &File) -> io::Result<()> {
        let when = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        let (last_access, last_modification) = (when(UTIME_OMIT), when(UTIME_NOW));
        Ok(rustix::fs::futimens(file, &Timestamps { last_access, last_modification })?)
    }

    pub(super) fn inode(metadata: &Metadata) -> (u64, u64) {
        (metadata.dev(), metadata.ino())
    }

    pub(super) fn changed(metadata: &Metadata) -> Option<WallTime> {
        let nanos = i128::from(metadata.ctime()) * 1_000_000_000;
        Some(WallTime::from_unix_nanos(nanos + i128::from(metadata.ctime_nsec())))
    }
}

#[cfg(not(unix))]
mod platform {
    use std::fs::{File, Metadata};
    use std::io;
    use std::path::Path;

    use testbench_clock::WallTime;

    pub(super) fn create_dir(path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    pub(super) fn is_ours(_: &Metadata) -> bool {
        true
    }

    pub(super) fn is_open_to_others(_: &Metadata) -> bool {
        false
    }

    /// Does nothing: the time of writing serves as well.
    pub(crate) fn touch(_: &File) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn inode(_: &Metadata) -> (u64, u64) {
        (0, 0)
    }

    pub(super) fn changed(metadata: &Metadata) -> Option<WallTime> {
        metadata.modified().ok().map(WallTime::from)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn files_are_published_listed_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = PrivateDir::open_or_create(&temp.path().join("a/b")).unwrap();
        let mut replaced = dir.publish("one", b"first").unwrap();
        dir.publish("one", b"content").unwrap();
        let mut content = String::new();
        let mut file = dir.open("one").unwrap();
        file.read_to_string(&mut content).unwrap();
        touch(&file).unwrap();
        let (name, metadata) = &dir.entries().unwrap()[0];
        assert_eq!((name.as_str(), metadata.len(), &*content), ("one", 7, "content"));
        assert!(metadata.modified().unwrap() <= SystemTime::now() + Duration::from_secs(1));
        io::Seek::rewind(&mut replaced).unwrap();
        content.clear();
        replaced.read_to_string(&mut content).unwrap();
        assert_eq!(content, "first", "a replaced file stays as it is");
        fs::create_dir(temp.path().join("a/b/dir")).unwrap();
        assert_eq!(dir.open("dir").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(dir.entries().unwrap().len(), 1, "files only");
        dir.remove("one").unwrap();
        assert_eq!(dir.open("one").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_identity_is_settled_when_its_time_is_past() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = Identity::of(&file.as_file().metadata().unwrap());
        let changed = identity.changed.unwrap();
        assert!(!identity.is_settled(changed));
        assert!(!identity.is_settled(changed + SETTLES_AFTER));
        assert!(identity.is_settled(changed + SETTLES_AFTER + Duration::from_nanos(1)));
        file.as_file().set_len(1).unwrap();
        assert_ne!(identity, Identity::of(&file.as_file().metadata().unwrap()));
    }
}
