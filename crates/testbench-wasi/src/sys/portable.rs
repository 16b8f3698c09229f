//! The same by path, for systems where a user's cache directory is private by inheritance.
#![allow(clippy::disallowed_methods, reason = "the cache is on the real disk")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use testbench_clock::WallTime;

use super::{Entry, SETTLES_AFTER};

/// A directory that is private as far as its parent is.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    /// Opens `path`, made if it is missing.
    pub(crate) fn open_or_create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(PrivateDir { path: path.to_owned() })
    }

    /// Opens a regular file for reading.
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a regular file"));
        }
        File::open(path)
    }

    /// Makes a file that does not exist yet.
    pub(crate) fn create_new(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))
    }

    /// Renames within the directory.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    /// Removes a name.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    /// The regular files whose names are UTF-8, in no particular order.
    pub(crate) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // It may be gone by now.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                let modified = metadata.modified()?;
                entries.push(Entry { name, bytes: metadata.len(), modified });
            }
        }
        Ok(entries)
    }

    /// Does nothing: the time of writing serves as well.
    pub(crate) fn touch(_file: &File) -> io::Result<()> {
        Ok(())
    }
}

/// Differs when a file was changed, as far as the system tells by its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    bytes: u64,
    modified: Option<std::time::SystemTime>,
}

impl Identity {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Identity { bytes: metadata.len(), modified: metadata.modified().ok() }
    }

    /// Whether a change after `now` would show.
    pub(crate) fn is_settled(&self, now: WallTime) -> bool {
        self.modified.is_some_and(|at| WallTime::from(at) + SETTLES_AFTER < now)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the disk has the time of the machine")]
    fn files_are_made_renamed_listed_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = PrivateDir::open_or_create(&temp.path().join("a/b")).unwrap();
        dir.create_new("one").unwrap().write_all(b"content").unwrap();
        assert_eq!(dir.create_new("one").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        dir.rename("one", "two").unwrap();
        let mut content = String::new();
        let mut file = dir.open("two").unwrap();
        file.read_to_string(&mut content).unwrap();
        PrivateDir::touch(&file).unwrap();
        let entries = dir.entries().unwrap();
        assert_eq!((entries[0].name.as_str(), entries[0].bytes, &*content), ("two", 7, "content"));
        assert!(entries[0].modified <= SystemTime::now() + Duration::from_secs(1));
        fs::create_dir(temp.path().join("a/b/dir")).unwrap();
        assert_eq!(dir.open("dir").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(dir.entries().unwrap().len(), 1, "files only");
        dir.remove("two").unwrap();
        assert_eq!(dir.open("two").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_identity_is_settled_when_its_time_is_past() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = Identity::of(&file.as_file().metadata().unwrap());
        let modified = WallTime::from(file.as_file().metadata().unwrap().modified().unwrap());
        assert!(!identity.is_settled(modified));
        assert!(!identity.is_settled(modified + SETTLES_AFTER));
        assert!(identity.is_settled(modified + SETTLES_AFTER + Duration::from_nanos(1)));
        file.as_file().set_len(1).unwrap();
        assert_ne!(identity, Identity::of(&file.as_file().metadata().unwrap()));
    }
}
